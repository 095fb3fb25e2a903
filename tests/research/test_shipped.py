"""The weights that the package ships: size, precision, what they were trained on, and what they give."""

import json
import re
from pathlib import Path

import listen
import numpy as np
import pytest
import torch
from cards import mulan_results, probe_results
from catalogue import TRAINABLE_LICENCES
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from transformers import AutoModel, pipeline

from muq_hf import MUQ_MULAN_TINY, MUQ_TINY
from muq_hf.checkpoints import relocate_own_weights
from muq_hf.cli import main
from muq_hf.evaluation.guards import training_music


ROOT = Path(__file__).parents[2]
SPLITS = ("train", "train", "valid", "valid", "test", "test")
KINDS = ("acoustic", "electric", "acoustic", "electric", "acoustic", "electric")
FOLDERS = pytest.mark.parametrize("folder", [MUQ_TINY, MUQ_MULAN_TINY], ids=["muq-tiny", "muq-mulan-tiny"])


def lines(path) -> list[dict]:
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def test_both_keep_to_their_sizes():
    """At most 4 M parameters of MuQ, 2 M of the text tower, 18 MB on disk."""
    assert sum(tensor.numel() for tensor in load_file(Path(MUQ_TINY) / "model.safetensors").values()) <= 4_000_000
    assert sum(p.numel() for p in AutoModel.from_pretrained(MUQ_MULAN_TINY).text_model.parameters()) <= 2_000_000
    files = [Path(folder) / "model.safetensors" for folder in (MUQ_TINY, MUQ_MULAN_TINY)]
    assert sum(file.stat().st_size for file in files) <= 18e6


@FOLDERS
def test_float16_on_disk_is_float32_in_use(folder):
    stored = load_file(Path(folder) / "model.safetensors").values()
    assert {tensor.dtype for tensor in stored if tensor.is_floating_point()} == {torch.float16}
    assert {p.dtype for p in AutoModel.from_pretrained(folder).parameters()} == {torch.float32}


def test_pipelines_take_the_folders():
    assert pipeline("feature-extraction", model=MUQ_TINY).model.dtype == torch.float32
    assert pipeline("zero-shot-audio-classification", model=MUQ_MULAN_TINY).model.dtype == torch.float32


@FOLDERS
def test_every_recording_is_named_with_a_free_licence(folder):
    credits = lines(Path(folder) / "attribution.jsonl")
    recordings = [row for row in credits if "package" in row]
    assert len(recordings) > 100 and all(row["title"] and row["source"] and row["author"] for row in recordings)
    assert {row["licence"] for row in credits} <= TRAINABLE_LICENCES


@FOLDERS
def test_no_test_track_was_trained_on(folder):
    splits = json.loads((ROOT / "research" / "corpus" / "splits" / "tracks.json").read_text())
    for trained in ({row["id"] for row in lines(Path(folder) / "attribution.jsonl")}, training_music(folder).names):
        assert trained & set(splits["train"]) and not trained & set(splits["test"])


@FOLDERS
def test_benchmark_knows_what_they_heard(folder):
    """All recordings but the twentieth that training itself was measured on."""
    recordings = {row["id"] for row in lines(Path(folder) / "attribution.jsonl") if "package" in row}
    assert len(recordings & training_music(folder).names) > 0.9 * len(recordings)


@FOLDERS
def test_card_says_whose_weights_these_are(folder):
    card = ModelCard.load(Path(folder) / "README.md")
    assert card.data.license == "cc-by-sa-4.0" and card.data.library_name == "transformers"
    assert "not the weights of the authors" in re.sub(r"[\s*]+", " ", card.text)


def test_vectors_of_the_clips_are_the_committed_ones():
    committed = json.loads((ROOT / "research" / "checkpoints" / "results" / "clips.json").read_text())
    found = listen.listen()
    assert found.keys() == committed.keys()
    for tower in committed:
        for name, vector in committed[tower].items():
            np.testing.assert_allclose(found[tower][name], vector, atol=1e-4, err_msg=f"{tower}, {name}")


