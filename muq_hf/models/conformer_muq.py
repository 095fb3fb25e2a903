"""The Conformer encoder of MuQ (arXiv 2005.08100, with the rotary positions of wav2vec2-conformer), aware of padding."""

import torch
import torch.nn.functional as F
from torch import nn
from transformers.activations import ACT2FN
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_layers import GradientCheckpointingLayer

from .attention_muq import attention_function, eager_attention_forward
from .batch_norm_muq import FreezableBatchNorm1d
from .spectrogram_muq import zero_padding


def rotary_table(num_frames: int, head_dim: int, base: float, device, dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines, each [T, head_dim]: angle of frame t and pair i is t · base^(−2i / head_dim) (arXiv 2104.09864)."""
    pairs = torch.arange(0, head_dim, 2, dtype=torch.float32, device=device)
    frequencies = 1.0 / (base ** (pairs / head_dim))
    angles = torch.arange(num_frames, dtype=torch.float32, device=device).unsqueeze(1) * frequencies
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos().to(dtype), angles.sin().to(dtype)


def rotate(states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Turn the first half of every head against its second half. states: [B, T, H, head_dim]; cos, sin: [T, head_dim]."""
    first, second = states.chunk(2, dim=-1)
    return states * cos.unsqueeze(1) + torch.cat([-second, first], dim=-1) * sin.unsqueeze(1)


class Attention(nn.Module):
    """Self-attention whose queries and keys are projected from *rotated* states, and values from plain ones.

    The order (rotate the layer-normed states, then project) is that of the published model, on purpose.
    """

    is_causal = False

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.num_heads = config.num_attention_heads
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.scaling = self.head_dim**-0.5
        self.q_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.k_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.v_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.out_proj = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, states, attention_mask, rotary, output_attentions=False, **kwargs):
        B, T, D = states.shape
        heads = (B, T, self.num_heads, self.head_dim)
        rotated = rotate(states.view(heads), *rotary).reshape(B, T, D)
        query = self.q_proj(rotated).view(heads).transpose(1, 2)
        key = self.k_proj(rotated).view(heads).transpose(1, 2)
        value = self.v_proj(states).view(heads).transpose(1, 2)

        attend = eager_attention_forward if output_attentions else attention_function(self.config)
        attended, weights = attend(
            self,
            query,
            key,
            value,
            attention_mask,
            scaling=self.scaling,
            dropout=self.config.attention_dropout if self.training else 0.0,
            **kwargs,
        )
        return self.out_proj(attended.reshape(B, T, D)), weights


class FeedForward(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size)
        self.activation = ACT2FN[config.hidden_act]
        self.inner_dropout = nn.Dropout(config.activation_dropout)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size)
        self.dropout = nn.Dropout(config.hidden_dropout)

    def forward(self, states):
        return self.dropout(self.down_proj(self.inner_dropout(self.activation(self.up_proj(states)))))


class ConvolutionModule(nn.Module):
    """Pointwise, gated, depthwise over time, normalised, pointwise (arXiv 2005.08100, section 2.2).

    The pointwise convolutions are linear layers. The depthwise one is two-dimensional over [B, D, T, 1], because only 2-D
    convolutions keep the channels last in memory, which on a CPU is many times faster than transposing.
    """

    def __init__(self, config):
        super().__init__()
        D, kernel = config.hidden_size, config.conv_depthwise_kernel_size
        self.layer_norm = nn.LayerNorm(D)
        self.gate_proj = nn.Linear(D, 2 * D, bias=False)
        self.depthwise = nn.Conv2d(D, D, (kernel, 1), padding=(kernel // 2, 0), groups=D, bias=False)
        self.batch_norm = FreezableBatchNorm1d(D)
        self.activation = ACT2FN[config.hidden_act]
        self.out_proj = nn.Linear(D, D, bias=False)
        self.dropout = nn.Dropout(config.conv_dropout)

    def forward(self, states, lengths=None):
        """states: [B, T, D]; lengths: [B] frames, or None where nothing is padded → [B, T, D]."""
        gated = F.glu(self.gate_proj(self.layer_norm(states)), dim=-1)
        channels = zero_padding(gated.transpose(1, 2), lengths)  # [B, D, T], so that the kernel meets zeros behind the end
        mixed = self.batch_norm(self.depthwise(channels.unsqueeze(3)).squeeze(3))
        return self.dropout(self.out_proj(self.activation(mixed.transpose(1, 2))))


class ConformerLayer(GradientCheckpointingLayer):
    """½ feed-forward, attention, convolution, ½ feed-forward, each added to its input; then a layer norm."""

    def __init__(self, config):
        super().__init__()
        self.ffn1_layer_norm = nn.LayerNorm(config.hidden_size)
        self.ffn1 = FeedForward(config)
        self.attention_layer_norm = nn.LayerNorm(config.hidden_size)
        self.attention = Attention(config)
        self.attention_dropout = nn.Dropout(config.attention_dropout)
        self.convolution = ConvolutionModule(config)
        self.ffn2_layer_norm = nn.LayerNorm(config.hidden_size)
        self.ffn2 = FeedForward(config)
        self.final_layer_norm = nn.LayerNorm(config.hidden_size)

    def forward(self, states, attention_mask=None, lengths=None, rotary=None, output_attentions=False, **kwargs):
        states = states + 0.5 * self.ffn1(self.ffn1_layer_norm(states))
        attended, weights = self.attention(self.attention_layer_norm(states), attention_mask, rotary, output_attentions, **kwargs)
        states = states + self.attention_dropout(attended)
        states = states + self.convolution(states, lengths)
        states = states + 0.5 * self.ffn2(self.ffn2_layer_norm(states))
        return self.final_layer_norm(states), weights


class ConformerEncoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.dropout = nn.Dropout(config.hidden_dropout)
        self.layers = nn.ModuleList(ConformerLayer(config) for _ in range(config.num_hidden_layers))
        self.layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, states, lengths=None, wanted_states=(), last_layer=None, output_attentions=False, **kwargs):
        """Run the layers up to `last_layer` and keep the wanted hidden states.

        states: [B, T, D]; lengths: [B] frames, or None where nothing is padded; wanted_states: indices from 0 (the input) to
        the number of layers (the output after the final layer norm); kwargs: for the attention function → (last state or None,
        hidden states, attentions).
        """
        B, T, D = states.shape
        num_layers = len(self.layers)
        last_layer = num_layers if last_layer is None else last_layer
        attention_mask = self._attention_mask(states, lengths, output_attentions)
        head_dim = D // self.config.num_attention_heads
        rotary = rotary_table(T, head_dim, self.config.rotary_base, states.device, states.dtype)
        states = self.dropout(states)
        kept, attentions = {0: states}, []
        for index, layer in enumerate(self.layers[:last_layer], start=1):
            states, weights = layer(states, attention_mask, lengths, rotary, output_attentions, **kwargs)
            if index == num_layers:
                states = self.layer_norm(states)
            if index in wanted_states:
                kept[index] = states
            if output_attentions:
                attentions.append(weights)
        hidden_states = tuple(kept[i] if i in wanted_states else None for i in range(num_layers + 1))
        return (states if last_layer == num_layers else None), hidden_states, tuple(attentions)

    def _attention_mask(self, states, lengths, output_attentions):
        if lengths is None:
            return None
        frame_mask = torch.arange(states.shape[1], device=states.device) < lengths.unsqueeze(1)  # [B, T]
        if output_attentions:  # computed by the eager function, whatever the others use
            return frame_mask[:, None, None, :]
        return create_bidirectional_mask(self.config, states, frame_mask.long())  # by position: the names change in 5.2
