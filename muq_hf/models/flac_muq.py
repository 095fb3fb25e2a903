"""FLAC (RFC 9639): the true number of samples, where the header declares none or too few."""

import functools
import re
from dataclasses import replace
from typing import BinaryIO

from .parts_muq import ByteWindow, Part
from .samples_muq import AudioError


STREAMINFO_END = 42  # bytes: the magic number, a block header, and 34 of STREAMINFO
LAST_BLOCK = 0x80  # flag of a metadata block
LIBSNDFILE_BITS = (8, 16, 24)
SEARCHED = 1 << 17  # bytes at the end that are searched for the last frame; more if frames are longer
SECOND_STREAM = re.compile(rb"fLaC[\0\x80]\0\0\x22")
BLOCK_SIZES = {1: 192, **{code: 144 << code for code in range(2, 6)}, **{code: 1 << code for code in range(8, 16)}}


def flac_parts(file: BinaryIO, start: int) -> list[Part]:
    """The parts of a file that begins with FLAC at byte `start`.

    Raises AudioError: "unsupported" for bit depths that libsndfile does not read, "unreadable" for a file that is cut off and
    whose header does not declare its length.
    """
    window = ByteWindow(file)
    head = window.at(start, STREAMINFO_END)
    if len(head) < STREAMINFO_END or head[4] & 0x7F or head[5:8] != b"\0\0\x22":
        raise AudioError("unreadable", "its FLAC header is damaged")
    fields = int.from_bytes(head[18:26], "big")
    bits, declared = (fields >> 36 & 31) + 1, fields & (1 << 36) - 1
    if bits not in LIBSNDFILE_BITS:
        raise AudioError("unsupported", f"FLAC with samples of {bits} bits needs the ffmpeg program")
    whole = Part(start, window.size)
    found = _last_sample(window, start, head, declared)
    if found is None:
        if not declared:
            raise AudioError("unreadable", "it is cut off or damaged at its end, and its header does not say how long it is")
        return [whole]
    if found == declared:
        return [whole]
    if second := _second_stream(window, start + STREAMINFO_END):
        return [replace(whole, stop=second), *flac_parts(file, second)]
    if found < declared:
        raise AudioError("unreadable", f"it is cut off: {found} of {declared} samples are there")
    repaired = head[:18] + (fields & ~((1 << 36) - 1) | found).to_bytes(8, "big") + head[26:]
    return [Part(start + STREAMINFO_END, window.size, header=repaired)]


def holds_second_stream(file: BinaryIO, part: Part) -> bool:
    """Whether a second FLAC stream follows within a part. Reads all of the part."""
    second = _second_stream(ByteWindow(file), part.start + 1)
    return second is not None and second < part.stop


def _second_stream(window: ByteWindow, position: int) -> int | None:
    while position < window.size:
        piece = window.at(position, window.PIECE)
        if found := SECOND_STREAM.search(piece):
            return position + found.start()
        position += max(1, len(piece) - 7)
    return None


def _last_sample(window: ByteWindow, start: int, head: bytes, declared: int) -> int | None:
    """Number of samples, from the header of the last frame; None if the file does not end with a whole frame."""
    largest_block = int.from_bytes(head[10:12], "big")
    end = window.size
    if window.at(max(0, end - 128), 3) == b"TAG":
        end -= 128
    searched = max(SEARCHED, 2 * int.from_bytes(head[15:18], "big"))
    first = max(start + STREAMINFO_END, end - searched)
    tail = window.at(first, end - first)
    for found in reversed(list(re.finditer(rb"\xff[\xf8\xf9]", tail))):
        samples = _end_of_frame(tail[found.start() : found.start() + 16], largest_block)
        if samples is not None and (samples == declared or _crc(tail[found.start() :], 0x8005, 16) == 0):
            return samples
    return None


def _end_of_frame(frame: bytes, largest_block: int) -> int | None:
    """Number of samples up to a frame's end, from its header (section 9.1); None if these bytes are no frame header."""
    if len(frame) < 6 or frame[3] & 1:
        return None
    size_code, rate_code = frame[2] >> 4, frame[2] & 15
    number_bytes = max(1, 8 - (frame[4] ^ 0xFF).bit_length())  # as in UTF-8
    after = 4 + number_bytes
    number = frame[4] & (0xFF >> number_bytes if number_bytes > 1 else 0x7F)
    for byte in frame[5:after]:
        number = number << 6 | byte & 0x3F
    size_bytes = {6: 1, 7: 2}.get(size_code, 0)
    end = after + size_bytes + {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if size_code == 0 or rate_code == 15 or len(frame) <= end or _crc(frame[: end + 1], 0x07, 8):
        return None
    size = int.from_bytes(frame[after : after + size_bytes], "big") + 1 if size_bytes else BLOCK_SIZES[size_code]
    is_numbered_by_sample = frame[1] & 1
    return number + size if is_numbered_by_sample else number * largest_block + size


def _crc(data: bytes, polynomial: int, width: int) -> int:
    """CRC of `width` bits with initial value 0. Data followed by its own CRC gives 0."""
    table, register, mask = _crc_table(polynomial, width), 0, (1 << width) - 1
    for byte in data:
        register = register << 8 & mask ^ table[register >> width - 8 ^ byte]
    return register


@functools.cache
def _crc_table(polynomial: int, width: int) -> list[int]:
    table, top, mask = [], 1 << width - 1, (1 << width) - 1
    for byte in range(256):
        register = byte << width - 8
        for _ in range(8):
            register = (register << 1 ^ polynomial if register & top else register << 1) & mask
        table.append(register)
    return table
