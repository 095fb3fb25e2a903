"""A table of `muq-hf embed`, or a folder of such tables, as arrays in memory: rows of one song side by side."""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..inference.joint import JOINT_POOL


ROWS_AT_ONCE = 16_384
COLUMNS = ("path", "start", "end", "layer", "embedding")


@dataclass(frozen=True)
class SongTable:
    """paths [S]: as the table names them; rows of song s are `first[s]:first[s + 1]`.

    spans [N, 2]: part of the file (s); vectors [N, P] float16 of length 1; settings: what the table was made with.
    """

    paths: list[str]
    first: np.ndarray
    spans: np.ndarray
    vectors: np.ndarray
    settings: dict


def table_files(table: str | os.PathLike) -> list[Path]:
    """The Parquet files of a table, or of a folder of fragments. Raises ValueError when there is none."""
    table = Path(table)
    files = sorted(table.glob("*.parquet")) if table.is_dir() else [table]
    if not files:
        raise ValueError(f"{table} holds no .parquet file: give a table or a folder of fragments that `muq-hf embed` wrote.")
    return files


def read_song_table(table: str | os.PathLike) -> SongTable:
    """Raises ValueError for files that are no tables of a MuQ-MuLan, or that were made with different settings."""
    files = [(path, _open(path)) for path in table_files(table)]
    settings = _common_settings(files)
    num_rows = sum(file.metadata.num_rows for _, file in files)
    size = files[0][1].schema_arrow.field("embedding").type.list_size
    names, spans, vectors = [], np.empty((num_rows, 2), np.float32), np.empty((num_rows, size), np.float16)
    row = 0
    for _, file in files:
        for batch in file.iter_batches(ROWS_AT_ONCE, columns=["path", "start", "end", "embedding"]):
            after = row + batch.num_rows
            names.append(batch["path"])
            spans[row:after, 0], spans[row:after, 1] = batch["start"].to_numpy(), batch["end"].to_numpy()
            vectors[row:after] = _unit(batch["embedding"].flatten().to_numpy(zero_copy_only=False).reshape(-1, size))
            row = after
    encoded = pa.chunked_array(names, pa.string()).combine_chunks().dictionary_encode()
    song_of_row = encoded.indices.to_numpy()
    if (np.diff(song_of_row) < 0).any():
        order = np.argsort(song_of_row, kind="stable")
        song_of_row, spans, vectors = song_of_row[order], spans[order], vectors[order]
    paths = encoded.dictionary.to_pylist()
    first = np.searchsorted(song_of_row, np.arange(len(paths) + 1))
    return SongTable(paths, first, spans, vectors, settings)


def read_settings_of(table: str | os.PathLike) -> dict:
    """What a table was made with. Raises ValueError as `read_song_table`."""
    return _common_settings([(path, _open(path)) for path in table_files(table)])


def stamp_of(table: str | os.PathLike) -> list:
    """Names, sizes and times of the table's files: another one when the table has changed."""
    return [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in table_files(table)]


def place_of(text: str, table: str | os.PathLike) -> Path:
    """Where the file is that a table calls `text`: relative paths start at the table's folder.

    Bytes that are no UTF-8 stand in the table as \\xNN.
    """
    table = Path(table)
    path = (table if table.is_dir() else table.parent) / text
    if "\\x" in text and not path.exists():
        raw = re.sub(rb"\\x([0-9a-f]{2})", lambda match: bytes.fromhex(match[1].decode()), os.fsencode(path))
        return Path(os.fsdecode(raw))
    return path


def _open(path: Path) -> pq.ParquetFile:
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} cannot be read as a Parquet table: {error}") from None
    missing = [name for name in COLUMNS if name not in file.schema_arrow.names]
    if missing:
        raise ValueError(f"{path} is no table of `muq-hf embed`: it lacks the column {missing[0]!r}.")
    return file


def _common_settings(files: list[tuple[Path, pq.ParquetFile]]) -> dict:
    first = None
    for path, file in files:
        settings = json.loads((file.schema_arrow.metadata or {}).get(b"muq_hf", b"{}"))
        if settings.get("pool") != JOINT_POOL:
            raise ValueError(
                f"{path} was not made with a MuQ-MuLan: embed the music with one, for instance muq-mulan-tiny, to search it."
            )
        first = first or settings
        if settings["fingerprint"] != first["fingerprint"]:
            raise ValueError(f"{path} was made with other settings than {files[0][0]}: their vectors cannot be compared.")
    return first


def _unit(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
