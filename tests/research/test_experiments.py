"""research/experiments: statistics, tables, pictures and resuming, on made-up results."""

import json
import sys
from argparse import ArgumentParser
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from muq_hf import MUQ_TINY, MelRVQConfig, MelRVQModel
from muq_hf.evaluation.guards import LeakError
from muq_hf.storage.json_lines import read_json_lines, to_json_lines


EXPERIMENTS = Path(__file__).parents[2] / "research" / "experiments"
sys.path.insert(0, str(EXPERIMENTS))  # the scripts import each other as they do when they are run

import arms  # noqa: E402
import codebooks  # noqa: E402
import compare_targets  # noqa: E402
import iterate_layer  # noqa: E402
import layers  # noqa: E402
import reconstruction  # noqa: E402
import reports  # noqa: E402
import task_probes  # noqa: E402
import training_arms  # noqa: E402
import virtual_classes  # noqa: E402


sys.path.remove(str(EXPERIMENTS))

SEEDS = 4
ITERATED = [iterate_layer.NONE, {"layer": 2}, {"layer": 3}]


def made_up(rows: list[dict], measures) -> list[dict]:
    """Random values of every measure for each arm and seed, in the order of `run_arms`."""
    generator = np.random.default_rng(0)
    return [
        {**arm, "seed": seed, **{measure: float(generator.normal(5)) for measure in measures}}
        for seed in range(SEEDS)
        for arm in rows
    ]


def layer_results(scores_of) -> list[dict]:
    """scores_of(task, seed) → layer → score."""
    return [
        {"model": "muq", "seed": seed, "scores": {task: scores_of(task, seed) for task in layers.TASKS}} for seed in range(SEEDS)
    ]


def test_of_a_single_run_no_spread_is_claimed():
    assert reports.cell([0.25]) == "0.250"
    results = layer_results(lambda task, seed: {"layer 0": 0.5, "layer 1": 0.25})[:1]
    assert "1 seed\n" in layers.table(results) and not any(sign in layers.table(results) for sign in ("±", "nan"))


def test_interval_is_that_of_scipy():
    values = [1.0, 2.5, 2.0, 4.0]
    low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    assert arms.half_interval(values) == pytest.approx((high - low) / 2)


def test_paired_difference_is_that_of_scipys_paired_test():
    values, reference = [1.0, 2.5, 2.0, 4.0], [0.5, 2.0, 2.2, 3.0]
    difference, half = arms.paired_difference(values, reference)
    low, high = stats.ttest_rel(values, reference).confidence_interval(0.95)
    assert (difference - half, difference + half) == pytest.approx((low, high))


def test_variance_ratio_covers_the_true_one_in_95_of_100_experiments():
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(1000):
        _, low, high = arms.variance_ratio(generator.normal(0, 3, 5).tolist(), generator.normal(0, 1, 5).tolist())
        covered += low <= 9 <= high
    assert covered / 1000 == pytest.approx(0.95, abs=0.02)


def test_table_shows_means_deviations_and_paired_intervals():
    results = made_up(codebooks.ARMS, codebooks.MEASURES)
    lines = reports.table(results, codebooks.ARMS, codebooks.MEASURES, reference=codebooks.PAPER).splitlines()
    row = dict(zip(codebooks.MEASURES, lines[2].strip("| ").split(" | ")[1:], strict=True))
    values, reference = (
        np.array([result["energy left"] for result in results if result["codebooks"] == number]) for number in (1, 8)
    )
    low, high = stats.ttest_rel(values, reference).confidence_interval(0.95)
    expected = f"{values.mean():.3f} ± {values.std(ddof=1):.3f}<br>{(values - reference).mean():+.3f} (± {(high - low) / 2:.3f})"
    assert row["energy left"] == expected


def test_a_table_without_reference_shows_the_interval_of_the_mean():
    values = [1.0, 2.5, 2.0, 4.0]
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert reports.cell(values).endswith(f"[{low:.3f}, {high:.3f}]")


def test_rank_correlation_is_perfect_where_probes_follow_usage():
    results = made_up(virtual_classes.ARMS, virtual_classes.MEASURES)
    for result in results:
        result["pitch, last layer"] = result["classes used"] ** 3
    line = next(line for line in virtual_classes.correlations(results).splitlines() if "pitch, last layer" in line)
    assert line.split(" | ")[1] == "+1.00 (± 0.00)"


def test_rise_is_the_distance_of_the_peaks():
    peaks = dict.fromkeys(layers.ACOUSTIC, 1) | dict.fromkeys(layers.BETWEEN, 0) | dict.fromkeys(layers.SEMANTIC, 3)
    results = layer_results(lambda task, seed: {f"layer {i}": -abs(i - peaks[task]) for i in range(5)})
    assert layers.rise(results[0]["scores"]) == 2


