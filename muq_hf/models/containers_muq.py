"""What the bytes of an audio file tell that libsndfile does not: whether it is whole, how long it is, where it may be entered."""

import io
import os
import re
from typing import BinaryIO


OGG_TAIL = 140_000  # bytes; two Ogg pages, of at most 65 307 each
OGG_END_OF_STREAM = 4  # header flag
MP3_HEAD = 4_096  # bytes; holds the first frame with its Xing header
MP3_STRETCH = 16  # the largest over the smallest usual MP3 bit rate (320 and 32 kbit/s), rounded up
ID3V1_BYTES = 128
WHOLE_SIZE_SLACK = 64  # bytes; by headers that some programs count once too often in the size of an RF64 or W64 file
RIFF_SIZE_UNKNOWN = 0x7FFF_F000  # bytes; programs that write to a pipe declare at least this


def ogg_is_cut(file: BinaryIO) -> bool:
    """Whether an Ogg file lacks the end of its last page or that page's end-of-stream flag (RFC 3533, section 6)."""
    pages = _last_ogg_pages(file)
    if pages is None:
        return False
    page = pages[-1]
    if len(page) < 27 or len(page) < 27 + page[26]:
        return True
    lacks_flag = not page[5] & OGG_END_OF_STREAM
    return lacks_flag or len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]])


def vorbis_seek_limit(file: BinaryIO) -> int | None:
    """The last frame to seek to in an Ogg Vorbis file, None for other files; leaves `file` at its begin.

    libsndfile 1.2.2 finds wrong frames in the last page (github.com/libsndfile/libsndfile/issues/885), so the limit is where
    the page before it ends.
    """
    pages = _last_ogg_pages(file)
    file.seek(0)
    is_vorbis = pages is not None and b"\x01vorbis" in file.read(64)
    file.seek(0)
    if not is_vorbis:
        return None
    position = int.from_bytes(pages[0][6:14], "little", signed=True)  # −1: no packet ends on the page
    return max(0, position) if len(pages) == 2 else 0


def is_mp3_without_length(file: BinaryIO) -> bool:
    """Whether an MP3 file lacks the Xing (or Info) header with its number of frames.

    The length that libsndfile then guesses from the first frames, and stops at, is wrong where the bit rate varies.
    """
    file.seek(0)
    head = file.read(10)
    begin = 0
    if head[:3] == b"ID3" and len(head) == 10:  # a tag of 10 + n bytes, n in four 7-bit digits (ID3v2, section 3.1)
        begin = 10 + sum((digit & 0x7F) << shift for digit, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
    file.seek(begin)
    frame = file.read(MP3_HEAD)
    if len(frame) < 4 or frame[0] != 0xFF or frame[1] & 0xE0 != 0xE0:  # the 11 sync bits
        return False
    header = re.search(rb"(?:Xing|Info)\0\0\0(.)", frame, re.DOTALL)
    return header is None or not header[1][0] & 1  # flag: the number of frames follows


def missing_bytes(log: str) -> int:
    """Bytes that a WAV, RF64, W64, AIFF or AU header declares and the file lacks, from libsndfile's log of opening it."""
    found = re.search(r"^\s*(data|SSND|Data Size|riff|Riff size)\s*: (\d+) \(should be (\d+)\)", log, re.MULTILINE)
    if found is None or int(found[2]) >= RIFF_SIZE_UNKNOWN:
        return 0
    missing = int(found[2]) - int(found[3])
    slack = WHOLE_SIZE_SLACK if found[1].lower().startswith("riff") else 0
    return missing if missing > slack else 0


class StretchedFile(io.RawIOBase):
    """A file that claims to be longer, so that libsndfile overestimates an MP3's length and decodes to its real end."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self._size = MP3_STRETCH * file.seek(0, os.SEEK_END)
        self._position = 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        return self._position

    def readinto(self, buffer) -> int:
        if self._position >= self._size - ID3V1_BYTES:  # libsndfile looks for a tag there and needs some bytes
            data = bytes(min(len(buffer), self._size - self._position))
        else:
            self._file.seek(self._position)
            data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


def _last_ogg_pages(file: BinaryIO) -> list[bytes] | None:
    """The last two pages of an Ogg file (or one) up to the file's end; None for other files."""
    file.seek(0)
    if file.read(4) != b"OggS":
        return None
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - OGG_TAIL))
    tail = file.read()
    last = tail.rfind(b"OggS")
    if last < 0:
        return [b""]
    before = tail.rfind(b"OggS", 0, last)
    return [tail[last:]] if before < 0 else [tail[before:last], tail[last:]]
