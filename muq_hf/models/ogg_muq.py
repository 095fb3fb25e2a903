"""Ogg files (RFC 3533): whole or damaged, and the streams that follow each other in one file."""

import io
import zlib
from dataclasses import dataclass, field
from typing import BinaryIO

from .parts_muq import Part
from .samples_muq import AudioError


HEADER_BYTES = 27
CONTINUED, FIRST_PAGE, LAST_PAGE = 1, 2, 4  # header flags
READ_AHEAD = 1 << 18  # bytes
REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
LIBSNDFILE_CODINGS = {b"\x01vorbis": "Vorbis", b"OpusHead": "Opus"}
OTHER_CODINGS = {b"\x7fFLAC": "FLAC", b"Speex   ": "Speex", b"\x80theora": "Theora video", b"fishead\0": "Skeleton"}


@dataclass
class _Link:
    """A link of a chained file: the streams that are multiplexed in it, usually one."""

    start: int
    codings: list[str] = field(default_factory=list)
    sequence: dict[int, int] = field(default_factory=dict)  # serial number of a stream: number of its newest page
    ended: set[int] = field(default_factory=set)
    positions: list[int] = field(default_factory=list)  # granule positions of the two newest pages; frames for Vorbis
    stop: int = 0
    has_data: bool = False


def ogg_parts(file: BinaryIO, start: int) -> list[Part]:
    """The parts of an Ogg file from byte `start` on, one for each link of the chain.

    Raises AudioError: "unreadable" where a page's checksum or number is wrong, where bytes between pages are no page, or where a
    stream lacks its last page; "unsupported" for codings that libsndfile does not read in Ogg.
    """
    links = _read_links(file, start)
    codings = sorted({coding for link in links for coding in link.codings})
    if any(len(link.codings) > 1 for link in links) or not set(codings) <= set(LIBSNDFILE_CODINGS.values()):
        if len(links) > 1:
            raise AudioError("unreadable", f"it holds {len(links)} streams of {', '.join(codings)} one after the other: split it")
        raise AudioError("unsupported", f"{' and '.join(codings)} in Ogg needs the ffmpeg program")
    return [Part(link.start, link.stop, seek_limit=_seek_limit(link)) for link in links]


def page_checksum(page: bytes) -> int:
    """CRC-32 of a page whose checksum field counts as zero: polynomial 0x04C11DB7, no reflection (RFC 3533, section 6).

    zlib computes the reflected CRC, so the bits of every byte, and those of the result, are reversed.
    """
    register = 0xFFFF_FFFF  # zlib inverts it: the CRC begins with 0
    for piece in (page[:22], bytes(4), page[26:]):
        register = zlib.crc32(piece.translate(REVERSED_BITS), register)
    return int(f"{register ^ 0xFFFF_FFFF:032b}"[::-1], 2)


def _seek_limit(link: _Link) -> int | None:
    """Frame at which the last page begins: libsndfile 1.2.2 returns wrong frames after seeking into it.

    See github.com/libsndfile/libsndfile/issues/885.
    """
    if link.codings != ["Vorbis"]:
        return None
    return max(0, link.positions[-2]) if len(link.positions) == 2 else 0  # −1: no packet ends on the page


def _read_links(file: BinaryIO, start: int) -> list[_Link]:
    file.seek(start)
    pages = io.BufferedReader(_Unbuffered(file), READ_AHEAD)
    links: list[_Link] = []
    position = start
    while len(head := pages.read(HEADER_BYTES)) == HEADER_BYTES and head[:4] == b"OggS":
        sizes = pages.read(head[26])
        body = pages.read(sum(sizes))
        if len(sizes) < head[26] or len(body) < sum(sizes):
            raise AudioError("unreadable", f"it is cut off in the Ogg page at byte {position}")
        page = head + sizes + body
        if page_checksum(page) != int.from_bytes(head[22:26], "little"):
            raise AudioError("unreadable", f"it is damaged: the checksum of the Ogg page at byte {position} is wrong")
        _add_page(links, head, body, position)
        position += len(page)
        links[-1].stop = position
    if head[:4] != b"OggS" and _has_page(head, pages):
        raise AudioError("unreadable", f"it is damaged: the bytes from {position} on are no Ogg page, and pages follow")
    if head[:4] == b"OggS" or not links or links[-1].ended < links[-1].sequence.keys():
        raise AudioError("unreadable", "the Ogg stream is cut off before its last page")
    return links


def _add_page(links: list[_Link], head: bytes, body: bytes, position: int) -> None:
    flags = head[5]
    granule, serial, number = (int.from_bytes(head[a:b], "little", signed=a == 6) for a, b in ((6, 14), (14, 18), (18, 22)))
    if flags & FIRST_PAGE:
        if not links or links[-1].has_data:
            if links and links[-1].ended < links[-1].sequence.keys():
                raise AudioError("unreadable", f"the Ogg stream before byte {position} is cut off before its last page")
            links.append(_Link(position))
        known = LIBSNDFILE_CODINGS | OTHER_CODINGS
        links[-1].codings.append(next((name for magic, name in known.items() if body.startswith(magic)), "an unknown coding"))
    elif not links or serial not in links[-1].sequence:
        raise AudioError("unreadable", f"it is damaged: the Ogg page at byte {position} belongs to no stream that has begun")
    else:
        link = links[-1]
        link.has_data = True
        if number != link.sequence[serial] + 1 and any(seen > 0 for seen in link.positions):  # taggers number pages carelessly
            raise AudioError("unreadable", f"it is damaged: Ogg pages are missing before byte {position}")
    link = links[-1]
    link.sequence[serial] = number
    link.positions = [*link.positions[-1:], granule]
    if flags & LAST_PAGE:
        link.has_data = True
        link.ended.add(serial)


def _has_page(piece: bytes, pages: BinaryIO) -> bool:
    """Whether an Ogg page begins anywhere in the rest of the file, which may also be a tag."""
    while piece:
        if b"OggS" in piece:
            return True
        following = pages.read(READ_AHEAD)
        piece = piece[-3:] + following if following else b""
    return False


class _Unbuffered(io.RawIOBase):
    """The rest of a file, for a buffer of its own: the file may be any object with `read`."""

    def __init__(self, file: BinaryIO):
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
