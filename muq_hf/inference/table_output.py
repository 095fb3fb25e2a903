"""One Parquet file: its shards lie in FILE.parquet.partial/ until they are joined."""

import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ..storage.json_lines import read_json_lines
from ..storage.manifests import BAD_LINE
from ..storage.remote import Folder, file_version
from ..storage.whole_files import replace_text
from .decoding_worker import FileFailure
from .embed_job import EmbedJob, EmbedProgress, EmbedReport
from .embed_model import encoder_of
from .embed_run import EmbedRun, failure_lines
from .encode_loop import changed
from .file_lists import paths_of
from .folder_output import do_in_this_process, prepare_plan
from .parquet_store import join_tables, read_in_groups, read_settings, table_schema, without_paths
from .shard_plan import ShardPlan
from .sources import path_text


MOST_SHARDS = 4096  # up to so many songs each is a shard of its own, so that a kill costs the songs in progress


def partial_folder(output: str | os.PathLike) -> Folder:
    """Where a run of this output keeps what is done until it ends."""
    return Folder(os.path.abspath(output) + ".partial")  # "." alone has no name


def embed_to_table(files: pa.Table, output: str | os.PathLike, job: EmbedJob) -> EmbedReport:
    """Embed `files` into the file `output`, or into its unfinished run; put it in place when all shards are done."""
    output = Path(output)
    run = EmbedRun(partial_folder(output))
    run.lock.acquire()
    try:
        table = _TableRun(output, run, job)
        return table.embed(files)
    finally:
        run.lock.release()


class _TableRun:
    """A run that holds the lock of its folder."""

    def __init__(self, output: Path, run: EmbedRun, job: EmbedJob):
        self.output, self.run, self.job = output, run, job
        self.failures_file = output.with_name(output.name[: -len(".parquet")] + ".failures.jsonl")
        self.known = read_failures(self.failures_file) if job.resume else []
        is_unfinished = job.resume and run.exists(run.folder)
        self.replaces = not job.resume
        if is_unfinished:
            stored, more = run.stored_settings()
            job.settings.require_same(stored, run.folder.address)
            self.replaces = more["replace"]
        self.in_table: set[str] = set()  # paths as text
        if not self.replaces and output.exists():
            job.settings.require_same(read_settings(output), str(output))
            self.in_table = set(pq.read_table(output, columns=["path"])["path"].to_pylist())
        self.failures = job.line_failures()

    def embed(self, asked: pa.Table) -> EmbedReport:
        job, run = self.job, self.run
        files = asked.filter(pa.array([path_text(path) not in self.in_table for path in paths_of(asked)]))
        size = math.ceil(len(files) / MOST_SHARDS) or 1
        plan = prepare_plan(run, job.settings, files, size, job.resume, retry_failed=True, replace=self.replaces)
        missing = sorted(set(plan.numbers.tolist()) - set(run.done()))
        done = len(asked) - plan.num_files(missing)
        try:
            with EmbedProgress(len(asked), done, job.progress) as progress:
                progress.failures = self.failures
                do_in_this_process(run, plan, missing, job, progress)
            self._find_changed(plan)
            rows = self._join(plan)
        finally:
            self._write_failures(plan)
        run.remove()
        return EmbedReport(
            output=self.output,
            rows=rows,
            files=len(asked) + len(job.bad_lines),
            failures=list(self.failures.values()),
            failures_file=self.failures_file,
            audio_seconds=progress.audio_seconds,
            seconds=0.0,
        )

    def _find_changed(self, plan: ShardPlan) -> None:
        """Files that are no longer what was embedded."""
        for path, version in zip(plan.paths(), plan.table["version"].to_pylist(), strict=True):
            if path not in self.failures and file_version(path) not in ("", version):
                self.failures[path] = changed(path)

    def _join(self, plan: ShardPlan) -> int:
        if not self.in_table and not self.run.num_rows():
            return 0  # no table rather than an empty one; an old one stays
        schema = table_schema(self.job.settings, encoder_of(self.job.model, self.job.settings).vector_size)

        def tables() -> Iterator[pa.Table]:
            if self.in_table:
                yield from read_in_groups(self.output)
            left_out = [*self.failures, *self.in_table]
            for fragment in self.run.fragments(plan.numbers.tolist()):
                yield without_paths(fragment, left_out) if left_out else fragment

        return join_tables(tables(), schema, self.output, Path(self.run.folder.place("joined.tmp")))

    def _write_failures(self, plan: ShardPlan) -> None:
        mended = [*self.in_table, *plan.paths(self.run.done())]
        merge_failures(self.failures_file, self.known, self.failures, mended)


def merge_failures(file: Path, known: list[FileFailure], failures: dict[str, FileFailure], mended: Iterable[str]) -> None:
    """Write those of this run, and the `known` ones whose files have neither been mended nor failed again."""
    settled = {path_text(path) for path in [*mended, *failures]}
    lines = [failure for failure in known if failure.path not in settled and failure.reason != BAD_LINE]
    lines += failures.values()
    if lines:
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_text(file, failure_lines(lines))
    else:
        file.unlink(missing_ok=True)


def read_failures(path: Path) -> list[FileFailure]:
    """Raises ValueError for a file that is something else."""
    if not path.exists():
        return []
    try:
        return [FileFailure(**line) for line in read_json_lines(path)]
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"{path} is no list of failures of `muq-hf embed`: move it away.") from error
