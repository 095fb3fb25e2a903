"""Do trained tokens teach more than random ones, and vary less from seed to seed?

    python examples/experiments/compare_targets.py MUSIC --rvq RUN/mel_rvq/final --output FOLDER

trains a tiny MuQ from scratch on the tokens of a Mel-RVQ and on those of a random projection (one codebook of the same size),
with several seeds each. The two losses do not compare, since their vocabularies differ. Compared are the evaluation loss divided
by the entropy of the targets (1 = guessing by frequency) and probes of pitch and timbre on the frozen models.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

from note_probes import probe

from muq_hf.training.command import train
from muq_hf.training.plots import new_figure, save_figure


CONFIG = {
    "clip_seconds": 5.0,
    "channel": "mix",
    "eval_share": 0.1,
    "num_eval_clips": 32,
    "logging_steps": 10,
    "disable_tqdm": True,
    "hash_files": False,
    "muq": {"learning_rate": 0.002, "per_device_train_batch_size": 4},
}
MEASURES = ("normalised_loss", "pitch", "timbre")


def run(targets: str, seed: int, arguments, **model) -> dict:
    """Train one model → its curve and what it can do."""
    name = "random" if targets == "random_projection" else "trained"
    output = Path(arguments.output) / f"{name}_{seed}"
    steps = arguments.steps
    overrides = {
        "data": arguments.music,
        "output_dir": str(output),
        "targets": targets,
        "seed": seed,
        "data_seed": seed,
        "max_steps": steps,
        "warmup_steps": steps // 8,
        "save_steps": max(1, steps // 4),
        "model": {"preset": "tiny", **model},
        "resume": output.exists(),
    }
    final = train("muq", CONFIG, overrides)
    rows = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    curve = [(row["step"], row["eval_normalised_loss"]) for row in rows if "eval_normalised_loss" in row]
    return {"targets": name, "seed": seed, "normalised_loss": curve[-1][1], "curve": curve, **probe(final)}


def table(results: list[dict]) -> str:
    lines = ["| targets | seeds | normalised loss | pitch accuracy | timbre accuracy |", "|---|---|---|---|---|"]
    for name in ("trained", "random"):
        rows = [result for result in results if result["targets"] == name]
        cells = []
        for measure in MEASURES:
            values = [row[measure] for row in rows]
            spread = statistics.stdev(values) if len(values) > 1 else float("nan")
            cells.append(f"{statistics.mean(values):.3f} ± {spread:.3f}")
        lines.append(f"| {name} | {len(rows)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def plot(results: list[dict], path: Path) -> None:
    figure = new_figure(6, 3.5)
    axes = figure.subplots()
    for result in results:
        colour = "C0" if result["targets"] == "trained" else "C1"
        axes.plot(*zip(*result["curve"], strict=True), color=colour, label=f"{result['targets']}, seed {result['seed']}")
    axes.set(xlabel="step", ylabel="loss / entropy of the targets", title="Evaluation, masked tokens")
    axes.legend(fontsize="small")
    save_figure(figure, path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("music", help="folder or manifest")
    parser.add_argument("--rvq", required=True, help="folder of the trained Mel-RVQ")
    parser.add_argument("--output", required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=200)
    arguments = parser.parse_args()
    results = []
    for seed in range(arguments.seeds):
        results.append(run(arguments.rvq, seed, arguments))
        results.append(run("random_projection", seed, arguments, codebook_size=1024))
        output = Path(arguments.output)
        (output / "targets.json").write_text(json.dumps(results, indent=2) + "\n")
        (output / "targets.md").write_text(table(results) + "\n")
        plot(results, output / "targets.png")
    print(table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
