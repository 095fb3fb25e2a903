"""Masked share and block length against what the model hears: too aggressive a mask shows as weak pitch and instrument probes.

    python examples/experiments/masking_sweep.py MUSIC --rvq RUN/mel_rvq/final --notes RENDERED --output FOLDER

RENDERED is what examples/corpus/render_scores.py wrote: the probes ask for pitch and instrument family of its notes, played with
a soundfont that no probe was fitted on.
"""

import argparse
import json
import sys
from functools import partial
from pathlib import Path

from arms import mean_and_spread, paired_difference, run_arms, values_of
from compare_targets import CONFIG
from task_probes import probe_tasks

from muq_hf.training.command import train
from muq_hf.training.plots import new_figure, save_figure


SWEEP = [(0.6, 0.4), (0.3, 0.4), (0.8, 0.4), (0.6, 0.8)]  # masked share, block length (s); the paper's first
ARMS = [{"masked_share": share, "block_seconds": seconds} for share, seconds in SWEEP]
TASKS = ("pitch", "instrument")
MEASURES = tuple(f"{task}, {where}" for task in TASKS for where in ("best layer", "last layer"))


def run(folder: Path, seed: int, masked_share: float, block_seconds: float, settings: argparse.Namespace) -> dict:
    """Train one model → what it recovers of masked tokens, and what it hears."""
    overrides = {
        "data": settings.music,
        "output_dir": str(folder),
        "targets": settings.rvq,
        "seed": seed,
        "data_seed": seed,
        "max_steps": settings.steps,
        "warmup_steps": settings.steps // 8,
        "save_steps": max(1, settings.steps // 4),
        "model": {"preset": "tiny", "mask_prob": masked_share, "mask_seconds": block_seconds},
        "resume": folder.exists(),
    }
    final = train("muq", CONFIG, overrides)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    accuracy = [row["eval_masked_accuracy"] for row in rows if "eval_masked_accuracy" in row][-1]
    return {"masked_accuracy": accuracy, **probe_tasks(final, TASKS, [settings.notes], folder / "features")}


def table(results: list[dict]) -> str:
    """Mean ± deviation over seeds, and below each the difference from the paper's mask with its 95 % interval, paired by seed."""
    columns = ("masked accuracy", *MEASURES)
    lines = ["| masked share | block (s) | " + " | ".join(columns) + " |", "|" + "---|" * (2 + len(columns))]
    for arm in ARMS:
        cells = []
        for column in columns:
            measure = column.replace("masked accuracy", "masked_accuracy")
            values = values_of(results, arm, measure)
            cell = mean_and_spread(values)
            if arm != ARMS[0] and column in MEASURES:
                difference, half = paired_difference(values, values_of(results, ARMS[0], measure))
                cell += f"<br>{difference:+.3f} (± {half:.3f})"
            cells.append(cell)
        lines.append(f"| {arm['masked_share']} | {arm['block_seconds']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def plot(results: list[dict], path: Path) -> None:
    """Every run a dot, the mean over seeds a line."""
    figure = new_figure(8, 6)
    panels = [("masked_share", "block_seconds", 0.4), ("block_seconds", "masked_share", 0.6)]
    for row, measure in zip(figure.subplots(2, 2, sharey="row"), ("pitch, last layer", "instrument, last layer"), strict=True):
        for axes, (x, fixed, value) in zip(row, panels, strict=True):
            arms = sorted((arm for arm in ARMS if arm[fixed] == value), key=lambda arm: arm[x])
            by_arm = [values_of(results, arm, measure) for arm in arms]
            positions = [arm[x] for arm in arms]
            axes.plot(positions, [sum(values) / len(values) for values in by_arm])
            for position, values in zip(positions, by_arm, strict=True):
                axes.scatter([position] * len(values), values, s=12, color="black")
            axes.set(xlabel=x.replace("_", " "), ylabel=measure, title=f"{fixed.replace('_', ' ')} {value}")
    save_figure(figure, path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("music", help="folder or manifest")
    parser.add_argument("--rvq", required=True, help="folder of the trained Mel-RVQ")
    parser.add_argument("--notes", required=True, type=Path, help="folder of rendered scores")
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side")
    settings = parser.parse_args()
    results = run_arms(ARMS, settings.seeds, settings.output, partial(run, settings=settings), settings.jobs)
    (settings.output / "masking.json").write_text(json.dumps(results, indent=2) + "\n")
    (settings.output / "masking.md").write_text(table(results) + "\n")
    plot(results, settings.output / "masking.png")
    print(table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
