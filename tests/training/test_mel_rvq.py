"""Stage 1: losses and gradients of the published package, and what is counted, warned of and drawn."""

import json
import logging

import pytest
import torch
from checks import ASSETS, EXAMPLE_AUDIO, relative_error
from safetensors.torch import load_file
from training_runs import CONFIG, write_music

from muq_hf import MelRVQConfig, MelRVQModel
from muq_hf.audio import load_audio
from muq_hf.evaluation.token_pictures import plot_reconstructions
from muq_hf.models.published_muq import fuse_weight_norms
from muq_hf.models.spectrogram_muq import LogMelSpectrogram
from muq_hf.training.chain import train
from muq_hf.training.clips import ClipDataset
from muq_hf.training.mel_rvq import CollapseWarning, count_codes, mel_statistics, usage_of
from muq_hf.training.tracks import find_tracks


@pytest.fixture(scope="module")
def golden():
    return load_file(ASSETS / "rvq_training.safetensors")


@pytest.fixture
def model(golden):
    """The golden's quantizer: weight norms multiplied out, unused codes replaced after 3 steps."""
    model = MelRVQModel(MelRVQConfig(input_size=48, num_codebooks=4, codebook_size=32, codebook_dim=16, stale_steps=3))
    weights = {name.removeprefix("weights."): value for name, value in golden.items() if name.startswith("weights.")}
    state = {}
    for name, value in fuse_weight_norms(weights).items():
        name = name.replace("quantizers", "steps").replace("stale_counter", "unused_steps")
        state[name] = value.squeeze(-1) if name.endswith("proj.weight") else value
    model.quantizer.load_state_dict(state)
    return model.train()


@pytest.mark.parametrize("name", ["loss", "commitment_loss", "codebook_loss", "reconstruction_loss", "quantized"])
def test_losses_are_the_published_ones(model, golden, name):
    assert relative_error(model(features=golden["vectors"])[name], golden[name]) < 1e-5


def test_codes_are_the_published_ones(model, golden):
    assert torch.equal(model(features=golden["vectors"]).codes, golden["codes"])


@pytest.mark.parametrize("index", [0, 3])
@pytest.mark.parametrize("name", ["in_proj.weight", "in_proj.bias", "out_proj.weight", "out_proj.bias", "codebook.weight"])
def test_gradients_are_the_published_ones(model, golden, index, name):
    """Those of the projections are compared after the weight norm, which these plain projections do without."""
    model(features=golden["vectors"]).loss.backward()
    gradient = model.quantizer.steps[index].get_parameter(name).grad
    assert relative_error(gradient, golden[f"grad.{index}.{name}"]) < 1e-4


@pytest.mark.parametrize("index", [0, 3])
@pytest.mark.parametrize("name", ["in_proj", "out_proj"])
def test_gradients_reach_the_published_weight_norm_by_the_chain_rule(model, golden, index, name):
    model(features=golden["vectors"]).loss.backward()
    gradient = model.quantizer.steps[index].get_parameter(f"{name}.weight").grad
    g, v = (golden[f"weights.quantizers.{index}.{name}.weight_{part}"].clone().requires_grad_() for part in "gv")
    (g * v / torch.linalg.vector_norm(v, dim=(1, 2), keepdim=True)).squeeze(-1).backward(gradient)
    assert relative_error(g.grad, golden[f"grad.{index}.{name}.weight_g"]) < 1e-4
    assert relative_error(v.grad, golden[f"grad.{index}.{name}.weight_v"]) < 1e-4


