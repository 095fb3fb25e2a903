"""Published MuQ-MuLan → one self-contained folder."""

import shutil

import pytest
import torch
from checks import ASSETS, EXAMPLE_AUDIO, wave_of
from huggingface_hub import ModelCard
from mulan_models import save_tiny, tiny_processor
from published_folders import put_into_cache
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoProcessor

from muq_hf.cli import main
from muq_hf.hub.conversion import convert_muq_mulan
from muq_hf.hub.hub_folder import export_hub
from muq_hf.models.modeling_muq_mulan import MuQMuLanModel
from muq_hf.models.processing_muq_mulan import MuQMuLanProcessor


PUBLISHED = ASSETS / "published_mulan_tiny"


@pytest.fixture
def text_folder(tmp_path):
    """Configuration and tokenizer of the text encoder, as they come from its own repository."""
    folder = tmp_path / "text"
    tiny_processor().tokenizer.save_pretrained(folder)
    shutil.copy(PUBLISHED / "text_model" / "config.json", folder)
    return folder


def test_converted_folder_computes_the_published_vectors(text_folder, tmp_path, goldens):
    convert_muq_mulan(PUBLISHED, tmp_path / "out", audio=PUBLISHED / "audio_model", text=text_folder)
    converted, expected = AutoModel.from_pretrained(tmp_path / "out"), load_file(PUBLISHED / "goldens.safetensors")
    song = wave_of(goldens, 50_011)[:, torch.arange(72_000) % 50_011]  # tests/oracle/README.md
    ids = expected["text.6.ids"].reshape(1, 6)
    with torch.no_grad():
        audio = converted.get_audio_features(song, clip_rule="published").pooler_output[0]
        text = converted.get_text_features(ids).pooler_output[0]
    torch.testing.assert_close(audio, expected["audio.3"], atol=1e-5, rtol=0)
    torch.testing.assert_close(text, expected["text.6.embeds"].flatten(), atol=1e-5, rtol=0)
    assert converted.logit_scale.item() == load_file(PUBLISHED / "model.safetensors")["mulan.contrast.temperatures"].item()
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


def test_towers_and_tokenizer_are_those_of_the_revision_and_cache_asked_for(text_folder, tmp_path):
    bare = shutil.copytree(PUBLISHED, tmp_path / "bare", ignore=shutil.ignore_patterns("*_model"))
    whole = shutil.copytree(PUBLISHED, tmp_path / "whole")
    shutil.copytree(text_folder, whole / "text_model", dirs_exist_ok=True)
    put_into_cache(tmp_path / "cache", "somebody/mulan", "main", bare)
    put_into_cache(tmp_path / "cache", "somebody/mulan", "v2", whole)
    place = {"cache_dir": tmp_path / "cache", "revision": "v2", "local_files_only": True}
    assert MuQMuLanModel.from_pretrained("somebody/mulan", **place).config.text_config.vocab_size == 200
    assert MuQMuLanProcessor.from_pretrained("somebody/mulan", **place)(text="rock")["input_ids"]


def test_a_tower_of_another_repository_is_found_in_the_cache_asked_for_at_its_own_revision(text_folder, tmp_path):
    source = shutil.copytree(PUBLISHED, tmp_path / "source")
    shutil.rmtree(source / "text_model")
    (source / "config.json").write_text((source / "config.json").read_text().replace("xlm-roberta-base", "somebody/text"))
    put_into_cache(tmp_path / "cache", "somebody/text", "main", text_folder)
    place = {"cache_dir": tmp_path / "cache", "revision": "v2", "local_files_only": True}
    assert MuQMuLanModel.from_pretrained(source, **place).config.text_config.vocab_size == 200
    assert MuQMuLanProcessor.from_pretrained(source, **place)(text="rock")["input_ids"]


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
        ("mulan", "sr", 48_000),
        ("audio_model", "use_layer_idx", 6),
    ],
)
def test_variants_that_were_never_published_are_refused(part, field, value):
    from transformers import PreTrainedConfig

    from muq_hf.models.published_muq_mulan import config_from_published_mulan

    published, _ = PreTrainedConfig.get_config_dict(PUBLISHED)
    published[part][field] = value
    with pytest.raises(ValueError, match=f"{field}={value!r}"):
        config_from_published_mulan(published, {}, {})


@pytest.mark.slow
def test_exported_folder_runs_without_the_package(tmp_path):
    export_hub(save_tiny(tmp_path / "model"), tmp_path / "hub", licence="mit")  # itself loads and runs it in a bare process
    names = {file.name for file in (tmp_path / "hub").iterdir()}
    assert {"modeling_muq_mulan.py", "processing_muq_mulan.py", "pipeline_muq_mulan.py", "tokenizer.json"} <= names
    assert {"modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"} <= names


SCORES = """
model-index:
- name: a name
  results:
  - task: {type: zero-shot-audio-classification}
    dataset: {type: somebody/songs, name: Songs, split: test}
    metrics: [{type: roc_auc, value: 0.75, name: ROC-AUC}, {type: f1, value: "<script>"}, {type: recall, value: .nan}]
"""


def test_card_of_an_exported_folder_has_languages_data_sets_scores_and_an_example(tmp_path):
    model = save_tiny(tmp_path / "model")
    metadata = "language: [en, zh, 12]\ndatasets: [somebody/songs, 'no id: [x]']" + SCORES
    ModelCard(f"---\n{metadata}---\n").save(model / "README.md")
    export_hub(model, tmp_path / "hub", "cc-by-nc-4.0", "OpenMuQ/MuQ-MuLan-large", EXAMPLE_AUDIO / "metal_ezer_ev.ogg")
    card = ModelCard.load(tmp_path / "hub" / "README.md").data
    assert (card.language, card.datasets) == (["en", "zh"], ["somebody/songs"])
    assert (card.base_model, card.library_name) == ("OpenMuQ/MuQ-MuLan-large", "transformers")
    assert card.pipeline_tag == "zero-shot-audio-classification"
    (score,) = card.eval_results
    assert (score.dataset_type, score.dataset_split, score.metric_type, score.metric_value) == (
        ("somebody/songs", "test", "roc_auc", 0.75)
    )
    (widget,) = card.widget
    assert (tmp_path / "hub" / widget["src"]).is_file() and "piano" in widget["candidate_labels"]
