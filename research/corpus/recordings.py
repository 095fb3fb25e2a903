"""One recording: decode to 24 kHz mono, bring to one level, encode, and describe."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr


SAMPLING_RATE = 24_000  # Hz, what MuQ hears
BLOCK_SECONDS = 10
PEAK_CEILING = 0.99  # of full scale: a track whose peaks would pass it is left a little softer

# container, subtype, suffix. Measured on one core: Vorbis encodes ×240 and decodes ×1,800 real time at 24 MB/h,
# Opus ×48 and ×190 at 17 MB/h, FLAC ×1,500 and ×2,800 at 116 MB/h.
FORMATS = {
    "vorbis": ("OGG", "VORBIS", ".ogg"),
    "opus": ("OGG", "OPUS", ".opus"),
    "flac": ("FLAC", "PCM_16", ".flac"),
}


@dataclass(frozen=True)
class Encoding:
    """How tracks are stored; one choice for a whole corpus, so that codec and level tell nothing about a track."""

    format: str = "vorbis"
    compression: float | None = None  # soundfile's compression_level, 0 (large) … 1 (small); None: soundfile's default
    level_db: float = -23.0  # RMS of the whole track, dB re full scale

    def __post_init__(self):
        if self.format not in FORMATS:
            raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {self.format!r}")
        if not -60 <= self.level_db <= -6:
            raise ValueError(f"level_db must lie in -60 … -6 dB, got {self.level_db}")

    @property
    def suffix(self) -> str:
        return FORMATS[self.format][2]


def read_mono(path: Path) -> np.ndarray:
    """float32 [S] at 24 kHz, channels averaged; reads in blocks, so only the mono result is held in memory."""
    with soundfile.SoundFile(path) as sound:
        resampler = soxr.ResampleStream(sound.samplerate, SAMPLING_RATE, 1, dtype="float32", quality="HQ")
        blocks = sound.blocks(BLOCK_SECONDS * sound.samplerate, dtype="float32", always_2d=True)
        pieces = [resampler.resample_chunk(block.mean(axis=1)) for block in blocks]
        pieces.append(resampler.resample_chunk(np.zeros(0, np.float32), last=True))
    return np.concatenate(pieces)


def rms_db(samples: np.ndarray) -> float:
    """RMS in dB re full scale; digital silence gives -200."""
    return 20 * np.log10(np.sqrt(np.mean(np.square(samples, dtype=np.float64))) + 1e-10)


def set_level(samples: np.ndarray, level_db: float) -> np.ndarray:
    """Scale to `level_db` RMS, or less where peaks would clip."""
    gain = 10 ** ((level_db - rms_db(samples)) / 20)
    return samples * np.float32(min(gain, PEAK_CEILING / (np.abs(samples).max() + 1e-10)))


def write(path: Path, samples: np.ndarray, encoding: Encoding) -> None:
    """Encode; the file appears under its name only when it is complete."""
    container, subtype, _ = FORMATS[encoding.format]
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    with soundfile.SoundFile(
        partial, "w", SAMPLING_RATE, 1, subtype, format=container, compression_level=encoding.compression
    ) as sound:
        for start in range(0, len(samples), BLOCK_SECONDS * SAMPLING_RATE):
            sound.write(samples[start : start + BLOCK_SECONDS * SAMPLING_RATE])
    os.replace(partial, path)


def tags(path: Path) -> dict[str, str]:
    """The title, artist and album written in the file, where they are readable."""
    with soundfile.SoundFile(path) as sound:
        found = sound.copy_metadata()
    return {k: v for k, v in found.items() if k in ("title", "artist", "album") and v.strip() and "\ufffd" not in v}


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
