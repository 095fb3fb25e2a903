"""Manifests: every kind of label, and splits that do not leak."""

import json
from pathlib import Path

import pytest

from muq_hf.evaluation.label_kinds import kind_of
from muq_hf.evaluation.labelled_clips import Clip, read_clips, read_manifest, write_manifest
from muq_hf.evaluation.splits import redraw_validation


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rows(**fields):
    return [{"path": f"{split}.wav", "split": split, "label": "a"} | fields for split in ("train", "valid", "test")]


@pytest.mark.parametrize(
    "header, value, kind, label",
    [
        ("label", "rock", "class", "rock"),
        ("labels", "rock; loud", "multilabel", ["rock", "loud"]),
        ("value", "0.5;-1", "regression", [0.5, -1.0]),
        ("segments", "chords.lab", "frames", [[0.0, 1.5, "C:maj"], [1.5, 2.0, "N"]]),
        ("events", "beats.txt", "events", {"events": [0.5, 1.0]}),
        ("curve", "beats.txt", "curve", {"times": [0.5, 1.0], "values": [[1.0], [2.0]]}),
    ],
)
def test_csv_columns_say_the_kind_of_label(tmp_path, header, value, kind, label):
    (tmp_path / "chords.lab").write_text("0 1.5 C:maj\n1.5 2.0 N\n")
    (tmp_path / "beats.txt").write_text("0.5 1\n1.0 2\n")
    manifest = tmp_path / "set.csv"
    manifest.write_text(f"path,split,{header}\na.wav,train,{value}\nb.wav,valid,{value}\nc.wav,test,{value}\n")
    clips = read_manifest(manifest)
    assert [clip.labels["label"] for clip in clips] == [label] * 3
    assert kind_of([clip.labels["label"] for clip in clips]) == kind
    assert clips[0].path == tmp_path / "a.wav"


def test_a_manifest_that_can_be_embedded_can_be_probed(tmp_path):
    (clip,) = read_clips(write_lines(tmp_path / "m.jsonl", [{"audio": "a.wav", "label": "x"}]))
    assert (clip.path, clip.labels, clip.meta) == (tmp_path / "a.wav", {"label": "x"}, {})


def test_written_manifest_reads_back(tmp_path):
    clips = [
        Clip(tmp_path / f"{split}.wav", 1.0, 2.5, split, split, {"key": "C major", "beats": {"events": [1.0]}}, {"album": "A"})
        for split in ("train", "valid", "test")
    ]
    assert read_manifest(write_manifest(clips, tmp_path / "set.jsonl")) == clips


def test_group_in_two_splits_is_refused(tmp_path):
    with pytest.raises(ValueError, match="lie both in the test split"):
        read_manifest(write_lines(tmp_path / "m.jsonl", rows(group="one song")))


def test_overlapping_stretches_in_two_splits_are_refused(tmp_path):
    lines = rows()
    for number, line in enumerate(lines):
        line |= {"path": "song.wav", "start": 4.0 * number, "end": 4.0 * number + 5, "group": str(number)}
    with pytest.raises(ValueError, match="the same music"):
        read_manifest(write_lines(tmp_path / "m.jsonl", lines))


def test_missing_split_is_drawn_by_group(tmp_path):
    lines = [{"path": f"{n}.wav", "label": "a", "group": f"song {n // 2}"} for n in range(200)]
    clips = read_manifest(write_lines(tmp_path / "m.jsonl", lines))
    of_group = {}
    for clip in clips:
        of_group.setdefault(clip.group, set()).add(clip.split)
    assert all(len(splits) == 1 for splits in of_group.values())
    assert 10 <= sum(clip.split == "test" for clip in clips) <= 60
    assert clips == read_manifest(tmp_path / "m.jsonl")


def test_validation_is_split_off_where_there_is_none(tmp_path):
    lines = [{"path": f"{n}.wav", "label": "a", "split": "train" if n < 80 else "test"} for n in range(100)]
    splits = [clip.split for clip in read_manifest(write_lines(tmp_path / "m.jsonl", lines))]
    assert 2 <= splits[:80].count("valid") <= 25 and splits[80:] == ["test"] * 20


