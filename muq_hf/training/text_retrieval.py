"""Does each text find its music, and the music its text?"""

import torch


CUTOFFS = (1, 5, 10)


def retrieval_metrics(
    audio: torch.Tensor, text: torch.Tensor, audio_ids: torch.Tensor, text_ids: torch.Tensor
) -> dict[str, float]:
    """Row i of audio and of text [N, P], of length 1, belong together; so do rows with an equal id [N] of either kind.

    → for both directions the share of queries with something that belongs to them among the first 1, 5, 10, and the median
    rank, from 1, of the first such thing. What does not score less than it stands before it: rows that are all alike, or NaN,
    find nothing.
    """
    belongs = (audio_ids.unsqueeze(1) == audio_ids) | (text_ids.unsqueeze(1) == text_ids)
    cosines = text @ audio.T
    metrics = {}
    for name, scores in (("text_to_audio", cosines), ("audio_to_text", cosines.T)):
        best = scores.masked_fill(~belongs, -torch.inf).amax(dim=1, keepdim=True)
        ranks = 1 + (~(scores < best) & ~belongs).sum(dim=1)
        metrics |= {f"{name}_r{k}": (ranks <= k).float().mean().item() for k in CUTOFFS}
        metrics[f"{name}_median_rank"] = ranks.float().quantile(0.5).item()
    return metrics
