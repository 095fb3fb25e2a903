"""A folder of fragments, on a disk or in an object store, and the plan of its shards."""

import os

import pyarrow as pa

from ..storage.remote import Folder
from ..storage.run_lock import RunLock
from .embed_job import EmbedJob, EmbedProgress, EmbedReport
from .embed_run import FAILURES, STATE, EmbedRun, failure_lines
from .embed_settings import EmbedSettings
from .shard_plan import FILES_PER_SHARD, ShardPlan
from .shards import ShardWorker


PLANNING_S = 600.0  # how long a job of an array waits for the one that writes the plan


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


def embed_to_folder(files: pa.Table, output: str | os.PathLike, job: EmbedJob) -> EmbedReport:
    """Embed `files` into a folder of fragments: all shards, or with `job.part` those of one job of an array."""
    run = EmbedRun(Folder(output), shared=job.part is not None)
    run.lock.acquire()
    try:
        plan = _plan_of(run, files, job)
        numbers = plan.numbers.tolist()
        if job.part is not None:
            index, count = job.part
            numbers = numbers[index::count]
        missing = sorted(set(numbers) - set(run.done()))
        num_files = plan.num_files(numbers)
        with EmbedProgress(num_files, num_files - plan.num_files(missing), job.progress) as progress:
            errors = (job.engine or do_in_this_process)(run, plan, missing, job, progress) if missing else []
        return report_of(run, plan, numbers, job, progress.audio_seconds, errors)
    finally:
        run.lock.release()


def do_in_this_process(run: EmbedRun, plan: ShardPlan, numbers: list[int], job: EmbedJob, progress: EmbedProgress) -> list[str]:
    """One shard after another, with one decoding pool for all. (`embed_job.Engine`)"""
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
    for _ in worker.run(numbers):
        pass
    return []


def _plan_of(run: EmbedRun, files: pa.Table, job: EmbedJob) -> ShardPlan:
    """The plan to follow. Of the jobs of an array the first one writes it, and the others take it as it is."""
    size = job.files_per_shard or FILES_PER_SHARD
    if job.part is None:
        if job.resume and run.exists(run.folder):
            job.settings.require_same(run.stored_settings()[0], run.folder.address)
        return prepare_plan(run, job.settings, files, size, job.resume, job.retry_failed)
    planning = RunLock(run.folder / STATE, "planning").acquire(wait_s=PLANNING_S)
    try:
        if not run.exists(run.folder):
            prepare_plan(run, job.settings, files, size, resume=False, retry_failed=False)
    finally:
        planning.release(remove=True)
    job.settings.require_same(run.stored_settings()[0], run.folder.address)
    return ShardPlan.load(run.folder)


def report_of(
    run: EmbedRun, plan: ShardPlan, numbers: list[int], job: EmbedJob, audio_seconds: float, errors: list[str]
) -> EmbedReport:
    """What the folder holds, and the failures of the shards `numbers`; the list of all of them is written into it."""
    failures = [*job.line_failures().values(), *run.failures(plan, numbers)]
    name = f"{STATE}/failures.jsonl"
    if job.part is None and failures:
        run.folder.write(name, failure_lines(failures).encode("utf-8"))
    elif job.part is None:
        run.folder.delete(name)
    return EmbedReport(
        output=run.folder.address,
        rows=run.num_rows(),
        files=plan.num_files(numbers) + len(job.bad_lines),
        failures=failures,
        failures_file=run.folder.place(name if job.part is None else FAILURES),
        audio_seconds=audio_seconds,
        seconds=0.0,
        errors=errors,
    )
