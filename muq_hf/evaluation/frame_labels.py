"""Kinds of label along time: segments, chords, events, numbers. Rows are frames of 40 ms."""

import itertools
import math
import numbers
from collections.abc import Sequence
from pathlib import Path

import mir_eval
import numpy as np

from . import metrics
from .labels import FRAME_RATE, IGNORED, LabelKind, Scores, class_rows, table_lines


ROUNDING = 0.001  # seconds by which chords may overlap
MIN_EVENT_GAP = 0.2  # seconds between two detected events, 300 a minute
THRESHOLDS = np.linspace(0.05, 0.6, 12)  # of the probability of an event, chosen on validation


class SegmentLabels(LabelKind):
    """One of C classes per frame, from labels [[start, end, name], …] in seconds of the clip; outputs [R, C]."""

    name = "frames"
    description = "a list of [start, end, name], 0 ≤ start < end, in seconds"
    primary = "accuracy"
    loss = "classes"
    per_frame = True
    column = "segments"
    items = True

    def __init__(self, labels: Sequence):
        self.classes = np.array(sorted({str(name) for segments in labels for _, _, name in segments}))
        self.num_outputs = len(self.classes)
        self._number = class_rows(self.classes)

    @classmethod
    def is_label(cls, value) -> bool:
        return isinstance(value, list) and all(0 <= start < end < math.inf for start, end, _ in value)

    @classmethod
    def is_written(cls, value) -> bool:
        return isinstance(value, list) and len(value) > 0 and all(isinstance(i, (list, tuple)) and len(i) == 3 for i in value)

    @classmethod
    def from_text(cls, text: str, folder: Path) -> list:
        """`text`: a file of lines "start end name" in the manifest's folder."""
        return [[float(start), float(end), name] for start, end, name in table_lines(folder / text, 3)]

    @classmethod
    def missing(cls, labels, is_fitted) -> str | None:
        if not len(labels):
            return "no clip"
        names = [name for segments in labels for *_, name in segments]
        return super().missing(names, is_fitted) if names else "no segment"

    def rows(self, labels, counts) -> np.ndarray:
        """→ class of each frame [R] at its middle, `IGNORED` where nothing is labelled."""
        rows = [np.full(count, IGNORED) for count in counts]
        for frames, segments in zip(rows, labels, strict=True):
            middles = (np.arange(len(frames)) + 0.5) / FRAME_RATE
            for start, end, name in segments:
                frames[(middles >= start) & (middles < end)] = self._number[str(name)]
        return np.concatenate(rows)

    def score(self, labels, counts, outputs, chosen=None) -> Scores:
        truth = self.rows(labels, counts)
        labelled = truth != IGNORED
        predicted = self.classes[outputs.argmax(axis=1)]
        return metrics.class_scores(self.classes[truth[labelled]], predicted[labelled])

    def constant(self, labels, counts) -> np.ndarray:
        truth = self.rows(labels, counts)
        return np.bincount(truth[truth != IGNORED], minlength=self.num_outputs).astype(np.float32)


class ChordLabels(SegmentLabels):
    """Chords in mir_eval's syntax ("C:maj", "A:min", "N"), scored by duration."""

    name = "chord"
    description = "a list of [start, end, chord as mir_eval writes it], 0 ≤ start < end, in seconds, without overlap"
    primary = "weighted_majmin"
    column = None

    @classmethod
    def is_label(cls, value) -> bool:
        try:
            for *_, name in value:
                mir_eval.chord.encode(name)
        except mir_eval.chord.InvalidChordException:
            return False
        follow = all(a[1] <= b[0] + ROUNDING for a, b in itertools.pairwise(sorted(value)))
        return len(value) > 0 and follow and super().is_label(value)

    @classmethod
    def is_written(cls, value) -> bool:
        return False

    def score(self, labels, counts, outputs, chosen=None) -> Scores:
        predicted = np.split(self.classes[outputs.argmax(axis=1)], np.cumsum(counts)[:-1])
        references = [_with_filled_gaps(segments) for segments in labels]
        return metrics.chord_scores(references, [_frame_segments(names) for names in predicted])


