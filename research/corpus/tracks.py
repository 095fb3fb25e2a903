"""One package → encoded tracks with their descriptions."""

import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import recordings
from catalogue import Package, allowed
from recordings import SAMPLING_RATE, Encoding
from unpack import MusicFile, unpack

from muq_hf.training.acoustic_fingerprint import acoustic_fingerprint


SILENCE_DB = -60.0  # RMS below which a track is no music


@dataclass(frozen=True)
class Options:
    encoding: Encoding
    licences: str  # "all" or "cc"
    min_seconds: float


def build_package(package: Package, deb: Path, output: Path, options: Options) -> dict:
    """Encode the tracks of one package into `output`; returns what the manifest needs and what was left out."""
    with tempfile.TemporaryDirectory(dir=output) as scratch:
        music = unpack(package, deb, Path(scratch))
        if (notice := Path(scratch) / "copyright").exists():
            (output / "copyright").mkdir(exist_ok=True)
            shutil.copy(notice, output / "copyright" / package.id)
        entries, left_out = [], []
        for name, item in sorted(track_names(music).items()):
            licence, author = package.rights(item.source)
            if not allowed(licence, options.licences):
                left_out.append({"source": item.source, "reason": f"licence {licence}"})
                continue
            try:
                entry = encode_track(f"{package.id}/{name}", item.file, output, options)
            except (ValueError, RuntimeError) as error:  # too short, silent; or soundfile could not decode it
                left_out.append({"source": item.source, "reason": str(error)})
                continue
            entry |= {"package": package.id, "deb": deb.name, "source": item.source, "album": package.album}
            entry |= {"author": author, "licence": licence, "style": list(package.style)}
            entry["tempo"] = package.tempo_of(item.source)
            entries.append(entry)
    return {"package": package.id, "tracks": entries, "left_out": left_out}


def encode_track(track_id: str, source: Path, output: Path, options: Options) -> dict:
    """Decode, level, encode and fingerprint one file. Raises ValueError for a short or silent one."""
    samples = recordings.read_mono(source)
    duration, level = len(samples) / SAMPLING_RATE, recordings.rms_db(samples)
    if duration < options.min_seconds:
        raise ValueError(f"{duration:.1f} s is shorter than {options.min_seconds:g} s")
    if level < SILENCE_DB:
        raise ValueError(f"{level:.0f} dB is silence")
    path = Path("audio") / f"{track_id}{options.encoding.suffix}"
    recordings.write(output / path, recordings.set_level(samples, options.encoding.level_db), options.encoding)
    words = acoustic_fingerprint(samples, SAMPLING_RATE)
    print_file = fingerprint_file(output, track_id)
    print_file.parent.mkdir(parents=True, exist_ok=True)
    np.save(print_file, words)
    tags = recordings.tags(source)
    return {
        "id": track_id,
        "path": str(path),
        "duration": round(duration, 3),
        "title": tags.get("title", track_id.split("/")[1].replace("_", " ")),
        "artist": tags.get("artist"),
        "release": tags.get("album"),
        "source_level_db": round(level, 2),
        "sha256": recordings.sha256(source),
    }


def fingerprint_file(output: Path, track_id: str) -> Path:
    return output / "state" / "fingerprints" / f"{track_id}.npy"


def track_names(music: list[MusicFile]) -> dict[str, MusicFile]:
    """Short, unique, speaking names: the path below the folder that all tracks share."""
    if not music:
        return {}
    stems = [os.path.splitext(item.source)[0] for item in music]
    folder = os.path.commonpath([os.path.dirname(stem) for stem in stems])
    names = [re.sub(r"[^A-Za-z0-9]+", "_", os.path.relpath(stem, folder)).strip("_") for stem in stems]
    if len(set(names)) < len(names):
        raise ValueError(f"two of {names} have one name; give the table narrower globs")
    return dict(zip(names, music, strict=True))
