"""Zero-shot tagging: which words fit which music."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .joint import JointModel, embed_each


DEFAULT_TEMPLATE = "{}"


@dataclass(frozen=True)
class TagScores:
    """cosines [files, labels] of the `paths` that could be read; failures: what is wrong with the others, by path."""

    paths: list[str]
    labels: list[str]
    cosines: np.ndarray
    failures: dict[str, str]


def read_labels(path: str | os.PathLike) -> tuple[list[str], list[str]]:
    """A label per line, empty lines left out → labels, each once in order of their first line, and those that came again.

    Raises ValueError for a file that is missing, not UTF-8 text, or without a label.
    """
    try:
        lines = Path(path).read_text("utf-8-sig").splitlines()
    except OSError as error:
        raise ValueError(f"label file {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"label file {path} is not UTF-8 text ({error.reason} at byte {error.start}).") from error
    labels = [line.strip() for line in lines if line.strip()]
    unique = list(dict.fromkeys(labels))
    if not unique:
        raise ValueError(f"label file {path} holds no label: write one per line.")
    return unique, sorted({label for label in unique if labels.count(label) > 1})


def tag_files(
    paths: Sequence[str],
    labels: Sequence[str],
    model: JointModel,
    template: str = DEFAULT_TEMPLATE,
    progress: bool = False,
) -> TagScores:
    """Cosine of every file with every label; `template` makes a label a text, with "{}" in place of it.

    Raises ValueError for no labels, for labels that come twice, and for a template without "{}".
    """
    if not labels or len(set(labels)) < len(labels):
        raise ValueError(f"labels must be there, each once, got {list(labels)}.")
    if "{}" not in template:
        raise ValueError(f"the template {template!r} needs '{{}}' where the label goes.")
    label_vectors = model.embed_texts([template.replace("{}", label) for label in labels])
    vectors, failures = embed_each(model, paths, progress)
    cosines = np.stack(list(vectors.values())) @ label_vectors.T if vectors else np.empty((0, len(labels)), np.float32)
    return TagScores(list(vectors), list(labels), cosines, failures)
