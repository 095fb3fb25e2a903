"""Tables and pictures name every model."""

import matplotlib.pyplot as plt
import pytest

from muq_hf.evaluation.report import plot_names, write_report


def row(model, task, *layers):
    scores = {f"layer {n}": {"mean": score, "std": 0.0} for n, score in enumerate(layers)}
    linear = {"scores": {"accuracy": {"mean": max(layers), "std": 0.0}}, "layers": scores}
    return {"model": model, "task": task, "primary": "accuracy", "probes": {"linear": linear}}


@pytest.mark.parametrize(
    "models, names",
    [
        (["RUN/final", "random:RUN/final"], ["final", "random:final"]),
        (["A/final", "B/final", "B/best"], ["A/final", "B/final", "best"]),
        (["A/one", "mel"], ["one", "mel"]),
    ],
)
def test_pictures_call_models_by_short_names_that_differ(models, names):
    assert list(plot_names(models).values()) == names


def test_the_legend_names_models_that_skip_the_first_task(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(plt, "close", figures.append)
    write_report([row("one", "beat", 0.1, 0.2), row("one", "key", 0.1, 0.3), row("two", "key", 0.2, 0.1)], {}, tmp_path)
    (legend,) = figures[-1].legends
    assert [text.get_text() for text in legend.get_texts()] == ["one", "two"]


def test_pictures_of_another_run_are_deleted(tmp_path):
    write_report([row("deep", "key", 0.1, 0.3)], {}, tmp_path)
    written = write_report([row("flat", "key", 0.1)], {}, tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(written)
