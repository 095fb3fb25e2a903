"""Probes on frozen features: a linear one on each layer, and a learned sum of layers under a 512-unit MLP (MARBLE's protocol).

arXiv 2306.10548, section 3.3: nothing of the model is trained, test music is never used to choose anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import joblib
import numpy as np

from .features import Features
from .heads import ROWS_AT_ONCE, Predict, fit_head, fit_linear
from .labelled_clips import redraw_validation
from .targets import IGNORED, EventsTarget


PROBES = ("linear", "mlp")
MAX_FITTED_ROWS = 6_000  # clips, or frames, that a head is fitted on; more take long
TEST_BLOCK = 8 * ROWS_AT_ONCE  # rows of the test split of which all layers are in memory at once
NUM_GUESSES = 50

Scores = dict[str, float]


@dataclass(frozen=True)
class ProbeResult:
    """Scores on the test split. layers: layer name → scores of each seed; linear: those of the layer that validation chose.

    chosen_layers: its name for each seed; mlp: of each seed; layer_weights: the MLP's learned weights [L], mean over seeds.
    fitted_rows: clips or frames that each head was fitted on.
    """

    layers: dict[str, list[Scores]] = field(default_factory=dict)
    linear: list[Scores] = field(default_factory=list)
    chosen_layers: list[str] = field(default_factory=list)
    mlp: list[Scores] = field(default_factory=list)
    layer_weights: list[float] = field(default_factory=list)
    fitted_rows: int = 0


def summary(scores: Sequence[Scores]) -> dict[str, dict[str, float]]:
    """Mean and sample standard deviation (n − 1) of every metric over seeds; 0 for a single seed."""
    values = {name: [s[name] for s in scores] for name in scores[0]}
    freedom = min(1, len(scores) - 1)
    return {name: {"mean": float(np.mean(v)), "std": float(np.std(v, ddof=freedom))} for name, v in values.items()}


def run_probes(
    features: Features,
    target,
    primary: str,
    seeds: int = 3,
    probes: Sequence[str] = PROBES,
    redraw: bool = False,
    shuffle: bool = False,
    jobs: int = 1,
) -> ProbeResult:
    """Fit and score every probe once per seed.

    redraw: other groups are the validation for every seed but the first, so that the deviation holds the choice of music too;
    else only the heads' randomness differs, and linear ones without any are fitted once. shuffle: permute the fitted labels,
    after which scores must be chance.
    jobs: processes that fit side by side, one thread each.
    """
    splits = [_Split(features, target, primary, seed, redraw and seed > 0, shuffle) for seed in range(seeds)]
    fits = [joblib.delayed(split.mlp)() for split in splits if "mlp" in probes]  # the longest first
    linear_splits = splits if redraw or shuffle or splits[0].linear_is_random else splits[:1]
    if "linear" in probes:
        fits += [joblib.delayed(split.linear)(layer) for split in linear_splits for layer in range(len(features.layer_names))]
    fitted = iter(joblib.Parallel(n_jobs=jobs)(fits))
    result = ProbeResult(fitted_rows=splits[0].num_fitted)
    if "mlp" in probes:
        tests, weights = zip(*(next(fitted) for _ in splits), strict=True)
        result.mlp.extend(tests)
        result.layer_weights.extend(np.mean(weights, axis=0).tolist())
    if "linear" in probes:
        for _ in linear_splits:
            scores = {name: next(fitted) for name in features.layer_names}  # on validation and test
            for name, (_, test) in scores.items():
                result.layers.setdefault(name, []).append(test)
            chosen = max(scores, key=lambda name: scores[name][0][primary])
            result.chosen_layers.append(chosen)
            result.linear.append(scores[chosen][1])
    return result


def majority_scores(features: Features, target) -> Scores:
    """What the most frequent answer of the training split gives on the test split; for events, a metronome."""
    split = np.array([clip.split for clip in features.clips])
    counts = features.counts
    fitted = [clip for clip in features.clips if clip.split == "train"]
    tested = [clip for clip in features.clips if clip.split == "test"]
    if isinstance(target, EventsTarget):
        return target.metronome(fitted, counts[split == "train"], tested, counts[split == "test"])
    constant = target.constant(fitted, counts[split == "train"])
    outputs = np.tile(constant, (int(counts[split == "test"].sum()), 1))
    return target.score(tested, counts[split == "test"], outputs)


def guessing_scores(features: Features, target) -> Scores:
    """What classes drawn in the training split's proportions give on the test split, one row per clip: the mean of many draws.

    For a mean over classes, such as macro-F1, this is more than the most frequent answer gives.
    """
    fitted = [clip for clip in features.clips if clip.split == "train"]
    tested = [clip for clip in features.clips if clip.split == "test"]
    counts = np.ones(len(tested), dtype=int)
    known = target.rows(fitted, np.ones(len(fitted), dtype=int))
    generator = np.random.default_rng(0)
    draws = [np.eye(target.num_outputs)[generator.choice(known, len(tested))] for _ in range(NUM_GUESSES)]
    return {name: about["mean"] for name, about in summary([target.score(tested, counts, draw) for draw in draws]).items()}


class _Split:
    """The rows of one seed: which are fitted, which choose, which are scored."""

    def __init__(self, features: Features, target, primary: str, seed: int, redraw: bool, shuffle: bool):
        self.features, self.target, self.primary, self.seed = features, target, primary, seed
        splits = redraw_validation(features.clips, seed) if redraw else [clip.split for clip in features.clips]
        self._splits = np.array(splits)
        self._counts = features.counts
        self._row_splits = np.repeat(self._splits, self._counts)
        rows = target.rows(features.clips, self._counts)
        generator = np.random.default_rng(seed)
        usable = np.flatnonzero(self._row_splits == "train")
        if target.loss == "classes":
            usable = usable[rows[usable] != IGNORED]
            if len(np.unique(rows[usable])) < 2:
                raise ValueError(f"the training split has fewer than two classes of {target.label!r}: nothing can be learned.")
        is_drawn = len(usable) > MAX_FITTED_ROWS
        if is_drawn:
            usable = np.sort(generator.choice(usable, MAX_FITTED_ROWS, replace=False))
        self._fitted, self.num_fitted = usable, len(usable)
        self.linear_is_random = is_drawn or (target.loss == "tags" and target.num_outputs > 1)  # see `fit_linear`
        self._y = rows[usable]
        if shuffle:
            self._y = generator.permutation(self._y)

    def linear(self, layer: int) -> tuple[Scores, Scores]:
        """→ scores on the validation and on the test split."""
        return self._fit_and_score(fit_linear, lambda rows: self.features.layer(layer, rows))[:2]

    def mlp(self) -> tuple[Scores, np.ndarray]:
        """→ scores on the test split, learned weights of the layers [L]."""
        _, test, predict = self._fit_and_score(fit_head, self._stacked, TEST_BLOCK)
        return test, predict.layer_weights

    def _stacked(self, rows: np.ndarray) -> np.ndarray:
        """[R, L, D] of these rows; narrower layers are filled up with zeros."""
        widths = self.features.store.widths
        stacked = np.zeros((len(rows), len(widths), max(widths)), dtype=np.float32)
        for layer, width in enumerate(widths):
            stacked[:, layer, :width] = self.features.layer(layer, rows)
        return stacked

    def _fit_and_score(self, fit, rows_of, at_once: int | None = None) -> tuple[Scores, Scores, Predict]:
        """rows_of: indices of rows → their features; at_once: as many of the test rows, else all.

        → scores on validation and test, and what was fitted.
        """
        target = self.target
        x_valid = rows_of(np.flatnonzero(self._row_splits == "valid"))
        predict = fit(rows_of(self._fitted), self._y, x_valid, target.loss, target.num_outputs, self._judge, self.seed)
        valid = target.score(*self._clips("valid"), predict(x_valid))
        tested = np.flatnonzero(self._row_splits == "test")
        step = at_once or len(tested)
        outputs = np.concatenate([predict(rows_of(tested[i : i + step])) for i in range(0, len(tested), step)])
        test = target.score(*self._clips("test"), outputs, chosen=valid)
        return valid, test, predict

    def _clips(self, split: str):
        chosen = self._splits == split
        return [clip for clip, kept in zip(self.features.clips, chosen, strict=True) if kept], self._counts[chosen]

    def _judge(self, outputs: np.ndarray) -> float:
        return self.target.score(*self._clips("valid"), outputs)[self.primary]
