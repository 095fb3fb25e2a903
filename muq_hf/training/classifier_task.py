"""What a classifier learns: the labels of a manifest as a model's configuration, rows of targets, a loss and scores."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from ..evaluation.clip import Clip
from ..evaluation.label_kinds import KINDS, kind_of, own_task
from ..evaluation.labelled_clips import read_manifest, with_label
from ..evaluation.labels import FRAME_RATE, IGNORED
from ..models.classification_muq import IGNORED_LABEL


PROBLEMS = {"classes": "single_label_classification", "tags": "multi_label_classification", "numbers": "regression"}
MIN_DEVIATION = 1e-6


class ClassifierTask:
    """One label of labelled clips. kind: as in `muq-hf probe`; default: what the labels look like.

    Raises ValueError for a label that no clip has, for labels of another kind, and for splits that leave nothing to learn.
    """

    def __init__(self, clips: Sequence[Clip], label: str | None = None, kind: str | None = None, metric: str | None = None):
        names = sorted({name for clip in clips for name in clip.labels})
        if label is None and len(names) > 1:
            raise ValueError(f"the clips have the labels {', '.join(names)}: choose one, `label`.")
        self.label = label or names[0]
        clips = with_label(clips, self.label)
        labels = self._labels(clips)
        self.kind = kind or kind_of(labels)
        task = own_task(self.label, clips, self.label, self.kind)
        self.clips = {split: [clip for clip in clips if clip.split == split] for split in ("train", "valid", "test")}
        self.target = KINDS[self.kind](labels)
        self.per_frame = self.target.per_frame
        self.problem = PROBLEMS[self.target.loss]
        self.metric = metric or task.primary
        self.offset, self.scale = self._spread() if self.problem == "regression" else (0.0, 1.0)

    @classmethod
    def from_manifest(cls, path: str | Path, **choices) -> "ClassifierTask":
        return cls(read_manifest(path), **choices)

    @property
    def names(self) -> list[str]:
        """Of the model's outputs."""
        if self.target.classes is not None:
            classes = np.asarray(self.target.classes).tolist()
            return [f"{name:.4g}" if isinstance(name, float) else str(name) for name in classes]
        number = self.target.num_outputs
        return [self.label] if number == 1 else [f"{self.label} {index}" for index in range(number)]

    def configure(self) -> dict:
        """Fields of the model's configuration."""
        id2label = dict(enumerate(self.names))
        return {"id2label": id2label, "label2id": {name: i for i, name in id2label.items()}, "problem_type": self.problem}

    def rows(self, clips: Sequence[Clip], counts: Sequence[int]) -> list[np.ndarray]:
        """What each clip is to learn: [] or [K], or for its `counts` frames [T(, K)]; numbers with mean 0 and deviation 1."""
        rows = self.target.rows(self._labels(clips), np.asarray(counts) if self.per_frame else np.ones(len(clips), dtype=int))
        if self.problem == "regression":
            rows = ((rows - self.offset) / self.scale).astype(np.float32)
        if self.problem == "single_label_classification":
            rows = np.where(rows == IGNORED, IGNORED_LABEL, rows).astype(np.int64)
        return np.split(rows, np.cumsum(counts)[:-1]) if self.per_frame else list(rows)

    def class_weights(self, rows: Sequence[np.ndarray]) -> torch.Tensor:
        """[K] such that each class (or of a tag its clips with it) counts as much as the others; mean 1 over the rows."""
        flat = np.concatenate([np.atleast_1d(row) if row.ndim < 2 else row for row in rows]) if self.per_frame else np.stack(rows)
        if self.problem == "single_label_classification":
            counts = np.bincount(flat[flat != IGNORED_LABEL], minlength=self.target.num_outputs)
            weights = np.where(counts > 0, counts.sum() / (np.count_nonzero(counts) * np.maximum(counts, 1)), 0.0)
        else:
            positive = flat.mean(axis=0)
            weights = (1 - positive) / np.maximum(positive, 1 / len(flat))
        return torch.tensor(weights, dtype=torch.float32)

    def loss(self, logits: torch.Tensor, labels: torch.Tensor, is_music: torch.Tensor | None, weights: torch.Tensor | None):
        """logits [B, K] with labels of clips, or [B, T, K] with labels of frames, of which those of `is_music` [B, T] count."""
        logits = logits.float()
        if self.per_frame:
            logits, labels = logits[is_music], labels[is_music]
        if self.problem == "single_label_classification":
            return F.cross_entropy(logits, labels, weight=weights, ignore_index=IGNORED_LABEL)
        if self.problem == "multi_label_classification":
            return F.binary_cross_entropy_with_logits(logits, labels.float(), pos_weight=weights)
        labels = labels.float().view_as(logits)
        is_known = ~labels.isnan()  # of frames some may have no numbers
        return F.mse_loss(logits[is_known], labels[is_known]) if is_known.any() else 0.0 * logits.sum()

    def activate(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits → what windows of a clip are averaged in: probabilities or numbers. Frames are not averaged, and stay."""
        if self.per_frame:
            return logits
        if self.problem == "single_label_classification":
            return logits.softmax(dim=-1)
        return logits.sigmoid() if self.problem == "multi_label_classification" else logits

    def score(
        self, clips: Sequence[Clip], counts: np.ndarray, outputs: np.ndarray, chosen: dict | None = None
    ) -> dict[str, float]:
        """outputs: of clips [N, K] or of all frames [R, K], as the model gives them → the scores of the kind.

        Raises ValueError if `metric` is none of them.
        """
        scores = self.target.score(self._labels(clips), counts, outputs * self.scale + self.offset, chosen=chosen)
        if self.metric not in scores:
            raise ValueError(f"`metric` of {self.kind!r} labels is one of {', '.join(scores)}; got {self.metric!r}.")
        return scores

    def check_frame_rate(self, config) -> None:
        if self.per_frame and config.frame_rate != FRAME_RATE:
            raise ValueError(f"frames are labelled at {FRAME_RATE} Hz, and this model has {config.frame_rate:g} frames a second.")

    def _labels(self, clips: Sequence[Clip]) -> list:
        return [clip.labels[self.label] for clip in clips]

    def _spread(self) -> tuple[np.ndarray, np.ndarray]:
        clips = self.clips["train"]
        labels = self._labels(clips)
        numbers = self.target.rows(labels, self.target.lengths(labels) if self.per_frame else np.ones(len(clips), dtype=int))
        return np.nanmean(numbers, axis=0), np.maximum(np.nanstd(numbers, axis=0), MIN_DEVIATION)
