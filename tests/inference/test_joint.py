"""Embedding, searching and tagging music with a MuQ-MuLan, from the command line."""

import csv
import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from mulan_models import music, save_tiny, tiny_model, tiny_processor

from muq_hf.cli import main
from muq_hf.commands.search import _clock
from muq_hf.inference import joint
from muq_hf.inference.joint import JointModel
from muq_hf.inference.parquet_store import METADATA_KEY
from muq_hf.inference.tagging import read_labels


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("mulan"))


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    """Three songs of 3, 12 and 21 s, as 24 kHz FLAC."""
    place = tmp_path_factory.mktemp("songs")
    for seed, seconds in enumerate((3, 12, 21)):
        soundfile.write(place / f"{seed}.flac", music(seconds, seed).numpy(), 24_000, subtype="PCM_24")
    return place


@pytest.fixture(scope="module")
def table(folder, songs, tmp_path_factory):
    output = tmp_path_factory.mktemp("table") / "songs.parquet"
    assert main(["embed", str(songs), "--model", str(folder), "--output", str(output), "--workers", "0", "--quiet"]) == 0
    return output


@torch.no_grad()
def joint_audio(path):
    wave, _ = soundfile.read(path, dtype="float32")
    return tiny_model().get_audio_features(torch.from_numpy(wave)[None]).pooler_output[0].numpy()


@torch.no_grad()
def joint_text(*texts):
    inputs = tiny_processor()(text=list(texts), return_tensors="pt")
    return tiny_model().get_text_features(**inputs).pooler_output.numpy()


def test_table_holds_what_the_model_gives_for_whole_songs(table):
    for row in pq.read_table(table).to_pylist():
        np.testing.assert_allclose(row["embedding"], joint_audio(row["path"]), atol=1e-5)


def test_search_by_words_ranks_by_cosine(table, capsys):
    assert main(["search", "calm piano 🎹", "--index", str(table), "--format", "jsonl"]) == 0
    hits = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    expected = {
        row["path"]: joint_text("calm piano 🎹")[0] @ np.array(row["embedding"]) for row in pq.read_table(table).to_pylist()
    }
    assert [hit["path"] for hit in hits] == sorted(expected, key=expected.get, reverse=True)
    assert [hit["cosine"] for hit in hits] == pytest.approx(sorted(expected.values(), reverse=True), abs=2e-3)


def test_search_by_music_finds_the_song_itself(table, songs, capsys):
    assert main(["search", "--like", str(songs / "1.flac"), "--index", str(table), "--top-k", "1", "--format", "csv"]) == 0
    (hit,) = csv.DictReader(capsys.readouterr().out.splitlines())
    assert hit["path"].endswith("1.flac") and float(hit["cosine"]) > 0.999


def test_the_song_itself_is_found_whatever_windows_the_table_was_made_with(folder, songs, tmp_path, capsys):
    output = tmp_path / "short.parquet"
    options = ["--model", str(folder), "--output", str(output), "--window-length-s", "0.5", "--workers", "0", "--quiet"]
    assert main(["embed", str(songs), *options]) == 0
    capsys.readouterr()
    assert main(["search", "--like", str(songs / "1.flac"), "--index", str(output), "--top-k", "1", "--format", "csv"]) == 0
    (hit,) = csv.DictReader(capsys.readouterr().out.splitlines())
    assert hit["path"].endswith("1.flac") and float(hit["cosine"]) > 0.9999


@pytest.mark.parametrize("question", [["calm piano"], ["--like", "1.flac"]])
def test_a_model_with_other_weights_than_the_table_is_named(table, songs, tmp_path, capsys, question):
    """As after another training into the same folder."""
    other = tiny_model()
    with torch.no_grad():
        other.audio_model.projection.weight.mul_(-1.0)
    other.save_pretrained(tmp_path)
    tiny_processor().save_pretrained(tmp_path)
    question = [str(songs / part) if part.endswith(".flac") else part for part in question]
    assert main(["search", *question, "--index", str(table), "--model", str(tmp_path)]) == 0
    assert f"the weights of {tmp_path} are not those that the table was made with" in capsys.readouterr().err


def test_a_model_that_only_moved_is_the_same(table, folder, tmp_path, capsys):
    shutil.copytree(folder, tmp_path / "moved")
    assert main(["search", "calm piano", "--index", str(table), "--model", str(tmp_path / "moved")]) == 0
    assert "not those" not in capsys.readouterr().err


@pytest.mark.parametrize("command", ["embed", "tag"])
def test_a_model_of_another_clip_rule_is_refused(songs, tmp_path, capsys, command):
    model = tiny_model()
    model.config.clip_rule = "published"
    model.save_pretrained(tmp_path)
    tiny_processor().save_pretrained(tmp_path)
    (tmp_path / "labels.txt").write_text("rock")
    options = {"embed": ["--output", str(tmp_path / "t.parquet")], "tag": ["--labels", str(tmp_path / "labels.txt")]}[command]
    assert main([command, str(songs), "--model", str(tmp_path), *options, "--quiet"]) == 2
    assert "has the clip_rule 'published'" in capsys.readouterr().err


