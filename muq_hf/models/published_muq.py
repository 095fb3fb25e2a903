"""The published checkpoint formats of MuQ and MusicFM: how to recognise them and what their tensors are called here.

Data and pure functions only. A conversion uses every tensor once, or finds it in `UNUSED_KEYS`; anything else is an error.
"""

import re

import torch


# Tensors of the published files that no computation uses, and why.
UNUSED_KEYS = {
    r"cls_token": "never read by the published forward",
    r"conformer\.pos_conv_embed\..*": "a convolutional position embedding that rotary positions replaced",
    r"conformer\.embed_positions\.inv_freq": "computed from the rotary base",
    r"preprocessor_melspec_2048\..*": "the mel filter bank, computed from the configuration",
}

# Published name → name here; the first pattern that matches the whole key is used.
RENAMINGS = [
    (r"conv\.conv\.(\d)\.conv(\d)\.(.*)", r"muq.front_end.blocks.\1.conv\2.\3"),
    (r"conv\.conv\.(\d)\.bn(\d)\.(.*)", r"muq.front_end.blocks.\1.norm\2.\3"),
    (r"conv\.linear\.(.*)", r"muq.front_end.projection.\1"),
    (r"conformer\.layer_norm\.(.*)", r"muq.encoder.layer_norm.\1"),
    (
        r"conformer\.layers\.(\d+)\.(ffn[12]_layer_norm|final_layer_norm)\.(.*)",
        r"muq.encoder.layers.\1.\2.\3",
    ),
    (r"conformer\.layers\.(\d+)\.(ffn[12])\.intermediate_dense\.(.*)", r"muq.encoder.layers.\1.\2.up_proj.\3"),
    (r"conformer\.layers\.(\d+)\.(ffn[12])\.output_dense\.(.*)", r"muq.encoder.layers.\1.\2.down_proj.\3"),
    (r"conformer\.layers\.(\d+)\.self_attn_layer_norm\.(.*)", r"muq.encoder.layers.\1.attention_layer_norm.\2"),
    (r"conformer\.layers\.(\d+)\.self_attn\.linear_(q|k|v|out)\.(.*)", r"muq.encoder.layers.\1.attention.\2_proj.\3"),
    (r"conformer\.layers\.(\d+)\.conv_module\.pointwise_conv1\.(.*)", r"muq.encoder.layers.\1.convolution.gate_proj.\2"),
    (r"conformer\.layers\.(\d+)\.conv_module\.pointwise_conv2\.(.*)", r"muq.encoder.layers.\1.convolution.out_proj.\2"),
    (r"conformer\.layers\.(\d+)\.conv_module\.depthwise_conv\.(.*)", r"muq.encoder.layers.\1.convolution.depthwise.\2"),
    (
        r"conformer\.layers\.(\d+)\.conv_module\.(layer_norm|batch_norm)\.(.*)",
        r"muq.encoder.layers.\1.convolution.\2.\3",
    ),
    (r"linear\.(.*)", r"head.\1"),
    (r"rvq\.quantizers\.(\d+)\.(in_proj|out_proj|codebook)\.(.*)", r"quantizer.steps.\1.\2.\3"),
    (r"rvq\.quantizers\.(\d+)\.stale_counter", r"quantizer.steps.\1.unused_steps"),
    (r"quantizer_melspec_2048(?:_0)?\.random_projection", r"quantizer.projection"),
    (r"quantizer_melspec_2048(?:_0)?\.codebook", r"quantizer.codebook"),
]

# Our names of what the published files, and the first converted folders, hold as one-dimensional convolutions.
LINEAR_MAPS = r"(\.convolution\.(gate|out)_proj|^quantizer\.steps\.\d+\.(in|out)_proj(\.\d+)?)\.weight$"
DEPTHWISE = r"\.convolution\.depthwise\.weight$"

WEIGHT_NORM_PARTS = (("weight_g", "weight_v"), ("parametrizations.weight.original0", "parametrizations.weight.original1"))


