"""Exact search in a table of vectors, however many: a half-precision copy of them is read through a memory map, in blocks."""

import contextlib
import glob
import json
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.compute as pc
import torch

from ..devices import torch_threads
from .sources import path_text
from .table_files import TableFiles


ROWS_AT_ONCE = 2048  # 4 MB in float32 for vectors of size 512: they stay in the cache
MAX_HEADER_BYTES = 1 << 20
ABANDONED_SECONDS = 3600.0
SIDECAR_SUFFIX = ".float16.safetensors"


class Hit(NamedTuple):
    """score: cosine of query and row; start, end: the row's part of the file (s)."""

    score: float
    path: str
    start: float
    end: float


class VectorIndex:
    """The vectors of one `muq-hf embed` table or folder of fragments, each scaled to length 1.

    `approximate` finds nearly all of the nearest by faiss (`pip install muq_hf[faiss]`), for millions of vectors.
    The copy lies beside the table, is made at the first use, and again when the table has changed. Raises ValueError for files
    that are no such table, are empty, or hold more than one layer; OSError where the copy cannot be written.
    """

    def __init__(self, table: str | os.PathLike, approximate: bool = False):
        self.table = os.fspath(table)
        self._files = TableFiles(table)
        self.num_rows = self._files.num_rows
        self.sidecar = self._files.beside(SIDECAR_SUFFIX)
        header = _read_header(self.sidecar)
        if header is None or header["__metadata__"] != self._files.stamp or header["vectors"]["shape"][0] != self.num_rows:
            _write_sidecar(self.sidecar, self._files)
            header = _read_header(self.sidecar)
        self.num_rows, self.vector_size = header["vectors"]["shape"]
        self._vectors = np.memmap(self.sidecar, np.float16, "c", offset=header["offset"], shape=(self.num_rows, self.vector_size))
        self._cells = None
        if approximate:
            from .faiss_index import FaissIndex

            self._cells = FaissIndex(self._vectors, self._files.beside(".ivf.faiss"), self._files.stamp)

    @property
    def settings(self) -> dict:
        """What the table was made with; empty if it does not say."""
        return self._files.settings

    def search(self, queries: np.ndarray, top_k: int, among: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """queries [Q, P] → cosines [Q, k] from high to low, and the rows [Q, k] of the table; k is at most the number of rows.

        among: bool [rows], those that may be found; the others, and rows that hold NaN, come last with a cosine of -inf.
        Raises ValueError for queries of another size, without a direction, and for `top_k` below 1.
        """
        if queries.ndim != 2 or queries.shape[1] != self.vector_size:
            raise ValueError(
                f"{self.table} holds vectors of size {self.vector_size}, the queries have shape {queries.shape}: take the model "
                "that made the table."
            )
        if top_k < 1:
            raise ValueError(f"at least one result must be asked for, got {top_k}.")
        queries = torch.from_numpy(np.ascontiguousarray(queries, np.float32))
        if not (queries.norm(dim=1) > 0).all():
            raise ValueError("a query has no direction: it is zero or not finite.")
        queries = torch.nn.functional.normalize(queries, dim=1)
        if self._cells is not None and among is None:
            return self._cells.search(queries.numpy(), min(top_k, self.num_rows))
        scores = torch.empty(len(queries), 0)
        rows = torch.empty(len(queries), 0, dtype=torch.long)
        buffer = torch.empty(ROWS_AT_ONCE, self.vector_size)
        with torch_threads(1):  # on blocks this small, threads wait for each other longer than they compute
            for start in range(0, self.num_rows, ROWS_AT_ONCE):
                stored = torch.from_numpy(self._vectors[start : start + ROWS_AT_ONCE])
                block = buffer[: len(stored)].copy_(stored)
                cosines = (queries @ block.T).nan_to_num_(nan=-torch.inf)
                if among is not None:
                    cosines[:, torch.from_numpy(~among[start : start + len(block)])] = -torch.inf
                block_scores, block_rows = cosines.topk(min(top_k, len(block)), dim=1)
                scores, rows = torch.cat([scores, block_scores], dim=1), torch.cat([rows, block_rows + start], dim=1)
                scores, best = scores.topk(min(top_k, scores.shape[1]), dim=1)
                rows = rows.gather(1, best)
        return scores.numpy(), rows.numpy()

    def find(self, query: np.ndarray, top_k: int, each_song_once: bool = False, among: np.ndarray | None = None) -> list[Hit]:
        """query [P] → at most `top_k` hits, the best first; `each_song_once`: of every file its best row alone."""
        asked = top_k
        while True:
            scores, rows = self.search(query[None], asked, among)
            is_found = np.isfinite(scores[0])
            hits = self.hits(scores[0][is_found], rows[0][is_found])
            if each_song_once:
                best = {hit.path: hit for hit in reversed(hits)}
                hits = [hit for hit in hits if best[hit.path] is hit]
            if len(hits) >= top_k or not is_found.all() or asked >= self.num_rows:
                return hits[:top_k]
            asked *= 4

    def rows_below(self, folder: str | os.PathLike) -> np.ndarray:
        """→ bool [rows]: whose files lie in this folder or below it. Raises ValueError if none do."""
        prefix = os.path.join(path_text(os.path.abspath(folder)), "")
        batches = self._files.batches(["path"])
        among = np.concatenate([pc.starts_with(batch["path"], prefix).to_numpy(zero_copy_only=False) for batch in batches])
        if not among.any():
            raise ValueError(f"{self.table} has no music from {prefix}.")
        return among

    def hits(self, scores: np.ndarray, rows: np.ndarray) -> list[Hit]:
        """scores [k], rows [k] of one query → where they are; only the parts of the table with these rows are read."""
        places = self._files.rows(list(map(int, rows)), ["path", "start", "end"])
        return [Hit(float(score), **places[int(row)]) for score, row in zip(scores, rows, strict=True)]


def _read_header(path: Path) -> dict | None:
    """The header of a copy with the `offset` of its vectors; None for a file that is missing, cut off or of other content."""
    try:
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length)) if length <= MAX_HEADER_BYTES else None
        rows, size = header["vectors"]["shape"]
        offset, num_bytes = 8 + length, 2 * rows * size
        tensor = {"dtype": "F16", "shape": [rows, size], "data_offsets": [0, num_bytes]}
        is_whole = header["vectors"] == tensor and min(rows, size) > 0 and path.stat().st_size == offset + num_bytes
        return {"offset": offset, **header} if is_whole and isinstance(header["__metadata__"], dict) else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError, struct.error):
        return None


