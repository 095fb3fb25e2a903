"""Audio of any length → clips that the music tower hears at once → one vector per item."""

from typing import NamedTuple

import torch
import torch.nn.functional as F

from .windowing_muq import plan_windows


class Clip(NamedTuple):
    """Samples `start` to `end` of an item, then its first `completion` samples; `weight` in the item's vector.

    The weights of an item sum to 1. Under "duration" the samples after the last mel frame, fewer than a hop, belong to no clip,
    and their share is missing from the sum.
    """

    start: int
    end: int
    completion: int
    weight: float


class ClipBatch(NamedTuple):
    """clips: [N, C] padded with zeros on the right; lengths: [N] samples; item: [N] row of the batch; weight: [N]."""

    clips: torch.Tensor
    lengths: torch.Tensor
    item: torch.Tensor
    weight: torch.Tensor


def plan_clips(num_samples: int, clip_samples: int, rule: str, samples_per_frame: int, min_samples: int) -> list[Clip]:
    """Clips of an item of so many samples.

    "duration": windows side by side, each weighted by the samples it stands for. "published": whole clips; a rest is completed
    to one with the beginning of the item, or doubled if the item is shorter than that, and weighs as much as the others.
    Raises ValueError for an item below `min_samples` under "duration".
    """
    if rule == "published":
        starts = range(0, num_samples, clip_samples)
        ends = [min(start + clip_samples, num_samples) for start in starts]
        completions = [min(clip_samples - (end - start), num_samples) for start, end in zip(starts, ends, strict=True)]
        return [Clip(*clip, 1 / len(starts)) for clip in zip(starts, ends, completions, strict=True)]
    windows = plan_windows(num_samples, clip_samples, 0, 0, samples_per_frame, min_samples)
    return [Clip(w.start, w.end, 0, (w.keep_end - w.keep_start) / num_samples) for w in windows]


def cut_clips(input_values: torch.Tensor, lengths: list[int], plans: list[list[Clip]]) -> ClipBatch:
    """input_values: [B, S]; lengths: samples of each item; plans: clips of each item → all clips in one batch."""
    rows, items, weights = [], [], []
    for index, (wave, length, plan) in enumerate(zip(input_values, lengths, plans, strict=True)):
        for clip in plan:
            part = wave[clip.start : min(clip.end, length)]
            rows.append(torch.cat([part, wave[: clip.completion]]) if clip.completion else part)
            items.append(index)
            weights.append(clip.weight)
    device = input_values.device
    return ClipBatch(
        clips=torch.nn.utils.rnn.pad_sequence(rows, batch_first=True),
        lengths=torch.tensor([len(row) for row in rows], device=device),
        item=torch.tensor(items, device=device),
        weight=torch.tensor(weights, device=device, dtype=torch.float32),
    )


def join_clips(vectors: torch.Tensor, batch: ClipBatch, num_items: int, rule: str) -> torch.Tensor:
    """Vectors of the clips [N, P], each of length 1 → of the items [B, P], of length 1 unless the rule is "published"."""
    weighted = vectors.float() * batch.weight.unsqueeze(1)
    joined = torch.zeros(num_items, vectors.shape[1], device=vectors.device).index_add(0, batch.item, weighted)
    if rule == "duration":
        joined = F.normalize(joined, dim=-1)
    return joined.to(vectors.dtype)
