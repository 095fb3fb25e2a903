"""Music, and files made of it, for the tests of decoding."""

import io
import struct

import numpy as np
import soundfile


def music(seconds: float = 3.0, rate: int = 44_100, channels: int = 2, seed: int = 0) -> np.ndarray:
    """A chord with some noise, other notes in each channel: [S, C] float32."""
    generator = np.random.default_rng(seed)
    times = np.arange(int(seconds * rate)) / rate
    chords = [sum(np.sin(2 * np.pi * 110 * note * (c + 1) * times) for note in (2, 2.5, 3)) for c in range(channels)]
    return (0.1 * np.stack(chords, axis=1) + 0.005 * generator.standard_normal((len(times), channels))).astype(np.float32)


def encode(samples: np.ndarray, rate: int, container: str, coding: str | None = None) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=container, subtype=coding)
    return buffer.getvalue()


def vorbis(seconds: float = 2.0, rate: int = 44_100, channels: int = 2, seed: int = 0) -> bytes:
    return encode(music(seconds, rate, channels, seed), rate, "OGG", "VORBIS")


def opus(seconds: float = 2.0, seed: int = 0) -> bytes:
    return encode(music(seconds, 48_000, 2, seed), 48_000, "OGG", "OPUS")


def mp3(seconds: float = 2.0, rate: int = 44_100, channels: int = 2, seed: int = 0) -> bytes:
    """With an Info header."""
    return encode(music(seconds, rate, channels, seed), rate, "MP3")


def bare_mp3(seconds: float = 2.0, rate: int = 44_100, channels: int = 2, seed: int = 0) -> bytes:
    """Without the frame that holds the Info header: its first four bytes tell its length."""
    data = mp3(seconds, rate, channels, seed)
    kbit = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)[(data[2] >> 4) - 1]
    return data[144_000 * kbit // rate + (data[2] >> 1 & 1) :]


def ogg_pages(data: bytes) -> list[bytes]:
    """Split where the four letters of the next page stand, as the length of the page before says."""
    pages = []
    while data:
        length = 27 + data[26] + sum(data[27 : 27 + data[26]])
        pages.append(data[:length])
        data = data[length:]
    return pages


def flac(samples: np.ndarray, bits: int, rate: int = 44_100) -> bytes:
    """Integer samples [S, C] → FLAC of any width up to 24 bits, its frames verbatim (RFC 9639, section 9.2.4)."""
    size = 4096
    head = size.to_bytes(2, "big") * 2 + bytes(6)
    head += (rate << 44 | samples.shape[1] - 1 << 41 | bits - 1 << 36 | len(samples)).to_bytes(8, "big") + bytes(16)
    frames = b""
    for number, first in enumerate(range(0, len(samples), size)):
        block = samples[first : first + size]
        header = b"\xff\xf8" + bytes([0x70, samples.shape[1] - 1 << 4, number]) + struct.pack(">H", len(block) - 1)
        header += bytes([_crc(header, 0x07, 8)])
        digits = "".join(
            "00000010" + "".join(f"{int(value) & (1 << bits) - 1:0{bits}b}" for value in block[:, channel])
            for channel in range(samples.shape[1])
        )
        digits += "0" * (-len(digits) % 8)
        frame = header + int(digits, 2).to_bytes(len(digits) // 8, "big")
        frames += frame + struct.pack(">H", _crc(frame, 0x8005, 16))
    return b"fLaC\x80\0\0\x22" + head + frames


def _crc(data: bytes, polynomial: int, width: int) -> int:
    """Bit by bit, from the definition."""
    register = 0
    for byte in data:
        register ^= byte << width - 8
        for _ in range(8):
            register = (register << 1 ^ polynomial if register >> width - 1 else register << 1) & (1 << width) - 1
    return register
