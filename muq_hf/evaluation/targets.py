"""What a probe learns: labels of clips → rows of targets, and a probe's outputs → scores."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from . import metrics
from .encoders import FRAME_RATE
from .labelled_clips import Clip
from .labels import event_times


IGNORED = -1  # target of a frame without label
LOWEST_BPM, HIGHEST_BPM, BIN_RATIO = 30.0, 300.0, 1.03  # classes of tempo, narrower than the tolerance of Accuracy 1
MIN_EVENT_GAP = 0.2  # seconds between two detected events, 300 a minute
THRESHOLDS = np.linspace(0.05, 0.6, 12)  # of the probability of an event, chosen on validation


class ClassTarget:
    """One of C classes per clip; outputs [R, C]."""

    loss = "classes"

    def __init__(self, clips: Sequence[Clip], label: str, scores: Callable = metrics.class_scores):
        self.label = label
        self.classes = np.array(sorted({clip.labels[label] for clip in clips}))
        self.num_outputs = len(self.classes)
        self._index = {name: i for i, name in enumerate(self.classes.tolist())}
        self._scores = scores

    def rows(self, clips: Sequence[Clip], counts: np.ndarray) -> np.ndarray:
        """→ class numbers [R]."""
        return np.array([self._index[clip.labels[self.label]] for clip in clips])

    def score(self, clips, counts, outputs: np.ndarray, chosen: dict | None = None) -> dict[str, float]:
        truth = np.array([clip.labels[self.label] for clip in clips])
        return self._scores(truth, self.classes[outputs.argmax(axis=1)])

    def constant(self, clips, counts) -> np.ndarray:
        """Outputs [C] that name the most frequent class of the clips."""
        return np.bincount(self.rows(clips, counts), minlength=self.num_outputs).astype(np.float32)


class TempoTarget(ClassTarget):
    """Beats per minute, a number or a list of one, in classes of 3 %; outputs [R, bins]."""

    def __init__(self, clips: Sequence[Clip], label: str):
        self.label = label
        num_bins = int(np.log(HIGHEST_BPM / LOWEST_BPM) / np.log(BIN_RATIO)) + 1
        self.classes = LOWEST_BPM * BIN_RATIO ** np.arange(num_bins)
        self.num_outputs = num_bins

    def rows(self, clips, counts) -> np.ndarray:
        bpm = self._bpm(clips)
        nearest = np.round(np.log(bpm / LOWEST_BPM) / np.log(BIN_RATIO)).astype(int)
        return np.clip(nearest, 0, self.num_outputs - 1)

    def score(self, clips, counts, outputs, chosen=None) -> dict[str, float]:
        return metrics.tempo_scores(self._bpm(clips), self.classes[outputs.argmax(axis=1)])

    def _bpm(self, clips: Sequence[Clip]) -> np.ndarray:
        """→ [N]."""
        return np.array([float(np.atleast_1d(clip.labels[self.label])[0]) for clip in clips])


class MultilabelTarget:
    """K tags per clip; outputs [R, K]."""

    loss = "tags"

    def __init__(self, clips: Sequence[Clip], label: str):
        self.label = label
        self.classes = sorted({tag for clip in clips for tag in clip.labels[label]})
        self.num_outputs = len(self.classes)

    def rows(self, clips, counts) -> np.ndarray:
        """→ 0 or 1 [R, K]."""
        return np.array([[tag in set(clip.labels[self.label]) for tag in self.classes] for clip in clips], dtype=np.float32)

    def score(self, clips, counts, outputs, chosen=None) -> dict[str, float]:
        return metrics.multilabel_scores(self.rows(clips, counts), outputs)

    def constant(self, clips, counts) -> np.ndarray:
        return self.rows(clips, counts).mean(axis=0)


class RegressionTarget:
    """K numbers per clip; outputs [R, K]."""

    loss = "numbers"

    def __init__(self, clips: Sequence[Clip], label: str):
        self.label = label
        self.num_outputs = self.rows(clips[:1], None).shape[1]

    def rows(self, clips, counts) -> np.ndarray:
        return np.array([np.atleast_1d(clip.labels[self.label]) for clip in clips], dtype=np.float32)

    def score(self, clips, counts, outputs, chosen=None) -> dict[str, float]:
        return metrics.regression_scores(self.rows(clips, counts), outputs)

    def constant(self, clips, counts) -> np.ndarray:
        return self.rows(clips, counts).mean(axis=0)


class FramesTarget:
    """One of C classes per frame, from labels [[start, end, name], …]; outputs [R, C] over the frames of all clips."""

    loss = "classes"

    def __init__(self, clips: Sequence[Clip], label: str):
        self.label = label
        self.classes = np.array(sorted({str(name) for clip in clips for _, _, name in clip.labels[label]}))
        self.num_outputs = len(self.classes)
        self._index = {name: i for i, name in enumerate(self.classes.tolist())}

    def rows(self, clips, counts) -> np.ndarray:
        """→ class of each frame [R] at its middle, `IGNORED` where nothing is labelled."""
        rows = [np.full(count, IGNORED) for count in counts]
        for frames, clip in zip(rows, clips, strict=True):
            middles = (np.arange(len(frames)) + 0.5) / FRAME_RATE
            for start, end, name in clip.labels[self.label]:
                frames[(middles >= start) & (middles < end)] = self._index[str(name)]
        return np.concatenate(rows)

    def score(self, clips, counts, outputs, chosen=None) -> dict[str, float]:
        truth = self.rows(clips, counts)
        labelled = truth != IGNORED
        predicted = self.classes[outputs.argmax(axis=1)]
        return metrics.class_scores(self.classes[truth[labelled]], predicted[labelled])

    def constant(self, clips, counts) -> np.ndarray:
        truth = self.rows(clips, counts)
        return np.bincount(truth[truth != IGNORED], minlength=self.num_outputs).astype(np.float32)


class ChordTarget(FramesTarget):
    """Chords in mir_eval's syntax ("C:maj", "A:min", "N"), scored by duration."""

    def score(self, clips, counts, outputs, chosen=None) -> dict[str, float]:
        predicted = np.split(self.classes[outputs.argmax(axis=1)], np.cumsum(counts)[:-1])
        references = [self._reference(clip.labels[self.label]) for clip in clips]
        return metrics.chord_scores(references, [_frame_segments(names) for names in predicted])

    @staticmethod
    def _reference(segments) -> tuple[np.ndarray, list[str]]:
        """Sorted segments with their gaps filled: mir_eval wants every moment named. X: outside every vocabulary."""
        intervals, names, position = [], [], 0.0
        for start, end, name in sorted(segments):
            if start > position:
                intervals.append((position, start))
                names.append("X")
            intervals.append((start, end))
            names.append(name)
            position = end
        return np.array(intervals), names


