"""`muq-hf train mulan`: from a manifest of music and words to a model that finds the one by the other."""

import json

import numpy as np
import pytest
import soundfile
import torch
from huggingface_hub import ModelCard
from mulan_models import tiny_config, tiny_model, tiny_processor
from sentence_transformers import SentenceTransformer
from transformers import AutoModel, AutoProcessor

from muq_hf import MuQModel
from muq_hf.cli import main
from muq_hf.training.chain import train
from muq_hf.training.mulan import _has_weights


RATE = 24_000  # Hz
AUDIO_FIELDS = ("conv_channels", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
TAGS = {"low": 110.0, "middle": 660.0, "high": 3000.0, "noisy": None}  # Hz
AUDIO_CONFIG = {name: getattr(tiny_config().audio_config, name) for name in AUDIO_FIELDS}
MULAN = {
    "model": {
        "audio_config": AUDIO_CONFIG,
        "projection_dim": 12,
        "adapter_size": 24,
        "text_adapter_layers": 1,
        "text_adapter_heads": 2,
        "text_adapter_head_dim": 8,
        "text_adapter_intermediate_size": 32,
    },
    "freeze_text": False,
}
CONFIG = {
    "clip_seconds": 1.0,
    "eval_share": 0.3,
    "num_eval_clips": 12,
    "use_cpu": True,
    "disable_tqdm": True,
    "seed": 3,
    "logging_steps": 5,
    "save_steps": 1000,
    "eval_steps": 1000,
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 1,
    "learning_rate": 3e-3,
}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """24 pieces of 2 s, of four kinds, each with its kind as the only tag."""
    folder = tmp_path_factory.mktemp("pairs")
    lines = []
    for number in range(24):
        generator = np.random.default_rng(number)
        tag = list(TAGS)[number % 4]
        wave = 0.1 * generator.standard_normal(2 * RATE)
        if TAGS[tag]:
            pitch = TAGS[tag] * generator.uniform(0.9, 1.1)
            wave = 0.05 * wave + 0.3 * np.sin(2 * np.pi * pitch * np.arange(2 * RATE) / RATE)
        soundfile.write(folder / f"{number}.wav", wave.astype(np.float32), RATE)
        lines.append(json.dumps({"path": f"{number}.wav", "tags": [tag]}))
    (folder / "pairs.jsonl").write_text("\n".join(lines))
    (folder / "templates.txt").write_text("{tags} music\nthis is {tags}\n")
    return folder / "pairs.jsonl"


@pytest.fixture(scope="module")
def text_encoder(tmp_path_factory):
    """Configuration and tokenizer without weights: an encoder to be trained from nothing."""
    folder = tmp_path_factory.mktemp("text")
    tiny_config().text_config.save_pretrained(folder)
    tiny_processor().tokenizer.save_pretrained(folder)
    return folder


def metrics_of(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def trained(manifest, text_encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    (folder / "config.json").write_text(json.dumps(CONFIG | {"mulan": MULAN}))
    command = ["train", "mulan", str(folder / "config.json"), "--data", str(manifest), "--output", str(folder / "run")]
    command += ["--text_encoder", str(text_encoder), "--templates", str(manifest.parent / "templates.txt")]
    assert main([*command, "--max-steps", "80"]) == 0
    return folder / "run"


def test_training_pairs_music_with_its_words(trained):
    losses = [row["loss"] for row in metrics_of(trained) if "loss" in row]
    assert losses[-1] < 0.7 * losses[0]


def test_evaluation_on_held_out_pieces_tells_retrieval_both_ways(trained):
    last = [row for row in metrics_of(trained) if "eval_loss" in row][-1]
    found = [last[f"eval_audio_to_text_r{k}"] for k in (1, 5, 10)]
    assert sorted(found) == found
    assert found[0] >= 0.5  # chance: 0.25
    assert {"eval_text_to_audio_r1", "eval_audio_to_text_median_rank", "eval_pairs"} <= last.keys()


def test_finished_folder_loads_by_the_auto_classes(trained):
    model, processor = AutoModel.from_pretrained(trained / "final"), AutoProcessor.from_pretrained(trained / "final")
    with torch.no_grad():
        vector = model.get_text_features(**processor(text="low music", return_tensors="pt")).pooler_output
    assert vector.shape == (1, 12)
    assert len((trained / "final" / "training_files.jsonl").read_text().splitlines()) < 24


def test_finished_folder_is_one_of_sentence_transformers(trained):
    joint = SentenceTransformer(str(trained / "final"), device="cpu")
    music = joint.encode([{"array": np.zeros(44_100, dtype=np.float32), "sampling_rate": 44_100}])
    words = joint.encode(["low music"])
    assert music.shape == words.shape == (1, 12)


def test_card_of_a_finished_run_has_its_scores_on_held_out_pieces(trained):
    card = ModelCard.load(trained / "final" / "README.md").data
    last = [row for row in metrics_of(trained) if "eval_loss" in row][-1]
    assert card.pipeline_tag == "zero-shot-audio-classification" and "muq_mulan" in card.tags
    scores = {result.metric_type: result.metric_value for result in card.eval_results}
    assert {"loss", "text_to_audio_r1", "audio_to_text_r10"} <= scores.keys()
    assert scores == {name: pytest.approx(last[f"eval_{name}"], abs=1e-4) for name in scores}


def test_a_model_hears_clips_of_the_length_that_it_was_trained_with(trained):
    assert AutoModel.from_pretrained(trained / "final").config.clip_seconds == CONFIG["clip_seconds"]


@pytest.mark.parametrize("name", ["model.safetensors", "model-00001-of-00002.safetensors", "pytorch_model.bin"])
def test_a_text_encoder_with_weights_of_any_format_is_no_empty_one(text_encoder, tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    assert _has_weights(str(tmp_path)) and not _has_weights(str(text_encoder))


def run_short(manifest, output, **own):
    settings = {"max_steps": 2, "eval_strategy": "no", "save_strategy": "no"}
    return train("mulan", CONFIG | {"mulan": own} | settings, {"data": str(manifest), "output_dir": str(output)})


def test_frozen_encoders_keep_their_weights_and_the_rest_learns(manifest, tmp_path):
    tiny_model().save_pretrained(tmp_path / "start")
    tiny_processor().save_pretrained(tmp_path / "start")
    final = run_short(manifest, tmp_path / "run", start=str(tmp_path / "start"), freeze_text=True, freeze_music=True)
    before, after = tiny_model().state_dict(), AutoModel.from_pretrained(final).state_dict()
    for name, tensor in before.items():
        if ".encoder." in name:
            assert torch.equal(tensor, after[name]), name
        elif name.endswith("projection.weight"):
            assert not torch.equal(tensor, after[name]), name


def test_training_starts_from_a_given_music_encoder(manifest, text_encoder, tmp_path):
    encoder = tiny_model().audio_model.encoder
    encoder.save_pretrained(tmp_path / "muq")
    own = {**MULAN, "model": {k: v for k, v in MULAN["model"].items() if k != "audio_config"}, "freeze_music": True}
    final = run_short(manifest, tmp_path / "run", **own, music_encoder=str(tmp_path / "muq"), text_encoder=str(text_encoder))
    weight = AutoModel.from_pretrained(final).audio_model.encoder.front_end.projection.weight
    assert torch.equal(weight, MuQModel.from_pretrained(tmp_path / "muq").front_end.projection.weight)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({}, "no text encoder was given"),
        ({"text_encoder": "TEXT", "freeze_text": True, "model": MULAN["model"]}, "holds no weights"),
        ({"text_encoder": "TEXT", "plain_tag_share": 2.0, **MULAN}, "plain_tag_share"),
    ],
)
def test_settings_that_cannot_work_are_refused(manifest, text_encoder, tmp_path, own, message):
    own = own | ({"text_encoder": str(text_encoder)} if "text_encoder" in own else {})
    with pytest.raises(ValueError, match=message):
        run_short(manifest, tmp_path / "run", **own)
