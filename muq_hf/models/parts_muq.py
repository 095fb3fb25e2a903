"""A part of a file, read as a file of its own: one of several joined streams, or samples behind a repaired header."""

import io
import os
from dataclasses import dataclass
from typing import BinaryIO


MPEG_STRETCH = 16  # the largest over the smallest usual MP3 bit rate (320 and 32 kbit/s), rounded up
ID3V1_BYTES = 128


@dataclass(frozen=True)
class Part:
    """The bytes `start` to `stop` of a file, behind a `header` that replaces its own.

    frames: their number, None if the decoder knows it; tolerance: how many of them may be missing at the end. seek_limit: the
    last frame to seek to, None for any. is_stretched: report a larger size than there is, so that libsndfile overestimates the
    length of an MP3 and decodes it to its real end.
    """

    start: int
    stop: int
    header: bytes = b""
    frames: int | None = None
    tolerance: int = 0
    seek_limit: int | None = None
    is_stretched: bool = False

    def is_whole(self, size: int) -> bool:
        """Whether the part is the file itself."""
        return self.start == 0 and self.stop == size and not self.header and not self.is_stretched

    def open(self, file: BinaryIO) -> "PartFile":
        return PartFile(file, self)


class PartFile(io.RawIOBase):
    """Reads a part of an open file. The file's own position moves; parts of one file may take turns."""

    def __init__(self, file: BinaryIO, part: Part):
        self._file, self._header, self._start = file, part.header, part.start
        self._content = len(part.header) + part.stop - part.start
        self._size = self._content * (MPEG_STRETCH if part.is_stretched else 1)
        self._position = 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer) -> int:
        if self._position < len(self._header):
            data = self._header[self._position : self._position + len(buffer)]
        elif self._position < self._content:
            self._file.seek(self._start + self._position - len(self._header))
            data = self._file.read(min(len(buffer), self._content - self._position))
        elif self._position >= self._size - ID3V1_BYTES:  # libsndfile looks for a tag there and needs some bytes
            data = bytes(max(0, min(len(buffer), self._size - self._position)))
        else:
            data = b""
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


class ByteWindow:
    """Bytes at any place of a file, read in large pieces."""

    PIECE = 1 << 20  # bytes

    def __init__(self, file: BinaryIO):
        self._file = file
        self.size = file.seek(0, os.SEEK_END)
        self.begin, self.data = 0, b""

    def at(self, position: int, count: int) -> bytes:
        """`count` bytes from `position` on, fewer at the end of the file."""
        if position >= self.size:  # or beyond what any file can be, by a damaged header
            return b""
        if not self.begin <= position <= position + count <= self.begin + len(self.data):
            self._file.seek(position)
            self.begin, self.data = position, self._file.read(max(count, self.PIECE))
        offset = position - self.begin
        return self.data[offset : offset + count]
