"""The head of a classifier in training: its input is standardised, by statistics that its saved weights take over."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import nn
from transformers.modeling_outputs import SequenceClassifierOutput


HEAD_MODULES = ("layer_weights", "projector", "frame_scores", "hidden", "classifier")
LINEAR_LAYERS = ("projector", "hidden", "classifier")  # of which the first that there is sees the encoder's states
MIN_DEVIATION = 1e-6


def layer_means(states: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """States [T, L, D] of many windows → mean and deviation [D] over all rows of their plain mean over layers."""
    rows = np.concatenate([block.mean(axis=1, dtype=np.float64) for block in states])
    return rows.mean(axis=0), np.maximum(rows.std(axis=0), MIN_DEVIATION)


class HeadOfStates(nn.Module):
    """The head of a classifier by itself, which shares its weights: what is trained where the encoder's states are kept."""

    def __init__(self, classifier):
        super().__init__()
        self.parts = nn.ModuleDict({name: part for name, part in classifier.named_children() if name != "muq"})
        self._classifier = (classifier,)  # in a tuple, so that its encoder is no part of this module

    def forward(self, states: torch.Tensor, frame_mask: torch.Tensor) -> SequenceClassifierOutput:
        """states [B, T, L, D], frame_mask [B, T] → logits [B, K], or [B, T, K] of a classifier of frames."""
        (classifier,) = self._classifier
        layers = states.unbind(dim=2)
        mean = classifier.layer_weights(layers) if classifier.config.use_weighted_layer_sum else layers[0]
        return SequenceClassifierOutput(logits=classifier.head(mean, frame_mask))


class Standardisation:
    """The input of a head's first layer, standardised in a hook until `fold` puts the statistics into its weights.

    Args:
        classifier: with or without PEFT's wrapper, around which the head's trained copy is found.
        mean, deviation: [D]
    """

    def __init__(self, classifier, mean: np.ndarray, deviation: np.ndarray):
        self.mean, self.deviation = (torch.as_tensor(values, dtype=torch.float32) for values in (mean, deviation))
        name = next(name for name in LINEAR_LAYERS if head_part(classifier, name) is not None)
        self.layer = head_part(classifier, name)
        first = head_part(classifier, "dropout") if name == "classifier" else self.layer  # a lone layer comes after the dropout
        self._handle = first.register_forward_pre_hook(self._standardise)

    def _standardise(self, module, inputs):
        (states,) = inputs
        return (states - self.mean.to(states)) / self.deviation.to(states)

    @torch.no_grad()
    def fold(self) -> None:
        """From now on the layer takes states as the encoder gives them. W·(x − μ)/σ + b = (W/σ)·x + (b − (W/σ)·μ)."""
        self._handle.remove()
        weight = self.layer.weight.double() / self.deviation.to(self.layer.weight.device).double()
        bias = self.layer.bias.double() - weight @ self.mean.to(weight)
        self.layer.weight.copy_(weight)
        self.layer.bias.copy_(bias)


def head_part(classifier, name: str) -> nn.Module | None:
    """A module of the head, the copy that is trained where PEFT has wrapped it; None if the head has none of this name."""
    part = getattr(without_adapters(classifier), name, None)
    return part.modules_to_save["default"] if hasattr(part, "modules_to_save") else part


def without_adapters(classifier):
    """The classifier inside PEFT's wrapper, or itself."""
    return classifier.base_model.model if hasattr(classifier, "peft_config") else classifier


@torch.no_grad()
def scale_outputs(layer: nn.Linear, scale: np.ndarray | float, offset: np.ndarray | float) -> None:
    """The layer [K, P] gives scale · what it gave + offset; both [K] or one number."""
    scale, offset = (torch.as_tensor(values).to(layer.bias).expand_as(layer.bias) for values in (scale, offset))
    layer.weight.mul_(scale[:, None])
    layer.bias.mul_(scale).add_(offset)
