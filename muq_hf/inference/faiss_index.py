"""Approximate search among millions of vectors, by faiss: cells of near vectors (IVF) in half precision."""

import json
import math
import os
from pathlib import Path

import numpy as np


VECTORS_PER_CELL_FOR_TRAINING = 64
CELLS_LOOKED_INTO = 32
ROWS_AT_ONCE = 65_536
MOST_CELLS = 65_536


class FaissIndex:
    """vectors [N, P] float16 of length 1; `file` keeps the index, made anew when `stamp` has changed.

    Raises ImportError without faiss.
    """

    def __init__(self, vectors: np.ndarray, file: Path, stamp: dict[str, str]):
        try:
            import faiss
        except ImportError as error:
            raise ImportError("approximate search needs faiss: pip install muq_hf[faiss]") from error
        stamp_file = file.with_name(file.name + ".json")
        if not file.exists() or not stamp_file.exists() or json.loads(stamp_file.read_text()) != stamp:
            index = _build(faiss, vectors)
            temporary = file.with_name(f"{file.name}.{os.getpid()}.tmp")
            stamp_file.unlink(missing_ok=True)
            faiss.write_index(index, str(temporary))
            os.replace(temporary, file)
            stamp_file.write_text(json.dumps(stamp))
        self._index = faiss.read_index(str(file), faiss.IO_FLAG_MMAP)
        self._index.nprobe = min(CELLS_LOOKED_INTO, self._index.nlist)

    def search(self, queries: np.ndarray, top_k: int) -> tuple[np.ndarray, np.ndarray]:
        """queries [Q, P] of length 1 → cosines [Q, k], rows [Q, k]; where less is found, a cosine of -inf and row 0."""
        cosines, rows = self._index.search(np.ascontiguousarray(queries, np.float32), top_k)
        is_found = rows >= 0
        return np.where(is_found, cosines, -np.inf), np.where(is_found, rows, 0)


def _build(faiss, vectors: np.ndarray):
    count, size = vectors.shape
    num_cells = max(1, min(MOST_CELLS, int(4 * math.sqrt(count)), count // VECTORS_PER_CELL_FOR_TRAINING or 1))
    cells = faiss.IndexFlatIP(size)
    kind = faiss.ScalarQuantizer.QT_fp16
    index = faiss.IndexIVFScalarQuantizer(cells, size, num_cells, kind, faiss.METRIC_INNER_PRODUCT, False)
    generator = np.random.default_rng(0)
    sample = generator.choice(count, min(count, VECTORS_PER_CELL_FOR_TRAINING * num_cells), replace=False)
    index.train(np.nan_to_num(vectors[np.sort(sample)].astype(np.float32)))
    for first in range(0, count, ROWS_AT_ONCE):
        index.add(np.nan_to_num(vectors[first : first + ROWS_AT_ONCE].astype(np.float32)))
    return index
