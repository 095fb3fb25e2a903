"""`muq-hf probe` and `muq-hf zero-shot` from the command line to their files."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from mulan_models import tiny_processor
from transformers import BatchFeature

from muq_hf import MuQMuLanFeatureExtractor, MuQMuLanModel, cli
from muq_hf.evaluation.manifests import read_manifest
from muq_hf.evaluation.tasks import TASKS, subset
from muq_hf.evaluation.zero_shot import load_joint, zero_shot_scores


def test_list_names_every_task(capsys):
    assert cli.main(["probe", "--list"]) == 0
    told = capsys.readouterr().out
    assert all(task.name in told and task.primary in told for task in TASKS)


def test_manifest_gives_table_json_and_pictures(micro_folder, tones, tmp_path, capsys):
    output = tmp_path / "out"
    command = ["probe", "--model", str(micro_folder), "--manifest", str(tones), "--label", "class", "--seeds", "1"]
    assert cli.main([*command, "--probes", "linear", "--check", "--output", str(output)]) == 0
    results = json.loads((output / "results.json").read_text())["results"]
    models = [row["model"] for row in results]
    assert models == ["majority", str(micro_folder), "cues", "mel", f"random:{micro_folder}"]
    mel = results[3]["probes"]
    assert mel["linear"]["scores"]["accuracy"]["mean"] > 0.95
    assert results[0]["probes"]["chance"]["scores"]["accuracy"]["mean"] == pytest.approx(1 / 3)
    assert {"scores", "near_chance"} == mel["shuffled"].keys()
    assert "| mel | linear |" in (output / "results.md").read_text()
    assert all((output / name).read_bytes().startswith(b"\x89PNG") for name in ("layers.png", "curves.png"))
    assert "| mel | linear |" in capsys.readouterr().out


def test_suite_takes_the_corpus_folder(tones, tmp_path):
    lines = [json.loads(line) for line in tones.read_text().splitlines()]
    clips = [row | {"path": str(tones.parent / row["path"])} for row in lines]
    for row in clips:
        row["labels"]["album"] = row["labels"]["class"]
    (tmp_path / "clips.jsonl").write_text("".join(json.dumps(row) + "\n" for row in clips))
    command = ["probe", "--model", "mel", "--suite", "small", "--corpus", str(tmp_path), "--tasks", "album", "retrieval"]
    assert cli.main([*command, "--probes", "linear", "--seeds", "2", "--output", str(tmp_path / "out")]) == 0
    rows = json.loads((tmp_path / "out" / "results.json").read_text())["results"]
    scores = {(row["task"], row["model"]): row["probes"] for row in rows}
    assert scores["album", "mel"]["linear"]["scores"]["macro_f1"]["mean"] > 0.95
    random_order = np.mean(1 / np.arange(1, 60))  # precision at the one other clip of the track, among 59
    assert scores["retrieval", "mel"]["linear"]["scores"]["map"]["mean"] > 1.5 * random_order


ADAPTER = """
import numpy as np
import torch


class Peer:
    name = fingerprint = "peer"
    sampling_rate, max_seconds, min_samples, layer_names = 24_000, 30.0, 1, ("spectrum",)

    def __init__(self):
        self.model = torch.nn.Linear(1, 1)

    def pooled(self, waves):
        return [np.abs(np.fft.rfft(waves)).reshape(len(waves), -1)[:, :12_000].reshape(len(waves), 12, -1).mean(axis=2)]