def test_redrawn_validation_keeps_test_and_whole_groups():
    clips = [Clip(None, split=("test" if n < 10 else "valid" if n < 20 else "train"), group=f"g{n // 2}") for n in range(100)]
    first, second = redraw_validation(clips, 1), redraw_validation(clips, 2)
    assert first[:10] == second[:10] == ["test"] * 10
    assert first.count("valid") == second.count("valid") == 10
    assert first != second
    assert all(a == b for a, b in zip(first[::2], first[1::2], strict=True))


def test_redrawn_validation_divides_groups_that_were_divided():
    """Notes of two training fonts: both splits go on holding notes of both."""
    clips = [Clip(Path(f"{n}.wav"), split="valid" if n % 10 == 0 else "train", group=f"font{n % 2}") for n in range(100)]
    splits = redraw_validation([*clips, Clip(Path("t.wav"), split="test", group="font2")], 1)
    assert splits.count("valid") == 10 and splits[-1] == "test"


def test_splits_do_not_depend_on_where_a_collection_lies(tmp_path, monkeypatch):
    """Both the drawn splits and the redrawn validation of clips that share their group."""
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        drawn = [{"path": f"audio/{n}.wav", "label": "a"} for n in range(100)]
        write_lines(tmp_path / folder / "drawn.jsonl", drawn)
        splits = ["test"] * 10 + ["valid"] * 20 + ["train"] * 70
        groups = ["test" if split == "test" else "font" for split in splits]
        fonts = [row | {"split": s, "group": g} for row, s, g in zip(drawn, splits, groups, strict=True)]
        write_lines(tmp_path / folder / "fonts.jsonl", fonts)
    monkeypatch.chdir(tmp_path / "here")
    for name in ("drawn.jsonl", "fonts.jsonl"):
        here, there = read_manifest(name), read_manifest(tmp_path / "there" / name)
        assert [clip.split for clip in here] == [clip.split for clip in there]
        assert redraw_validation(here, 1) == redraw_validation(there, 1)


def test_a_group_called_0_stays_whole(tmp_path):
    lines = [{"path": f"{n}.wav", "label": "a", "group": n % 10} for n in range(100)]
    clips = read_manifest(write_lines(tmp_path / "m.jsonl", lines))
    assert len({clip.split for clip in clips if clip.group == "0"}) == 1


@pytest.mark.parametrize(
    "lines, message",
    [
        ([{"path": "a.wav"}], "line 1: has neither `label`"),
        ([{"label": "a"}], "line 1: a path is expected"),
        ([{"path": "a.wav", "label": "a", "split": "tset"}], "must be one of train, valid, test"),
        ([{"path": "a.wav", "label": "a", "split": "train"}], "no clips of split test"),
        ([], "no clips"),
    ],
)
def test_bad_manifests_are_refused(tmp_path, lines, message):
    with pytest.raises(ValueError, match=message):
        read_manifest(write_lines(tmp_path / "m.jsonl", lines))


def test_mixed_labels_are_refused():
    with pytest.raises(ValueError, match="one kind"):
        kind_of(["rock", ["rock"]])


def test_a_mixture_of_numbers_and_text_is_refused():
    with pytest.raises(ValueError, match="got both 'unknown' and 1990"):
        kind_of([1990, "unknown", 2000])


@pytest.mark.parametrize(
    "name, text",
    [
        ("set.csv", "path,label,split\na.wav,x,train\nb.wav,y,test\nc.wav,x,valid\n"),
        ("set.jsonl", "".join(json.dumps(row) + "\n" for row in rows())),
    ],
)
def test_a_byte_order_mark_is_read_over(tmp_path, name, text):
    """Excel writes one."""
    (tmp_path / name).write_text(text, encoding="utf-8-sig")
    marked = read_manifest(tmp_path / name)
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert marked == read_manifest(tmp_path / name)


def test_a_byte_order_mark_in_a_file_of_segments_is_read_over(tmp_path):
    (tmp_path / "set.csv").write_text("path,split,segments\na.wav,train,c.lab\nb.wav,valid,c.lab\nc.wav,test,c.lab\n")
    (tmp_path / "c.lab").write_text("0 1.5 C:maj\n", encoding="utf-8-sig")
    assert read_manifest(tmp_path / "set.csv")[0].labels["label"] == [[0.0, 1.5, "C:maj"]]


