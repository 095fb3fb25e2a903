"""The rule by which tracks may go into shipped weights."""

import json

import pytest
import selection
import train

from muq_hf.storage.json_lines import read_json_lines


TRACK = {"duration": 60.0, "licence": "CC-BY-SA-3.0", "split": "train", "album_split": "train", "duplicate_of": None}
TRACK |= {"title": "T", "author": "A", "package": "p", "source": "usr/a.ogg", "style": ["rock"], "tempo": None}


def track(name, **changes):
    return TRACK | {"id": name, "path": f"audio/{name}.ogg", "sha256": "0"} | changes


def write(folder, rows, **clips):
    folder.mkdir(exist_ok=True)
    for name, lines in {"manifest": rows, **clips}.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder / "manifest.jsonl"


def kept(manifest):
    return {row["id"] for row in selection.select(manifest)[0]}


def test_test_tracks_and_test_albums_are_left_out(tmp_path):
    rows = [track("a"), track("b", split="test"), track("c", album_split="test"), track("d", split="validation")]
    assert kept(write(tmp_path, rows)) == {"a", "d"}


def test_only_free_licences_are_kept(tmp_path):
    rows = [track(licence, licence=licence) for licence in ("MIT", "GPL-2.0-only", "unstated", "CC0-1.0", "CC-BY-NC-4.0")]
    found, left_out = selection.select(write(tmp_path, rows))
    assert {row["id"] for row in found} == {"MIT", "CC0-1.0"}
    assert left_out == {"licence GPL-2.0-only": 1, "licence unstated": 1, "licence CC-BY-NC-4.0": 1}


def test_generated_music_with_a_font_of_other_terms_is_left_out(tmp_path):
    rows = [track("a", font_licence="MIT"), track("b", font_licence="GPL-2.0-only")]
    assert kept(write(tmp_path, rows)) == {"a"}


def test_songs_that_a_tempo_task_tests_on_are_left_out(tmp_path):
    clip = {"split": "test", "group": "a"}
    assert kept(write(tmp_path, [track("a"), track("b")], tempo=[clip], clips=[clip | {"split": "train", "group": "b"}])) == {"b"}


def test_copies_of_tested_recordings_are_left_out_and_other_copies_are_heard_once(tmp_path):
    rows = [track("a"), track("copy of a", duplicate_of="a"), track("b"), track("copy of b", duplicate_of="b")]
    manifest = write(tmp_path, rows, tempo=[{"split": "test", "group": "copy of a"}])
    assert kept(manifest) == {"b"}


def test_row_without_licence_or_split_is_refused(tmp_path):
    with pytest.raises(ValueError, match="has no licence"):
        selection.select(write(tmp_path, [track("a", licence=None)]))


def test_chosen_tracks_have_attribution_and_words(tmp_path):
    corpus, generated = tmp_path / "corpus", tmp_path / "generated"
    write(corpus, [track("a"), track("b", split="test")])
    piece = {"author": "us", "licence": "CC0-1.0", "font": "f", "font_licence": "MIT", "duration": 30.0}
    pieces = [piece | {"id": name, "path": f"{name}.ogg", "split": split} for name, split in (("g", "train"), ("h", "test"))]
    captions = [{"path": p["path"], "duration": 30.0, "split": p["split"], "text": ["x"], "tags": ["y"]} for p in pieces]
    write(generated, pieces, captions=captions)
    (generated / "settings.json").write_text('{"seed": 5}')
    train.choose_tracks(tmp_path / "work", [corpus], [generated])
    music, pairs, credits = (read_json_lines(tmp_path / "work" / f"{n}.jsonl") for n in ("music", "pairs", "attribution"))
    assert [row["path"] for row in music] == [str(corpus / "audio" / "a.ogg"), str(generated / "g.ogg")]
    assert pairs[0]["tags"] == ["rock"] and pairs[1]["text"] == ["x"] and len(pairs) == 2
    assert credits[0]["source"] == "usr/a.ogg" and credits[0]["author"] == "A" and credits[0]["licence"] == "CC-BY-SA-3.0"
    assert str(tmp_path) not in json.dumps(credits)


def test_logs_of_all_runs_are_collected_without_places(tmp_path):
    for run in ("muq/mel_rvq", "muq/round_1/muq", "text"):
        (tmp_path / "work" / run / "plots").mkdir(parents=True)
        (tmp_path / "work" / run / "metrics.jsonl").write_text(run)
        (tmp_path / "work" / run / "settings.json").write_text(str(tmp_path))
    (tmp_path / "work" / "muq" / "mel_rvq" / "plots" / "curves.png").touch()
    train.record(tmp_path / "work", tmp_path / "results")
    names = {file.name for file in (tmp_path / "results").iterdir()}
    assert names == {"muq-mel_rvq.jsonl", "muq-mel_rvq.png", "muq-round_1-muq.jsonl", "text.jsonl"}
