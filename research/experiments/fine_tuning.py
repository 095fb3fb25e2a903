"""Fine-tuning beside probes: is a trained classifier better than a linear probe of frozen features, on real, labelled sound?

    python research/experiments/fine_tuning.py OUT --drums FOLDER        FOLDER: drumkits of the Debian package hydrogen-drumkits
    python research/experiments/fine_tuning.py OUT --album NAME=FOLDER … the album of 10 s of a recording, by track
    python research/experiments/fine_tuning.py OUT --task dance=rendered/tasks/dance.jsonl --most 100      a label of a manifest
    python research/experiments/fine_tuning.py OUT --task chords:chord=rendered/tasks/chord.jsonl          with its kind

Three seeds of each arm on muq-tiny; OUT/fine_tuning.md is the table. Finished runs are kept, so that a second call continues.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import numpy as np

from muq_hf.audio import audio_info, find_audio
from muq_hf.evaluation.clip import Clip
from muq_hf.evaluation.label_kinds import find_kind, kind_of
from muq_hf.evaluation.labelled_clips import complete_splits, read_manifest, with_label, write_manifest
from muq_hf.storage.whole_files import write_json
from muq_hf.training.chain import train


ARMS = {
    "frozen, mean, linear": {},
    "frozen, mean+std, linear": {"pool": "mean+std"},
    "frozen, attention, two layers": {"pool": "attention", "head_layers": 2},
    "LoRA, attention, two layers": {"tune": "lora", "pool": "attention", "head_layers": 2},
    "full, mean, linear": {"tune": "full"},
}
DRUMS = {  # class: words in an instrument's name
    "kick": ("kick", "bass drum", "bd"),
    "snare": ("snare", "sd"),
    "tom": ("tom",),
    "hi-hat": ("hh", "hat", "hihat"),
    "cymbal": ("crash", "ride", "cymbal", "splash", "china"),
    "clap": ("clap", "stick", "rim"),
}
SEEDS = 3


def drums(folder: Path, most: int) -> list[Clip]:
    """One-shots by their instrument's name; a kit is a group. `most` of each class."""
    clips: dict[str, list[Clip]] = {name: [] for name in DRUMS}
    for kit in sorted(folder.rglob("drumkit.xml")):
        for instrument in ElementTree.parse(kit).iter():
            if not instrument.tag.endswith("instrument"):
                continue
            texts = {child.tag.rpartition("}")[2]: (child.text or "") for child in instrument.iter()}
            name, file = texts.get("name", "").lower(), kit.parent / texts.get("filename", "")
            kind = next((kind for kind, words in DRUMS.items() if any(word in name for word in words)), None)
            if kind and file.is_file() and audio_info(file).duration >= 0.1:
                clips[kind].append(
                    Clip(file, end=min(1.0, audio_info(file).duration), group=kit.parent.name, labels={"drum": kind})
                )
    random = np.random.default_rng(0)
    return [clip for found in clips.values() for clip in [found[i] for i in sorted(random.permutation(len(found))[:most])]]


def albums(folders: dict[str, Path], most: int) -> list[Clip]:
    """Two clips of 10 s of each track; a track is a group. `most` tracks of each album."""
    clips = []
    for album, folder in folders.items():
        tracks = [path for path in find_audio([folder]) if audio_info(path).duration > 45]
        for path in tracks[:most]:
            third = audio_info(path).duration / 3
            clips += [
                Clip(path, third * i, third * i + 10, group=f"{album}/{path.stem}", labels={"album": album}) for i in (1, 2)
            ]
    return clips


