"""Quantizers that turn music into target tokens: residual, trained (arXiv 2501.01108, section 3.2), and random, fixed."""

from dataclasses import dataclass

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from transformers import initialization as init


HIDDEN_SIZE = 128  # inner width of projections deeper than one layer


def fold_frames(mel: torch.Tensor, fold: int) -> torch.Tensor:
    """[B, M, T] mel frames → [B, T // fold, fold · M]: neighbours side by side, earlier first. Left-over frames are dropped."""
    B, M, T = mel.shape
    tokens = T // fold
    return mel[:, :, : tokens * fold].transpose(1, 2).reshape(B, tokens, fold * M)


def unfold_frames(vectors: torch.Tensor, fold: int) -> torch.Tensor:
    """[B, N, fold · M] → [B, M, N · fold]: the inverse of [`fold_frames`]."""
    B, N, D = vectors.shape
    return vectors.reshape(B, N * fold, D // fold).transpose(1, 2)


def nearest_code(vectors: torch.Tensor, codebook: torch.Tensor) -> torch.Tensor:
    """Index of the code with the largest cosine. vectors: [..., d]; codebook: [V, d] → [...] int64."""
    return torch.matmul(F.normalize(vectors, dim=-1), F.normalize(codebook, dim=-1).T).argmax(dim=-1)


def projection(in_size: int, out_size: int, depth: int) -> nn.Module:
    """A linear map, or for the paper's ablation a ReLU network of `depth` linear layers."""
    if depth == 1:
        return nn.Linear(in_size, out_size)
    sizes = [in_size, *[HIDDEN_SIZE] * (depth - 1), out_size]
    layers = []
    for size, next_size in zip(sizes[:-1], sizes[1:], strict=True):
        layers += [nn.Linear(size, next_size), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


@dataclass
class QuantizerOutput:
    """quantized: [B, N, D], the sum of all decodings; codes: [B, N, K]; the losses are scalars.

    residual_energy: [K] mean square of the residual after each step.
    """

    quantized: torch.Tensor
    codes: torch.Tensor
    commitment_loss: torch.Tensor
    codebook_loss: torch.Tensor
    reconstruction_loss: torch.Tensor
    residual_energy: torch.Tensor


class VectorQuantizer(nn.Module):
    """One residual step: project down, take the code of largest cosine, project the code vector up (arXiv 2110.04627)."""

    def __init__(self, input_size: int, codebook_size: int, codebook_dim: int, depth: int, stale_steps: int):
        super().__init__()
        self.in_proj = projection(input_size, codebook_dim, depth)
        self.codebook = nn.Embedding(codebook_size, codebook_dim)
        self.out_proj = projection(codebook_dim, input_size, depth)
        self.stale_steps = stale_steps
        self.register_buffer("unused_steps", torch.zeros(codebook_size, dtype=torch.long))

    def encode(self, vectors):
        """[B, N, D] → latents [B, N, d], codes [B, N]."""
        latents = self.in_proj(vectors)
        return latents, nearest_code(latents, self.codebook.weight)

    def decode(self, codes):
        """[B, N] → [B, N, D]."""
        return self.out_proj(self.codebook(codes))

    def forward(self, vectors):
        """[B, N, D] → decoded [B, N, D], codes [B, N], commitment and codebook loss."""
        latents, codes = self.encode(vectors)
        chosen = self.codebook(codes)
        commitment_loss = F.mse_loss(latents, chosen.detach())
        codebook_loss = F.mse_loss(chosen, latents.detach())
        straight_through = latents + (chosen - latents).detach()
        decoded = self.out_proj(straight_through)
        if self.training:
            self._replace_stale_codes(latents.detach(), codes)
        return decoded, codes, commitment_loss, codebook_loss

    @torch.no_grad()
    def _replace_stale_codes(self, latents, codes):
        """Replace codes that were not chosen for `stale_steps` steps by the directions of random inputs of this batch.

        With several processes a code is unused if no process chose it, and all take the replacements of the first. Whether there
        are such codes at all is not checked: reading the answer would make the program wait for a GPU.
        """
        V = len(self.unused_steps)
        distributed = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        counts = torch.zeros_like(self.unused_steps).index_add_(0, codes.flatten(), torch.ones_like(codes.flatten()))
        if distributed:
            dist.all_reduce(counts)
        self.unused_steps.add_(1).masked_fill_(counts > 0, 0)
        is_stale = self.unused_steps >= self.stale_steps
        directions = F.normalize(latents.flatten(0, 1), dim=-1)
        order = torch.randperm(len(directions)).to(codes.device)  # different inputs, as long as there are enough
        replacements = directions[order[torch.arange(V, device=codes.device) % len(order)]].to(self.codebook.weight.dtype)
        if distributed:
            dist.broadcast(replacements, src=0)
        self.codebook.weight.copy_(torch.where(is_stale.unsqueeze(1), replacements, self.codebook.weight))
        self.unused_steps.masked_fill_(is_stale, 0)


class Float32Module(nn.Module):
    """Follows the model to another device, but never to a coarser dtype, on which its tokens would depend."""

    def _apply(self, fn, recurse=True):
        def moved(tensor):
            result = fn(tensor)
            is_coarser = result.is_floating_point() and torch.finfo(result.dtype).bits < 32
            return tensor.to(result.device) if is_coarser else result

        return super()._apply(moved, recurse)


class ResidualVectorQuantizer(Float32Module):
    """K steps, each quantizing the residual of the steps before (arXiv 2107.03312)."""

    def __init__(self, input_size, num_codebooks, codebook_size, codebook_dim, projection_depth=1, stale_steps=100):
        super().__init__()
        self.steps = nn.ModuleList(
            VectorQuantizer(input_size, codebook_size, codebook_dim, projection_depth, stale_steps) for _ in range(num_codebooks)
        )

    @torch.no_grad()
    def encode(self, vectors: torch.Tensor) -> torch.Tensor:
        """[B, N, D] → codes [B, N, K] int64."""
        residual, codes = vectors.to(self.steps[0].codebook.weight.dtype), []
        for step in self.steps:
            _, chosen = step.encode(residual)
            residual = residual - step.decode(chosen)
            codes.append(chosen)
        return torch.stack(codes, dim=-1)

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """codes [B, N, k ≤ K] → [B, N, D] from the first k codebooks."""
        return sum(step.decode(codes[..., k]) for k, step in enumerate(self.steps[: codes.shape[-1]]))

    def forward(self, vectors: torch.Tensor) -> QuantizerOutput:
        """[B, N, D] → sums over the steps; the residual is not detached, as in the published training code."""
        vectors = vectors.to(self.steps[0].codebook.weight.dtype)  # a teacher's latents may be of half precision
        residual, quantized = vectors, torch.zeros_like(vectors)
        codes, energies, commitment_loss, codebook_loss = [], [], 0.0, 0.0
        for step in self.steps:
            decoded, chosen, commitment, codebook = step(residual)
            residual = residual - decoded
            quantized = quantized + decoded
            codes.append(chosen)
            energies.append(residual.detach().square().mean())
            commitment_loss = commitment_loss + commitment
            codebook_loss = codebook_loss + codebook
        return QuantizerOutput(
            quantized=quantized,
            codes=torch.stack(codes, dim=-1),
            commitment_loss=commitment_loss,
            codebook_loss=codebook_loss,
            reconstruction_loss=F.l1_loss(quantized, vectors),
            residual_energy=torch.stack(energies),
        )


class RandomProjectionQuantizer(Float32Module):
    """A fixed random projection and codebook (BEST-RQ, arXiv 2202.01855; the targets of MusicFM). One codebook, no training."""

    def __init__(self, input_size: int, codebook_size: int, codebook_dim: int):
        super().__init__()
        self.register_buffer("projection", torch.empty(input_size, codebook_dim))
        self.register_buffer("codebook", torch.empty(codebook_size, codebook_dim))
        self.reset_parameters()

    def reset_parameters(self):
        init.xavier_normal_(self.projection)
        init.normal_(self.codebook)

    @torch.no_grad()
    def encode(self, vectors: torch.Tensor) -> torch.Tensor:
        """[B, N, D] → codes [B, N, 1] int64."""
        return nearest_code(torch.matmul(vectors.to(self.projection.dtype), self.projection), self.codebook).unsqueeze(-1)

    def forward(self, vectors: torch.Tensor):
        raise ValueError(
            "a random projection is fixed and has no way back: it can only `encode`; for losses and decoding build the model "
            'with `quantizer_type="residual"`.'
        )

    decode = forward


def build_quantizer(config, input_size: int) -> nn.Module | None:
    """The quantizer that a `MuQConfig` or `MelRVQConfig` describes."""
    if config.quantizer_type == "none":
        return None
    if config.quantizer_type == "random_projection":
        return RandomProjectionQuantizer(input_size, config.codebook_size, config.codebook_dim)
    return ResidualVectorQuantizer(
        input_size,
        config.num_codebooks,
        config.codebook_size,
        config.codebook_dim,
        config.projection_depth,
        getattr(config, "stale_steps", 100),  # a MuQConfig has none: its quantizer is not trained
    )
