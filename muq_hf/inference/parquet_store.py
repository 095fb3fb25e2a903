"""Tables of vectors in Parquet: a row per file or chunk, and layer."""

import io
import itertools
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .embed_settings import EmbedSettings
from .encoding import combine_windows
from .sources import path_text


ROWS_PER_GROUP = 4096  # 16 MB of vectors of size 1024
METADATA_KEY = b"muq_hf"


def table_schema(settings: EmbedSettings, vector_size: int) -> pa.Schema:
    """Columns of the table; the settings stand in its metadata as JSON."""
    columns = {
        "path": pa.string(),
        "start": pa.float64(),  # s
        "end": pa.float64(),  # s
        "layer": pa.int32(),
        "embedding": pa.list_(pa.float32(), vector_size),
        "model": pa.string(),
        "revision": pa.string(),
        "fingerprint": pa.string(),
    }
    return pa.schema(columns, metadata={METADATA_KEY: json.dumps(settings.to_dict())})


def read_settings(path: str | os.PathLike) -> EmbedSettings:
    """→ the settings that a table was made with. Raises ValueError when it is no table of embeddings."""
    try:
        return EmbedSettings.from_dict(json.loads(pq.read_schema(path).metadata[METADATA_KEY]))
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no table of `muq-hf embed`: use another --output, or --overwrite.") from error


class SongWindows:
    """The windows of one file as they come, until all are there."""

    def __init__(self, path: str):
        self.path = path
        self.num_windows: int | None = None  # known at the file's end
        self._windows: list[tuple[int, int, int, int, np.ndarray]] = []

    def add(self, segment: int, start: int, end: int, frames: int, vectors: np.ndarray) -> None:
        """vectors [L, P], pooled over `frames` frames, which speak for the samples `start` to `end` of row `segment`."""
        self._windows.append((start, end, segment, frames, vectors))

    @property
    def is_whole(self) -> bool:
        return self.num_windows == len(self._windows)

    def rows(self, settings: EmbedSettings, sampling_rate: int) -> list[tuple[str, float, float, int, np.ndarray]]:
        """(path, start, end, layer, vector), the segments in order."""
        return [
            (path_text(self.path), start / sampling_rate, end / sampling_rate, layer, vector)
            for start, end, vectors in self.segments(settings.pool)
            for layer, vector in zip(settings.layers, vectors, strict=True)
        ]

    def segments(self, pool: str) -> Iterator[tuple[int, int, np.ndarray]]:
        """(first sample, sample after the last, vectors [L, P]) of each segment in order."""
        windows = sorted(self._windows, key=lambda window: window[0])
        for _, group in itertools.groupby(windows, key=lambda window: window[2]):
            starts, ends, _, frames, vectors = zip(*group, strict=True)
            yield starts[0], ends[-1], combine_windows(np.stack(vectors), np.array(frames), pool)


def rows_to_parquet(rows: list[tuple], settings: EmbedSettings, vector_size: int) -> bytes:
    """(path, start, end, layer, vector) → the file; one without rows is a table too."""
    schema = table_schema(settings, vector_size)
    paths, starts, ends, layers, vectors = zip(*rows, strict=True) if rows else ((),) * 5
    values = np.concatenate(vectors) if rows else np.empty(0)
    embedding = pa.FixedSizeListArray.from_arrays(pa.array(values, pa.float32()), vector_size)
    constants = [
        pa.array([value] * len(rows), pa.string()) for value in (settings.model, settings.revision, settings.fingerprint)
    ]
    columns = [pa.array(paths, pa.string()), pa.array(starts, pa.float64()), pa.array(ends, pa.float64())]
    table = pa.Table.from_arrays([*columns, pa.array(layers, pa.int32()), embedding, *constants], schema=schema)
    return to_parquet(table)


def to_parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, row_group_size=ROWS_PER_GROUP)
    return buffer.getvalue()


def without_paths(table: pa.Table, paths: Iterable[str]) -> pa.Table:
    """The table without the rows of these files."""
    return table.filter(pc.invert(pc.is_in(table["path"], value_set=pa.array(map(path_text, paths), pa.string()))))


def join_tables(tables: Iterable[pa.Table], schema: pa.Schema, output: Path, temporary: Path) -> int:
    """Write the tables as one file `temporary`, put in place in one step → its rows."""
    rows = 0
    try:
        with open(temporary, "wb") as file:
            with pq.ParquetWriter(file, schema) as writer:
                for table in _in_groups(tables, schema):
                    writer.write_table(table)
                    rows += table.num_rows
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, output)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    return rows


def read_in_groups(path: str | os.PathLike) -> Iterator[pa.Table]:
    for batch in pq.ParquetFile(path).iter_batches(ROWS_PER_GROUP):
        yield pa.Table.from_batches([batch])


def _in_groups(tables: Iterable[pa.Table], schema: pa.Schema) -> Iterator[pa.Table]:
    """The same rows in tables of ROWS_PER_GROUP rows; the last one may be shorter."""
    held: list[pa.Table] = []
    rows = 0
    for table in tables:
        held.append(table.cast(schema))
        rows += table.num_rows
        if rows >= ROWS_PER_GROUP:
            whole = pa.concat_tables(held)
            for first in range(0, rows - rows % ROWS_PER_GROUP, ROWS_PER_GROUP):
                yield whole.slice(first, ROWS_PER_GROUP)
            rows %= ROWS_PER_GROUP
            held = [whole.slice(whole.num_rows - rows)]
    if rows:
        yield pa.concat_tables(held)
