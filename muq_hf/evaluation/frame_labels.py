"""Kinds of label along time: segments, chords, events. Rows are frames of 40 ms."""

import itertools
import math
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
