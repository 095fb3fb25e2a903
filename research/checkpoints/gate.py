"""Which teachers, sizes and starts pay for a tiny MuQ: arms of equal compute, judged by probes on validation splits only.

    python gate.py WORK --music music.jsonl --tasks RENDERED/tasks [--arms control both] [--seeds 0 1] [--seconds 20000]

Every arm sees the same seconds of music. What it learns from and how large it is stands in `gate.json`. After each arm a linear
probe is fitted on the training split of four tasks for every layer, with mean and with mean + std over time, and scored on the
validation split; the test split is not looked at. An interrupted run goes on at the arm, and within it at the checkpoint. The
table: WORK/gate.md.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from muq_hf import MuQModel
from muq_hf.audio import load_audio
from muq_hf.storage.json_lines import read_json_lines
from muq_hf.storage.whole_files import replace_text, write_json
from muq_hf.training.chain import train
from muq_hf.training.latent_teachers import load_teacher


HERE = Path(__file__).resolve().parent
TASKS = {
    "instrument": ("notes", "family"),
    "pitch": ("notes", "pitch_class"),
    "key": ("key", "key"),
    "chord": ("chord", "chords"),
}
ITEMS = {"train": 1200, "valid": 400}  # of each task at the most
RATE = 24_000  # Hz
CLIP_SECONDS = 10.0  # of longer items, from the start


def main() -> None:
    arguments = parse_arguments()
    settings = json.loads(arguments.config.read_text())
    sets = {task: load_items(arguments.tasks, *source) for task, source in TASKS.items()}
    rows = []
    for name in arguments.arms or settings["arms"]:
        for seed in arguments.seeds:
            rows.append(run_arm(name, seed, settings, arguments, sets))
            replace_text(arguments.work / "gate.md", table(rows))
            write_json(arguments.work / "gate.json", rows)
    print(table(rows))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--music", type=Path, required=True, help="manifest of the music to train on")
    parser.add_argument("--tasks", type=Path, required=True, help="folder with notes.jsonl, key.jsonl, chord.jsonl")
    parser.add_argument("--config", type=Path, default=HERE / "gate.json")
    parser.add_argument("--arms", nargs="+", help="only these arms")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--seconds", type=float, default=20_000, help="of music that each arm trains on")
    return parser.parse_args()


def run_arm(name: str, seed: int, settings: dict, arguments, sets: dict) -> dict:
    """Train one arm and probe it, or read what an earlier run found."""
    folder = arguments.work / f"{name}-{seed}"
    result = folder / "probes.json"
    if result.exists():
        return json.loads(result.read_text())
    arm = settings["arms"][name]
    started, spent = time.monotonic(), time.process_time()
    if "encoder" in arm:
        states = teacher_states(arm["encoder"])
    else:
        states = muq_states(trained(arm, seed, settings["shared"], folder, arguments))
    minutes, cpu = (time.monotonic() - started) / 60, (time.process_time() - spent) / 60
    scores = {task: probe(states, items) for task, items in sets.items()}
    row = {"arm": name, "seed": seed, "minutes": round(minutes, 1), "cpu_minutes": round(cpu, 1), "scores": scores}
    folder.mkdir(parents=True, exist_ok=True)
    write_json(result, row)
    print(json.dumps({**row, "scores": {task: best(values) for task, values in scores.items()}}), flush=True)
    return row


def trained(arm: dict, seed: int, shared: dict, folder: Path, arguments) -> str:
    """→ folder of the trained model; of an arm without a stage the folder of the start."""
    if "stage" not in arm:
        return arm["start"]
    given = {key: value for key, value in arm.items() if key != "stage"}
    config = {**shared, **given}
    clips = config["clip_seconds"] * config["per_device_train_batch_size"]
    steps = max(1, round(arguments.seconds / clips))
    config |= {"max_steps": steps, "save_steps": max(1, steps // 4), "logging_steps": max(1, steps // 10), "seed": seed}
    if arm["stage"] == "distil":
        config["latents"] = str(arguments.work / "latents")
    overrides = {"data": str(arguments.music), "output_dir": str(folder / "run"), "resume": True}
    return str(train(arm["stage"], config, overrides))


def load_items(folder: Path, name: str, label: str) -> dict[str, list[tuple[np.ndarray, str]]]:
    """Waveform [S] and class of the items of each split, evenly spread over the manifest."""
    rows = read_json_lines(folder / f"{name}.jsonl")
    found = {}
    for split, most in ITEMS.items():
        chosen = [row for row in rows if row["split"] == split]
        chosen = chosen[:: max(1, len(chosen) // most)][:most]
        found[split] = [item for row in chosen for item in items_of(folder / row["path"], row, label)]
    return found


def items_of(path: Path, row: dict, label: str) -> list[tuple[np.ndarray, str]]:
    start = row.get("start") or 0.0
    end = row.get("end")
    wave = load_audio(path, RATE, start=start, end=end)
    value = row["labels"][label]
    if label != "chords":
        return [(wave[: int(CLIP_SECONDS * RATE)], str(value))]
    return [(wave[int(a * RATE) : int(b * RATE)], str(chord)) for a, b, chord in value[:4] if b - a > 0.5]


def muq_states(folder: str):
    model = MuQModel.from_pretrained(folder, dtype=torch.float32).eval()
    return lambda wave: model(wave[None], output_hidden_states=True).hidden_states


def teacher_states(spec: str):
    teacher = load_teacher(spec)
    return lambda wave: (teacher.latents(wave[None]),)


@torch.inference_mode()
def probe(states, items: dict) -> dict[str, float]:
    """Accuracy (percent) on the validation split of a linear probe on each layer and pooling."""
    pooled = {split: {} for split in items}
    for split, examples in items.items():
        for wave, _ in examples:
            for layer, frames in enumerate(states(torch.from_numpy(np.ascontiguousarray(wave)))):
                mean, deviation = frames[0].mean(dim=0), frames[0].std(dim=0, unbiased=False)
                for pool, vector in (("mean", mean), ("mean+std", torch.cat([mean, deviation]))):
                    pooled[split].setdefault(f"{layer} {pool}", []).append(vector.numpy())
    labels = {split: [label for _, label in examples] for split, examples in items.items()}
    scores = {}
    for key, vectors in pooled["train"].items():
        head = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300))
        head.fit(np.stack(vectors), labels["train"])
        scores[key] = round(100 * head.score(np.stack(pooled["valid"][key]), labels["valid"]), 1)
    return scores


def best(scores: dict[str, float]) -> tuple[str, float]:
    return max(scores.items(), key=lambda item: item[1])


def table(rows: list[dict]) -> str:
    lines = ["| arm | seed | CPU min | " + " | ".join(f"{task}: best (where)" for task in TASKS) + " | mean |"]
    lines.append("|---|--:|--:|" + "---|" * len(TASKS) + "--:|")
    for row in rows:
        found = [best(row["scores"][task]) for task in TASKS]
        cells = " | ".join(f"{score:.1f} ({where})" for where, score in found)
        mean = np.mean([score for _, score in found])
        lines.append(f"| {row['arm']} | {row['seed']} | {row['cpu_minutes']} | {cells} | {mean:.1f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
