"""Waveform → normalised log-mel spectrogram, always in float32 (arXiv 2501.01108, section 3.1)."""

import math

import torch
import torch.nn.functional as F
from torch import nn
from transformers import initialization as init


HTK_SCALE = 2595.0  # HTK mel = 2595 · log10(1 + f / 700)
HTK_CORNER = 700.0  # Hz
POWER_FLOOR = 1e-10  # −100 dB


def mel_filter_bank(sampling_rate: int, n_fft: int, num_mel_bins: int) -> torch.Tensor:
    """Triangular HTK mel filters of unit height from 0 Hz to half the sampling rate: [n_fft // 2 + 1, num_mel_bins].

    The order of operations is torchaudio's (`melscale_fbanks`), so that the float32 table is equal bit by bit.
    """
    f_max = sampling_rate // 2
    frequencies = torch.linspace(0, f_max, n_fft // 2 + 1, device="cpu", dtype=torch.float32)
    mel_max = HTK_SCALE * math.log10(1.0 + f_max / HTK_CORNER)
    mels = torch.linspace(0.0, mel_max, num_mel_bins + 2, device="cpu", dtype=torch.float32)
    corners = HTK_CORNER * (10.0 ** (mels / HTK_SCALE) - 1.0)
    widths = corners[1:] - corners[:-1]
    slopes = corners.unsqueeze(0) - frequencies.unsqueeze(1)
    rising = (-1.0 * slopes[:, :-2]) / widths[:-1]
    falling = slopes[:, 2:] / widths[1:]
    return torch.clamp(torch.minimum(rising, falling), min=0.0)


def reflect_ends(waveform: torch.Tensor, lengths: torch.Tensor | None, width: int) -> torch.Tensor:
    """Mirror `width` samples at both ends of every item, the end being its own (`lengths`), not the batch's.

    waveform: [B, S]; lengths: [B] samples or None where nothing is padded → [B, S + 2·width].
    """
    if lengths is None:
        return F.pad(waveform.unsqueeze(1), (width, width), mode="reflect").squeeze(1)
    steps = torch.arange(width, device=waveform.device)
    ends = lengths.unsqueeze(1)  # [B, 1]
    places = (ends - 2 - steps).clamp(min=0)  # where lengths are not checked an item may be too short
    tail = waveform.gather(1, places)  # [B, width]
    start = waveform[:, 1 : width + 1].flip(1)
    extended = torch.cat([start, waveform, torch.zeros_like(start)], dim=1)
    return extended.scatter(1, width + ends + steps, tail)


class LogMelSpectrogram(nn.Module):
    """[B, S] samples → [B, M, S // hop_length] decibels, shifted and scaled by the training music's mean and deviation."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        num_bins = config.n_fft // 2 + 1
        self.register_buffer("window", torch.empty(config.n_fft, dtype=torch.float32), persistent=False)
        self.register_buffer("filter_bank", torch.empty(num_bins, config.num_mel_bins, dtype=torch.float32), persistent=False)
        self.reset_buffers()

    @torch.no_grad()
    def reset_buffers(self) -> None:
        """Compute both tables; called again after a model was built on the "meta" device, where tensors have no values."""
        if self.window.is_meta:
            return
        config = self.config
        init.copy_(self.window, torch.hann_window(config.n_fft, device="cpu", dtype=torch.float32))
        init.copy_(self.filter_bank, mel_filter_bank(config.sampling_rate, config.n_fft, config.num_mel_bins))

    def _apply(self, fn, recurse=True):
        """Follow the module to another device, but never to a coarser dtype; off the "meta" device with values."""
        had_values = not self.window.is_meta
        super()._apply(fn, recurse)
        if self.window.dtype != torch.float32:
            self.window = torch.empty_like(self.window, dtype=torch.float32)
            self.filter_bank = torch.empty_like(self.filter_bank, dtype=torch.float32)
            had_values = False
        if not had_values:
            self.reset_buffers()
        return self

    def num_frames(self, num_samples):
        """Mel frames of a waveform of `num_samples` (an int or a tensor of them)."""
        return num_samples // self.config.hop_length

    def band_power(self, extended: torch.Tensor, num_frames: int) -> torch.Tensor:
        """Power in each mel band: [B, n_fft + (frames − 1) · hop_length] samples → [B, M, frames]."""
        n_fft, hop = self.config.n_fft, self.config.hop_length
        spectrum = torch.stft(extended, n_fft, hop, window=self.window, center=False, return_complex=True)
        power = spectrum.real.square() + spectrum.imag.square()  # [B, F, frames]; abs() is ten times slower
        return torch.matmul(power.transpose(1, 2), self.filter_bank).transpose(1, 2)

    def forward(self, waveform: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """waveform: [B, S]; lengths: [B] samples or None → [B, M, S // hop_length], zero behind each item's end."""
        n_fft, hop = self.config.n_fft, self.config.hop_length
        num_frames = self.num_frames(waveform.shape[1])
        with torch.autocast(waveform.device.type, enabled=False):
            extended = reflect_ends(waveform.float(), lengths, n_fft // 2)
            extended = extended[:, : n_fft + (num_frames - 1) * hop]
            mel = self.band_power(extended, num_frames)
            decibels = 10.0 * torch.log10(torch.clamp(mel, min=POWER_FLOOR))
            normalised = (decibels - self.config.mel_mean) / self.config.mel_std
        if lengths is None:
            return normalised
        return zero_padding(normalised, self.num_frames(lengths))


def zero_padding(states: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
    """Set everything behind each item's length to zero. states: [B, …, T]; lengths: [B], or None where nothing is padded."""
    if lengths is None:
        return states
    padded = torch.arange(states.shape[-1], device=states.device) >= lengths.unsqueeze(1)  # [B, T]
    return states.masked_fill(padded.view(padded.shape[0], *[1] * (states.ndim - 2), padded.shape[1]), 0.0)
