"""Kinds of label that a clip has one of: classes, keys, pitches, tempi, tags, numbers."""

import math
import numbers
from collections.abc import Sequence
from pathlib import Path

import mir_eval
import numpy as np

from ..storage.manifests import LIST_SEPARATOR
from . import metrics
from .labels import LabelKind, Scores, class_rows, mean_scores


LOWEST_BPM, HIGHEST_BPM, BIN_RATIO = 30.0, 300.0, 1.03  # classes of tempo, narrower than the tolerance of Accuracy 1
NUM_GUESSES = 50


class ClassLabels(LabelKind):
    """One of C classes; outputs [R, C]."""

    name = "class"
    description = "text or a whole number"
    primary = "accuracy"
    loss = "classes"
    column = "label"

    def __init__(self, labels: Sequence):
        self.classes = np.array(sorted(set(labels)))
        self.num_outputs = len(self.classes)
        self._number = class_rows(self.classes)

    @classmethod
    def is_label(cls, value) -> bool:
        return isinstance(value, (str, int)) or value.is_integer()

    @classmethod
    def is_written(cls, value) -> bool:
        return isinstance(value, (str, int)) and not isinstance(value, bool)

    @classmethod
    def from_text(cls, text: str, folder: Path) -> str:
        return text

    @classmethod
    def check_together(cls, labels: Sequence, label: str) -> None:
        texts, others = [v for v in labels if isinstance(v, str)], [v for v in labels if not isinstance(v, str)]
        if texts and others:
            raise ValueError(
                f"classes must be all text or all whole numbers, got both {texts[0]!r} and {others[0]!r}: write the numbers as "
                "text, or leave one of the two out."
            )

    def rows(self, labels, counts) -> np.ndarray:
        """→ class numbers [R]."""
        return np.array([self._number[value] for value in labels])

    def score(self, labels, counts, outputs, chosen=None) -> Scores:
        return self.class_scores(np.array(labels), self.classes[outputs.argmax(axis=1)])

    def class_scores(self, truth: np.ndarray, predicted: np.ndarray) -> Scores:
        """truth, predicted: [N] classes."""
        return metrics.class_scores(truth, predicted)

    def constant(self, labels, counts) -> np.ndarray:
        """Votes [C] for the most frequent class."""
        return np.bincount(self.rows(labels, counts), minlength=self.num_outputs).astype(np.float32)

    def guessing(self, fitted, tested) -> Scores:
        """The mean of many draws. For a mean over classes, such as macro-F1, it is above the most frequent answer's score."""
        known, counts = self.rows(fitted, np.ones(len(fitted), dtype=int)), np.ones(len(tested), dtype=int)
        generator = np.random.default_rng(0)
        draws = [np.eye(self.num_outputs)[generator.choice(known, len(tested))] for _ in range(NUM_GUESSES)]
        return mean_scores([self.score(tested, counts, draw) for draw in draws])


class PitchLabels(ClassLabels):
    """MIDI notes."""

    name = "pitch"
    description = "a MIDI note, 0 to 127"
    column = None

    @classmethod
    def is_label(cls, value) -> bool:
        return super().is_label(value) and 0 <= int(value) <= 127

    @classmethod
    def is_written(cls, value) -> bool:
        return False

    def class_scores(self, truth, predicted) -> Scores:
        return metrics.pitch_scores(truth, predicted)


class KeyLabels(ClassLabels):
    """Keys in mir_eval's syntax."""

    name = "key"
    description = "a key as mir_eval writes it, such as 'C# major' or 'A minor'"
    primary = "weighted_score"
    column = None

    @classmethod
    def is_label(cls, value) -> bool:
        mir_eval.key.validate_key(value)
        return True

    @classmethod
    def is_written(cls, value) -> bool:
        return False

    @classmethod
    def check_together(cls, labels, label) -> None:
        """Keys are text, each of them checked."""

    def class_scores(self, truth, predicted) -> Scores:
        return metrics.key_scores(truth, predicted)


