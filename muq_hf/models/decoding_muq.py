"""Audio sources (files, bytes, open files) as mono float32 samples at one sampling rate, block by block.

soundfile decodes WAV, FLAC, OGG, Opus, MP3 and the other formats of libsndfile, part by part as `containers_muq` finds them; the
ffmpeg program, where there is one, decodes the rest. soxr resamples. The samples do not depend on the size of the
blocks: streaming gives what loading gives, and adjacent excerpts concatenate to the longer excerpt.
"""

import contextlib
import io
import math
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from .containers_muq import find_parts, first_bytes, missing_bytes
from .ffmpeg_muq import FfmpegReader, container_of, ffmpeg_program
from .flac_muq import holds_second_stream
from .parts_muq import Part
from .samples_muq import AudioError, check_samples


try:
    import soundfile
    import soxr
except (ImportError, OSError):  # OSError: the package is there and the libsndfile library is not
    soundfile = soxr = None

AudioSource = str | os.PathLike | bytes | BinaryIO

# Suffixes to search folders for: formats of libsndfile and of ffmpeg. Which of them decodes a file depends on its content.
SOUNDFILE_SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf", ".w64", ".rf64")
FFMPEG_SUFFIXES = (".m4a", ".m4b", ".mp4", ".aac", ".wma", ".webm", ".mka", ".ape", ".wv", ".ac3", ".amr", ".spx")
AUDIO_SUFFIXES = SOUNDFILE_SUFFIXES + FFMPEG_SUFFIXES

MIN_SAMPLING_RATE = 1_000  # Hz; a header that declares less is broken
MAX_SAMPLING_RATE = 768_000  # Hz; likewise more
MAX_BLOCK_VALUES = 1 << 22  # frames × channels that are decoded at a time: 16 MiB, whatever a header says
UNKNOWN_FRAMES = 2**63 - 1  # libsndfile's length of FLAC that was written to a pipe
RESAMPLER_MARGIN = 0.1  # seconds on each side of an excerpt, more than soxr's filter reaches
NOT_FOR_LIBSNDFILE = (1, 4)  # its error codes for an unknown format or coding; all others mean damage
OTHER_FILES = {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"[playlist]", b"<?xml", b"<MPD", b"<smil")
RESOURCE_FORKS = ("._", ".AppleDouble")  # where libsndfile looks for the resource fork of a file object, which has no name


class SoundFileReader:
    """Decodes one part of an open file with soundfile. `num_frames` is None where the part does not say its length."""

    def __init__(self, file: BinaryIO, part: Part, name: str, descriptor: int | None = None):
        self.name = name
        self._source, self._part, self._descriptor, self._copy = file, part, descriptor, None
        self._file = self._open()
        self.sampling_rate, self.channels, self.format = self._file.samplerate, self._file.channels, self._file.format
        is_estimate = self.format != "MP3" and self._file.subtype.startswith("MPEG")  # MP3 in a WAV file
        self.num_frames = (None if is_estimate else self._file.frames) if part.frames is None else part.frames
        if self._file.frames == UNKNOWN_FRAMES:
            raise self._unreadable("its header does not say how long it is; encode it again, for instance with ffmpeg")
        missing = missing_bytes(self._file.extra_info)
        if missing:
            raise self._unreadable(f"it is cut off, {missing} bytes of samples are missing")

    def close(self) -> None:
        self._file.close()
        if self._copy is not None:
            self._copy.close()

    def blocks(self, first: int, block_frames: int) -> Iterator[np.ndarray]:
        """Blocks [n, C] from frame `first` on; call it once. Raises AudioError where decoding fails or ends too early."""
        limit = self.num_frames or 0 if self._part.seek_limit is None else self._part.seek_limit
        position = min(first, limit)
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
            self._refuse_second_stream()
            why = error.error_string.removeprefix("Error : ").rstrip(".")
            raise self._unreadable(f"it is cut off or damaged, libsndfile says {why!r}") from error
        if self.num_frames is not None and position < self.num_frames - self._part.tolerance:
            raise self._unreadable(f"it is cut off or damaged, {position} of {self.num_frames} frames could be decoded")
        if first == 0:
            self._refuse_second_stream()

    def _refuse_second_stream(self) -> None:
        """FLAC of one length twice: `find_parts` sees no difference, as it looks at the end of the file only."""
        if self.format == "FLAC" and holds_second_stream(self._source, self._part):
            raise self._unreadable("a second FLAC stream of the same length follows the first: split it")

    def _open(self) -> "soundfile.SoundFile":
        """Open a whole file on disk by the path of its descriptor, everything else as a Python file object.

        If a resource fork lies beside a file, libsndfile reads that in its place, even an empty one. No file lies beside a
        descriptor's path. For a file object it looks in the working folder: if a fork is there, a temporary copy is opened.
        """
        is_whole = self._part.is_whole(self._source.seek(0, os.SEEK_END))
        self._source.seek(0)
        if is_whole and self._descriptor is not None:
            for folder in ("/proc/self/fd", "/dev/fd"):
                if os.path.exists(f"{folder}/{self._descriptor}"):
                    return soundfile.SoundFile(f"{folder}/{self._descriptor}")
        content = self._source if is_whole else self._part.open(self._source)
        if not any(map(os.path.lexists, RESOURCE_FORKS)):
            return soundfile.SoundFile(content)
        self._copy = tempfile.NamedTemporaryFile()
        shutil.copyfileobj(content, self._copy)
        self._copy.flush()
        return soundfile.SoundFile(self._copy.name)

    def _unreadable(self, why: str) -> AudioError:
        return AudioError("unreadable", f"Cannot read {self.name}: {why.rstrip('.')}.")


