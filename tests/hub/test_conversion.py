"""Published checkpoints → folders, from the module commands and from the installed command."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from checks import ASSETS, relative_error, wave_of
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from transformers import AutoFeatureExtractor, AutoModel

from muq_hf import MelRVQModel, MuQForPreTraining
from muq_hf.cli import main
from muq_hf.hub.conversion import convert_muq, convert_musicfm


ROOT = Path(__file__).parent.parent.parent
MUSICFM = ASSETS / "published_musicfm_tiny"


@pytest.fixture(scope="module")
def converted(tmp_path_factory, published_folder):
    output = tmp_path_factory.mktemp("converted") / "muq"
    command = [sys.executable, "-m", "conversion.convert_muq", str(published_folder), str(output)]
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
    return output


@pytest.mark.slow
def test_converted_folder_computes_the_published_states(converted, goldens):
    model = AutoModel.from_pretrained(converted)
    with torch.no_grad():
        output = model(wave_of(goldens, 50_011), output_hidden_states=True)
    for ours, theirs in zip(output.hidden_states, goldens["50011.hidden_states"], strict=True):
        assert relative_error(ours[0], theirs) < 1e-5


def test_converted_folder_keeps_tokenizer_and_head(converted, goldens):
    assert torch.equal(MelRVQModel.from_pretrained(converted).encode(wave_of(goldens, 24_000))[0], goldens["24000.tokens"])
    assert MuQForPreTraining.from_pretrained(converted).head.out_features == 8 * 64


def test_converted_folder_has_its_feature_extractor(converted):
    assert AutoFeatureExtractor.from_pretrained(converted).sampling_rate == 24_000


def test_musicfm_converts_with_its_random_projection_tokens(tmp_path, goldens):
    convert_musicfm(MUSICFM / "pretrained_msd.pt", MUSICFM / "msd_stats.json", tmp_path / "musicfm")
    model = MuQForPreTraining.from_pretrained(tmp_path / "musicfm")
    reference = load_file(MUSICFM / "goldens.safetensors")
    assert model.config.quantizer_type == "random_projection"
    assert torch.equal(model.tokenize(wave_of(goldens, 24_000))[0, :, 0], reference["24000.tokens"].flatten())


@pytest.mark.parametrize("wrapping", ["bare", "unprefixed", "quantizer without number"])
def test_other_forms_of_a_musicfm_file_convert_alike(tmp_path, wrapping):
    checkpoint = torch.load(MUSICFM / "pretrained_msd.pt", weights_only=True)["state_dict"]
    if wrapping == "unprefixed":
        checkpoint = {key.removeprefix("model."): tensor for key, tensor in checkpoint.items()}
    elif wrapping == "quantizer without number":
        checkpoint = {key.replace("melspec_2048_0.", "melspec_2048."): tensor for key, tensor in checkpoint.items()}
    torch.save(checkpoint, tmp_path / "bare.pt")
    convert_musicfm(MUSICFM / "pretrained_msd.pt", MUSICFM / "msd_stats.json", tmp_path / "one")
    convert_musicfm(tmp_path / "bare.pt", MUSICFM / "msd_stats.json", tmp_path / "two")
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_a_model_of_our_own_is_no_published_checkpoint(micro_folder, tmp_path):
    with pytest.raises(ValueError, match="that of a 'muq' model"):
        convert_muq(micro_folder, tmp_path / "output")


def test_an_existing_folder_is_not_overwritten(published_folder, tmp_path):
    (tmp_path / "precious").write_text("keep")
    with pytest.raises(FileExistsError, match="exists already"):
        convert_muq(published_folder, tmp_path)
    assert (tmp_path / "precious").read_text() == "keep"


def test_a_failed_conversion_leaves_nothing_behind(published_folder, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("disk full")

    monkeypatch.setattr("muq_hf.hub.conversion.MuQFeatureExtractor.save_pretrained", fail)
    with pytest.raises(RuntimeError):
        convert_muq(published_folder, tmp_path / "output")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "stats", "message"),
    [
        (b"not a checkpoint", "{}", "no readable PyTorch file"),
        (None, "{", "no JSON file"),
        (None, "{}", "lack 'melspec_2048_mean'"),
    ],
)
def test_wrong_musicfm_files_are_named(tmp_path, content, stats, message):
    weights = tmp_path / "weights.pt"
    weights.write_bytes(content or (MUSICFM / "pretrained_msd.pt").read_bytes())
    (tmp_path / "stats.json").write_text(stats)
    with pytest.raises((OSError, ValueError), match=message):
        convert_musicfm(weights, tmp_path / "stats.json", tmp_path / "output")


def test_command_reports_errors_in_one_line(tmp_path, capsys):
    assert main(["convert", "muq", str(tmp_path / "nothing"), str(tmp_path / "output")]) == 2
    message = capsys.readouterr().err
    assert message.startswith("muq-hf convert muq: error:")
    assert len(message.splitlines()) == 1


def test_licence_and_origin_go_into_the_card(published_folder, tmp_path):
    base = "OpenMuQ/MuQ-large-msd-iter"
    code = main(["convert", "muq", str(published_folder), str(tmp_path / "m"), "--license", "cc-by-nc-4.0", "--base-model", base])
    data = ModelCard.load(tmp_path / "m" / "README.md").data
    assert code == 0
    assert (data.license, data.base_model, data.library_name) == ("cc-by-nc-4.0", base, "transformers")


def test_no_card_claims_an_unknown_licence(converted):
    assert not (converted / "README.md").exists()
    assert json.loads((converted / "config.json").read_text())["model_type"] == "muq"
