"""200 broken, cut, mislabelled and absurd files: each becomes a finite row or a recorded failure, and none stops the run."""

import io
import json
import struct

import numpy as np
import pandas as pd
import soundfile

from muq_hf.audio import REASONS
from muq_hf.inference.embedding import embed_files

from .conftest import RATE, song


FORMATS = {
    "wav": ("WAV", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", None),
}
HEADER_BYTES = 200  # where most fields of the formats are


def encoded(suffix: str, wave: np.ndarray, rate: int = RATE) -> bytes:
    buffer = io.BytesIO()
    container, subtype = FORMATS[suffix]
    soundfile.write(buffer, wave, rate, format=container, subtype=subtype)
    return buffer.getvalue()


def wav_header(channels: int = 1, rate: int = RATE, bits: int = 16, data_bytes: int = 9600) -> bytes:
    """A RIFF header with whatever it is told, and half a second of samples after it."""
    fields = struct.pack("<HHIIHH", 1, channels, rate, rate * 2 % 2**32, 2, bits)
    header = b"RIFF" + struct.pack("<I", (36 + data_bytes) % 2**32) + b"WAVEfmt " + struct.pack("<I", 16) + fields
    samples = (song(0.2, 0) * 32_000).astype("<i2").tobytes()
    return header + b"data" + struct.pack("<I", data_bytes) + samples


def float_wav(samples: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, RATE, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


def absurd_files() -> dict[str, bytes]:
    wave = song(0.2, 0)
    with_value = {value: np.where(np.arange(len(wave)) == 1000, value, wave) for value in (np.nan, np.inf, 1e30)}
    return {
        "zero.wav": b"",
        "one.mp3": b"\xff",
        "text.ogg": b"This is no music.\n" * 100,
        "json.flac": b'{"error": 404}',
        "wrong_suffix.flac": encoded("wav", wave),
        "wrong_suffix.wav": encoded("mp3", wave),
        "suffix.txt.wav": bytes(10_000),
        "nan.wav": float_wav(with_value[np.nan]),
        "inf.wav": float_wav(with_value[np.inf]),
        "loud.wav": float_wav(with_value[1e30]),
        "silent.wav": float_wav(np.zeros(9600)),
        "tiny.wav": float_wav(wave[:10]),
        "no_channels.wav": wav_header(channels=0),
        "many_channels.wav": wav_header(channels=65_535),
        "no_rate.wav": wav_header(rate=0),
        "rate_one.wav": wav_header(rate=1),
        "huge_rate.wav": wav_header(rate=2**32 - 1),
        "no_bits.wav": wav_header(bits=0),
        "huge_data.wav": wav_header(data_bytes=2**32 - 1),
        "no_data.wav": wav_header()[:44],
    }


def mutated_files(count: int, seed: int) -> dict[str, bytes]:
    """Cut, flipped, overwritten, doubled and spliced encodings of one short clip."""
    generator = np.random.default_rng(seed)
    sources = {suffix: encoded(suffix, song(0.2, 1)) for suffix in FORMATS}
    files = {}
    for index in range(count):
        suffix = list(FORMATS)[index % len(FORMATS)]
        content = bytearray(sources[suffix])
        match index // len(FORMATS) % 6:
            case 0:
                content = content[: generator.integers(1, len(content))]
            case 1:
                for place in generator.integers(0, min(HEADER_BYTES, len(content)), 4):
                    content[place] = generator.integers(256)
            case 2:
                for place in generator.integers(0, len(content), 50):
                    content[place] ^= 1 << generator.integers(8)
            case 3:
                start = generator.integers(0, len(content) - 4)
                content[start : start + 4] = b"\xff\xff\xff\xff"
            case 4:
                content = content[generator.integers(1, len(content)) :]
            case 5:
                content = content[: len(content) // 2] + generator.bytes(2000) + content[len(content) // 3 :]
        files[f"mutated_{index}.{suffix}"] = bytes(content)
    return files


def test_malformed_files_are_rows_or_recorded_failures(tiny_model, tmp_path):
    absurd = absurd_files()
    files = {**absurd, **mutated_files(200 - len(absurd), seed=0)}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    inputs = [tmp_path / name for name in files]
    report = embed_files(inputs, tiny_model, tmp_path / "e.parquet", workers=1, progress=False)
    table = pd.read_parquet(report.output)
    failures = [json.loads(line) for line in report.failures_file.read_text("utf-8").splitlines()]
    assert np.isfinite(np.stack(table.embedding.to_list())).all()
    assert sorted([*table.path, *(line["path"] for line in failures)]) == sorted(str(tmp_path / name) for name in files)
    assert all(line["reason"] in REASONS and line["message"] for line in failures)
    died = [line for line in failures if "died" in line["message"]]
    assert not died

    good = {"wrong_suffix.flac", "wrong_suffix.wav"}
    embedded = {path.rsplit("/", 1)[1] for path in table.path}
    assert embedded & set(absurd) <= good | {"huge_data.wav"}
    assert good <= embedded
