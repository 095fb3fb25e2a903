"""A table of `muq-hf embed`, in one file or in a folder of fragments, read in order as if it were one."""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ..storage.remote import Folder, is_remote
from .embed_run import STATE, EmbedRun
from .parquet_store import METADATA_KEY
from .shard_plan import shard_number


NEEDED_COLUMNS = {"path", "start", "end", "layer", "embedding"}
ROWS_AT_ONCE_ON_DISK = 16_384


class TableFiles:
    """`table` is FILE.parquet, or the folder or address of a run with its fragments.

    Raises ValueError for what is no such table, or has no rows.
    """

    def __init__(self, table: str | os.PathLike):
        self.name = os.fspath(table)
        self.is_folder = is_remote(self.name) or os.path.isdir(self.name)
        if self.is_folder:
            self._folder = Folder(self.name)
            names = [name for name in self._folder.names() if shard_number(name) is not None]
            if not names:
                raise ValueError(self._without_fragments())
            self._files = [self._open(self._folder.open(name)) for name in names]
            self._state = {name: self._folder.modified(name) for name in names}
        else:
            self._files = [self._open(self.name)]
            status = os.stat(self.name)
        self.num_rows = sum(file.metadata.num_rows for file in self._files)
        if self.num_rows == 0:
            raise ValueError(self._without_rows())
        if self.is_folder:
            state = json.dumps(self._state, sort_keys=True)
            self.stamp = {"fragments": hashlib.sha256(f"{state} {self.num_rows}".encode()).hexdigest()}
        else:
            self.stamp = {"table_bytes": str(status.st_size), "table_modified_ns": str(status.st_mtime_ns)}

    @property
    def settings(self) -> dict:
        """What the table was made with; empty if it does not say."""
        metadata = self._files[0].schema_arrow.metadata or {}
        return json.loads(metadata.get(METADATA_KEY, b"{}"))

    def beside(self, suffix: str) -> Path:
        """Where a file that is made from the table belongs: beside it, or for an object store in the cache of this machine."""
        if not self.is_folder:
            return Path(self.name + suffix)
        if not self._folder.is_remote:
            return Path(self._folder.place(STATE), "vectors" + suffix)
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "muq_hf")
        cache.mkdir(parents=True, exist_ok=True)
        return cache / (hashlib.sha256(self.name.rstrip("/").encode()).hexdigest()[:16] + suffix)

    def batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        for file in self._files:
            yield from file.iter_batches(ROWS_AT_ONCE_ON_DISK, columns=columns)

    def rows(self, wanted: list[int], columns: list[str]) -> dict[int, dict]:
        """Row → its columns; only the groups of rows with these are read."""
        found, first = {}, 0
        for file in self._files:
            for group in range(file.num_row_groups):
                after = first + file.metadata.row_group(group).num_rows
                here = [row for row in wanted if first <= row < after]
                if here:
                    part = file.read_row_group(group, columns=columns)
                    found |= {row: part.slice(row - first, 1).to_pylist()[0] for row in here}
                first = after
        return found

    def _without_fragments(self) -> str:
        if EmbedRun.exists(self._folder):
            return (
                f"{self.name} holds a run of `muq-hf embed` of which no shard is done yet: wait for it, or finish it by the same "
                "command with --resume."
            )
        return f"{self.name} holds no fragment of `muq-hf embed` (part-000000.parquet, …): embed music into it first."

    def _without_rows(self) -> str:
        if not self.is_folder:
            return f"{self.name} has no rows: no file could be embedded into it."
        failures = f"{STATE}/failures.jsonl"
        reasons = f"{self._folder.place(failures)} says why. " if self._folder.exists(failures) else ""
        return (
            f"the {len(self._files)} fragments in {self.name} have no rows: none of their files could be embedded. {reasons}"
            "Mend or add files and run the same command with --resume --retry-failed."
        )

    def _open(self, place) -> pq.ParquetFile:
        try:
            file = pq.ParquetFile(place)
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"{self.name} cannot be read as a Parquet table: {error}") from None
        missing = NEEDED_COLUMNS - set(file.schema_arrow.names)
        if missing:
            raise ValueError(f"{self.name} is no table of `muq-hf embed`: it lacks the column {sorted(missing)[0]!r}.")
        return file


def is_table(path: str) -> bool:
    """Whether `muq-hf embed` made it: a folder of fragments, or a Parquet file with its settings."""
    if is_remote(path) or os.path.isdir(path):
        return EmbedRun.exists(Folder(path))
    if not path.lower().endswith(".parquet") or not os.path.exists(path):
        return False
    try:
        return METADATA_KEY in (pq.read_schema(path).metadata or {})
    except (pa.ArrowException, OSError):
        return False
