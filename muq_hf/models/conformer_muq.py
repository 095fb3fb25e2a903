"""The Conformer encoder of MuQ (arXiv 2005.08100, with the rotary positions of wav2vec2-conformer), aware of padding."""

import torch
import torch.nn.functional as F
from torch import nn
from transformers.activations import ACT2FN
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from .cpu_muq import are_plain, emulates, in_float32, is_plain_cpu, is_plain_cpu_inference
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


def eager_attention_forward(module, query, key, value, attention_mask, scaling, dropout=0.0, **kwargs):
    """Softmax attention that also returns its weights. query, key, value: [B, H, T, head_dim] → [B, T, H, head_dim]."""
    scores = torch.matmul(query, key.transpose(-2, -1)) * scaling
    if attention_mask is not None:
        if attention_mask.dtype == torch.bool:
            scores = scores.masked_fill(~attention_mask, torch.finfo(scores.dtype).min)
        else:
            scores = scores + attention_mask
    weights = torch.softmax(scores, dim=-1)
    weights = F.dropout(weights, p=dropout, training=module.training)
    return torch.matmul(weights, value).transpose(1, 2).contiguous(), weights


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

    def forward(self, states, attention_mask, rotary, output_attentions=False):
        B, T, D = states.shape
        heads = (B, T, self.num_heads, self.head_dim)
        rotated = rotate(states.view(heads), *rotary).reshape(B, T, D)
        query = self.q_proj(rotated).view(heads).transpose(1, 2)
        key = self.k_proj(rotated).view(heads).transpose(1, 2)
        value = self.v_proj(states).view(heads).transpose(1, 2)

        attention_interface = eager_attention_forward
        if not output_attentions:
            attention_interface = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        attended, weights = attention_interface(
            self,
            query,
            key,
            value,
            attention_mask,
            scaling=self.scaling,
            dropout=self.config.attention_dropout if self.training else 0.0,
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
    """Pointwise, gated, depthwise over time, normalised, pointwise. Padding stays zero under the depthwise kernel."""

    def __init__(self, config):
        super().__init__()
        D, kernel = config.hidden_size, config.conv_depthwise_kernel_size
        self.layer_norm = nn.LayerNorm(D)
        self.gate_proj = nn.Conv1d(D, 2 * D, kernel_size=1, bias=False)
        self.depthwise = nn.Conv1d(D, D, kernel, padding=kernel // 2, groups=D, bias=False)
        self.batch_norm = nn.BatchNorm1d(D)
        self.activation = ACT2FN[config.hidden_act]
        self.out_proj = nn.Conv1d(D, D, kernel_size=1, bias=False)
        self.dropout = nn.Dropout(config.conv_dropout)

    def forward(self, states, lengths=None):
        if is_plain_cpu(self, states) and self._is_plain():
            return self._forward_by_frames(states, lengths)
        channels = self.layer_norm(states).transpose(1, 2)  # [B, D, T]
        gated = zero_padding(F.glu(self.gate_proj(channels), dim=1), lengths)
        mixed = self.activation(self.batch_norm(self.depthwise(gated)))
        return self.dropout(self.out_proj(mixed)).transpose(1, 2)

    def _is_plain(self):
        return are_plain(nn.Conv1d, self.gate_proj, self.depthwise, self.out_proj) and are_plain(nn.BatchNorm1d, self.batch_norm)

    def _forward_by_frames(self, states, lengths):
        """The same without transposing: pointwise convolutions as matrix products, the depthwise with channels last."""
        gated = F.glu(F.linear(self.layer_norm(states), self.gate_proj.weight.squeeze(2)), dim=-1)  # [B, T, D]
        channels = zero_padding(gated.transpose(1, 2), lengths)
        if is_plain_cpu_inference(self, states):
            mixed = self._depthwise(channels, *self._folded_batch_norm(states.dtype))
        else:
            mixed = self.batch_norm(self._depthwise(channels, self.depthwise.weight))
        frames = self.activation(mixed.transpose(1, 2))
        return self.dropout(F.linear(frames, self.out_proj.weight.squeeze(2)))

    def _depthwise(self, channels, weight, bias=None):
        """[B, D, T] → [B, D, T] as a two-dimensional convolution: only that keeps channels last, many times faster here."""
        padding, groups = (*self.depthwise.padding, 0), self.depthwise.groups
        return F.conv2d(channels.unsqueeze(3), weight.unsqueeze(3), bias, padding=padding, groups=groups).squeeze(3)

    def _folded_batch_norm(self, dtype):
        """Weight and bias of the depthwise convolution that equals it and the batch norm behind it in evaluation."""
        norm = self.batch_norm
        scale = norm.weight.float() * torch.rsqrt(norm.running_var.float() + norm.eps)
        weight = (self.depthwise.weight.float() * scale.view(-1, 1, 1)).to(dtype)
        return weight, (norm.bias.float() - norm.running_mean.float() * scale).to(dtype)


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

    def forward(self, states, attention_mask=None, lengths=None, rotary=None, output_attentions=False):
        states = states + 0.5 * self.ffn1(self.ffn1_layer_norm(states))
        attended, weights = self.attention(self.attention_layer_norm(states), attention_mask, rotary, output_attentions)
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

    def forward(self, states, lengths=None, wanted_states=(), last_layer=None, output_attentions=False):
        """Run the layers up to `last_layer` and keep the wanted hidden states.

        states: [B, T, D]; lengths: [B] frames or None where nothing is padded; wanted_states: indices from 0 (the input) to
        the number of layers (the output after the final layer norm) → (last state or None, hidden states, attentions).
        """
        num_layers = len(self.layers)
        last_layer = num_layers if last_layer is None else last_layer
        dtype = self.layer_norm.weight.dtype
        widen = is_plain_cpu_inference(self, states) and emulates(dtype)  # layer by layer, to hold one wide layer at a time
        states = states.float() if widen else states
        attention_mask = self._attention_mask(states, lengths, output_attentions)
        head_dim = self.config.hidden_size // self.config.num_attention_heads
        rotary = rotary_table(states.shape[1], head_dim, self.config.rotary_base, states.device, states.dtype)

        states = self.dropout(states)
        kept, attentions = {0: states.to(dtype) if widen else states}, []
        for index, layer in enumerate(self.layers[:last_layer], start=1):
            layer = in_float32(layer) if widen else layer
            states, weights = layer(states, attention_mask, lengths, rotary, output_attentions)
            if output_attentions:
                attentions.append(weights)
            if index == num_layers:
                states = (in_float32(self.layer_norm) if widen else self.layer_norm)(states)
            if index in wanted_states:
                kept[index] = states.to(dtype) if widen else states
        hidden_states = tuple(kept[i] if i in wanted_states else None for i in range(num_layers + 1))
        last_state = states.to(dtype) if widen else states
        return (last_state if last_layer == num_layers else None), hidden_states, tuple(attentions)

    def _attention_mask(self, states, lengths, output_attentions):
        if lengths is None:
            return None
        frame_mask = torch.arange(states.shape[1], device=states.device) < lengths.unsqueeze(1)  # [B, T]
        if output_attentions:  # computed by the eager function, whatever the others use
            return frame_mask[:, None, None, :]
        return create_bidirectional_mask(config=self.config, inputs_embeds=states, attention_mask=frame_mask.to(torch.long))
