"""Audio files on disk: finding, probing and checking them. They are decoded by models/decoding_muq.py."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .models.decoding_muq import AUDIO_SUFFIXES, AudioSource, frames_of_block, load_audio, open_audio, stream_audio
from .models.samples_muq import REASONS, AudioError


__all__ = [
    "AUDIO_SUFFIXES",
    "REASONS",
    "SILENCE",
    "AudioError",
    "AudioInfo",
    "AudioSource",
    "audio_info",
    "check_audible",
    "find_audio",
    "load_audio",
    "stream_audio",
]

SILENCE = -90.0  # dB relative to full scale: peaks below it, one step of 16-bit audio, are silence


@dataclass(frozen=True)
class AudioInfo:
    duration: float  # seconds
    sampling_rate: int  # Hz, as stored
    channels: int
    format: str  # soundfile's name of the container, or "ffmpeg"


def audio_info(source: AudioSource) -> AudioInfo:
    """What a file holds, from its header; files that do not say their length are decoded once. Raises AudioError."""
    with open_audio(source) as reader:
        frames = reader.num_frames
        if frames is None:
            frames = sum(len(block) for block in reader.blocks(0, frames_of_block(reader, 10.0)))
        return AudioInfo(frames / reader.sampling_rate, reader.sampling_rate, reader.channels, reader.format)


def find_audio(paths: Iterable[str | os.PathLike]) -> list[Path]:
    """Files as given, whatever their suffix, and all audio files below folders, sorted by name; each once.

    Hidden files are passed over, and links to folders are not followed. A path that does not exist and a folder that cannot be
    listed are kept: `load_audio` says what is wrong with them.
    """
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        if path.is_dir():
            found.update(dict.fromkeys(sorted(_audio_below(path))))
        else:
            found[path] = None
    return list(found)


def check_audible(num_samples: int, peak: float, min_samples: int, name: str = "the audio") -> None:
    """Raises AudioError with the reason "empty", "too short" (below `min_samples`) or "silent"; peak: of the absolute samples."""
    if num_samples == 0:
        raise AudioError("empty", f"{name} has no samples.")
    if num_samples < min_samples:
        raise AudioError("too short", f"{name} has {num_samples} samples; the model needs at least {min_samples}.")
    if peak < 10 ** (SILENCE / 20):
        raise AudioError("silent", f"{name} is silent: no sample reaches {SILENCE:.0f} dB of full scale.")


def _audio_below(folder: Path) -> Iterable[Path]:
    unlisted = []
    for parent, folders, names in os.walk(folder, onerror=unlisted.append):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and name.lower().endswith(AUDIO_SUFFIXES):
                yield Path(parent, name)
    yield from (Path(error.filename) for error in unlisted)