def is_published_config(config: dict) -> bool:
    """Whether `config.json` is that of the published MuQ (flat training fields, no `model_type`)."""
    return "model_type" not in config and {"encoder_dim", "conv_dim", "w2v2_config"} <= config.keys()


def config_from_published(published: dict) -> dict:
    """Fields of the published `config.json` → fields of `MuQConfig`. Raises ValueError for variants never published."""
    conformer, stat = published["w2v2_config"], published.get("stat") or {}
    require_published_values(
        {
            "position_embeddings_type": (conformer.get("position_embeddings_type", "rotary"), "rotary"),
            "features": (published.get("features", ["melspec_2048"]), ["melspec_2048"]),
            "label_rate": (published.get("label_rate", 25), 25),
            "use_vq_target": (published.get("use_vq_target", False), False),
            "use_encodec_target": (published.get("use_encodec_target", False), False),
            "layerdrop": (conformer.get("layerdrop", 0.0), 0.0),
        }
    )
    if "melspec_2048_mean" not in stat or "melspec_2048_std" not in stat:
        raise ValueError("this published configuration lacks stat.melspec_2048_mean and stat.melspec_2048_std.")
    residual = published.get("use_rvq_target", False)
    num_codebooks = published.get("rvq_n_codebooks", 8) if residual else 1
    return {
        "model_type": "muq",
        "architectures": ["MuQForPreTraining"],
        "hop_length": published.get("hop_length", 240),
        "num_mel_bins": published.get("n_mels", 128),
        "mel_mean": stat["melspec_2048_mean"],
        "mel_std": stat["melspec_2048_std"],
        "conv_channels": published["conv_dim"],
        "hidden_size": published["encoder_dim"],
        "num_hidden_layers": published["encoder_depth"],
        "num_attention_heads": conformer["num_attention_heads"],
        "intermediate_size": conformer["intermediate_size"],
        "conv_depthwise_kernel_size": conformer.get("conv_depthwise_kernel_size", 31),
        "hidden_act": conformer.get("hidden_act", "swish"),
        "rotary_base": float(conformer.get("rotary_embedding_base", 10_000)),
        "layer_norm_eps": conformer.get("layer_norm_eps", 1e-5),
        "hidden_dropout": conformer.get("hidden_dropout", 0.1),
        "activation_dropout": conformer.get("activation_dropout", 0.1),
        "attention_dropout": conformer.get("attention_dropout", 0.1),
        "conv_dropout": conformer.get("conformer_conv_dropout", 0.1),
        "num_codebooks": num_codebooks,
        "codebook_size": published["codebook_size"] // num_codebooks,  # published: the size of the whole head
        "codebook_dim": 16 if residual else published.get("codebook_dim", 16),
        "projection_depth": published.get("rvq_multi_layer_num", 1) if residual else 1,
        "quantizer_type": "residual" if residual else "random_projection",
        "mask_seconds": published.get("mask_hop", 0.4),
        "mask_prob": published.get("mask_prob", 0.6),
    }


def require_published_values(fields: dict[str, tuple]) -> None:
    """name → (value, the only one that was ever published). Raises ValueError for another."""
    for name, (value, expected) in fields.items():
        if value != expected:
            raise ValueError(f"this published configuration has {name}={value!r}; only {expected!r} can be converted.")


