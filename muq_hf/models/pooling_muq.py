"""Frames [B, T, D] → one vector per item, over its music only, whole or from statistics of windows; windows → one sequence."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from .batches_muq import is_traced


POOLS = ("mean", "std", "max", "mean+std")  # of frames to one vector


class FrameStatistics(NamedTuple):
    """Statistics over frames from which every pool can be computed, also of several windows together. All float32."""

    count: torch.Tensor  # [..., 1] frames
    mean: torch.Tensor  # [..., D]
    squared_deviation: torch.Tensor  # [..., D] sum over the frames of (frame − mean)²
    maximum: torch.Tensor  # [..., D]


def check_pool(how: str) -> None:
    """Raises ValueError for what is neither one of `POOLS` nor "none", which keeps the frames."""
    if how not in (*POOLS, "none"):
        raise ValueError(f"`pool` must be one of {', '.join(POOLS)} or none, got {how!r}.")


def pool_frames(frames: torch.Tensor, mask: torch.Tensor | None, how: str) -> torch.Tensor:
    """frames [B, T, D], mask [B, T] (1 = count the frame; None = all) → [B, D], [B, 2·D] for "mean+std", frames for "none".

    Computed in float32, returned in the dtype of `frames`. The standard deviation is that of the population: 0 for one frame.
    Raises ValueError for an unknown `how`, for shapes that do not fit and for items without a frame.
    """
    check_pool(how)
    if frames.ndim != 3 or (mask is not None and mask.shape != frames.shape[:2]):
        shapes = f"frames {tuple(frames.shape)}" + ("" if mask is None else f" and mask {tuple(mask.shape)}")
        raise ValueError(f"pooling takes frames [B, T, D] with a mask [B, T], got {shapes}.")
    if how == "none":
        return frames
    return pool_statistics(frame_statistics(frames, mask), how).to(frames.dtype)


def frame_statistics(frames: torch.Tensor, mask: torch.Tensor | None = None) -> FrameStatistics:
    """frames [..., T, D], mask [..., T] → statistics over T. Raises ValueError for items without a frame."""
    frames = frames.float()
    if mask is None:
        mask = torch.ones(frames.shape[:-1], dtype=torch.bool, device=frames.device)
    is_counted = mask.bool().unsqueeze(-1)  # [..., T, 1]
    count = is_counted.sum(dim=-2).float()
    _check_counts(count)
    mean = frames.masked_fill(~is_counted, 0.0).sum(dim=-2) / count
    deviations = (frames - mean.unsqueeze(-2)).masked_fill(~is_counted, 0.0)
    maximum = frames.masked_fill(~is_counted, float("-inf")).amax(dim=-2)
    return FrameStatistics(count, mean, deviations.square().sum(dim=-2), maximum)


def join_statistics(windows: Sequence[FrameStatistics]) -> FrameStatistics:
    """Statistics of consecutive windows → those of all their frames together, however long each window is."""
    count, mean, squared_deviation, maximum = (torch.stack(parts) for parts in zip(*windows, strict=True))  # [W, ...]
    total = count.sum(dim=0)
    joint_mean = (mean * (count / total)).sum(dim=0)
    between = (count * (mean - joint_mean).square()).sum(dim=0)
    return FrameStatistics(total, joint_mean, squared_deviation.sum(dim=0) + between, maximum.amax(dim=0))


def pool_statistics(statistics: FrameStatistics, how: str) -> torch.Tensor:
    """→ [..., D], or [..., 2·D] for "mean+std". Raises ValueError for an unknown `how` and for "none"."""
    if how == "mean":
        return statistics.mean
    if how == "max":
        return statistics.maximum
    if how == "std":
        return (statistics.squared_deviation / statistics.count).sqrt()
    if how == "mean+std":
        return torch.cat([pool_statistics(statistics, "mean"), pool_statistics(statistics, "std")], dim=-1)
    raise ValueError(f"`pool` must be one of {', '.join(POOLS)} to make vectors, got {how!r}.")


def _check_counts(count: torch.Tensor) -> None:
    """Values are out of reach while a graph is traced; a mean over no frame then is NaN."""
    if is_traced():
        return
    if count.numel() and count.min() == 0:
        raise ValueError("an item has no frame to pool: its mask is 0 everywhere.")


def crossfade(windows: list[torch.Tensor], starts: list[int]) -> torch.Tensor:
    """Frames [L, T, D] of windows that overlap → one sequence, each frame the weighted mean of its copies in several windows.

    starts: each window's first frame. A copy weighs as much as its distance, in frames, from the nearest end of its window that
    overlaps another.
    """
    length = starts[-1] + windows[-1].shape[1]
    total = windows[0].new_zeros(windows[0].shape[0], length, windows[0].shape[2], dtype=torch.float32)
    weights = torch.zeros(length, 1, device=total.device)
    for frames, start in zip(windows, starts, strict=True):
        T = frames.shape[1]
        place = torch.arange(T, device=total.device) + 0.5
        from_start = torch.full_like(place, T) if start == 0 else place
        to_end = torch.full_like(place, T) if start + T == length else T - place
        weight = torch.minimum(from_start, to_end).unsqueeze(1)
        total[:, start : start + T] += weight * frames
        weights[start : start + T] += weight
    return (total / weights).to(windows[0].dtype)
