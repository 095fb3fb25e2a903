"""Hashes that change whenever what they stand for would give other numbers."""

import hashlib
import json

import torch
from transformers import PreTrainedModel


# These do not change what a model computes.
CONFIG_NAMES = (
    "_name_or_path",
    "architectures",
    "dtype",
    "torch_dtype",
    "transformers_version",
)


def weights_hash(model: PreTrainedModel) -> str:
    """→ SHA-256, 64 hexadecimal digits, of the configuration and of all weights, whatever folder they lie in."""
    config = {name: value for name, value in model.config.to_diff_dict().items() if name not in CONFIG_NAMES}
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode("utf-8"))
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def fingerprint(*parts) -> str:
    """16 hexadecimal digits that depend on all parts: bytes, or what JSON can write."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part if isinstance(part, bytes) else json.dumps(part, sort_keys=True, default=str).encode())
    return digest.hexdigest()[:16]