def test_unused_codes_are_counted_and_replaced_as_published(model, golden):
    """The same codes by directions of inputs; which inputs is a matter of torch's version."""
    before = torch.stack([step.codebook.weight.detach().clone() for step in model.quantizer.steps])
    model(features=golden["vectors"])
    for count in (2, 3):
        model(features=golden["vectors"])
        counters = torch.stack([step.unused_steps for step in model.quantizer.steps])
        assert torch.equal(counters, golden[f"stale_counters.{count}"].long())
    latents = golden["latents"].unflatten(-1, (4, 16)).flatten(0, 1)  # [B · T, K, d]
    for k, step in enumerate(model.quantizer.steps):
        directions = torch.nn.functional.normalize(latents[:, k], dim=-1)
        ours, theirs = step.codebook.weight.detach(), golden["codebooks_after_3"][k]
        replaced = (theirs != before[k]).any(dim=1)
        assert torch.equal((ours != before[k]).any(dim=1), replaced)
        for codes in (ours[replaced], theirs[replaced]):
            nearest = (codes @ directions.T).max(dim=1)
            assert torch.allclose(nearest.values, torch.ones(len(codes))) and len(nearest.indices.unique()) == len(codes)


def test_evaluation_replaces_nothing(model, golden):
    before = model.quantizer.steps[0].codebook.weight.clone()
    for _ in range(4):
        model.eval()(features=golden["vectors"])
    assert torch.equal(model.quantizer.steps[0].codebook.weight, before)


def test_residual_energy_is_what_the_first_codes_leave(model, golden):
    output = model.eval()(features=golden["vectors"])
    for k in range(4):
        residual = golden["vectors"] - model.quantizer.decode(output.codes[..., : k + 1])
        assert torch.isclose(output.residual_energy[k], residual.square().mean(), rtol=1e-4)


def test_usage_and_perplexity():
    codes = torch.tensor([[0, 0], [1, 0], [2, 0], [3, 0]])  # 4 tokens, 2 codebooks
    usage, perplexity = usage_of(count_codes(codes, 8))
    assert usage.tolist() == [0.5, 0.125] and torch.allclose(perplexity, torch.tensor([4.0, 1.0]).double())


def test_statistics_are_those_of_the_music(tmp_path):
    tracks, _ = find_tracks(write_music(tmp_path, 2, 2.0))
    config = MelRVQConfig()
    mean, std = mel_statistics(ClipDataset(tracks, config, 2.0, 0), config)
    plain = LogMelSpectrogram(MelRVQConfig(mel_mean=0.0, mel_std=1.0))
    decibels = torch.cat([plain(torch.from_numpy(load_audio(track.path))[None]) for track in tracks])
    assert abs(mean - decibels.mean()) < 1e-3 and abs(std - decibels.std()) < 1e-3


def test_collapsing_codebook_is_named(caplog):
    logs = {"codebook_1/usage": 0.9, "codebook_2/usage": 0.05, "tokens": 1000}
    with caplog.at_level(logging.WARNING):
        CollapseWarning(0.2, 64).on_log(None, type("State", (), {"global_step": 7}), None, logs=logs)
    assert "codebook_2 is collapsing: it uses 5 %" in caplog.text and "codebook_1" not in caplog.text


def test_few_tokens_are_no_collapse(caplog):
    CollapseWarning(0.2, 64).on_log(None, None, None, logs={"codebook_1/usage": 0.05, "tokens": 100})
    assert not caplog.text


def test_reconstructions_are_drawn(tmp_path):
    wave = torch.from_numpy(load_audio(EXAMPLE_AUDIO / "bach_brandenburg.ogg", end=2.0))
    plot_reconstructions(MelRVQModel(MelRVQConfig()), wave, tmp_path / "plots" / "mel.png")
    assert (tmp_path / "plots" / "mel.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("model", [{"num_codebooks": 16}, {"projection_depth": 3}])
def test_ablations_train(tmp_path, model):
    config = CONFIG | {"mel_rvq": {"model": {"codebook_size": 16, **model}}, "max_steps": 1, "eval_strategy": "no"}
    final = train("mel_rvq", config, {"data": str(write_music(tmp_path / "music", 3)), "output_dir": str(tmp_path / "run")})
    assert len(json.loads((final.parent / "codebooks.json").read_text())) == model.get("num_codebooks", 8)


def test_random_projection_is_not_trained(tmp_path):
    config = CONFIG | {"mel_rvq": {"model": {"quantizer_type": "random_projection", "num_codebooks": 1}}}
    with pytest.raises(ValueError, match="targets"):
        train("mel_rvq", config, {"data": str(write_music(tmp_path / "music", 3)), "output_dir": str(tmp_path / "run")})
