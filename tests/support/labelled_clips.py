"""Clips with known labels: tones whose frequency, harmonics, beats and chords a probe can learn."""

import json
from pathlib import Path

import numpy as np
import soundfile


SAMPLING_RATE = 24_000  # Hz
CLIP_SECONDS = 1.0
CLASSES = ("low", "middle", "high")
HERTZ = {"low": 200.0, "middle": 800.0, "high": 3200.0}
SPLITS = ("train", "train", "train", "valid", "test")


def tone(hertz: float, generator: np.random.Generator, seconds: float = CLIP_SECONDS) -> np.ndarray:
    time = np.arange(int(seconds * SAMPLING_RATE)) / SAMPLING_RATE
    phase = generator.uniform(0, 2 * np.pi)
    wave = np.sin(2 * np.pi * hertz * generator.uniform(0.95, 1.05) * time + phase)
    return (0.3 * wave + 0.01 * generator.standard_normal(len(time))).astype(np.float32)


def write_tones(folder: Path, groups_per_class: int = 10, clips_per_group: int = 2) -> Path:
    """A JSONL manifest of tones: one file per group, each with its own slightly different tones."""
    generator = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(groups_per_class):
        for name in CLASSES:
            group = f"{name}-{number}"
            waves = [tone(HERTZ[name], generator) for _ in range(clips_per_group)]
            soundfile.write(folder / f"{group}.wav", np.concatenate(waves), SAMPLING_RATE)
            for clip in range(clips_per_group):
                rows.append(
                    {
                        "path": f"{group}.wav",
                        "start": clip * CLIP_SECONDS,
                        "end": (clip + 1) * CLIP_SECONDS,
                        "split": SPLITS[number % len(SPLITS)],
                        "group": group,
                        "labels": {
                            "class": name,
                            "track": group,
                            "tags": [name, "loud"] if number % 2 else [name],
                            "hertz": HERTZ[name] / 1000,
                        },
                    }
                )
    manifest = folder / "tones.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return manifest


def write_clicks(folder: Path, clips: int = 15, seconds: float = 4.0) -> Path:
    """A JSONL manifest of clips with clicks (events) over two alternating chords (frames)."""
    generator = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(clips):
        gap = generator.uniform(0.4, 0.8)
        beats = np.arange(gap / 2, seconds, gap)
        low, high = tone(220, generator, seconds), tone(1760, generator, seconds)
        half = len(low) // 2
        wave = np.concatenate([low[:half], high[half:]]) * 0.2
        for beat in beats:
            start = int(beat * SAMPLING_RATE)
            wave[start : start + 240] += generator.standard_normal(len(wave[start : start + 240])).astype(np.float32)
        soundfile.write(folder / f"clicks{number}.wav", np.clip(wave, -1, 1), SAMPLING_RATE)
        labels = {
            "beats": {"events": [round(float(beat), 3) for beat in beats]},
            "chords": [[0, seconds / 2, "A:min"], [seconds / 2, seconds, "C:maj"]],
            "height": [[0, seconds / 2, 2.5], [seconds / 2, seconds, 4.0]],
            "tempo": float(60 / gap),
        }
        rows.append({"path": f"clicks{number}.wav", "split": SPLITS[number % len(SPLITS)], "labels": labels})
    manifest = folder / "clicks.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return manifest
