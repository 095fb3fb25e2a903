"""`muq_hf.load`: the class and the processor that a folder, Hub id or short name needs."""

import contextlib
import io

import pytest
import torch
from checks import ASSETS, MICRO
from mulan_models import save_tiny

import muq_hf
from muq_hf import MelRVQConfig, MelRVQModel, MuQConfig, MuQForPreTraining, MuQForSequenceClassification, MuQModel
from muq_hf.checkpoints import MUQ_TINY, require_folder_or_id, resolve_name
from muq_hf.loader import load


@pytest.fixture(scope="module")
def mulan(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("mulan"))


def test_a_short_name_gives_model_and_extractor_that_fit():
    model, extractor = muq_hf.load("muq-tiny")
    assert isinstance(model, MuQModel) and not model.training
    inputs = extractor([torch.zeros(24_000).numpy()], sampling_rate=24_000, return_tensors="pt")
    with torch.no_grad():
        assert model(**inputs).last_hidden_state.shape == (1, 25, model.config.hidden_size)


@pytest.mark.parametrize(
    ("part", "classes"),
    [
        ("all", ("MuQMuLanModel", "MuQMuLanProcessor")),
        ("audio", ("MuQMuLanAudioModelWithProjection", "MuQMuLanFeatureExtractor")),
        ("text", ("MuQMuLanTextModelWithProjection", "MuQMuLanProcessor")),
        ("encoder", ("MuQModel", "MuQFeatureExtractor")),
    ],
)
def test_the_parts_of_a_mulan(mulan, part, classes):
    assert tuple(type(half).__name__ for half in load(mulan, part)) == classes


@pytest.mark.parametrize("part", ["all", "audio", "encoder"])
def test_the_published_format_loads_as_the_class_does(part):
    model, extractor = load(ASSETS / "published_tiny", part)
    direct = MuQModel.from_pretrained(ASSETS / "published_tiny")
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(model.parameters(), direct.parameters(), strict=True))
    assert extractor.sampling_rate == model.config.sampling_rate


def test_what_a_folder_was_saved_as_decides_the_class(tmp_path):
    sizes = {name: value for name, value in MICRO.items() if not name.startswith("codebook") and name != "num_codebooks"}
    config = MuQConfig.from_preset("tiny", **sizes)
    for kind, expected in ((MuQForPreTraining, MuQModel), (MuQForSequenceClassification, MuQForSequenceClassification)):
        kind(config).save_pretrained(tmp_path / kind.__name__)
        assert type(load(tmp_path / kind.__name__).model) is expected
    MelRVQModel(MelRVQConfig(num_codebooks=2, codebook_size=8)).save_pretrained(tmp_path / "rvq")
    assert type(load(tmp_path / "rvq").model) is MelRVQModel


def test_type_and_device_are_as_asked():
    assert load("muq-tiny", dtype="bfloat16", device="cpu").model.dtype is torch.bfloat16
    assert load("muq-tiny", dtype=torch.float16).model.dtype is torch.float16


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("muq-tiny", {"part": "text"}, "no part 'text'; valid: all, audio, encoder"),
        ("muq-tiny", {"dtype": "int3"}, "float32, bfloat16, float16, got 'int3'"),
        ("muq-tiny", {"device": "tpu"}, "device 'tpu' is not available"),
    ],
)
def test_what_cannot_be_loaded_is_named(source, options, message):
    with pytest.raises(ValueError, match=message):
        load(source, **options)


def test_other_families_are_named(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "clap"}')
    with pytest.raises(ValueError, match="type 'clap'; those that can be loaded: muq, mel_rvq, muq_mulan"):
        load(tmp_path)


@pytest.mark.parametrize(("revision", "name"), [(None, "nobody/nothing"), ("main", "nobody/nothing at revision 'main'")])
def test_a_hub_id_that_cannot_be_had_is_named(monkeypatch, revision, name):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(OSError, match=f"^{name} is no folder here and cannot be had from the Hub: "):
        load("nobody/nothing", revision=revision)


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(OSError, match=f"the folder {tmp_path} holds no model"):
        load(tmp_path)


def test_no_bar_for_reading_weights_and_later_bars_are_kept():
    from transformers.utils import logging

    with contextlib.redirect_stderr(io.StringIO()) as err:
        load("muq-tiny")
    assert err.getvalue() == "" and logging.is_progress_bar_enabled()


def test_a_folder_in_the_working_directory_goes_before_a_short_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resolve_name("muq-tiny") == require_folder_or_id("muq-tiny") == MUQ_TINY
    (tmp_path / "muq-tiny").mkdir()
    assert resolve_name("muq-tiny") == "muq-tiny"
