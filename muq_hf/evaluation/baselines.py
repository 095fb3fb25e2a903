"""Encoders without training: a mel spectrogram and chroma, to be beaten, and recording cues, which should be near chance."""

import numpy as np
import torch

from ..models.configuration_muq import SpectrogramConfig
from ..models.spectrogram_muq import LogMelSpectrogram
from ..storage.fingerprint import fingerprint
from .encoders import Encoder, to_frame_rate


MEL_BANDS = 96
CUE_BANDS = 48  # of 250 Hz
CUT_OFF_DB = -70.0  # of the strongest band; below it nothing was recorded
MIN_POWER = 1e-10
CHROMA_FFT, CHROMA_HOP = 8192, 2048  # samples: 3 Hz between bins
CHROMA_HERTZ = (60.0, 2000.0)  # fundamentals and their first overtones
PITCH_CLASSES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
# How well each degree fits a key (Krumhansl and Kessler 1982, probe tones), from the tonic on.
KEY_PROFILES = {
    "major": (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88),
    "minor": (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17),
}


def _spectrogram() -> LogMelSpectrogram:
    """Plain decibels: [B, S] at 24 kHz → [B, 96, T] at 100 Hz."""
    return LogMelSpectrogram(SpectrogramConfig(num_mel_bins=MEL_BANDS, mel_mean=0.0, mel_std=1.0))


class MelSpectrogram(Encoder):
    """96 mel bands in dB and how much they change from frame to frame: 192 numbers a frame.

    For the statistics of a clip the change has no sign, or its mean would be 0; frames keep the sign, which tells onsets.
    """

    name = "mel"
    layer_names = ("mel",)

    def __init__(self):
        self._mel = _spectrogram()
        self.sampling_rate = self._mel.config.sampling_rate
        self.min_samples = max(self._mel.config.min_samples, 2 * self._mel.config.hop_length)
        self.fingerprint = fingerprint("mel spectrogram 2", self._mel.config.spectrogram_settings)

    @torch.inference_mode()
    def states(self, waves: np.ndarray) -> list[torch.Tensor]:
        mel, change = self._mel_and_change(waves)
        return [torch.cat([mel, change.abs()], dim=2)]

    @torch.inference_mode()
    def frames(self, waves: np.ndarray) -> list[np.ndarray]:
        both = torch.cat(self._mel_and_change(waves), dim=2)
        return [to_frame_rate(both, waves.shape[1], self.sampling_rate).numpy()]

    def _mel_and_change(self, waves: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """→ two of [B, T, 96] at 100 Hz."""
        mel = self._mel(torch.from_numpy(waves)).transpose(1, 2)
        return mel, mel.diff(dim=1, prepend=mel[:, :1])


class RecordingCues(Encoder):
    """Loudness and bandwidth, which describe the recording and not the music: a probe on them should be near chance.

    RMS (dB of full scale), and the frequency above which every band lies 70 dB below the strongest. Codec and order are no
    input to any model: clips reach it one by one, as samples.
    """

    name = "cues"
    layer_names = ("cues",)
    has_time_axis = False
    sampling_rate = 24_000
    min_samples = 1025
    fingerprint = fingerprint("recording cues 2", CUT_OFF_DB, CUE_BANDS)

    def states(self, waves: np.ndarray) -> list[torch.Tensor]:
        power = np.abs(np.fft.rfft(waves, axis=1)) ** 2
        bands = np.stack([part.mean(axis=1) for part in np.array_split(power, CUE_BANDS, axis=1)], axis=1)  # [B, 48]
        strong = bands > bands.max(axis=1, keepdims=True) * 10 ** (CUT_OFF_DB / 10)
        cut_off = (CUE_BANDS - strong[:, ::-1].argmax(axis=1)) * self.sampling_rate / 2 / CUE_BANDS
        loudness = 10 * np.log10(np.maximum((waves**2).mean(axis=1), MIN_POWER))
        return [torch.from_numpy(np.stack([loudness, cut_off], axis=1).astype(np.float32))[:, None]]  # [B, 1, 2]


class Chroma(Encoder):
    """The strength of the 12 pitch classes over time; for keys also the answer that needs no training, by template."""

    name = "chroma"
    layer_names = ("chroma",)
    sampling_rate = 24_000
    min_samples = CHROMA_FFT
    fingerprint = fingerprint("chroma 1", CHROMA_FFT, CHROMA_HOP, CHROMA_HERTZ)

    def __init__(self):
        hertz = torch.fft.rfftfreq(CHROMA_FFT, 1 / self.sampling_rate)
        self._used = (hertz >= CHROMA_HERTZ[0]) & (hertz <= CHROMA_HERTZ[1])
        semitones = torch.round(69 + 12 * torch.log2(hertz[self._used] / 440)).long()  # MIDI notes
        self._classes = torch.nn.functional.one_hot(semitones % 12, 12).float()  # [F, 12], C = 0

    @torch.inference_mode()
    def states(self, waves: np.ndarray) -> list[torch.Tensor]:
        """[B, S] → [B, T, 12]: square roots of magnitudes, each frame scaled to its strongest class."""
        window = torch.hann_window(CHROMA_FFT)
        spectrum = torch.stft(torch.from_numpy(waves), CHROMA_FFT, CHROMA_HOP, window=window, return_complex=True)
        chroma = spectrum.abs()[:, self._used].sqrt().transpose(1, 2) @ self._classes
        return [chroma / chroma.amax(dim=2, keepdim=True).clamp(min=MIN_POWER)]

    def keys(self, chroma: np.ndarray) -> np.ndarray:
        """Mean chroma [N, 12] → names of the keys whose profile correlates best [N]."""
        scores, names = [], []
        for mode, profile in KEY_PROFILES.items():
            for tonic, name in enumerate(PITCH_CLASSES):
                rotated = np.roll(profile, tonic)
                scores.append([np.corrcoef(row, rotated)[0, 1] for row in chroma])
                names.append(f"{name} {mode}")
        return np.array(names)[np.argmax(scores, axis=0)]


BASELINES = {"mel": MelSpectrogram, "chroma": Chroma, "cues": RecordingCues}
