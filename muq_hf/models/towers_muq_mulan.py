"""The two towers of MuQ-MuLan: music → vector, text → vector (arXiv 2501.01108, section 3.4)."""

import math

import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs
from transformers.utils.generic import can_return_tuple

from .attention_muq import require_known_arguments
from .batches_muq import valid_lengths
from .clips_muq_mulan import ClipBatch, cut_clips, join_clips, plan_clips
from .configuration_muq_mulan import CLIP_RULES, MuQMuLanConfig
from .modeling_muq import MuQModel, MuQPreTrainedModel
from .pooling_muq import pool_frames
from .published_muq_mulan import convert_mulan_state_dict, is_published_mulan_config
from .text_adapter_muq_mulan import AdapterAttention, TextAdapter


CLIPS_AT_ONCE = 16  # most clips that go through the tower together in evaluation; bounds the memory of hour-long audio


class MuQMuLanPreTrainedModel(MuQPreTrainedModel):
    config_class = MuQMuLanConfig
    base_model_prefix = "muq_mulan"
    input_modalities = ("audio", "text")
    _no_split_modules = ["AdapterLayer"]
    _keep_in_fp32_modules_strict = None  # the encoders inside have lists of their own
    _can_record_outputs = None
    _model_types = (MuQMuLanConfig.model_type,)

    @torch.no_grad()
    def _init_weights(self, module):
        if isinstance(module, nn.Linear):
            self._init_linear_map(module, math.sqrt(module.in_features))
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
        elif isinstance(module, AdapterAttention):
            init.ones_(module.q_scale)
            init.ones_(module.k_scale)
        elif hasattr(module, "logit_scale"):
            init.constant_(module.logit_scale, self.config.logit_scale_init_value)

    def get_input_embeddings(self) -> nn.Module | None:
        """Those of the text; None for a music tower alone."""
        return self.text_model.get_input_embeddings() if hasattr(self, "text_model") else None

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.text_model.set_input_embeddings(value)

    @classmethod
    def _is_published(cls, config: dict) -> bool:
        return is_published_mulan_config(config)

    @classmethod
    def _convert_published(cls, tensors: dict) -> dict:
        return convert_mulan_state_dict(tensors)


class MuQMuLanAudioModel(MuQMuLanPreTrainedModel):
    """The music tower: clips → MuQ → linear → mean over time → joint space."""

    input_modalities = ("audio",)

    def __init__(self, config: MuQMuLanConfig):
        super().__init__(config)
        self.encoder = MuQModel(config.audio_config)
        self.adapter_projection = nn.Linear(config.audio_config.hidden_size, config.adapter_size)
        self.projection = nn.Linear(config.adapter_size, config.projection_dim)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_values: torch.Tensor,
        padding_mask: torch.Tensor | None = None,
        clip_rule: str | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> BaseModelOutputWithPooling:
        """input_values: [B, S]; padding_mask: [B, S], 1 on audio; clip_rule: in place of the configuration's.

        → pooler_output [B, P], last_hidden_state [clips, T, D], and clip by clip the hidden states and attentions of MuQ.
        Raises ValueError and TypeError as `MuQModel` does, and ValueError for unknown rules.
        """
        config = self.config
        rule = config.clip_rule if clip_rule is None else clip_rule
        if rule not in CLIP_RULES:
            raise ValueError(f"`clip_rule` must be one of {', '.join(CLIP_RULES)}, got {rule!r}.")
        lengths = valid_lengths(input_values, padding_mask, config.min_samples, "padding_mask")
        B, S = input_values.shape
        kwargs["output_hidden_states"] = _or_configured(output_hidden_states, config.output_hidden_states)
        kwargs["output_attentions"] = output_attentions
        if rule == "duration" and S <= config.clip_samples:
            return self._embed(input_values, padding_mask if lengths is not None else None, **kwargs)
        # The number of clips depends on the lengths, so they are read here even from a GPU.
        num_samples = [S] * B if lengths is None else lengths.tolist()
        samples_per_frame = config.audio_config.samples_per_frame
        plans = [plan_clips(n, config.clip_samples, rule, samples_per_frame, config.min_samples) for n in num_samples]
        batch = cut_clips(input_values, num_samples, plans)
        output = self._embed_clips(batch, **kwargs)
        output.pooler_output = join_clips(output.pooler_output, batch, B, rule)
        return output

    def _embed_clips(self, batch: ClipBatch, **kwargs) -> BaseModelOutputWithPooling:
        """In training all clips at once, because they share batch statistics; in evaluation `CLIPS_AT_ONCE` at a time."""
        N, C = batch.clips.shape
        mask = (torch.arange(C, device=batch.clips.device) < batch.lengths.unsqueeze(1)).long()
        at_once = N if self.training else CLIPS_AT_ONCE
        parts = [self._embed(batch.clips[i : i + at_once], mask[i : i + at_once], **kwargs) for i in range(0, N, at_once)]
        return BaseModelOutputWithPooling(**{name: _concatenated([part[name] for part in parts]) for name in parts[0]})

    def _embed(self, clips, mask, **kwargs) -> BaseModelOutputWithPooling:
        """clips: [N, C]; mask: [N, C] or None → pooler_output of length 1 [N, P], last_hidden_state [N, T, D]."""
        encoded = self.encoder(clips, mask, return_dict=True, **kwargs)
        states = self.adapter_projection(encoded.last_hidden_state)
        pooled = pool_frames(states, None if mask is None else encoded.attention_mask, "mean")
        return BaseModelOutputWithPooling(
            last_hidden_state=states,
            pooler_output=F.normalize(self.projection(pooled), dim=-1),
            hidden_states=encoded.hidden_states,
            attentions=encoded.attentions,
        )


