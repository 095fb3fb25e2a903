"""WAV, RF64, W64 and AIFF: headers that declare too little, and codings that libsndfile misreads."""

import struct
from typing import BinaryIO

from .parts_muq import ByteWindow, Part
from .samples_muq import AudioError


PCM, EXTENSIBLE = 1, 0xFFFE  # format tags
LIBSNDFILE_TAGS = {1, 2, 3, 6, 7, 0x11, 0x31, 0x40, 0x55, 0x64, EXTENSIBLE}  # 0x64 is the old tag of G.726
W64_GUID_TAIL = bytes.fromhex("f3acd3118cd100c04f8edb8a")  # of the chunks in a W64 file, after four letters
SUBFORMAT_GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")  # after the two bytes of the format tag
SIZE_UNKNOWN = 0x7FFF_F000  # bytes; programs that write to a pipe declare at least this
MAX_TRAILING = 4_096  # bytes after the last chunk that may be an unknown tag
KNOWN_TAGS = (b"TAG", b"ID3", b"APETAGEX", b"LYRICS")  # that other programs append
MAX_CHUNKS = 10_000
FORMS = (b"RIFF", b"RIFX", b"RF64", b"FORM", b"riff")


class _Layout:
    """The layout of a kind of file: size and byte order of chunk heads, and position of the first chunk."""

    def __init__(self, head: bytes):
        self.form = head[:4]
        self.is_w64 = self.form == b"riff"
        self.has_unknown_sizes = self.form in (b"RIFF", b"RIFX")
        self.head_bytes = 24 if self.is_w64 else 8
        self.alignment = 8 if self.is_w64 else 2
        self.first_chunk = 40 if self.is_w64 else 12
        self.order = ">" if self.form in (b"FORM", b"RIFX") else "<"
        self.samples_name = b"SSND" if self.form == b"FORM" else b"data"

    def chunk(self, head: bytes) -> tuple[bytes, int] | None:
        """(name, bytes of content) from the head of a chunk; None if these bytes are no such head."""
        name = head[:4]
        if len(head) < self.head_bytes or not all(32 <= byte < 127 for byte in name):
            return None
        if not self.is_w64:
            return name, struct.unpack(self.order + "I", head[4:8])[0]
        size = struct.unpack("<Q", head[16:24])[0] - 24
        return (name, size) if size >= 0 and head[4:16] == W64_GUID_TAIL else None

    def after(self, content: int, size: int) -> int:
        return content + size + -size % self.alignment


def riff_parts(file: BinaryIO, start: int = 0) -> list[Part]:
    """The parts of a WAV, RF64, W64 or AIFF file, one for each of the files that were joined.

    Raises AudioError: "unsupported" for codings that libsndfile does not read, "unreadable" for headers that declare too little.
    """
    window = ByteWindow(file)
    layout = _Layout(window.at(start, 12))
    found = _find_samples(window, start, layout)
    if found is None:
        return [Part(start, window.size)]  # libsndfile says what is wrong with it
    format_chunk, data, declared = found
    if layout.form != b"FORM":
        tag = _format_tag(format_chunk, layout)
        if tag not in LIBSNDFILE_TAGS:
            raise AudioError("unsupported", f"the coding 0x{tag:04x} in a WAVE file needs the ffmpeg program")
        if layout.is_w64 and struct.unpack("<H", format_chunk[:2])[0] == EXTENSIBLE and tag != PCM:
            if data + declared > window.size:
                missing = data + declared - window.size
                raise AudioError("unreadable", f"it is cut off, {missing} bytes of samples are missing")
            plain = struct.pack("<H", tag) + format_chunk[2:16]
            return [Part(data, data + declared, header=_rf64_header(plain, declared))]
    following = window.size - data
    if declared >= following or (layout.has_unknown_sizes and declared >= SIZE_UNKNOWN):
        return [Part(start, window.size)]
    if layout.form == b"RIFF":
        # A recorder that was stopped leaves the size 0, and sizes of 32 bits wrap around at 4 GiB.
        wraps = [data + declared + (turns << 32) for turns in range(following >> 32, 0, -1)]
        ends = [end for end in wraps if window.size >= end >= window.size - MAX_TRAILING]
        if not declared and _end_of_chunks(window, layout, data) < window.size:
            ends.append(window.size)
        if ends:
            return [Part(data, ends[0], header=_rf64_header(format_chunk, ends[0] - data))]
    end = _end_of_chunks(window, layout, data + declared)
    if window.at(end, 4) in FORMS:
        return [Part(start, end), *riff_parts(file, end)]
    rest = window.at(end, MAX_TRAILING + 1)
    if len(rest) > MAX_TRAILING and rest.strip(b"\0") and not rest.startswith(KNOWN_TAGS):
        raise AudioError(
            "unreadable",
            f"its header declares {declared} bytes of samples, and {window.size - end} more follow that it does not name",
        )
    return [Part(start, window.size)]


def _find_samples(window: ByteWindow, start: int, layout: _Layout) -> tuple[bytes, int, int] | None:
    """(format chunk, position of the samples, bytes of samples that the header declares); None if there are no samples."""
    position, format_chunk, size_of_samples = start + layout.first_chunk, b"", None
    for _ in range(MAX_CHUNKS):
        chunk = layout.chunk(window.at(position, layout.head_bytes))
        if chunk is None:
            return None
        (name, size), content = chunk, position + layout.head_bytes
        if name == b"fmt ":
            format_chunk = window.at(content, min(size, 1000))
        elif name == b"ds64" and layout.form == b"RF64":  # the sizes that need 64 bits
            size_of_samples = int.from_bytes(window.at(content + 8, 8), "little")
        elif name == layout.samples_name:
            if layout.form != b"FORM" and len(format_chunk) < 16:
                return None
            return format_chunk, content, size if size_of_samples is None or size < 0xFFFF_FFFF else size_of_samples
        position = layout.after(content, size)
    return None


def _end_of_chunks(window: ByteWindow, layout: _Layout, position: int) -> int:
    """The end of the consecutive chunks from `position` on. A missing pad byte is tolerated."""
    for _ in range(MAX_CHUNKS):
        for begin in (position + -position % layout.alignment, position):
            chunk = layout.chunk(window.at(begin, layout.head_bytes))
            if chunk and chunk[0] not in FORMS and begin + layout.head_bytes + chunk[1] <= window.size:
                position = begin + layout.head_bytes + chunk[1]
                break
        else:
            padded = position + -position % layout.alignment
            return padded if window.at(padded, 4) in FORMS else min(position, window.size)
    return position


def _format_tag(format_chunk: bytes, layout: _Layout) -> int:
    """The format tag; where it says "extensible", that of the subformat."""
    tag = struct.unpack(layout.order + "H", format_chunk[:2])[0]
    is_extended = tag == EXTENSIBLE and format_chunk[26:40] == SUBFORMAT_GUID_TAIL
    return struct.unpack(layout.order + "H", format_chunk[24:26])[0] if is_extended else tag


def _rf64_header(format_chunk: bytes, size: int) -> bytes:
    """The header of an RF64 file (EBU Tech 3306) up to its samples: sizes of 64 bits are in a chunk of their own, ds64."""
    padded = format_chunk + bytes(len(format_chunk) % 2)
    chunks = b"fmt " + struct.pack("<I", len(format_chunk)) + padded + b"data" + struct.pack("<I", 0xFFFF_FFFF)
    sizes = b"ds64" + struct.pack("<IQQQI", 28, 4 + 36 + len(chunks) + size, size, 0, 0)
    return b"RF64" + struct.pack("<I", 0xFFFF_FFFF) + b"WAVE" + sizes + chunks
