"""One interface for every model under test: waveforms [B, S] of one length → the states of each layer."""

import inspect

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ..models.modeling_muq import MuQModel
from ..storage.fingerprint import fingerprint, weights_hash
from .labels import FRAME_RATE


MAX_SECONDS = 30.0  # longer clips are seen in pieces
AUDIO_TOWERS = ("audio_model", "audio_tower", "audio_encoder")


class NoTimeAxisError(ValueError):
    """A model has features of whole clips only: frame tasks leave it out."""


class Encoder:
    """What the benchmark needs of a model: every one gives its states over time, and the benchmark pools them all alike.

    Attributes:
        name: in tables.
        fingerprint: changes whenever the states would.
        sampling_rate: of the waveforms, in Hz.
        max_seconds: the longest audio for one call.
        min_samples: the shortest.
        layer_names: one for each layer of states.
        has_time_axis: whether the states follow one another in time; else the model is left out of frame tasks.
    """

    name: str
    fingerprint: str
    sampling_rate: int
    max_seconds: float = MAX_SECONDS
    min_samples: int
    layer_names: tuple[str, ...]
    has_time_axis = True

    def states(self, waves: np.ndarray) -> list[torch.Tensor]:
        """[B, S] float32 → for each layer [B, T, D], at any frame rate; or [B, C, H, W], maps without a time axis."""
        raise NotImplementedError

    def frames(self, waves: np.ndarray) -> list[np.ndarray]:
        """[B, S] float32 → for each layer [B, T, D] at `FRAME_RATE`. Raises NoTimeAxisError if the model has no time axis."""
        states = self.states(waves)
        if not self.has_time_axis or any(state.ndim != 3 for state in states):
            raise NoTimeAxisError(f"{self.name} has no time axis: it is left out of frame tasks.")
        return [to_frame_rate(state.float(), waves.shape[1], self.sampling_rate).cpu().numpy() for state in states]


def num_frames(num_samples: int, sampling_rate: int) -> int:
    """Frames of `FRAME_RATE` in so many samples, at least one."""
    return max(1, round(num_samples * FRAME_RATE / sampling_rate))


def to_frame_rate(states: torch.Tensor, num_samples: int, sampling_rate: int) -> torch.Tensor:
    """[B, T, D] that span `num_samples` → the same at `FRAME_RATE`: means of faster frames, copies of slower ones."""
    wanted = num_frames(num_samples, sampling_rate)
    return F.adaptive_avg_pool1d(states.transpose(1, 2), wanted).transpose(1, 2)


class MuQEncoder(Encoder):
    """All hidden states of a MuQ."""

    def __init__(self, model: MuQModel, name: str):
        self.model = model.eval()
        self.name = name
        self.sampling_rate = model.config.sampling_rate
        self.min_samples = model.config.min_samples
        self.layer_names = tuple(f"layer {i}" for i in range(model.config.num_hidden_layers + 1))
        self.fingerprint = fingerprint("muq", weights_hash(model))

    @torch.inference_mode()
    def states(self, waves: np.ndarray) -> list[torch.Tensor]:
        return list(self.model(torch.from_numpy(waves).to(self.model.device), output_hidden_states=True).hidden_states)


class TransformersEncoder(Encoder):
    """The audio encoder of any checkpoint that `AutoModel` and `AutoFeatureExtractor` load: wav2vec2, MERT, CLAP, Whisper, AST …

    Whisper's padding to 30 s is left out; AST's, of clips under 10.24 s, is part of its input.
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
        self.has_time_axis = not hasattr(config, "patch_size")  # of patches of a spectrogram
        self.fingerprint = fingerprint(type(self.model).__name__, weights_hash(self.model), extractor.to_dict())
        num_layers = len(self.states(np.zeros((1, self.sampling_rate), dtype=np.float32)))
        self.layer_names = tuple(f"layer {i}" for i in range(num_layers))

    @torch.inference_mode()
    def states(self, waves: np.ndarray) -> list[torch.Tensor]:
        inputs = without_fusion(self.extractor(list(waves), sampling_rate=self.sampling_rate, return_tensors="pt"))
        accepted = inspect.signature(self.model.forward).parameters
        inputs = {name: value for name, value in inputs.items() if name in accepted and name != "attention_mask"}
        inputs = {name: value.to(next(self.model.parameters()).device) for name, value in inputs.items()}
        output = self.model(**inputs, output_hidden_states=True)
        states = output.hidden_states or (output.last_hidden_state,)
        if self._fixed_samples:
            share = min(1.0, waves.shape[1] / self._fixed_samples)
            states = [state[:, : max(1, round(state.shape[1] * share))] for state in states]
        return list(states)


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


def without_fusion(inputs):
    """Inputs of which none is marked as longer than `longest_input`: fused CLAP's extractor marks one of a batch at random."""
    if "is_longer" in inputs:
        inputs["is_longer"] = torch.zeros_like(inputs["is_longer"])
    return inputs
