"""Each row of the table in docs/migration.md, on checkpoints that the published package wrote."""

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from checks import ASSETS, relative_error, wave_of
from safetensors.torch import load_file

from muq_hf import MuQFeatureExtractor, MuQModel, MuQMuLanModel
from muq_hf.audio import load_audio


@pytest.fixture(scope="module")
def model(published_folder):
    return MuQModel.from_pretrained(published_folder)


@pytest.fixture(scope="module")
def mulan():
    return MuQMuLanModel.from_pretrained(ASSETS / "published_mulan_tiny")


@pytest.fixture(scope="module")
def mulan_goldens():
    return load_file(ASSETS / "published_mulan_tiny" / "goldens.safetensors")


def test_last_hidden_state(model, goldens):
    with torch.no_grad():
        states = model(wave_of(goldens, 24_000)).last_hidden_state
    assert relative_error(states[0], goldens["24000.last_hidden_state"]) < 1e-5


def test_clips_of_several_lengths(model, goldens):
    clips = [wave_of(goldens, 24_000)[0], wave_of(goldens, 50_011)[0]]
    with torch.no_grad():
        states = model(**MuQFeatureExtractor()(clips, sampling_rate=24_000, return_tensors="pt")).last_hidden_state
    assert relative_error(states[0, :25], goldens["24000.last_hidden_state"]) < 1e-4
    assert relative_error(states[1], goldens["50011.last_hidden_state"]) < 1e-4


@pytest.mark.parametrize("k", [0, 2, 3])
def test_hidden_state_k(model, goldens, k):
    with torch.no_grad():
        state = model(wave_of(goldens, 24_000), output_hidden_states=[k]).hidden_states[k]
    assert relative_error(state[0], goldens["24000.hidden_states"][k]) < 1e-5


def test_loading_a_file_as_mono_at_the_models_rate(tmp_path):
    stereo = np.random.default_rng(0).uniform(-0.5, 0.5, (24_000, 2)).astype(np.float32)
    soundfile.write(tmp_path / "clip.wav", stereo, 24_000, subtype="FLOAT")
    np.testing.assert_allclose(load_audio(tmp_path / "clip.wav"), stereo.mean(1), atol=1e-7)


def song(goldens, seconds: float) -> torch.Tensor:
    """The clip that the references of MuLan were made on, of any length (tests/oracle/README.md)."""
    i = torch.arange(round(seconds * 24_000))
    return wave_of(goldens, 50_011)[:, (i * (1 + i // 240_000)) % 50_011]


@pytest.mark.parametrize("seconds", [3, 10, 10.1, 25])
def test_mulan_of_audio(mulan, goldens, mulan_goldens, seconds):
    with torch.no_grad():
        vector = mulan.get_audio_features(song(goldens, seconds), clip_rule="published").pooler_output[0]
    assert relative_error(vector, mulan_goldens[f"audio.{seconds}"]) < 1e-5


def test_mulan_of_texts_and_their_similarity(mulan, goldens, mulan_goldens):
    with torch.no_grad():
        text = mulan.get_text_features(mulan_goldens["text.equal.ids"].long()).pooler_output
        durations = (3, 10, 10.1, 25)
        audio = torch.cat([mulan.get_audio_features(song(goldens, s), clip_rule="published").pooler_output for s in durations])
    assert relative_error(text, mulan_goldens["text.equal.embeds"]) < 1e-5
    torch.testing.assert_close(audio @ text.T, mulan_goldens["similarity"], atol=1e-5, rtol=0)


def test_every_row_names_what_exists():
    table = (Path(__file__).parent.parent / "docs" / "migration.md").read_text()
    import muq_hf

    for name in set(re.findall(r"\b(MuQ\w*Model)\b", table)):
        assert hasattr(muq_hf, name)
