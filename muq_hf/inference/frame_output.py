"""Frames per file: a song is done when its frames are whole; all are put in place when the run ends."""

import os
from pathlib import Path

import pyarrow as pa

from .decoding_worker import DecodeTask
from .embed_job import EmbedJob, EmbedProgress, EmbedReport
from .embed_model import encoder_config, encoder_of, window_plan
from .embed_run import EmbedRun
from .encode_loop import encode_files
from .file_lists import paths_of
from .frame_store import FrameStore
from .table_output import merge_failures, partial_folder, read_failures


def embed_to_frames(files: pa.Table, output: str | os.PathLike, job: EmbedJob) -> EmbedReport:
    """Embed `files` into the folder `output`, or into its unfinished run."""
    run = EmbedRun(partial_folder(output))
    run.lock.acquire()
    try:
        return _embed(paths_of(files), Path(output), run, job)
    finally:
        run.lock.release()


def _embed(paths: list[str], output: Path, run: EmbedRun, job: EmbedJob) -> EmbedReport:
    encoder, config = encoder_of(job.model, job.settings), encoder_config(job.model)
    store = FrameStore(output, Path(run.folder.place("frames")), job.settings, encoder.vector_size, config)
    store.failures = job.line_failures()
    known = read_failures(store.failures_file) if job.resume else []
    is_unfinished = job.resume and run.exists(run.folder)
    replaces = not job.resume
    if is_unfinished:
        stored, more = run.stored_settings()
        job.settings.require_same(stored, run.folder.address)
        replaces = more["replace"]
    if not replaces and store.exists(output):
        store.load_finished()
    if not is_unfinished:
        store.clear()
        run.clear()
        run.create(job.settings, replace=replaces)
    tasks = [DecodeTask(path, window_plan(job.model, job.settings)) for path in paths if not store.is_finished(path)]
    try:
        with EmbedProgress(len(paths), len(paths) - len(tasks), job.progress) as progress:
            store.on_file = progress.on_file
            for batch in encode_files(tasks, encoder, store, job.batch_size, min(job.workers, len(tasks))):
                progress.on_batch(sum(window.end - window.start for window in batch) / config.sampling_rate)
        rows = store.finish(paths) if store.has_files() else 0  # no folder rather than an empty one; an old one stays
    finally:
        mended = [path for path in paths if store.is_finished(path)]
        merge_failures(store.failures_file, known, store.failures, mended)
    store.clear()
    run.remove()
    return EmbedReport(
        output=output,
        rows=rows,
        files=len(paths) + len(job.bad_lines),
        failures=list(store.failures.values()),
        failures_file=store.failures_file,
        audio_seconds=progress.audio_seconds,
        seconds=0.0,
    )
