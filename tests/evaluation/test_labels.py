"""A label that is none of its kind, and a split with too little of it, are refused before anything is computed."""

from pathlib import Path

import numpy as np
import pytest

from muq_hf.evaluation.label_kinds import KINDS, check_splits, kind_of, own_task
from muq_hf.evaluation.labelled_clips import Clip
from muq_hf.evaluation.tasks import Task


def labelled(values, split="train"):
    return [Clip(Path(f"{split}{n}.wav"), split=split, group=f"{split}{n}", labels={"x": v}) for n, v in enumerate(values)]


def check(kind, values):
    KINDS[kind].check(values, [f"train{n}.wav" for n in range(len(values))], "x")


@pytest.mark.parametrize(
    "kind, wrong, named",
    [
        ("class", ["rock"], r"\['rock'\]"),
        ("class", 0.5, "0.5"),
        ("pitch", "C4", "C4"),
        ("pitch", [60.0], "60.0"),
        ("key", "C:maj", "C:maj"),
        ("key", ["C major"], "C major"),
        ("tempo", float("nan"), "nan"),
        ("tempo", 0.0, "0.0"),
        ("tempo", -5, "-5"),
        ("tempo", [], r"\[\]"),
        ("tempo", [120.0, 60.0], r"\[120.0, 60.0\]"),
        ("multilabel", "rock", "rock"),
        ("multilabel", ["rock", 3], "3"),
        ("regression", [1.0, float("inf")], "inf"),
        ("regression", [], r"\[\]"),
        ("regression", "loud", "loud"),
        ("curve", [[0, 1, 0.5], [2, 1, 0.7]], "0.5"),
        ("curve", [], r"\[\]"),
        ("curve", {"times": [0, 1], "values": [0.5]}, "values"),
        ("curve", {"times": [1, 0], "values": [0.5, 0.7]}, "values"),
        ("curve", [[0, 1, float("nan")]], "nan"),
        ("frames", [[0, 1, "a"], [2, 1, "b"]], r"\[2, 1, 'b'\]"),
        ("frames", [[0, 1]], r"\[0, 1\]"),
        ("chord", [], r"\[\]"),
        ("chord", [[0, 1, "C:maj"], [1, 2, "Gmajor"]], "Gmajor"),
        ("chord", [[0, 4, "C:maj"], [2, 3, "G:maj"]], "C:maj.*G:maj"),
        ("events", "0.5", "0.5"),
        ("events", {"events": [1.0, 0.5]}, "1.0, 0.5"),
        ("events", [0.5, float("nan")], "nan"),
    ],
)
def test_a_label_of_another_kind_is_refused_with_its_clip(kind, wrong, named):
    with pytest.raises(ValueError, match=f"train0.wav: a label of kind '{kind}' is .* holds .*{named}"):
        check(kind, [wrong])


@pytest.mark.parametrize(
    "kind, values",
    [
        ("class", ["rock", "jazz"]),
        ("class", [1990, 2000.0]),
        ("pitch", [60, 61]),
        ("pitch", ["60", "61"]),
        ("key", ["C# major", "Bb minor", "X"]),
        ("tempo", [120, [60.5], "90"]),
        ("multilabel", [["rock", "loud"], []]),
        ("regression", [1, 0.5]),
        ("regression", [[1, 2.5], [0.0, -1.0]]),
        ("frames", [[[0, 1, "a"], [0.5, 2, 7]], []]),
        ("chord", [[[1, 2, "N"], [0, 1.0004, "C:maj/3"]], [[0, 9.5, "Eb:hdim7"]]]),
        ("events", [{"events": []}, [0.5, 1, 1.5]]),
    ],
)
def test_labels_of_their_kind_are_taken(kind, values):
    check(kind, values)


def test_numbers_of_different_length_are_refused():
    with pytest.raises(ValueError, match="as many numbers for every clip, got 1 and 2"):
        check("regression", [[1.0, 2.0], [1.0]])


@pytest.mark.parametrize(
    "kind, train, valid, test, lack",
    [
        ("class", ["a", "b"], ["a"], [], "test split has no clip"),
        ("class", ["a", "a"], ["a"], ["b"], "train split has a single class"),
        ("tempo", [[90.0], [90.0]], [80.0], [80.0], "train split has a single class"),
        ("regression", [0.0, 1.0], [0.5], [0.1, 0.2], "valid split has a single clip"),
        ("multilabel", [["x"], ["x"]], [["x"], []], [["x"], []], "train split has the same tags"),
        ("multilabel", [["x"], []], [["x"], []], [["x"]], "test split has the same tags"),
        ("events", [[], []], [[0.5]], [[0.5]], "train split has no event"),
        ("frames", [[[0, 1, "a"], [1, 2, "b"]]], [[]], [[[0, 1, "a"]]], "valid split has no segment"),
        ("chord", [[[0, 1, "N"]]], [[[0, 1, "N"]]], [[[0, 1, "N"]]], "train split has a single class"),
    ],
)
def test_a_split_with_too_little_is_named(kind, train, valid, test, lack):
    clips = labelled(train) + labelled(valid, "valid") + labelled(test, "test")
    with pytest.raises(ValueError, match=f"the label 'x' cannot be probed: its {lack}"):
        check_splits(Task("set", "x", kind, "accuracy"), clips)


def test_a_task_is_refused_before_anything_is_computed():
    clips = labelled(["rock", "jazz"]) + labelled(["rock"], "valid") + labelled(["jazz"], "test")
    with pytest.raises(ValueError, match="kind 'multilabel'"):
        own_task("set", clips, "x", "multilabel")
    with pytest.raises(ValueError, match="test split has no clip"):
        own_task("set", clips[:-1], "x", "class")


def test_a_curve_is_read_at_the_middle_of_frames():
    """Against a loop over frames: a step function of stretches, and straight lines between moments; nothing outside."""
    stretches = [[0.1, 1.0, [1.0, -1.0]], [1.5, 2.0, [2.0, 0.0]]]
    moments = {"times": [0.5, 1.5], "values": [[0.0, 10.0], [1.0, 20.0]]}
    rows = KINDS["curve"]([stretches]).rows([stretches, moments], np.array([60, 50]))
    for frame, row in enumerate(rows[:60]):
        middle = (frame + 0.5) / 25
        found = next((value for start, end, value in stretches if start <= middle < end), [np.nan, np.nan])
        np.testing.assert_allclose(row, found)
    for frame, row in enumerate(rows[60:]):
        middle = (frame + 0.5) / 25
        if 0.5 <= middle <= 1.5:
            np.testing.assert_allclose(row, [middle - 0.5, 10 * (middle - 0.5) + 10], rtol=1e-5)
    assert np.isnan(rows[60]).all() and np.isnan(rows[-1]).all()


@pytest.mark.parametrize(
    "labels, kind",
    [
        ([[[0, 1, 0.5]], [[0, 2, 1]]], "curve"),
        ([[[0, 1, [0.5, 1]]]], "curve"),
        ([{"times": [0], "values": [1]}], "curve"),
        ([[[0, 1, 1]]], "frames"),
        ([[[0, 1, "verse"]], [[0, 1, 2]]], "frames"),
    ],
)
def test_numbers_of_stretches_are_a_curve(labels, kind):
    """Whole numbers alone are names of sections."""
    assert kind_of(labels) == kind
