"""`muq-hf tag --over-time`, `similarity` and `tokens`: pictures, and arrays that are what the models say."""

import csv

import numpy as np
import pytest
import soundfile
import torch
from checks import MICRO, perturb_statistics

from muq_hf import (
    MuQConfig,
    MuQFeatureExtractor,
    MuQForAudioFrameClassification,
    MuQForPreTraining,
    MuQForSequenceClassification,
    cli,
)
from muq_hf.audio import load_audio


PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def song(tmp_path_factory):
    """6.5 s of stereo noise at 44.1 kHz."""
    file = tmp_path_factory.mktemp("song") / "song.wav"
    soundfile.write(file, 0.1 * np.random.default_rng(0).standard_normal((286_650, 2)), 44_100)
    return file


def saved(model_class, folder, **settings):
    model = model_class(MuQConfig(**MICRO, **settings)).eval()
    perturb_statistics(model)
    model.save_pretrained(folder)
    MuQFeatureExtractor().save_pretrained(folder)
    return model


def test_a_classifier_tags_over_time(song, tmp_path, capsys):
    model = saved(MuQForSequenceClassification, tmp_path / "model", id2label={0: "calm", 1: "loud"}, classifier_clip_seconds=2.0)
    command = ["tag", str(song), "--model", str(tmp_path / "model"), "--over-time", str(tmp_path / "out"), "--format", "csv"]
    assert cli.main([*command, "--device", "cpu", "--quiet"]) == 0
    with torch.no_grad():
        windows = torch.from_numpy(load_audio(song, 24_000)).split(48_000)
        scores = torch.cat([model(window[None]).logits for window in windows]).softmax(dim=1).numpy()
    arrays = np.load(tmp_path / "out" / "song.npz")
    np.testing.assert_allclose(arrays["scores"], scores, atol=1e-4)
    np.testing.assert_allclose(arrays["times"], [[0, 2], [2, 4], [4, 6], [6, 6.5]], atol=1e-3)
    rows = list(csv.reader((tmp_path / "out" / "song.csv").open()))
    assert rows[0] == ["start", "end", "calm", "loud"] and len(rows) == 5
    assert (tmp_path / "out" / "song.png").read_bytes()[:8] == PNG
    table = list(csv.reader(capsys.readouterr().out.splitlines()))
    weights = np.array([2, 2, 2, 0.5]) / 6.5
    assert {label: float(score) for _, label, score in table[1:]} == pytest.approx(
        dict(zip(("calm", "loud"), weights @ scores, strict=True)), abs=1e-4
    )


def test_a_classifier_of_frames_tags_every_frame(song, tmp_path):
    saved(MuQForAudioFrameClassification, tmp_path / "model", num_labels=3, classifier_clip_seconds=5.0)
    command = ["tag", str(song), "--model", str(tmp_path / "model"), "--over-time", str(tmp_path / "out"), "--quiet"]
    assert cli.main([*command, "--device", "cpu"]) == 0
    assert np.load(tmp_path / "out" / "song.npz")["scores"].shape == (163, 3)  # 6.5 s at 25 Hz, the last frame begun


@pytest.mark.parametrize(
    ("arguments", "said"), [([], "--labels"), (["--model", "MODEL", "--labels", "words.txt"], "labels of its own")]
)
def test_what_is_missing_or_too_much_is_said(arguments, said, song, tmp_path, capsys):
    saved(MuQForSequenceClassification, tmp_path / "model", num_labels=2)
    (tmp_path / "words.txt").write_text("calm\n")
    places = {"MODEL": str(tmp_path / "model"), "words.txt": str(tmp_path / "words.txt")}
    assert cli.main(["tag", str(song), *(places.get(word, word) for word in arguments)]) == 2
    assert said in capsys.readouterr().err


def test_tokens_gives_codes_and_the_mel_of_1_and_4_codebooks(song, tmp_path):
    model = saved(MuQForPreTraining, tmp_path / "model")
    picture = tmp_path / "tokens.png"
    command = ["tokens", str(song), "--model", str(tmp_path / "model"), "--seconds", "2", "--output", str(picture)]
    assert cli.main([*command, "--device", "cpu"]) == 0
    arrays = np.load(tmp_path / "tokens.npz")
    wave = torch.from_numpy(load_audio(song, 24_000, end=2.0))[None]
    np.testing.assert_array_equal(arrays["codes"], model.tokenize(wave)[0].numpy())
    assert set(arrays) == {"codes", "mel", "mel_1", "mel_4"} and arrays["mel_4"].shape == arrays["mel"].shape
    assert picture.read_bytes()[:8] == PNG


def test_similarity_of_a_song(song, tmp_path):
    saved(MuQForPreTraining, tmp_path / "model")
    command = ["similarity", str(song), "--model", str(tmp_path / "model"), "--kernel-seconds", "2", "--layer", "1"]
    assert cli.main([*command, "--output", str(tmp_path / "s.png"), "--device", "cpu"]) == 0
    arrays = np.load(tmp_path / "s.npz")
    assert arrays["similarity"].shape == (13, 13) and (tmp_path / "s.png").read_bytes()[:8] == PNG