@pytest.mark.parametrize("number", [3, 4, 10, 200])
def test_drawn_splits_are_all_there_and_stay_as_music_is_added(tmp_path, number):
    lines = [{"path": f"{index}.wav", "label": "a"} for index in range(number)]
    clips = read_manifest(write_lines(tmp_path / "set.jsonl", lines))
    assert {clip.split for clip in clips} == {"train", "valid", "test"}
    more = read_manifest(write_lines(tmp_path / "set.jsonl", [*lines, {"path": "more.wav", "label": "a"}]))
    if number >= 200:
        assert [clip.split for clip in more[:number]] == [clip.split for clip in clips]


def test_validation_is_drawn_from_training_where_only_that_and_test_are_given(tmp_path):
    lines = [{"path": f"{index}.wav", "label": "a", "split": "train" if index else "test"} for index in range(3)]
    clips = read_manifest(write_lines(tmp_path / "set.jsonl", lines))
    assert sorted(clip.split for clip in clips) == ["test", "train", "valid"]


def test_too_few_groups_to_draw_splits_from_are_refused(tmp_path):
    with pytest.raises(ValueError, match="2 groups .* too few to draw the splits test, valid and train"):
        read_manifest(write_lines(tmp_path / "set.jsonl", [{"path": f"{name}.wav", "label": "a"} for name in "ab"]))


@pytest.mark.parametrize(
    "stretch", [{"start": 5, "end": 3}, {"start": -1}, {"end": 0}, {"start": float("nan")}, {"end": float("inf")}]
)
def test_a_stretch_that_is_none_is_refused_with_its_line(tmp_path, stretch):
    lines = rows()
    lines[1] |= stretch
    with pytest.raises(ValueError, match="m.jsonl, line 2: `(start|end)` must be"):
        read_manifest(write_lines(tmp_path / "m.jsonl", lines))


def test_one_file_under_two_names_is_one_stretch(tmp_path):
    lines = rows()
    lines[0]["path"], lines[2]["path"] = "song.wav", "../" + tmp_path.name + "/song.wav"
    with pytest.raises(ValueError, match="the same music"):
        read_manifest(write_lines(tmp_path / "m.jsonl", lines))


def test_redrawn_validation_does_not_depend_on_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    splits = ["valid"] * 10 + ["train"] * 40
    here, anywhere = (
        [Clip(folder / f"{n}.wav", split=split, group="font") for n, split in enumerate(splits)] for folder in (Path(), tmp_path)
    )
    assert redraw_validation(here, 1) == redraw_validation(anywhere, 1)


def test_an_empty_cell_of_tags_is_no_tags(tmp_path):
    (tmp_path / "set.csv").write_text("path,labels,split\na.wav,,train\nb.wav,rock,test\n")
    assert [clip.labels["label"] for clip in read_clips(tmp_path / "set.csv")] == [[], ["rock"]]


@pytest.mark.parametrize("kind, label", [("frames", [[0, 1, "a"]]), ("regression", [0.5]), ("multilabel", ["rock"])])
def test_an_empty_list_is_of_the_kind_of_the_others(kind, label):
    assert kind_of([label, []]) == kind


def test_a_label_beside_empty_labels_is_taken(tmp_path):
    lines = [row | {"labels": None} for row in rows(label="x")]
    assert read_manifest(write_lines(tmp_path / "m.jsonl", lines))[0].labels == {"label": "x"}


@pytest.mark.parametrize("name", ["set.csv", "set.jsonl"])
def test_a_file_that_is_not_utf_8_is_named(tmp_path, name):
    content = {"set.csv": "path,label\na.wav,café\n", "set.jsonl": '{"path": "a.wav", "label": "café"}\n'}
    (tmp_path / name).write_bytes(content[name].encode("latin-1"))
    with pytest.raises(ValueError, match=f"{name}, line .: its text is not UTF-8"):
        read_clips(tmp_path / name)


def test_a_wrong_file_of_segments_is_named(tmp_path):
    (tmp_path / "set.csv").write_text("path,segments\na.wav,c.lab\n")
    (tmp_path / "c.lab").write_text("0 1.5\n")
    with pytest.raises(ValueError, match="set.csv, line 2: 'c.lab': "):
        read_clips(tmp_path / "set.csv")
