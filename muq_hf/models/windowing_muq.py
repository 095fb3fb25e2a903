"""Long audio in overlapping windows whose kept frames tile exactly the frames of the whole signal.

The lengths mean what they mean in transformers' speech recognition pipeline: windows of `chunk` samples overlap, and the frames
of `stride_left` samples at a window's start and of `stride_right` at its end only give context to the others.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


FRONT_END_STRIDE = 4  # mel frames per encoder frame: two convolution blocks of stride 2


class Window(NamedTuple):
    """Samples `start` to `end` go through the model; the frames of `keep_start` to `keep_end` are kept."""

    start: int
    end: int
    keep_start: int
    keep_end: int

    def kept_frames(self, samples_per_frame: int) -> tuple[int, int]:
        """(a, b): the frames [a:b] of the window's output to keep."""
        return (self.keep_start - self.start) // samples_per_frame, num_frames(self.keep_end - self.start, samples_per_frame)


@dataclass(frozen=True)
class WindowLengths:
    """Lengths of windows in samples. Chunk and strides are whole frames.

    Raises ValueError for lengths that are not, that keep no frame, or for a chunk below `min_samples`, the model's shortest.
    """

    chunk: int
    stride_left: int
    stride_right: int
    samples_per_frame: int
    min_samples: int

    def __post_init__(self):
        lengths = f"chunk {self.chunk}, stride_left {self.stride_left}, stride_right {self.stride_right} samples"
        if any(length % self.samples_per_frame for length in (self.chunk, self.stride_left, self.stride_right)):
            raise ValueError(f"window lengths must be multiples of a frame, {self.samples_per_frame} samples; got {lengths}.")
        if self.stride_left < 0 or self.stride_right < 0:
            raise ValueError(f"strides must not be negative; got {lengths}.")
        if self.chunk <= self.stride_left + self.stride_right:
            raise ValueError(f"a chunk must be longer than both its strides together, or no frame is kept; got {lengths}.")
        if self.chunk < self.min_samples:
            raise ValueError(f"a chunk must have at least {self.min_samples} samples; got {lengths}.")

    @classmethod
    def from_seconds(
        cls,
        chunk_length_s: float,
        stride_length_s: float | tuple[float, float] | None,
        sampling_rate: int,
        samples_per_frame: int,
        min_samples: int,
    ) -> "WindowLengths":
        """Seconds, rounded to whole frames. One stride is for both sides; None is a sixth of the chunk on each."""
        try:
            strides = chunk_length_s / 6 if stride_length_s is None else stride_length_s
            left, right = (strides, strides) if np.isscalar(strides) else strides
            frames = [round(seconds * sampling_rate / samples_per_frame) for seconds in (chunk_length_s, left, right)]
        except (TypeError, ValueError, OverflowError):
            raise ValueError(
                "`chunk_length_s` must be a number of seconds and `stride_length_s` one or two (left, right); "
                f"got {chunk_length_s!r} and {stride_length_s!r}."
            ) from None
        return cls(*(n * samples_per_frame for n in frames), samples_per_frame, min_samples)

    @property
    def step(self) -> int:
        """Samples from one window to the next."""
        return self.chunk - self.stride_left - self.stride_right

    def samples_for(self, start: int) -> int:
        """Samples that show whether the window at `start` is the last: one hop behind it makes another frame."""
        return start + self.chunk + self.samples_per_frame // FRONT_END_STRIDE

    def window(self, start: int, num_samples: int) -> tuple[Window, bool]:
        """The window at `start` of a signal known up to `num_samples`, and whether it is the last.

        Only the last can be short. Below `min_samples` it begins earlier. Less than a hop behind the last frame is left out.
        """
        is_last = num_samples < self.samples_for(start)
        end = min(start + self.chunk, num_samples)
        missing_frames = -(-max(0, self.min_samples - (end - start)) // self.samples_per_frame)
        window = Window(
            start=start - missing_frames * self.samples_per_frame,
            end=end,
            keep_start=0 if start == 0 else start + self.stride_left,
            keep_end=end if is_last else end - self.stride_right,
        )
        return window, is_last

    def check_signal(self, num_samples: int) -> None:
        if num_samples < self.min_samples:
            raise ValueError(f"the audio has {num_samples} samples; at least {self.min_samples} are needed.")


def num_frames(num_samples: int, samples_per_frame: int) -> int:
    """Frames that the encoder makes of so many samples: ceil(ceil(hops / 2) / 2), with whole hops."""
    hops = num_samples // (samples_per_frame // FRONT_END_STRIDE)
    return -(-hops // FRONT_END_STRIDE)


def frame_times(num_samples: int, sampling_rate: int, samples_per_frame: int) -> np.ndarray:
    """[T, 2] start and end of each frame of a signal, in seconds from its start; the last ends with the signal."""
    starts = np.arange(num_frames(num_samples, samples_per_frame)) * samples_per_frame
    return np.stack([starts, np.minimum(starts + samples_per_frame, num_samples)], axis=1) / sampling_rate


def plan_windows(
    num_samples: int, chunk: int, stride_left: int, stride_right: int, samples_per_frame: int, min_samples: int
) -> list[Window]:
    """Windows over a signal; all lengths in samples. Raises ValueError for a signal below `min_samples`, and as WindowLengths."""
    lengths = WindowLengths(chunk, stride_left, stride_right, samples_per_frame, min_samples)
    lengths.check_signal(num_samples)
    windows, start, is_last = [], 0, False
    while not is_last:
        window, is_last = lengths.window(start, num_samples)
        windows.append(window)
        start += lengths.step
    return windows


def stream_windows(blocks: Iterable[np.ndarray], lengths: WindowLengths) -> Iterator[tuple[Window, np.ndarray, bool]]:
    """Blocks [n] of a signal of unknown length → (window, its samples, whether it is the last).

    The windows are those of `plan_windows`; one window and one block are held. Raises ValueError for a signal that is too short.
    """
    blocks, held, held_start, start, is_last = iter(blocks), np.empty(0, dtype=np.float32), 0, 0, False
    while not is_last:
        held = _read_until(blocks, held, lengths.samples_for(start) - held_start)
        num_samples = held_start + len(held)
        lengths.check_signal(num_samples)
        window, is_last = lengths.window(start, num_samples)
        yield window, held[window.start - held_start : window.end - held_start], is_last
        start += lengths.step
        keep_from = max(held_start, start - lengths.min_samples - lengths.samples_per_frame)  # a short last window begins earlier
        held, held_start = held[keep_from - held_start :].copy(), keep_from


def _read_until(blocks: Iterator[np.ndarray], held: np.ndarray, length: int) -> np.ndarray:
    """`held` joined with as many blocks as give it `length` samples; fewer if the blocks end."""
    parts, size = [held], len(held)
    while size < length and (block := next(blocks, None)) is not None:
        parts.append(block)
        size += len(block)
    return np.concatenate(parts) if len(parts) > 1 else held
