"""One face for every model under test: waveforms [B, S] of one length → features per layer, per clip or per frame."""

import inspect
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ..models.modeling_muq import MuQModel
from ..storage.fingerprint import fingerprint, weights_hash


FRAME_RATE = 25  # Hz, of frame features whatever the model's own rate
MAX_SECONDS = 30.0  # longer clips are seen in pieces
AUDIO_TOWERS = ("audio_model", "audio_tower", "audio_encoder")


class NoTimeAxisError(ValueError):
    """A model has features of whole clips only: frame tasks leave it out."""


class Encoder(Protocol):
    """What the benchmark needs of a model. `fingerprint` changes whenever the features would."""

    name: str
    fingerprint: str
    sampling_rate: int  # Hz
    max_seconds: float  # longest audio for one call
    min_samples: int  # shortest
    layer_names: tuple[str, ...]

    def pooled(self, waves: np.ndarray) -> list[np.ndarray]:
        """[B, S] float32 → for each layer [B, D]."""

    def frames(self, waves: np.ndarray) -> list[np.ndarray]:
        """[B, S] float32 → for each layer [B, T, D] at `FRAME_RATE`. Raises NoTimeAxisError if the model has none."""


def num_frames(num_samples: int, sampling_rate: int) -> int:
    """Frames of `FRAME_RATE` in so many samples, at least one."""
    return max(1, round(num_samples * FRAME_RATE / sampling_rate))


def to_frame_rate(states: torch.Tensor, num_samples: int, sampling_rate: int) -> torch.Tensor:
    """[B, T, D] that span `num_samples` → the same at `FRAME_RATE`: means of faster frames, copies of slower ones."""
    wanted = num_frames(num_samples, sampling_rate)
    return F.adaptive_avg_pool1d(states.transpose(1, 2), wanted).transpose(1, 2)


class MuQEncoder:
    """All hidden states of a MuQ."""

    max_seconds = MAX_SECONDS

    def __init__(self, model: MuQModel, name: str):
        self.model = model.eval()
        self.name = name
        self.sampling_rate = model.config.sampling_rate
        self.min_samples = model.config.min_samples
        self.layer_names = tuple(f"layer {i}" for i in range(model.config.num_hidden_layers + 1))
        self.fingerprint = fingerprint("muq", weights_hash(model))

    @torch.inference_mode()
    def _states(self, waves: np.ndarray):
        return self.model(torch.from_numpy(waves).to(self.model.device), output_hidden_states=True).hidden_states

    def pooled(self, waves: np.ndarray) -> list[np.ndarray]:
        return [state.mean(dim=1).float().cpu().numpy() for state in self._states(waves)]

    def frames(self, waves: np.ndarray) -> list[np.ndarray]:
        S = waves.shape[1]
        return [to_frame_rate(state.float(), S, self.sampling_rate).cpu().numpy() for state in self._states(waves)]


class TransformersEncoder:
    """The audio encoder of any checkpoint that `AutoModel` and `AutoFeatureExtractor` load: wav2vec2, MERT, CLAP, Whisper, AST …

    Hidden states [B, T, D] are averaged over time, feature maps [B, C, H, W] over both axes. Whisper's padding to 30 s is left
    out; AST's, of clips under 10.24 s, is part of what it sees.
    """

    def __init__(self, model: nn.Module, extractor, name: str):
        self.extractor = extractor
        self.name = name
        self.model = _audio_tower(model).eval()
        config = self.model.config
        self.sampling_rate = extractor.sampling_rate
        self._fixed_samples = getattr(extractor, "n_samples", None)
        self.max_seconds = longest_input(extractor) or MAX_SECONDS
        self.min_samples = self.sampling_rate // FRAME_RATE
        self._has_time = not hasattr(config, "patch_size")
        self.fingerprint = fingerprint(type(self.model).__name__, weights_hash(self.model), extractor.to_dict())
        with torch.inference_mode():
            states = self._states(np.zeros((1, self.sampling_rate), dtype=np.float32))
        self.layer_names = tuple(f"layer {i}" for i in range(len(states)))

    def _states(self, waves: np.ndarray) -> list[torch.Tensor]:
        """→ hidden states, each [B, T, D] or [B, C, H, W]."""
        inputs = nothing_longer(self.extractor(list(waves), sampling_rate=self.sampling_rate, return_tensors="pt"))
        accepted = inspect.signature(self.model.forward).parameters
        inputs = {name: value for name, value in inputs.items() if name in accepted and name != "attention_mask"}
        inputs = {name: value.to(next(self.model.parameters()).device) for name, value in inputs.items()}
        output = self.model(**inputs, output_hidden_states=True)
        states = output.hidden_states or (output.last_hidden_state,)
        if self._fixed_samples:
            share = min(1.0, waves.shape[1] / self._fixed_samples)
            states = [state[:, : max(1, round(state.shape[1] * share))] for state in states]
        return list(states)

    @torch.inference_mode()
    def pooled(self, waves: np.ndarray) -> list[np.ndarray]:
        means = [state.mean(dim=1) if state.ndim == 3 else state.mean(dim=(2, 3)) for state in self._states(waves)]
        return [mean.float().cpu().numpy() for mean in means]

    @torch.inference_mode()
    def frames(self, waves: np.ndarray) -> list[np.ndarray]:
        states = self._states(waves)
        if not self._has_time or any(state.ndim != 3 for state in states):
            sees = f"{type(self.model).__name__} sees patches"
            raise NoTimeAxisError(f"{self.name} has no time axis ({sees}): leave frame tasks out.")
        return [to_frame_rate(state.float(), waves.shape[1], self.sampling_rate).cpu().numpy() for state in states]


def _audio_tower(model: nn.Module) -> nn.Module:
    for name in AUDIO_TOWERS:
        if isinstance(getattr(model, name, None), nn.Module):
            return getattr(model, name)
    is_speech_to_text = getattr(model.config, "is_encoder_decoder", False)
    return model.get_encoder() if is_speech_to_text else model


def longest_input(extractor) -> float | None:
    """Seconds that the extractor takes before it cuts; None if it does not say so."""
    if getattr(extractor, "n_samples", None):  # Whisper
        return extractor.n_samples / extractor.sampling_rate
    if getattr(extractor, "max_length_s", None):  # CLAP
        return float(extractor.max_length_s)
    if hasattr(extractor, "num_mel_bins") and getattr(extractor, "max_length", None):  # AST: frames of 10 ms
        return extractor.max_length / 100
    return None


def nothing_longer(inputs):
    """The inputs of waves no longer than `longest_input`. Fused CLAP's extractor calls one of them longer, drawn at random."""
    if "is_longer" in inputs:
        inputs["is_longer"] = torch.zeros_like(inputs["is_longer"])
    return inputs
