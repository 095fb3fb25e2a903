"""A folder of fragments, on a disk or in an object store, and the plan of its shards."""

import os

import pyarrow as pa

from ..storage.remote import Folder
from .embed_job import EmbedJob, EmbedProgress, EmbedReport
from .embed_run import STATE, EmbedRun, failure_lines
from .embed_settings import EmbedSettings
from .shard_plan import FILES_PER_SHARD, ShardPlan, files_table
from .shards import ShardWorker


def prepare_plan(
    run: EmbedRun,
    settings: EmbedSettings,
    files: pa.Table,
    files_per_shard: int,
    resume: bool,
    retry_failed: bool,
    **more,
) -> ShardPlan:
    """The plan of a new run, or that of an old one brought up to date; the caller holds the lock.

    `more`: what a continued run must know besides the settings.
    """
    run.sweep()
    if not (resume and run.exists(run.folder)):
        run.clear()
        plan = ShardPlan.of_files(files, files_per_shard)
        plan.save(run.folder)
        run.create(settings, **more)
        return plan
    before = ShardPlan.load(run.folder)
    failed = [failure.path for failure in run.failures(before)] if retry_failed else []
    plan, stale = before.updated(files, run.done(), failed, files_per_shard)
    run.drop_rows(stale)  # first: a run that is cut off here finds the same changes again
    if not plan.table.equals(before.table):
        plan.save(run.folder)
    return plan


def embed_to_folder(paths: list[str], output: str | os.PathLike, job: EmbedJob) -> EmbedReport:
    """Embed `paths` into a folder of fragments, one shard after another."""
    run = EmbedRun(Folder(output))
    run.lock.acquire()
    try:
        if job.resume and run.exists(run.folder):
            job.settings.require_same(run.stored_settings()[0], run.folder.address)
        size = job.files_per_shard or FILES_PER_SHARD
        plan = prepare_plan(run, job.settings, files_table(paths), size, job.resume, job.retry_failed)
        missing = sorted(set(plan.numbers.tolist()) - set(run.done()))
        with EmbedProgress(len(plan), len(plan) - plan.num_files(missing), job.progress) as progress:
            worker = ShardWorker(
                run.folder,
                job.model,
                batch_size=job.batch_size,
                workers=job.workers,
                settings=job.settings,
                plan=plan,
                on_batch=progress.on_batch,
                on_file=progress.on_file,
            )
            for _ in worker.run(missing):
                pass
        return report_of(run, plan, job, progress.audio_seconds)
    finally:
        run.lock.release()


def report_of(run: EmbedRun, plan: ShardPlan, job: EmbedJob, audio_seconds: float, errors: tuple[str, ...] = ()) -> EmbedReport:
    """What the folder holds, and the list of all of its failures, written into it."""
    failures = [*job.line_failures().values(), *run.failures(plan)]
    name = f"{STATE}/failures.jsonl"
    if failures:
        run.folder.write(name, failure_lines(failures).encode("utf-8"))
    else:
        run.folder.delete(name)
    return EmbedReport(
        output=run.folder.address,
        rows=run.num_rows(),
        files=len(plan) + len(job.bad_lines),
        failures=failures,
        failures_file=run.folder.place(name),
        audio_seconds=audio_seconds,
        seconds=0.0,
        errors=errors,
    )
