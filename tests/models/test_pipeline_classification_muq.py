"""`pipeline("audio-classification")` takes music of any rate and any length, and says what the model says of its windows."""

import numpy as np
import pytest
import soundfile
import soxr
import torch
from checks import MICRO, perturb_statistics
from transformers import pipeline

from muq_hf import (
    MuQAudioClassificationPipeline,
    MuQConfig,
    MuQFeatureExtractor,
    MuQForAudioFrameClassification,
    MuQForSequenceClassification,
)


def build(model_class, **settings):
    model = model_class(MuQConfig(**MICRO, **settings)).eval()
    perturb_statistics(model)
    return model


@pytest.fixture
def saved(tmp_path):
    """A classifier of clips of 1 s, saved with its feature extractor."""
    model = build(MuQForSequenceClassification, id2label={0: "folk", 1: "metal", 2: "techno"}, classifier_clip_seconds=1.0)
    model.save_pretrained(tmp_path / "model")
    MuQFeatureExtractor().save_pretrained(tmp_path / "model")
    return model, str(tmp_path / "model")


@pytest.fixture
def stereo(tmp_path):
    """2.4 s at 48 kHz → its file, and its mono wave at the model's rate."""
    wave = np.random.default_rng(0).standard_normal((115_200, 2)) * 0.1
    soundfile.write(tmp_path / "stereo.wav", wave, 48_000, subtype="FLOAT")
    mono = wave.astype(np.float32).mean(axis=1)
    return str(tmp_path / "stereo.wav"), torch.from_numpy(soxr.resample(mono, 48_000, 24_000, quality="HQ"))


def test_a_long_stereo_file_gets_the_mean_over_its_windows(saved, stereo):
    model, folder = saved
    file, wave = stereo
    classify = pipeline("audio-classification", model=folder, device="cpu")
    assert type(classify) is MuQAudioClassificationPipeline
    with torch.no_grad():
        windows = [model(part[None]).logits.softmax(dim=1)[0] for part in wave.split(24_000)]
    expected = (windows[0] + windows[1] + 0.4 * windows[2]) / 2.4
    found = classify(file, top_k=None)
    assert [row["score"] for row in found] == sorted((row["score"] for row in found), reverse=True)
    assert {row["label"]: row["score"] for row in found} == pytest.approx(
        dict(zip(("folk", "metal", "techno"), expected.tolist(), strict=True)), abs=2e-4
    )


def test_a_dictionary_of_another_rate_is_resampled(saved, stereo):
    _, folder = saved
    file, wave = stereo
    classify = pipeline("audio-classification", model=folder, device="cpu")
    array, rate = soundfile.read(file, dtype="float32")
    found = classify({"array": array.T, "sampling_rate": rate}, top_k=1)
    assert found == classify(file, top_k=1) or found[0]["score"] == pytest.approx(classify(file, top_k=1)[0]["score"], abs=1e-4)
    assert len(found) == 1


def test_several_files_in_a_batch_are_what_each_is_alone(saved, stereo):
    _, folder = saved
    file, wave = stereo
    classify = pipeline("audio-classification", model=folder, device="cpu")
    together = classify([file, wave.numpy()[:30_000]], batch_size=4)
    for found, alone in zip(together, (classify(file), classify(wave.numpy()[:30_000])), strict=True):
        assert [row["label"] for row in found] == [row["label"] for row in alone]
        assert [row["score"] for row in found] == pytest.approx([row["score"] for row in alone], abs=1e-5)


def test_scores_over_time_are_those_of_the_windows(saved, stereo):
    _, folder = saved
    found = pipeline("audio-classification", model=folder, device="cpu")(stereo[0], return_timestamps=True)
    np.testing.assert_allclose(found["timestamps"], [[0, 1], [1, 2], [2, 2.4]])
    weighted = (found["scores"] * np.array([1, 1, 0.4])[:, None]).sum(axis=0) / 2.4
    assert found["labels"][0]["score"] == pytest.approx(weighted.max(), abs=1e-6)


def test_tags_use_the_sigmoid_and_numbers_stay_as_they_are(stereo):
    wave = stereo[1].numpy()[:24_000]
    for problem, expected in (("multi_label_classification", torch.sigmoid), ("regression", lambda logits: logits)):
        model = build(MuQForSequenceClassification, num_labels=3, problem_type=problem)
        found = MuQAudioClassificationPipeline(model, device="cpu")(wave, top_k=None)
        with torch.no_grad():
            scores = expected(model(torch.from_numpy(wave)[None]).logits[0])
        assert sorted(row["score"] for row in found) == pytest.approx(sorted(scores.tolist()), abs=1e-5)


def test_frames_come_with_their_times(stereo):
    model = build(MuQForAudioFrameClassification, num_labels=2, classifier_clip_seconds=30.0)
    wave = stereo[1].numpy()
    found = MuQAudioClassificationPipeline(model, device="cpu")(wave, return_timestamps=True)
    with torch.no_grad():
        frames = model(torch.from_numpy(wave)[None]).logits[0].softmax(dim=1).numpy()
    np.testing.assert_allclose(found["scores"], frames, atol=1e-5)
    assert found["timestamps"].shape == (60, 2) and found["timestamps"][-1, 1] == pytest.approx(2.4)
    long = MuQAudioClassificationPipeline(model, device="cpu")(wave, return_timestamps=True, chunk_length_s=1.2)
    assert long["scores"].shape == frames.shape


@pytest.mark.parametrize("wrong", [{"top_k": 0}, {"function_to_apply": "argmax"}])
def test_wrong_options_are_refused(saved, wrong):
    with pytest.raises(ValueError):
        pipeline("audio-classification", model=saved[1], device="cpu")(np.zeros(24_000, np.float32), **wrong)


def test_other_models_keep_their_own_pipeline(tmp_path):
    from transformers import AudioClassificationPipeline, Wav2Vec2Config, Wav2Vec2FeatureExtractor
    from transformers import Wav2Vec2ForSequenceClassification as Other

    config = Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, conv_dim=(8,), conv_kernel=(400,),
        conv_stride=(320,), num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    Other(config).save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path)
    assert type(pipeline("audio-classification", model=str(tmp_path), device="cpu")) is AudioClassificationPipeline
