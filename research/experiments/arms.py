"""The runs ("arms") of an experiment: each once for every seed, several side by side, one thread each, kept as they come."""

import json
import statistics
from collections.abc import Callable
from pathlib import Path

import joblib
from scipy import stats

from muq_hf.storage.whole_files import write_json


def run_arms(arms: list[dict], seeds: int, output: Path, run: Callable[..., dict], jobs: int) -> list[dict]:
    """`run(folder, seed, **arm)` for every arm and seed → their results with arm and seed; what is done is not repeated."""
    units = [(arm, seed) for seed in range(seeds) for arm in arms]
    return joblib.Parallel(n_jobs=jobs)(joblib.delayed(_once)(arm, seed, Path(output), run) for arm, seed in units)


def _once(arm: dict, seed: int, output: Path, run: Callable[..., dict]) -> dict:
    folder = output / "-".join([*(f"{key}_{value}" for key, value in arm.items()), f"seed_{seed}"])
    done = folder / "result.json"
    if not done.exists():
        done.parent.mkdir(parents=True, exist_ok=True)
        result = {**arm, "seed": seed, **run(folder / "run", seed, **arm)}
        write_json(done, result)
    return json.loads(done.read_text())


def values_of(results: list[dict], arm: dict, measure: str) -> list[float]:
    """The measure of one arm, by seed."""
    return [result[measure] for result in results if all(result[key] == value for key, value in arm.items())]


def mean_and_spread(values: list[float]) -> str:
    """Mean ± deviation; of a single value nothing is known but itself."""
    mean = f"{statistics.mean(values):.3f}"
    return f"{mean} ± {statistics.stdev(values):.3f}" if len(values) > 1 else mean


def half_interval(values: list[float]) -> float:
    """Half of the 95 % interval of the mean (Student's t); nan for a single value."""
    if len(values) < 2:
        return float("nan")
    return float(stats.t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5)


def paired_difference(values: list[float], reference: list[float]) -> tuple[float, float]:
    """→ mean difference from the reference over seeds, and half of its 95 % interval (Student's t)."""
    differences = [a - b for a, b in zip(values, reference, strict=True)]
    return statistics.mean(differences), half_interval(differences)


def variance_ratio(values: list[float], reference: list[float]) -> tuple[float, float, float]:
    """→ variance over seeds divided by the reference's, and the ends of its 95 % interval (F distribution, normal values)."""
    if min(len(values), len(reference)) < 2 or statistics.variance(reference) == 0:
        return (float("nan"),) * 3
    ratio = statistics.variance(values) / statistics.variance(reference)
    freedom = (len(values) - 1, len(reference) - 1)
    return ratio, float(ratio / stats.f.ppf(0.975, *freedom)), float(ratio / stats.f.ppf(0.025, *freedom))
