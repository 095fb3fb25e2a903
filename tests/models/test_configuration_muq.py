"""Numbers with their units, derived and checked."""

import pytest

from muq_hf import MelRVQConfig, MuQConfig


def test_defaults_are_the_published_rates():
    config = MuQConfig()
    assert (config.frame_rate, config.samples_per_frame, config.min_samples) == (25.0, 960, 1025)
    assert config.token_input_size == 512
    assert config.mask_frames == 10


def test_rotary_base_in_the_spelling_of_transformers():
    assert MuQConfig(rope_parameters={"rope_type": "default", "rope_theta": 500.0}).rotary_base == 500.0
    with pytest.raises(ValueError, match="rope_parameters.*'default'"):
        MuQConfig(rope_parameters={"rope_type": "yarn", "rope_theta": 500.0})


@pytest.mark.parametrize("preset", ["tiny", "base", "large"])
def test_presets_take_overrides(preset):
    assert MuQConfig.from_preset(preset, num_hidden_layers=2).num_hidden_layers == 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"hidden_size": 100, "num_attention_heads": 16}, "multiple of twice"),
        ({"hidden_size": "1024"}, "`hidden_size` must be a positive integer, got '1024'"),
        ({"num_hidden_layers": 0}, "positive integer"),
        ({"conv_depthwise_kernel_size": 30}, "odd"),
        ({"mask_prob": 1.5}, "between 0 and 1"),
        ({"mask_seconds": 0.05}, "multiple of 0.04 s"),
        ({"num_mel_bins": 126}, "multiple of 4"),
        ({"mel_std": 0.0}, "`mel_std` positive"),
        ({"mel_mean": float("nan")}, "finite"),
        ({"quantizer_type": "product"}, "residual"),
        ({"quantizer_type": "random_projection", "num_codebooks": 8}, "one codebook"),
        ({"n_fft": 100}, "at least `hop_length`"),
    ],
)
def test_impossible_values_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        MuQConfig(**wrong)


def test_every_multiple_of_a_frame_can_be_masked():
    for frames in range(1, 251):
        MuQConfig(mask_seconds=frames * 0.04)
        MuQConfig(mask_seconds=float(f"{frames * 0.04:.2f}"))


def test_unknown_preset_names_the_valid_ones():
    with pytest.raises(ValueError, match="tiny, base, large"):
        MuQConfig.from_preset("huge")


def test_tokenizer_reads_four_mel_frames_by_default():
    assert MelRVQConfig().input_size == 512
    assert MelRVQConfig(input_size=1024).input_size == 1024


@pytest.mark.parametrize("config", [MuQConfig.from_preset("tiny", mask_prob=0.3), MelRVQConfig(num_codebooks=3)])
def test_survives_saving(config, tmp_path):
    config.save_pretrained(tmp_path)
    assert type(config).from_pretrained(tmp_path).to_dict() == config.to_dict()


def test_published_configuration_is_understood(published_folder):
    config = MuQConfig.from_pretrained(published_folder)
    assert (config.conv_channels, config.hidden_size, config.num_hidden_layers) == (8, 32, 3)
    assert (config.num_codebooks, config.codebook_size) == (8, 64)
    assert (config.mel_mean, config.mel_std) == (5.25, 16.5)
