"""Audio sources (files, bytes, open files) as mono float32 samples at one sampling rate, block by block.

soundfile decodes WAV, FLAC, OGG, Opus, MP3 and the other formats of libsndfile; the ffmpeg program, where there is one,
decodes the rest. soxr resamples. No block depends on how the source was cut into blocks, so a streamed hour equals a
loaded one, and two neighbouring excerpts join to what one longer excerpt holds.
"""

import contextlib
import io
import math
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from .containers_muq import StretchedFile, is_mp3_without_length, missing_bytes, ogg_is_cut, vorbis_seek_limit


try:
    import soundfile
    import soxr
except (ImportError, OSError):  # OSError: the package is there and the libsndfile library is not
    soundfile = soxr = None

AudioSource = str | os.PathLike | bytes | BinaryIO

REASONS = ("missing", "unreadable", "unsupported", "empty", "silent", "too short")

# Formats told apart by their suffix only when soundfile does not know the content.
SOUNDFILE_SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf", ".w64", ".rf64")
FFMPEG_SUFFIXES = (".m4a", ".m4b", ".mp4", ".aac", ".wma", ".webm", ".mka", ".ape", ".wv", ".ac3", ".amr")
AUDIO_SUFFIXES = SOUNDFILE_SUFFIXES + FFMPEG_SUFFIXES

MIN_SAMPLING_RATE = 1_000  # Hz; outside these two a header is broken
MAX_SAMPLING_RATE = 768_000  # Hz
MAX_AMPLITUDE = 100.0  # × full scale; beyond it floats are unscaled integers
UNKNOWN_FRAMES = 2**63 - 1  # libsndfile's length of FLAC that was written to a pipe
RESAMPLER_MARGIN = 0.1  # seconds on each side of an excerpt, more than soxr's filter reaches


class AudioError(ValueError):
    """No usable audio in a source. `reason` is one of `REASONS`; the text names the source and what is wrong."""

    def __init__(self, reason: str, message: str):
        super().__init__(reason, message)
        self.reason = reason

    def __str__(self) -> str:
        return self.args[1]


class SoundFileReader:
    """Decodes an open binary file with soundfile. `num_frames` is None where the file does not say its length."""

    def __init__(self, file: BinaryIO, name: str):
        self.name = name
        if ogg_is_cut(file):
            raise self._unreadable("the Ogg stream is cut off before its last page")
        has_length = not is_mp3_without_length(file)
        seek_limit = vorbis_seek_limit(file)
        self._file = soundfile.SoundFile(file if has_length else StretchedFile(file))
        self.sampling_rate, self.channels, self.format = self._file.samplerate, self._file.channels, self._file.format
        is_estimate = self.format != "MP3" and self._file.subtype.startswith("MPEG")  # MP3 in a WAV file
        self.num_frames = self._file.frames if has_length and not is_estimate else None
        self._seek_limit = (self.num_frames or 0) if seek_limit is None else seek_limit
        if self._file.frames == UNKNOWN_FRAMES:
            raise self._unreadable("its header does not say how long it is; encode it again, for instance with ffmpeg")
        missing = missing_bytes(self._file.extra_info)
        if missing:
            raise self._unreadable(f"it is cut off, {missing} bytes of samples are missing")

    def close(self) -> None:
        self._file.close()

    def blocks(self, first: int, block_frames: int) -> Iterator[np.ndarray]:
        """Blocks [n, C] from frame `first` on; to be called once. Raises AudioError where decoding fails or ends too early."""
        position = min(first, self._seek_limit)
        try:
            if position:
                self._file.seek(position)
            # `out=`: without it soundfile stops at the declared length, which MP3 files may understate.
            while len(block := self._file.read(out=np.empty((block_frames, self.channels), dtype=np.float32))):
                skip = max(0, first - position)
                position += len(block)
                if skip < len(block):
                    yield block[skip:]
        except soundfile.LibsndfileError as error:
            raise self._unreadable(error.error_string) from error
        if self.num_frames is not None and position < self.num_frames:
            raise self._unreadable(f"it is cut off or damaged, {position} of {self.num_frames} frames could be decoded")

    def _unreadable(self, why: str) -> AudioError:
        return AudioError("unreadable", f"Cannot read {self.name}: {why.rstrip('.')}.")


