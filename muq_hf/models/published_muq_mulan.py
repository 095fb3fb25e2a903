"""The published checkpoint format of MuQ-MuLan: how to recognise it and what its tensors are called here.

The published folder holds the weights of both towers, and names the repositories whose configurations and tokenizer it needs.
"""

import re

import torch
from transformers import AutoConfig, PreTrainedConfig
from transformers.utils import cached_file

from .loading_muq import hub_arguments_of
from .published_muq import config_from_published, convert_state_dict, is_published_config, renamed, require_published_values


# Configurations of the two towers that the published model names; with them its own folder is enough to load it.
XLM_ROBERTA_BASE = {
    "model_type": "xlm-roberta",
    "vocab_size": 250_002,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
    "bos_token_id": 0,
    "pad_token_id": 1,
    "eos_token_id": 2,
}
KNOWN_TOWERS = {
    "OpenMuQ/MuQ-large-msd-iter": {"model_type": "muq"},
    "xlm-roberta-base": XLM_ROBERTA_BASE,
    "FacebookAI/xlm-roberta-base": XLM_ROBERTA_BASE,
}

# Tensors of the published file that no computation uses, and why.
UNUSED_MULAN_KEYS = {
    r"audio\.aggregator\..*": "a mixture of layers that the published forward never calls",
    r"audio\.model\.(model\.)?(linear|rvq)\..*": "token head and targets of the encoder's own pretraining",
    r"text\.model\.pooler\..*": "the text vector is a mean over tokens",
    r"text\.model\.embeddings\.position_ids": "a count from zero",
}

# Published name → name here; the first pattern that matches the whole key is used.
MULAN_RENAMINGS = [
    (r"audio\.proj\.(.*)", r"audio_model.adapter_projection.\1"),
    (r"audio_to_latents\.(.*)", r"audio_model.projection.\1"),
    (r"text\.model\.(.*)", r"text_model.encoder.\1"),
    (r"text\.proj\.(.*)", r"text_model.adapter_projection.\1"),
    (r"text\.transformer\.layers\.(\d+)\.0\.norm\.learned_gamma", r"text_model.adapter.layers.\1.attention_norm.weight"),
    (r"text\.transformer\.layers\.(\d+)\.0\.to_(q|kv)\.weight", r"text_model.adapter.layers.\1.attention.\2_proj.weight"),
    (r"text\.transformer\.layers\.(\d+)\.0\.([qk]_scale)", r"text_model.adapter.layers.\1.attention.\2"),
    (r"text\.transformer\.layers\.(\d+)\.0\.to_out\.0\.weight", r"text_model.adapter.layers.\1.attention.out_proj.weight"),
    (r"text\.transformer\.layers\.(\d+)\.1\.0\.learned_gamma", r"text_model.adapter.layers.\1.feed_forward_norm.weight"),
    (r"text\.transformer\.layers\.(\d+)\.1\.1\.weight", r"text_model.adapter.layers.\1.feed_forward.up_proj.weight"),
    (r"text\.transformer\.layers\.(\d+)\.1\.4\.weight", r"text_model.adapter.layers.\1.feed_forward.down_proj.weight"),
    (r"text_to_latents\.(.*)", r"text_model.projection.\1"),
]


def is_published_mulan_config(config: dict) -> bool:
    """Whether `config.json` is that of the published MuQ-MuLan (nested training fields, no `model_type`)."""
    return "model_type" not in config and {"mulan", "audio_model", "text_model", "text_transformer"} <= config.keys()