def test_a_task_without_peak_counts_in_the_middle():
    assert layers.peak({f"layer {i}": 0.25 for i in range(5)}) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "draw",
    [
        lambda path: reports.plot(made_up(ITERATED, iterate_layer.HEARD), ITERATED, iterate_layer.HEARD[:2], path),
        lambda path: virtual_classes.plot(made_up(virtual_classes.ARMS, virtual_classes.MEASURES), path),
        lambda path: layers.plot(layer_results(lambda task, seed: {"layer 0": 0.5, "layer 1": 0.1 * seed}), path),
        lambda path: reconstruction.plot(
            made_up([{}], [f"{title}, {k}" for title in reconstruction.MEASURES.values() for k in reconstruction.CODEBOOKS]), path
        ),
        lambda path: compare_targets.plot(
            [
                {**result, "curve": [[1, 2.0], [2, 1.5]]}
                for result in made_up([compare_targets.TRAINED, compare_targets.RANDOM], compare_targets.MEASURES)
            ],
            path,
        ),
    ],
    ids=["iterate_layer", "virtual_classes", "layers", "reconstruction", "compare_targets"],
)
def test_pictures_are_drawn(draw, tmp_path):
    draw(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_finished_arms_are_not_run_again(tmp_path):
    calls = []

    def run(folder, seed, width):
        calls.append((seed, width))
        return {"score": seed + width}

    first = arms.run_arms([{"width": 1}, {"width": 2}], 2, tmp_path, run, jobs=1)
    assert arms.run_arms([{"width": 1}, {"width": 2}], 3, tmp_path, run, jobs=1)[:4] == first
    assert calls == [(0, 1), (0, 2), (1, 1), (1, 2), (2, 1), (2, 2)]


def test_an_interrupted_arm_is_run_again_in_its_folder(tmp_path):
    def interrupted(folder, seed, width):
        folder.mkdir()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        arms.run_arms([{"width": 1}], 1, tmp_path, interrupted, jobs=1)
    results = arms.run_arms([{"width": 1}], 1, tmp_path, lambda folder, seed, width: {"found": folder.exists()}, jobs=1)
    assert results == [{"width": 1, "seed": 0, "found": True}]


def test_runs_of_other_settings_are_not_mixed(tmp_path, monkeypatch):
    def parse(*options) -> None:
        parser: ArgumentParser = training_arms.experiment_parser("an experiment")
        training_arms.add_training(parser)
        monkeypatch.setattr(sys, "argv", ["experiment", "music", "--output", str(tmp_path), *options])
        training_arms.parse(parser)

    parse("--steps", "10")
    parse("--steps", "10", "--seeds", "5", "--jobs", "1")
    with pytest.raises(ValueError, match="steps was 10, is 20"):
        parse("--steps", "20")


def test_the_last_evaluation_is_read(tmp_path):
    rows = [{"step": step, "eval_normalised_loss": 1 / step, "eval_masked_accuracy": step / 10} for step in (1, 2, 4)]
    text = "".join(json.dumps(row) + "\n" for row in [*rows, {"step": 4, "train_loss": 3.0}])
    (tmp_path / "metrics.jsonl").write_text(text)
    assert training_arms.masked_prediction(tmp_path) == {"loss / entropy": 0.25, "masked accuracy": 0.4}


def test_the_shipped_model_is_not_probed_on_music_that_it_was_trained_on(tmp_path):
    trained_on = read_json_lines(Path(MUQ_TINY) / "training_files.jsonl")[0]["path"]
    paths = {"train": "train.ogg", "valid": "valid.ogg", "test": trained_on}
    (tmp_path / "tasks").mkdir()
    rows = [{"path": path, "split": split, "labels": {"dance": "jig"}} for split, path in paths.items()]
    (tmp_path / "tasks" / "dance.jsonl").write_text(to_json_lines(rows))
    with pytest.raises(LeakError, match=Path(trained_on).name):
        task_probes.probe_tasks(MUQ_TINY, ["dance"], [tmp_path], tmp_path / "features")


def test_virtual_codes_change_no_token(tmp_path):
    model = MelRVQModel(MelRVQConfig(num_codebooks=3, codebook_size=16)).eval()
    model.save_pretrained(tmp_path / "rvq")
    larger = MelRVQModel.from_pretrained(virtual_classes.add_virtual_codes(tmp_path / "rvq", 48, tmp_path / "larger"))
    waves = torch.randn(2, 24_000)
    assert larger.config.codebook_size == 64
    assert torch.equal(larger.encode(waves), model.encode(waves))


def test_parameters_of_the_published_size_are_counted_without_memory():
    rows = dict(line.strip("| ").split(" | ") for line in virtual_classes.count_parameters("large").splitlines())
    assert rows["front end and Conformer"] == "316.34"
    parts = [float(value) for value in list(rows.values())[2:6]]
    assert sum(parts) == pytest.approx(float(rows["all"]), abs=0.03)
