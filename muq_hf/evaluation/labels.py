"""What every kind of label answers: which values are labels, what a head learns from them, how its outputs are scored."""

import reprlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..storage.whole_files import read_text


FRAME_RATE = 25  # Hz, of frame labels and frame features whatever the model's own rate
IGNORED = -1  # target of a frame without label

Scores = dict[str, float]


class LabelKind:
    """The labels of a set of clips, taken as one kind. `KIND(labels)` learns from all labels which classes there are.

    A subclass is all that the package knows of a kind of label; `label_kinds.KINDS` names them. Rows are what a head is fitted
    on, one for each clip or, where `per_frame` is set, for each frame of 40 ms; `counts` [N] says how many rows each of the N
    labels has. Outputs [R, num_outputs] of a head are log odds, or numbers, for the rows of all labels one after the other.

    Attributes:
        name: of the kind, as in `muq-hf probe --kind`.
        description: what a label of the kind is, for messages.
        primary: the score that ranks, and that validation chooses by; larger is better.
        loss: what a head minimises: "classes" (cross-entropy), "tags" (binary cross-entropy), "numbers" (squared error).
        per_frame: whether a clip has a row for each frame, and not one.
        column: the column of a table that holds labels of this kind; None where a manifest does not tell the kind.
        items: whether a label is a list whose items are right or wrong one by one.
        num_outputs: of a head, for each row.
        classes: names of the outputs, in their order; None for numbers and events.
    """

    name: str
    description: str
    primary: str
    loss: str
    per_frame = False
    column: str | None = None
    items = False
    num_outputs: int
    classes: Sequence | None = None

    def __init__(self, labels: Sequence):
        raise NotImplementedError

    @classmethod
    def is_label(cls, value) -> bool:
        """Whether a value is a label of this kind. May raise what its checks raise: see `holds`."""
        raise NotImplementedError

    @classmethod
    def is_written(cls, value) -> bool:
        """Whether a manifest that does not name its kind means this one by `value`."""
        return False

    @classmethod
    def from_text(cls, text: str, folder: Path):
        """A field of a table → the label. Raises ValueError for text that is none."""
        raise NotImplementedError

    @classmethod
    def check(cls, labels: Sequence, names: Sequence[str], label: str) -> None:
        """Raises ValueError for a label that is none of the kind, with its clip from `names`; `label` is what they are called."""
        for value, name in zip(labels, names, strict=True):
            if not cls.holds(value):
                items = value if isinstance(value, list) and cls.items else []
                wrong = next((item for item in items if not cls.holds([item])), value)
                raise ValueError(
                    f"{name}: a label of kind {cls.name!r} is {cls.description}; {label!r} holds {reprlib.repr(wrong)}."
                )
        cls.check_together(labels, label)

    @classmethod
    def check_together(cls, labels: Sequence, label: str) -> None:
        """Raises ValueError for labels that do not go together, each of them right."""

    @classmethod
    def holds(cls, value) -> bool:
        """Whether a value is a label of this kind, whatever it is."""
        try:
            return bool(cls.is_label(value))
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
            return False

    @classmethod
    def missing(cls, labels: Sequence, is_fitted: bool) -> str | None:
        """What the labels of one split have too little of to be learned from, or scored; None if they have enough."""
        if not len(labels):
            return "no clip"
        return "a single class" if is_fitted and len(set(map(str, labels))) == 1 else None

    def rows(self, labels: Sequence, counts: np.ndarray) -> np.ndarray:
        """→ what a head learns: class numbers [R] int, or values [R, num_outputs] float32."""
        raise NotImplementedError

    def score(self, labels: Sequence, counts: np.ndarray, outputs: np.ndarray, chosen: Scores | None = None) -> Scores:
        """Scores of outputs [R, num_outputs]; `chosen`: those on validation, where something is chosen on it."""
        raise NotImplementedError

    def constant(self, labels: Sequence, counts: np.ndarray) -> np.ndarray:
        """Outputs [num_outputs] that fit the labels best without looking at the music."""
        raise NotImplementedError

    def majority(self, fitted: Sequence, fitted_counts: np.ndarray, tested: Sequence, counts: np.ndarray) -> Scores:
        """Scores on `tested` of the best constant answer for `fitted`."""
        outputs = np.tile(self.constant(fitted, fitted_counts), (int(np.sum(counts)), 1))
        return self.score(tested, counts, outputs)

    def guessing(self, fitted: Sequence, tested: Sequence) -> Scores | None:
        """Scores of answers drawn in the proportions of `fitted`, where they may be above those of the majority; else None."""
        return None


def mean_scores(scores: Sequence[Scores]) -> Scores:
    return {name: float(np.mean([s[name] for s in scores])) for name in scores[0]}


def class_rows(classes: Sequence) -> dict:
    """Class → its number."""
    return {name: number for number, name in enumerate(np.asarray(classes).tolist())}


def table_lines(path: Path, columns: int) -> list[list[str]]:
    """The lines of a text file, each split at white space into at most so many fields."""
    return [line.split(maxsplit=columns - 1) for line in read_text(path).splitlines() if line.strip()]