def _or_configured(wanted: bool | None, configured: bool) -> bool | None:
    """The caller's choice, else True if the configuration of both towers says so; None leaves it to the tower's own."""
    return True if wanted is None and configured else wanted


def _concatenated(parts: list):
    """Tensors, or tuples of tensors of the layers, of several runs → of all their clips."""
    if isinstance(parts[0], torch.Tensor):
        return torch.cat(parts)
    return tuple(torch.cat(layer) for layer in zip(*parts, strict=True))


class MuQMuLanTextModel(MuQMuLanPreTrainedModel):
    """The text tower: any text encoder → adapter layers → mean over tokens → joint space."""

    main_input_name = "input_ids"
    input_modalities = ("text",)
    _keys_to_ignore_on_load_unexpected = [r"text_model\.encoder\.pooler\."]

    def __init__(self, config: MuQMuLanConfig):
        super().__init__(config)
        self.encoder = AutoModel.from_config(config.text_config)
        if getattr(self.encoder, "pooler", None) is not None:
            self.encoder.pooler = None  # unused; its parameters without gradients would stop distributed training
        hidden_size = config.text_config.hidden_size
        self.adapter_projection = (
            nn.Identity() if hidden_size == config.adapter_size else nn.Linear(hidden_size, config.adapter_size)
        )
        self.adapter = TextAdapter(config)
        self.projection = nn.Linear(config.adapter_size, config.projection_dim)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> BaseModelOutputWithPooling:
        """input_ids: [B, N]; attention_mask: [B, N], 1 on text; token_type_ids: [B, N] for encoders that know them.

        → pooler_output [B, P], last_hidden_state [B, N, D], and the hidden states and attentions of the text encoder. Raises
        ValueError for texts that are empty or too long, TypeError for unknown arguments.
        """
        require_known_arguments(kwargs)
        _check_text(input_ids, self.config.max_text_tokens)
        options = {
            **kwargs,
            "token_type_ids": token_type_ids,
            "output_hidden_states": _or_configured(output_hidden_states, self.config.output_hidden_states),
            "output_attentions": output_attentions,
        }
        given = {name: value for name, value in options.items() if value is not None}  # not every encoder knows all
        encoded = self.encoder(input_ids=input_ids, attention_mask=attention_mask, return_dict=True, **given)
        states = self.adapter(self.adapter_projection(encoded.last_hidden_state), attention_mask)
        pooled = pool_frames(states, attention_mask, "mean")
        return BaseModelOutputWithPooling(
            last_hidden_state=states,
            pooler_output=F.normalize(self.projection(pooled), dim=-1),
            hidden_states=encoded.hidden_states,
            attentions=encoded.attentions,
        )

    def get_input_embeddings(self) -> nn.Module:
        return self.encoder.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.encoder.set_input_embeddings(value)


def _check_text(input_ids: torch.Tensor, max_tokens: int | None) -> None:
    if input_ids.ndim != 2 or input_ids.shape[1] == 0:
        raise ValueError(f"`input_ids` must be [texts, tokens] with at least one token, got shape {tuple(input_ids.shape)}.")
    if max_tokens is not None and input_ids.shape[1] > max_tokens:
        raise ValueError(
            f"a text has {input_ids.shape[1]} tokens; the text encoder has positions for {max_tokens}. "
            "MuQMuLanProcessor cuts longer texts, as does `truncation=True` for a tokenizer."
        )
