"""What a batch of waveforms must look like."""

import torch


def is_traced() -> bool:
    """Whether the model is being compiled or exported, so that tensors have no values yet."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def valid_lengths(
    input_values: torch.Tensor,
    attention_mask: torch.Tensor | None,
    min_samples: int,
    mask_name: str = "attention_mask",
):
    """Check a batch and return each item's number of samples [B], or None where nothing is padded.

    Raises ValueError for a batch that is not [B, S] or empty, for a mask of another shape or not padded on the right alone, and
    for items shorter than `min_samples`. The last two checks read the mask's values. They are left out while the model is
    traced or compiled, and for a mask on a GPU, where reading would make the program wait for all the work that it has queued;
    the masks of the feature extractors pass them.
    """
    if input_values.ndim != 2:
        raise ValueError(
            f"`input_values` must be [batch, samples], got shape {tuple(input_values.shape)}; "
            "downmix stereo to mono, and put a single waveform into a batch with `waveform[None]`."
        )
    if not input_values.is_floating_point():
        raise ValueError(f"`input_values` must be floating point, got {input_values.dtype}; use MuQFeatureExtractor.")
    if input_values.shape[0] == 0:
        raise ValueError("`input_values` is an empty batch: give it at least one waveform.")
    if input_values.shape[1] < min_samples:
        raise ValueError(f"`input_values` has {input_values.shape[1]} samples; at least {min_samples} are needed.")
    if attention_mask is None:
        return None
    if attention_mask.shape != input_values.shape:
        raise ValueError(
            f"`{mask_name}` must have the shape of `input_values` {tuple(input_values.shape)}, got {tuple(attention_mask.shape)}."
        )
    mask = attention_mask.long()
    lengths = mask.sum(dim=1)
    if is_traced() or mask.device.type != "cpu":
        return lengths.to(input_values.device)
    if not (mask[:, 1:] <= mask[:, :-1]).all():
        raise ValueError(f"`{mask_name}` must be 1 on the audio and 0 on the padding to its right.")
    shortest = int(lengths.min())
    if shortest < min_samples:
        raise ValueError(f"the shortest item of the batch has {shortest} samples; at least {min_samples} are needed.")
    return None if shortest == input_values.shape[1] else lengths.to(input_values.device)
