"""Music, and files made of it, for the tests of decoding."""

import io
import struct
from collections import Counter

import numpy as np
import soundfile

from muq_hf.models.ogg_muq import page_checksum


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


def silent_vorbis(seconds: float, channels: int = 255, rate: int = 44_100) -> bytes:
    """Vorbis of few bytes and many samples: libvorbis's packet of one block of silence, again and again."""
    pages = ogg_pages(encode(np.zeros((rate // 5, channels), np.float32), rate, "OGG", "VORBIS"))
    packets = [packet for page in pages for packet in _whole_packets(page)]
    block = Counter(packets).most_common(1)[0][0]
    headers = [page for page in pages if not int.from_bytes(page[6:14], "little")]
    serial, samples = pages[0][14:18], 1024  # half of a long block
    lacing = bytes([255] * (len(block) // 255) + [len(block) % 255])
    per_page = 255 // len(lacing)
    count = round(seconds * rate / samples)
    body = []
    for first in range(0, count, per_page):
        number = min(per_page, count - first)
        granule = (first + number - 1) * samples  # the first block gives none
        flags = 4 if first + number == count else 0
        head = b"OggS\0" + bytes([flags]) + granule.to_bytes(8, "little") + serial
        head += (len(headers) + len(body)).to_bytes(4, "little") + bytes(4) + bytes([number * len(lacing)])
        page = head + lacing * number + block * number
        body.append(page[:22] + page_checksum(page).to_bytes(4, "little") + page[26:])
    return b"".join(headers + body)


def _whole_packets(page: bytes) -> list[bytes]:
    """Packets that begin and end on a page without headers."""
    count = page[26]
    sizes, position, packets, length = page[27 : 27 + count], 27 + count, [], 0
    for size in sizes if int.from_bytes(page[6:14], "little") else ():
        length += size
        if size < 255:
            packets.append(page[position : position + length])
            position, length = position + length, 0
    return packets
