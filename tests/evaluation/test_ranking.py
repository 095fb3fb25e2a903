"""Retrieval scores against their definition."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from muq_hf.evaluation.ranking import pair_scores, same_track_scores


def unit_rows(count, seed):
    rows = np.random.default_rng(seed).standard_normal((count, 8))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_ranks_are_those_of_a_sorted_list():
    audio, text = unit_rows(30, 0), unit_rows(30, 1)
    metrics = pair_scores(audio, text, np.arange(30), np.arange(30))
    for name, scores in (("text_to_audio", text @ audio.T), ("audio_to_text", audio @ text.T)):
        ranks = [1 + list(np.argsort(-row)).index(i) for i, row in enumerate(scores)]
        for k in (1, 5, 10):
            assert metrics[f"{name}_r{k}"] == pytest.approx(np.mean(np.array(ranks) <= k))
        assert metrics[f"{name}_median_rank"] == pytest.approx(np.median(ranks))


def test_perfect_pairs_are_found_first():
    rows = unit_rows(12, 0)
    metrics = pair_scores(rows, rows, np.arange(12), np.arange(12))
    assert metrics["text_to_audio_r1"] == metrics["audio_to_text_r1"] == metrics["text_to_audio_median_rank"] == 1


def test_another_clip_with_the_same_caption_counts_as_found():
    audio = np.eye(3)
    text = audio[[1, 1, 2]]  # the first two captions are one
    ids = np.arange(3)
    assert pair_scores(audio, text, ids, np.array([0, 0, 1]))["text_to_audio_r1"] == 1
    assert pair_scores(audio, text, ids, ids)["text_to_audio_r1"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("value", [1.0, float("nan")])
def test_a_collapsed_model_finds_nothing(value):
    rows, ids = np.full((50, 8), value), np.arange(50)
    metrics = pair_scores(rows, rows, ids, ids)
    assert metrics["text_to_audio_r10"] == metrics["audio_to_text_r10"] == 0
    assert metrics["text_to_audio_median_rank"] == 50


def test_retrieval_by_hand():
    features = np.array([[1, 0], [1, 0.1], [0, 1], [0.9, 0.2]], dtype=float)
    groups = np.array(["a", "a", "b", "b"])
    # Query 0 ranks 1 (same), 3, 2; query 2 ranks 3 (same) first: both hit, with precision 1.
    assert same_track_scores(features, groups, np.array([0, 2])) == {"r_at_1": 1.0, "map": 1.0}
    # Query 3 ranks 1, 0, 2: its only relevant clip comes third.
    assert same_track_scores(features, groups, np.array([3])) == pytest.approx({"r_at_1": 0.0, "map": 1 / 3})


def test_retrieval_average_precision_is_scikit_learns():
    generator = np.random.default_rng(0)
    features, groups = generator.standard_normal((40, 8)), generator.integers(0, 5, 40)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    others = np.arange(40) != 7
    expected = average_precision_score((groups == groups[7])[others], (unit @ unit[7])[others])
    assert same_track_scores(features, groups, np.array([7]))["map"] == pytest.approx(expected)


def test_clips_that_are_all_alike_find_nothing():
    assert same_track_scores(np.ones((6, 4)), np.array(list("aabbcc")), range(6))["r_at_1"] == 0
