"""What each ONNX graph computes, as modules that are traced. Masks are inputs, so that padded batches are exact."""

import torch
import torch.nn.functional as F
from torch import nn

from ..models.classification_muq import MuQForAudioFrameClassification, MuQForSequenceClassification
from ..models.configuration_muq_mulan import MuQMuLanConfig
from ..models.modeling_muq import MuQModel
from ..models.pooling_muq import pool_frames
from ..models.towers_muq_mulan import MuQMuLanAudioModel, MuQMuLanTextModel
from ..models.windowing_muq import FRONT_END_STRIDE


class Mel(nn.Module):
    """input_values [B, S], attention_mask [B, S] → mel [B, M, F] and the mel frames of each item [B]."""

    def __init__(self, model: MuQModel):
        super().__init__()
        self.spectrogram = model.spectrogram

    def forward(self, input_values, attention_mask):
        lengths = attention_mask.long().sum(dim=1)
        return self.spectrogram(input_values, lengths), self.spectrogram.num_frames(lengths)


class Encoder(nn.Module):
    """mel, mel_lengths → last_hidden_state [B, T, D], frame_mask [B, T], and the hidden states of `layers`."""

    def __init__(self, model: MuQModel, layers: tuple[int, ...] = ()):
        super().__init__()
        self.front_end, self.encoder, self.layers = model.front_end, model.encoder, layers

    def forward(self, mel, mel_lengths):
        frames = self.front_end(mel, mel_lengths)
        lengths = self.front_end.num_frames(mel_lengths)
        # With `output_attentions` the encoder computes attention by plain operators, which every runtime has.
        last, states, _ = self.encoder(frames, lengths, set(self.layers), output_attentions=True)
        frame_mask = (torch.arange(frames.shape[1], device=frames.device) < lengths.unsqueeze(1)).long()
        return last, frame_mask, *(states[layer] for layer in self.layers)


class Classifier(nn.Module):
    """mel, mel_lengths → logits of clips [B, K], or of frames [B, T, K] with their frame_mask [B, T]."""

    def __init__(self, model: MuQForSequenceClassification | MuQForAudioFrameClassification):
        super().__init__()
        self.model = model
        self.is_weighted = model.config.use_weighted_layer_sum
        self.encoder = Encoder(model.muq, tuple(range(model.config.num_hidden_layers + 1)) if self.is_weighted else ())

    def forward(self, mel, mel_lengths):
        last, frame_mask, *states = self.encoder(mel, mel_lengths)
        logits = self.model.head(self.model.layer_weights(states) if self.is_weighted else last, frame_mask)
        return logits if logits.ndim == 2 else (logits, frame_mask)


class Clips(nn.Module):
    """input_values [B, S], padding_mask [B, S] → clips [B · K, W], clip_mask [B · K, W], clip_weights [B, B · K].

    The clips are those of `clips_muq_mulan.plan_clips` by duration; items with fewer than K have clips of weight 0.
    """

    def __init__(self, config: MuQMuLanConfig):
        super().__init__()
        self.clip_samples, self.min_samples = config.clip_samples, config.min_samples
        self.samples_per_frame = config.audio_config.samples_per_frame
        self.hop = self.samples_per_frame // FRONT_END_STRIDE

    def forward(self, input_values, padding_mask):
        (B, S), C = input_values.shape, self.clip_samples
        num_samples = padding_mask.long().sum(dim=1, keepdim=True)  # [B, 1]
        num_clips = (S - self.hop) // C + 1  # less than a hop behind the last clip is left out
        places = torch.arange(num_clips, device=input_values.device) * C  # [K]
        exists = (places == 0) | (num_samples >= places + self.hop)  # [B, K]
        stops = torch.minimum(places + C, num_samples)
        missing = (self.min_samples - (stops - places)).clamp(min=0)  # a rest that is too short begins earlier
        missing_frames = (missing + self.samples_per_frame - 1) // self.samples_per_frame
        starts = torch.where(exists, places - missing_frames * self.samples_per_frame, 0)
        lengths = torch.where(exists, stops - starts, self.min_samples)

        shares = torch.where(exists, stops - places, 0) / num_samples  # [B, K]
        own = torch.eye(B, device=input_values.device).unsqueeze(2)  # [B, B, 1]
        clip_weights = (own * shares).flatten(1)

        longest = max(C, self.min_samples + self.samples_per_frame)
        within = torch.arange(longest, device=input_values.device)[:S]
        samples = (starts.unsqueeze(2) + within).clamp(max=S - 1).flatten(1)  # [B, K · W]
        clips = input_values.gather(1, samples).view(-1, within.shape[0])
        clip_mask = (within < lengths.view(-1, 1)).long()
        return clips, clip_mask, clip_weights


class AudioTower(nn.Module):
    """mel [N, M, F], mel_lengths [N], clip_weights [B, N] → audio_embeds [B, P] of length 1."""

    def __init__(self, model: MuQMuLanAudioModel):
        super().__init__()
        self.encoder = Encoder(model.encoder)
        self.adapter_projection, self.projection = model.adapter_projection, model.projection

    def forward(self, mel, mel_lengths, clip_weights):
        last, frame_mask = self.encoder(mel, mel_lengths)
        pooled = pool_frames(self.adapter_projection(last), frame_mask, "mean")
        vectors = F.normalize(self.projection(pooled), dim=-1)  # [N, P]
        return F.normalize(torch.matmul(clip_weights, vectors), dim=-1)


class TextTower(nn.Module):
    """input_ids [B, N], attention_mask [B, N] → text_embeds [B, P] of length 1."""

    def __init__(self, model: MuQMuLanTextModel):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask):
        return self.model(input_ids, attention_mask).pooler_output
