"""Probes on frozen features: a linear one on each layer, and a learned sum of layers under a 512-unit MLP (MARBLE's protocol).

arXiv 2306.10548, section 3.3: nothing of the model is trained, test music is never used to choose anything. Every model's frames
are pooled in the same ways, and validation chooses the layer and the pooling.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import joblib
import numpy as np

from .features import Features
from .heads import ROWS_AT_ONCE, Predict, fit_head, fit_linear
from .labels import IGNORED, LabelKind, Scores
from .splits import redraw_validation


PROBES = ("linear", "mlp")
POOLINGS = ("mean", "mean+std")  # that are compared, of those in `models.pooling_muq.POOLS`
MAX_FITTED_ROWS = 6_000  # clips, or frames, that a head is fitted on; more take long
TEST_BLOCK = 8 * ROWS_AT_ONCE  # rows of the test split of which all layers are in memory at once


@dataclass(frozen=True)
class ProbeResult:
    """Scores on the test split, one for each seed.

    linear, mlp: of the layer and pooling that validation chose. linear_by_pool, mlp_by_pool: of each pooling, with the layer that
    validation chose for it. layers: of each layer, with the pooling that validation chose for it.
    chosen_layers, chosen_pools: what `linear` chose; mlp_pools: what `mlp` chose, and layer_weights: its learned weights of the
    layers [L], mean over seeds. fitted_rows: clips or frames that each head was fitted on.
    """

    linear: list[Scores] = field(default_factory=list)
    linear_by_pool: dict[str, list[Scores]] = field(default_factory=dict)
    layers: dict[str, list[Scores]] = field(default_factory=dict)
    chosen_layers: list[str] = field(default_factory=list)
    chosen_pools: list[str] = field(default_factory=list)
    mlp: list[Scores] = field(default_factory=list)
    mlp_by_pool: dict[str, list[Scores]] = field(default_factory=dict)
    mlp_pools: list[str] = field(default_factory=list)
    layer_weights: list[float] = field(default_factory=list)
    fitted_rows: int = 0

    def add_linear(self, fits: dict[tuple[str, str], tuple[float, Scores]]) -> None:
        """One seed: (layer, pooling) → the score that chooses, and the scores on the test split."""
        for layer in dict.fromkeys(layer for layer, _ in fits):
            self.layers.setdefault(layer, []).append(_best(fits, layer=layer)[2])
        for pool in dict.fromkeys(pool for _, pool in fits):
            self.linear_by_pool.setdefault(pool, []).append(_best(fits, pool=pool)[2])
        layer, pool, scores = _best(fits)
        self.chosen_layers.append(layer)
        self.chosen_pools.append(pool)
        self.linear.append(scores)


def _best(
    fits: dict[tuple[str, str], tuple[float, Scores]], layer: str | None = None, pool: str | None = None
) -> tuple[str, str, Scores]:
    """The layer, pooling and test scores with the best validation among those of this layer or pooling."""
    tried = [key for key in fits if layer in (None, key[0]) and pool in (None, key[1])]
    best = max(tried, key=lambda key: fits[key][0])
    return *best, fits[best][1]


def summary(scores: Sequence[Scores]) -> dict[str, dict[str, float]]:
    """Mean and sample standard deviation (n − 1) of every metric over seeds; 0 for a single seed."""
    values = {name: [s[name] for s in scores] for name in scores[0]}
    freedom = min(1, len(scores) - 1)
    return {name: {"mean": float(np.mean(v)), "std": float(np.std(v, ddof=freedom))} for name, v in values.items()}


def poolings_of(features: Features, wanted: Sequence[str] = POOLINGS) -> tuple[str, ...]:
    """Those of `wanted` that the features have; features of frames are not pooled."""
    return tuple(pool for pool in wanted if pool in features.pools) or features.pools


def run_probes(
    features: Features,
    kind: LabelKind,
    labels: Sequence,
    primary: str,
    seeds: int = 3,
    probes: Sequence[str] = PROBES,
    poolings: Sequence[str] = POOLINGS,
    redraw: bool = False,
    shuffle: bool = False,
    jobs: int = 1,
) -> ProbeResult:
    """Fit and score every probe once per seed.

    kind, labels: of the features' clips. poolings: ways to pool the frames of a clip, of which validation chooses one.
    redraw: other groups are the validation for every seed but the first, so that the deviation holds the choice of music too;
    else only the heads' randomness differs, and linear ones without any are fitted once. shuffle: permute the fitted labels,
    after which scores must be chance.
    jobs: processes that fit side by side, one thread each.
    """
    pools = poolings_of(features, poolings)
    splits = [_Split(features, kind, labels, primary, seed, redraw and seed > 0, shuffle) for seed in range(seeds)]
    linear_splits = splits if redraw or shuffle or splits[0].linear_is_random else splits[:1]
    layers = list(enumerate(features.layer_names))
    fits = []
    if "mlp" in probes:  # the longest first
        fits += [joblib.delayed(split.mlp)(pool) for split in splits for pool in pools]
    if "linear" in probes:
        fits += [joblib.delayed(split.linear)(layer, pool) for split in linear_splits for layer, _ in layers for pool in pools]
    fitted = iter(joblib.Parallel(n_jobs=jobs)(fits))
    result = ProbeResult(fitted_rows=splits[0].num_fitted)
    if "mlp" in probes:
        weights = []
        for _ in splits:
            of_pool = {pool: next(fitted) for pool in pools}
            for pool, (_, test, _) in of_pool.items():
                result.mlp_by_pool.setdefault(pool, []).append(test)
            chosen = max(of_pool, key=lambda pool: of_pool[pool][0])
            result.mlp_pools.append(chosen)
            result.mlp.append(of_pool[chosen][1])
            weights.append(of_pool[chosen][2])
        result.layer_weights.extend(np.mean(weights, axis=0).tolist())
    if "linear" in probes:
        for _ in linear_splits:
            result.add_linear({(name, pool): next(fitted) for _, name in layers for pool in pools})
    return result


class _Split:
    """The rows of one seed: fitted (train), choosing (valid) and scored (test)."""

    def __init__(
        self, features: Features, kind: LabelKind, labels: Sequence, primary: str, seed: int, redraw: bool, shuffle: bool
    ):
        self.features, self.kind, self.primary, self.seed = features, kind, primary, seed
        splits = redraw_validation(features.clips, seed) if redraw else [clip.split for clip in features.clips]
        self._labels, self._counts = labels, features.counts
        self._splits = np.array(splits)
        self._row_splits = np.repeat(self._splits, self._counts)
        rows = kind.rows(labels, self._counts)
        generator = np.random.default_rng(seed)
        usable = np.flatnonzero(self._row_splits == "train")
        if kind.loss == "classes":
            usable = usable[rows[usable] != IGNORED]
            if len(np.unique(rows[usable])) < 2:
                raise ValueError("the training split has fewer than two classes: nothing can be learned.")
        elif kind.loss == "numbers":
            usable = usable[~np.isnan(rows[usable]).any(axis=1)]
        is_drawn = len(usable) > MAX_FITTED_ROWS
        if is_drawn:
            usable = np.sort(generator.choice(usable, MAX_FITTED_ROWS, replace=False))
        self._fitted, self.num_fitted = usable, len(usable)
        self.linear_is_random = is_drawn or (kind.loss == "tags" and kind.num_outputs > 1)  # see `fit_linear`
        self._y = rows[usable]
        if shuffle:
            self._y = generator.permutation(self._y)

    def linear(self, layer: int, pool: str) -> tuple[float, Scores]:
        """→ the primary score on the validation split, scores on the test split."""
        return self._fit_and_score(fit_linear, lambda rows: self.features.layer(layer, pool, rows))[:2]

    def mlp(self, pool: str) -> tuple[float, Scores, np.ndarray]:
        """→ the primary score on the validation split, scores on the test split, learned weights of the layers [L]."""
        valid, test, predict = self._fit_and_score(fit_head, lambda rows: self._stacked(pool, rows), TEST_BLOCK)
        return valid, test, predict.layer_weights

    def _stacked(self, pool: str, rows: np.ndarray) -> np.ndarray:
        """[R, L, D] of these rows; narrower layers are filled up with zeros."""
        layers = [self.features.layer(layer, pool, rows) for layer in range(len(self.features.layer_names))]
        stacked = np.zeros((len(rows), len(layers), max(layer.shape[1] for layer in layers)), dtype=np.float32)
        for number, layer in enumerate(layers):
            stacked[:, number, : layer.shape[1]] = layer
        return stacked

    def _fit_and_score(self, fit, rows_of, at_once: int | None = None) -> tuple[float, Scores, Predict]:
        """rows_of: indices of rows → their features; at_once: as many of the test rows, else all.

        → the primary score on validation, scores on test, and what was fitted.
        """
        kind = self.kind
        x_valid = rows_of(np.flatnonzero(self._row_splits == "valid"))
        predict = fit(rows_of(self._fitted), self._y, x_valid, kind.loss, kind.num_outputs, self._validation_score, self.seed)
        valid = kind.score(*self._labels_of("valid"), predict(x_valid))
        tested = np.flatnonzero(self._row_splits == "test")
        step = at_once or len(tested)
        outputs = np.concatenate([predict(rows_of(tested[i : i + step])) for i in range(0, len(tested), step)])
        test = kind.score(*self._labels_of("test"), outputs, chosen=valid)
        return valid[self.primary], test, predict

    def _labels_of(self, split: str) -> tuple[list, np.ndarray]:
        """Labels, and rows of each."""
        is_chosen = self._splits == split
        return [label for label, chosen in zip(self._labels, is_chosen, strict=True) if chosen], self._counts[is_chosen]

    def _validation_score(self, outputs: np.ndarray) -> float:
        return self.kind.score(*self._labels_of("valid"), outputs)[self.primary]
