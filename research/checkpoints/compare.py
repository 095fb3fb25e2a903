"""Groups of models in one benchmark table: mean ± deviation over the seeds of their training, and the mean over all tasks.

    muq-hf probe --model SEED_0 SEED_1 SEED_2 RANDOM_0 … --suite small --corpus CORPUS RENDERED --output PROBED
    python compare.py PROBED/results.json --groups 'muq-tiny=*/seed?/*' 'random targets=*/random?/*' mel 'random weights=random:*'

A group is NAME=PATTERN or a model's name; PATTERN is matched to the names that the benchmark prints. One table per probe; the
deviation of one model alone is that over the probe's own seeds.
"""

import argparse
import json
import statistics
from fnmatch import fnmatch
from pathlib import Path


PROBES = {"linear": "Linear probe, best layer", "mlp": "Weighted sum of layers, 512-unit MLP"}
PERCENT = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="+", help="results.json of one or more runs of `muq-hf probe`")
    parser.add_argument("--groups", nargs="+", required=True, metavar="NAME=PATTERN")
    args = parser.parse_args()
    rows = [row for file in args.results for row in json.loads(file.read_text(encoding="utf-8"))["results"]]
    for probe, title in PROBES.items():
        print(f"**{title}**\n\n{table(rows, args.groups, probe)}\n")


def table(rows: list[dict], groups: list[str], probe: str) -> str:
    """Raises ValueError for a group without models and for models of a group that did not do the same tasks."""
    tasks = {row["task"]: row["primary"] for row in rows if probe in row["probes"]}
    header = ["model", "seeds", *(f"{task}<br>{measure}" for task, measure in tasks.items()), "mean"]
    lines = ["| " + " | ".join(header) + " |", "|---|" + "--:|" * (len(header) - 1)]
    for group in groups:
        name, _, pattern = group.partition("=")
        models = sorted({row["model"] for row in rows if fnmatch(row["model"], pattern or name)})
        scores = [scores_of(rows, model, probe) for model in models]
        if not scores:
            raise ValueError(f"no model's name fits {pattern or name!r}; there are: {sorted({row['model'] for row in rows})}.")
        if any(score.keys() != tasks.keys() for score in scores):
            raise ValueError(f"the models of {name} did not do the same tasks: {[sorted(score) for score in scores]}.")
        cells = [cell([score[task] for score in scores]) for task in tasks]
        means = [statistics.mean(value["mean"] for value in score.values()) for score in scores]
        lines.append("| " + " | ".join([name, str(len(models)), *cells, spread(means)]) + " |")
    return "\n".join(lines)


def scores_of(rows: list[dict], model: str, probe: str) -> dict[str, dict[str, float]]:
    """Task → {mean, std} over the probe's seeds."""
    own = [row for row in rows if row["model"] == model and probe in row["probes"]]
    return {row["task"]: row["probes"][probe]["scores"][row["primary"]] for row in own}


def cell(scores: list[dict[str, float]]) -> str:
    if len(scores) == 1:
        return f"{PERCENT * scores[0]['mean']:.1f} ± {PERCENT * scores[0]['std']:.1f}"
    return spread([score["mean"] for score in scores])


def spread(values: list[float]) -> str:
    mean = f"{PERCENT * statistics.mean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ± {PERCENT * statistics.stdev(values):.1f}"


if __name__ == "__main__":
    main()
