"""Configurations of MuQ and of its Mel residual vector quantizer (arXiv 2501.01108, sections 3.1 and 3.2)."""

import math
import re

from transformers import PreTrainedConfig

from .published_muq import config_from_published, is_published_config
from .windowing_muq import FRONT_END_STRIDE


PRESETS = {
    # 1.4 M parameters: tests and first experiments on a laptop.
    "tiny": {
        "conv_channels": 32,
        "hidden_size": 128,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "intermediate_size": 384,
    },
    # 67 M parameters: one consumer GPU.
    "base": {
        "conv_channels": 256,
        "hidden_size": 512,
        "num_hidden_layers": 10,
        "num_attention_heads": 8,
        "intermediate_size": 2048,
    },
    # 316 M parameters: the published model.
    "large": {},
}


CLASSIFIER_POOLS = ("mean", "mean+std", "attention")
DTYPE = re.compile(r"(torch\.)?b?float\d+\w*")
MAX_SAMPLING_RATE = 768_000  # Hz
MAX_N_FFT = 1 << 16  # samples
MAX_LABELS = 1 << 20  # transformers writes out a name for each


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def is_number(value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def require_positive_int(**values) -> None:
    for name, value in values.items():
        valid = isinstance(value, int) and not isinstance(value, bool) and value > 0
        _require(valid, f"`{name}` must be a positive integer, got {value!r}.")


def require_float_dtype(fields: dict) -> None:
    dtype = fields.get("dtype", fields.get("torch_dtype"))
    _require(dtype is None or DTYPE.fullmatch(str(dtype)) is not None, f"`dtype` must be that of floats, got {dtype!r}.")


def _require_probability(**values) -> None:
    for name, value in values.items():
        _require(is_number(value) and 0.0 <= value <= 1.0, f"`{name}` must lie between 0 and 1, got {value!r}.")


class SpectrogramConfig(PreTrainedConfig):
    """The signal path that both models share: waveform → normalised log-mel spectrogram.

    Args:
        sampling_rate: samples per second (Hz).
        n_fft: STFT window and transform size (samples).
        hop_length: samples from one mel frame to the next.
        num_mel_bins: HTK mel bands between 0 Hz and half the sampling rate.
        mel_mean, mel_std: mean and standard deviation of the log-mel (dB) over the training music; one scalar for all bands.
        initializer_range: standard deviation of new weights; None (default): uniform, by the number of a layer's inputs, as in
            the published training.
    """

    def __init__(
        self,
        sampling_rate: int = 24_000,
        n_fft: int = 2048,
        hop_length: int = 240,
        num_mel_bins: int = 128,
        mel_mean: float = 6.768444971712967,
        mel_std: float = 18.417922652295623,
        initializer_range: float | None = None,
        **kwargs,
    ):
        if not __name__.startswith("transformers_modules"):  # an installed package answers for itself, not the Hub's copy
            kwargs.pop("auto_map", None)
            kwargs.pop("custom_pipelines", None)
        require_positive_int(sampling_rate=sampling_rate, n_fft=n_fft, hop_length=hop_length, num_mel_bins=num_mel_bins)
        _require(n_fft >= hop_length, f"`n_fft` ({n_fft}) must be at least `hop_length` ({hop_length}).")
        for name, value, most in (
            ("sampling_rate", sampling_rate, MAX_SAMPLING_RATE),
            ("n_fft", n_fft, MAX_N_FFT),
            ("num_mel_bins", num_mel_bins, n_fft // 2 + 1),
        ):
            _require(value <= most, f"`{name}` must be at most {most}, got {value}.")
        num_labels = kwargs.get("num_labels")
        _require(
            num_labels is None or (isinstance(num_labels, int) and 0 <= num_labels <= MAX_LABELS),
            f"`num_labels` must be a whole number up to {MAX_LABELS}, got {num_labels!r}.",
        )
        _require(
            is_number(mel_mean) and is_number(mel_std) and mel_std > 0,
            f"`mel_mean` must be finite and `mel_std` positive (dB), got {mel_mean!r} and {mel_std!r}.",
        )
        self.sampling_rate = sampling_rate
        self.n_fft = n_fft
        self.hop_length = hop_length
        self.num_mel_bins = num_mel_bins
        self.mel_mean = mel_mean
        self.mel_std = mel_std
        self.initializer_range = initializer_range
        require_float_dtype(kwargs)
        try:
            super().__init__(**kwargs)
        except (TypeError, AttributeError, LookupError) as error:  # transformers does not check its own fields
            raise ValueError(f"a field of the configuration must be another: {type(error).__name__}: {error}") from None

    @property
    def samples_per_frame(self) -> int:
        """Samples from one encoder frame, or token, to the next."""
        return FRONT_END_STRIDE * self.hop_length

    @property
    def frame_rate(self) -> float:
        """Encoder frames, and tokens, per second (Hz)."""
        return self.sampling_rate / self.samples_per_frame

    @property
    def min_samples(self) -> int:
        """Shortest waveform: the reflection at its ends needs half an STFT window and one sample."""
        return self.n_fft // 2 + 1

    @property
    def token_input_size(self) -> int:
        """Values that one Mel-RVQ token describes: the mel frames of one encoder frame side by side."""
        return FRONT_END_STRIDE * self.num_mel_bins

    @property
    def spectrogram_settings(self) -> dict:
        """The fields that decide the spectrogram: two models can share tokens only if these agree."""
        names = ("sampling_rate", "n_fft", "hop_length", "num_mel_bins", "mel_mean", "mel_std")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def get_config_dict(cls, pretrained_model_name_or_path, **kwargs):
        config_dict, kwargs = super().get_config_dict(pretrained_model_name_or_path, **kwargs)
        if is_published_config(config_dict):
            config_dict = {**config_from_published(config_dict), "_commit_hash": config_dict.get("_commit_hash")}
        return config_dict, kwargs


class MelRVQConfig(SpectrogramConfig):
    """A residual vector quantizer over four mel frames at a time, or over the latents of a teacher (section 3.2).

    Args:
        input_size: size of the vectors to quantize; default: four mel frames. Set it to quantize a teacher's latents.
        num_codebooks: residual steps (K).
        codebook_size: codes per codebook (V).
        codebook_dim: size of the space in which codes are compared.
        projection_depth: linear layers in each projection; the paper found one best.
        stale_steps: a code that no input chose for this many training steps is replaced.
        commitment_weight, codebook_weight, reconstruction_weight: factors of the three losses.
        quantizer_type: "residual" (trained) or "random_projection" (fixed, one codebook, as in BEST-RQ and MusicFM).
        Further arguments: see [`SpectrogramConfig`].
    """

    model_type = "mel_rvq"

    def __init__(
        self,
        input_size: int | None = None,
        num_codebooks: int = 8,
        codebook_size: int = 1024,
        codebook_dim: int = 16,
        projection_depth: int = 1,
        stale_steps: int = 100,
        commitment_weight: float = 0.25,
        codebook_weight: float = 1.0,
        reconstruction_weight: float = 1.0,
        quantizer_type: str = "residual",
        **kwargs,
    ):
        super().__init__(**kwargs)
        require_positive_int(
            num_codebooks=num_codebooks,
            codebook_size=codebook_size,
            codebook_dim=codebook_dim,
            projection_depth=projection_depth,
            stale_steps=stale_steps,
        )
        _require_quantizer(quantizer_type, num_codebooks)
        self.input_size = self.token_input_size if input_size is None else input_size
        require_positive_int(input_size=self.input_size)
        self.num_codebooks = num_codebooks
        self.codebook_size = codebook_size
        self.codebook_dim = codebook_dim
        self.projection_depth = projection_depth
        self.stale_steps = stale_steps
        self.commitment_weight = commitment_weight
        self.codebook_weight = codebook_weight
        self.reconstruction_weight = reconstruction_weight
        self.quantizer_type = quantizer_type


def _require_quantizer(quantizer_type: str, num_codebooks: int, valid=("residual", "random_projection")) -> None:
    _require(quantizer_type in valid, f"`quantizer_type` must be one of {valid}, got {quantizer_type!r}.")
    _require(
        quantizer_type != "random_projection" or num_codebooks == 1,
        f"a random projection has one codebook, got `num_codebooks`={num_codebooks}.",
    )


def _rotary_base(rope_parameters: dict) -> float:
    kind, base = rope_parameters.get("rope_type", "default"), rope_parameters.get("rope_theta")
    _require(
        kind == "default" and isinstance(base, (int, float)) and base > 0,
        f"`rope_parameters` must be of the type 'default' with a positive `rope_theta`, got {rope_parameters!r}.",
    )
    return float(base)


class MuQConfig(SpectrogramConfig):
    """MuQ: a 2-D convolution front end, a Conformer encoder and a token head (section 3.1; defaults: the published model).

    Args:
        conv_channels: channels of the two convolution blocks.
        hidden_size: width of the encoder (D).
        num_hidden_layers: Conformer layers; the model gives `num_hidden_layers + 1` hidden states.
        num_attention_heads: attention heads; `hidden_size` must be a multiple, with an even quotient (rotary pairs).
        intermediate_size: inner width of the feed-forward modules.
        conv_depthwise_kernel_size: frames seen by the convolution module, odd.
        hidden_act: activation of feed-forward and convolution modules.
        rotary_base: base of the rotary frequencies.
        rope_parameters: transformers' spelling of the same, `{"rope_type": "default", "rope_theta": base}`; read, not kept.
        layer_norm_eps: epsilon of the layer norms.
        hidden_dropout, activation_dropout, attention_dropout, conv_dropout: dropout probabilities.
        num_codebooks, codebook_size, codebook_dim, projection_depth, quantizer_type: the target tokens, see [`MelRVQConfig`];
            the type "none" is for a model whose targets always come from elsewhere.
        mask_seconds: length of one masked block of the waveform (s), a whole number of frames (section 3.3).
        mask_prob: probability that a block is masked.
        mask_noise_std: standard deviation of the noise that replaces a masked block.
        use_weighted_layer_sum: classify from a learned mean of all hidden states instead of the last.
        classifier_proj_size: width of the projection that classifiers pool over time.
        classifier_pool: of a clip's frames: "mean", "mean+std", or "attention" (weights that are learned).
        classifier_layers: 1, or 2 for a hidden layer (GELU) before the class scores.
        classifier_dropout: before the class scores.
        classifier_clip_seconds: length of the clips that a classifier was trained on (s): longer audio is classified in windows
            of it, 30 s if it is not known.
        Further arguments: see [`SpectrogramConfig`].
    """

    model_type = "muq"

    def __init__(
        self,
        conv_channels: int = 512,
        hidden_size: int = 1024,
        num_hidden_layers: int = 12,
        num_attention_heads: int = 16,
        intermediate_size: int = 4096,
        conv_depthwise_kernel_size: int = 31,
        hidden_act: str = "swish",
        rotary_base: float = 10_000.0,
        layer_norm_eps: float = 1e-5,
        hidden_dropout: float = 0.1,
        activation_dropout: float = 0.1,
        attention_dropout: float = 0.1,
        conv_dropout: float = 0.1,
        num_codebooks: int = 8,
        codebook_size: int = 1024,
        codebook_dim: int = 16,
        projection_depth: int = 1,
        quantizer_type: str = "residual",
        mask_seconds: float = 0.4,
        mask_prob: float = 0.6,
        mask_noise_std: float = 0.1,
        use_weighted_layer_sum: bool = False,
        classifier_proj_size: int = 256,
        classifier_pool: str = "mean",
        classifier_layers: int = 1,
        classifier_dropout: float = 0.0,
        classifier_clip_seconds: float | None = None,
        rope_parameters: dict | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        require_positive_int(
            conv_channels=conv_channels,
            hidden_size=hidden_size,
            num_hidden_layers=num_hidden_layers,
            num_attention_heads=num_attention_heads,
            intermediate_size=intermediate_size,
            conv_depthwise_kernel_size=conv_depthwise_kernel_size,
            num_codebooks=num_codebooks,
            codebook_size=codebook_size,
            codebook_dim=codebook_dim,
            projection_depth=projection_depth,
            classifier_proj_size=classifier_proj_size,
        )
        _require(
            self.num_mel_bins % FRONT_END_STRIDE == 0,
            f"`num_mel_bins` must be a multiple of {FRONT_END_STRIDE}, got {self.num_mel_bins}.",
        )
        _require(
            hidden_size % (2 * num_attention_heads) == 0,
            f"`hidden_size` ({hidden_size}) must be a multiple of twice `num_attention_heads` ({num_attention_heads}).",
        )
        from transformers.activations import ACT2FN  # here: it imports torch, which a configuration does not need

        _require(
            isinstance(hidden_act, str) and hidden_act in ACT2FN,
            f"`hidden_act` must be one of {', '.join(ACT2FN)}, got {hidden_act!r}.",
        )
        _require(
            conv_depthwise_kernel_size % 2 == 1,
            f"`conv_depthwise_kernel_size` must be odd, got {conv_depthwise_kernel_size}.",
        )
        _require_probability(
            hidden_dropout=hidden_dropout,
            activation_dropout=activation_dropout,
            attention_dropout=attention_dropout,
            conv_dropout=conv_dropout,
            mask_prob=mask_prob,
            classifier_dropout=classifier_dropout,
        )
        _require(
            classifier_pool in CLASSIFIER_POOLS and classifier_layers in (1, 2),
            f"`classifier_pool` must be one of {', '.join(CLASSIFIER_POOLS)} and `classifier_layers` 1 or 2, got "
            f"{classifier_pool!r} and {classifier_layers!r}.",
        )
        _require_quantizer(quantizer_type, num_codebooks, valid=("residual", "random_projection", "none"))
        _require(is_number(mask_seconds), f"`mask_seconds` must be a number, got {mask_seconds!r}.")
        mask_frames = mask_seconds * self.frame_rate
        _require(
            round(mask_frames) >= 1 and math.isclose(mask_frames, round(mask_frames), abs_tol=1e-6),
            f"`mask_seconds` must be a positive multiple of {self.samples_per_frame / self.sampling_rate} s (one frame), "
            f"got {mask_seconds}.",
        )
        self.conv_channels = conv_channels
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.intermediate_size = intermediate_size
        self.conv_depthwise_kernel_size = conv_depthwise_kernel_size
        self.hidden_act = hidden_act
        self.rotary_base = rotary_base if rope_parameters is None else _rotary_base(rope_parameters)
        self.layer_norm_eps = layer_norm_eps
        self.hidden_dropout = hidden_dropout
        self.activation_dropout = activation_dropout
        self.attention_dropout = attention_dropout
        self.conv_dropout = conv_dropout
        self.num_codebooks = num_codebooks
        self.codebook_size = codebook_size
        self.codebook_dim = codebook_dim
        self.projection_depth = projection_depth
        self.quantizer_type = quantizer_type
        self.mask_seconds = mask_seconds
        self.mask_prob = mask_prob
        self.mask_noise_std = mask_noise_std
        self.use_weighted_layer_sum = use_weighted_layer_sum
        self.classifier_proj_size = classifier_proj_size
        self.classifier_pool = classifier_pool
        self.classifier_layers = classifier_layers
        self.classifier_dropout = classifier_dropout
        self.classifier_clip_seconds = classifier_clip_seconds

    @property
    def mask_frames(self) -> int:
        """Frames, or tokens, in one masked block."""
        return round(self.mask_seconds * self.frame_rate)

    @classmethod
    def from_preset(cls, name: str, **overrides) -> "MuQConfig":
        """The configuration called "tiny", "base" or "large", with fields replaced by `overrides`."""
        _require(name in PRESETS, f"unknown preset {name!r}; valid: {', '.join(PRESETS)}.")
        return cls(**{**PRESETS[name], **overrides})


def is_muq_config(config: dict) -> bool:
    """Whether a `config.json` is that of a MuQ, ours or the published one."""
    return config.get("model_type") == MuQConfig.model_type or is_published_config(config)