def tower_config(part: str, published: dict, source, given=None, hub_arguments: dict | None = None) -> dict:
    """Configuration of the tower `part`, "audio_model" or "text_model", of the published model in `source`.

    The first of these that exists: `given` (folder or Hub id); PART/config.json in `source`; an entry of `KNOWN_TOWERS`; the
    repository that the published configuration names. Raises OSError that says which file is missing.
    """
    place, arguments = tower_source(part, published, source, given, "config.json", hub_arguments)
    if place in KNOWN_TOWERS and given is None:
        return KNOWN_TOWERS[place]
    try:
        found, _ = PreTrainedConfig.get_config_dict(place, **arguments)
    except OSError:
        raise OSError(
            f"the published MuQ-MuLan in {source} needs the configuration of its {part}, {place!r}: it is no folder, not in the "
            f"local cache, and cannot be downloaded. Put it at {source}/{part}/config.json."
        ) from None
    if is_published_config(found):
        return config_from_published(found)
    return found if found.get("model_type") == "muq" else AutoConfig.for_model(**found).to_dict()


def tower_source(part: str, published: dict, source, given, file: str, hub_arguments: dict | None = None) -> tuple[str, dict]:
    """Where the `file` of a tower is looked for: (folder or Hub id, arguments to look there with)."""
    here = hub_arguments_of(hub_arguments or {})
    elsewhere = {name: value for name, value in here.items() if name not in ("revision", "subfolder")}  # those of `source`
    if given is not None:
        return str(given), elsewhere
    here["subfolder"] = "/".join(filter(None, (here.get("subfolder"), part)))
    options = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
    if cached_file(source, file, **here, **options) is not None:
        return str(source), here
    return published[part]["name"], elsewhere


def config_from_published_mulan(published: dict, audio_config: dict, text_config: dict) -> dict:
    """Fields of the published `config.json` → fields of `MuQMuLanConfig`. Raises ValueError for variants never published."""
    mulan, audio, text = published["mulan"], published["audio_transformer"], published["text_transformer"]
    require_published_values(
        {
            "audio_transformer.tf_depth": (audio.get("tf_depth", 8), 0),
            "audio_transformer.dim": (audio.get("dim", 768), text.get("dim", 768)),
            "audio_model.use_layer_idx": (published["audio_model"].get("use_layer_idx", -1), -1),
            "mulan.sr": (mulan.get("sr", 24_000), 24_000),
            "mulan.sigmoid_contrastive_loss": (mulan.get("sigmoid_contrastive_loss", False), False),
            "mulan.hierarchical_contrastive_loss": (mulan.get("hierarchical_contrastive_loss", False), False),
        }
    )
    adapter_size = text.get("dim", 768)
    return {
        "model_type": "muq_mulan",
        "architectures": ["MuQMuLanModel"],
        "audio_config": audio_config,
        "text_config": text_config,
        "projection_dim": mulan.get("dim_latent", 512),
        "adapter_size": adapter_size,
        "text_adapter_layers": text.get("tf_depth", 8),
        "text_adapter_heads": text.get("heads", 8),
        "text_adapter_head_dim": text.get("dim_head", 64),
        "text_adapter_intermediate_size": int(adapter_size * text.get("ff_mult", 4) * 2 / 3),
        "text_adapter_dropout": text.get("ff_dropout", 0.0),
        "contrastive_loss": "decoupled" if mulan.get("decoupled_contrastive_learning", True) else "softmax",
        "clip_seconds": float(mulan.get("clip_secs", 10)),
    }


def convert_mulan_state_dict(published: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The published tensors under the names of `MuQMuLanModel`.

    Raises ValueError for a tensor that is neither known nor on the list of unused ones.
    """
    tensors = {key.removeprefix("mulan."): tensor for key, tensor in published.items()}
    audio_prefix = "audio.model."
    converted, encoder = {}, {}
    for key, tensor in tensors.items():
        if any(re.fullmatch(pattern, key) for pattern in UNUSED_MULAN_KEYS):
            continue
        if key.startswith(audio_prefix):
            encoder[key.removeprefix(audio_prefix)] = tensor
        elif key == "contrast.temperatures":
            converted["logit_scale"] = tensor.reshape(())
        else:
            converted[renamed(key, MULAN_RENAMINGS, "MuQ-MuLan")] = tensor
    for key, tensor in convert_state_dict(encoder).items():
        converted["audio_model.encoder." + key.removeprefix("muq.")] = tensor
    return converted
