"""Configuration of MuQ-MuLan: a music tower and a text tower that meet in one space (arXiv 2501.01108, section 3.4)."""

import math

from transformers import AutoConfig, PreTrainedConfig

from .configuration_muq import MuQConfig, is_number, require_float_dtype, require_positive_int
from .published_muq_mulan import XLM_ROBERTA_BASE, config_from_published_mulan, is_published_mulan_config, tower_config


CLIP_RULES = ("duration", "published")
CONTRASTIVE_LOSSES = ("decoupled", "softmax")

# Sizes of a text encoder under their common names, and the least that each may be.
TEXT_SIZES = {
    "hidden_size": 1,
    "intermediate_size": 1,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "vocab_size": 1,
    "max_position_embeddings": 1,
    "type_vocab_size": 0,
}

# Text models whose positions start after the padding token's id, so that fewer tokens fit than there are positions.
OFFSET_POSITION_TYPES = ("camembert", "data2vec-text", "longformer", "mpnet", "roberta", "xlm-roberta", "xlm-roberta-xl")


class MuQMuLanConfig(PreTrainedConfig):
    """Two towers and what lies between them and the joint space (defaults: the published model).

    Args:
        audio_config: configuration of the MuQ encoder, or its fields; default: the published MuQ.
        text_config: configuration of any text encoder that `AutoModel.from_config` builds, or its fields with `model_type`;
            default: XLM-R base.
        projection_dim: size of the joint space.
        adapter_size: width between the encoders and the joint space.
        text_adapter_layers: pre-norm layers on top of the text encoder.
        text_adapter_heads, text_adapter_head_dim: their attention heads and the size of each.
        text_adapter_intermediate_size: inner width of their gated feed-forward modules.
        text_adapter_dropout: dropout probability of their attention weights and feed-forward modules.
        logit_scale_init_value: logarithm of the factor of the cosines before training.
        contrastive_loss: "decoupled" (the pair itself is left out of the denominator) or "softmax".
        clip_seconds: audio that the tower hears at once (s); a whole number of frames.
        clip_rule: how longer audio becomes one vector. "duration": mean of the clips' vectors, weighted by their length;
            "published": the rule of the published package, where a last short clip is completed with the beginning of the
            audio, counts like a whole one, and the mean is not normalised again.
        initializer_range: standard deviation of new weights between the towers and the joint space, as in [`MuQConfig`].
    """

    model_type = "muq_mulan"
    sub_configs = {"audio_config": MuQConfig, "text_config": AutoConfig}

    def __init__(
        self,
        audio_config: dict | PreTrainedConfig | None = None,
        text_config: dict | PreTrainedConfig | None = None,
        projection_dim: int = 512,
        adapter_size: int = 768,
        text_adapter_layers: int = 8,
        text_adapter_heads: int = 8,
        text_adapter_head_dim: int = 64,
        text_adapter_intermediate_size: int = 2048,
        text_adapter_dropout: float = 0.0,
        logit_scale_init_value: float = math.log(10),
        contrastive_loss: str = "decoupled",
        clip_seconds: float = 10.0,
        clip_rule: str = "duration",
        initializer_range: float | None = None,
        **kwargs,
    ):
        if not __name__.startswith("transformers_modules"):  # an installed package answers for itself, not the Hub's copy
            kwargs.pop("auto_map", None)
            kwargs.pop("custom_pipelines", None)
        self.audio_config = _audio_config(audio_config)
        self.text_config = _text_config(text_config)
        require_positive_int(
            projection_dim=projection_dim,
            adapter_size=adapter_size,
            text_adapter_heads=text_adapter_heads,
            text_adapter_head_dim=text_adapter_head_dim,
            text_adapter_intermediate_size=text_adapter_intermediate_size,
        )
        if isinstance(text_adapter_layers, bool) or not isinstance(text_adapter_layers, int) or text_adapter_layers < 0:
            raise ValueError(f"`text_adapter_layers` must be 0 or a positive integer, got {text_adapter_layers!r}.")
        if not is_number(text_adapter_dropout) or not 0.0 <= text_adapter_dropout < 1.0:
            raise ValueError(f"`text_adapter_dropout` must lie between 0 and 1, got {text_adapter_dropout!r}.")
        if not is_number(logit_scale_init_value):
            raise ValueError(f"`logit_scale_init_value` must be a finite logarithm, got {logit_scale_init_value!r}.")
        _require_one_of("contrastive_loss", contrastive_loss, CONTRASTIVE_LOSSES)
        _require_one_of("clip_rule", clip_rule, CLIP_RULES)
        if not is_number(clip_seconds):
            raise ValueError(f"`clip_seconds` must be a number, got {clip_seconds!r}.")
        require_float_dtype(kwargs)
        self.projection_dim = projection_dim
        self.adapter_size = adapter_size
        self.text_adapter_layers = text_adapter_layers
        self.text_adapter_heads = text_adapter_heads
        self.text_adapter_head_dim = text_adapter_head_dim
        self.text_adapter_intermediate_size = text_adapter_intermediate_size
        self.text_adapter_dropout = text_adapter_dropout
        self.logit_scale_init_value = float(logit_scale_init_value)
        self.contrastive_loss = contrastive_loss
        self.clip_seconds = clip_seconds
        self.clip_rule = clip_rule
        self.initializer_range = initializer_range
        if self.clip_samples < self.audio_config.min_samples or self.clip_samples % self.audio_config.samples_per_frame:
            frame_seconds = 1 / self.audio_config.frame_rate
            raise ValueError(f"`clip_seconds` must be a positive multiple of {frame_seconds} s (one frame), got {clip_seconds}.")
        super().__init__(**kwargs)

    @property
    def sampling_rate(self) -> int:
        """Samples per second of the music (Hz)."""
        return self.audio_config.sampling_rate

    @property
    def min_samples(self) -> int:
        """Shortest waveform."""
        return self.audio_config.min_samples

    @property
    def clip_samples(self) -> int:
        """Samples that the music tower hears at once."""
        return round(self.clip_seconds * self.audio_config.sampling_rate)

    @property
    def max_text_tokens(self) -> int | None:
        """Most tokens that the text encoder has positions for; None where it knows no such limit."""
        positions = getattr(self.text_config, "max_position_embeddings", None)
        if positions is None or self.text_config.model_type not in OFFSET_POSITION_TYPES:
            return positions
        return positions - self.text_config.pad_token_id - 1

    @classmethod
    def get_config_dict(cls, pretrained_model_name_or_path, **kwargs):
        """As in transformers; the published configuration is converted, with those of its two towers."""
        hub_arguments = dict(kwargs)
        config_dict, kwargs = super().get_config_dict(pretrained_model_name_or_path, **kwargs)
        if is_published_mulan_config(config_dict):
            source = pretrained_model_name_or_path
            towers = [tower_config(part, config_dict, source, None, hub_arguments) for part in ("audio_model", "text_model")]
            commit = {"_commit_hash": config_dict.get("_commit_hash")}
            config_dict = {**config_from_published_mulan(config_dict, *towers), **commit}
        return config_dict, kwargs


