"""What labels of each kind are, and which splits a probe needs of them: checked before any feature is computed."""

import itertools
import math
import reprlib
from collections.abc import Callable, Sequence

import mir_eval
import numpy as np

from .labelled_clips import SPLITS, Clip, check_classes


LISTS = ("multilabel", "frames", "chord")  # of items that are right or wrong one by one
ROUNDING = 0.001  # seconds by which chords may overlap


def check_labels(clips: Sequence[Clip], label: str, kind: str) -> None:
    """Raises ValueError, which names the clip, for a label that is none of its kind."""
    is_valid, valid = LABELS[kind]
    for clip in clips:
        value = clip.labels[label]
        if not _holds(is_valid, value):
            items = value if isinstance(value, list) and kind in LISTS else []
            wrong = next((item for item in items if not _holds(is_valid, [item])), value)
            raise ValueError(f"{clip.path}: a label of kind {kind!r} is {valid}; {label!r} holds {reprlib.repr(wrong)}.")
    values = [clip.labels[label] for clip in clips]
    if kind in ("class", "pitch"):
        check_classes(values)
    lengths = {np.size(value) for value in values} if kind == "regression" else {1}
    if len(lengths) > 1:
        raise ValueError(f"{label!r} must hold as many numbers for every clip, got {' and '.join(map(str, sorted(lengths)))}.")


def check_splits(clips: Sequence[Clip], label: str, kind: str) -> None:
    """Raises ValueError for a split of the labelled clips that leaves nothing to learn or nothing to score."""
    for split in SPLITS:
        lack = _lack([clip.labels[label] for clip in clips if clip.split == split], kind, split == "train")
        if lack:
            raise ValueError(
                f"the label {label!r} cannot be probed: its {split} split has {lack}. Label more clips, or give each a `split`."
            )


def event_times(value) -> np.ndarray:
    """The moments (s) of a label {"events": […]} or […]."""
    return np.array(value["events"] if isinstance(value, dict) else value, dtype=float)


def _lack(values: list, kind: str, is_fitted: bool) -> str | None:
    """What the labels of one split have too little of."""
    if not values:
        return "no clip"
    if kind == "regression":
        return "a single clip, and R² needs two" if len(values) == 1 and not is_fitted else None
    if kind == "multilabel":
        return "the same tags on every clip" if len(set(map(frozenset, values))) == 1 else None
    if kind == "events":
        return "no event" if is_fitted and not any(len(event_times(value)) for value in values) else None
    if kind in ("frames", "chord"):
        values = [name for segments in values for *_, name in segments]
        if not values:
            return "no segment"
    return "a single class" if is_fitted and len(set(map(str, values))) == 1 else None


def _holds(is_valid: Callable, value) -> bool:
    try:
        return bool(is_valid(value))
    except (AttributeError, KeyError, TypeError, ValueError, mir_eval.chord.InvalidChordException):
        return False


def _is_class(value) -> bool:
    return isinstance(value, (str, int)) or value.is_integer()


def _is_key(value: str) -> bool:
    mir_eval.key.validate_key(value)
    return True


def _are_numbers(value, lowest: float = -math.inf, most: float = math.inf) -> bool:
    numbers = np.atleast_1d(value).astype(float)
    return numbers.ndim == 1 and 0 < numbers.size <= most and (numbers > lowest).all() and (numbers < math.inf).all()


def _are_tags(value) -> bool:
    return isinstance(value, list) and all(isinstance(tag, str) for tag in value)


def _are_segments(value) -> bool:
    return isinstance(value, list) and all(0 <= start < end < math.inf for start, end, _ in value)


def _are_chords(value) -> bool:
    for *_, name in value:
        mir_eval.chord.encode(name)
    follow = all(a[1] <= b[0] + ROUNDING for a, b in itertools.pairwise(sorted(value)))
    return len(value) > 0 and follow and _are_segments(value)


def _are_times(value) -> bool:
    times = event_times(value)
    return times.ndim == 1 and np.isfinite(times).all() and (np.diff(times) >= 0).all()


LABELS: dict[str, tuple[Callable, str]] = {  # kind → whether a label is one, and what one is
    "class": (_is_class, "text or a whole number"),
    "pitch": (lambda value: _is_class(value) and 0 <= int(value) <= 127, "a MIDI note, 0 to 127"),
    "key": (_is_key, "a key as mir_eval writes it, such as 'C# major' or 'A minor'"),
    "tempo": (lambda value: _are_numbers(value, lowest=0, most=1), "one number of beats per minute, above 0"),
    "multilabel": (_are_tags, "a list of tags (in a CSV the column `labels`)"),
    "regression": (_are_numbers, "a number or a list of numbers, all finite"),
    "frames": (_are_segments, "a list of [start, end, name], 0 ≤ start < end, in seconds"),
    "chord": (_are_chords, "a list of [start, end, chord as mir_eval writes it], 0 ≤ start < end, in seconds, without overlap"),
    "events": (_are_times, "a list of times in seconds, in increasing order"),
}