def convert_state_dict(published: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The published tensors under the names of `MuQForPreTraining`, weight norms multiplied out.

    Raises ValueError for a tensor that is neither known nor on the list of unused ones.
    """
    tensors = {key.removeprefix("model."): tensor for key, tensor in published.items()}
    converted = {}
    for key, tensor in fuse_weight_norms(tensors).items():
        if any(re.fullmatch(pattern, key) for pattern in UNUSED_KEYS):
            continue
        name = renamed(key, RENAMINGS, "MuQ or MusicFM")
        converted[name] = tensor.long() if name.endswith(".unused_steps") else reshaped(name, tensor)
    return converted


def reshaped(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """The tensor `name` in the shape that it has here: convolutions of kernel size 1 are linear maps, and the depthwise
    convolution is two-dimensional. Other tensors stay as they are."""
    if tensor.ndim == 3 and re.search(LINEAR_MAPS, name):
        return tensor.squeeze(2)  # [out, in, 1] → [out, in]
    if tensor.ndim == 3 and re.search(DEPTHWISE, name):
        return tensor.unsqueeze(3)  # [D, 1, kernel] → [D, 1, kernel, 1]
    return tensor


def renamed(key: str, renamings: list[tuple[str, str]], checkpoint: str) -> str:
    """The name here of a published tensor. Raises ValueError, naming the kind of checkpoint, for an unknown one."""
    for pattern, replacement in renamings:
        if re.fullmatch(pattern, key):
            return re.sub(pattern, replacement, key)
    raise ValueError(f"tensor {key!r} belongs to no part of a published {checkpoint} checkpoint.")


def fuse_weight_norms(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Replace each pair of magnitude g and direction v by the weight g · v / ‖v‖ (arXiv 1602.07868)."""
    fused = dict(tensors)
    for key in tensors:
        for magnitude_name, direction_name in WEIGHT_NORM_PARTS:
            if not key.endswith("." + magnitude_name):
                continue
            stem = key.removesuffix(magnitude_name)
            if stem + direction_name not in tensors:
                raise ValueError(f"tensor {key!r} has no partner {stem + direction_name!r}: the file is incomplete.")
            magnitude, direction = fused.pop(key), fused.pop(stem + direction_name)
            dims = [d for d in range(direction.ndim) if magnitude.shape[d] == 1]
            norm = torch.linalg.vector_norm(direction.float(), dim=dims, keepdim=True)
            fused[stem + "weight"] = (direction.float() * (magnitude.float() / norm)).to(direction.dtype)
    return fused


def config_from_musicfm(tensors: dict[str, torch.Tensor], stats: dict) -> dict:
    """Fields of `MuQConfig` read off the shapes of a MusicFM checkpoint and its statistics file."""
    for name in ("melspec_2048_mean", "melspec_2048_std"):
        if name not in stats:
            raise ValueError(f"the MusicFM statistics lack {name!r}; they have: {', '.join(sorted(stats)) or 'nothing'}.")
    tensors = musicfm_tensors(tensors)
    shape = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    layers = {int(m[1]) for key in shape if (m := re.match(r"conformer\.layers\.(\d+)\.", key))}
    try:
        hidden_size = shape["conv.linear.weight"][0]
        codebook = shape.get("quantizer_melspec_2048_0.codebook") or shape["quantizer_melspec_2048.codebook"]
        head_dim = 2 * shape.get("conformer.embed_positions.inv_freq", (32,))[0]
        return {
            "mel_mean": float(stats["melspec_2048_mean"]),
            "mel_std": float(stats["melspec_2048_std"]),
            "conv_channels": shape["conv.conv.0.conv1.weight"][0],
            "hidden_size": hidden_size,
            "num_hidden_layers": len(layers),
            "num_attention_heads": hidden_size // head_dim,
            "intermediate_size": shape["conformer.layers.0.ffn1.intermediate_dense.weight"][0],
            "conv_depthwise_kernel_size": shape["conformer.layers.0.conv_module.depthwise_conv.weight"][-1],
            "num_codebooks": 1,
            "codebook_size": codebook[0],
            "codebook_dim": codebook[1],
            "quantizer_type": "random_projection",
        }
    except KeyError as missing:
        raise ValueError(f"not a MusicFM checkpoint: tensor {missing} is missing.") from None


def musicfm_tensors(checkpoint: dict) -> dict[str, torch.Tensor]:
    """The tensors of a MusicFM file, whether bare or wrapped in "state_dict", with or without the "model." prefix."""
    tensors = checkpoint.get("state_dict", checkpoint)
    return {key.removeprefix("model."): tensor for key, tensor in tensors.items()}