def _audio_config(config: dict | PreTrainedConfig | None) -> PreTrainedConfig:
    config = {} if config is None else config
    model_type = config.get("model_type", "muq") if isinstance(config, dict) else config.model_type
    if model_type != "muq":
        raise ValueError(f"`audio_config` must be that of a 'muq' model, got model_type {model_type!r}.")
    return MuQConfig(**_without_type(config)) if isinstance(config, dict) else config


def _text_config(config: dict | PreTrainedConfig | None) -> PreTrainedConfig:
    config = XLM_ROBERTA_BASE if config is None else config
    if not isinstance(config, dict):
        return config
    if "model_type" not in config:
        raise ValueError("`text_config` needs a `model_type`, for instance 'xlm-roberta' or 'bert', to build the encoder.")
    require_float_dtype(config)
    model_type = config["model_type"]
    _require_text_sizes(config, _text_config_of_type(model_type))
    return _text_config_of_type(model_type, **_without_type(config))


def _text_config_of_type(model_type: str, **fields) -> PreTrainedConfig:
    try:
        return AutoConfig.for_model(model_type, **fields)
    except Exception as error:  # each type of model checks its fields in its own way, or not at all
        raise ValueError(f"`text_config` is no valid configuration: {type(error).__name__}: {error}") from None


def _require_text_sizes(config: dict, default: PreTrainedConfig) -> None:
    """Raises ValueError if a size that is an integer in this type's `default` configuration is none here, or is too small."""
    for common_name, least in TEXT_SIZES.items():
        for name in {common_name, default.attribute_map.get(common_name, common_name)} & config.keys():
            value = config[name]
            if isinstance(getattr(default, name, None), int) and (
                isinstance(value, bool) or not isinstance(value, int) or value < least
            ):
                raise ValueError(f"`{name}` of `text_config` must be an integer of at least {least}, got {value!r}.")


def _without_type(config: dict) -> dict:
    return {name: value for name, value in config.items() if name != "model_type"}


def _require_one_of(name: str, value, valid: tuple[str, ...]) -> None:
    if value not in valid:
        raise ValueError(f"`{name}` must be one of {', '.join(valid)}, got {value!r}.")


def is_mulan_config(config: dict) -> bool:
    """Whether a `config.json` is that of a MuQ-MuLan, ours or the published one."""
    return config.get("model_type") == MuQMuLanConfig.model_type or is_published_mulan_config(config)
