"""A stream of audio of unknown length → the rows that it makes, and the windows of each that the model sees."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from ..models.windowing_muq import WindowLengths, stream_windows


MIN_LAST_CHUNK_S = 1.0  # a shorter rest at the end of a file joins the chunk before it (half a chunk if that is less)


@dataclass(frozen=True)
class WindowPlan:
    """How to cut a file. chunk: audio of one row, None: the whole file; min_last_chunk: see above; both in samples."""

    sampling_rate: int
    chunk: int | None
    min_last_chunk: int
    window: WindowLengths

    @classmethod
    def from_seconds(cls, config, chunk_length_s: float | None, window_length_s: float, stride_length_s: float) -> "WindowPlan":
        """Lengths are rounded to whole encoder frames. Raises ValueError for lengths that leave nothing to keep."""
        frame, min_samples = config.samples_per_frame, config.min_samples

        def lengths(seconds: float, stride: float, names: str) -> WindowLengths:
            try:
                return WindowLengths.from_seconds(seconds, stride, config.sampling_rate, frame, min_samples)
            except ValueError as error:
                raise ValueError(f"{names}: {error}") from None

        window = lengths(window_length_s, stride_length_s, "window and stride length")
        if chunk_length_s is None:
            return cls(config.sampling_rate, None, min_samples, window)
        chunk = lengths(chunk_length_s, 0.0, "chunk length").chunk
        min_last_chunk = max(min_samples, min(round(MIN_LAST_CHUNK_S * config.frame_rate) * frame, chunk // 2))
        return cls(config.sampling_rate, chunk, min_last_chunk, window)


@dataclass(frozen=True)
class PlacedWindow:
    """Audio [S] of a window. Its frames `kept[0]:kept[1]` speak for the samples `start` to `end` of the file.

    `segment` counts the rows of the file from 0.
    """

    segment: int
    start: int
    end: int
    kept: tuple[int, int]
    audio: np.ndarray


def split_stream(blocks: Iterable[np.ndarray], plan: WindowPlan) -> Iterator[PlacedWindow]:
    """Blocks [any length] of one file in order → its windows; memory holds about one window.

    Windows never reach into another segment, so a row depends on its own audio alone. Raises ValueError if all blocks together
    are too short for the model.
    """
    for segment, (start, segment_blocks) in enumerate(split_segments(blocks, plan.chunk, plan.min_last_chunk)):
        for window, audio, _ in stream_windows(segment_blocks, plan.window):
            kept = window.kept_frames(plan.window.samples_per_frame)
            yield PlacedWindow(segment, start + window.keep_start, start + window.keep_end, kept, audio)


def split_segments(blocks: Iterable[np.ndarray], length: int | None, min_last: int) -> Iterator[tuple[int, Iterator[np.ndarray]]]:
    """Blocks → (first sample, blocks) of segments of `length` samples; each must be used up before the next is asked for.

    A rest below `min_last` samples goes to the segment before it.
    """
    if length is None:
        yield 0, iter(blocks)
        return
    stream, start = _Stream(blocks), 0
    while start == 0 or stream.has(1):
        yield start, stream.segment(length, min_last)
        start += length


class _Stream:
    """Blocks that can be looked ahead into."""

    def __init__(self, blocks: Iterable[np.ndarray]):
        self._blocks = iter(blocks)
        self._held = np.empty(0, np.float32)

    def has(self, samples: int) -> bool:
        """Whether so many more samples are there."""
        while len(self._held) < samples and (block := next(self._blocks, None)) is not None:
            self._held = np.concatenate([self._held, block])
        return len(self._held) >= samples

    def segment(self, length: int, min_last: int) -> Iterator[np.ndarray]:
        while length and self.has(1):
            block, self._held = self._held[:length], self._held[length:]
            length -= len(block)
            yield block
        if not self.has(min_last):
            block, self._held = self._held, self._held[:0]
            yield block
