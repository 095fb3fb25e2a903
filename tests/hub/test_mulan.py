"""Published MuQ-MuLan → one self-contained folder."""

import shutil

import pytest
import torch
from checks import ASSETS
from mulan_models import save_tiny, tiny_processor
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoProcessor

from muq_hf.cli import main
from muq_hf.hub.conversion import convert_muq_mulan
from muq_hf.hub.export import export_hub
from muq_hf.modeling_muq_mulan import MuQMuLanModel


PUBLISHED = ASSETS / "published_mulan_tiny"


@pytest.fixture
def text_folder(tmp_path):
    """Configuration and tokenizer of the text encoder, as they come from its own repository."""
    folder = tmp_path / "text"
    tiny_processor().tokenizer.save_pretrained(folder)
    shutil.copy(PUBLISHED / "text_model" / "config.json", folder)
    return folder


def test_converted_folder_equals_the_published_model(text_folder, tmp_path):
    convert_muq_mulan(PUBLISHED, tmp_path / "out", audio=PUBLISHED / "audio_model", text=text_folder)
    converted, published = AutoModel.from_pretrained(tmp_path / "out"), MuQMuLanModel.from_pretrained(PUBLISHED)
    state = published.state_dict()
    assert converted.state_dict().keys() == state.keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in converted.state_dict().items())
    assert converted.config.clip_rule == "duration" and converted.config.projection_dim == 24
    processor = AutoProcessor.from_pretrained(tmp_path / "out")
    assert processor.tokenizer.model_max_length == tiny_processor().tokenizer.model_max_length
    assert processor(text="rock", return_tensors="pt")["input_ids"].shape == (1, 6)


def test_command_takes_the_places_of_both_towers(text_folder, tmp_path):
    output = tmp_path / "out"
    assert main(["convert", "muq-mulan", str(PUBLISHED), str(output), "--text", str(text_folder), "--license", "mit"]) == 0
    assert (output / "model.safetensors").is_file() and "license: mit" in (output / "README.md").read_text()


def test_a_missing_tokenizer_is_named(tmp_path, capsys):
    assert main(["convert", "muq-mulan", str(PUBLISHED), str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err
    assert "tokenizer" in message and "xlm-roberta-base" in message and "--text" in message
    assert not (tmp_path / "out").exists()


def test_a_missing_tower_configuration_is_named(tmp_path):
    source = shutil.copytree(PUBLISHED, tmp_path / "source")
    shutil.rmtree(source / "text_model")
    config = (source / "config.json").read_text().replace("xlm-roberta-base", "somebody/xlm-roberta-own")
    (source / "config.json").write_text(config)
    with pytest.raises(OSError, match="needs the configuration of its text_model, 'somebody/xlm-roberta-own'"):
        MuQMuLanModel.from_pretrained(source)


@pytest.mark.parametrize("change", ["one more", "one less"])
def test_every_tensor_must_be_known_and_there(tmp_path, change):
    source = shutil.copytree(PUBLISHED, tmp_path / "source")
    tensors = load_file(source / "model.safetensors")
    name = "mulan.text.transformer.layers.1.0.to_q.weight"
    if change == "one more":
        tensors[name.replace("to_q", "to_z")] = tensors[name].clone()
    else:
        del tensors[name]
    save_file(tensors, source / "model.safetensors")
    with pytest.raises(ValueError, match="to_z" if change == "one more" else "layers.1.attention.q_proj"):
        MuQMuLanModel.from_pretrained(source)


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [
        ("audio_transformer", "tf_depth", 2),
        ("mulan", "sigmoid_contrastive_loss", True),
        ("audio_model", "use_layer_idx", 6),
    ],
)
def test_variants_that_were_never_published_are_refused(part, field, value):
    from transformers import PreTrainedConfig

    from muq_hf.published_muq_mulan import config_from_published_mulan

    published, _ = PreTrainedConfig.get_config_dict(PUBLISHED)
    published[part][field] = value
    with pytest.raises(ValueError, match=f"{field}={value!r}"):
        config_from_published_mulan(published, {}, {})


def test_exported_folder_runs_without_the_package(tmp_path):
    export_hub(save_tiny(tmp_path / "model"), tmp_path / "hub", licence="mit")  # itself loads and runs it in a bare process
    names = {file.name for file in (tmp_path / "hub").iterdir()}
    assert {"modeling_muq_mulan.py", "processing_muq_mulan.py", "pipeline_muq_mulan.py", "tokenizer.json"} <= names