def test_commands_take_them_when_no_model_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    clips, index = ["examples/audio/bach_brandenburg.ogg", "examples/audio/metal_ezer_ev.ogg"], tmp_path / "e.parquet"
    labels = tmp_path / "labels.txt"
    labels.write_text("orchestra\nmetal\n")
    quiet = ["--workers", "0", "--quiet"]
    for command, name in (
        (["embed", *clips, "--output", str(tmp_path / "encoder.parquet"), "--model", "muq-tiny", *quiet], "muq-tiny"),
        (["embed", *clips, "--output", str(index), *quiet], "muq-mulan-tiny"),
        (["tag", *clips, "--labels", str(labels), "--quiet"], "muq-mulan-tiny"),
    ):
        assert main(command) == 0
        first = capsys.readouterr().err.splitlines()[0]
        assert first.startswith(f"Model: {name}, muq_hf's own") and "neither those of MuQ's authors" in first
    assert main(["search", "an orchestra", "--index", str(index)]) == 0
    found = capsys.readouterr()
    assert found.out.count(".ogg") == 2 and found.err.startswith("Model: muq-mulan-tiny")


@pytest.mark.slow
def test_probe_and_zero_shot_take_them_too(tmp_path, capsys):
    clips = sorted((ROOT / "examples" / "audio").glob("*.ogg"))
    labelled = zip(clips, SPLITS, KINDS, strict=True)
    rows = [{"path": str(clip), "split": split, "labels": {"kind": kind}} for clip, split, kind in labelled]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    manifest = ["--manifest", str(tmp_path / "m.jsonl")]
    probe = ["probe", *manifest, "--no-baselines", "--probes", "linear", "--seeds", "1", "--output", str(tmp_path / "probed")]
    assert main(probe) == 0
    assert "muq-tiny" in json.loads((tmp_path / "probed" / "results.json").read_text())["settings"]["model"]
    assert main(["zero-shot", *manifest, "--output", str(tmp_path / "z.json")]) == 0
    assert json.loads((tmp_path / "z.json").read_text())["model"] == "muq-mulan-tiny"
    assert "Model: muq-tiny" in (error := capsys.readouterr().err) and "Model: muq-mulan-tiny" in error


def test_index_of_another_installation_is_searched_with_this_one(tmp_path):
    elsewhere = tmp_path / "old" / "site-packages" / "muq_hf" / "checkpoints" / "muq-mulan-tiny"
    assert relocate_own_weights(str(elsewhere)) == MUQ_MULAN_TINY
    elsewhere.mkdir(parents=True)
    assert relocate_own_weights(str(elsewhere)) == str(elsewhere)
    assert relocate_own_weights("OpenMuQ/MuQ-MuLan-large") == "OpenMuQ/MuQ-MuLan-large"


@pytest.mark.parametrize(
    ("folder", "file", "read"),
    [
        (MUQ_TINY, "benchmarks/results/probe_muq_tiny.json", lambda found: probe_results(found["results"], "muq-tiny, seed 0")),
        (MUQ_MULAN_TINY, "research/checkpoints/results/mulan.json", mulan_results),
    ],
)
def test_scores_in_a_shipped_card_are_those_that_were_measured(folder, file, read):
    card = ModelCard.load(Path(folder) / "README.md")
    measured = {(r.dataset_name, r.metric_type): r.metric_value for r in read(json.loads((ROOT / file).read_text()))}
    assert {(r.dataset_name, r.metric_type): r.metric_value for r in card.data.eval_results} == measured
    rows = [line for line in card.text.splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + len(measured)


def test_shipped_cards_name_what_the_hub_asks_for():
    """Licence, library and task; the language of the texts where there is text: music alone has none."""
    muq, mulan = (ModelCard.load(Path(folder) / "README.md").data for folder in (MUQ_TINY, MUQ_MULAN_TINY))
    assert (muq.pipeline_tag, mulan.pipeline_tag) == ("feature-extraction", "zero-shot-audio-classification")
    assert {muq.library_name, mulan.library_name} == {"transformers"} and {muq.license, mulan.license} == {"cc-by-sa-4.0"}
    assert (muq.language, mulan.language) == (None, ["en"])


def test_model_card_is_valid_and_finished():
    card = ModelCard.load(ROOT / "MODEL_CARD.md")
    assert card.data.license == "cc-by-sa-4.0" and "@@" not in card.text
