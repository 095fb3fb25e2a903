"""Block masks over the waveform (arXiv 2501.01108, section 3.3): pure functions of a `torch.Generator`."""

import torch


def draw_block_mask(
    num_samples: int, batch_size: int, block_samples: int, probability: float, generator: torch.Generator
) -> torch.Tensor:
    """Which whole blocks of the waveform to mask: [B, num_samples // block_samples] bool, at least one of each item.

    The tail is never masked. Raises ValueError for a waveform that is shorter than a block.
    """
    num_blocks = num_samples // block_samples
    if num_blocks == 0:
        raise ValueError(
            f"a clip of {num_samples} samples has no block to mask, which takes {block_samples}: use longer clips or a shorter "
            "`mask_seconds`; logits without a loss (`return_loss=False`) need no mask."
        )
    return choose_blocks(torch.rand(batch_size, num_blocks, generator=generator, device=generator.device), probability)


def choose_blocks(draws: torch.Tensor, probability: float) -> torch.Tensor:
    """Uniform draws [..., N] → blocks to mask [..., N] bool: those below `probability`, and in any case the lowest.

    A clip without masked blocks would have no loss.
    """
    return (draws < probability) | (draws == draws.amin(dim=-1, keepdim=True))


def draw_noise(num_samples: int, batch_size: int, std: float, generator: torch.Generator) -> torch.Tensor:
    """Gaussian noise [B, num_samples] to stand where the waveform is masked."""
    return std * torch.randn(batch_size, num_samples, generator=generator, device=generator.device)


def apply_block_mask(waveform: torch.Tensor, block_mask: torch.Tensor, noise: torch.Tensor, block_samples: int) -> torch.Tensor:
    """Replace the masked blocks of `waveform` [B, S] by `noise` [B, S]."""
    sample_mask = spread(block_mask, block_samples, waveform.shape[1])
    return torch.where(sample_mask, noise.to(waveform.dtype), waveform)


def spread(block_mask: torch.Tensor, steps_per_block: int, num_steps: int) -> torch.Tensor:
    """Block mask [B, N] → mask per step (sample or token) [B, num_steps]; steps behind the last block are not masked."""
    mask = block_mask.repeat_interleave(steps_per_block, dim=1)[:, :num_steps]
    tail = mask.new_zeros(mask.shape[0], num_steps - mask.shape[1])
    return torch.cat([mask, tail], dim=1)
