"""Classifiers on top of MuQ: one label per clip, or one per frame."""

import torch
import torch.nn.functional as F
from torch import nn
from transformers import initialization as init
from transformers.modeling_outputs import SequenceClassifierOutput, TokenClassifierOutput
from transformers.processing_utils import Unpack
from transformers.utils import ModelOutput, TransformersKwargs
from transformers.utils.generic import can_return_tuple

from .modeling_muq import MuQModel, MuQPreTrainedModel, keep_wanted
from .pooling_muq import pool_frames


IGNORED_LABEL = -100


class LayerMean(nn.Module):
    """Hidden states, L × [B, T, D] → their mean, weighted by the softmax of learned numbers; a plain mean at first.

    A module of its own, as PEFT trains and stores whole modules beside its adapters.
    """

    def __init__(self, num_states: int):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(num_states))

    def forward(self, states):
        weights = torch.softmax(self.logits, dim=0)
        return sum(weight * state for weight, state in zip(weights, states, strict=True))


class _MuQClassifier(MuQPreTrainedModel):
    """The encoder of both classifiers, which read its last hidden state, or a learned mean of all hidden states.

    Each has a `head`, a `_loss` and a class of outputs.
    """

    _keys_to_ignore_on_load_unexpected = [r"^head\.", r"^quantizer\."]
    _output_class: type[ModelOutput]

    def __init__(self, config):
        super().__init__(config)
        self.muq = MuQModel(config)
        if config.use_weighted_layer_sum:
            self.layer_weights = LayerMean(config.num_hidden_layers + 1)

    @torch.no_grad()
    def _init_weights(self, module):
        super()._init_weights(module)
        if isinstance(module, LayerMean):
            init.zeros_(module.logits)

    def freeze_base_model(self) -> None:
        """Train the classifier alone: no gradients for the encoder, and its batch statistics stay as they are."""
        self.muq.requires_grad_(False)
        self._base_model_is_frozen = True
        self.muq.eval()

    def freeze_batch_norms(self) -> None:
        """Train the encoder too, but with the batch norms that it has: a few clips have no statistics worth taking."""
        for module in self.muq.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.requires_grad_(False)  # which keeps their statistics too

    def freeze_feature_encoder(self) -> None:
        """Leave the convolutions before the Conformer out of the training, as scripts for Wav2Vec2 do."""
        self.muq.front_end.requires_grad_(False)

    def train(self, mode: bool = True):
        super().train(mode)
        if getattr(self, "_base_model_is_frozen", False):
            self.muq.eval()
        return self

    @can_return_tuple
    def forward(
        self,
        input_values: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_hidden_states: bool | int | list[int] | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> SequenceClassifierOutput | TokenClassifierOutput:
        """Arguments as of [`MuQModel`], and `labels`, see the class.

        → logits, the loss where labels are given, hidden states and attentions where they are asked for. Raises ValueError and
        TypeError as `MuQModel` does.
        """
        need_all = self.config.use_weighted_layer_sum
        wanted, _ = self.muq.wanted_states(output_hidden_states)
        needed = True if need_all else [*wanted, -1]
        outputs = self.muq(input_values, attention_mask, needed, output_attentions, return_dict=True, **kwargs)
        states = self.layer_weights(outputs.hidden_states) if need_all else outputs.last_hidden_state
        logits = self.head(states, outputs.attention_mask)
        return self._output_class(
            loss=None if labels is None else self._loss(logits, labels, outputs.attention_mask.bool()),
            logits=logits,
            hidden_states=keep_wanted(outputs.hidden_states, wanted),
            attentions=outputs.attentions,
        )


class MuQForSequenceClassification(_MuQClassifier):
    """Scores for a whole clip: hidden states → projection → pooling over the music → classes (layout of Wav2Vec2's classifier).

    Pooling by attention and a hidden layer make it the head of MuQ-Eval. logits: [B, num_labels]; labels: [B] class indices,
    [B, num_labels] of 0 and 1 (several labels at once), or [B(, num_labels)] numbers. `config.problem_type`
    ("single_label_classification", "multi_label_classification", "regression") decides which; left open it follows from
    `num_labels` and the dtype of the labels, as elsewhere in transformers.
    """

    _output_class = SequenceClassifierOutput
    _new_parts = ("layer_weights", "projector", "frame_scores", "hidden", "classifier")

    def __init__(self, config):
        super().__init__(config)
        P = config.classifier_proj_size
        pooled_size = 2 * P if config.classifier_pool == "mean+std" else P
        self.projector = nn.Linear(config.hidden_size, P)
        if config.classifier_pool == "attention":
            self.frame_scores = nn.Linear(P, 1)
        if config.classifier_layers == 2:
            self.hidden = nn.Linear(pooled_size, P)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(P if config.classifier_layers == 2 else pooled_size, config.num_labels)
        self.post_init()

    def head(self, states: torch.Tensor, frame_mask: torch.Tensor) -> torch.Tensor:
        """states [B, T, D], frame_mask [B, T] → logits [B, num_labels]."""
        frames = self.projector(states)
        if self.config.classifier_pool == "attention":
            scores = self.frame_scores(frames).squeeze(-1).masked_fill(frame_mask == 0, float("-inf"))
            pooled = torch.einsum("bt,btp->bp", scores.softmax(dim=1), frames)
        else:
            pooled = pool_frames(frames, frame_mask, self.config.classifier_pool)
        if self.config.classifier_layers == 2:
            pooled = F.gelu(self.hidden(pooled))
        return self.classifier(self.dropout(pooled))

    def _loss(self, logits, labels, is_music):
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
    """Scores for every frame (25 per second): beats, structure, melody.

    logits: [B, T, num_labels]; labels: [B, T] class indices (−100 is ignored), [B, T, num_labels] numbers from 0 to 1 (several at
    once), or with `config.problem_type` "regression" [B, T, num_labels] numbers, NaN where there is none. Frames of padding count
    for nothing.
    """

    _output_class = TokenClassifierOutput
    _new_parts = ("layer_weights", "hidden", "classifier")

    def __init__(self, config):
        super().__init__(config)
        size = config.hidden_size
        if config.classifier_layers == 2:
            self.hidden = nn.Linear(size, config.classifier_proj_size)
            size = config.classifier_proj_size
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(size, config.num_labels)
        self.post_init()

    def head(self, states: torch.Tensor, frame_mask: torch.Tensor | None = None) -> torch.Tensor:
        """states [B, T, D] → logits [B, T, num_labels]; no frame sees another here, so the mask decides nothing."""
        if self.config.classifier_layers == 2:
            states = F.gelu(self.hidden(states))
        return self.classifier(self.dropout(states))

    def _loss(self, logits, labels, is_music):
        if labels.shape[:2] != logits.shape[:2]:
            raise ValueError(
                f"`labels` must cover the {logits.shape[1]} frames of each item, got shape {tuple(labels.shape)}; "
                "`_get_feat_extract_output_lengths` gives the number of frames."
            )
        if self.config.problem_type == "regression":
            is_known = is_music.unsqueeze(-1) & ~labels.isnan()
            return F.mse_loss(logits[is_known].float(), labels[is_known].float())
        if labels.ndim == 3:
            return F.binary_cross_entropy_with_logits(logits[is_music].float(), labels[is_music].float())
        labels = labels.masked_fill(~is_music, IGNORED_LABEL)
        return F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORED_LABEL)
