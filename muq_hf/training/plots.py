"""Pictures of a run."""

from pathlib import Path

import torch

from ..storage.figures import new_figure, save_figure
from ..storage.json_lines import read_json_lines


def plot_usage(counts: torch.Tensor, path: Path) -> None:
    """How often each code is used, most frequent first, one line per codebook. counts: [K, V]."""
    figure = new_figure(7, 4)
    axes = figure.subplots()
    for k, row in enumerate(counts, start=1):
        share = 100 * (row > 0).double().mean().item()
        axes.plot(row.sort(descending=True).values.numpy(), label=f"codebook {k}: {share:.0f} % used")
    axes.set(xlabel="code, most frequent first", ylabel="tokens", yscale="symlog", title="Use of the codes")
    axes.legend(fontsize="small", ncols=2)
    save_figure(figure, path)


def plot_curves(metrics: Path, path: Path) -> None:
    """Training and evaluation loss, and masked accuracy where there is one, over the steps of metrics.jsonl."""
    rows = read_json_lines(metrics) if metrics.exists() else []
    names = [("loss", "eval_loss"), ("masked_accuracy", "eval_masked_accuracy")]
    panels = [pair for pair in names if any(name in row for row in rows for name in pair)]
    if not panels:
        return
    figure = new_figure(5 * len(panels), 3.5)
    for axes, pair in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for name in pair:
            points = [(row["step"], row[name]) for row in rows if name in row]
            if points:
                axes.plot(*zip(*points, strict=True), label=name, marker="." if len(points) < 30 else None)
        axes.set(xlabel="step", title=pair[0].replace("_", " "))
        axes.legend()
    save_figure(figure, path)