class EventLabels(LabelKind):
    """Moments (s) such as beats, as {"events": […]} or […]; outputs [R, 1], the log odds that a frame holds one."""

    name = "events"
    description = "a list of times in seconds, in increasing order"
    primary = "f_measure"
    loss = "tags"
    per_frame = True
    column = "events"
    num_outputs = 1

    def __init__(self, labels: Sequence):
        """Nothing is learned from the labels: every event is one."""

    @classmethod
    def is_label(cls, value) -> bool:
        times = event_times(value)
        return times.ndim == 1 and np.isfinite(times).all() and (np.diff(times) >= 0).all()

    @classmethod
    def is_written(cls, value) -> bool:
        return isinstance(value, dict) and "events" in value

    @classmethod
    def from_text(cls, text: str, folder: Path) -> dict:
        """`text`: a file in the manifest's folder with a time at the start of each line."""
        return {"events": [float(fields[0]) for fields in table_lines(folder / text, 2)]}

    @classmethod
    def missing(cls, labels, is_fitted) -> str | None:
        if not len(labels):
            return "no clip"
        return "no event" if is_fitted and not any(len(event_times(value)) for value in labels) else None

    def rows(self, labels, counts) -> np.ndarray:
        """→ [R, 1]: 1 in the frame that holds an event."""
        rows = [np.zeros((count, 1), dtype=np.float32) for count in counts]
        for frames, value in zip(rows, labels, strict=True):
            index = (event_times(value) * FRAME_RATE).astype(int)
            frames[index[(index >= 0) & (index < len(frames))]] = 1
        return np.concatenate(rows)

    def score(self, labels, counts, outputs, chosen=None) -> Scores:
        """With the best threshold of `THRESHOLDS`, or the one that was `chosen`."""
        odds = np.split(outputs[:, 0], np.cumsum(counts)[:-1])
        references = [event_times(value) for value in labels]
        thresholds = THRESHOLDS if chosen is None else [chosen["threshold"]]
        events = [pick_events(1 / (1 + np.exp(-clip_odds)), thresholds[0]) for clip_odds in odds]
        tried = []
        for threshold in thresholds:
            found = [times[strengths >= threshold] for times, strengths in events]
            tried.append({**metrics.event_scores(references, found), "threshold": float(threshold)})
        return max(tried, key=lambda scores: scores["f_measure"])

    def majority(self, fitted, fitted_counts, tested, counts) -> Scores:
        """A metronome that starts with each clip: the fitted clips' median distance or a part of it, whichever fits them best."""
        gaps = np.concatenate([np.diff(event_times(value)) for value in fitted])
        gap = float(np.median(gaps)) if len(gaps) else 0.5
        parts = [gap / part for part in range(1, max(1, int(gap / MIN_EVENT_GAP)) + 1)]
        best = max(parts, key=lambda part: _metronome_scores(part, fitted, fitted_counts)["f_measure"])
        return _metronome_scores(best, tested, counts)


