"""Zero-shot tagging: which words fit which music."""

import os
from collections.abc import Iterator, Sequence

import numpy as np

from ..evaluation.text_tagging import PLACE, label_texts
from ..storage.whole_files import read_text
from .joint import JointModel
from .table_files import TableFiles


def read_labels(path: str | os.PathLike) -> tuple[list[str], list[str]]:
    """A label per line, empty lines left out → labels, each once in order of their first line, and those that came again.

    Raises ValueError for a file that is missing, not UTF-8 text, or without a label.
    """
    labels = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    unique = list(dict.fromkeys(labels))
    if not unique:
        raise ValueError(f"label file {path} holds no label: write one per line.")
    return unique, sorted({label for label in unique if labels.count(label) > 1})


def embed_labels(labels: Sequence[str], model: JointModel, template: str) -> np.ndarray:
    """→ [labels, P]. Raises ValueError for no labels, labels that come twice, and a template without "{}"."""
    if not labels or len(set(labels)) < len(labels):
        raise ValueError(f"labels must be there, each once, got {list(labels)}.")
    return model.embed_texts(label_texts(labels, template))


def tag_table(
    table: TableFiles, labels: Sequence[str], model: JointModel, template: str = PLACE
) -> Iterator[tuple[str, np.ndarray]]:
    """(path, cosines [labels]) of every song of a table of joint vectors; of several parts of a song their mean counts."""
    label_vectors = embed_labels(labels, model, template)
    song, parts = None, []
    for batch in table.batches(["path", "embedding"]):
        vectors = batch["embedding"].flatten().to_numpy(zero_copy_only=False).reshape(batch.num_rows, -1)
        for path, vector in zip(batch["path"].to_pylist(), vectors, strict=True):
            if path != song and parts:
                yield song, _cosines(parts, label_vectors)
                parts = []
            song = path
            parts.append(vector)
    yield song, _cosines(parts, label_vectors)


def _cosines(parts: list[np.ndarray], label_vectors: np.ndarray) -> np.ndarray:
    mean = np.mean(parts, axis=0)
    return label_vectors @ (mean / np.linalg.norm(mean))
