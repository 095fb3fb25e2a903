"""What several test modules need: places, sizes and measures."""

from pathlib import Path

import torch


ASSETS = Path(__file__).parent.parent / "assets"
EXAMPLE_AUDIO = Path(__file__).parent.parent.parent / "examples" / "audio"
MICRO = {
    "conv_channels": 8,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "num_codebooks": 4,
    "codebook_size": 32,
}


def perturb_statistics(model: torch.nn.Module) -> None:
    """Give the batch norms the look of trained ones: mean 0, variance 1 would hide errors."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.3, generator=generator)
            module.running_var.uniform_(0.5, 2.0, generator=generator)


def wave_of(goldens: dict, num_samples: int) -> torch.Tensor:
    """A stored clip as float32 [1, S]."""
    return goldens[f"{num_samples}.wave_int16"].float()[None] / 32768


def relative_error(ours: torch.Tensor, reference: torch.Tensor) -> float:
    return float((ours - reference).abs().max() / reference.abs().max())