class CurveLabels(LabelKind):
    """K numbers per frame, such as quality or arousal over time; outputs [R, K].

    A label is [[start, end, number or K numbers], …], each number for a stretch, or {"times": […], "values": […]}: numbers at
    moments (s), joined by straight lines. Frames outside the stretches, or outside the moments, have no number.
    """

    name = "curve"
    description = (
        'a list of [start, end, number(s)], 0 ≤ start < end, or {"times": […], "values": […]} of equal length, in seconds'
    )
    primary = "r2"
    loss = "numbers"
    per_frame = True
    column = "curve"

    def __init__(self, labels: Sequence):
        self.num_outputs = self._num_values(labels[0])

    @classmethod
    def is_label(cls, value) -> bool:
        if isinstance(value, dict):
            times, values = np.array(value["times"], dtype=float), np.array(value["values"], dtype=float)
            is_ordered = np.isfinite(times).all() and (times >= 0).all() and (np.diff(times) > 0).all()
            return times.ndim == 1 and values.ndim in (1, 2) and len(times) == len(values) > 0 and is_ordered and _finite(values)
        stretches = all(0 <= start < end < math.inf for start, end, _ in value)
        return len(value) > 0 and stretches and _finite(np.array([np.atleast_1d(row[2]) for row in value], dtype=float))

    @classmethod
    def is_written(cls, value) -> bool:
        if isinstance(value, dict):
            return "times" in value and "values" in value
        return SegmentLabels.is_written(value) and all(cls._is_value(third) for *_, third in value)

    @staticmethod
    def _is_value(third) -> bool:
        return isinstance(third, float) or (isinstance(third, list) and all(isinstance(item, numbers.Number) for item in third))

    @classmethod
    def from_text(cls, text: str, folder: Path) -> dict:
        """`text`: a file of lines "time value…" in the manifest's folder."""
        lines = [[float(field) for field in " ".join(fields).split()] for fields in table_lines(folder / text, 2)]
        return {"times": [line[0] for line in lines], "values": [line[1:] for line in lines]}

    @classmethod
    def check_together(cls, labels, label) -> None:
        sizes = sorted({cls._num_values(value) for value in labels})
        if len(sizes) > 1:
            raise ValueError(f"{label!r} must hold as many numbers for every clip, got {' and '.join(map(str, sizes))}.")

    @classmethod
    def missing(cls, labels, is_fitted) -> str | None:
        return None if len(labels) else "no clip"

    def rows(self, labels, counts) -> np.ndarray:
        """→ the numbers at the middle of each frame [R, K], NaN where there are none."""
        rows = [np.full((count, self.num_outputs), np.nan, dtype=np.float32) for count in counts]
        for frames, label in zip(rows, labels, strict=True):
            middles = (np.arange(len(frames)) + 0.5) / FRAME_RATE
            if not isinstance(label, dict):
                for start, end, value in label:
                    frames[(middles >= start) & (middles < end)] = value
                continue
            times, values = np.array(label["times"]), np.array(label["values"]).reshape(len(label["times"]), -1)
            is_within = (middles >= times[0] - 0.5 / FRAME_RATE) & (middles <= times[-1] + 0.5 / FRAME_RATE)
            for column, numbers_at in zip(frames.T, values.T, strict=True):
                column[is_within] = np.interp(middles[is_within], times, numbers_at)
        return np.concatenate(rows)

    @staticmethod
    def lengths(labels: Sequence) -> np.ndarray:
        """Frames up to the end of each label [N]."""
        ends = np.array([label["times"][-1] if isinstance(label, dict) else max(row[1] for row in label) for label in labels])
        return np.ceil(ends * FRAME_RATE).astype(int) + 1

    def score(self, labels, counts, outputs, chosen=None) -> Scores:
        """R² and correlations over all frames that have numbers."""
        truth = self.rows(labels, counts)
        is_known = ~np.isnan(truth).any(axis=1)
        return metrics.regression_scores(truth[is_known], outputs[is_known])

    def constant(self, labels, counts) -> np.ndarray:
        return np.nanmean(self.rows(labels, counts), axis=0)

    @staticmethod
    def _num_values(label) -> int:
        return np.size(label["values"][0] if isinstance(label, dict) else label[0][2])


def _finite(values: np.ndarray) -> bool:
    return bool(np.isfinite(values).all())


def event_times(value) -> np.ndarray:
    """The moments (s) of a label {"events": […]} or […]."""
    return np.array(value["events"] if isinstance(value, dict) else value, dtype=float)


def pick_events(probability: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities per frame [T] → times (s) of the maxima above `threshold`, and their strengths.

    Of two maxima that are too close the stronger one is kept. A higher threshold would give those of them that reach it, since
    weaker maxima never push out stronger ones.
    """
    padded = np.concatenate([[-1.0], probability, [-1.0]])
    peaks = np.flatnonzero((padded[1:-1] >= padded[:-2]) & (padded[1:-1] > padded[2:]) & (probability >= threshold))
    is_free = np.ones(len(probability), dtype=bool)
    reach = math.ceil(MIN_EVENT_GAP * FRAME_RATE) - 1  # frames on either side that an event keeps free
    kept = []
    for peak in peaks[np.argsort(-probability[peaks], kind="stable")]:
        if is_free[peak]:
            kept.append(peak)
            is_free[max(0, peak - reach) : peak + reach + 1] = False
    kept = np.sort(np.array(kept, dtype=int))
    return (kept + 0.5) / FRAME_RATE, probability[kept]


def _metronome_scores(gap: float, labels: Sequence, counts: np.ndarray) -> Scores:
    events = [np.arange(0, count / FRAME_RATE, gap) for count in counts]
    return metrics.event_scores([event_times(value) for value in labels], events)


def _with_filled_gaps(segments) -> tuple[np.ndarray, list[str]]:
    """Sorted segments without gaps, as mir_eval wants them: "X", which is outside every vocabulary, where none is labelled."""
    intervals, names, position = [], [], 0.0
    for start, end, name in sorted(segments):
        if start > position:
            intervals.append((position, start))
            names.append("X")
        intervals.append((start, end))
        names.append(name)
        position = end
    return np.array(intervals), names


def _frame_segments(names: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """A name per frame [T] → intervals [n, 2] (s) and names of the runs."""
    starts = np.flatnonzero(np.concatenate([[True], names[1:] != names[:-1]]))
    bounds = np.append(starts, len(names)) / FRAME_RATE
    return np.stack([bounds[:-1], bounds[1:]], axis=1), [str(name) for name in names[starts]]
