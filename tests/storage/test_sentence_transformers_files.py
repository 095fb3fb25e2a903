"""A MuQ-MuLan's folder in sentence-transformers: what a newcomer passes works, or one sentence says what to pass."""

import numpy as np
import pytest
import torch
from checks import EXAMPLE_AUDIO
from mulan_models import music, save_tiny
from sentence_transformers import SentenceTransformer
from transformers import AutoModel, AutoProcessor

from muq_hf.storage.sentence_transformers_files import write_sentence_transformers_files


RATE = 44_100
WAVE = music(RATE / 24_000).numpy()
SONG = str(EXAMPLE_AUDIO / "metal_ezer_ev.ogg")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = save_tiny(tmp_path_factory.mktemp("mulan"))
    write_sentence_transformers_files(folder)
    return folder


@pytest.fixture(scope="module")
def joint(folder):
    return SentenceTransformer(str(folder), device="cpu")


def sound(array, rate=RATE):
    return {"array": array, "sampling_rate": rate}


def test_vectors_are_those_of_the_model(folder, joint):
    wave = music(2.0)
    model, processor = AutoModel.from_pretrained(folder).eval(), AutoProcessor.from_pretrained(folder)
    with torch.no_grad():
        texts = model.get_text_features(**processor(text=["calm", "a b"], return_tensors="pt")).pooler_output
        songs = model.get_audio_features(wave[None]).pooler_output
    np.testing.assert_allclose(joint.encode(["calm", "a b"]), texts, atol=1e-5)
    np.testing.assert_allclose(joint.encode([sound(wave.numpy(), 24_000)]), songs, atol=1e-5)


@pytest.mark.parametrize(
    "array",
    [
        WAVE.astype(np.float64),
        (32_767 * WAVE).astype(np.int16),
        np.stack([WAVE, WAVE]),
        np.stack([WAVE, WAVE], axis=1),
        torch.from_numpy(WAVE),
        WAVE.tolist(),
    ],
    ids=["float64", "int16", "channels first", "channels last", "tensor", "list"],
)
def test_all_forms_of_an_array_give_one_vector(joint, array):
    assert joint.encode(sound(array)) @ joint.encode(sound(WAVE)) > 0.9999


@pytest.mark.parametrize("rate", [8_000, 24_000, 48_000])
def test_any_rate_is_taken(joint, rate):
    tone = np.sin(2 * np.pi * 330 * np.arange(rate) / rate)
    other = np.sin(2 * np.pi * 330 * np.arange(RATE) / RATE)
    assert joint.encode(sound(tone, rate)) @ joint.encode(sound(other)) > 0.99


def test_lengths_may_differ_and_files_are_read(joint):
    assert joint.encode([sound(WAVE), sound(WAVE[:20_000])]).shape == joint.encode([SONG, SONG]).shape == (2, 12)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([sound(WAVE), "a calm piano"], "Encode each modality separately"),
        ([sound(WAVE), sound(WAVE, 8_000)], "encode each sampling rate in a separate call"),
        ([WAVE], "pass it beside `audio`, or in sentence-transformers"),
        ([{"array": WAVE}], "must also include 'sampling_rate'"),
        (["nowhere.wav"], "names an audio file that does not exist"),
        ([sound(WAVE[:10])], "at least 1025 samples"),
        ([sound(np.full(RATE, np.nan))], "NaN or infinite"),
        ([sound(WAVE, 0)], "must be a whole number of Hz"),
        ([sound(np.zeros((6, RATE)))], "neither mono nor stereo"),
    ],
)
def test_what_cannot_be_embedded_is_told_with_what_to_do(joint, inputs, message):
    with pytest.raises(ValueError, match=message):
        joint.encode(inputs)
