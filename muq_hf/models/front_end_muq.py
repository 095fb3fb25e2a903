"""The 2-D convolution front end: log-mel at 100 Hz → encoder frames at 25 Hz (arXiv 2501.01108, section 3.1)."""

import torch
import torch.nn.functional as F
from torch import nn

from .batch_norm_muq import FreezableBatchNorm2d
from .spectrogram_muq import zero_padding
from .windowing_muq import FRONT_END_STRIDE


def halve(length):
    """Length after one block of stride 2: ⌈length / 2⌉. An int, a tensor, or None where nothing is padded."""
    return None if length is None else (length + 1) // 2


class ConvBlock(nn.Module):
    """Residual block of stride 2×2. Padding is kept at zero before every convolution, as if each item came alone."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1)
        self.norm1 = FreezableBatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.norm2 = FreezableBatchNorm2d(out_channels)
        self.conv3 = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1)
        self.norm3 = FreezableBatchNorm2d(out_channels)

    def forward(self, x, lengths=None):
        """x: [B, C, M, T]; lengths: [B] frames after this block, or None → [B, C', M / 2, ⌈T / 2⌉]."""
        inner = zero_padding(F.relu(self.norm1(self.conv1(x))), lengths)
        branch = self.norm2(self.conv2(inner))
        shortcut = self.norm3(self.conv3(x))
        return zero_padding(F.relu(branch + shortcut), lengths)


class ConvFrontEnd(nn.Module):
    """Two residual blocks, then all channels of all mel bands of a frame through one linear layer.

    [`MuQModel`] computes the same by `fast_front_end_muq` where that is quicker.
    """

    def __init__(self, config):
        super().__init__()
        C = config.conv_channels
        self.blocks = nn.ModuleList([ConvBlock(1, C), ConvBlock(C, C)])
        self.projection = nn.Linear(C * config.num_mel_bins // FRONT_END_STRIDE, config.hidden_size)

    @property
    def dtype(self) -> torch.dtype:
        """That of the convolutions: the weight of a quantized projection has another."""
        return self.blocks[0].conv1.weight.dtype

    def num_frames(self, num_mel_frames):
        """Encoder frames of so many mel frames (an int or a tensor of them)."""
        return halve(halve(num_mel_frames))

    def forward(self, mel: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """mel: [B, M, T]; lengths: [B] mel frames, or None → [B, T', D]."""
        x = mel.unsqueeze(1).contiguous(memory_format=torch.channels_last)  # [B, 1, M, T]
        for block in self.blocks:
            lengths = halve(lengths)
            x = block(x, lengths)
        return self.projection(x.permute(0, 3, 1, 2).flatten(2))  # [B, T', C · M / 4]: channel-major, then mel band
