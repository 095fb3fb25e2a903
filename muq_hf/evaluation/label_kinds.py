"""The kinds of label that there are, and which of them a manifest means."""

import numbers
from collections.abc import Sequence

from .clip import Clip
from .clip_labels import ClassLabels, KeyLabels, NumberLabels, PitchLabels, TagLabels, TempoLabels
from .frame_labels import ChordLabels, CurveLabels, EventLabels, SegmentLabels
from .labels import LabelKind
from .splits import SPLITS
from .tasks import RETRIEVAL, Task


KINDS: dict[str, type[LabelKind]] = {
    kind.name: kind
    for kind in (
        ClassLabels,
        TagLabels,
        NumberLabels,
        CurveLabels,
        SegmentLabels,
        EventLabels,
        KeyLabels,
        PitchLabels,
        TempoLabels,
        ChordLabels,
    )
}
COLUMNS: dict[str, type[LabelKind]] = {kind.column: kind for kind in KINDS.values() if kind.column}  # of a table


def find_kind(name: str) -> type[LabelKind]:
    """Raises ValueError for a kind that there is not."""
    if name not in KINDS:
        raise ValueError(f"unknown kind of label {name!r}; valid: {', '.join(KINDS)}.")
    return KINDS[name]


def is_one_label(value: dict) -> bool:
    """Whether a dictionary is a label itself, such as {"events": […]}, and not several labels by name."""
    return any(kind.is_written(value) for kind in KINDS.values())


def kind_of(labels: Sequence) -> str:
    """The kind that labels of a manifest are; an empty list is of the others' kind. Raises ValueError for a mixture."""
    kinds = {_kind_of(value) for value in labels if value != []} or set(map(_kind_of, labels))
    if kinds == {"class", "regression"} and all(isinstance(value, numbers.Number) for value in labels):
        return "regression"
    if kinds == {SegmentLabels.name, CurveLabels.name} and all(map(_has_numbers, labels)):
        return CurveLabels.name
    if len(kinds) != 1:
        raise ValueError(f"labels of one task must be of one kind, got {', '.join(sorted(kinds))}.")
    (kind,) = kinds
    if kind == ClassLabels.name:
        ClassLabels.check_together(labels, "")
    return kind


def _has_numbers(value) -> bool:
    """Whether no stretch of a label has text."""
    return isinstance(value, dict) or not any(isinstance(name, str) for *_, name in value)


def _kind_of(value) -> str:
    kind = next((name for name, kind in KINDS.items() if kind.is_written(value)), None)
    if kind is None:
        raise ValueError(
            f"label {value!r} is none of: a class (text or whole number), a list of tags, numbers, "
            '[[start, end, label or number], …], {"events": [seconds, …]}, {"times": [seconds, …], "values": [numbers, …]}'
        )
    return kind


def own_task(name: str, clips: Sequence[Clip], label: str, kind: str) -> Task:
    """A task on clips of one's own.

    Raises ValueError for an unknown kind, labels that are none of it, and splits that leave nothing to learn or to score.
    """
    if kind == RETRIEVAL:
        return Task(name, label, kind, "r_at_1", clips)
    task = Task(name, label, kind, find_kind(kind).primary, clips)
    KINDS[kind].check(task.labels(clips), [str(clip.path) for clip in clips], label)
    check_splits(task, clips)
    return task


def check_splits(task: Task, clips: Sequence[Clip]) -> None:
    """Raises ValueError for a split of the clips that leaves nothing to learn or nothing to score."""
    for split in SPLITS:
        labels = task.labels([clip for clip in clips if clip.split == split])
        missing = KINDS[task.kind].missing(labels, is_fitted=split == "train")
        if missing:
            raise ValueError(
                f"the label {task.label!r} cannot be probed: its {split} split has {missing}. Label more clips, or give each a "
                "`split`."
            )
