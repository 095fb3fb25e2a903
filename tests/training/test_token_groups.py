"""Masked prediction of the tokens of several teachers at once."""

import json

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from training_runs import CONFIG, RATE, write_music

from muq_hf import MelRVQModel, MuQForPreTraining
from muq_hf.audio import load_audio
from muq_hf.models.modeling_muq import masked_token_loss
from muq_hf.training.arguments import token_groups
from muq_hf.training.chain import train
from muq_hf.training.latent_teachers import load_teacher
from muq_hf.training.stored_targets import StoredTargets
from muq_hf.training.tracks import read_tracks


GROUPS = [{"teacher": "mel", "codebooks": 2, "size": 16}, {"teacher": "chroma", "codebooks": 1, "size": 8, "weight": 3.0}]
SETTINGS = CONFIG | {
    "channel": "mix",
    "eval_strategy": "no",
    "save_steps": 2,
    "model": CONFIG["muq"]["model"],
    "latent_rvq": {"max_steps": 4},
    "muq": CONFIG["muq"] | {"max_steps": 4, "targets": GROUPS},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    music = write_music(tmp_path_factory.mktemp("music"))
    return train("muq", SETTINGS, {"data": str(music), "output_dir": str(tmp_path_factory.mktemp("groups") / "run")})


def test_the_model_predicts_the_codebooks_of_all_groups(run):
    model = MuQForPreTraining.from_pretrained(run)
    output = model(torch.randn(1, RATE), return_loss=False)
    assert output.logits.shape == (1, 25, 3, 16)


def test_stored_tokens_are_those_of_each_quantizer_on_its_teacher(run):
    stored, track = StoredTargets(run.parent / "targets"), read_tracks(run.parent / "tracks.jsonl")[0]
    statistics = json.loads((run.parent / "latents" / "chroma" / "statistics.json").read_text())
    chroma = load_teacher("chroma").latents(torch.from_numpy(load_audio(track.path))[None]).half().float()
    standard = (chroma[..., statistics["units"]] - torch.tensor(statistics["mean"])) / torch.tensor(statistics["deviation"])
    codes = MelRVQModel.from_pretrained(run.parent / "quantizers" / "1" / "final").quantizer.encode(standard)[0]
    agreement = (stored.tokens(track, 0, len(codes))[:, 2:] == codes).float().mean()
    assert agreement > 0.99  # a sum in another order may tip a code


def test_a_quantizer_keeps_of_a_shared_model_only_what_it_has(run):
    """Else its configuration would describe more values than its weights hold, and a large one would be refused."""
    stored = json.loads((run.parent / "quantizers" / "0" / "final" / "config.json").read_text())
    assert not {"hidden_size", "num_hidden_layers"} & stored.keys() and stored["codebook_size"] == 16


def test_weights_of_codebooks_weigh_their_losses():
    logits, targets = torch.randn(50, 2, 7), torch.randint(0, 7, (50, 2))
    first, second = (F.cross_entropy(logits[:, k], targets[:, k]) for k in (0, 1))
    weighted, _ = masked_token_loss(logits, targets, torch.tensor([1.0, 3.0]))
    torch.testing.assert_close(weighted, (first + 3 * second) / 4)
    alike, _ = masked_token_loss(logits, targets, torch.ones(2))
    torch.testing.assert_close(alike, masked_token_loss(logits, targets)[0])


@pytest.mark.slow
def test_an_interrupted_run_ends_with_the_weights_of_an_unbroken_one(run, tmp_path):
    settings = json.loads((run.parent / "settings.json").read_text())
    folder = {"data": settings["data"], "output_dir": str(tmp_path / "run")}
    train("muq", SETTINGS, folder)
    for name in ("final", "checkpoint-4"):
        (tmp_path / "run" / name).rename(tmp_path / name)
    resumed = train("muq", SETTINGS, folder | {"resume": True})
    unbroken = load_file(run / "model.safetensors")
    assert all(torch.equal(tensor, unbroken[name]) for name, tensor in load_file(resumed / "model.safetensors").items())


@pytest.mark.parametrize(
    "wrong", [[], ["chroma"], [{"codebooks": 2}], [{"teacher": "mel", "codes": 2}], [{"teacher": "mel", "size": 1}]]
)
def test_what_is_no_group_is_refused(wrong):
    with pytest.raises(ValueError, match="`targets`"):
        token_groups(wrong)
