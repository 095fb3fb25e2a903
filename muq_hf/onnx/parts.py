"""The parts of each model's ONNX graph: their modules, order, names and axes."""

from typing import NamedTuple

import torch
from torch import nn

from ..models.classification_muq import MuQForAudioFrameClassification, MuQForSequenceClassification
from ..models.modeling_muq import MuQModel
from ..models.towers_muq_mulan import MuQMuLanAudioModel, MuQMuLanTextModel
from .graphs import AudioTower, Classifier, Clips, Encoder, Mel, TextTower


Axes = tuple[str | None, ...]  # the names of a tensor's axes; None where the size is fixed

WAVE: Axes = ("batch", "samples")
CLIP: Axes = ("clips", "clip_samples")


class Part(NamedTuple):
    """A module to trace with `example`; parts of one model are joined where an output's name is a later input's."""

    name: str
    module: nn.Module
    example: tuple[torch.Tensor, ...]
    inputs: dict[str, Axes]
    outputs: dict[str, Axes]


def encoder_parts(model: MuQModel, layers: tuple[int, ...]) -> list[Part]:
    """input_values, attention_mask → last_hidden_state, frame_mask and `hidden_states.LAYER` for each layer."""
    masked_wave = {"input_values": WAVE, "attention_mask": WAVE}
    states = {name: ("batch", "frames", None) for name in ("last_hidden_state", *(f"hidden_states.{i}" for i in layers))}
    outputs = {"last_hidden_state": states.pop("last_hidden_state"), "frame_mask": ("batch", "frames"), **states}
    mel_inputs, mel_example = _mel_inputs("batch", model.config.num_mel_bins)
    return [
        _mel_part(model, masked_wave, "batch"),
        Part("encoder", Encoder(model, layers), mel_example, mel_inputs, outputs),
    ]


def classifier_parts(model: MuQForSequenceClassification | MuQForAudioFrameClassification) -> list[Part]:
    """input_values, attention_mask → logits, of frames with their frame_mask."""
    masked_wave = {"input_values": WAVE, "attention_mask": WAVE}
    outputs: dict[str, Axes] = {"logits": ("batch", None)}
    if isinstance(model, MuQForAudioFrameClassification):
        outputs = {"logits": ("batch", "frames", None), "frame_mask": ("batch", "frames")}
    mel_inputs, mel_example = _mel_inputs("batch", model.config.num_mel_bins)
    return [
        _mel_part(model.muq, masked_wave, "batch"),
        Part("classifier", Classifier(model), mel_example, mel_inputs, outputs),
    ]


def audio_parts(model: MuQMuLanAudioModel) -> list[Part]:
    """input_values, padding_mask → audio_embeds."""
    wave = torch.zeros(2, 3 * model.config.clip_samples)
    clips = {"clips": CLIP, "clip_mask": CLIP}
    weights = {"clip_weights": ("batch", "clips")}
    cut = Part(
        "clips",
        Clips(model.config),
        (wave, torch.ones_like(wave, dtype=torch.long)),
        {"input_values": WAVE, "padding_mask": WAVE},
        {**clips, **weights},
    )
    mel_inputs, mel_example = _mel_inputs("clips", model.config.audio_config.num_mel_bins)
    example = (*mel_example, torch.full((2, len(mel_example[0])), 1 / 3))
    tower = Part("tower", AudioTower(model), example, {**mel_inputs, **weights}, {"audio_embeds": ("batch", None)})
    return [cut, _mel_part(model.encoder, clips, "clips"), tower]


def text_parts(model: MuQMuLanTextModel) -> list[Part]:
    """input_ids, attention_mask → text_embeds."""
    ids = torch.full((2, 5), 3)
    tokens = ("batch", "tokens")
    inputs = {"input_ids": tokens, "attention_mask": tokens}
    return [Part("text", TextTower(model), (ids, torch.ones_like(ids)), inputs, {"text_embeds": ("batch", None)})]


def _mel_inputs(items: str, num_mel_bins: int) -> tuple[dict[str, Axes], tuple[torch.Tensor, ...]]:
    """Inputs of the part after the mel spectrogram, and an example of them."""
    names = {"mel": (items, None, "mel_frames"), "mel_lengths": (items,)}
    return names, (torch.zeros(6, num_mel_bins, 203), torch.full((6,), 203))


def _mel_part(model: MuQModel, inputs: dict[str, Axes], items: str) -> Part:
    waves = torch.zeros(3, 50 * model.config.samples_per_frame + 1)
    outputs, _ = _mel_inputs(items, model.config.num_mel_bins)
    return Part("mel", Mel(model), (waves, torch.ones_like(waves, dtype=torch.long)), inputs, outputs)
