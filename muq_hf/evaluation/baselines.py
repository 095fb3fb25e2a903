"""What any learned representation must beat: the statistics of a mel spectrogram; and what must tell nothing: recording cues."""

import numpy as np
import torch

from ..configuration_muq import SpectrogramConfig
from ..spectrogram_muq import LogMelSpectrogram
from .encoders import MAX_SECONDS, short_hash, to_frame_rate


MEL_BANDS = 96
ROLL_OFF = 0.99  # share of the power below the "bandwidth"
MIN_POWER = 1e-10


def _spectrogram() -> LogMelSpectrogram:
    """Plain decibels: [B, S] at 24 kHz → [B, 96, T] at 100 Hz."""
    return LogMelSpectrogram(SpectrogramConfig(num_mel_bins=MEL_BANDS, mel_mean=0.0, mel_std=1.0))


class MelStatistics:
    """Mean, standard deviation and mean absolute change of 96 mel bands in dB: 288 numbers a clip."""

    name = "mel"
    layer_names = ("mel",)
    max_seconds = MAX_SECONDS

    def __init__(self):
        self._mel = _spectrogram()
        self.sampling_rate = self._mel.config.sampling_rate
        self.min_samples = max(self._mel.config.min_samples, 2 * self._mel.config.hop_length)
        self.fingerprint = short_hash("mel statistics 1", self._mel.config.spectrogram_settings)

    @torch.inference_mode()
    def pooled(self, waves: np.ndarray) -> list[np.ndarray]:
        mel = self._mel(torch.from_numpy(waves))  # [B, 96, T]
        change = mel.diff(dim=2).abs().mean(dim=2)
        return [torch.cat([mel.mean(dim=2), mel.std(dim=2, unbiased=False), change], dim=1).numpy()]

    @torch.inference_mode()
    def frames(self, waves: np.ndarray) -> list[np.ndarray]:
        mel = self._mel(torch.from_numpy(waves))
        change = mel.diff(dim=2, prepend=mel[:, :, :1])
        both = torch.cat([mel, change], dim=1).transpose(1, 2)  # [B, T, 192]
        return [to_frame_rate(both, waves.shape[1], self.sampling_rate).numpy()]


class RecordingCues:
    """Loudness and bandwidth, which tell about the recording and not about the music: a probe on them should be near chance.

    RMS and peak (dB of full scale), the frequency below which 99 % of the power lies, and the power of the top 2 kHz (dB).
    """

    name = "cues"
    layer_names = ("cues",)
    max_seconds = MAX_SECONDS
    sampling_rate = 24_000
    min_samples = 1025
    fingerprint = short_hash("recording cues 1")

    def pooled(self, waves: np.ndarray) -> list[np.ndarray]:
        power = np.abs(np.fft.rfft(waves, axis=1)) ** 2  # [B, F]
        hertz = np.fft.rfftfreq(waves.shape[1], 1 / self.sampling_rate)
        share = np.cumsum(power, axis=1) / np.maximum(power.sum(axis=1, keepdims=True), MIN_POWER)
        roll_off = hertz[np.minimum((share < ROLL_OFF).sum(axis=1), len(hertz) - 1)]
        top = power[:, hertz > self.sampling_rate / 2 - 2000].sum(axis=1) / np.maximum(power.sum(axis=1), MIN_POWER)
        columns = [
            10 * np.log10(np.maximum((waves**2).mean(axis=1), MIN_POWER)),
            20 * np.log10(np.maximum(np.abs(waves).max(axis=1), MIN_POWER)),
            roll_off,
            10 * np.log10(np.maximum(top, MIN_POWER)),
        ]
        return [np.stack(columns, axis=1).astype(np.float32)]

    def frames(self, waves: np.ndarray) -> list[np.ndarray]:
        raise ValueError("recording cues are one per clip: leave frame tasks out.")


BASELINES = {"mel": MelStatistics, "cues": RecordingCues}
