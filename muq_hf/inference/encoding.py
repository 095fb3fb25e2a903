"""The model's side of bulk embedding: windows of audio → pooled vectors or frames."""

import numpy as np
import torch

from ..models.feature_extraction_muq import MuQFeatureExtractor
from ..models.modeling_muq import MuQModel
from ..models.pooling_muq import FrameStatistics, join_statistics, pool_frames, pool_statistics
from .decoding_worker import FileWindow


class WindowEncoder:
    """A batch of windows → for each of them its vectors [L, P], or with `pool="none"` its kept frames [n, D]."""

    def __init__(self, model: MuQModel, layers: tuple[int, ...], pool: str):
        self.model = model
        self.layers = layers
        self.pool = "mean+std" if pool == "std" else pool  # of a window: deviations alone cannot be joined
        self._is_std = pool == "std"
        self._extract = MuQFeatureExtractor.for_config(model.config)

    @property
    def vector_size(self) -> int:
        """Of a row of the output."""
        return self.model.config.hidden_size * (2 if self.pool == "mean+std" and not self._is_std else 1)

    @torch.inference_mode()
    def __call__(self, windows: list[FileWindow]) -> list[np.ndarray]:
        rate = self.model.config.sampling_rate
        batch = self._extract([window.audio for window in windows], sampling_rate=rate, return_tensors="pt")
        batch = batch.to(self.model.device)
        try:
            output = self.model(**batch, output_hidden_states=list(self.layers))
        except torch.cuda.OutOfMemoryError as error:
            shape = f"{len(windows)} windows of up to {batch['input_values'].shape[1] / rate:.1f} s"
            raise ValueError(f"a batch of {shape} does not fit on {self.model.device}: take a smaller batch size.") from error
        kept = [window.kept for window in windows]
        states = [output.hidden_states[layer].float() for layer in self.layers]  # L × [B, T, D]
        if self.pool == "none":
            frames = states[0].cpu().numpy()
            return [item[first:last] for item, (first, last) in zip(frames, kept, strict=True)]
        position = torch.arange(states[0].shape[1], device=self.model.device)
        firsts, lasts = torch.tensor(kept, device=self.model.device).T[..., None]  # [B, 1] each
        mask = ((position >= firsts) & (position < lasts)).long()  # [B, T]
        vectors = torch.stack([pool_frames(state, mask, self.pool) for state in states], dim=1)  # [B, L, P]
        return list(vectors.cpu().numpy())


def combine_windows(vectors: np.ndarray, frames: np.ndarray, pool: str) -> np.ndarray:
    """vectors: [W, L, P] of a `WindowEncoder`, with P = 2·D for "std" and "mean+std"; frames: [W] that each was pooled over.

    → [L, P] float32. Windows count by their frames, so a short last window does not weigh as much as a full one. The
    pool "joint" is the mean brought back to length 1, for vectors of a joint space.
    Raises ValueError for an unknown `pool`.
    """
    if pool == "joint":
        mean = combine_windows(vectors, frames, "mean")
        return mean / np.linalg.norm(mean, axis=-1, keepdims=True)
    pooled = torch.from_numpy(np.ascontiguousarray(vectors))
    means, deviations = pooled.chunk(2, dim=-1) if pool in ("std", "mean+std") else (pooled, torch.zeros_like(pooled))
    counts = torch.from_numpy(frames.astype(np.float32))[:, None, None].expand(-1, pooled.shape[1], 1)  # [W, L, 1]
    windows = zip(counts, means, counts * deviations.square(), pooled, strict=True)
    return pool_statistics(join_statistics([FrameStatistics(*window) for window in windows]), pool).numpy()
