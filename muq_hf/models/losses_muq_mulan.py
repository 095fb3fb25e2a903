"""Contrastive losses between music and text, over the pairs of all processes."""

import torch
import torch.distributed as dist


class _Gather(torch.autograd.Function):
    """Rows of all processes in order of rank. Every process computes the same loss of them, and distributed data parallelism
    averages the gradients of all: so each passes on the gradient of its own rows, times the number of processes."""

    @staticmethod
    def forward(ctx, rows):
        gathered = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(gathered, rows.contiguous())
        ctx.first, ctx.count = dist.get_rank() * len(rows), len(rows)
        return torch.cat(gathered)

    @staticmethod
    def backward(ctx, gradient):
        return dist.get_world_size() * gradient[ctx.first : ctx.first + ctx.count]


def gather_rows(rows: torch.Tensor) -> torch.Tensor:
    """[B, ...] of this process → [world · B, ...] of all, with gradients; the same tensor where there is one process.

    Every process must have the same number of rows.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return rows
    return _Gather.apply(rows)


def contrastive_loss(
    audio_embeds: torch.Tensor,
    text_embeds: torch.Tensor,
    logit_scale: torch.Tensor,
    kind: str = "decoupled",
    audio_ids: torch.Tensor | None = None,
    text_ids: torch.Tensor | None = None,
) -> torch.Tensor:
    """Mean of the audio → text and the text → audio loss over N pairs; row i of both [N, P], of length 1, is a pair.

    With s[i, j] = exp(logit_scale) · audio[i] · text[j], a pair's loss is
    −s[i, i] + ½ (log Σ_j exp s[i, j] + log Σ_j exp s[j, i]); "decoupled" leaves j = i out of both sums (arXiv 2110.06848).
    Pairs with equal `audio_ids` or `text_ids` [N] (the same track, the same caption) are no negatives of each other; a pair
    without any negatives counts 0. Raises ValueError for less than two pairs.
    """
    N = len(audio_embeds)
    if N < 2 or text_embeds.shape != audio_embeds.shape:
        shapes = f"{tuple(audio_embeds.shape)} and {tuple(text_embeds.shape)}"
        raise ValueError(f"a contrastive loss takes at least two pairs of vectors of one size, got {shapes}.")
    with torch.autocast(audio_embeds.device.type, enabled=False):  # which takes even float32 for a product in half precision
        similarity = logit_scale.float().exp() * audio_embeds.float() @ text_embeds.float().T  # [N, N]
    is_pair = torch.eye(N, dtype=torch.bool, device=similarity.device)
    is_left_out = is_pair.clone() if kind == "decoupled" else torch.zeros_like(is_pair)
    for ids in (audio_ids, text_ids):
        if ids is not None:
            is_left_out |= (ids.unsqueeze(0) == ids.unsqueeze(1)) & ~is_pair
    positive = similarity.diagonal()
    audio_to_text = _direction_loss(similarity, positive, is_left_out)
    text_to_audio = _direction_loss(similarity.T, positive, is_left_out.T)
    return 0.5 * (audio_to_text + text_to_audio).mean()


def _direction_loss(similarity: torch.Tensor, positive: torch.Tensor, is_left_out: torch.Tensor) -> torch.Tensor:
    """log Σ_j exp s[i, j] − positive[i] over the j that are not left out [N]; 0, without a gradient, where none remains."""
    is_empty = is_left_out.all(dim=1)
    kept = similarity.masked_fill(is_left_out & ~is_empty.unsqueeze(1), float("-inf"))
    return (torch.logsumexp(kept, dim=1) - positive).masked_fill(is_empty, 0.0)
