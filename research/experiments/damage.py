"""Do the distances of `muq-hf compare` measure? Real music, damaged more and more, and other styles, against undamaged music.

    python research/experiments/damage.py OUT --album supertux=FOLDER --album wesnoth=FOLDER ...

The tracks of every album are divided in halves: clips of one are the reference, clips of the other are damaged. Undamaged they
show what two draws of the same music give. Writes OUT/damage.json, damage.md and damage.png; a second run continues.
"""

import argparse
import functools
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.signal

from muq_hf.audio import audio_info, find_audio, load_audio
from muq_hf.checkpoints import MUQ_TINY
from muq_hf.evaluation.distances import frechet_distance, kernel_distance, median_distance, neighbour_scores, vendi_score
from muq_hf.evaluation.models import load_encoder
from muq_hf.evaluation.music_sets import RowsOfSeconds
from muq_hf.storage.whole_files import write_json


RATE = 24_000  # Hz
CLIP_SECONDS, SOURCE_SECONDS = 10, 20  # faster playing needs more music than a clip
BATCH = 4
RMS = 0.1
MODELS = {"muq-tiny": MUQ_TINY, "mel statistics": "mel", "random weights": f"random:{MUQ_TINY}"}
SCORES = ("kernel", "frechet", "coverage", "precision", "vendi")


def noise(wave, decibels: float, generator) -> np.ndarray:
    """White noise at a signal-to-noise ratio (dB)."""
    return wave + generator.standard_normal(len(wave)) * np.std(wave) * 10 ** (-decibels / 20)


def low_pass(wave, hertz: float, generator) -> np.ndarray:
    return scipy.signal.sosfiltfilt(scipy.signal.butter(6, hertz, fs=RATE, output="sos"), wave)


def pitch(wave, semitones: float, generator) -> np.ndarray:
    """Higher at the same tempo."""
    ratio = 2 ** (semitones / 12)
    return ffmpeg(wave, ["-af", f"asetrate={RATE * ratio:.3f},aresample={RATE},atempo={1 / ratio:.6f}"])


def tempo(wave, ratio: float, generator) -> np.ndarray:
    """Faster at the same pitch."""
    return ffmpeg(wave, ["-af", f"atempo={ratio}"])


def shuffled(wave, seconds: float, generator) -> np.ndarray:
    """Pieces of a bar's length and less in random order."""
    clip = wave[: CLIP_SECONDS * RATE]
    pieces = np.array_split(clip, round(len(clip) / RATE / seconds))
    return np.concatenate([pieces[i] for i in generator.permutation(len(pieces))])


def mp3(wave, kilobits: float, generator) -> np.ndarray:
    coded = ffmpeg(wave, ["-c:a", "libmp3lame", "-b:a", f"{kilobits:g}k", "-f", "mp3"], raw=False)
    return ffmpeg(coded, [])


def ffmpeg(sound, options: list[str], raw: bool = True):
    """Samples, or the bytes of a coded file, through ffmpeg → samples [n], or with `raw=False` bytes."""
    plain = ["-f", "f32le", "-ar", str(RATE), "-ac", "1"]
    source = [] if isinstance(sound, bytes) else plain
    command = ["ffmpeg", "-v", "error", *source, "-i", "pipe:0", *options, *(plain if raw else []), "pipe:1"]
    given = sound if isinstance(sound, bytes) else sound.astype(np.float32).tobytes()
    found = subprocess.run(command, input=given, capture_output=True, check=True).stdout
    return np.frombuffer(found, dtype=np.float32) if raw else found


DAMAGES: dict[str, tuple[Callable, tuple[float, ...], str]] = {
    "noise": (noise, (30, 20, 10, 0), "dB SNR"),
    "low-pass": (low_pass, (8000, 4000, 2000, 1000), "Hz"),
    "pitch": (pitch, (1, 2, 4, 7), "semitones up"),
    "tempo": (tempo, (1.1, 1.25, 1.5, 2.0), "× faster"),
    "shuffled pieces": (shuffled, (2, 1, 0.5, 0.25), "s"),
    "MP3": (mp3, (128, 64, 32, 16), "kbit/s"),
}


