"""The ffmpeg program, for what libsndfile does not read: only containers of an explicit list, only local files."""

import re
import shutil
import struct
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from .samples_muq import AudioError


# (offset, magic bytes, ffmpeg's name of the container). None of these can refer to other files or addresses.
CONTAINERS = (
    (4, b"ftyp", "mov"),
    (4, b"moov", "mov"),
    (4, b"mdat", "mov"),
    (4, b"wide", "mov"),
    (0, b"\x1a\x45\xdf\xa3", "matroska"),
    (0, bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"), "asf"),
    (0, b"MAC ", "ape"),
    (0, b"wvpk", "wv"),
    (0, b"TTA1", "tta"),
    (0, b"tBaK", "tak"),
    (0, b"MPCK", "mpc8"),
    (0, b"MP+", "mpc"),
    (0, b"#!AMR", "amr"),
    (0, b"DSD ", "dsf"),
    (0, b"FRM8", "iff"),
    (0, b"ajkg", "shn"),
    (0, b"\x7f\xfe\x80\x01", "dts"),
    (0, b"FLV\x01", "flv"),
    (0, b".RMF", "rm"),
    (8, b"AVI ", "avi"),
    (0, b"\0\0\x01\xba", "mpeg"),
    (8, b"WAVE", "wav"),
    (0, b"riff", "w64"),
    (0, b"FORM", "aiff"),
    (0, b"caff", "caf"),
    (0, b"fLaC", "flac"),
    (0, b"OggS", "ogg"),
    (0, b".snd", "au"),
)
AC3_SYNC, ADTS_SYNC, TRANSPORT_SYNC = b"\x0b\x77", re.compile(rb"\xff[\xf0\xf1\xf8\xf9]"), 0x47
STALL_SECONDS = 60.0  # without output, after which ffmpeg is killed
DURATION = re.compile(r"^\[info\]\s+Duration: (\d+):(\d\d):(\d\d\.\d\d)", re.MULTILINE)
OTHER_STREAM = re.compile(r"^\[info\]\s+Stream #0:\d+.*: (?:Video(?!.*attached pic)|Subtitle|Data)", re.MULTILINE)
INPUT_STREAM = re.compile(r"^\[info\]\s+Stream #0:\d+.*: Audio", re.MULTILINE)
ERROR = re.compile(r"\[(?:error|fatal)\] (.*)")
LOSSES = re.compile(r"\[warning\] (.*(?:corrupt|truncat|Packet mismatch|damaged).*)", re.IGNORECASE)
LONGEST_FRAMES = 4_096  # samples of the longest frame of these codings, twice: one may be missing at either end
LOG_BYTES = 1 << 20  # of ffmpeg's messages; more are not read


def container_of(head: bytes) -> str | None:
    """ffmpeg's name of the container that begins with these bytes (1024 are enough); None if it is not on the list."""
    for at, magic, name in CONTAINERS:
        if head[at : at + len(magic)] == magic:
            return name
    if head[:2] == AC3_SYNC and len(head) > 5:
        return "eac3" if head[5] >> 3 > 10 else "ac3"
    if ADTS_SYNC.match(head) and len(head) > 6:
        length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5  # of the frame: the next one follows it
        return "aac" if length > 7 and (len(head) < length + 2 or ADTS_SYNC.match(head, length)) else None
    if len(head) > 188 * 2 and head[0] == head[188] == head[376] == TRANSPORT_SYNC:
        return "mpegts"
    return None


def ffmpeg_program() -> str | None:
    return shutil.which("ffmpeg")


class FfmpegReader:
    """Decodes the first audio stream of a file with the ffmpeg program, as 32-bit floats in a Sun AU stream.

    ffmpeg exits with 0 for a truncated file too, so its messages are searched for complaints, and the decoded length is compared
    with the container's duration. If this process dies, ffmpeg ends as well: nobody reads its pipe.
    """

    num_frames = None
    format = "ffmpeg"

    def __init__(self, program: str, path: Path, container: str, name: str):
        self.name = name
        self._is_stalled = False
        self._log = tempfile.TemporaryFile()
        command = [program, "-nostdin", "-hide_banner", "-nostats", "-loglevel", "level+info", "-xerror"]
        command += ["-protocol_whitelist", "file,pipe", "-f", container, "-i", f"file:{path}"]
        command += ["-map", "0:a:0", "-c:a", "pcm_f32be", "-f", "au", "pipe:1"]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._log)
        try:
            self.sampling_rate, self.channels = self._read_header()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()
        self._log.close()

    def blocks(self, first: int, block_frames: int) -> Iterator[np.ndarray]:
        """Blocks [n, C] from frame `first` on; frames before it are decoded and dropped. Raises AudioError."""
        frame_bytes = 4 * self.channels
        position = 0
        while data := self._read(block_frames * frame_bytes):
            block = np.frombuffer(data[: len(data) // frame_bytes * frame_bytes], dtype=">f4")
            block = block.reshape(-1, self.channels).astype(np.float32)
            skip = max(0, first - position)
            position += len(block)
            if skip < len(block):
                yield block[skip:]
        if self._process.wait() != 0:
            raise self._failure()
        self._check_end(position)

    def _check_end(self, frames: int) -> None:
        """Raises AudioError if ffmpeg complained, or decoded less than the container declares."""
        log = self._messages()
        complaint = ERROR.search(log) or LOSSES.search(log)
        if complaint:
            raise self._unreadable(f"it is cut off or damaged, ffmpeg says {complaint[1]!r}")
        declared = DURATION.search(log)
        is_estimate = "Estimating duration" in log or OTHER_STREAM.search(log)
        if declared is None or is_estimate:
            return
        hours, minutes, seconds = map(float, declared.groups())
        duration, decoded = 3600 * hours + 60 * minutes + seconds, frames / self.sampling_rate
        if decoded < duration - 0.02 - LONGEST_FRAMES / self.sampling_rate:
            raise self._unreadable(f"it is cut off, {decoded:.2f} of {duration:.2f} s could be decoded")

    def _read_header(self) -> tuple[int, int]:
        """Sampling rate and channels from the AU header: six big-endian 32-bit numbers, then a comment."""
        header = self._read(24)
        if len(header) < 24 or header[:4] != b".snd":
            self._process.wait()
            raise self._failure()
        _, data_offset, _, _, sampling_rate, channels = struct.unpack(">6I", header)
        self._read(data_offset - 24)
        return sampling_rate, channels

    def _read(self, count: int) -> bytes:
        """`count` bytes, fewer at the end. Raises AudioError after STALL_SECONDS without output."""
        watch = threading.Timer(STALL_SECONDS, self._stop_stalled)
        watch.daemon = True
        watch.start()
        try:
            data = self._process.stdout.read(count)
        finally:
            watch.cancel()
        if self._is_stalled:
            raise self._unreadable(f"ffmpeg decoded nothing for {STALL_SECONDS:g} s")
        return data

    def _stop_stalled(self) -> None:
        self._is_stalled = True
        self._process.kill()

    def _messages(self) -> str:
        self._log.seek(0)
        return self._log.read(LOG_BYTES).decode(errors="replace")

    def _failure(self) -> AudioError:
        log = self._messages()
        errors = ERROR.findall(log)
        if INPUT_STREAM.search(log) is None and "matches no streams" in log:
            return AudioError("unsupported", f"Cannot read {self.name}: it holds no audio stream.")
        return self._unreadable(f"ffmpeg says {errors[0] if errors else 'nothing'!r}")

    def _unreadable(self, why: str) -> AudioError:
        return AudioError("unreadable", f"Cannot read {self.name}: {why.rstrip('.')}.")