class TempoLabels(LabelKind):
    """Beats per minute, a number or a list of one, in classes of 3 %; outputs [R, bins]."""

    name = "tempo"
    description = "one number of beats per minute, above 0"
    primary = "acc1"
    loss = "classes"

    def __init__(self, labels: Sequence):
        num_bins = int(np.log(HIGHEST_BPM / LOWEST_BPM) / np.log(BIN_RATIO)) + 1
        self.classes = LOWEST_BPM * BIN_RATIO ** np.arange(num_bins)
        self.num_outputs = num_bins

    @classmethod
    def is_label(cls, value) -> bool:
        return _are_numbers(value, lowest=0, most=1)

    def rows(self, labels, counts) -> np.ndarray:
        nearest = np.round(np.log(self._bpm(labels) / LOWEST_BPM) / np.log(BIN_RATIO)).astype(int)
        return np.clip(nearest, 0, self.num_outputs - 1)

    def score(self, labels, counts, outputs, chosen=None) -> Scores:
        return metrics.tempo_scores(self._bpm(labels), self.classes[outputs.argmax(axis=1)])

    constant = ClassLabels.constant
    guessing = ClassLabels.guessing

    @staticmethod
    def _bpm(labels: Sequence) -> np.ndarray:
        """→ [N]."""
        return np.array([float(np.atleast_1d(value)[0]) for value in labels])


class TagLabels(LabelKind):
    """Any number of K tags; outputs [R, K]."""

    name = "multilabel"
    description = "a list of tags (in a CSV the column `labels`)"
    primary = "roc_auc"
    loss = "tags"
    column = "labels"
    items = True

    def __init__(self, labels: Sequence):
        self.classes = sorted({tag for tags in labels for tag in tags})
        self.num_outputs = len(self.classes)

    @classmethod
    def is_label(cls, value) -> bool:
        return isinstance(value, list) and all(isinstance(tag, str) for tag in value)

    is_written = is_label

    @classmethod
    def from_text(cls, text: str, folder: Path) -> list[str]:
        return _list_items(text)

    @classmethod
    def missing(cls, labels, is_fitted) -> str | None:
        if not len(labels):
            return "no clip"
        return "the same tags on every clip" if len(set(map(frozenset, labels))) == 1 else None

    def rows(self, labels, counts) -> np.ndarray:
        """→ 0 or 1 [R, K]."""
        return np.array([[tag in set(tags) for tag in self.classes] for tags in labels], dtype=np.float32)

    def score(self, labels, counts, outputs, chosen=None) -> Scores:
        return metrics.multilabel_scores(self.rows(labels, counts), outputs)

    def constant(self, labels, counts) -> np.ndarray:
        return self.rows(labels, counts).mean(axis=0)


class NumberLabels(LabelKind):
    """K numbers; outputs [R, K]."""

    name = "regression"
    description = "a number or a list of numbers, all finite"
    primary = "r2"
    loss = "numbers"
    column = "value"

    def __init__(self, labels: Sequence):
        self.num_outputs = self.rows(labels[:1], None).shape[1]

    @classmethod
    def is_label(cls, value) -> bool:
        return _are_numbers(value)

    @classmethod
    def is_written(cls, value) -> bool:
        is_list = isinstance(value, list) and len(value) > 0 and all(isinstance(item, numbers.Number) for item in value)
        return isinstance(value, float) or is_list

    @classmethod
    def from_text(cls, text: str, folder: Path) -> list[float]:
        return [float(part) for part in _list_items(text)]

    @classmethod
    def check_together(cls, labels, label) -> None:
        lengths = {np.size(value) for value in labels}
        if len(lengths) > 1:
            raise ValueError(
                f"{label!r} must hold as many numbers for every clip, got {' and '.join(map(str, sorted(lengths)))}."
            )

    @classmethod
    def missing(cls, labels, is_fitted) -> str | None:
        if not len(labels):
            return "no clip"
        return "a single clip, and R² needs two" if len(labels) == 1 and not is_fitted else None

    def rows(self, labels, counts) -> np.ndarray:
        return np.array([np.atleast_1d(value) for value in labels], dtype=np.float32)

    def score(self, labels, counts, outputs, chosen=None) -> Scores:
        return metrics.regression_scores(self.rows(labels, counts), outputs)

    constant = TagLabels.constant


def _list_items(text: str) -> list[str]:
    return [part.strip() for part in text.split(LIST_SEPARATOR) if part.strip()]


def _are_numbers(value, lowest: float = -math.inf, most: float = math.inf) -> bool:
    """One or more numbers, `most` at most, finite and above `lowest`."""
    values = np.atleast_1d(value).astype(float)
    return values.ndim == 1 and 0 < values.size <= most and (values > lowest).all() and (values < math.inf).all()