"""


def test_an_adapter_with_a_model_of_its_own_is_no_checkpoint(tones, tmp_path):
    (tmp_path / "peer.py").write_text(ADAPTER)
    command = ["probe", "--model", f"{tmp_path}/peer.py:Peer", "--manifest", str(tones), "--label", "class", "--no-baselines"]
    assert cli.main([*command, "--probes", "linear", "--seeds", "1", "--output", str(tmp_path / "out")]) == 0
    rows = json.loads((tmp_path / "out" / "results.json").read_text())["results"]
    assert [row["model"] for row in rows] == ["majority", "peer"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--model", "mel"], "choose one of --suite"),
        (["--model", "mel", "--manifest", "gone.csv"], "there is no manifest"),
        (["--model", "mel", "--suite", "small", "--corpus", "nowhere"], "Build the corpus"),
        (["--model", "mel", "--suite", "small", "--tasks", "genre"], "unknown tasks genre"),
    ],
)
def test_wrong_use_is_one_clear_line(arguments, message, capsys):
    assert cli.main(["probe", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_named_kind_does_not_let_mixed_classes_through(tmp_path, capsys):
    rows = [
        {"path": f"{split}.wav", "split": split, "label": label} for split, label in (("train", "a"), ("valid", 1), ("test", "a"))
    ]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert cli.main(["probe", "--model", "mel", "--manifest", str(tmp_path / "m.jsonl"), "--kind", "class"]) == 2
    assert "got both 'a' and 1" in capsys.readouterr().err


def test_small_suite_is_a_fixed_share_of_every_split(tones):
    clips = read_manifest(tones)
    small = subset(clips, 30, whole_groups=True)
    assert small == subset(clips, 30, whole_groups=True)
    share = {split: sum(c.split == split for c in small) / sum(c.split == split for c in clips) for split in ("train", "test")}
    assert share["train"] == pytest.approx(0.5, abs=0.1) and share["test"] == pytest.approx(0.5, abs=0.1)
    assert all(sum(c.group == clip.group for c in small) == 2 for clip in small)


class Oracle:
    """A model of audio and text that knows which of three frequencies dominates."""

    device = "cpu"

    def get_text_features(self, numbers):
        return SimpleNamespace(pooler_output=torch.eye(3)[numbers])

    def get_audio_features(self, waves):
        spectrum = torch.fft.rfft(waves).abs()
        bands = [spectrum[:, low:high].amax(dim=1) for low, high in ((100, 400), (400, 1600), (1600, 6400))]
        return SimpleNamespace(pooler_output=torch.stack(bands, dim=1))


class Processor:
    feature_extractor = SimpleNamespace(sampling_rate=24_000)
    names = ("low", "middle", "high", "loud")

    def __call__(self, text=None, audio=None, sampling_rate=None, return_tensors=None, padding=None):
        if text is not None:
            return BatchFeature({"numbers": torch.tensor([self.names.index(t.removeprefix("a tone, ")) % 3 for t in text])})
        return BatchFeature({"waves": torch.from_numpy(np.stack(audio))})


def test_zero_shot_scores_names_against_labels(tones):
    clips = [clip for clip in read_manifest(tones) if clip.split == "test"]
    assert zero_shot_scores(Oracle(), Processor(), clips, "class", "a tone, {}")["accuracy"] == 1.0
    tags = zero_shot_scores(Oracle(), Processor(), clips, "tags")
    assert tags["labels"] == 4 and tags["roc_auc"] > 0.7


def test_zero_shot_refuses_what_has_no_names(tones):
    clips = read_manifest(tones)
    with pytest.raises(ValueError, match="classes or tags"):
        zero_shot_scores(Oracle(), Processor(), clips, "hertz")
    with pytest.raises(ValueError, match="must hold {}"):
        zero_shot_scores(Oracle(), Processor(), clips, "class", "a tone")


def test_zero_shot_leaves_out_single_clips_that_cannot_be_read(tones, tmp_path):
    clips = [clip for clip in read_manifest(tones) if clip.split == "test"]
    missing = replace(clips[0], path=tmp_path / "gone.wav")
    found = zero_shot_scores(Oracle(), Processor(), 20 * clips + [missing], "class", "a tone, {}")
    assert (found["unreadable"], found["clips"], found["accuracy"]) == (1, 20 * len(clips), 1.0)
    with pytest.raises(ValueError, match="1 of 2 clips cannot be read"):
        zero_shot_scores(Oracle(), Processor(), [clips[0], missing], "class", "a tone, {}")


def test_zero_shot_leaves_out_clips_too_short_for_the_model(tones, capsys):
    clips = [clip for clip in read_manifest(tones) if clip.split == "test"]
    processor = Processor()
    processor.feature_extractor = MuQMuLanFeatureExtractor(min_samples=1025)
    short = replace(clips[0], end=clips[0].start + 1024 / 24_000)
    found = zero_shot_scores(Oracle(), processor, 2 * clips + [short], "class", "a tone, {}")
    assert (found["unreadable"], found["clips"]) == (1, 2 * len(clips))
    assert "has 1024 samples; the model needs at least 1025" in capsys.readouterr().err


def test_zero_shot_leaves_out_silent_clips(tones, tmp_path, capsys):
    clips = [clip for clip in read_manifest(tones) if clip.split == "test"]
    soundfile.write(tmp_path / "silent.wav", np.zeros(24_000), 24_000)
    silent = replace(clips[0], path=tmp_path / "silent.wav", start=0.0, end=None)
    found = zero_shot_scores(Oracle(), Processor(), 20 * clips + [silent], "class", "a tone, {}")
    assert (found["unreadable"], found["clips"]) == (1, 20 * len(clips))
    assert "silent.wav is silent" in capsys.readouterr().err


@pytest.mark.parametrize("split", ["train", "test"])
def test_zero_shot_refuses_clips_that_the_model_was_trained_on(tones, tmp_path, split, capsys):
    leaked = next(clip.path for clip in read_manifest(tones) if clip.split == split)
    (tmp_path / "training_files.jsonl").write_text(json.dumps({"path": str(leaked)}) + "\n")
    command = ["zero-shot", "--model", str(tmp_path), "--manifest", str(tones), "--label", "class", "--split", split]
    assert cli.main(command) == 2
    assert f"1 {split} files are in the training music" in capsys.readouterr().err


def test_zero_shot_takes_the_published_format(tmp_path):
    shutil.copytree(Path(__file__).parents[1] / "assets" / "published_mulan_tiny", tmp_path / "published")
    tiny_processor().tokenizer.save_pretrained(tmp_path / "published" / "text_model")
    model, processor = load_joint(str(tmp_path / "published"))
    assert isinstance(model, MuQMuLanModel) and processor.feature_extractor.sampling_rate == 24_000
