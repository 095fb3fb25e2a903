"""Texts and audio of all kinds → batches, or clear errors."""

import numpy as np
import pytest
import torch
from checks import EXAMPLE_AUDIO
from mulan_models import MAX_TOKENS, music, tiny_processor

from muq_hf.audio import load_audio
from muq_hf.models.processing_muq_mulan import MuQMuLanProcessor
from muq_hf.models.processing_muq_mulan import logger as transformers_logger


@pytest.fixture
def processor():
    return tiny_processor()


def test_text_and_audio_have_masks_of_their_own(processor):
    audio = [music(1).numpy(), music(2).numpy()]
    batch = processor(text=["a", "bcd"], audio=audio, sampling_rate=24_000, return_tensors="pt")
    assert set(batch) == {"input_ids", "attention_mask", "input_values", "padding_mask"}
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    assert batch["padding_mask"].sum(dim=1).tolist() == [24_000, 48_000]


def test_a_single_text_is_a_batch_of_one(processor):
    assert processor(text="abc", return_tensors="pt")["input_ids"].shape == (1, 5)


def test_files_are_read(processor):
    file = EXAMPLE_AUDIO / "bach_brandenburg.ogg"
    for audio in (file, str(file), [file]):
        values = processor(audio=audio, return_tensors="np")["input_values"]
        np.testing.assert_array_equal(values[0], load_audio(file))


def test_long_text_is_cut_at_the_limit_with_one_warning(processor, caplog):
    type(transformers_logger).warning_once.cache_clear()  # another test may have had its warning
    for _ in range(2):
        batch = processor(text=["calm piano " * 5000, "rock"], return_tensors="pt")
    assert batch["input_ids"].shape == (2, MAX_TOKENS)
    assert batch["input_ids"][0, -1] == processor.tokenizer.eos_token_id
    assert len([record for record in caplog.records if "cut" in record.getMessage()]) == 1


def test_a_shorter_limit_can_be_asked_for(processor):
    assert processor(text="abcdefgh", max_length=5, return_tensors="pt")["input_ids"].shape == (1, 5)


@pytest.mark.parametrize("text", ["", "🎹🌧", "موسيقى هادئة", "宁静的钢琴"])
def test_any_script_and_empty_text_give_tokens(processor, text):
    ids = processor(text=text, return_tensors="pt")["input_ids"][0]
    assert len(ids) >= 2 and processor.tokenizer.unk_token_id not in ids
    assert processor.tokenizer.decode(ids, skip_special_tokens=True) == text


@pytest.mark.parametrize(("text", "message"), [([], r"got \[\]"), ([1], "got 1"), (["a", None], "got None")])
def test_what_is_no_text_is_refused(processor, text, message):
    with pytest.raises(ValueError, match=f"string or a list of strings, {message}"):
        processor(text=text)


@pytest.mark.parametrize("text", ["song.aiff", ["rock", "/music/Song.OPUS"]])
def test_the_name_of_an_audio_file_is_no_text(processor, text):
    with pytest.raises(ValueError, match="names an audio file that does not exist: music goes in as `audio`"):
        processor(text=text)


def test_an_audio_file_is_no_text(processor):
    with pytest.raises(ValueError, match="names audio and is no text: music goes in as `audio`"):
        processor(text=str(EXAMPLE_AUDIO / "bach_brandenburg.ogg"))


@pytest.mark.parametrize("rate", [8_000, 24_000, 44_100])
def test_stereo_in_a_list_is_mixed_down(processor, rate):
    stereo = 0.1 * np.random.default_rng(0).standard_normal((2, rate))
    mono = processor(audio=[stereo.mean(axis=0)], sampling_rate=rate, return_tensors="np")["input_values"]
    for audio in (stereo, stereo.T):
        mixed = processor(audio=[audio], sampling_rate=rate, return_tensors="np")["input_values"]
        np.testing.assert_allclose(mixed, mono, atol=1e-6)


def test_truncation_is_the_default_and_can_be_left_out(processor):
    long = "abcdefghij" * MAX_TOKENS
    assert processor(text=long, truncation=True, return_tensors="pt")["input_ids"].shape == (1, MAX_TOKENS)
    assert processor(text=long, truncation=False, return_tensors="pt")["input_ids"].shape[1] > MAX_TOKENS


def test_padding_to_a_length_needs_no_truncation(processor):
    batch = processor(text="rock", padding="max_length", max_length=12, truncation=False, return_tensors="pt")
    assert batch["input_ids"].shape == (1, 12)


def test_nothing_at_all_is_refused(processor):
    with pytest.raises(ValueError, match="give `text`, `audio` or both"):
        processor()


def test_audio_of_any_rate_is_resampled(processor):
    time = np.arange(44_100) / 44_100
    batch = processor(audio=[0.5 * np.sin(2 * np.pi * 440 * time)] * 2, sampling_rate=44_100, return_tensors="np")
    assert batch["input_values"].shape == (2, 24_000)
    inner = slice(2_400, -2_400)  # away from the ends, where a filter rings
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(24_000) / 24_000)
    np.testing.assert_allclose(batch["input_values"][1, inner], expected[inner], atol=1e-4)


@pytest.mark.parametrize(
    ("audio", "rate", "message"),
    [
        (np.zeros(24_000, "float32"), None, "arrays of audio need their `sampling_rate`"),
        (np.zeros(24_000, "float32"), 0, "`sampling_rate` must be a whole number of Hz"),
        ([np.zeros((6, 44_100), "float32")], 44_100, "neither mono nor stereo"),
        (np.zeros(1_500, "float32"), 44_100, "has 816 samples"),
    ],
)
def test_missing_and_impossible_rates_and_what_is_no_mono_clip_are_refused(processor, audio, rate, message):
    with pytest.raises(ValueError, match=message):
        processor(audio=audio, sampling_rate=rate)


def test_saved_processor_is_the_same(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    again = MuQMuLanProcessor.from_pretrained(tmp_path)
    inputs = {"text": ["calm piano"], "audio": music(1).numpy(), "sampling_rate": 24_000, "return_tensors": "pt"}
    before, after = processor(**inputs), again(**inputs)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert again.tokenizer.model_max_length == MAX_TOKENS
