"""The log-mel of `spectrogram_muq` without an STFT operator: products with small constant matrices run on every ONNX runtime."""

import math

import torch
import torch.nn.functional as F

from ..models.configuration_muq import MuQConfig
from ..models.spectrogram_muq import LogMelSpectrogram


def angles(rows: torch.Tensor, columns: torch.Tensor, size: int) -> torch.Tensor:
    """2π · rows · columns / size: [len(rows), len(columns)] float64. The product is reduced first, as an exact integer."""
    return 2 * math.pi * (rows[:, None] * columns % size).double() / size


class ProductSpectrogram(LogMelSpectrogram):
    """A Fourier transform of N = R · C samples in two steps (Cooley & Tukey 1965).

    Sample n = C · r + c and frequency k = u + R · v: a transform over r, a turn by n · k's mixed term, a transform over c.
    The samples are real, so frequencies k and N − k have the same power and u needs to run to R / 2 only.
    """

    def __init__(self, config: MuQConfig):
        super().__init__(config)
        N = config.n_fft
        R = max(divisor for divisor in range(1, math.isqrt(N) + 1) if N % divisor == 0)
        C = N // R
        r, c, u, v = torch.arange(R), torch.arange(C), torch.arange(R // 2 + 1), torch.arange(C)
        self.rows, self.columns = R, C
        over_r, turn, over_c = angles(r, u, R), angles(c, u, N), angles(c, v, C)
        tables = {
            "row_transform": torch.cat([over_r.cos(), -over_r.sin()], dim=1),  # [R, 2·U]: real parts, imaginary parts
            "turn_real": turn.cos(),  # [C, U]
            "turn_imaginary": -turn.sin(),
            "column_transform": torch.cat(  # [2·C, 2·V]
                [torch.cat([over_c.cos(), -over_c.sin()], dim=1), torch.cat([over_c.sin(), over_c.cos()], dim=1)]
            ),
            "permuted_bank": self._permuted_bank(u[:, None] + R * v),  # [U · V, M]
        }
        for name, table in tables.items():
            self.register_buffer(name, table.float())

    def _permuted_bank(self, frequencies: torch.Tensor) -> torch.Tensor:
        """The mel filters in the order of `frequencies` [U, V], each frequency or its mirror image counted once."""
        mirrored = torch.minimum(frequencies, self.config.n_fft - frequencies).flatten().tolist()
        first_places = {frequency: place for place, frequency in reversed(list(enumerate(mirrored)))}
        bank = torch.zeros(len(mirrored), self.config.num_mel_bins)
        for frequency, place in first_places.items():
            bank[place] = self.filter_bank[frequency]
        return bank

    def band_power(self, extended: torch.Tensor, num_frames: int) -> torch.Tensor:
        """As in the parent."""
        n_fft, hop = self.config.n_fft, self.config.hop_length
        hops_per_window = -(-n_fft // hop)
        missing = (hops_per_window - 1) * hop - (n_fft - hop)
        B = extended.shape[0]
        hops = F.pad(extended, (0, missing)).view(B, -1, hop)  # [B, frames + hops_per_window − 1, hop]
        parts = [hops[:, first : first + num_frames] for first in range(hops_per_window)]
        frames = torch.cat(parts, dim=2)[..., :n_fft] * self.window  # [B, frames, N]

        grid = frames.view(B, -1, self.rows, self.columns).transpose(2, 3)  # [B, frames, C, R]
        real, imaginary = torch.matmul(grid, self.row_transform).chunk(2, dim=3)  # [B, frames, C, U]
        turned = torch.cat(
            [
                real * self.turn_real - imaginary * self.turn_imaginary,
                real * self.turn_imaginary + imaginary * self.turn_real,
            ],
            dim=2,
        )
        real, imaginary = torch.matmul(turned.transpose(2, 3), self.column_transform).chunk(2, dim=3)  # [B, frames, U, V]
        power = (real.square() + imaginary.square()).flatten(2)
        return torch.matmul(power, self.permuted_bank).transpose(1, 2)