def _write_sidecar(path: Path, table: TableFiles) -> None:
    """Vectors of length 1 in half precision, as a safetensors file; in place only when it is whole."""
    blocks = _unit_blocks(table)
    block = next(blocks)
    shape = [table.num_rows, block.shape[1]]
    tensor = {"dtype": "F16", "shape": shape, "data_offsets": [0, 2 * shape[0] * shape[1]]}
    header = json.dumps({"__metadata__": table.stamp, "vectors": tensor}).encode()
    header += b" " * (-len(header) % 64)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    _sweep(path)
    try:
        with open(temporary, "wb") as file:
            file.write(struct.pack("<Q", len(header)) + header)
            while block is not None:
                file.write(block.tobytes())
                block = next(blocks, None)
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(f"the search copy {path} cannot be written: {error.strerror}.") from error
    finally:
        temporary.unlink(missing_ok=True)


def _sweep(path: Path) -> None:
    """Delete what writers left there that were killed: files that nobody has written to for long."""
    for left in path.parent.glob(f"{glob.escape(path.name)}.*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > ABANDONED_SECONDS:
                left.unlink()


def _unit_blocks(table: TableFiles) -> Iterator[np.ndarray]:
    """Blocks [n, P] float16 of all rows. Raises ValueError for more than one layer."""
    layers = set()
    for batch in table.batches(["layer", "embedding"]):
        layers |= set(batch["layer"].unique().to_pylist())
        if len(layers) > 1:
            raise ValueError(f"the table holds layers {sorted(layers)}: make one with a single --layer to search in it.")
        vectors = batch["embedding"].flatten().to_numpy(zero_copy_only=False).reshape(batch.num_rows, -1)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        yield (vectors / np.maximum(lengths, np.finfo(np.float32).tiny)).astype(np.float16)
