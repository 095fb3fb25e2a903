"""Raw audio in, padded batch out; what cannot be right is refused with a remedy."""

import numpy as np
import pytest
import torch

from muq_hf import MuQConfig, MuQFeatureExtractor


RATE = 24_000
extractor = MuQFeatureExtractor()


def test_ragged_batch_is_padded_on_the_right():
    batch = extractor([np.ones(2000), np.ones(3000)], sampling_rate=RATE, return_tensors="pt")
    assert batch["input_values"].shape == (2, 3000)
    assert batch["input_values"].dtype == torch.float32
    assert batch["attention_mask"].sum(1).tolist() == [2000, 3000]
    assert (batch["input_values"] == batch["attention_mask"]).all()


def test_int16_is_read_as_pcm():
    wave = np.array([-32768, 0, 16384] * 700, dtype=np.int16)
    values = extractor(wave, sampling_rate=RATE)["input_values"][0]
    np.testing.assert_array_equal(values[:3], np.array([-1.0, 0.0, 0.5], dtype=np.float32))


@pytest.mark.parametrize("kind", ["float64", "float16", "list", "tensor", "bfloat16 tensor", "tuple of lists"])
def test_the_same_numbers_in_any_container_are_the_same_audio(kind):
    numbers = np.linspace(-0.5, 0.5, 2049).astype(np.float16).astype(np.float64)
    audio = {
        "float64": numbers,
        "float16": numbers.astype(np.float16),
        "list": numbers.tolist(),
        "tensor": torch.from_numpy(numbers),
        "bfloat16 tensor": torch.from_numpy(numbers).bfloat16(),
        "tuple of lists": (numbers.tolist(),),
    }[kind]
    values = extractor(audio, sampling_rate=RATE)["input_values"][0]
    expected = numbers if kind != "bfloat16 tensor" else audio.float().numpy()
    np.testing.assert_array_equal(values, expected.astype(np.float32))


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (np.zeros((2, 4000)), "stereo or a batch"),
        ([np.zeros((2, 4000))], "Downmix stereo"),
        (np.zeros(0), "the list of waveforms is empty|item 0 is empty"),
        ([], "the list of waveforms is empty"),
        (np.zeros(1024), "at least 1025 samples"),
        ([np.zeros(2000), np.full(2000, np.nan)], "item 1 holds NaN"),
        (np.full(2000, np.inf), "NaN or infinite"),
        (np.full(2000, 1e300), "NaN or infinite"),
        (np.zeros(2000, dtype=np.int64), "int16 or int32"),
        (np.zeros(2000, dtype=np.uint8), "dtype uint8"),
        (np.zeros(2000, dtype=complex), "dtype complex128"),
        (np.zeros(2000, dtype=bool), "dtype bool"),
        ("song.mp3", "load_audio"),
        ({"array": np.zeros(2000)}, "got dict"),
        (None, "got NoneType"),
        ([np.zeros(2000), None], "item 1"),
        ([[0.0, "x"] * 1000], "item 0"),
        ([[[0.0], [0.0, 1.0]]], "item 0"),
    ],
)
def test_wrong_audio_is_refused_with_a_reason(audio, message):
    with pytest.raises(ValueError, match=message):
        extractor(audio, sampling_rate=RATE)


@pytest.mark.parametrize("rate", [None, 16_000, 44_100])
def test_missing_or_wrong_rate_is_refused(rate):
    with pytest.raises(ValueError, match="24000 Hz.*Resample"):
        extractor(np.zeros(2000), sampling_rate=rate)


def test_shortest_audio_is_accepted():
    assert extractor(np.zeros(1025), sampling_rate=RATE, return_tensors="np")["input_values"].shape == (1, 1025)


def test_truncation_and_padding_to_a_length():
    batch = extractor(
        [np.zeros(5000), np.zeros(2000)], sampling_rate=RATE, padding="max_length", max_length=3000, truncation=True
    )
    assert [len(values) for values in batch["input_values"]] == [3000, 3000]
    assert batch["attention_mask"][1].sum() == 2000


def test_survives_saving(tmp_path):
    MuQFeatureExtractor(min_samples=2049).save_pretrained(tmp_path)
    assert MuQFeatureExtractor.from_pretrained(tmp_path).min_samples == 2049


def test_published_folder_needs_no_preprocessor_file(published_folder):
    loaded = MuQFeatureExtractor.from_pretrained(published_folder)
    config = MuQConfig.from_pretrained(published_folder)
    assert (loaded.sampling_rate, loaded.min_samples) == (config.sampling_rate, config.min_samples) == (24_000, 1025)
    assert (loaded.feature_size, loaded.padding_value, loaded.return_attention_mask) == (1, 0.0, True)


def test_one_for_a_configuration_takes_what_the_model_takes():
    extractor = MuQFeatureExtractor.for_config(MuQConfig(sampling_rate=48_000, n_fft=4096, hop_length=480))
    assert (extractor.sampling_rate, extractor.min_samples) == (48_000, 2049)


def test_a_folder_without_any_settings_is_an_error(tmp_path):
    with pytest.raises(OSError):
        MuQFeatureExtractor.from_pretrained(tmp_path)


@pytest.mark.slow
def test_five_hundred_malformed_inputs_are_refused_or_make_a_finite_batch():
    """Random shapes, dtypes, rates, lengths and poisoned values: a ValueError or a batch that is float32 and finite."""
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(500):
        shape = tuple(rng.integers(0, 3000, size=rng.integers(0, 3)) // rng.choice([1, 1, 1000], size=1))
        dtype = rng.choice(
            ["float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint16", "complex64", "bool", "O"]
        )
        with np.errstate(all="ignore"):
            array = np.asarray(rng.standard_normal(shape) * 10.0 ** rng.integers(-3, 30)).astype(dtype)
        if array.size and array.dtype.kind == "f" and rng.random() < 0.3:
            array.flat[rng.integers(array.size)] = rng.choice([np.nan, np.inf, -np.inf])
        audio = [array, [array], array.tolist(), [array, np.zeros(2000)], (array, None)][rng.integers(5)]
        rate = rng.choice([RATE, RATE, RATE, 44_100, 0, -1])
        try:
            batch = extractor(audio, sampling_rate=rate, return_tensors="pt")
        except ValueError as error:
            refused += 1
            assert str(error)
            continue
        assert batch["input_values"].dtype == torch.float32
        assert batch["input_values"].isfinite().all()
        assert (batch["attention_mask"].sum(1) >= 1025).all()
    assert 100 < refused < 500
