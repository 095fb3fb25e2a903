"""Two ways to tag a file, over time and as a whole: a trained classifier, and words with a MuQ-MuLan."""

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..loader import CLASSIFIERS, load, model_type, read_config
from ..models.configuration_muq import MuQConfig
from ..models.pipeline_classification_muq import MuQAudioClassificationPipeline
from ..storage.figures import new_figure, save_figure
from ..storage.safe_text import csv_cell
from .joint import JointModel
from .tagging import embed_labels


SHOWN_LABELS = 40  # of a picture, those with the highest scores


@dataclass(frozen=True)
class TaggedFile:
    """scores [K] of the whole file; times [N, 2] (s) and scores_over_time [N, K] of its windows or frames."""

    scores: np.ndarray
    times: np.ndarray
    scores_over_time: np.ndarray


class ClassifierTagger:
    """A classifier, in a folder or with a Hub id, that `muq-hf train classifier` or transformers saved.

    Raises ValueError for a model of another kind.
    """

    measure = "score"

    def __init__(self, model: str | os.PathLike, revision: str | None = None, device: str = "auto"):
        loaded, extractor = load(model, revision=revision, device=device)
        if type(loaded) not in CLASSIFIERS.values():
            raise ValueError(f"{model} is no classifier ({type(loaded).__name__}): train one with `muq-hf train classifier`.")
        self._classify = MuQAudioClassificationPipeline(loaded, extractor, device=loaded.device)
        self.labels = [str(loaded.config.id2label[index]) for index in range(loaded.config.num_labels)]

    def __call__(self, path: str | os.PathLike) -> TaggedFile:
        """Raises AudioError for files without usable audio."""
        found = self._classify(os.fspath(path), top_k=None, return_timestamps=True)
        of_file = {row["label"]: row["score"] for row in found["labels"]}
        return TaggedFile(np.array([of_file[label] for label in self.labels]), found["timestamps"], found["scores"])


class WordTagger:
    """Cosines of music and words. template: a text with "{}" where a label goes."""

    measure = "cosine"

    def __init__(self, model: JointModel, labels: Sequence[str], template: str = "{}"):
        self.labels, self._model = list(labels), model
        self._words = embed_labels(self.labels, model, template)  # [K, P]

    def __call__(self, path: str | os.PathLike) -> TaggedFile:
        """Raises AudioError for files without usable audio."""
        times, vectors = self._model.embed_parts(path, self._model.model.config.clip_seconds)  # [N, 2], [N, P]
        mean = (np.diff(times) * vectors).sum(axis=0)
        return TaggedFile(self._words @ (mean / np.linalg.norm(mean)), times, vectors @ self._words.T)


def has_own_labels(model: str | os.PathLike, revision: str | None = None) -> bool:
    """Whether a folder or Hub id holds a MuQ, which tags by its own classes, and no MuQ-MuLan."""
    return model_type(read_config(model, revision)) == MuQConfig.model_type


def write_over_time(found: TaggedFile, labels: Sequence[str], title: str, folder: Path, name: str) -> list[Path]:
    """NAME.csv (start, end, a column for each label), NAME.npz with the arrays, and NAME.png → the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{name}{suffix}" for suffix in (".csv", ".npz", ".png")]
    with open(files[0], "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["start", "end", *map(csv_cell, labels)])
        for (start, end), row in zip(found.times, found.scores_over_time, strict=True):
            writer.writerow([f"{start:.2f}", f"{end:.2f}", *(f"{score:.4f}" for score in row)])
    np.savez_compressed(files[1], times=found.times, scores=found.scores_over_time, labels=np.array(labels))
    _plot(found, labels, title, files[2])
    return files


def _plot(found: TaggedFile, labels: Sequence[str], title: str, path: Path) -> None:
    """Labels over time, the strongest of the whole file at the top."""
    order = np.argsort(-found.scores, kind="stable")[:SHOWN_LABELS]
    figure = new_figure(9, 1.4 + 0.26 * len(order))
    axes = figure.subplots()
    edges = np.append(found.times[:, 0], found.times[-1, 1])
    colours = axes.pcolormesh(edges, np.arange(len(order) + 1), found.scores_over_time[:, order].T, cmap="viridis")
    axes.set_yticks(np.arange(len(order)) + 0.5, [labels[index] for index in order])
    axes.invert_yaxis()
    axes.set(xlabel="s", title=title)
    figure.colorbar(colours, ax=axes, pad=0.01)
    save_figure(figure, path)