class EventsTarget:
    """Moments (s) per clip, such as beats, as {"events": […]} or […]: outputs [R, 1], the log odds that a frame holds one."""

    loss = "tags"
    num_outputs = 1

    def __init__(self, clips: Sequence[Clip], label: str):
        self.label = label

    def times(self, clip: Clip) -> np.ndarray:
        return event_times(clip.labels[self.label])

    def rows(self, clips, counts) -> np.ndarray:
        """→ [R, 1]: 1 in the frame that holds an event."""
        rows = [np.zeros((count, 1), dtype=np.float32) for count in counts]
        for frames, clip in zip(rows, clips, strict=True):
            index = (self.times(clip) * FRAME_RATE).astype(int)
            frames[index[(index >= 0) & (index < len(frames))]] = 1
        return np.concatenate(rows)

    def score(self, clips, counts, outputs, chosen=None) -> dict[str, float]:
        """The best threshold of `THRESHOLDS`, or the one that was `chosen`."""
        odds = np.split(outputs[:, 0], np.cumsum(counts)[:-1])
        references = [self.times(clip) for clip in clips]
        thresholds = THRESHOLDS if chosen is None else [chosen["threshold"]]
        events = [pick_events(1 / (1 + np.exp(-clip_odds)), thresholds[0]) for clip_odds in odds]
        tried = []
        for threshold in thresholds:
            found = [times[strengths >= threshold] for times, strengths in events]
            tried.append({**metrics.event_scores(references, found), "threshold": float(threshold)})
        return max(tried, key=lambda scores: scores["f_measure"])

    def metronome(self, fitted: Sequence[Clip], fitted_counts, tested: Sequence[Clip], counts) -> dict[str, float]:
        """Score of regular events from the start of each clip on: what knowing nothing gives.

        Their distance is the fitted clips' median one or a part of it, whichever scores best on the fitted clips.
        """
        gaps = np.concatenate([np.diff(self.times(clip)) for clip in fitted])
        gap = float(np.median(gaps)) if len(gaps) else 0.5
        parts = [gap / part for part in range(1, max(1, int(gap / MIN_EVENT_GAP)) + 1)]
        best = max(parts, key=lambda part: self._regular(part, fitted, fitted_counts)["f_measure"])
        return self._regular(best, tested, counts)

    def _regular(self, gap: float, clips: Sequence[Clip], counts: np.ndarray) -> dict[str, float]:
        events = [np.arange(0, count / FRAME_RATE, gap) for count in counts]
        return metrics.event_scores([self.times(clip) for clip in clips], events)


def pick_events(probability: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities per frame [T] → times (s) of the maxima above `threshold`, the stronger of two that are too close; strengths.

    What a higher threshold would give are those of them that are strong enough, since only stronger ones push others out.
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


def _frame_segments(names: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """A name per frame [T] → intervals [n, 2] (s) and names of the runs."""
    starts = np.flatnonzero(np.concatenate([[True], names[1:] != names[:-1]]))
    bounds = np.append(starts, len(names)) / FRAME_RATE
    return np.stack([bounds[:-1], bounds[1:]], axis=1), [str(name) for name in names[starts]]


TARGETS = {
    "class": ClassTarget,
    "multilabel": MultilabelTarget,
    "regression": RegressionTarget,
    "frames": FramesTarget,
    "events": EventsTarget,
    "tempo": TempoTarget,
    "chord": ChordTarget,
    "key": lambda clips, label: ClassTarget(clips, label, metrics.key_scores),
    "pitch": lambda clips, label: ClassTarget(clips, label, metrics.pitch_scores),
}
PRIMARY = {
    "class": "accuracy",
    "multilabel": "roc_auc",
    "regression": "r2",
    "frames": "accuracy",
    "events": "f_measure",
    "tempo": "acc1",
    "chord": "weighted_majmin",
    "key": "weighted_score",
    "pitch": "accuracy",
}
PER_FRAME = ("frames", "events", "chord")
