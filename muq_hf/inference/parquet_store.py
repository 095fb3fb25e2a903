"""Pooled vectors → one Parquet table: a row per file or chunk, and layer."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..models.configuration_muq import MuQConfig
from .embed_settings import EmbedSettings
from .encoding import combine_windows
from .journal import Journal
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


def read_settings(path: Path) -> EmbedSettings:
    """→ the settings that a table was made with. Raises ValueError when it is no table of embeddings."""
    try:
        return EmbedSettings.from_dict(json.loads(pq.read_schema(path).metadata[METADATA_KEY]))
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no table of `muq-hf embed`: use another --output, or --overwrite.") from error


class ParquetStore:
    """Windows go to the journal as they come; `finish` joins them to rows and puts the table in place in one step."""

    def __init__(self, output: Path, settings: EmbedSettings, vector_size: int, config: MuQConfig):
        self.output = output
        self.settings = settings
        self.vector_size = vector_size
        self.sampling_rate = config.sampling_rate
        self.vector_shape = (len(settings.layers), vector_size)
        self._in_table: set[str] = set()  # as text

    @staticmethod
    def check_output(output: Path) -> None:
        if output.suffix.lower() != ".parquet" or output.is_dir():
            raise ValueError(f"--output must be a file that ends in .parquet, got {str(output)!r}.")

    @staticmethod
    def exists(output: Path) -> bool:
        return output.exists()

    @property
    def failures_file(self) -> Path:
        return self.output.with_name(self.output.name.removesuffix(".parquet") + ".failures.jsonl")

    def load_finished(self) -> None:
        """Keep the rows of a finished table of the same settings, and leave their files alone."""
        self.settings.require_same(read_settings(self.output), str(self.output))
        self._in_table = set(pq.read_table(self.output, columns=["path"])["path"].to_pylist())

    def is_finished(self, path: str) -> bool:
        return path_text(path) in self._in_table

    def append(self, journal: Journal, paths: list[str], records: np.ndarray, values: list[np.ndarray]) -> None:
        """values: for each window, its pooled vectors [L, P]."""
        records["vectors"] = values
        journal.append(paths, records)

    def complete(self, journal: Journal, path: str, windows: int) -> None:
        journal.complete(path, windows)

    def finish(self, journal: Journal, order: list[str]) -> int:
        """Write the table: rows it had, then the files in `order`, then other finished files of the journal → rows."""
        schema = table_schema(self.settings, self.vector_size)
        temporary = self.output.with_name(self.output.name + ".tmp")
        rows = 0
        with pq.ParquetWriter(temporary, schema) as writer:
            for table in self._tables(journal, order, schema):
                writer.write_table(table, row_group_size=ROWS_PER_GROUP)
                rows += table.num_rows
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, self.output)
        return rows

    def _tables(self, journal: Journal, order: list[str], schema: pa.Schema) -> Iterator[pa.Table]:
        if self._in_table:
            for batch in pq.ParquetFile(self.output).iter_batches(ROWS_PER_GROUP):
                yield pa.Table.from_batches([batch]).cast(schema)
        rows = []
        for row in self._new_rows(journal, order):
            rows.append(row)
            if len(rows) == ROWS_PER_GROUP:
                yield self._table(rows, schema)
                rows = []
        if rows:
            yield self._table(rows, schema)

    def _new_rows(self, journal: Journal, order: list[str]) -> Iterator[tuple[str, float, float, int, np.ndarray]]:
        """(path, start, end, layer, vector) file by file, the segments of a file in order."""
        for path, records in journal.complete_files(order):
            if self.is_finished(path):
                continue
            for segment in np.split(records, np.flatnonzero(np.diff(records["segment"])) + 1):
                start, end = segment["start"][0] / self.sampling_rate, segment["end"][-1] / self.sampling_rate
                vectors = combine_windows(segment["vectors"], segment["frames"], self.settings.pool)
                for layer, vector in zip(self.settings.layers, vectors, strict=True):
                    yield path_text(path), start, end, layer, vector

    def _table(self, rows: list[tuple], schema: pa.Schema) -> pa.Table:
        paths, starts, ends, layers, vectors = zip(*rows, strict=True)
        embedding = pa.FixedSizeListArray.from_arrays(pa.array(np.concatenate(vectors)), self.vector_size)
        settings = self.settings
        constants = [pa.array([value] * len(rows)) for value in (settings.model, settings.revision, settings.fingerprint)]
        columns = [pa.array(paths, pa.string()), pa.array(starts), pa.array(ends), pa.array(layers, pa.int32()), embedding]
        return pa.Table.from_arrays(columns + constants, schema=schema)