class JoinedReader:
    """Several parts of a file, one after the other, in mono and at the sampling rate of the first."""

    channels = 1

    def __init__(self, readers: list[SoundFileReader]):
        self.name, self.sampling_rate, self.format = readers[0].name, readers[0].sampling_rate, readers[0].format
        self._readers = readers
        lengths = [reader.num_frames and reader.num_frames / reader.sampling_rate for reader in readers]
        self.num_frames = None if None in lengths else round(sum(lengths) * self.sampling_rate)

    def close(self) -> None:
        for reader in self._readers:
            reader.close()

    def blocks(self, first: int, block_frames: int) -> Iterator[np.ndarray]:
        """Blocks [n, 1] from frame `first` on; those before it are decoded and dropped. Raises AudioError as the parts do."""
        joined = (block for reader in self._readers for block in self._mono(reader, block_frames))
        return (block[:, None] for block in _cut(joined, first, None))

    def _mono(self, reader: SoundFileReader, block_frames: int) -> Iterator[np.ndarray]:
        blocks = (block.mean(axis=1) for block in reader.blocks(0, block_frames))
        return _resampled(blocks, reader.sampling_rate, self.sampling_rate)


Reader = SoundFileReader | JoinedReader | FfmpegReader


@contextlib.contextmanager
def open_audio(source: AudioSource) -> Iterator[Reader]:
    """A reader of `source` (path, bytes of a file, or binary file object). Raises AudioError, ValueError for other types."""
    if soundfile is None:
        raise ImportError("Reading audio needs soundfile and soxr: pip install soundfile soxr")
    with contextlib.ExitStack() as stack:
        file, name, path = _open_binary(source, stack)
        reader = _choose_reader(file, name, path, stack)
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
        blocks = _mono_blocks(reader, units * unit_in, stop, frames_of_block(reader, block_seconds))
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


