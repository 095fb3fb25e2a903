"""The runs ("arms") of an experiment: each once for every seed, several side by side, one thread each, kept as they come."""

import json
import statistics
from collections.abc import Callable
from pathlib import Path

import joblib
from scipy import stats


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
        part = done.with_suffix(".part")
        part.write_text(json.dumps(result, indent=2) + "\n")
        part.replace(done)
    return json.loads(done.read_text())


def values_of(results: list[dict], arm: dict, measure: str) -> list[float]:
    """The measure of one arm, by seed."""
    return [result[measure] for result in results if all(result[key] == value for key, value in arm.items())]


def mean_and_spread(values: list[float]) -> str:
    spread = statistics.stdev(values) if len(values) > 1 else float("nan")
    return f"{statistics.mean(values):.3f} ± {spread:.3f}"


def paired_difference(values: list[float], reference: list[float]) -> tuple[float, float]:
    """→ mean difference from the reference over seeds, and half of its 95 % interval (Student's t)."""
    differences = [a - b for a, b in zip(values, reference, strict=True)]
    if len(differences) < 2:
        return statistics.mean(differences), float("nan")
    half = stats.t.ppf(0.975, len(differences) - 1) * statistics.stdev(differences) / len(differences) ** 0.5
    return statistics.mean(differences), float(half)