def find_sources(albums: dict[str, Path], clips_per_track: int) -> dict[str, list[np.ndarray]]:
    """album → waves [20 s], those of one track side by side, all at one level."""
    found = {}
    for album, folder in albums.items():
        waves = []
        for path in find_audio([folder]):
            duration = audio_info(path).duration
            starts = np.linspace(5, duration - SOURCE_SECONDS - 5, clips_per_track) if duration > 45 else []
            waves += [[load_audio(path, RATE, start=s, end=s + SOURCE_SECONDS) for s in starts]] if len(starts) else []
        found[album] = waves
        print(f"{album}: {len(waves)} tracks")
    return found


def clip_of(wave: np.ndarray) -> np.ndarray:
    """10 s at one level: loudness is no damage here."""
    wave = np.resize(np.asarray(wave, dtype=np.float64), CLIP_SECONDS * RATE) if len(wave) < CLIP_SECONDS * RATE else wave
    wave = wave[: CLIP_SECONDS * RATE]
    return (wave * RMS / max(np.sqrt(np.mean(np.square(wave))), 1e-9)).astype(np.float32)


def features_of(encoder: RowsOfSeconds, waves: list[np.ndarray]) -> np.ndarray:
    """Clips [S] → a row for each second [N, 10, D] of the last layer."""
    parts = [encoder.frames(np.stack(waves[i : i + BATCH]))[0] for i in range(0, len(waves), BATCH)]
    return np.concatenate(parts)


def scores_of(generated: np.ndarray, reference: np.ndarray, width: float) -> dict[str, float]:
    """Both [N, 10, D]: the Fréchet distance over seconds, the others over clips."""
    seconds = [rows.reshape(-1, rows.shape[2]) for rows in (generated, reference)]
    clips = [rows.mean(axis=1) for rows in (generated, reference)]
    neighbours = neighbour_scores(*clips)
    return {
        "kernel": kernel_distance(*clips, bandwidth=width),
        "frechet": frechet_distance(*seconds),
        "coverage": neighbours["coverage"],
        "precision": neighbours["precision"],
        "vendi": vendi_score(clips[0]),
    }


def conditions(tracks: dict[str, list]):
    """(damage, level, what makes the waves of that condition)."""
    generated = [wave for waves in tracks.values() for track in waves[1::2] for wave in track]
    yield "none", 0.0, lambda: [clip_of(wave) for wave in generated]
    for name, (damage, levels, _) in DAMAGES.items():
        for level in levels:
            yield name, level, functools.partial(_damaged, generated, damage, level)


def _damaged(waves: list[np.ndarray], damage: Callable, level: float) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [clip_of(damage(wave, level, generator)) for wave in waves]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--album", action="append", required=True, metavar="NAME=FOLDER")
    parser.add_argument("--clips-per-track", type=int, default=2)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    tracks = find_sources({n: Path(f) for n, _, f in (a.partition("=") for a in arguments.album)}, arguments.clips_per_track)
    loaded = {name: load_encoder(spec) for name, spec in MODELS.items()}
    encoders = {name: RowsOfSeconds(encoder, [len(encoder.layer_names) - 1], 1.0) for name, encoder in loaded.items()}
    reference = [clip_of(wave) for waves in tracks.values() for track in waves[::2] for wave in track]
    known = {name: features_of(encoder, reference) for name, encoder in encoders.items()}
    widths = {name: median_distance(rows.mean(axis=1)) for name, rows in known.items()}
    file = arguments.output / "damage.json"
    results = json.loads(file.read_text()) if file.exists() else {"rows": []}
    results |= {"clips": [len(reference), sum(len(t) for w in tracks.values() for t in w[1::2])], "tracks": {}}
    results["tracks"] = {album: len(waves) for album, waves in tracks.items()}
    done = {(row["damage"], row["level"]) for row in results["rows"]}
    for damage, level, make_waves in conditions(tracks):
        if (damage, level) not in done:
            waves = make_waves()
            for name, encoder in encoders.items():
                scores = scores_of(features_of(encoder, waves), known[name], widths[name])
                results["rows"].append({"model": name, "damage": damage, "level": level, "scores": scores})
            print(damage, level, flush=True)
            write_json(file, results)
    if not results.get("styles"):
        results["styles"] = styles(tracks, encoders)
        write_json(file, results)
    (arguments.output / "damage.md").write_text(table(results), encoding="utf-8")
    picture(results, arguments.output / "damage.png")


