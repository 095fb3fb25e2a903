"""`muq-hf compare`: distances between two sets of music with confidence intervals, and the nearest clip of each clip."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .distances import (
    INTERVAL_DEVIATIONS,
    NEIGHBOURS,
    ball_counts,
    deviation_by_halves,
    frechet_distance,
    frechet_limit,
    kernel_distance,
    median_distance,
    nearest_rows,
    neighbour_scores,
    realism_scores,
    rows_needed,
    vendi_score,
)
from .music_sets import MusicSet


LENGTH_TOLERANCE = 0.1  # allowed relative difference of the median clip lengths
BANDWIDTH_TOLERANCE = 0.1  # allowed difference of the shares of files whose sampling rate is below the model's
SAME_VECTOR = 1e-4  # relative distance up to which two clips are one recording
COPY_QUANTILE = 0.99  # of the cosines between nearest neighbours in the reference; a generated clip above it is a near copy

BOUNDS = {"precision": (0.0, 1.0), "recall": (0.0, 1.0), "coverage": (0.0, 1.0), "density": (0.0, np.inf), "vendi": (1.0, np.inf)}
SCORES = {  # name: (title in reports, better direction: "low", "high" or "" for neither)
    "frechet": ("Fréchet distance (FAD)", "low"),
    "frechet_limit": ("its limit for infinite N (FAD∞)", "low"),
    "kernel": ("kernel distance (KAD)", "low"),
    "precision": ("precision", "high"),
    "recall": ("recall", "high"),
    "density": ("density", "high"),
    "coverage": ("coverage", "high"),
    "vendi": ("Vendi score", "high"),
    "vendi_reference": ("Vendi score of the reference", ""),
}
OF_NEIGHBOURS = ("precision", "recall", "density", "coverage")


@dataclass(frozen=True)
class Choices:
    """neighbours: k of precision, recall, density and coverage; resamples: halves for the intervals, 0 for no intervals."""

    neighbours: int = NEIGHBOURS
    resamples: int = 100
    seed: int = 0


def check_comparable(generated: MusicSet, reference: MusicSet) -> None:
    """Raises ValueError, with advice, for sets that share clips or differ in model, layers, clip length or sampling rate."""
    if (generated.model, generated.made_with) != (reference.model, reference.made_with):
        if generated.model != reference.model:
            what = f"{generated.model} and {reference.model}"
        else:
            what = f"{generated.model} with other weights or settings ({generated.made_with}, {reference.made_with})"
        raise ValueError(f"the two sets were embedded by {what}: embed both with the same model and the same settings.")
    if generated.layers.keys() != reference.layers.keys():
        one, other = (", ".join(side.layers) for side in (generated, reference))
        raise ValueError(f"the two sets hold different layers ({one}; {other}): choose the same --layer for both.")
    lengths = [float(np.median(side.seconds)) for side in (generated, reference)]
    if max(lengths) > (1 + LENGTH_TOLERANCE) * min(lengths):
        raise ValueError(
            f"the generated clips last {lengths[0]:.1f} s and those of the reference {lengths[1]:.1f} s (medians), and vectors "
            f"of longer clips lie nearer to their mean: cut both, for instance --clip-seconds {_round_below(min(lengths)):g}."
        )
    _check_rates(generated, reference)
    duplicates = _duplicates(generated, reference)
    if duplicates:
        one, other = duplicates[0]
        raise ValueError(
            f"{len(duplicates)} clips are on both sides, the first: {one} is {other}. Remove them from one side: copies make "
            "the distances too small."
        )


def compare_sets(generated: MusicSet, reference: MusicSet | None, choices: Choices, log=lambda text: None) -> list[dict]:
    """One result per layer: each score with its interval, or why it is missing, and an entry for every generated clip.

    Without a reference there is only the Vendi score of the generated clips. log: called with a line per layer. Raises
    ValueError as `check_comparable`.
    """
    if reference is not None:
        check_comparable(generated, reference)
    return [_compare_layer(layer, generated, reference, choices, log) for layer in generated.layers]


def _compare_layer(layer: str, generated: MusicSet, reference: MusicSet | None, choices: Choices, log) -> dict:
    log(f"{generated.model}, {layer}")
    x = generated.layers[layer]
    y = reference.layers[layer] if reference is not None else None
    sizes = [len(x)] if y is None else [len(x), len(y)]
    names = ["vendi"] if y is None else list(SCORES)
    refused = {}
    for name in names:
        needed = rows_needed(name, x.shape[1], choices.neighbours)
        if min(sizes) < needed:
            refused[name] = {"refused": f"needs {needed:,} rows a side", "needed": needed}
    wanted = [name for name in names if name not in refused]
    scores = {name: {"value": value} for name, value in _scores(x, y, wanted, choices).items()}
    if "frechet_limit" in wanted:
        limit = frechet_limit(x, y, seed=choices.seed)
        scores["frechet_limit"] = {"value": limit.distance, "r2": limit.r2}
    if wanted and choices.resamples:
        _add_intervals(scores, layer, generated, reference, wanted, choices)
    result = {
        "model": generated.model,
        "layer": layer,
        "features": x.shape[1],
        "rows": dict(zip(("generated", "reference"), sizes, strict=False)),
        "scores": {name: scores.get(name) or refused[name] for name in names},
    }
    return result | _clip_entries(layer, generated, reference, choices)


def _scores(x: np.ndarray, y: np.ndarray | None, wanted: Sequence[str], choices: Choices, bandwidth=None) -> dict[str, float]:
    """The scores in `wanted`, except `frechet_limit`."""
    scores = {}
    if "frechet" in wanted:
        scores["frechet"] = frechet_distance(x, y)
    if "kernel" in wanted:
        scores["kernel"] = kernel_distance(x, y, bandwidth)
    if "precision" in wanted:
        scores |= neighbour_scores(x, y, choices.neighbours)
    if "vendi" in wanted:
        scores["vendi"] = vendi_score(x)
    if "vendi_reference" in wanted:
        scores["vendi_reference"] = vendi_score(y)
    return scores


def _add_intervals(scores: dict, layer: str, generated: MusicSet, reference: MusicSet | None, wanted, choices: Choices) -> None:
    """Add a 95 % interval to each score, from random halves of the files. The limit has none: R² of its fit stands for it."""
    x, y = generated.layers[layer], None if reference is None else reference.layers[layer]
    sides = [side.files[side.rows] for side in (generated, reference or generated)]
    if min(len(set(files)) for files in sides) < 4 * choices.neighbours:
        return  # half of so few files would not have enough neighbours
    bandwidth = median_distance(y) if y is not None else None

    def scores_of_halves(i: np.ndarray, j: np.ndarray) -> dict[str, float]:
        return _scores(x[i], None if y is None else y[j], wanted, choices, bandwidth)

    for name, deviation in deviation_by_halves(scores_of_halves, *sides, choices.resamples, choices.seed).items():
        value, (lowest, highest) = scores[name]["value"], BOUNDS.get(name, (-np.inf, np.inf))
        reach = INTERVAL_DEVIATIONS * deviation
        scores[name] |= {"low": max(lowest, value - reach), "high": min(highest, value + reach)}


def _clip_entries(layer: str, generated: MusicSet, reference: MusicSet | None, choices: Choices) -> dict:
    """ "clips": realism and nearest reference clip of each generated clip; "copy_cosine": the cosine at COPY_QUANTILE."""
    clips = [{"path": str(clip.path), "start": clip.start, "end": clip.end} for clip in generated.clips]
    if reference is None or len(reference.clips) <= choices.neighbours:
        return {"clips": clips}
    x, y = generated.clip_means(layer), reference.clip_means(layer)
    numbers, cosines = nearest_rows(x, y)
    realism, counts = realism_scores(x, y, choices.neighbours), ball_counts(x, y, choices.neighbours)
    for entry, value, count, number, cosine in zip(clips, realism, counts, numbers, cosines, strict=True):
        nearest = reference.clips[number]
        entry |= {"realism": float(value), "is_outside": bool(count == 0)}
        entry["nearest"] = {
            "path": str(nearest.path), "start": nearest.start, "end": nearest.end, "cosine": float(cosine)
        }  # fmt: skip
    found = {"clips": clips}
    if len(set(reference.files)) > 1:
        cosines_within = nearest_rows(y, y, apart=(reference.files, reference.files))[1]
        found["copy_cosine"] = float(np.quantile(cosines_within, COPY_QUANTILE))
        for entry in clips:
            entry["is_near_copy"] = entry["nearest"]["cosine"] > found["copy_cosine"]
    return found


def _check_rates(generated: MusicSet, reference: MusicSet) -> None:
    rates = [side.rates[~np.isnan(side.rates)] for side in (generated, reference)]
    model_rate = generated.model_rate
    if not all(map(len, rates)) or np.isnan(model_rate):
        return
    narrow = [float((side < model_rate).mean()) for side in rates]
    lowest = [float(np.median(np.minimum(side, model_rate))) for side in rates]
    if abs(narrow[0] - narrow[1]) > BANDWIDTH_TOLERANCE or lowest[0] != lowest[1]:
        counts = [f"{100 * share:.0f} %" for share in narrow]
        raise ValueError(
            f"{generated.model} takes {model_rate:,.0f} Hz, and {counts[0]} of the generated files and {counts[1]} of the "
            f"reference have a lower rate (medians {np.median(rates[0]):,.0f} and {np.median(rates[1]):,.0f} Hz): the "
            "distances would measure the missing treble. Convert both to the lower rate, as by `ffmpeg -i IN -ar RATE OUT`."
        )


def _duplicates(generated: MusicSet, reference: MusicSet) -> list[tuple[str, str]]:
    layer = list(generated.layers)[-1]
    x, y = generated.clip_means(layer), reference.clip_means(layer)
    numbers, _ = nearest_rows(x, y)
    distance = np.linalg.norm(x - y[numbers], axis=1) / np.maximum(np.linalg.norm(x, axis=1), np.finfo(float).tiny)
    return [(place(generated.clips[i]), place(reference.clips[numbers[i]])) for i in np.flatnonzero(distance < SAME_VECTOR)]


def place(clip) -> str:
    """A clip's path and times, for messages."""
    end = "" if clip.end is None else f"–{clip.end:.1f}"
    return f"{clip.path} ({clip.start:.1f}{end} s)"


def _round_below(seconds: float) -> float:
    return max(0.5, np.floor(2 * seconds) / 2)
