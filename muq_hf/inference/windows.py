"""A stream of audio of unknown length → the windows that the model sees, and the rows that they belong to."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np


MIN_LAST_CHUNK_S = 1.0  # a shorter rest at the end of a file joins the chunk before it (half a chunk if that is less)


@dataclass(frozen=True)
class WindowPlan:
    """How to cut a file; all lengths in samples, `chunk`, `window` and `stride` multiples of one encoder frame.

    chunk: audio of one row, None: the whole file; window: most audio the model sees at once, context included; stride:
    context on each side of a window; min_samples: shortest audio the model takes; min_last_chunk: see MIN_LAST_CHUNK_S.
    """

    sampling_rate: int
    chunk: int | None
    window: int
    stride: int
    min_samples: int
    min_last_chunk: int

    @classmethod
    def from_seconds(
        cls, config, chunk_length_s: float | None, window_length_s: float, stride_length_s: float
    ) -> "WindowPlan":
        """Lengths are rounded to whole encoder frames. Raises ValueError for lengths that leave nothing to keep."""

        def samples(seconds: float) -> int:
            if not 0 <= seconds < float("inf"):
                raise ValueError(f"lengths must be positive numbers of seconds, got {seconds}.")
            return round(seconds * config.frame_rate) * config.samples_per_frame

        window, stride = samples(window_length_s), samples(stride_length_s)
        chunk = None if chunk_length_s is None else samples(chunk_length_s)
        if window - 2 * stride < config.min_samples:
            raise ValueError(
                f"a window of {window_length_s} s with {stride_length_s} s of context on each side keeps less than the "
                f"{config.min_samples / config.sampling_rate:.3f} s that the model needs: take a longer window or less context."
            )
        if chunk is not None and chunk < config.min_samples:
            shortest = config.min_samples / config.sampling_rate
            raise ValueError(f"chunks of {chunk_length_s} s are shorter than the {shortest:.3f} s that the model needs.")
        min_last_chunk = config.min_samples
        if chunk is not None:
            min_last_chunk = max(min_last_chunk, min(samples(MIN_LAST_CHUNK_S), chunk // 2))
        return cls(config.sampling_rate, chunk, window, stride, config.min_samples, min_last_chunk)


@dataclass(frozen=True)
class Window:
    """Audio [S]; the frames of samples `start` to `end` of the file are kept, `context` samples of `audio` come before."""

    segment: int
    start: int
    end: int
    context: int
    audio: np.ndarray


def split_stream(blocks: Iterable[np.ndarray], plan: WindowPlan) -> Iterator[Window]:
    """Blocks [any length] of one file in order → windows whose kept parts tile the file; memory holds about one window.

    A rest too short for the model, or for a chunk of its own, is joined to what comes before it; so kept parts can be longer
    than planned by less than that. `blocks` must hold `plan.min_samples` or more in all.
    """
    stream = _Stream(blocks)
    kept = plan.window - 2 * plan.stride
    segment, segment_start, segment_end, start = 0, 0, plan.chunk, 0
    while True:
        end = start + kept
        min_rest = plan.min_samples
        if segment_end is not None and end > segment_end - plan.min_samples:
            end, min_rest = segment_end, plan.min_last_chunk
        available = stream.read_to(end + max(plan.stride, min_rest))
        is_last = available < end + min_rest
        if is_last:
            end = available
        left = max(start - plan.stride, segment_start)
        right = max(end, min(end + plan.stride, available if segment_end is None else segment_end))
        yield Window(segment, start, end, start - left, stream.take(left, right))
        if is_last:
            return
        start = end
        if end == segment_end:
            segment, segment_start, segment_end = segment + 1, end, end + plan.chunk
        stream.forget(max(start - plan.stride, segment_start))


class _Stream:
    """The part of a stream that is still needed."""

    def __init__(self, blocks: Iterable[np.ndarray]):
        self._blocks = iter(blocks)
        self._held = [np.empty(0, np.float32)]
        self._first = 0  # sample of the file at which `_held` begins
        self._available = 0

    def read_to(self, position: int) -> int:
        """Read until sample `position` is there or the stream ends → samples read so far, or `position` if there are more."""
        while self._available < position:
            block = next(self._blocks, None)
            if block is None:
                break
            self._held.append(block)
            self._available += len(block)
        return min(self._available, position)

    def take(self, start: int, end: int) -> np.ndarray:
        self._held = [np.concatenate(self._held)]
        return self._held[0][start - self._first : end - self._first].copy()

    def forget(self, position: int) -> None:
        """Samples before `position` are not needed any more."""
        self._held = [np.concatenate(self._held)[position - self._first :].copy()]
        self._first = position
