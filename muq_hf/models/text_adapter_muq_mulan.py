"""The pre-norm layers on top of the text encoder: attention with normalised queries and keys, gated feed-forward."""

import torch
import torch.nn.functional as F
from torch import nn
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_layers import GradientCheckpointingLayer

from .attention_muq import attention_function


ATTENTION_SCALE = 8.0  # factor of the cosine of query and key; with normalised vectors it does not depend on their size


class AdapterAttention(nn.Module):
    """Queries and keys have length 1 before learned factors per dimension, against runaway logits (arXiv 2302.05442)."""

    is_causal = False

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.num_heads, self.head_dim = config.text_adapter_heads, config.text_adapter_head_dim
        inner_size = self.num_heads * self.head_dim
        self.q_proj = nn.Linear(config.adapter_size, inner_size, bias=False)
        self.kv_proj = nn.Linear(config.adapter_size, 2 * inner_size, bias=False)
        self.q_scale = nn.Parameter(torch.ones(self.head_dim))
        self.k_scale = nn.Parameter(torch.ones(self.head_dim))
        self.out_proj = nn.Linear(inner_size, config.adapter_size, bias=False)

    def forward(self, states, attention_mask=None):
        """states: [B, N, D]; attention_mask: as the attention function takes it → [B, N, D]."""
        B, N, _ = states.shape
        heads = (B, N, self.num_heads, self.head_dim)
        key, value = self.kv_proj(states).chunk(2, dim=-1)
        query = F.normalize(self.q_proj(states).view(heads), dim=-1) * self.q_scale
        key = F.normalize(key.reshape(heads), dim=-1) * self.k_scale
        attended, _ = attention_function(self.config)(
            self,
            query.transpose(1, 2),
            key.transpose(1, 2),
            value.reshape(heads).transpose(1, 2),
            attention_mask,
            scaling=ATTENTION_SCALE,
            dropout=self.config.text_adapter_dropout if self.training else 0.0,
        )
        return self.out_proj(attended.reshape(B, N, -1))


class GatedFeedForward(nn.Module):
    """GELU of one half gates the other (GEGLU, arXiv 2002.05202)."""

    def __init__(self, config):
        super().__init__()
        self.up_proj = nn.Linear(config.adapter_size, 2 * config.text_adapter_intermediate_size, bias=False)
        self.dropout = nn.Dropout(config.text_adapter_dropout)
        self.down_proj = nn.Linear(config.text_adapter_intermediate_size, config.adapter_size, bias=False)

    def forward(self, states):
        content, gate = self.up_proj(states).chunk(2, dim=-1)
        return self.down_proj(self.dropout(F.gelu(gate) * content))


class AdapterLayer(GradientCheckpointingLayer):
    def __init__(self, config):
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.adapter_size, bias=False)
        self.attention = AdapterAttention(config)
        self.feed_forward_norm = nn.LayerNorm(config.adapter_size, bias=False)
        self.feed_forward = GatedFeedForward(config)

    def forward(self, states, attention_mask=None):
        states = states + self.attention(self.attention_norm(states), attention_mask)
        return states + self.feed_forward(self.feed_forward_norm(states))


class TextAdapter(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(AdapterLayer(config) for _ in range(config.text_adapter_layers))

    def forward(self, states, attention_mask=None):
        """states: [B, N, D]; attention_mask: [B, N], 1 on text, 0 on padding, or None → [B, N, D]."""
        if attention_mask is not None:
            attention_mask = create_bidirectional_mask(self.config, states, attention_mask.long())
        for layer in self.layers:
            states = layer(states, attention_mask)
        return states
