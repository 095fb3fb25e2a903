"""Teachers: anything that turns music into latents at 25 Hz, for a student to learn from.

A specification is one of

    mel                          four mel frames side by side: what the paper's Mel-RVQ quantizes (section 3.2)
    chroma                       72 semitones and 12 pitch classes of a long spectrum
    timbre                       256 filters over the mel whose answer does not depend on pitch
    FOLDER_OR_ID@LAYER           a hidden state of a MuQ, counted from 0, the front end
    FILE.py:CLASS@LAYER          a layer of an encoder of one's own, as `muq-hf probe` takes it (research/peers/musicnn.py)
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F

from ..models.configuration_muq import SpectrogramConfig
from ..models.decoding_muq import resample
from ..models.layers_muq import hidden_state_indices
from ..models.modeling_muq import MuQModel
from ..models.quantization_muq import fold_frames
from ..models.spectrogram_muq import LogMelSpectrogram
from ..models.windowing_muq import FRONT_END_STRIDE
from ..storage.adapters import is_adapter, load_class
from ..storage.fingerprint import fingerprint, weights_hash


SAMPLING_RATE = 24_000  # Hz, of what teachers are given
FRAME_RATE = 25  # Hz, of what they give
SAMPLES_PER_FRAME = SAMPLING_RATE // FRAME_RATE

CHROMA_FFT = 8192  # samples: 3 Hz between bins, so that a semitone is resolved from 50 Hz on
LOWEST_NOTE, NUM_NOTES = 28, 72  # MIDI: E1 (41 Hz) and six octaves

TIMBRE_FILTERS, TIMBRE_BANDS, TIMBRE_FRAMES = 256, 40, 7  # 7 frames at 100 Hz
TIMBRE_SEED = 0
SMOOTHING = 5  # bands or frames: the width of a filter's details


class LatentTeacher(Protocol):
    """name, licence: for the card of the student; width: numbers a frame."""

    name: str
    licence: str
    width: int

    def fingerprint(self) -> str:
        """Changes whenever the latents would."""

    def latents(self, input_values: torch.Tensor) -> torch.Tensor:
        """Waveforms [B, S] at 24 kHz → [B, S // 960, width] at 25 Hz."""


class MelTeacher:
    """The log-mel, four frames of 128 bands side by side."""

    name, licence = "mel", "none: a formula"

    def __init__(self):
        config = SpectrogramConfig()
        self._mel = LogMelSpectrogram(config)
        self.width = FRONT_END_STRIDE * config.num_mel_bins
        self._settings = config.spectrogram_settings

    def fingerprint(self) -> str:
        return fingerprint("mel teacher 1", self._settings)

    @torch.inference_mode()
    def latents(self, input_values: torch.Tensor) -> torch.Tensor:
        mel = self._mel.to(input_values.device)(input_values)
        return fold_frames(mel, FRONT_END_STRIDE)[:, : input_values.shape[1] // SAMPLES_PER_FRAME]


class ChromaTeacher:
    """Which notes sound: log strength of 72 semitones, and of the 12 pitch classes, of an 8,192-point spectrum."""

    name, licence, width = "chroma", "none: a formula", NUM_NOTES + 12

    def __init__(self):
        hertz = torch.fft.rfftfreq(CHROMA_FFT, 1 / SAMPLING_RATE)
        notes = 69 + 12 * torch.log2(hertz.clamp(min=1.0) / 440)
        centres = torch.arange(LOWEST_NOTE, LOWEST_NOTE + NUM_NOTES)
        weights = (1 - (notes[:, None] - centres).abs()).clamp(min=0)  # triangles over a semitone to either side
        self._semitones = weights / weights.sum(dim=0).clamp(min=1e-6)  # [F, 72]
        self._classes = F.one_hot(centres % 12, 12).float()

    def fingerprint(self) -> str:
        return fingerprint("chroma teacher 1", CHROMA_FFT, LOWEST_NOTE, NUM_NOTES)

    @torch.inference_mode()
    def latents(self, input_values: torch.Tensor) -> torch.Tensor:
        window = torch.hann_window(CHROMA_FFT, device=input_values.device)
        padded = F.pad(input_values, (CHROMA_FFT // 2, CHROMA_FFT // 2))
        spectrum = torch.stft(padded, CHROMA_FFT, SAMPLES_PER_FRAME, window=window, center=False, return_complex=True)
        strength = spectrum.abs().transpose(1, 2) @ self._semitones.to(input_values.device)  # [B, T, 72]
        both = torch.cat([strength, strength @ self._classes.to(input_values.device)], dim=2)
        return torch.log1p(10 * both)[:, : input_values.shape[1] // SAMPLES_PER_FRAME]


class TimbreTeacher:
    """How it sounds, whatever the note: smooth random filters over the log-mel, of each the strongest answer at any pitch.

    The maximum over frequency makes vertical filters blind to transposition (after Pons and Serra 2019, arXiv 1909.06654).
    """

    name, licence, width = "timbre", "none: random filters", TIMBRE_FILTERS

    def __init__(self):
        self._mel = LogMelSpectrogram(SpectrogramConfig())
        generator = torch.Generator().manual_seed(TIMBRE_SEED)
        noise = torch.randn(TIMBRE_FILTERS, 1, TIMBRE_BANDS + SMOOTHING - 1, TIMBRE_FRAMES + SMOOTHING - 1, generator=generator)
        filters = F.avg_pool2d(noise, SMOOTHING, stride=1)
        filters = filters - filters.mean(dim=(2, 3), keepdim=True)
        self._filters = filters / filters.flatten(1).norm(dim=1)[:, None, None, None]

    def fingerprint(self) -> str:
        return fingerprint("timbre teacher 1", TIMBRE_FILTERS, TIMBRE_BANDS, TIMBRE_FRAMES, TIMBRE_SEED, SMOOTHING)

    @torch.inference_mode()
    def latents(self, input_values: torch.Tensor) -> torch.Tensor:
        mel = self._mel.to(input_values.device)(input_values)[:, None]  # [B, 1, 128, T at 100 Hz]
        left = TIMBRE_FRAMES // 2
        answers = F.conv2d(F.pad(mel, (left, left)), self._filters.to(input_values.device), stride=(2, 2))
        strongest = answers.relu().amax(dim=2)  # [B, 256, T / 2]
        num_frames = input_values.shape[1] // SAMPLES_PER_FRAME
        return F.adaptive_avg_pool1d(strongest[:, :, : 2 * num_frames], num_frames).transpose(1, 2)


class MuQTeacher:
    """One hidden state of a MuQ."""

    licence = "that of its weights"

    def __init__(self, model: str, layer: int):
        self.model = MuQModel.from_pretrained(model, dtype=torch.float32).eval().requires_grad_(False)
        (self.layer,) = hidden_state_indices(layer, self.model.config.num_hidden_layers, f"layer of the teacher {model}")
        self.name, self.width = f"{model}@{layer}", self.model.config.hidden_size

    def fingerprint(self) -> str:
        return fingerprint(self.layer, weights_hash(self.model))

    @torch.inference_mode()
    def latents(self, input_values: torch.Tensor) -> torch.Tensor:
        states = self.model(input_values, output_hidden_states=[self.layer]).hidden_states[self.layer]
        return states[:, : input_values.shape[1] // SAMPLES_PER_FRAME]


class AdapterTeacher:
    """One layer of an encoder that stands in a file of its own."""

    def __init__(self, spec: str, layer: str):
        self._encoder = load_class(spec)()
        if layer not in self._encoder.layer_names:
            raise ValueError(f"{spec} has the layers {', '.join(self._encoder.layer_names)}; got {layer!r}.")
        self._layer = self._encoder.layer_names.index(layer)
        self.name, self.licence = f"{self._encoder.name}@{layer}", getattr(self._encoder, "licence", "not stated")
        self.width = self.latents(torch.zeros(1, SAMPLING_RATE)).shape[2]

    def fingerprint(self) -> str:
        return fingerprint(self._encoder.fingerprint, self._layer)

    @torch.inference_mode()
    def latents(self, input_values: torch.Tensor) -> torch.Tensor:
        rate = self._encoder.sampling_rate
        waves = np.stack([resample(wave, SAMPLING_RATE, rate) for wave in input_values.cpu().numpy()])
        frames = torch.from_numpy(self._encoder.frames(waves)[self._layer]).float()  # [B, T, D] at 25 Hz
        num_frames = input_values.shape[1] // SAMPLES_PER_FRAME
        if frames.shape[1] != num_frames:
            frames = F.interpolate(frames.transpose(1, 2), num_frames, mode="nearest").transpose(1, 2)
        return frames.to(input_values.device)


BUILT_IN = {"mel": MelTeacher, "chroma": ChromaTeacher, "timbre": TimbreTeacher}


def load_teacher(spec: str) -> LatentTeacher:
    """See the module for what `spec` may be. Raises ValueError for anything else, and for a layer that is not there."""
    if spec in BUILT_IN:
        return BUILT_IN[spec]()
    model, _, layer = spec.rpartition("@")
    if is_adapter(model):
        return AdapterTeacher(model, layer)
    if not model or not layer.isdigit():
        raise ValueError(
            f"a teacher is {', '.join(BUILT_IN)}, FOLDER@LAYER of a MuQ (LAYER from 0), or FILE.py:CLASS@LAYER; got {spec!r}."
        )
    try:
        return MuQTeacher(model, int(layer))
    except OSError as error:
        raise ValueError(f"the teacher {model} is no model folder or id ({error}).") from error


def origins(teachers: Sequence[LatentTeacher]) -> str:
    """Names and licences, for the card of the student."""
    return ", ".join(f"{teacher.name} ({teacher.licence})" for teacher in teachers)


def models_behind(teachers: Sequence[LatentTeacher]) -> list[str]:
    """Folders or ids of the MuQs among them: their training music is the student's too."""
    return [teacher.name.rpartition("@")[0] for teacher in teachers if isinstance(teacher, MuQTeacher)]
