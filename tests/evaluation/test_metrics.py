"""Scores against scikit-learn, mir_eval and cases worked by hand."""

import mir_eval
import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from muq_hf.evaluation import metrics
from muq_hf.evaluation.frame_labels import pick_events


def test_multilabel_scores_are_scikit_learns_on_random_scores():
    generator = np.random.default_rng(0)
    truth, scores = generator.integers(0, 2, (200, 5)), generator.standard_normal((200, 5))
    ours = metrics.multilabel_scores(truth, scores)
    assert ours["roc_auc"] == pytest.approx(np.mean([roc_auc_score(truth[:, k], scores[:, k]) for k in range(5)]))
    assert ours["pr_auc"] == pytest.approx(np.mean([average_precision_score(truth[:, k], scores[:, k]) for k in range(5)]))


def test_multilabel_scores_leave_out_tags_without_both_values():
    truth = np.array([[0, 1], [1, 1]])
    assert metrics.multilabel_scores(truth, np.array([[0.1, 0.9], [0.8, 0.2]])) == {"roc_auc": 1.0, "pr_auc": 1.0}


def test_multilabel_scores_refuse_constant_truth():
    with pytest.raises(ValueError, match="no tag .* among the 3 clips that are scored"):
        metrics.multilabel_scores(np.ones((3, 2)), np.zeros((3, 2)))


@pytest.mark.parametrize(
    "predicted, score", [("C major", 1.0), ("G major", 0.5), ("A minor", 0.3), ("C minor", 0.2), ("F# major", 0.0)]
)
def test_key_errors_cost_what_mirex_says(predicted, score):
    assert metrics.key_scores(np.array(["C major"]), np.array([predicted]))["weighted_score"] == pytest.approx(score)


def test_tempo_within_four_percent_counts():
    truth, predicted = np.array([100.0, 100.0, 100.0, 100.0]), np.array([103.9, 104.1, 50.0, 70.0])
    assert metrics.tempo_scores(truth, predicted) == {"acc1": 0.25, "acc2": 0.5}


def test_chords_are_weighted_by_duration_as_mir_eval_does():
    reference = (np.array([[0.0, 3.0], [3.0, 4.0]]), ["C:maj", "A:min"])
    estimate = (np.array([[0.0, 4.0]]), ["C:maj"])
    ours = metrics.chord_scores([reference], [estimate])
    assert ours["weighted_majmin"] == pytest.approx(0.75)
    assert ours["weighted_majmin"] == pytest.approx(mir_eval.chord.evaluate(*reference, *estimate)["majmin"])


def test_chords_of_longer_clips_weigh_more():
    long, short = (np.array([[0.0, 9.0]]), ["C:maj"]), (np.array([[0.0, 1.0]]), ["G:maj"])
    wrong = (np.array([[0.0, 1.0]]), ["D:maj"])
    assert metrics.chord_scores([long, short], [long, wrong])["weighted_majmin"] == pytest.approx(0.9)


def test_beats_within_seventy_milliseconds_count():
    truth = np.arange(6.0, 16.0, 0.5)  # mir_eval itself counts from 0 s on in f_measure
    assert metrics.event_scores([truth], [truth + 0.06])["f_measure"] == 1.0
    assert metrics.event_scores([truth], [truth + 0.1])["f_measure"] == 0.0


def test_pitch_class_forgives_octaves():
    scores = metrics.pitch_scores(np.array([60, 60]), np.array([72, 61]))
    assert (scores["accuracy"], scores["pitch_class_accuracy"]) == (0.0, 0.5)


def test_events_are_the_maxima_and_the_stronger_of_close_ones():
    probability = np.zeros(50)
    probability[[10, 12, 30]] = [0.5, 0.9, 0.6]
    assert pick_events(probability, 0.3)[0].tolist() == pytest.approx([12.5 / 25, 30.5 / 25])


def test_strong_events_are_those_that_a_higher_threshold_picks():
    probability = np.random.default_rng(0).random(500)
    times, strengths = pick_events(probability, 0.1)
    assert times[strengths >= 0.7].tolist() == pick_events(probability, 0.7)[0].tolist()


def test_correlations_are_those_of_ranks_and_of_numbers():
    """Written out: Pearson's of the numbers, and of their ranks; a constant answer orders nothing."""
    truth = np.array([[1.0], [2.0], [3.0], [4.0]])
    predicted = np.array([[1.0], [3.0], [2.0], [9.0]])
    found = metrics.regression_scores(truth, predicted)
    assert found["pcc"] == pytest.approx(np.corrcoef(truth[:, 0], predicted[:, 0])[0, 1])
    assert found["srcc"] == pytest.approx(np.corrcoef([0, 1, 2, 3], [0, 2, 1, 3])[0, 1])
    assert metrics.regression_scores(truth, np.ones((4, 1)))["srcc"] == 0
