"""Probes find what is there, and nothing where nothing is."""

import statistics

import mir_eval
import numpy as np
import pytest

from muq_hf.evaluation import probes
from muq_hf.evaluation.features import Features
from muq_hf.evaluation.label_kinds import KINDS
from muq_hf.evaluation.probes import run_probes, summary
from muq_hf.evaluation.retrieval import chance_retrieval, run_retrieval


def learned(features, kind, label):
    """The labels of the features' clips, and their kind with the classes that it learned from them."""
    labels = labels_of(features, label)
    return KINDS[kind](labels), labels


def labels_of(features, label):
    return [clip.labels[label] for clip in features.clips]


def of_split(features, labels, split):
    chosen = np.array([clip.split == split for clip in features.clips])
    return [label for label, is_chosen in zip(labels, chosen, strict=True) if is_chosen], features.counts[chosen]


def majority(features, kind, labels):
    return kind.majority(*of_split(features, labels, "train"), *of_split(features, labels, "test"))


@pytest.mark.parametrize("probe", ["linear", "mlp"])
@pytest.mark.parametrize(
    "label, kind, metric", [("class", "class", "accuracy"), ("tags", "multilabel", "roc_auc"), ("hertz", "regression", "r2")]
)
def test_probe_learns_tones(tone_features, probe, label, kind, metric):
    labels = labels_of(tone_features, label)
    result = run_probes(tone_features, KINDS[kind](labels), labels, metric, seeds=1, probes=[probe])
    scores = result.linear or result.mlp
    # Tones lie within 5 % of the frequency that "hertz" names; "loud" tells nothing of the sound, the three other tags do.
    assert scores[0][metric] > {"class": 0.95, "multilabel": 0.8, "regression": 0.85}[kind]


@pytest.mark.parametrize("probe", ["linear", "mlp"])
def test_shuffled_labels_give_chance(tone_features, probe):
    kind, labels = learned(tone_features, "class", "class")
    result = run_probes(tone_features, kind, labels, "accuracy", seeds=2, probes=[probe], shuffle=True)
    assert summary(result.linear or result.mlp)["accuracy"]["mean"] < 0.65  # three classes


@pytest.mark.parametrize("probe", ["linear", "mlp"])
def test_probe_hears_clicks_better_than_a_metronome(click_frames, probe):
    kind, labels = learned(click_frames, "events", "beats")
    result = run_probes(click_frames, kind, labels, "f_measure", seeds=1, probes=[probe])
    heard = (result.linear or result.mlp)[0]["f_measure"]
    assert heard > 0.9
    assert heard > majority(click_frames, kind, labels)["f_measure"] + 0.2


@pytest.mark.parametrize("probe", ["linear", "mlp"])
def test_probe_learns_numbers_over_time(click_frames, probe):
    """Frames without a number, here the last of each clip, are neither learned nor scored."""
    labels = [label[:1] + [[2, 3.5, 4.0]] for label in labels_of(click_frames, "height")]
    result = run_probes(click_frames, KINDS["curve"](labels), labels, "r2", seeds=1, probes=[probe])
    assert (result.linear or result.mlp)[0]["r2"] > 0.9


def test_what_knowing_nothing_gives_of_beats_is_the_best_regular_grid():
    """Beats every 0.61 s that start anywhere: a grid of half that distance meets more of them than one of the same distance."""
    starts = [0.11, 0.23, 0.31, 0.47]
    beats = [np.arange(start, 20, 0.61) for start in starts]
    labels, counts = [list(times) for times in beats], np.full(4, 500)
    score = KINDS["events"](labels).majority(labels, counts, labels, counts)["f_measure"]
    grids = [np.mean([mir_eval.beat.f_measure(times, np.arange(0, 20, 0.61 / part)) for times in beats]) for part in (1, 2, 3)]
    assert score == pytest.approx(max(grids))
    assert max(grids) > grids[0]


