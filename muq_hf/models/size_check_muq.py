"""A config.json compared with the weights beside it, before anything is built: it may be a stranger's."""

import json
import math
from pathlib import Path

from safetensors import SafetensorError, safe_open
from transformers import PreTrainedConfig
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME, cached_file

from .windowing_muq import FRONT_END_STRIDE


PACKED_VALUES = 8  # of 4 bits in one of 32, in quantized weights
MAX_FRESH_VALUES = 1 << 28  # of parts that may start anew: classifiers, token heads, codebooks


def require_size_of_weights(
    config: PreTrainedConfig, source: str | Path, hub_arguments: dict, modalities: tuple[str, ...] = ("audio", "text")
) -> None:
    """Raises ValueError for a configuration of a far larger model than the weights in `source` are; no weights: no check.

    modalities: the towers of a MuQ-MuLan that are built; a tower alone may have been saved alone.
    """
    held = _values_in(source, hub_arguments)
    if held is None:
        return
    least = _least_values(config, modalities)
    factor = PACKED_VALUES if getattr(config, "quantization_config", None) else 1
    if least > factor * held or _fresh_values(config) > max(factor * held, MAX_FRESH_VALUES):
        raise ValueError(
            f"{source}: config.json describes a model of at least {max(least, _fresh_values(config)):,} values, and the weights "
            f"hold {held:,}: it is not the configuration of these weights."
        )


def _values_in(source: str | Path, hub_arguments: dict) -> int | None:
    """Values in the weights, by the headers of their files; bytes where they lie in several files."""
    options = {**hub_arguments, "_raise_exceptions_for_missing_entries": False}
    try:
        if path := cached_file(source, SAFE_WEIGHTS_NAME, **options):
            with safe_open(path, framework="pt") as file:
                return sum(math.prod(file.get_slice(key).get_shape()) for key in file.keys())  # noqa: SIM118 (not a dict)
        if path := cached_file(source, SAFE_WEIGHTS_INDEX_NAME, **options):
            return int(json.loads(Path(path).read_text())["metadata"]["total_size"])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):  # loading says what is wrong with them
        return None
    return None


def _least_values(config: PreTrainedConfig, modalities: tuple[str, ...]) -> int:
    """Values of the largest matrices of a model, which all have to be in its weights."""
    if config.model_type == "muq":
        D, layers = config.hidden_size, config.num_hidden_layers
        attention, convolution, feed_forward = 4 * D * D, 3 * D * D + D * config.conv_depthwise_kernel_size, 4 * D
        front_end = 9 * config.conv_channels**2 + D * config.conv_channels * (config.num_mel_bins // FRONT_END_STRIDE)
        return layers * (attention + convolution + feed_forward * config.intermediate_size) + front_end
    if config.model_type == "muq_mulan":
        text, adapter = config.text_config, config.adapter_size
        layers, D, inner = (_size(text, name) for name in ("num_hidden_layers", "hidden_size", "intermediate_size"))
        rows = sum(_size(text, name) for name in ("vocab_size", "max_position_embeddings", "type_vocab_size"))
        heads = config.text_adapter_heads * config.text_adapter_head_dim
        adapter_layer = adapter * (heads + config.text_adapter_intermediate_size)
        text_tower = layers * (D * D + D * inner) + rows * D + config.text_adapter_layers * adapter_layer
        towers = {"audio": _least_values(config.audio_config, modalities), "text": text_tower}
        return sum(towers[modality] for modality in modalities) + adapter * config.projection_dim
    return _fresh_values(config)


def _fresh_values(config: PreTrainedConfig) -> int:
    codebooks = getattr(config, "num_codebooks", 0) * getattr(config, "codebook_size", 0)
    head = getattr(config, "hidden_size", 0)
    classifier = getattr(config, "classifier_proj_size", 0) * (head + config.num_labels)
    return codebooks * (getattr(config, "codebook_dim", 0) + head) + classifier


def _size(config: PreTrainedConfig, name: str) -> int:
    """A size of another's encoder, 0 where it has none of that name."""
    value = getattr(config, name, 0)
    return value if isinstance(value, int) else 0
