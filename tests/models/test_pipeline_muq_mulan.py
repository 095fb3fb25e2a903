"""The stock pipelines, and what they say to strange inputs."""

import numpy as np
import pytest
import torch
from checks import EXAMPLE_AUDIO
from mulan_models import music, save_tiny, tiny_model, tiny_processor
from transformers import AutoModel, AutoProcessor, pipeline

from muq_hf.audio import AudioError, load_audio


SONG = EXAMPLE_AUDIO / "bach_brandenburg.ogg"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("mulan"))


@pytest.fixture(scope="module")
def features(folder):
    return pipeline("feature-extraction", model=str(folder))


@torch.no_grad()
def joint_vector(text=None, audio=None):
    inputs = tiny_processor()(text=text, audio=audio, sampling_rate=24_000, return_tensors="pt")
    model = tiny_model()
    return (model.get_text_features if audio is None else model.get_audio_features)(**inputs).pooler_output


def test_auto_classes_find_model_and_processor(folder):
    assert type(AutoModel.from_pretrained(folder)).__name__ == "MuQMuLanModel"
    assert type(AutoProcessor.from_pretrained(folder)).__name__ == "MuQMuLanProcessor"


def test_zero_shot_classification_is_the_softmax_of_scaled_cosines(folder):
    classify = pipeline("zero-shot-audio-classification", model=str(folder))
    assert classify.model.dtype == torch.float32
    wave, labels = music(3), ["rock", "calm piano", "钢琴"]
    result = classify(wave.numpy(), candidate_labels=labels, hypothesis_template="{} music")
    cosines = joint_vector(audio=wave.numpy()) @ joint_vector(text=[f"{label} music" for label in labels]).T
    expected = dict(zip(labels, (10 * cosines[0]).softmax(0).tolist(), strict=True))
    assert {row["label"]: pytest.approx(row["score"], abs=1e-5) for row in result} == expected


@pytest.mark.parametrize("kind", ["path", "array", "dictionary"])
def test_features_of_music_are_joint_vectors(features, kind):
    wave = load_audio(SONG)
    inputs = {"path": str(SONG), "array": wave, "dictionary": {"array": wave, "sampling_rate": 24_000}}[kind]
    np.testing.assert_allclose(features(inputs), joint_vector(audio=wave), atol=1e-5)


@pytest.mark.parametrize("inputs", ["calm piano", {"text": "calm piano"}])
def test_features_of_text_are_joint_vectors(features, inputs):
    np.testing.assert_allclose(features(inputs), joint_vector(text="calm piano"), atol=1e-5)


@pytest.mark.parametrize("inputs", ["calm piano", str(SONG)])
def test_features_of_a_model_that_gives_tuples(folder, inputs):
    tuples = pipeline("feature-extraction", model=str(folder))
    expected = tuples(inputs)
    tuples.model.config.return_dict = False
    assert tuples(inputs) == expected


def test_features_of_several_inputs_in_a_batch(features):
    waves = [music(1).numpy(), music(12, 1).numpy(), music(3, 2).numpy()]
    for batch_size in (1, 3):
        vectors = features(waves, batch_size=batch_size, return_tensors=True)
        expected = torch.cat([joint_vector(audio=wave) for wave in waves])
        torch.testing.assert_close(torch.cat(vectors), expected, atol=1e-5, rtol=0)


def test_a_missing_file_is_not_taken_for_text(features):
    with pytest.raises(AudioError, match="nowhere.mp3"):
        features("nowhere.mp3")


def test_text_models_keep_their_pipeline(tmp_path):
    from transformers import XLMRobertaModel

    XLMRobertaModel(tiny_model().config.text_config).save_pretrained(tmp_path)
    tiny_processor().tokenizer.save_pretrained(tmp_path)
    assert np.shape(pipeline("feature-extraction", model=str(tmp_path))("rock")) == (1, 6, 24)
