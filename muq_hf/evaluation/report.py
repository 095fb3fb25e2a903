"""Results of the benchmark as JSON, as a Markdown table and as pictures."""

import json
import math
from collections.abc import Sequence
from pathlib import Path


PERCENT = 100
PICTURES = ("layers.png", "curves.png")


def write_report(rows: Sequence[dict], settings: dict, folder: Path) -> list[Path]:
    """results.json, results.md, and for models with several layers layers.png (heat map) and curves.png → the files.

    Pictures of another run are deleted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    results, table = folder / "results.json", folder / "results.md"
    results.write_text(json.dumps({"settings": settings, "results": list(rows)}, indent=1) + "\n", encoding="utf-8")
    table.write_text(markdown_table(rows), encoding="utf-8")
    layered = [row for row in rows if len(row["probes"].get("linear", {}).get("layers", ())) > 1]
    for name in PICTURES:
        (folder / name).unlink(missing_ok=True)
    return [results, table, *(_plot(layered, folder) if layered else [])]


def markdown_table(rows: Sequence[dict]) -> str:
    """Models down, tasks across, scores in percent; a line for each probe. Scores above a chance they should have are marked."""
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    primary = {row["task"]: row["primary"] for row in rows}
    lines = [
        "| model | probe | " + " | ".join(f"{task}<br>{primary[task]}" for task in tasks) + " |",
        "|---|---|" + "--:|" * len(tasks),
    ]
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for row in rows:
        for name, probe in row["probes"].items():
            cell = _cell(probe["scores"][row["primary"]]) + ("" if probe.get("near_chance", True) else " above chance")
            cells.setdefault((row["model"], name), {})[row["task"]] = cell
    for (model, probe), by_task in cells.items():
        lines.append(f"| {model} | {probe} | " + " | ".join(by_task.get(task, "–") for task in tasks) + " |")
    return "\n".join(lines) + "\n"


def _cell(score: dict[str, float]) -> str:
    mean, std = PERCENT * score["mean"], PERCENT * score["std"]
    return f"{mean:.1f}" if std < 0.05 else f"{mean:.1f} ± {std:.1f}"


def _plot(rows: Sequence[dict], folder: Path) -> list[Path]:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = plot_names(list(dict.fromkeys(row["model"] for row in rows)))
    return [plot(plt, rows, names, folder / name) for plot, name in zip((_heat_map, _curves), PICTURES, strict=True)]


def plot_names(models: Sequence[str]) -> dict[str, str]:
    """Model → what pictures call it: without folders or owner where that tells it from the others, else all of its name."""
    parts = {model: model.rpartition(":") for model in models}  # "random:" stays
    short = {model: prefix + colon + Path(path).name for model, (prefix, colon, path) in parts.items()}
    return {model: name if list(short.values()).count(name) == 1 else model for model, name in short.items()}


def _heat_map(plt, rows, names: dict[str, str], file: Path) -> Path:
    """Layer × task for each model; colours span each task's own range, numbers are percent."""
    figure, all_axes = plt.subplots(1, len(names), figsize=(2.5 + 5 * len(names), 5), squeeze=False, layout="constrained")
    for axes, (model, name) in zip(all_axes[0], names.items(), strict=True):
        own = [row for row in rows if row["model"] == model]
        columns = [[score["mean"] for score in row["probes"]["linear"]["layers"].values()] for row in own]
        layers = list(own[0]["probes"]["linear"]["layers"])
        relative = [[_relative(value, column) for value in column] for column in columns]
        axes.imshow(list(zip(*relative, strict=True)), aspect="auto", cmap="viridis", vmin=0, vmax=1)
        for x, column in enumerate(columns):
            for y, value in enumerate(column):
                color = "black" if relative[x][y] > 0.6 else "white"
                axes.text(x, y, f"{PERCENT * value:.1f}", ha="center", va="center", color=color, fontsize=8)
        axes.set_xticks(range(len(own)), [row["task"] for row in own], rotation=45, ha="right")
        axes.set_yticks(range(len(layers)), layers)
        axes.set_title(f"{name}: linear probe, %")
    figure.savefig(file, dpi=120)
    plt.close(figure)
    return file


def _relative(value: float, column: Sequence[float]) -> float:
    span = max(column) - min(column)
    return (value - min(column)) / span if span > 0 and math.isfinite(span) else 0.5


def _curves(plt, rows, names: dict[str, str], file: Path) -> Path:
    """Score by layer, one panel a task, one line a model, ± one deviation."""
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    columns = min(3, len(tasks))
    lines = -(-len(tasks) // columns)
    figure, all_axes = plt.subplots(lines, columns, figsize=(4.5 * columns, 3.2 * lines), squeeze=False, layout="constrained")
    panels = dict(zip(tasks, all_axes.flat, strict=False))
    for row in rows:
        scores = list(row["probes"]["linear"]["layers"].values())
        depth = [layer / (len(scores) - 1) for layer in range(len(scores))]
        means, stds = [PERCENT * s["mean"] for s in scores], [PERCENT * s["std"] for s in scores]
        color = f"C{list(names).index(row['model'])}"
        panels[row["task"]].errorbar(depth, means, stds, marker="o", markersize=3, color=color, label=names[row["model"]])
        panels[row["task"]].set_title(f"{row['task']} ({row['primary']}, %)", fontsize=10)
        panels[row["task"]].set_xlabel("depth (0: front end, 1: last layer)", fontsize=8)
    for axes in list(all_axes.flat)[len(tasks) :]:
        axes.set_axis_off()
    lines_of = {label: line for axes in panels.values() for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(lines_of.values(), lines_of.keys(), loc="outside lower center", ncols=columns, fontsize=8)
    figure.savefig(file, dpi=120)
    plt.close(figure)
    return file
