"""MuQ-MuLan: music and text in one space (arXiv 2501.01108, section 3.4)."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils import ModelOutput
from transformers.utils.generic import can_return_tuple

from .batches_muq import valid_lengths
from .clips_muq_mulan import ClipBatch, cut_clips, join_clips, plan_clips
from .configuration_muq_mulan import CLIP_RULES, MuQMuLanConfig
from .losses_muq_mulan import contrastive_loss, gather_rows
from .modeling_muq import MuQModel, MuQPreTrainedModel
from .pooling_muq import pool_frames
from .published_muq_mulan import convert_mulan_state_dict, is_published_mulan_config
from .text_adapter_muq_mulan import AdapterAttention, TextAdapter


CLIPS_AT_ONCE = 16  # most clips that go through the tower together in evaluation; bounds the memory of hour-long audio


@dataclass
class MuQMuLanOutput(ModelOutput):
    """Output of [`MuQMuLanModel`].

    loss: scalar; logits_per_audio: [B, N] scaled cosines of music and text; logits_per_text: its transpose; audio_embeds [B, P]
    and text_embeds [N, P]: the joint vectors; text_model_output, audio_model_output: what the two towers gave.
    """

    loss: torch.FloatTensor | None = None
    logits_per_audio: torch.FloatTensor | None = None
    logits_per_text: torch.FloatTensor | None = None
    text_embeds: torch.FloatTensor | None = None
    audio_embeds: torch.FloatTensor | None = None
    text_model_output: BaseModelOutputWithPooling | None = None
    audio_model_output: BaseModelOutputWithPooling | None = None

    def to_tuple(self) -> tuple:
        return tuple(value.to_tuple() if isinstance(value, ModelOutput) else value for value in self.values())


@dataclass
class MuQMuLanAudioOutput(ModelOutput):
    """audio_embeds: [B, P] joint vectors; last_hidden_state: [clips, T, D], clip by clip."""

    audio_embeds: torch.FloatTensor | None = None
    last_hidden_state: torch.FloatTensor | None = None


@dataclass
class MuQMuLanTextOutput(ModelOutput):
    """text_embeds: [B, P] joint vectors; last_hidden_state: [B, N, D] after the adapter."""

    text_embeds: torch.FloatTensor | None = None
    last_hidden_state: torch.FloatTensor | None = None


class MuQMuLanPreTrainedModel(MuQPreTrainedModel):
    config_class = MuQMuLanConfig
    base_model_prefix = "muq_mulan"
    input_modalities = ("audio", "text")
    _no_split_modules = ["AdapterLayer"]
    _keep_in_fp32_modules_strict = None  # each tower names its own
    _model_types = (MuQMuLanConfig.model_type,)

    @torch.no_grad()
    def _init_weights(self, module):
        if isinstance(module, nn.Linear):
            init.kaiming_uniform_(module.weight, a=math.sqrt(5))
            if module.bias is not None:
                bound = 1 / math.sqrt(module.in_features)
                init.uniform_(module.bias, -bound, bound)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
        elif isinstance(module, AdapterAttention):
            init.ones_(module.q_scale)
            init.ones_(module.k_scale)
        elif isinstance(module, MuQMuLanModel):
            init.constant_(module.logit_scale, self.config.logit_scale_init_value)

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
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPooling:
        """input_values: [B, S]; padding_mask: [B, S], 1 on audio; clip_rule: in place of the configuration's.

        → pooler_output [B, P], last_hidden_state [clips, T, D]. Raises ValueError as `MuQModel` does, and for unknown rules.
        """
        config = self.config
        rule = config.clip_rule if clip_rule is None else clip_rule
        if rule not in CLIP_RULES:
            raise ValueError(f"`clip_rule` must be one of {', '.join(CLIP_RULES)}, got {rule!r}.")
        lengths = valid_lengths(input_values, padding_mask, config.min_samples, "padding_mask")
        B, S = input_values.shape
        if rule == "duration" and S <= config.clip_samples:
            vectors, states = self._embed(input_values, padding_mask if lengths is not None else None)
            return BaseModelOutputWithPooling(last_hidden_state=states, pooler_output=vectors)
        num_samples = [S] * B if lengths is None else lengths.tolist()
        samples_per_frame = config.audio_config.samples_per_frame
        plans = [plan_clips(n, config.clip_samples, rule, samples_per_frame, config.min_samples) for n in num_samples]
        batch = cut_clips(input_values, num_samples, plans)
        vectors, states = self._embed_clips(batch)
        return BaseModelOutputWithPooling(last_hidden_state=states, pooler_output=join_clips(vectors, batch, B, rule))

    def _embed_clips(self, batch: ClipBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """All clips at once in training, whose batch statistics they share; else some at a time."""
        N, C = batch.clips.shape
        mask = (torch.arange(C, device=batch.clips.device) < batch.lengths.unsqueeze(1)).long()
        at_once = N if self.training else CLIPS_AT_ONCE
        parts = [self._embed(batch.clips[i : i + at_once], mask[i : i + at_once]) for i in range(0, N, at_once)]
        vectors, states = zip(*parts, strict=True)
        return torch.cat(vectors), torch.cat(states)

    def _embed(self, clips: torch.Tensor, mask: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """clips: [N, C]; mask: [N, C] or None → vectors of length 1 [N, P], states [N, T, D]."""
        output = self.encoder(clips, attention_mask=mask, return_dict=True)
        states = self.adapter_projection(output.last_hidden_state)
        pooled = pool_frames(states, None if mask is None else output.attention_mask, "mean")
        return F.normalize(self.projection(pooled), dim=-1), states


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
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPooling:
        """input_ids: [B, N]; attention_mask: [B, N], 1 on text; token_type_ids: [B, N] for encoders that know them.

        → pooler_output [B, P], last_hidden_state [B, N, D]. Raises ValueError for texts that are empty or too long.
        """
        _check_text(input_ids, self.config.max_text_tokens)
        segments = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        encoded = self.encoder(input_ids=input_ids, attention_mask=attention_mask, return_dict=True, **segments)
        states = self.adapter(self.adapter_projection(encoded.last_hidden_state), attention_mask)
        pooled = pool_frames(states, attention_mask, "mean")
        vectors = F.normalize(self.projection(pooled), dim=-1)
        return BaseModelOutputWithPooling(last_hidden_state=states, pooler_output=vectors)

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


class MuQMuLanModel(MuQMuLanPreTrainedModel):
    """Both towers: which music fits which text."""

    def __init__(self, config: MuQMuLanConfig):
        super().__init__(config)
        self.audio_model = MuQMuLanAudioModel(config)
        self.text_model = MuQMuLanTextModel(config)
        self.logit_scale = nn.Parameter(torch.tensor(config.logit_scale_init_value))
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.text_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.text_model.set_input_embeddings(value)

    @can_return_tuple
    def get_audio_features(
        self,
        input_values: torch.Tensor,
        padding_mask: torch.Tensor | None = None,
        clip_rule: str | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPooling:
        """Music [B, S] at `config.sampling_rate`, of any length → `.pooler_output` [B, P], see [`MuQMuLanAudioModel`]."""
        return self.audio_model(input_values, padding_mask, clip_rule, return_dict=True)

    @can_return_tuple
    def get_text_features(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPooling:
        """Texts [B, N] → `.pooler_output` [B, P], see [`MuQMuLanTextModel`]."""
        return self.text_model(input_ids, attention_mask, token_type_ids, return_dict=True)

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor,
        input_values: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        padding_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        audio_ids: torch.Tensor | None = None,
        text_ids: torch.Tensor | None = None,
        return_loss: bool = False,
        return_dict: bool | None = None,
    ) -> MuQMuLanOutput:
        """input_ids: [N, tokens] with `attention_mask`; input_values: [B, S] with `padding_mask`.

        `return_loss`: contrastive loss of as many texts as music, row by row, over all processes; `audio_ids` and `text_ids`
        [B] say which rows are the same track or caption, see [`contrastive_loss`].
        """
        audio_output = self.audio_model(input_values, padding_mask, return_dict=True)
        text_output = self.text_model(input_ids, attention_mask, token_type_ids, return_dict=True)
        audio_embeds, text_embeds = audio_output.pooler_output, text_output.pooler_output
        logits_per_audio = self.logit_scale.exp().to(audio_embeds.dtype) * audio_embeds @ text_embeds.T
        loss = None
        if return_loss:
            loss = contrastive_loss(
                gather_rows(audio_embeds),
                gather_rows(text_embeds),
                self.logit_scale,
                self.config.contrastive_loss,
                audio_ids=None if audio_ids is None else gather_rows(audio_ids),
                text_ids=None if text_ids is None else gather_rows(text_ids),
            )
        return MuQMuLanOutput(
            loss=loss,
            logits_per_audio=logits_per_audio,
            logits_per_text=logits_per_audio.T,
            text_embeds=text_embeds,
            audio_embeds=audio_embeds,
            text_model_output=text_output,
            audio_model_output=audio_output,
        )


class MuQMuLanAudioModelWithProjection(MuQMuLanPreTrainedModel):
    """The music tower alone, from the same checkpoint: bulk embedding never loads the text encoder."""

    input_modalities = ("audio",)
    _keys_to_ignore_on_load_unexpected = [r"^text_model\.", r"^logit_scale$"]

    def __init__(self, config: MuQMuLanConfig):
        super().__init__(config)
        self.audio_model = MuQMuLanAudioModel(config)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_values: torch.Tensor,
        padding_mask: torch.Tensor | None = None,
        clip_rule: str | None = None,
        return_dict: bool | None = None,
    ) -> MuQMuLanAudioOutput:
        """Music [B, S] → `.audio_embeds` [B, P], see [`MuQMuLanAudioModel`]."""
        output = self.audio_model(input_values, padding_mask, clip_rule, return_dict=True)
        return MuQMuLanAudioOutput(audio_embeds=output.pooler_output, last_hidden_state=output.last_hidden_state)


class MuQMuLanTextModelWithProjection(MuQMuLanPreTrainedModel):
    """The text tower alone, from the same checkpoint."""

    main_input_name = "input_ids"
    input_modalities = ("text",)
    _keys_to_ignore_on_load_unexpected = [r"^audio_model\.", r"^logit_scale$"]

    def __init__(self, config: MuQMuLanConfig):
        super().__init__(config)
        self.text_model = MuQMuLanTextModel(config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.text_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.text_model.set_input_embeddings(value)

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        return_dict: bool | None = None,
    ) -> MuQMuLanTextOutput:
        """Texts [B, N] → `.text_embeds` [B, P], see [`MuQMuLanTextModel`]."""
        output = self.text_model(input_ids, attention_mask, token_type_ids, return_dict=True)
        return MuQMuLanTextOutput(text_embeds=output.pooler_output, last_hidden_state=output.last_hidden_state)
