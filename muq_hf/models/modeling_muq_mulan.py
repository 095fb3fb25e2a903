"""MuQ-MuLan: music and text in one space (arXiv 2501.01108, section 3.4)."""

from dataclasses import dataclass

import torch
from torch import nn
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.processing_utils import Unpack
from transformers.utils import ModelOutput, TransformersKwargs
from transformers.utils.generic import can_return_tuple

from .configuration_muq_mulan import MuQMuLanConfig
from .losses_muq_mulan import contrastive_loss, gather_rows
from .towers_muq_mulan import MuQMuLanAudioModel, MuQMuLanPreTrainedModel, MuQMuLanTextModel


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
    """audio_embeds: [B, P] joint vectors; last_hidden_state: [clips, T, D], clip by clip; hidden_states and attentions of MuQ."""

    audio_embeds: torch.FloatTensor | None = None
    last_hidden_state: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None


@dataclass
class MuQMuLanTextOutput(ModelOutput):
    """text_embeds: [B, P] joint vectors; last_hidden_state: [B, N, D] after the adapter.

    hidden_states and attentions: those of the text encoder, before the adapter.
    """

    text_embeds: torch.FloatTensor | None = None
    last_hidden_state: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None


class MuQMuLanModel(MuQMuLanPreTrainedModel):
    """Both towers: which music fits which text."""

    main_input_name = "input_ids"

    def __init__(self, config: MuQMuLanConfig):
        super().__init__(config)
        self.audio_model = MuQMuLanAudioModel(config)
        self.text_model = MuQMuLanTextModel(config)
        self.logit_scale = nn.Parameter(torch.tensor(config.logit_scale_init_value))
        self.post_init()

    @can_return_tuple
    def get_audio_features(
        self,
        input_values: torch.Tensor,
        padding_mask: torch.Tensor | None = None,
        clip_rule: str | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> BaseModelOutputWithPooling:
        """Music [B, S] at `config.sampling_rate`, of any length → `.pooler_output` [B, P], see [`MuQMuLanAudioModel`]."""
        return self.audio_model(input_values, padding_mask, clip_rule, return_dict=True, **kwargs)

    @can_return_tuple
    def get_text_features(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> BaseModelOutputWithPooling:
        """Texts [B, N] → `.pooler_output` [B, P], see [`MuQMuLanTextModel`]."""
        return self.text_model(input_ids, attention_mask, token_type_ids, return_dict=True, **kwargs)

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
        **kwargs: Unpack[TransformersKwargs],
    ) -> MuQMuLanOutput:
        """input_ids: [N, tokens] with `attention_mask`; input_values: [B, S] with `padding_mask`.

        `return_loss`: contrastive loss of as many texts as music, row by row, over all processes; `audio_ids` and `text_ids`
        [B] say which rows are the same track or caption, see [`contrastive_loss`]. A single pair has nothing to be told from:
        its loss is 0. Hidden states and attentions are in `audio_model_output` and `text_model_output`.
        """
        audio_output = self.audio_model(input_values, padding_mask, return_dict=True, **kwargs)
        text_output = self.text_model(input_ids, attention_mask, token_type_ids, return_dict=True, **kwargs)
        audio_embeds, text_embeds = audio_output.pooler_output, text_output.pooler_output
        logits_per_audio = self.logit_scale.exp().to(audio_embeds.dtype) * audio_embeds @ text_embeds.T
        return MuQMuLanOutput(
            loss=self._loss(audio_embeds, text_embeds, audio_ids, text_ids) if return_loss else None,
            logits_per_audio=logits_per_audio,
            logits_per_text=logits_per_audio.T,
            text_embeds=text_embeds,
            audio_embeds=audio_embeds,
            text_model_output=text_output,
            audio_model_output=audio_output,
        )

    def _loss(self, audio_embeds, text_embeds, audio_ids, text_ids):
        audio, text = gather_rows(audio_embeds), gather_rows(text_embeds)
        if len(audio) == len(text) == 1:
            return 0.0 * self.logit_scale * (audio * text).sum()
        ids = {"audio_ids": audio_ids, "text_ids": text_ids}
        ids = {name: None if rows is None else gather_rows(rows) for name, rows in ids.items()}
        return contrastive_loss(audio, text, self.logit_scale, self.config.contrastive_loss, **ids)


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
        **kwargs: Unpack[TransformersKwargs],
    ) -> MuQMuLanAudioOutput:
        """Music [B, S] → `.audio_embeds` [B, P], see [`MuQMuLanAudioModel`]."""
        output = self.audio_model(input_values, padding_mask, clip_rule, return_dict=True, **kwargs)
        return MuQMuLanAudioOutput(
            audio_embeds=output.pooler_output,
            last_hidden_state=output.last_hidden_state,
            hidden_states=output.hidden_states,
            attentions=output.attentions,
        )


class MuQMuLanTextModelWithProjection(MuQMuLanPreTrainedModel):
    """The text tower alone, from the same checkpoint."""

    main_input_name = "input_ids"
    input_modalities = ("text",)
    _keys_to_ignore_on_load_unexpected = [r"^audio_model\.", r"^logit_scale$"]

    def __init__(self, config: MuQMuLanConfig):
        super().__init__(config)
        self.text_model = MuQMuLanTextModel(config)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> MuQMuLanTextOutput:
        """Texts [B, N] → `.text_embeds` [B, P], see [`MuQMuLanTextModel`]."""
        output = self.text_model(input_ids, attention_mask, token_type_ids, return_dict=True, **kwargs)
        return MuQMuLanTextOutput(
            text_embeds=output.pooler_output,
            last_hidden_state=output.last_hidden_state,
            hidden_states=output.hidden_states,
            attentions=output.attentions,
        )