def subset(manifest: Path, label: str, most: int) -> list[Clip]:
    """`most` training clips with this label alone, a third as many for validation and half as many for the test, by a hash."""
    clips = with_label(read_manifest(manifest), label)
    kept = []
    for split, count in (("train", most), ("valid", most // 3), ("test", most // 2)):
        own = [clip for clip in clips if clip.split == split]
        kept += sorted(own, key=lambda clip: hashlib.sha256(clip.path.name.encode()).digest())[:count]
    return [replace(clip, labels={label: clip.labels[label]}) for clip in kept]


def run_arms(name: str, clips: list[Clip], output: Path, settings: dict, arms: list[str], kind: str | None = None) -> dict:
    """→ arm → (mean, deviation, seconds of a run); the linear probe's too."""
    manifest = write_manifest(complete_splits(clips), output / f"{name}.jsonl")
    metric = settings["metric"] = find_kind(kind or kind_of([next(iter(clip.labels.values())) for clip in clips])).primary
    found = {}
    probe = output / f"{name}-probe"
    if not (probe / "results.json").exists():
        command = [sys.executable, "-m", "muq_hf", "probe", "--manifest", manifest, "--probes", "linear", "--seeds", str(SEEDS)]
        command += ["--kind", kind] if kind else []
        subprocess.run([*map(str, command), "--output", str(probe), "--workers", "1"], check=True)
    for row in json.loads((probe / "results.json").read_text())["results"]:
        for about in row["probes"].values():
            score = about["scores"][metric]
            found[f"{row['model']} ({'chance' if row['model'] == 'majority' else 'linear probe'})"] = (
                score["mean"],
                score["std"],
                row["seconds"],
            )
    for arm in arms:
        scores, seconds = [], []
        for seed in range(SEEDS):
            folder = output / f"{name}-{arm.replace(', ', '-').replace(' ', '_')}-{seed}"
            started = time.monotonic()
            train(
                "classifier",
                {
                    "data": str(manifest),
                    "seed": seed,
                    "report_to": "none",
                    "disable_tqdm": True,
                    **settings,
                    **ARMS[arm],
                    **({"kind": kind} if kind else {}),
                },
                {"output_dir": str(folder), "resume": folder.exists()},
            )
            if not (folder / "seconds.json").exists():
                write_json(folder / "seconds.json", time.monotonic() - started)
            scores.append(json.loads((folder / "results.json").read_text())[f"test_{metric}"])
            seconds.append(json.loads((folder / "seconds.json").read_text()))
        found[arm] = (float(np.mean(scores)), float(np.std(scores, ddof=1)), float(np.mean(seconds)))
        print(f"{name}: {arm}: {found[arm]}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--drums", type=Path)
    parser.add_argument("--album", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--task", action="append", default=[], metavar="LABEL[:KIND]=MANIFEST")
    parser.add_argument("--most", type=int, default=60, help="one-shots of a drum, tracks of an album, training clips of a task")
    parser.add_argument("--epochs", type=int, help="default: that of the command")
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=ARMS)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    results = {}
    epochs = {} if arguments.epochs is None else {"num_train_epochs": arguments.epochs}
    if arguments.drums:
        clips = drums(arguments.drums, arguments.most)
        results["drums"] = run_arms("drums", clips, arguments.output, {"clip_seconds": 1.0, **epochs}, arguments.arms)
    if arguments.album:
        folders = {name: Path(folder) for name, _, folder in (album.partition("=") for album in arguments.album)}
        results["albums"] = run_arms("albums", albums(folders, arguments.most), arguments.output, epochs, arguments.arms)
    for task in arguments.task:
        name, _, manifest = task.partition("=")
        label, _, kind = name.partition(":")
        clips = subset(Path(manifest), label, arguments.most)
        results[label] = run_arms(label, clips, arguments.output, {**epochs}, arguments.arms, kind or None)
    lines = ["| task | what | test score | seconds a run |", "|---|---|--:|--:|"]
    for name, arms in results.items():
        lines += [f"| {name} | {arm} | {mean:.3f} ± {std:.3f} | {took:.0f} |" for arm, (mean, std, took) in arms.items()]
    (arguments.output / "fine_tuning.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
