"""Which teachers, sizes and starts pay for a tiny MuQ: arms of equal compute, judged by probes on validation splits only.

    python gate.py WORK --music music.jsonl --tasks RENDERED/tasks CORPUS [--arms "wide, both" …] [--seeds 0 1] [--seconds 20000]

Every arm sees the same seconds of music. What it learns from and how large it is stands in `gate.json`; MUSICNN_WHEEL says where
MusiCNN's weights are. After each arm a linear probe is fitted on the training split of five tasks for every layer, with mean and
with mean + std over time, and scored on the validation split; the test split is not looked at. An interrupted run goes on at the
arm, and within it at the checkpoint. The table: WORK/gate.md.
"""

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from muq_hf import MuQModel
from muq_hf.audio import load_audio
from muq_hf.checkpoints import resolve_name
from muq_hf.storage.json_lines import read_json_lines
from muq_hf.storage.whole_files import replace_text, write_json
from muq_hf.training.chain import train
from muq_hf.training.latent_teachers import load_teacher


HERE = Path(__file__).resolve().parent
TASKS = {  # manifest → its tasks and their labels
    "notes": {"instrument": "family", "pitch": "pitch_class"},
    "key": {"key": "key"},
    "chord": {"chord": "chords"},
    "clips": {"album": "album"},
}
ITEMS = {"train": 800, "validation": 320}  # of each manifest at the most
RATE = 24_000  # Hz
PENALTY = 0.1  # scikit-learn's C
CLIP_SECONDS = 10.0  # of longer items, from the start
SHORTEST_CHORD = 0.5  # seconds


def main() -> None:
    arguments = parse_arguments()
    settings = json.loads(arguments.config.read_text())
    sets = {name: load_items(arguments.tasks, name) for name in TASKS}
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
    parser.add_argument("--tasks", type=Path, nargs="+", required=True, help="folders with notes, key, chord and clips .jsonl")
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
        states = muq_states(trained(arm, seed, settings, folder, arguments))
    minutes, cpu = (time.monotonic() - started) / 60, (time.process_time() - spent) / 60
    scores = {task: values for items in sets.values() for task, values in probe(states, items).items()}
    row = {"arm": name, "seed": seed, "minutes": round(minutes, 1), "cpu_minutes": round(cpu, 1), "scores": scores}
    folder.mkdir(parents=True, exist_ok=True)
    write_json(result, row)
    print(json.dumps({**row, "scores": {task: best(values) for task, values in scores.items()}}), flush=True)
    return row


def trained(arm: dict, seed: int, settings: dict, folder: Path, arguments) -> str:
    """→ folder of the trained model; of an arm without a stage the folder of the start."""
    if "stage" not in arm:
        return resolve_name(arm["start"])
    given = {key: value for key, value in arm.items() if key != "stage"}
    config = {**settings["shared"], **given}
    if "model" in arm:
        config["model"] = settings["models"][arm["model"]]
    clips = config["clip_seconds"] * config["per_device_train_batch_size"]
    steps = max(1, round(arguments.seconds / clips))
    config |= {"max_steps": steps, "save_steps": max(1, steps // 4), "logging_steps": max(1, steps // 10), "seed": seed}
    config["latents"] = str(arguments.work / "latents")
    overrides = {"data": str(arguments.music), "output_dir": str(folder / "run"), "resume": True}
    return str(train(arm["stage"], config, overrides))


def load_items(folders: list[Path], name: str) -> dict[str, list[tuple[np.ndarray, dict[str, str]]]]:
    """Waveform [S] and classes of the items of each split, evenly spread over the manifest."""
    (manifest,) = [folder / f"{name}.jsonl" for folder in folders if (folder / f"{name}.jsonl").exists()]
    rows = read_json_lines(manifest)
    found = {}
    for split, most in ITEMS.items():
        chosen = [row for row in rows if row["split"] == split]
        chosen = chosen[:: max(1, len(chosen) // most)][:most]
        found[split] = [item for row in chosen for item in items_of(manifest.parent / row["path"], row, TASKS[name])]
    return found


def items_of(path: Path, row: dict, labels: dict[str, str]) -> list[tuple[np.ndarray, dict[str, str]]]:
    """One item of a row; of a row with chords one for each of the first four."""
    wave = load_audio(path, RATE, start=row.get("start") or 0.0, end=row.get("end"))
    if "chord" in labels:
        spans = [(a, b, chord) for a, b, chord in row["labels"]["chords"] if b - a > SHORTEST_CHORD][:4]
        return [(wave[int(a * RATE) : int(b * RATE)], {"chord": str(chord)}) for a, b, chord in spans]
    return [(wave[: int(CLIP_SECONDS * RATE)], {task: str(row["labels"][label]) for task, label in labels.items()})]


def muq_states(folder: str):
    model = MuQModel.from_pretrained(folder, dtype=torch.float32).eval()
    return lambda wave: model(wave[None], output_hidden_states=True).hidden_states


def teacher_states(spec: str):
    teacher = load_teacher(spec)
    return lambda wave: (teacher.latents(wave[None]),)


@torch.inference_mode()
def probe(states, items: dict) -> dict[str, dict[str, float]]:
    """task → accuracy (percent) on the validation split of a linear probe on each layer and pooling."""
    pooled = {split: defaultdict(list) for split in items}
    for split, examples in items.items():
        for wave, _ in examples:
            for layer, frames in enumerate(states(torch.from_numpy(np.ascontiguousarray(wave)))):
                mean, deviation = frames[0].mean(dim=0), frames[0].std(dim=0, unbiased=False)
                for pool, vector in (("mean", mean), ("mean+std", torch.cat([mean, deviation]))):
                    pooled[split][f"{layer} {pool}"].append(vector.numpy())
    scores = {}
    for task in items["train"][0][1]:
        labels = {split: [own[task] for _, own in examples] for split, examples in items.items()}
        scores[task] = {}
        for place, vectors in pooled["train"].items():
            head = make_pipeline(StandardScaler(), LogisticRegression(C=PENALTY, max_iter=300))
            head.fit(np.stack(vectors), labels["train"])
            scores[task][place] = round(100 * head.score(np.stack(pooled["validation"][place]), labels["validation"]), 1)
    return scores


def best(scores: dict[str, float]) -> tuple[str, float]:
    return max(scores.items(), key=lambda item: item[1])


def table(rows: list[dict]) -> str:
    tasks = [task for labels in TASKS.values() for task in labels]
    lines = ["| arm | seed | CPU min | " + " | ".join(f"{task}: best (where)" for task in tasks) + " | mean |"]
    lines.append("|---|--:|--:|" + "---|" * len(tasks) + "--:|")
    for row in rows:
        found = [best(row["scores"][task]) for task in tasks]
        cells = " | ".join(f"{score:.1f} ({where})" for where, score in found)
        mean = np.mean([score for _, score in found])
        lines.append(f"| {row['arm']} | {row['seed']} | {row['cpu_minutes']} | {cells} | {mean:.1f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
