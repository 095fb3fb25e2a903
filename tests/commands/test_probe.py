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
from muq_hf.audio import load_audio
from muq_hf.evaluation import text_tagging as zero_shot
from muq_hf.evaluation.corpus_tasks import CORPUS_TASKS, subset
from muq_hf.evaluation.labelled_clips import read_manifest
from muq_hf.evaluation.probes import MAX_FITTED_ROWS
from muq_hf.evaluation.splits import TEST_SHARE
from muq_hf.evaluation.text_tagging import load_joint, zero_shot_scores


def test_help_says_how_splits_and_rows_are_drawn(capsys):
    assert cli.main(["probe", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"{TEST_SHARE:.0%} of the groups".replace("%", " %") in said and f"{MAX_FITTED_ROWS:,} rows" in said


def test_list_names_every_task(capsys):
    assert cli.main(["probe", "--list"]) == 0
    told = capsys.readouterr().out
    assert all(task.name in told and task.task.primary in told for task in CORPUS_TASKS)


@pytest.mark.slow
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
from muq_hf.evaluation.encoders import Encoder


class Peer(Encoder):
    name = fingerprint = "peer"
    sampling_rate, min_samples, layer_names = 24_000, 1, ("spectrum",)

    def __init__(self):
        self.model = torch.nn.Linear(1, 1)

    def states(self, waves):
        bands = np.abs(np.fft.rfft(waves))[:, :12_000].reshape(len(waves), 12, -1).mean(axis=2)
        return [torch.from_numpy(bands.astype(np.float32))[:, None]]
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
        (["--model", "mel", "--suite", "small", "--pools", "mean", "median"], "--pools are mean, std, max, mean+std, got median"),
        (["--model", "mel", "--suite", "small", "--probes", "forest"], "--probes are linear, mlp, got forest"),
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


def test_a_label_that_cannot_be_probed_leaves_the_others(tones, tmp_path, capsys):
    rows = [json.loads(line) for line in tones.read_text().splitlines()]
    for row in rows:
        row["path"] = str(tones.parent / row["path"])
        row["labels"] = {"class": row["labels"]["class"], **({"rare": "x"} if row["split"] == "train" else {})}
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ["probe", "--model", "cues", "--manifest", str(tmp_path / "m.jsonl"), "--no-baselines", "--workers", "1"]
    command += ["--probes", "linear", "--seeds", "1", "--output", str(tmp_path / "out")]
    assert cli.main(command) == 0
    said = capsys.readouterr()
    assert "rare is left out: the label 'rare' cannot be probed: its train split has a single class" in said.err
    assert "m class<br>accuracy" in said.out and "m rare" not in said.out
    assert cli.main([*command, "--label", "rare"]) == 2


def test_what_is_written_is_told_and_nothing_else(tones, tmp_path, capsys):
    (tmp_path / "notes.txt").touch()
    command = ["probe", "--model", "cues", "--manifest", str(tones), "--label", "class", "--no-baselines", "--workers", "1"]
    assert cli.main([*command, "--probes", "linear", "--seeds", "1", "--output", str(tmp_path)]) == 0
    assert capsys.readouterr().out.endswith(f"written: {tmp_path / 'results.json'}, {tmp_path / 'results.md'}\n")


@pytest.mark.parametrize("command", [["probe", "--suite", "small"], ["zero-shot", "--manifest", "set.csv"]])
def test_a_missing_extra_is_named(command, monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert cli.main(command) == 2
    assert "this needs sklearn, mir_eval" in (said := capsys.readouterr().err) and "pip install 'muq-hf[eval]'" in said


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

    def to(self, device):
        return self

    def eval(self):
        return self

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


def zero_shot_clips(tones, tmp_path, monkeypatch, capsys, *options, **split) -> str:
    """What `muq-hf zero-shot` says of the test clips of the tones, with this `split` or without any."""
    rows = [json.loads(line) for line in tones.read_text().splitlines()]
    rows = [{**row, "path": str(tones.parent / row["path"]), **split} for row in rows if row.pop("split") == "test"]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setattr(zero_shot, "load_joint", lambda folder: (Oracle(), Processor()))
    cli.main(["zero-shot", "--manifest", str(tmp_path / "m.jsonl"), "--label", "class", *options])
    said = capsys.readouterr()
    return said.out + said.err


@pytest.mark.parametrize("options, split", [([], {"split": "test"}), ([], {}), (["--split", "validation"], {"split": "dev"})])
def test_zero_shot_scores_a_set_without_training_split(tones, tmp_path, monkeypatch, capsys, options, split):
    assert "clips: 12\n" in zero_shot_clips(tones, tmp_path, monkeypatch, capsys, *options, **split)


@pytest.mark.parametrize(
    "options, split, message",
    [
        (["--split", "test"], {}, "no clip has a split: leave --split test out"),
        ([], {"split": "valid"}, "no clip of split 'test' has the label; splits here: valid"),
        ([], {"split": "tset"}, "must be one of train, valid, test"),
    ],
)
def test_zero_shot_without_clips_to_score_says_why(tones, tmp_path, monkeypatch, capsys, options, split, message):
    assert message in zero_shot_clips(tones, tmp_path, monkeypatch, capsys, *options, **split)


class Limited(Processor):
    """Takes a quarter of a second, and of more, as CLAP's, a part that it draws."""

    feature_extractor = SimpleNamespace(sampling_rate=24_000, max_length_s=0.25)

    def __call__(self, audio=None, **options):
        if audio is not None:
            assert all(len(wave) <= 6000 for wave in audio) and len(audio) <= zero_shot.BATCH_CLIPS
        return super().__call__(audio=audio, **options)


def test_zero_shot_hears_all_of_what_is_longer_than_the_model_takes(tones):
    """The vectors (mean, 1) of the quarters of a clip have the direction (mean of the clip, 1)."""
    clips = [clip for clip in read_manifest(tones) if clip.split == "test"]
    oracle = Oracle()
    oracle.get_audio_features = lambda waves: torch.stack([waves.mean(dim=1), torch.ones(len(waves))], dim=1)
    _, vectors = zero_shot._embed(oracle, Limited(), clips, [])
    means = [load_audio(clip.path, 24_000, start=clip.start, end=clip.end).mean() for clip in clips]
    assert np.allclose(vectors[:, 0] / vectors[:, 1], means, atol=1e-6)


class Fused(Limited):
    """Calls one piece of a batch longer than it is."""

    def __call__(self, audio=None, **options):
        inputs = super().__call__(audio=audio, **options)
        inputs["is_longer"] = torch.arange(len(audio))[:, None] == np.random.randint(len(audio))
        return inputs


def test_zero_shot_calls_no_piece_longer_than_it_is(tones):
    oracle, longer = Oracle(), []
    oracle.get_audio_features = lambda waves, is_longer: longer.append(is_longer.any()) or waves[:, :2]
    zero_shot._embed(oracle, Fused(), read_manifest(tones)[:3], [])
    assert len(longer) == 2 and not any(longer)


def test_zero_shot_takes_the_published_format(tmp_path):
    shutil.copytree(Path(__file__).parents[1] / "assets" / "published_mulan_tiny", tmp_path / "published")
    tiny_processor().tokenizer.save_pretrained(tmp_path / "published" / "text_model")
    model, processor = load_joint(str(tmp_path / "published"))
    assert isinstance(model, MuQMuLanModel) and processor.feature_extractor.sampling_rate == 24_000
