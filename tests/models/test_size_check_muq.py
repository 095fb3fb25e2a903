"""A configuration that does not belong to its weights is refused before anything is built."""

import json
import time

import pytest
import torch
from mulan_models import save_tiny

from muq_hf import (
    MuQForPreTraining,
    MuQModel,
    MuQMuLanAudioModelWithProjection,
    MuQMuLanModel,
    MuQMuLanTextModelWithProjection,
)


def with_fields(folder, *place, **fields):
    file = folder / "config.json"
    content = json.loads(file.read_text())
    target = content
    for name in place:
        target = target[name]
    target.update(fields)
    file.write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    "fields",
    [
        {"num_hidden_layers": 2_000},
        {"hidden_size": 40_000},
        {"intermediate_size": 10**12},
        {"conv_channels": 10**6},
        {"codebook_size": 10**10},
        {"classifier_proj_size": 10**9},
        {"num_labels": 10**9},
        {"n_fft": 2**31},
        {"num_mel_bins": 4 * 10**9},
        {"hidden_size": -32},
        {"hidden_size": "32"},
        {"num_hidden_layers": None},
        {"num_attention_heads": [4]},
        {"hidden_dropout": "0.1"},
        {"mel_std": "18"},
        {"mask_seconds": {}},
        {"hidden_act": 2_000},
        {"dtype": -1},
    ],
)
def test_hostile_fields_are_refused_at_once(micro_folder, fields):
    started = time.monotonic()
    with pytest.raises(ValueError, match="config.json describes|must be|must lie"):
        MuQForPreTraining.from_pretrained(with_fields(micro_folder, **fields))
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    ("place", "fields"),
    [
        ((), {"text_adapter_layers": 10**6}),
        (("audio_config",), {"num_hidden_layers": 10**6}),
        (("text_config",), {"num_hidden_layers": 10**6}),
        (("text_config",), {"vocab_size": 10**12}),
        (("text_config",), {"max_position_embeddings": 10**9}),
        ((), {"projection_dim": 10**30}),
        ((), {"clip_seconds": None}),
        (("text_config",), {"dtype": []}),
        (("text_config",), {"hidden_size": "wide"}),
        (("text_config",), {"num_attention_heads": "4"}),
        (("text_config",), {"num_hidden_layers": None}),
        (("text_config",), {"vocab_size": -300}),
        (("text_config",), {"model_type": "no-such-model"}),
    ],
)
def test_hostile_fields_of_a_muq_mulan_are_refused_at_once(tmp_path, place, fields):
    folder = with_fields(save_tiny(tmp_path), *place, **fields)
    started = time.monotonic()
    with pytest.raises(ValueError, match="config.json describes|must be|text_config"):
        MuQMuLanModel.from_pretrained(folder)
    assert time.monotonic() - started < 2


def test_an_encoder_may_start_a_fresh_head(micro_folder):
    assert MuQModel.from_pretrained(micro_folder).config.hidden_size == 32


@pytest.mark.parametrize("tower_class", [MuQMuLanAudioModelWithProjection, MuQMuLanTextModelWithProjection])
def test_a_tower_that_was_saved_alone_loads_alone(tmp_path, tower_class):
    tower = tower_class.from_pretrained(save_tiny(tmp_path / "both"))
    tower.save_pretrained(tmp_path / "tower")
    again = tower_class.from_pretrained(tmp_path / "tower")
    assert all(torch.equal(*pair) for pair in zip(tower.parameters(), again.parameters(), strict=True))


def test_a_tower_that_is_far_larger_than_its_weights_is_refused(tmp_path):
    MuQMuLanAudioModelWithProjection.from_pretrained(save_tiny(tmp_path / "both")).save_pretrained(tmp_path / "tower")
    with_fields(tmp_path / "tower", "audio_config", num_hidden_layers=2_000)
    with pytest.raises(ValueError, match="it is not the configuration of these weights"):
        MuQMuLanAudioModelWithProjection.from_pretrained(tmp_path / "tower")