def frames_of_block(reader: Reader, seconds: float) -> int:
    """Frames of a block of `seconds`, fewer where there are many channels."""
    return max(1, min(round(seconds * reader.sampling_rate), MAX_BLOCK_VALUES // reader.channels))


def checked_rate(sampling_rate) -> int:
    """`sampling_rate` as an int (Hz). Raises ValueError for one that no audio has."""
    try:
        rate = int(sampling_rate)
        is_valid = rate == sampling_rate and MIN_SAMPLING_RATE <= rate <= MAX_SAMPLING_RATE
    except (TypeError, ValueError, OverflowError):
        is_valid = False
    if not is_valid:
        limits = f"{MIN_SAMPLING_RATE} and {MAX_SAMPLING_RATE}"
        raise ValueError(f"`sampling_rate` must be a whole number of Hz between {limits}, got {sampling_rate!r}.")
    return rate


def resample(wave: np.ndarray, rate_in: int, rate_out: int) -> np.ndarray:
    """Mono float32 [S] at `rate_in` Hz → [S'] at `rate_out` Hz with soxr HQ."""
    if rate_in == rate_out:
        return wave
    if soxr is None:
        raise ImportError(f"Resampling from {rate_in} to {rate_out} Hz needs soxr: pip install soxr")
    return soxr.resample(wave, rate_in, rate_out, quality="HQ")


def _open_binary(source: AudioSource, stack: contextlib.ExitStack) -> tuple[BinaryIO, str, Path | None]:
    """(seekable binary file, name for messages, path where there is one)."""
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        try:
            kind = OTHER_FILES.get(stat.S_IFMT(os.stat(path).st_mode))
            if kind is not None:  # opening it could wait for ever
                raise AudioError("unsupported", f"{path} is {kind}, not a file.")
            return stack.enter_context(open(path, "rb")), str(path), path
        except FileNotFoundError as error:
            raise AudioError("missing", f"{path} does not exist.") from error
        except IsADirectoryError as error:
            raise _folder_error(path) from error
        except AudioError:
            raise
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


def _folder_error(path: Path) -> AudioError:
    try:
        os.scandir(path).close()
    except OSError as error:
        return AudioError("unreadable", f"The folder {path} cannot be listed: {error.strerror}.")
    return AudioError("unsupported", f"{path} is a folder, not an audio file.")


def _choose_reader(file: BinaryIO, name: str, path: Path | None, stack: contextlib.ExitStack) -> Reader:
    """soundfile where it knows the format and the coding, else ffmpeg. Raises AudioError for what is damaged."""
    file.seek(0)  # the caller may have left it anywhere
    if not file.read(1):
        raise AudioError("empty", f"{name} is empty (0 bytes).")
    descriptor = None if path is None else file.fileno()
    readers = []
    try:
        for part in find_parts(file):
            readers.append(SoundFileReader(file, part, name, descriptor))
            stack.callback(readers[-1].close)
        return readers[0] if len(readers) == 1 else JoinedReader(readers)
    except soundfile.LibsndfileError as error:
        if error.code not in NOT_FOR_LIBSNDFILE:
            raise AudioError("unreadable", f"Cannot read {name}: {error.error_string}") from error
        why = "its coding needs the ffmpeg program"
    except AudioError as error:
        if str(error).startswith("Cannot read"):
            raise
        if error.reason != "unsupported":
            raise AudioError(error.reason, f"Cannot read {name}: {error}.") from error
        why = str(error)
    head, suffix = first_bytes(file), Path(name).suffix.lower()
    container = container_of(head)
    if container is None:
        raise _unknown_content(head, name, suffix)
    program = ffmpeg_program()
    if program is None:
        raise AudioError(
            "unsupported",
            f"Cannot read {name}: {why}. Install ffmpeg, or convert the file to one of {', '.join(SOUNDFILE_SUFFIXES)}.",
        )
    if path is None:
        copy = stack.enter_context(tempfile.NamedTemporaryFile(suffix=suffix))
        file.seek(0)
        shutil.copyfileobj(file, copy)
        copy.flush()
        path = Path(copy.name)
    reader = FfmpegReader(program, path, container, name)
    stack.callback(reader.close)
    return reader


def _unknown_content(head: bytes, name: str, suffix: str) -> AudioError:
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(PLAYLISTS):
        return AudioError("unsupported", f"Cannot read {name}: it is a playlist or another text, not audio.")
    reason = "unreadable" if suffix in AUDIO_SUFFIXES else "unsupported"
    return AudioError(reason, f"Cannot read {name}: no known audio format begins with the bytes {head[:8].hex(' ')}.")


def _mono_blocks(reader: Reader, first: int, stop: int | None, block_frames: int) -> Iterator[np.ndarray]:
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
