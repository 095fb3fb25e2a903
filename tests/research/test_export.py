"""Shipped folders: float16 on disk, float32 when loaded; and the size of what the recipes make."""

import json

import distil_text
import export
import pytest
import torch
import train
from huggingface_hub import ModelCard
from mulan_models import save_tiny
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, AutoProcessor, BertConfig, pipeline

from muq_hf import MuQConfig, MuQForPreTraining, MuQMuLanConfig, MuQMuLanModel
from muq_hf.evaluation.guards import training_music
from muq_hf.training.arguments import build_settings, flat_settings, read_config


LINE = {"id": "a", "title": "T", "author": "A", "licence": "MIT", "package": "p", "duration": 3600.0}


@pytest.fixture
def attribution(tmp_path):
    file = tmp_path / "attribution.jsonl"
    file.write_text(json.dumps(LINE) + "\n")
    return file


@pytest.fixture
def shipped(micro_folder, attribution, tmp_path):
    remember_training(micro_folder)
    export.export(micro_folder, tmp_path / "shipped", attribution)
    return tmp_path / "shipped"


def remember_training(model):
    """Beside the model what it heard: one file, `album/song.ogg` in the folder above."""
    entry = {"path": str(model.parent / "album" / "song.ogg"), "name": "song.ogg", "bytes": 4, "sha256": "00"}
    (model / "training_files.jsonl").write_text(json.dumps(entry) + "\n")
    return model


def test_weights_are_float16_on_disk(shipped):
    kinds = {tensor.dtype for tensor in load_file(shipped / "model.safetensors").values() if tensor.is_floating_point()}
    assert kinds == {torch.float16}


def test_auto_model_gives_float32(shipped):
    model = AutoModel.from_pretrained(shipped)
    assert AutoConfig.from_pretrained(shipped).dtype == torch.float32
    assert {p.dtype for p in [*model.parameters(), *model.buffers()] if p.is_floating_point()} == {torch.float32}
    assert MuQForPreTraining.from_pretrained(shipped).dtype == torch.float32


def test_pipeline_gives_float32(shipped):
    pipe = pipeline("feature-extraction", model=str(shipped))
    assert pipe.model.dtype == torch.float32
    frames = pipe({"raw": torch.randn(24_000).numpy(), "sampling_rate": 24_000})
    assert torch.as_tensor(frames).dtype == torch.float32


def test_another_precision_can_still_be_asked_for(shipped):
    assert AutoModel.from_pretrained(shipped, dtype=torch.bfloat16).dtype == torch.bfloat16


def test_output_is_that_of_the_trained_model(shipped, micro_folder):
    wave = torch.randn(1, 24_000)
    ours, theirs = (AutoModel.from_pretrained(folder).eval()(wave).last_hidden_state for folder in (shipped, micro_folder))
    assert torch.cosine_similarity(ours, theirs, dim=-1).min() > 0.999
    assert not torch.equal(ours, theirs)


def test_muq_mulan_loads_in_float32_with_its_processor(attribution, tmp_path):
    export.export(remember_training(save_tiny(tmp_path / "tiny")), tmp_path / "shipped", attribution)
    model, processor = AutoModel.from_pretrained(tmp_path / "shipped"), AutoProcessor.from_pretrained(tmp_path / "shipped")
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert {t.dtype for t in load_file(tmp_path / "shipped" / "model.safetensors").values() if t.is_floating_point()} == {
        torch.float16
    }
    assert model.get_text_features(**processor(text=["piano"], return_tensors="pt")).pooler_output.dtype == torch.float32
    assert {"modules.json", "sentence_bert_config.json"} <= {file.name for file in (tmp_path / "shipped").iterdir()}


def test_folder_holds_attribution_and_a_valid_card_and_no_places(shipped, micro_folder):
    card = ModelCard.load(shipped / "README.md")
    assert card.data.license == "cc-by-sa-4.0" and "not the weights of the authors" in card.text.replace("\n", " ")
    assert json.loads((shipped / "attribution.jsonl").read_text()) == LINE
    texts = [file.read_text() for file in shipped.iterdir() if file.suffix in (".json", ".jsonl", ".md")]
    assert not any(str(micro_folder.parent) in text for text in texts)


def test_probe_still_knows_what_the_model_was_trained_on(shipped, tmp_path):
    training = training_music(shipped)
    assert training.match(tmp_path / "elsewhere" / "album" / "song.flac") == "name"
    assert training.match(tmp_path / "elsewhere" / "album" / "other.flac") is None


def test_weights_beyond_float16_are_refused(micro_folder, attribution, tmp_path):
    remember_training(micro_folder)
    tensors = load_file(micro_folder / "model.safetensors")
    name = next(name for name in tensors if tensors[name].is_floating_point())
    tensors[name] = torch.full_like(tensors[name], 1e5)
    save_file(tensors, micro_folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=name):
        export.export(micro_folder, tmp_path / "shipped", attribution)
    assert not (tmp_path / "shipped").exists()


def recipe(stage, file):
    flat = flat_settings(read_config(train.HERE / file), stage, {"use_cpu": True})
    return build_settings(flat, stage, train.HERE / "unused").stage.model


def test_recipes_make_models_of_the_promised_size():
    """At most 4 M parameters, of them 2 M of the text tower, and 18 MB in float16 for both."""
    with torch.device("meta"):
        fields = recipe("muq", "muq_tiny.json") | {"codebook_size": recipe("latent_rvq", "muq_tiny.json")["codebook_size"]}
        config = MuQConfig(quantizer_type="none", **fields)
        muq = MuQForPreTraining(config)
        text = BertConfig(vocab_size=8_192, max_position_embeddings=64, type_vocab_size=1, **distil_text.STUDENT)
        mulan = MuQMuLanModel(MuQMuLanConfig(audio_config=config, text_config=text, **recipe("mulan", "mulan_tiny.json")))
    size_of_muq, size_of_mulan = (sum(p.numel() for p in model.parameters()) for model in (muq, mulan))
    assert size_of_muq <= 4_000_000
    assert sum(p.numel() for p in mulan.text_model.parameters()) <= 2_000_000
    assert 2 * (size_of_muq + size_of_mulan) <= 18_000_000
    assert config.sampling_rate == 24_000 and config.frame_rate == 25
