"""Classifiers on top of MuQ: one label per clip, or one per frame."""

import torch
import torch.nn.functional as F
from torch import nn
from transformers.modeling_outputs import SequenceClassifierOutput, TokenClassifierOutput
from transformers.utils.generic import can_return_tuple

from .modeling_muq import MuQModel, MuQPreTrainedModel, keep_wanted
from .pooling_muq import pool_frames


IGNORED_LABEL = -100


class _MuQClassifier(MuQPreTrainedModel):
    """What both classifiers share: the encoder, and the choice of the last or of a learned mean of all hidden states."""

    _keys_to_ignore_on_load_unexpected = [r"^head\.", r"^quantizer\."]

    def __init__(self, config):
        super().__init__(config)
        self.muq = MuQModel(config)
        if config.use_weighted_layer_sum:
            num_states = config.num_hidden_layers + 1
            self.layer_weights = nn.Parameter(torch.full((num_states,), 1.0 / num_states))

    def freeze_base_model(self) -> None:
        """Train the classifier alone: no gradients for the encoder, and its batch statistics stay as they are."""
        self.muq.requires_grad_(False)
        self._base_model_is_frozen = True
        self.muq.eval()

    def train(self, mode: bool = True):
        super().train(mode)
        if getattr(self, "_base_model_is_frozen", False):
            self.muq.eval()
        return self

    def _encode(self, input_values, attention_mask, output_hidden_states, output_attentions):
        """→ the states to classify from [B, T, D], the hidden states asked for, and the encoder's output."""
        need_all = self.config.use_weighted_layer_sum
        wanted, _ = self.muq.wanted_states(output_hidden_states)
        outputs = self.muq(
            input_values,
            attention_mask,
            output_hidden_states=True if need_all else [*wanted, -1],
            output_attentions=output_attentions,
            return_dict=True,
        )
        states = outputs.last_hidden_state
        if need_all:
            weights = torch.softmax(self.layer_weights, dim=0)
            states = sum(weight * state for weight, state in zip(weights, outputs.hidden_states, strict=True))
        return states, keep_wanted(outputs.hidden_states, wanted), outputs


class MuQForSequenceClassification(_MuQClassifier):
    """Scores for a whole clip: hidden states → projection → mean over the music → classes (layout of Wav2Vec2's classifier)."""

    _new_parts = ("layer_weights", "projector", "classifier")

    def __init__(self, config):
        super().__init__(config)
        self.projector = nn.Linear(config.hidden_size, config.classifier_proj_size)
        self.classifier = nn.Linear(config.classifier_proj_size, config.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_values: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_hidden_states: bool | int | list[int] | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
    ) -> SequenceClassifierOutput:
        """labels: [B] class indices, [B, num_labels] of 0 and 1 (several labels at once), or [B(, num_labels)] numbers.

        `config.problem_type` ("single_label_classification", "multi_label_classification", "regression") decides which;
        left open it follows from `num_labels` and the dtype of the labels, as elsewhere in transformers.
        """
        states, hidden_states, outputs = self._encode(input_values, attention_mask, output_hidden_states, output_attentions)
        pooled = pool_frames(self.projector(states), outputs.attention_mask, "mean")
        logits = self.classifier(pooled)
        return SequenceClassifierOutput(
            loss=None if labels is None else self._loss(logits, labels),
            logits=logits,
            hidden_states=hidden_states,
            attentions=outputs.attentions,
        )

    def _loss(self, logits, labels):
        problem = self.config.problem_type
        if problem is None:
            problem = "regression" if self.config.num_labels == 1 else "multi_label_classification"
            if self.config.num_labels > 1 and not labels.is_floating_point():
                problem = "single_label_classification"
        if problem == "regression":
            return F.mse_loss(logits.float().squeeze(-1), labels.float().squeeze(-1))
        if problem == "multi_label_classification":
            return F.binary_cross_entropy_with_logits(logits.float(), labels.float())
        return F.cross_entropy(logits.float(), labels.view(-1))


class MuQForAudioFrameClassification(_MuQClassifier):
    """Scores for every frame (25 per second): beats, structure, melody."""

    _new_parts = ("layer_weights", "classifier")

    def __init__(self, config):
        super().__init__(config)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_values: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_hidden_states: bool | int | list[int] | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
    ) -> TokenClassifierOutput:
        """labels: [B, T] class indices (−100 is ignored), or [B, T, num_labels] numbers from 0 to 1 (several at once).

        logits: [B, T, num_labels]. Frames of padding count for nothing.
        """
        states, hidden_states, outputs = self._encode(input_values, attention_mask, output_hidden_states, output_attentions)
        logits = self.classifier(states)
        return TokenClassifierOutput(
            loss=None if labels is None else self._loss(logits, labels, outputs.attention_mask.bool()),
            logits=logits,
            hidden_states=hidden_states,
            attentions=outputs.attentions,
        )

    @staticmethod
    def _loss(logits, labels, is_music):
        if labels.shape[:2] != logits.shape[:2]:
            raise ValueError(
                f"`labels` must cover the {logits.shape[1]} frames of each item, got shape {tuple(labels.shape)}; "
                "`_get_feat_extract_output_lengths` gives the number of frames."
            )
        if labels.ndim == 3:
            return F.binary_cross_entropy_with_logits(logits[is_music].float(), labels[is_music].float())
        labels = labels.masked_fill(~is_music, IGNORED_LABEL)
        return F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORED_LABEL)
