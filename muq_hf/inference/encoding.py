"""The model's side of bulk embedding: windows of audio → pooled vectors or frames."""

import hashlib
import json
from collections.abc import Sequence

import numpy as np
import torch

from ..feature_extraction_muq import MuQFeatureExtractor
from ..modeling_muq import MuQModel
from ..pooling_muq import pool_frames
from .decoding_worker import FileWindow


DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
CONFIG_NAMES = ("_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version")  # say nothing about values


def resolve_device(device: str) -> torch.device:
    """ "auto" → the first of cuda, mps, cpu that is there. Raises ValueError for a device that is not."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return torch.device(next(name for name, there in available.items() if there))
    if not available.get(device.partition(":")[0], False):
        there = ", ".join(name for name in available if available[name])
        raise ValueError(f"device {device!r} is not available; valid here: auto, {there}.")
    return torch.device(device)


def resolve_layers(layers: int | Sequence[int], num_hidden_layers: int) -> tuple[int, ...]:
    """Indices of hidden states, negative ones from the end → the same from 0, each once."""
    layers = [layers] if isinstance(layers, int) else list(layers)
    if not layers or any(not -num_hidden_layers - 1 <= layer <= num_hidden_layers for layer in layers):
        raise ValueError(f"layers must lie between 0 (front end) and {num_hidden_layers} (last layer, also -1), got {layers}.")
    return tuple(sorted({layer % (num_hidden_layers + 1) for layer in layers}))


def weights_hash(model: MuQModel) -> str:
    """→ SHA-256 of the configuration and of all weights."""
    config = {name: value for name, value in model.config.to_diff_dict().items() if name not in CONFIG_NAMES}
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode("utf-8"))
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


class WindowEncoder:
    """A batch of windows → for each of them its vectors [L, P], or with `pool="none"` its kept frames [n, D]."""

    def __init__(self, model: MuQModel, layers: tuple[int, ...], pool: str):
        self.model = model
        self.layers = layers
        self.pool = pool
        config = model.config
        self._extract = MuQFeatureExtractor(sampling_rate=config.sampling_rate, min_samples=config.min_samples)

    @property
    def vector_size(self) -> int:
        return self.model.config.hidden_size * (2 if self.pool == "mean+std" else 1)

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
