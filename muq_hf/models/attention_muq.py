"""How attention is computed: transformers' functions by name, and the plain one written out."""

import torch
import torch.nn.functional as F
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.utils import TransformersKwargs


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


def attention_function(config):
    """The attention function that `config` names, of transformers' or of the user's; looked up by name, as in all versions 5."""
    name = config._attn_implementation
    return eager_attention_forward if name in (None, "eager") else ALL_ATTENTION_FUNCTIONS[name]


def require_known_arguments(kwargs: dict) -> None:
    """Check the `**kwargs` of a `forward`, which go to the attention function: transformers' names, and no misspelled ones.

    Raises TypeError. A mask under a wrong name, for instance, would otherwise be passed over and padding count as music.
    """
    known = TransformersKwargs.__optional_keys__
    for name in kwargs:
        if name not in known:
            raise TypeError(f"`forward` has no argument {name!r}; beside its own it takes {', '.join(sorted(known))}.")
