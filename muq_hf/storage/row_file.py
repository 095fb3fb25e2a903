"""Rows of numbers under keys, in a file that only grows, with an index of JSON lines that gives their places."""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np


class RowFile:
    """Rows [N, width] of one dtype; each key has one or more of them, one after the other.

    Rows are on the disk before the index names them, so a run that is cut off anywhere loses only the keys that it was adding.
    Readers skip the incomplete end of either file; it is cut off before anything is added. One process at a time may add.

    Args:
        data: file of the rows, as raw numbers.
        index: file with a line [key, first row, number of rows] for each key.
        dtype, width: of a row.
    """

    def __init__(self, data: Path, index: Path, dtype, width: int):
        self._data, self._index = Path(data), Path(index)
        self.dtype, self.width = np.dtype(dtype), width
        self._places: dict[str, tuple[int, int]] = {}  # key → first row, number of rows
        self._num_rows = 0
        self._may_be_torn = True  # until the incomplete end, if there is one, is cut off
        self._table: np.ndarray | None = None
        self._index_bytes = self._read_index()

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def __len__(self) -> int:
        """Rows of all keys."""
        return self._num_rows

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_table": None}  # each process maps the file itself

    def place(self, key: str) -> tuple[int, int]:
        """First row and number of rows of `key`; (0, 0) if it has none."""
        return self._places.get(key, (0, 0))

    @property
    def table(self) -> np.ndarray:
        """All rows [N, width], mapped from the disk."""
        if self._table is None:
            if not self._num_rows:  # an empty file cannot be mapped
                return np.empty((0, self.width), self.dtype)
            self._table = np.memmap(self._data, self.dtype, "r", shape=(self._num_rows, self.width))
        return self._table

    def add(self, keys: Sequence[str], rows: Iterable[np.ndarray]) -> None:
        """Append the rows [n, width] of each key, written to the disk when this returns. Raises ValueError for another width."""
        self._cut_torn_end()
        self._table = None
        lines = []
        with open(self._data, "ab") as data, open(self._index, "a", encoding="utf-8") as index:
            for key, block in zip(keys, rows, strict=True):
                if block.ndim != 2 or block.shape[1] != self.width:
                    raise ValueError(f"{self._data} holds rows of {self.width} numbers, got the shape {block.shape}.")
                data.write(block.astype(self.dtype).tobytes())
                self._places[key] = (self._num_rows, len(block))
                lines.append(json.dumps([key, self._num_rows, len(block)]) + "\n")
                self._num_rows += len(block)
            data.flush()
            os.fsync(data.fileno())
            index.write("".join(lines))

    def _read_index(self) -> int:
        """Take the lines whose rows are all there → the bytes of these lines."""
        row_bytes = self.width * self.dtype.itemsize
        stored = self._data.stat().st_size // row_bytes if self._data.exists() else 0
        num_bytes = 0
        for line in self._index.read_bytes().splitlines(keepends=True) if self._index.exists() else []:
            try:
                entry = json.loads(line)
                # An object with "key", "first" and "frames" is what earlier versions wrote for tokens.
                key, first, count = entry.values() if isinstance(entry, dict) else entry
            except (ValueError, TypeError):  # a power cut may also leave zeros
                break
            if not line.endswith(b"\n") or first + count > stored:
                break
            self._places[key] = (first, count)
            self._num_rows = first + count
            num_bytes += len(line)
        return num_bytes

    def _cut_torn_end(self) -> None:
        if self._may_be_torn:
            for file, size in ((self._data, self._num_rows * self.width * self.dtype.itemsize), (self._index, self._index_bytes)):
                with open(file, "ab") as handle:
                    handle.truncate(size)
            self._may_be_torn = False