def test_probe_names_chords_frame_by_frame(click_frames):
    kind, labels = learned(click_frames, "chord", "chords")
    result = run_probes(click_frames, kind, labels, "weighted_majmin", seeds=1, probes=["linear"])
    assert result.linear[0]["weighted_majmin"] > 0.95
    assert majority(click_frames, kind, labels)["weighted_majmin"] == pytest.approx(0.5, abs=0.02)


class Watching(KINDS["class"]):
    """Remembers the sets of groups that were scored."""

    def __init__(self, labels):
        super().__init__(labels)
        self.scored = set()

    def score(self, labels, counts, outputs, chosen=None):
        self.scored.add(frozenset(label.group for label in labels))
        return super().score(labels, counts, outputs, chosen)


@pytest.mark.parametrize("redraw, validations", [(False, 1), (True, 3)])
def test_redrawn_validation_gives_every_seed_its_own_split(tone_features, redraw, validations):
    labels = [clip.labels["class"] for clip in tone_features.clips]
    kind, names = Watching(labels), [Named(label) for label in labels]
    for name, clip in zip(names, tone_features.clips, strict=True):
        name.group = clip.group
    run_probes(tone_features, kind, names, "accuracy", seeds=3, probes=["linear"], redraw=redraw)
    test = frozenset(clip.group for clip in tone_features.clips if clip.split == "test")
    assert test in kind.scored and len(kind.scored) == validations + 1


class Named(str):
    """A class label that knows its clip's group."""


def test_majority_is_the_share_of_the_most_frequent_class(tone_features):
    kind, labels = learned(tone_features, "class", "class")
    assert majority(tone_features, kind, labels)["accuracy"] == pytest.approx(1 / 3)


def test_guessing_gives_the_share_of_a_class_where_the_majority_gives_one_class_only(tone_features):
    """Three classes of one size: macro-F1 of guessing is 1/3, of always the same answer (1/2 + 0 + 0) / 3."""
    kind, labels = learned(tone_features, "class", "class")
    guessing = kind.guessing(*(of_split(tone_features, labels, split)[0] for split in ("train", "test")))
    assert guessing["macro_f1"] == pytest.approx(1 / 3, abs=0.05)
    assert majority(tone_features, kind, labels)["macro_f1"] == pytest.approx(1 / 6)


def test_probes_leave_the_global_generator_alone(tone_features):
    import torch

    kind, labels = learned(tone_features, "class", "class")
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    run_probes(tone_features, kind, labels, "accuracy", seeds=1)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])


def test_deviation_is_that_of_a_sample():
    scores = [{"accuracy": value} for value in (0.5, 0.6, 0.8)]
    assert summary(scores)["accuracy"] == pytest.approx({"mean": 1.9 / 3, "std": statistics.stdev([0.5, 0.6, 0.8])})


def test_of_a_single_seed_the_deviation_is_zero():
    assert summary([{"accuracy": 0.5}]) == {"accuracy": {"mean": 0.5, "std": 0.0}}


def test_a_tempo_may_be_a_list_of_one_number():
    """As the column `value` of a CSV gives it."""
    tempo = KINDS["tempo"]([120.0])
    assert tempo.rows([[120.0]], [1]).tolist() == tempo.rows([120.0], [1]).tolist()
    assert tempo.score([[120.0]], [1], np.eye(tempo.num_outputs)[tempo.rows([[120.0]], [1])])["acc1"] == 1.0


@pytest.mark.parametrize(
    "label, kind, shuffle, fits", [("class", "class", False, 1), ("class", "class", True, 2), ("tags", "multilabel", False, 2)]
)
def test_a_linear_probe_without_randomness_is_fitted_once(tone_features, label, kind, shuffle, fits):
    """No deviation is told that was not measured."""
    kind, labels = learned(tone_features, kind, label)
    result = run_probes(tone_features, kind, labels, kind.primary, seeds=2, probes=["linear"], shuffle=shuffle)
    assert len(result.linear) == len(result.chosen_layers) == len(result.layers["mel"]) == fits


