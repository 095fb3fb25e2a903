"""WAV, RF64, W64 and AIFF: headers that say too little, and codings inside that libsndfile overlooks."""

import struct

import numpy as np
import pytest
from audio_files import encode, music

from muq_hf.audio import AudioError, audio_info, load_audio


RATE = 44_100
GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")
SAMPLES = music(2.0)


def wav(coding: str = "PCM_16", container: str = "WAV") -> bytes:
    return encode(SAMPLES, RATE, container, coding)


def claiming(data: bytes, size: int) -> bytes:
    at = data.index(b"data") + 4
    return data[:4] + struct.pack("<I", (36 + size) % 2**32) + data[8:at] + struct.pack("<I", size) + data[at + 4 :]


def extensible_w64(tag: int, bits: int, content: bytes) -> bytes:
    """W64 with the coding in the subformat of WAVE_FORMAT_EXTENSIBLE."""
    guid = bytes.fromhex("f3acd3118cd100c04f8edb8a")
    frame = SAMPLES.shape[1] * bits // 8
    layout = struct.pack("<HHIIHHHHI", 0xFFFE, SAMPLES.shape[1], RATE, RATE * frame, frame, bits, 22, bits, 3)
    layout += struct.pack("<H", tag) + GUID_TAIL
    chunks = b"fmt " + guid + struct.pack("<Q", 24 + len(layout)) + layout
    chunks += b"data" + guid + struct.pack("<Q", 24 + len(content)) + content
    riff = b"riff" + bytes.fromhex("2e91cf11a5d628db04c10000")
    return riff + struct.pack("<Q", 40 + len(chunks)) + b"wave" + guid + chunks


@pytest.mark.parametrize(
    ("tag", "bits", "coding"),
    [(3, 32, "FLOAT"), (3, 64, "DOUBLE"), (6, 8, "ALAW"), (7, 8, "ULAW"), (1, 16, "PCM_16")],
)
def test_the_subformat_of_w64_decides(tag, bits, coding):
    plain = wav(coding)
    content = plain[plain.index(b"data") + 8 :][: len(SAMPLES) * 2 * bits // 8]
    np.testing.assert_array_equal(load_audio(extensible_w64(tag, bits, content)), load_audio(plain))


def test_w64_with_a_subformat_is_refused_if_it_is_cut():
    data = extensible_w64(3, 32, SAMPLES.astype("<f4").tobytes())
    with pytest.raises(AudioError, match="cut off"):
        load_audio(data[: len(data) // 2])


def test_a_header_that_was_never_completed_ends_with_the_file():
    """The sizes are 0 where the program that recorded was stopped."""
    data = claiming(wav(), 0)
    np.testing.assert_array_equal(load_audio(data), load_audio(wav()))


@pytest.mark.parametrize("container", ["WAV", "RF64", "AIFF"])
def test_samples_that_the_header_does_not_name_are_refused(container):
    data = bytearray(wav(container=container))
    if container == "RF64":
        at, order = data.index(b"ds64") + 16, "<Q"
    else:
        at, order = data.index(b"SSND" if container == "AIFF" else b"data") + 4, ">I" if container == "AIFF" else "<I"
    data[at : at + struct.calcsize(order)] = struct.pack(order, RATE)
    with pytest.raises(AudioError, match="header declares"):
        load_audio(bytes(data))


def test_chunks_behind_the_samples_are_no_samples():
    data = wav()
    chunk = b"LIST" + struct.pack("<I", 10_000) + bytes(range(100)) * 100
    np.testing.assert_array_equal(load_audio(data + chunk), load_audio(data))
    odd = encode(music(1.0, channels=1)[:-1], RATE, "WAV", "PCM_U8")
    assert len(load_audio(odd + chunk)) == len(load_audio(odd))  # a pad byte is missing, as some programs leave it out


def test_files_that_follow_each_other_are_joined():
    assert len(load_audio(wav() + wav())) == 4 * 24_000


def test_sizes_that_began_again_after_4_gib(tmp_path):
    """A file with a hole: it needs no room on the disk."""
    path = tmp_path / "long.wav"
    size = 5 * 2**30
    with open(path, "wb") as file:
        file.write(claiming(wav(), size % 2**32)[: wav().index(b"data") + 8])
        begin = file.tell()
        file.truncate(begin + size)
        file.seek(begin + size - SAMPLES.size * 2)
        file.write(wav()[begin : begin + SAMPLES.size * 2])
    duration = size / 4 / RATE
    assert audio_info(path).duration == pytest.approx(duration, abs=1e-3)
    end = load_audio(path, start=duration - 1.0)
    assert np.corrcoef(end, load_audio(wav())[-len(end) :])[0, 1] > 0.999


def test_codings_that_libsndfile_does_not_read_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    data = bytearray(wav())
    data[20:22] = struct.pack("<H", 0x2000)  # AC-3
    with pytest.raises(AudioError, match="0x2000") as caught:
        load_audio(bytes(data))
    assert caught.value.reason == "unsupported"
