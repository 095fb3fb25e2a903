"""Masked share and block length against what the model hears: too aggressive a mask shows as weak pitch and timbre probes.

python examples/experiments/masking_sweep.py MUSIC --rvq RUN/mel_rvq/final --output FOLDER
"""

import argparse
import json
import sys
from pathlib import Path

from compare_targets import CONFIG
from note_probes import probe

from muq_hf.training.command import train
from muq_hf.training.plots import new_figure, save_figure


SWEEP = [(0.3, 0.4), (0.45, 0.4), (0.6, 0.4), (0.8, 0.4), (0.6, 0.2), (0.6, 0.8)]  # masked share, block length (s)


def run(share: float, block_seconds: float, arguments) -> dict:
    output = Path(arguments.output) / f"mask_{share}_{block_seconds}"
    overrides = {
        "data": arguments.music,
        "output_dir": str(output),
        "targets": arguments.rvq,
        "max_steps": arguments.steps,
        "warmup_steps": arguments.steps // 8,
        "save_steps": arguments.steps,
        "model": {"preset": "tiny", "mask_prob": share, "mask_seconds": block_seconds},
        "resume": output.exists(),
    }
    final = train("muq", CONFIG, overrides)
    rows = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    accuracy = [row["eval_masked_accuracy"] for row in rows if "eval_masked_accuracy" in row][-1]
    return {"masked_share": share, "block_seconds": block_seconds, "masked_accuracy": accuracy, **probe(final)}


def table(results: list[dict]) -> str:
    lines = ["| " + " | ".join(results[0]) + " |", "|" + "---|" * len(results[0])]
    return "\n".join(lines + ["| " + " | ".join(f"{value:.3g}" for value in row.values()) + " |" for row in results])


def plot(results: list[dict], path: Path) -> None:
    figure = new_figure(8, 3.5)
    for axes, (x, fixed, value) in zip(
        figure.subplots(1, 2, sharey=True),
        [("masked_share", "block_seconds", 0.4), ("block_seconds", "masked_share", 0.6)],
        strict=True,
    ):
        rows = sorted((row for row in results if row[fixed] == value), key=lambda row: row[x])
        for name in ("pitch", "timbre"):
            axes.plot([row[x] for row in rows], [row[name] for row in rows], marker="o", label=name)
        axes.set(xlabel=x.replace("_", " "), ylabel="probe accuracy", title=f"{fixed.replace('_', ' ')} {value}")
        axes.legend()
    save_figure(figure, path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("music", help="folder or manifest")
    parser.add_argument("--rvq", required=True, help="folder of the trained Mel-RVQ")
    parser.add_argument("--output", required=True)
    parser.add_argument("--steps", type=int, default=200)
    arguments = parser.parse_args()
    results = []
    for share, block_seconds in SWEEP:
        results.append(run(share, block_seconds, arguments))
        (Path(arguments.output) / "masking.json").write_text(json.dumps(results, indent=2) + "\n")
        (Path(arguments.output) / "masking.md").write_text(table(results) + "\n")
    plot(results, Path(arguments.output) / "masking.png")
    print(table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