class FfmpegReader:
    """Decodes the first audio stream of a file with the ffmpeg program, as 32-bit floats in a Sun AU stream."""

    num_frames = None
    format = "ffmpeg"

    def __init__(self, program: str, path: Path, name: str):
        self.name = name
        self._errors = tempfile.TemporaryFile()
        # Only local files: playlists could otherwise make ffmpeg open network addresses.
        command = [program, "-nostdin", "-v", "error", "-xerror", "-protocol_whitelist", "file,pipe"]
        command += ["-i", f"file:{path}", "-map", "0:a:0", "-c:a", "pcm_f32be", "-f", "au", "pipe:1"]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._errors)
        try:
            self.sampling_rate, self.channels = self._read_header()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    def blocks(self, first: int, block_frames: int) -> Iterator[np.ndarray]:
        """Blocks [n, C] from frame `first` on; frames before it are decoded and dropped. Raises AudioError."""
        frame_bytes = 4 * self.channels
        skip = first
        while data := self._process.stdout.read(block_frames * frame_bytes):
            block = np.frombuffer(data[: len(data) // frame_bytes * frame_bytes], dtype=">f4")
            block = block.reshape(-1, self.channels).astype(np.float32)
            if skip < len(block):
                yield block[skip:]
            skip = max(0, skip - len(block))
        if self._process.wait() != 0:
            raise self._failure()

    def _read_header(self) -> tuple[int, int]:
        """Sampling rate and channels from the AU header: six big-endian 32-bit numbers, then a comment."""
        header = self._process.stdout.read(24)
        if len(header) < 24 or header[:4] != b".snd":
            self._process.wait()
            raise self._failure()
        _, data_offset, _, _, sampling_rate, channels = struct.unpack(">6I", header)
        self._process.stdout.read(data_offset - 24)
        return sampling_rate, channels

    def _failure(self) -> AudioError:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return AudioError("unreadable", f"Cannot read {self.name}: ffmpeg says {lines[-1] if lines else 'nothing'!r}.")


@contextlib.contextmanager
def open_audio(source: AudioSource) -> Iterator[SoundFileReader | FfmpegReader]:
    """A reader of `source` (path, bytes of a file, or binary file object). Raises AudioError, ValueError for other types."""
    if soundfile is None:
        raise ImportError("Reading audio needs soundfile and soxr: pip install soundfile soxr")
    with contextlib.ExitStack() as stack:
        file, name, path = _open_binary(source, stack)
        reader = _choose_reader(file, name, path, stack)
        stack.callback(reader.close)
        if not MIN_SAMPLING_RATE <= reader.sampling_rate <= MAX_SAMPLING_RATE:
            raise AudioError(
                "unreadable",
                f"Cannot read {name}: a sampling rate of {reader.sampling_rate} Hz is not between "
                f"{MIN_SAMPLING_RATE} and {MAX_SAMPLING_RATE} Hz, so its header is broken.",
            )
        yield reader


def stream_audio(
    source: AudioSource,
    block_seconds: float = 10.0,
    sampling_rate: int = 24_000,
    start: float = 0.0,
    end: float | None = None,
) -> Iterator[np.ndarray]:
    """Consecutive mono float32 blocks [n] of about `block_seconds`, from `start` to `end` (seconds, None = the end).

    Channels are averaged, soxr HQ resamples to `sampling_rate` (Hz). Memory is bounded by the block, whatever the length.
    Raises AudioError for a source that is missing, unreadable, unsupported or has no sample in the span.
    """
    if not block_seconds > 0:
        raise ValueError(f"block_seconds must be above 0, got {block_seconds}.")
    if not start >= 0 or (end is not None and not end > start):
        raise ValueError(f"start must be at least 0 and end after it (seconds), got start={start}, end={end}.")
    with open_audio(source) as reader:
        rate_in = reader.sampling_rate
        first, last = round(start * sampling_rate), None if end is None else round(end * sampling_rate)
        # The excerpt starts on a native frame that coincides with an output sample, so it lies on the whole file's grid.
        common = math.gcd(rate_in, sampling_rate)
        unit_in, unit_out = rate_in // common, sampling_rate // common
        margin = math.ceil(RESAMPLER_MARGIN * rate_in)
        units = max(0, first * unit_in // unit_out - margin) // unit_in
        stop = None if last is None else math.ceil(last * unit_in / unit_out) + margin
        blocks = _mono_blocks(reader, units * unit_in, stop, max(1, round(block_seconds * rate_in)))
        span = _cut(_resampled(blocks, rate_in, sampling_rate), first - units * unit_out, last and last - units * unit_out)
        empty = True
        for block in span:
            empty = False
            yield block
        if empty:
            where = "" if first == 0 else f" at or after {start} s"
            raise AudioError("empty", f"{reader.name} has no audio{where}.")


def load_audio(source: AudioSource, sampling_rate: int = 24_000, start: float = 0.0, end: float | None = None) -> np.ndarray:
    """`source` from `start` to `end` (seconds) as mono float32 [S] at `sampling_rate` (Hz). Raises as `stream_audio`."""
    return np.concatenate(list(stream_audio(source, sampling_rate=sampling_rate, start=start, end=end)))


def resample(wave: np.ndarray, rate_in: int, rate_out: int) -> np.ndarray:
    """Mono float32 [S] at `rate_in` Hz → [S'] at `rate_out` Hz with soxr HQ."""
    if rate_in == rate_out:
        return wave
    if soxr is None:
        raise ImportError(f"Resampling from {rate_in} to {rate_out} Hz needs soxr: pip install soxr")
    return soxr.resample(wave, rate_in, rate_out, quality="HQ")


def check_samples(wave: np.ndarray, name: str) -> None:
    """Raises AudioError where samples are NaN, infinite or far beyond full scale (±1)."""
    peak = np.abs(wave).max(initial=0.0)
    if not np.isfinite(peak):
        raise AudioError("unreadable", f"{name} holds NaN or infinite samples.")
    if peak > MAX_AMPLITUDE:
        raise AudioError(
            "unreadable",
            f"{name} holds samples up to {peak:.4g} where full scale is 1: divide integer samples by their full scale.",
        )


def _open_binary(source: AudioSource, stack: contextlib.ExitStack) -> tuple[BinaryIO, str, Path | None]:
    """(seekable binary file, name for messages, path where there is one)."""
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        try:
            return stack.enter_context(open(path, "rb")), str(path), path
        except FileNotFoundError as error:
            raise AudioError("missing", f"{path} does not exist.") from error
        except IsADirectoryError as error:
            raise AudioError("unsupported", f"{path} is a folder, not an audio file.") from error
        except (OSError, ValueError) as error:  # ValueError: a path with a null character
            raise AudioError("unreadable", f"Cannot read {path}: {error}") from error
    if isinstance(source, (bytes, bytearray, memoryview)):
        return io.BytesIO(source), f"audio of {len(source)} bytes", None
    if hasattr(source, "read"):
        name = str(getattr(source, "name", "the audio stream"))
        if not isinstance(source.read(0), bytes):
            raise ValueError(f"{name} is open as text: open it in binary mode, 'rb'.")
        seekable = hasattr(source, "seekable") and source.seekable()
        return (source if seekable else io.BytesIO(source.read())), name, None
    raise ValueError(f"Audio must be a path, the bytes of a file or a binary file object, got {type(source).__name__}.")


def _choose_reader(file: BinaryIO, name: str, path: Path | None, stack: contextlib.ExitStack) -> SoundFileReader | FfmpegReader:
    """soundfile where it knows the content; else ffmpeg, but never for a suffix that soundfile should have known."""
    file.seek(0)  # whoever wrote or read it before has left it elsewhere
    if not file.read(1):
        raise AudioError("empty", f"{name} is empty (0 bytes).")
    suffix = Path(name).suffix.lower()
    try:
        return SoundFileReader(file, name)
    except (soundfile.LibsndfileError, TypeError) as error:  # TypeError: headerless samples, suffix .raw
        why = getattr(error, "error_string", str(error))
        if suffix in SOUNDFILE_SUFFIXES:
            raise AudioError("unreadable", f"Cannot read {name}: {why}") from error
        program = shutil.which("ffmpeg")
        if program is None:
            known = f"files like {suffix} need the ffmpeg program" if suffix in FFMPEG_SUFFIXES else why
            raise AudioError(
                "unsupported",
                f"Cannot read {name}: {known}. Install ffmpeg, or convert the file to one of {', '.join(SOUNDFILE_SUFFIXES)}.",
            ) from error
    if path is None:
        copy = stack.enter_context(tempfile.NamedTemporaryFile(suffix=suffix))
        file.seek(0)
        shutil.copyfileobj(file, copy)
        copy.flush()
        path = Path(copy.name)
    return FfmpegReader(program, path, name)


def _mono_blocks(reader: SoundFileReader | FfmpegReader, first: int, stop: int | None, block_frames: int) -> Iterator[np.ndarray]:
    """Checked mono blocks [n] of native frames `first` to `stop`."""
    left = math.inf if stop is None else stop - first
    for block in reader.blocks(first, block_frames):
        mono = block[:, 0] if reader.channels == 1 else block.mean(axis=1)
        mono = mono[: min(len(mono), left)]
        check_samples(mono, reader.name)
        yield mono
        left -= len(mono)
        if left <= 0:
            return


def _resampled(blocks: Iterator[np.ndarray], rate_in: int, rate_out: int) -> Iterator[np.ndarray]:
    """Blocks [n] at `rate_in` → blocks at `rate_out`; together bit-equal to resampling the whole."""
    if rate_in == rate_out:
        yield from blocks
        return
    resampler = soxr.ResampleStream(rate_in, rate_out, 1, dtype="float32", quality="HQ")
    for block in blocks:
        yield resampler.resample_chunk(np.ascontiguousarray(block))
    yield resampler.resample_chunk(np.zeros(0, dtype=np.float32), last=True)


def _cut(blocks: Iterator[np.ndarray], first: int, last: int | None) -> Iterator[np.ndarray]:
    """The samples `first` to `last` of the joined blocks, without empty blocks."""
    position = 0
    for block in blocks:
        begin, stop = max(0, first - position), len(block) if last is None else min(len(block), last - position)
        if begin < stop:
            yield block[begin:stop]
        position += len(block)
        if last is not None and position >= last:
            return
