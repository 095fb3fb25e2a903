"""MPEG audio (MP3, MP2, MP1): counts the frames of a file, and splits files that were joined.

libsndfile stops at the length in the first Info header, and where the format changes, as if the file ended there. So a file is
split before every further Info header and at every change of format, and its frames are counted.
"""

import re
from dataclasses import dataclass, replace
from typing import BinaryIO

from .parts_muq import ByteWindow, Part
from .samples_muq import AudioError


# By version bits (ISO 11172-3, 13818-3; 0: MPEG-2.5, 2: MPEG-2, 3: MPEG-1).
SAMPLING_RATES = {0: (11_025, 12_000, 8_000), 2: (22_050, 24_000, 16_000), 3: (44_100, 48_000, 32_000)}  # Hz
BIT_RATES = {  # kbit/s, by (is MPEG-1, layer); index 0 is "free", 15 is forbidden
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
INFO_HEADERS = (b"Xing", b"Info")
LONGEST_HEAD = 64  # bytes of a frame in which the name of an Info header ends
MONO = 3  # channel mode
LONGEST_FREE_FRAME = 1 << 13  # bytes; 640 kbit/s at 8 kHz are 5,760
FREE_ATTEMPTS = 8  # at a second header, to find the length of frames in free format
SEARCHED = 1 << 16  # bytes that are searched for the first frame
MAX_BROKEN_FRAME = 2_881  # bytes of the longest frame; the rest of a cut one may precede the first
MAX_TRAILING = 4_096  # bytes after the last frame that may be an unknown tag


@dataclass(frozen=True)
class FrameHeader:
    """length: bytes; samples: per channel; format: what frames of one stream share; info_at: where an Info header would be."""

    length: int
    samples: int
    format: tuple[int, int, int, bool]
    info_at: int


@dataclass
class _Run:
    """Consecutive frames of one format, with the Info header before them if there is one.

    declared: number of frames by that header; first_frame: position of the first of them.
    """

    start: int
    first_frame: int
    stop: int
    header: FrameHeader
    frames: int = 0
    declared: int | None = None


def frame_header(data: bytes, free_bytes: int = 0) -> FrameHeader | None:
    """Parse the four bytes of a frame header; None for other bytes.

    free_bytes: length of the frames without padding in free format, where the header declares no bit rate; 0: not known, and
    such a header counts as other bytes.
    """
    if len(data) < 4 or data[0] != 0xFF or data[1] & 0xE0 != 0xE0:  # the 11 sync bits
        return None
    version, layer = data[1] >> 3 & 3, 4 - (data[1] >> 1 & 3)
    bit_rate, rate, padding, mode = data[2] >> 4, data[2] >> 2 & 3, data[2] >> 1 & 1, data[3] >> 6
    if version == 1 or layer == 4 or rate == 3 or bit_rate == 15 or data[3] & 3 == 2:
        return None
    if bit_rate == 0 and not free_bytes:
        return None
    is_mpeg1 = version == 3
    sampling_rate = SAMPLING_RATES[version][rate]
    samples = 384 if layer == 1 else 1152 if layer == 2 or is_mpeg1 else 576
    bits_per_second = 1000 * BIT_RATES[is_mpeg1, layer][bit_rate - 1] if bit_rate else 0
    if bit_rate == 0:
        length = free_bytes + padding * (4 if layer == 1 else 1)
    elif layer == 1:
        length = (12 * bits_per_second // sampling_rate + padding) * 4
    else:
        length = samples // 8 * bits_per_second // sampling_rate + padding
    side_information = (32, 17, 9)[(not is_mpeg1) + (mode == MONO)]
    return FrameHeader(length, samples, (version, layer, sampling_rate, mode == MONO), 4 + side_information)


def _free_bytes(window: ByteWindow, position: int) -> int:
    """Length without padding of frames in free format, if one begins here and two like it follow; else 0."""
    data = window.at(position, 2 * LONGEST_FREE_FRAME)
    first = frame_header(data[:4], free_bytes=1)  # a length of 1, and the padding
    if first is None or data[2] >> 4:
        return 0
    with_or_without_padding = re.escape(bytes([data[2] & ~2])) + re.escape(bytes([data[2] | 2]))
    like_first = re.compile(re.escape(data[:2]) + b"[" + with_or_without_padding + b"]", re.DOTALL)
    for attempt, found in enumerate(like_first.finditer(data, 4)):
        if attempt == FREE_ATTEMPTS or found.start() > LONGEST_FREE_FRAME:
            return 0
        length = found.start() - first.length + 1
        second = frame_header(data[found.start() : found.start() + 4], length)
        if second is None or second.format != first.format:
            continue
        third = data[found.start() + second.length :][:3]
        if like_first.match(third) or (not third and position + len(data) == window.size):
            return length
    return 0


def _first_frame(file: BinaryIO, start: int) -> int | None:
    """Position of the first of three consecutive frames, at `start` or shortly after; None if there are none."""
    window = ByteWindow(file)
    head = window.at(start, SEARCHED)
    for found in re.finditer(rb"\xff[\xe2-\xff]", head):
        if found.start() > MAX_BROKEN_FRAME and head[: found.start()].strip(b"\0"):
            return None
        if _begins_frames(window, start + found.start()):
            return start + found.start()
    return None


def mp3_parts(file: BinaryIO, start: int) -> list[Part]:
    """The parts of a file from the end of its tags, at byte `start`, on; none where no frame begins near it.

    Raises AudioError for files that are cut off or damaged inside.
    """
    position = _first_frame(file, start)
    if position is None:
        return []
    window = ByteWindow(file)
    streams: list[list[_Run]] = []  # each begins with an Info header or with the file
    gap = None  # (number, position) of the first bytes between runs that are no frame
    while position < window.size:
        run = _read_run(window, position)
        if run.declared is not None or not streams:
            streams.append([])
        streams[-1].append(run)
        position, unknown = _next_frame(window, run.stop)
        if unknown and (position < window.size or unknown > MAX_TRAILING):
            gap = gap or (unknown, run.stop)
    if gap and not all(_is_complete(runs) for runs in streams):
        raise AudioError("unreadable", f"it is damaged: {gap[0]} bytes from byte {gap[1]} on are no MPEG frames")
    parts = [part for runs in streams for part in _parts_of(runs)]
    if len(parts) == 1 and parts[0].start == start and not parts[0].is_stretched:
        return [replace(parts[0], start=0, stop=window.size)]  # tags around it, which libsndfile knows
    return parts


def _is_complete(runs: list[_Run]) -> bool:
    """Whether there are as many frames as an Info header declares."""
    return runs[0].declared is not None and sum(run.frames for run in runs) >= runs[0].declared


def _parts_of(runs: list[_Run]) -> list[Part]:
    """The parts of one stream: one with its Info header, or one per run without it where the header does not fit the frames."""
    declared, found = runs[0].declared, sum(run.frames for run in runs)
    if declared is not None and found < declared - 1:
        raise AudioError("unreadable", f"it is cut off: {found} of {declared} MPEG frames are there")
    if declared is not None and len(runs) == 1 and found <= declared + 1:
        return [Part(runs[0].start, runs[0].stop, tolerance=runs[0].header.samples)] if found else []
    parts = []
    for run in runs:
        samples = run.header.samples
        # The first frames may need the bit reservoir of frames before this part, and are then lost.
        part = Part(run.first_frame, run.stop, frames=run.frames * samples, tolerance=2 * samples, is_stretched=True)
        parts += [part] if run.frames else []
    return parts


def _read_run(window: ByteWindow, start: int) -> _Run:
    """Frames from `start` on, until the next Info header, another format, or bytes that are no whole frame."""
    header = frame_header(window.at(start, 4), _free_bytes(window, start))
    run = _Run(start, start, start, header)
    first = window.at(start, header.length)
    if len(first) == header.length and first[header.info_at : header.info_at + 4] in INFO_HEADERS:
        has_count, count = first[header.info_at + 7] & 1, first[header.info_at + 8 : header.info_at + 12]
        run.declared = int.from_bytes(count, "big") if has_count else None
        run.first_frame = run.stop = start + header.length
    free_bytes = _free_bytes(window, run.stop)
    known = {}  # header, which repeats: (length of its frame, where an Info header would be)
    position, is_same_run = run.stop, True
    while is_same_run and position < window.size:
        piece = window.at(position, window.PIECE)
        last = len(piece) if position + len(piece) == window.size else len(piece) - LONGEST_HEAD
        offset = 0
        while is_same_run and offset < last:
            key = piece[offset : offset + 4]
            if key not in known:
                header = frame_header(key, free_bytes)
                is_same = header is not None and header.format == run.header.format
                known[key] = (header.length, header.info_at) if is_same else (0, 0)
            length, info_at = known[key]
            if length and piece[offset + info_at : offset + info_at + 4] not in INFO_HEADERS:
                run.frames += 1
                offset += length
            else:
                is_same_run = False
        position += offset
    if position > window.size:  # the last frame is cut
        position -= length
        run.frames -= 1
    run.stop = position
    return run


def _next_frame(window: ByteWindow, position: int) -> tuple[int, int]:
    """(position of the next frame or the end of the file, bytes before it that are neither zeros nor known tags)"""
    header = frame_header(window.at(position, 4))
    if header is not None and position + header.length > window.size:  # the last frame, cut
        return window.size, 0
    unknown = 0
    while position < window.size:
        piece = window.at(position, SEARCHED)
        step = len(piece)
        for candidate in re.finditer(rb"\xff[\xe2-\xff]|TAG|ID3|APETAGEX", piece):
            at = position + candidate.start()
            if _begins_frames(window, at):
                return at, unknown + _nonzero(piece[: candidate.start()])
            if tag := _tag_length(window.at(at, 32)):
                unknown += _nonzero(piece[: candidate.start()])
                step, piece = candidate.start() + tag, b""
                break
        unknown += _nonzero(piece)
        position += step
    return window.size, unknown


def _nonzero(data: bytes) -> int:
    return len(data.strip(b"\0"))


def _begins_frames(window: ByteWindow, position: int) -> bool:
    """Whether three frames of one format begin here, or fewer up to a tag or the end of the file."""
    formats, free_bytes = set(), 0
    for count in range(3):
        if count and (position == window.size or window.at(position, 3) in (b"TAG", b"APE", b"ID3")):
            return True
        free_bytes = free_bytes or _free_bytes(window, position)
        header = frame_header(window.at(position, 4), free_bytes)
        if header is None or not formats <= {header.format}:
            return False
        formats.add(header.format)
        position += header.length
        if position > window.size:
            return count > 0
    return True


def _tag_length(head: bytes) -> int:
    """Bytes of a tag that begins here: ID3v2, ID3v1, APE or Lyrics3; 0 if none does."""
    if head[:3] == b"ID3" and len(head) >= 10:
        return id3v2_length(head)
    if head[:3] == b"TAG":
        return 128
    if head[:8] == b"APETAGEX" and len(head) >= 24:
        is_header = head[23] & 0x20  # of the flags; a footer stands behind its items
        return 32 + (int.from_bytes(head[12:16], "little") if is_header else 0)
    return 0


def id3v2_length(head: bytes) -> int:
    """Bytes of an ID3v2 tag: a header of 10, the size in four 7-bit digits (ID3v2, section 3.1), and 10 of a footer, if any."""
    footer = 10 if head[5] & 0x10 else 0
    return 10 + sum((digit & 0x7F) << shift for digit, shift in zip(head[6:10], (21, 14, 7, 0), strict=True)) + footer
