"""Pooled windows of one stretch of audio → what pooling over all of its frames gives."""

import numpy as np
import torch

from ..pooling_muq import FrameStatistics, join_statistics, pool_statistics


def combine_windows(vectors: np.ndarray, frames: np.ndarray, pool: str) -> np.ndarray:
    """vectors: [W, L, P] as `pool_frames` gives them, with P = 2·D for "mean+std"; frames: [W] that each was pooled over.

    → [L, P] float32. Windows count by their frames, so a short last window does not weigh as much as a full one. The
    pool "joint" is the mean brought back to length 1, for vectors of a joint space.
    Raises ValueError for an unknown `pool`.
    """
    if pool == "joint":
        mean = combine_windows(vectors, frames, "mean")
        return mean / np.linalg.norm(mean, axis=-1, keepdims=True)
    pooled = torch.from_numpy(np.ascontiguousarray(vectors))
    means, deviations = pooled.chunk(2, dim=-1) if pool == "mean+std" else (pooled, torch.zeros_like(pooled))
    counts = torch.from_numpy(frames.astype(np.float32))[:, None, None].expand(-1, pooled.shape[1], 1)  # [W, L, 1]
    windows = zip(counts, means, counts * deviations.square(), pooled, strict=True)
    return pool_statistics(join_statistics([FrameStatistics(*window) for window in windows]), pool).numpy()
