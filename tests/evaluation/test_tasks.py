"""The tasks find the corpus's manifests."""

import json

import pytest

from muq_hf.evaluation.corpus_tasks import find_tasks, load_task


def write_corpus(folder, source, parent, licences=("GPL-2.0-or-later", "CC0-1.0")):
    rows = []
    for number in range(12):
        labels = {source.task.label: "ab"[number % 2], "licence": licences[number % 2]}
        split = ("train", "validation", "test")[number % 3]
        rows.append({"path": f"{parent}audio/{number}.ogg", "split": split, "group": f"{number}", "labels": labels})
    (folder / "audio").mkdir(parents=True)
    for number in range(12):
        (folder / "audio" / f"{number}.ogg").touch()
    manifest = folder / source.manifest
    manifest.parent.mkdir(exist_ok=True)
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_task_is_found_in_the_folder_that_has_it(tmp_path):
    (task,) = find_tasks(["dance"])
    write_corpus(tmp_path / "rendered", task, "../")
    clips = load_task(task, [tmp_path / "recordings", tmp_path / "rendered"], small=False, held_out=False).clips
    assert len(clips) == 12 and all(clip.path.exists() for clip in clips)


def test_songs_are_tested_on_by_what_was_fitted_on_rendered_tunes(tmp_path):
    (task,) = find_tasks(["song tempo"])
    write_corpus(tmp_path / "rendered", task, "../")
    song = {"path": "song.ogg", "split": "test", "group": "song", "labels": {"tempo": 120.0}}
    (tmp_path / "recordings").mkdir()
    (tmp_path / "recordings" / "tempo.jsonl").write_text(json.dumps(song) + "\n")
    clips = load_task(task, [tmp_path / "recordings", tmp_path / "rendered"], small=False, held_out=False).clips
    assert [clip.path.name for clip in clips if clip.split == "test"] == ["song.ogg"]
    assert len(clips) == 9  # and 8 of the 12 tunes


def test_held_out_recordings_are_those_no_shipped_weights_saw(tmp_path):
    (task,) = find_tasks(["album"])
    write_corpus(tmp_path, task, "")
    clips = load_task(task, [tmp_path], small=False, held_out=True).clips
    assert {clip.labels["licence"] for clip in clips} == {"GPL-2.0-or-later"}


def test_missing_manifest_is_named(tmp_path):
    (task,) = find_tasks(["chord"])
    with pytest.raises(ValueError, match="tasks/chord.jsonl"):
        load_task(task, [tmp_path], small=True, held_out=False)