@pytest.mark.parametrize(("seconds", "shown"), [(0.04, "0:00.0"), (59.96, "1:00.0"), (3599.96, "60:00.0"), (61.25, "1:01.2")])
def test_times_are_rounded_before_minutes_are_split_off(seconds, shown):
    assert _clock(seconds).strip() == shown


def test_a_missing_model_folder_is_named(table, tmp_path, capsys):
    assert main(["search", "calm piano", "--index", str(table), "--model", str(tmp_path / "gone")]) == 2
    assert f"there is no folder {tmp_path / 'gone'}" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["words", "--like", "song.mp3"]])
def test_search_takes_words_or_music(table, capsys, arguments):
    assert main(["search", *arguments, "--index", str(table)]) == 2
    assert "one of the two" in capsys.readouterr().err


def test_tags_are_the_cosines_with_the_labels(folder, songs, tmp_path, capsys):
    labels = tmp_path / "labels.txt"
    labels.write_text("rock\n\n钢琴\nrock\n", "utf-8")
    arguments = ["--labels", str(labels), "--model", str(folder), "--template", "{} music", "--top-k", "0"]
    assert main(["tag", str(songs), *arguments, "--format", "jsonl", "--quiet"]) == 0
    output = capsys.readouterr()
    assert "count once: rock" in output.err
    rows = [json.loads(line) for line in output.out.splitlines()]
    assert len(rows) == 3
    for row in rows:
        expected = dict(zip(["rock", "钢琴"], joint_text("rock music", "钢琴 music") @ joint_audio(row["path"]), strict=True))
        assert row["tags"] == pytest.approx(expected, abs=1e-5)


def test_files_that_cannot_be_tagged_are_named_and_the_others_tagged(folder, songs, tmp_path, capsys):
    labels = tmp_path / "labels.txt"
    labels.write_text("rock", "utf-8")
    soundfile.write(tmp_path / "silent.wav", np.zeros(30_000), 24_000)
    soundfile.write(tmp_path / "tiny.wav", np.ones(100), 24_000)
    files = [str(songs / "0.flac"), *(str(tmp_path / name) for name in ("nowhere.mp3", "silent.wav", "tiny.wav"))]
    assert main(["tag", *files, "--labels", str(labels), "--model", str(folder), "--quiet"]) == 1
    output = capsys.readouterr()
    assert "0.flac" in output.out and "silent.wav" not in output.out
    assert "nowhere.mp3" in output.err and "silent.wav is silent" in output.err and "tiny.wav has 100 samples" in output.err


def test_a_search_for_nothing_is_refused(table, capsys):
    assert main(["search", " ", "--index", str(table)]) == 2
    assert "the search text is empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"), [(b"", "holds no label"), (b"\n \n", "holds no label"), (b"\xff\xfe", "no text in UTF-8")]
)
def test_label_files_without_labels_are_refused(tmp_path, content, message):
    path = tmp_path / "labels.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_labels(path)


def test_a_missing_label_file_is_named(tmp_path):
    with pytest.raises(ValueError, match="nowhere.txt cannot be read"):
        read_labels(tmp_path / "nowhere.txt")


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--layer", "3", "one joint vector"),
        ("--pool", "max", "one joint vector"),
        ("--window-length-s", "30", "hears 10 s"),
    ],
)
def test_options_of_frames_are_refused_for_joint_vectors(folder, songs, tmp_path, capsys, option, value, message):
    arguments = ["--model", str(folder), "--output", str(tmp_path / "t.parquet"), option, value]
    assert main(["embed", str(songs), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_search_asks_the_commit_that_the_table_was_made_with(table, tmp_path, monkeypatch, capsys):
    rows = pq.read_table(table)
    settings = json.loads(rows.schema.metadata[METADATA_KEY]) | {"revision": "0123abc"}
    pq.write_table(rows.replace_schema_metadata({METADATA_KEY: json.dumps(settings)}), tmp_path / "songs.parquet")
    asked = []
    monkeypatch.setattr(joint, "JointModel", lambda *arguments: asked.append(arguments) or JointModel(arguments[0], "text"))
    for options in ([], ["--revision", "main"]):
        assert main(["search", "calm piano", "--index", str(tmp_path / "songs.parquet"), *options]) == 0
    assert [arguments[2] for arguments in asked] == ["0123abc", "main"]


def test_a_table_of_vectors_is_tagged_without_its_music(folder, songs, tmp_path, capsys):
    (tmp_path / "labels.txt").write_text("rock\npiano\n")
    arguments = ["--labels", str(tmp_path / "labels.txt"), "--model", str(folder), "--top-k", "0", "--format", "jsonl", "--quiet"]
    output = f"{tmp_path}/fragments/"
    options = ["--model", str(folder), "--files-per-shard", "2", "--workers", "0", "--quiet"]
    assert main(["embed", str(songs), "--output", output, *options]) == 0
    capsys.readouterr()
    assert main(["tag", str(songs), *arguments]) == 0
    expected = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert main(["tag", output, *arguments]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["path"] for row in found] == [row["path"] for row in expected] and len(found) == 3
    for row, other in zip(found, expected, strict=True):
        assert row["tags"] == pytest.approx(other["tags"], abs=1e-5)