def styles(tracks: dict[str, list], encoders: dict) -> list[dict]:
    """Kernel distances between halves of the albums: of one album, and of each with each other."""
    halves = {}
    for album, waves in tracks.items():
        for half in (0, 1):
            clips = [clip_of(wave) for track in waves[half::2] for wave in track]
            halves[album, half] = {name: features_of(encoder, clips).mean(axis=1) for name, encoder in encoders.items()}
    found = []
    for name in encoders:
        width = median_distance(np.concatenate([half[name] for (_, number), half in halves.items() if number == 0]))
        for one in tracks:
            for other in tracks:
                distance = kernel_distance(halves[one, 1][name], halves[other, 0][name], width)
                found.append({"model": name, "generated": one, "reference": other, "kernel": distance})
    return found


def table(results: dict) -> str:
    """Kernel and Fréchet distances: a line for each damage and model, levels across."""
    lines = []
    for score, title in (("kernel", "Kernel distance (KAD)"), ("frechet", "Fréchet distance by that of undamaged music")):
        lines += [f"**{title}**", "", "| damage | model | undamaged | 1 | 2 | 3 | 4 |", "|---|---|--:|--:|--:|--:|--:|"]
        value = {(row["model"], row["damage"], row["level"]): row["scores"][score] for row in results["rows"]}
        for damage, (_, levels, unit) in DAMAGES.items():
            for model in MODELS:
                base = value[model, "none", 0.0]
                values = [base, *(value[model, damage, level] for level in levels)]
                cells = [f"{v:.2f}" if score == "kernel" else f"{v / base:.2f}" for v in values]
                names = f"{damage} ({', '.join(f'{level:g}' for level in levels)} {unit})"
                lines.append(f"| {names} | {model} | " + " | ".join(cells) + " |")
        lines.append("")
    albums = list(results["tracks"])
    lines += ["**Styles** (kernel distance; rows are judged by the other half of the column's album)", ""]
    for model in MODELS:
        value = {(r["generated"], r["reference"]): r["kernel"] for r in results["styles"] if r["model"] == model}
        lines += [f"| {model} | " + " | ".join(albums) + " |", "|---|" + "--:|" * len(albums)]
        lines += [f"| {one} | " + " | ".join(f"{value[one, other]:.2f}" for other in albums) + " |" for one in albums] + [""]
    return "\n".join(lines)


def picture(results: dict, file: Path) -> None:
    """Kernel distance over the levels of each damage."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(2, 3, figsize=(11, 6), layout="constrained")
    value = {(row["model"], row["damage"], row["level"]): row["scores"]["kernel"] for row in results["rows"]}
    for axes, (damage, (_, levels, unit)) in zip(panels.flat, DAMAGES.items(), strict=True):
        for model in MODELS:
            values = [value[model, "none", 0.0], *(value[model, damage, level] for level in levels)]
            axes.plot(range(len(values)), values, marker="o", markersize=4, label=model)
        axes.set_xticks(range(len(levels) + 1), ["none", *(f"{level:g}" for level in levels)])
        axes.set_title(damage, fontsize=11)
        axes.set_xlabel(unit, fontsize=9)
        axes.axhline(0, color="0.8", linewidth=0.8, zorder=0)
    panels[0, 0].legend(fontsize=9, frameon=False)
    figure.supylabel("kernel distance to undamaged music", fontsize=10)
    figure.savefig(file, dpi=130)
    plt.close(figure)


if __name__ == "__main__":
    main()
