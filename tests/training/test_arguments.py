"""One file of settings, each written once."""

import json

import pytest
import torch
from transformers import get_scheduler

from muq_hf import MelRVQConfig, MuQConfig
from muq_hf.training.arguments import build_settings, check_model_fields, command_line_overrides, flat_settings, read_config


CONFIG = {
    "data": "music",
    "seed": 7,
    "use_cpu": True,
    "mel_rvq": {"max_steps": 10, "model": {"num_codebooks": 4}, "statistics_clips": 5},
    "muq": {"learning_rate": 1e-3, "targets": "rvq"},
    "iterate": {"max_steps": 20, "layer": 3},
}


def settings(stage, tmp_path, **overrides):
    return build_settings(flat_settings(CONFIG, stage, overrides), stage, tmp_path)


def test_a_stage_has_shared_and_own_settings(tmp_path):
    rvq = settings("mel_rvq", tmp_path)
    assert (rvq.data.data, rvq.training.seed, rvq.training.max_steps) == ("music", 7, 10)
    assert (rvq.data.clip_seconds, rvq.training.learning_rate) == (5.0, 1e-4)  # the paper's


def test_refinement_inherits_from_the_stages_before(tmp_path):
    assert settings("iterate", tmp_path).training.learning_rate == 1e-3
    latent = settings("latent_rvq", tmp_path)
    assert latent.stage.model == {"num_codebooks": 4} and latent.stage.statistics_clips == 0


def test_masked_prediction_has_the_papers_optimiser(tmp_path):
    training = settings("muq", tmp_path).training
    assert (training.adam_beta1, training.adam_beta2, training.weight_decay, training.max_grad_norm) == (0.9, 0.98, 0.01, 10.0)
    assert (training.lr_scheduler_type, training.get_warmup_steps(400_000)) == ("polynomial", 32_000)


@pytest.mark.parametrize("length", [{"max_steps": 1000}, {"num_train_epochs": 3}])
def test_a_shorter_training_has_a_shorter_warm_up(tmp_path, length):
    training = settings("muq", tmp_path, **length).training
    assert training.get_warmup_steps(1000) == 80


def test_command_line_goes_first(tmp_path):
    given = command_line_overrides(["--max-steps", "3", "--learning_rate", "0.5", "--model", '{"preset": "tiny"}'])
    training = settings("muq", tmp_path, **given)
    assert (training.training.max_steps, training.training.learning_rate) == (3, 0.5)
    assert training.stage.model == {"preset": "tiny"}


def test_command_line_gives_only_what_was_given():
    assert command_line_overrides(["--data", "d", "--output", "o", "--resume"]) == {
        "data": "d",
        "output_dir": "o",
        "resume": True,
    }


def test_a_field_that_no_configuration_has_is_refused_with_the_nearest_name():
    check_model_fields({"preset": "tiny", "num_hidden_layers": 4, "codebook_size": 16, "n_fft": 2048}, MuQConfig, MelRVQConfig)
    with pytest.raises(ValueError, match="'num_layers', which MuQConfig or MelRVQConfig does not have; did you mean 'num_"):
        check_model_fields({"num_layers": 4}, MuQConfig, MelRVQConfig)


def test_unknown_setting_is_refused_with_the_nearest_name(tmp_path):
    with pytest.raises(ValueError, match="'learning_rat'.*did you mean 'learning_rate'"):
        settings("muq", tmp_path, learning_rat=1.0)


@pytest.mark.parametrize(("name", "value"), [("channel", "left"), ("eval_share", 1.0), ("clip_seconds", 0.0), ("model", "tiny")])
def test_invalid_values_are_refused(tmp_path, name, value):
    with pytest.raises(ValueError, match=name):
        settings("muq", tmp_path, **{name: value})


@pytest.mark.parametrize("text", ["{", "[1]", '{"mel-rvq": {}}'])
def test_unusable_files_are_refused(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match="config.json"):
        read_config(tmp_path / "config.json")


def test_file_is_read(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    assert read_config(tmp_path / "config.json") == CONFIG


def test_another_scheduler_comes_without_the_default_ones_arguments(tmp_path):
    assert settings("muq", tmp_path).training.lr_scheduler_kwargs == {"lr_end": 0.0, "power": 1.0}
    training = settings("muq", tmp_path, lr_scheduler_type="cosine").training
    parameter = torch.nn.Parameter(torch.zeros(1))
    get_scheduler(training.lr_scheduler_type, torch.optim.SGD([parameter]), 1, 10, training.lr_scheduler_kwargs)


def test_epochs_go_before_the_number_of_steps_of_what_they_override(tmp_path):
    training = settings("iterate", tmp_path, num_train_epochs=2).training
    assert (training.num_train_epochs, training.max_steps) == (2, -1)
    assert settings("iterate", tmp_path, num_train_epochs=2, max_steps=5).training.max_steps == 5


def test_fields_of_the_model_are_changed_one_by_one(tmp_path):
    given = {"muq": {"model": {"preset": "tiny", "mask_prob": 0.4}}, "iterate": {"model": {"mask_prob": 0.5}}}
    flat = flat_settings(given, "iterate", {"model": {"hidden_size": 64}})
    assert flat["model"] == {"preset": "tiny", "mask_prob": 0.5, "hidden_size": 64}
    assert flat_settings(given, "muq", {"model": {"preset": "base"}})["model"] == {"preset": "base"}
