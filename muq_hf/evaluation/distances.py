"""Distances between two sets of music, and what is known about each clip, as functions on arrays of features.

Everywhere `generated` [N, D] is the music that is judged and `reference` [M, D] the music that it is judged by: a row is a clip,
or a part of one. All sums are in float64.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np


NEIGHBOURS = 5  # k of precision, recall, density and coverage (arXiv 2002.09797, section 5.1)
KERNEL_SCALE = 100.0  # KAD is 100 · MMD² (arXiv 2502.15602, section 3)
LIMIT_STEPS = 25  # subsets that the limit of the Fréchet distance is fitted on, as in `fadtk`
MEDIAN_ROWS = 5_000  # of a larger reference, the median distance is that of so many rows
BLOCK_VALUES = 2**24  # distances in memory at once, 128 MB
INTERVAL_DEVIATIONS = 1.96  # standard deviations on either side: 95 %


@dataclass(frozen=True)
class FrechetLimit:
    """The Fréchet distance for infinitely many generated rows; slope and r2: of the line through distances over 1 / N."""

    distance: float
    slope: float
    r2: float


def gaussian(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """rows [N, D] → their mean [D] and covariance [D, D] (divisor N − 1). Raises ValueError for fewer than two rows."""
    rows = _checked(rows, least=2)
    return rows.mean(axis=0), np.atleast_2d(np.cov(rows, rowvar=False))


def frechet_distance(generated: np.ndarray, reference: np.ndarray) -> float:
    """|μx − μy|² + tr(Σx + Σy − 2(ΣxΣy)^½) of the Gaussians that fit both sets (FAD, arXiv 1812.08466).

    With few rows it is too large; below D + 1 rows a covariance has no full rank, and `rows_needed` says so.
    """
    _same_width(generated, reference)
    return frechet_between(gaussian(generated), gaussian(reference))


def frechet_between(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> float:
    """The same of two (mean [D], covariance [D, D])."""
    (mean_x, covariance_x), (mean_y, covariance_y) = one, other
    root = _square_root(covariance_y)
    # The eigenvalues of ΣxΣy are those of the symmetric Σy^½ Σx Σy^½, whose square roots are real.
    eigenvalues = np.linalg.eigvalsh(root @ covariance_x @ root)
    shared = np.sqrt(np.maximum(eigenvalues, 0.0)).sum()
    between = float(np.sum((mean_x - mean_y) ** 2))
    return between + float(np.trace(covariance_x) + np.trace(covariance_y) - 2 * shared)


def frechet_limit(
    generated: np.ndarray, reference: np.ndarray, steps: int = LIMIT_STEPS, seed: int = 0, least: int | None = None
) -> FrechetLimit:
    """FAD∞: distances of growing subsets of the generated rows, fitted over 1 / N, where the line meets 0 (arXiv 2311.01616).

    least: rows of the smallest subset, default half of them, and D + 1: with fewer, the distance is no line over 1 / N. Subsets
    are drawn without replacement: copies of a row would only lead back to the distance of the whole set.
    """
    _same_width(generated, reference)
    generated, target = _checked(generated, least=2), gaussian(reference)
    least = max(generated.shape[1] + 1, len(generated) // 2) if least is None else least
    subsets = list(_growing_subsets(len(generated), steps, seed, least))
    distances = np.array([frechet_between(gaussian(generated[subset]), target) for subset in subsets])
    inverse_sizes = np.array([1 / len(subset) for subset in subsets])
    slope, limit = np.polyfit(inverse_sizes, distances, 1)
    residual = np.sum((distances - (slope * inverse_sizes + limit)) ** 2)
    return FrechetLimit(float(limit), float(slope), float(1 - residual / np.sum((distances - distances.mean()) ** 2)))


def median_distance(rows: np.ndarray) -> float:
    """The median of the distances of all pairs, of an even number of them the lower one; of `MEDIAN_ROWS` rows at most."""
    rows = _checked(rows, least=2)
    if len(rows) > MEDIAN_ROWS:
        rows = rows[np.random.default_rng(0).choice(len(rows), MEDIAN_ROWS, replace=False)]
    distances = [np.sqrt(block[np.arange(len(rows)) > index[:, None]]) for index, block in _squared_distances(rows, rows)]
    distances = np.concatenate(distances)
    middle = (len(distances) - 1) // 2
    return float(np.partition(distances, middle)[middle])


def kernel_distance(generated: np.ndarray, reference: np.ndarray, bandwidth: float | None = None) -> float:
    """KAD: 100 · the unbiased MMD² with the kernel exp(−|a − b|² / 2σ²) (arXiv 2502.15602); 0 on average for equal sets.

    bandwidth: σ, default the median distance within the reference. Few rows suffice, and it may fall below 0.
    """
    _same_width(generated, reference)
    generated, reference = _checked(generated, least=2), _checked(reference, least=2)
    bandwidth = median_distance(reference) if bandwidth is None else bandwidth
    if not bandwidth > 0:
        raise ValueError("half of the reference's rows are the same: the kernel has no width. Take repetitions out.")

    def kernel_sum(a, b):
        return sum(np.exp(-block / (2 * bandwidth**2)).sum() for _, block in _squared_distances(a, b))

    N, M = len(generated), len(reference)
    within = (kernel_sum(generated, generated) - N) / (N * (N - 1)) + (kernel_sum(reference, reference) - M) / (M * (M - 1))
    return float(KERNEL_SCALE * (within - 2 * kernel_sum(generated, reference) / (N * M)))


def neighbour_scores(generated: np.ndarray, reference: np.ndarray, neighbours: int = NEIGHBOURS) -> dict[str, float]:
    """Precision and recall (arXiv 1904.06991), density and coverage (arXiv 2002.09797), by balls around rows.

    A row's ball ends at the nearest but `neighbours` − 1 row of its own set. precision: share of generated rows in a ball of
    the reference; recall: share of reference rows in a ball of the generated; density: balls of the reference that a generated
    row is in, by `neighbours`; coverage: share of reference rows with a generated row in their ball.
    """
    counts = ball_counts(generated, reference, neighbours)
    generated, reference = _checked(generated, least=neighbours + 1), _checked(reference, least=neighbours + 1)
    reach_generated, reach_reference = (_reach(rows, neighbours) for rows in (generated, reference))
    recalled, covered = [], []
    for index, block in _squared_distances(reference, generated):  # [m, N]
        covered.append((block < reach_reference[index, None]).any(axis=1))
        recalled.append((block < reach_generated).any(axis=1))
    return {
        "precision": float((counts > 0).mean()),
        "recall": float(np.concatenate(recalled).mean()),
        "density": float(counts.mean() / neighbours),
        "coverage": float(np.concatenate(covered).mean()),
    }


def ball_counts(generated: np.ndarray, reference: np.ndarray, neighbours: int = NEIGHBOURS) -> np.ndarray:
    """In how many balls of the reference each generated row lies [N]; in none: it is outside."""
    _same_width(generated, reference)
    generated, reference = _checked(generated, least=1), _checked(reference, least=neighbours + 1)
    reach = _reach(reference, neighbours)
    return np.concatenate([(block < reach).sum(axis=1) for _, block in _squared_distances(generated, reference)])


def vendi_score(rows: np.ndarray) -> float:
    """Variety as a number of clips: exp of the entropy of the eigenvalues of the cosines by N (arXiv 2210.02410, order 1).

    1 for copies of one clip, N for clips that have nothing in common.
    """
    unit = _unit(_checked(rows, least=1))
    N, D = unit.shape
    eigenvalues = np.linalg.eigvalsh((unit @ unit.T if N <= D else unit.T @ unit) / N)
    positive = eigenvalues[eigenvalues > 0]
    return float(np.exp(-np.sum(positive * np.log(positive))))


def nearest_rows(rows: np.ndarray, others: np.ndarray, apart: tuple[Sequence, Sequence] | None = None):
    """For each of `rows` [N, D] the one of `others` [M, D] with the largest cosine → its number [N], the cosine [N].

    apart: groups of the rows [N] and of the others [M]; those of its own group are passed over.
    """
    rows, others = _unit(_checked(rows, least=1)), _unit(_checked(others, least=1))
    groups = [np.asarray(group) for group in apart] if apart is not None else None
    numbers, cosines = [], []
    step = max(1, BLOCK_VALUES // len(others))
    for first in range(0, len(rows), step):
        block = rows[first : first + step] @ others.T
        if groups is not None:
            block[groups[0][first : first + step, None] == groups[1]] = -np.inf
        best = block.argmax(axis=1)
        numbers.append(best)
        cosines.append(block[np.arange(len(block)), best])
    return np.concatenate(numbers), np.concatenate(cosines)


def realism_scores(generated: np.ndarray, reference: np.ndarray, neighbours: int = NEIGHBOURS) -> np.ndarray:
    """For each generated row [N] how deep it lies in the balls of the reference, 1 at their border (arXiv 1904.06991, eq. 6).

    The largest radius by distance over the reference's rows; as there, balls wider than the median one do not count, so that
    some rows below 1 lie in wide balls, and `ball_counts` counts them.
    """
    _same_width(generated, reference)
    generated, reference = _checked(generated, least=1), _checked(reference, least=neighbours + 1)
    reach = _reach(reference, neighbours)
    is_narrow = reach <= np.median(reach)
    reference, reach = reference[is_narrow], reach[is_narrow]
    best = [
        (reach / np.maximum(block, np.finfo(float).tiny)).max(axis=1) for _, block in _squared_distances(generated, reference)
    ]
    return np.sqrt(np.concatenate(best))


def deviation_by_halves(
    score: Callable[[np.ndarray, np.ndarray], dict[str, float]],
    generated_groups: Sequence,
    reference_groups: Sequence,
    resamples: int,
    seed: int = 0,
) -> dict[str, float]:
    """The standard deviation of every score, by a bootstrap without replacement of half of the groups (songs) on either side.

    score: indices of generated rows, indices of reference rows → scores by name. Rows of one group are drawn together. With
    replacement a clip would be its own neighbour and its own copy, and every score here would be another; the spread of halves
    is that of whole sets (delete-d jackknife with d = N / 2, Shao and Wu 1989).
    Raises ValueError for fewer than two groups on a side.
    """
    generator = np.random.default_rng(seed)
    sides = [np.unique(np.asarray(groups), return_inverse=True)[1] for groups in (generated_groups, reference_groups)]
    if min(groups.max() for groups in sides) < 1:
        raise ValueError("an interval needs two files on either side.")
    drawn: dict[str, list[float]] = {}
    for _ in range(resamples):
        for name, value in score(*(_half(groups, generator) for groups in sides)).items():
            drawn.setdefault(name, []).append(value)
    return {name: float(np.std(values, ddof=1)) for name, values in drawn.items()}


def rows_needed(metric: str, width: int, neighbours: int = NEIGHBOURS) -> int:
    """Rows that a score needs on either side to mean anything; width: number of features."""
    if metric == "frechet":
        return width + 1  # for a covariance of full rank
    if metric == "frechet_limit":
        return 2 * (width + 1)  # for subsets that differ in size
    return 2 * neighbours if metric in ("precision", "recall", "density", "coverage") else 2


def _half(groups: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Indices of the rows of half of the groups."""
    number = groups.max() + 1
    chosen = np.zeros(number, dtype=bool)
    chosen[generator.choice(number, (number + 1) // 2, replace=False)] = True
    return np.flatnonzero(chosen[groups])


def _growing_subsets(total: int, steps: int, seed: int, least: int) -> Iterator[np.ndarray]:
    """Indices of `least` to `total` rows."""
    if not 2 <= least < total:
        raise ValueError(f"the limit needs more than {least} rows, got {total}.")
    generator = np.random.default_rng(seed)
    for size in np.linspace(least, total, steps).astype(int):
        yield generator.choice(total, size, replace=False)


def _square_root(covariance: np.ndarray) -> np.ndarray:
    """Of a symmetric matrix without negative eigenvalues [D, D]."""
    eigenvalues, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(np.maximum(eigenvalues, 0.0))) @ vectors.T


def _squared_distances(a: np.ndarray, b: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(indices of rows of `a` [n], their squared distances to all of `b` [n, M]), block by block."""
    centre = b.mean(axis=0)  # features far from 0 would lose digits
    a, b = a - centre, b - centre
    lengths_a, lengths_b = (np.einsum("nd,nd->n", rows, rows) for rows in (a, b))
    step = max(1, BLOCK_VALUES // len(b))
    for first in range(0, len(a), step):
        index = np.arange(first, min(first + step, len(a)))
        yield index, np.maximum(lengths_a[index, None] + lengths_b - 2 * (a[index] @ b.T), 0.0)


def _reach(rows: np.ndarray, neighbours: int) -> np.ndarray:
    """Squared distance of each row to its neighbour number `neighbours` [N]."""
    reach = []
    for index, block in _squared_distances(rows, rows):
        block[np.arange(len(index)), index] = -1.0  # itself, which comes first
        reach.append(np.partition(block, neighbours, axis=1)[:, neighbours])
    return np.concatenate(reach)


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(float).tiny)


def _checked(rows: np.ndarray, least: int) -> np.ndarray:
    """[N, D] float64. Raises ValueError for another shape, too few rows, and for what is not finite."""
    rows = np.asarray(rows, dtype=np.float64)
    if rows.ndim != 2 or len(rows) < least:
        raise ValueError(f"features must be [rows, features] with at least {least} rows, got shape {rows.shape}.")
    if not np.isfinite(rows).all():
        raise ValueError("features hold NaN or infinite values.")
    return rows


def _same_width(generated: np.ndarray, reference: np.ndarray) -> None:
    if np.shape(generated)[1:] != np.shape(reference)[1:]:
        raise ValueError(f"both sets must have the same features, got {np.shape(generated)} and {np.shape(reference)}.")