def test_rows_beyond_the_most_that_are_fitted_are_drawn_for_each_seed(tone_features, monkeypatch):
    monkeypatch.setattr(probes, "MAX_FITTED_ROWS", 20)
    kind, labels = learned(tone_features, "class", "class")
    result = run_probes(tone_features, kind, labels, "accuracy", seeds=2, probes=["linear"])
    assert (result.fitted_rows, len(result.linear)) == (20, 2)


@pytest.mark.parametrize("probe, parts", [("linear", [12]), ("mlp", [5, 5, 2])])
def test_no_more_rows_are_held_than_a_fit_needs(tone_features, probe, parts, monkeypatch):
    (kind, labels), read = learned(tone_features, "class", "class"), []
    whole = run_probes(tone_features, kind, labels, "accuracy", seeds=1, probes=[probe], poolings=["mean"])
    monkeypatch.setattr(probes, "TEST_BLOCK", 5)
    monkeypatch.setattr(
        Features, "layer", lambda self, layer, pool, rows: read.append(len(rows)) or self.store.read(self.keys, layer, pool, rows)
    )
    assert run_probes(tone_features, kind, labels, "accuracy", seeds=1, probes=[probe], poolings=["mean"]) == whole
    split = [clip.split for clip in tone_features.clips]
    assert read == [split.count("valid"), split.count("train"), *parts]


def test_probes_repeat_exactly(tone_features):
    kind, labels = learned(tone_features, "class", "class")
    first, second = (run_probes(tone_features, kind, labels, "accuracy", seeds=1) for _ in range(2))
    assert first == second


def test_retrieval_finds_the_same_tone(tone_features):
    heard = run_retrieval(tone_features, labels_of(tone_features, "class"), "r_at_1").linear[0]
    assert heard["r_at_1"] > 0.95
    assert heard["r_at_1"] > chance_retrieval(tone_features, labels_of(tone_features, "class"))["r_at_1"] + 0.3


def test_retrieval_of_shuffled_tracks_is_chance(tone_features):
    shuffled = run_retrieval(tone_features, labels_of(tone_features, "track"), "r_at_1", shuffle=True).linear[0]
    assert shuffled["r_at_1"] <= 0.2


@pytest.mark.slow
def test_processes_side_by_side_give_the_same_scores(tone_features):
    kind, labels = learned(tone_features, "class", "class")
    alone, together = (
        run_probes(tone_features, kind, labels, "accuracy", seeds=2, probes=["linear"], jobs=jobs) for jobs in (1, 2)
    )
    assert together == alone


@pytest.mark.parametrize("probe", ["linear", "mlp"])
def test_validation_chooses_the_pooling(tone_features, probe, monkeypatch):
    """The mean tells nothing here, the deviation everything: it is chosen, and both are reported."""
    labels = labels_of(tone_features, "class")
    noise = np.random.default_rng(0).standard_normal((len(labels), 8)).astype(np.float32)
    numbers = np.unique(labels, return_inverse=True)[1]
    informed = np.concatenate([noise, np.eye(3, dtype=np.float32)[numbers]], axis=1)
    monkeypatch.setattr(Features, "layer", lambda self, layer, pool, rows: (noise if pool == "mean" else informed)[rows])
    result = run_probes(tone_features, KINDS["class"](labels), labels, "accuracy", seeds=1, probes=[probe])
    by_pool = getattr(result, f"{probe}_by_pool")
    assert by_pool["mean+std"][0]["accuracy"] == 1.0 > by_pool["mean"][0]["accuracy"]
    assert getattr(result, probe) == by_pool["mean+std"]
    assert (result.chosen_pools or result.mlp_pools) == ["mean+std"]


def test_frames_are_not_pooled(click_frames):
    labels = labels_of(click_frames, "chords")
    result = run_probes(click_frames, KINDS["chord"](labels), labels, "weighted_majmin", seeds=1, probes=["linear"])
    assert result.chosen_pools == ["frames"] and result.linear_by_pool == {"frames": result.linear}
