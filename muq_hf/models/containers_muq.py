"""Checks of audio files that libsndfile does not make: whether they are whole, how long they are, what follows in them."""

import os
import re
from typing import BinaryIO

from .ffmpeg_muq import container_of
from .flac_muq import flac_parts
from .mp3_muq import id3v2_length, mp3_parts
from .ogg_muq import ogg_parts
from .parts_muq import Part
from .riff_muq import SIZE_UNKNOWN, riff_parts
from .samples_muq import AudioError


WHOLE_SIZE_SLACK = 64  # bytes; some programs count a header twice in the size of an RF64 or W64 file
HEAD_BYTES = 1_024  # enough to recognise any container


def find_parts(file: BinaryIO) -> list[Part]:
    """The parts of an audio file, which libsndfile reads one after the other.

    Raises AudioError, whose message is the reason without the name of the file: "unreadable" for damage, "unsupported" for what
    libsndfile cannot read, "empty" for tags without audio.
    """
    size = file.seek(0, os.SEEK_END)
    start = _after_tags(file)
    head = first_bytes(file)
    if not head.strip(b"\0") and start:
        raise AudioError("empty", "it holds tags only, and no audio")
    if head[:4] == b"OggS":
        return ogg_parts(file, start)
    if head[:4] == b"fLaC":
        return flac_parts(file, start)
    if start == 0 and (head[:4] in (b"RIFF", b"RIFX", b"RF64") and head[8:12] == b"WAVE" or head[:4] in (b"riff", b"FORM")):
        return riff_parts(file)
    parts = mp3_parts(file, start) if container_of(head) is None else []
    return parts or [Part(0, size)]


def first_bytes(file: BinaryIO) -> bytes:
    """The first bytes of a file after its ID3v2 tags."""
    file.seek(_after_tags(file))
    return file.read(HEAD_BYTES)


def missing_bytes(log: str) -> int:
    """Bytes that a WAV, RF64, W64, AIFF or AU header declares and the file lacks, from libsndfile's log of opening it."""
    found = re.search(r"^\s*(data|SSND|Data Size|riff|Riff size)\s*: (\d+) \(should be (\d+)\)", log, re.MULTILINE)
    if found is None or int(found[2]) >= SIZE_UNKNOWN:
        return 0
    missing = int(found[2]) - int(found[3])
    slack = WHOLE_SIZE_SLACK if found[1].lower().startswith("riff") else 0
    return missing if missing > slack else 0


def _after_tags(file: BinaryIO) -> int:
    position = 0
    while True:
        file.seek(position)
        head = file.read(10)
        if head[:3] != b"ID3" or len(head) < 10:
            return position
        position += id3v2_length(head)
