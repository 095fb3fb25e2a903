"""What an experiment leaves: all values as JSON, a Markdown table, a picture."""

import json
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from arms import half_interval, mean_and_spread, paired_difference, run_arms, values_of

from muq_hf.training.plots import new_figure, save_figure


def cell(values: list[float], reference: list[float] | None = None) -> str:
    """Mean ± deviation over seeds; below it the 95 % interval of the mean, or the difference from `reference` and its own."""
    if len(values) == 1:
        return mean_and_spread(values)
    if reference is None:
        mean, half = statistics.mean(values), half_interval(values)
        return f"{mean_and_spread(values)}<br>[{mean - half:.3f}, {mean + half:.3f}]"
    difference, half = paired_difference(values, reference)
    return f"{mean_and_spread(values)}<br>{difference:+.3f} (± {half:.3f})"


def rows_to_markdown(header: Sequence[str], rows: Sequence[Sequence]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def table(results: list[dict], arms: list[dict], measures: Sequence[str], reference: dict | None = None) -> str:
    """A row for each arm, a column for each measure; differences from the arm `reference` are paired by seed."""
    rows = []
    for arm in arms:
        row = list(arm.values())
        for measure in measures:
            compared = None if reference in (None, arm) else values_of(results, reference, measure)
            row.append(cell(values_of(results, arm, measure), compared))
        rows.append(row)
    return rows_to_markdown([*(key.replace("_", " ") for key in arms[0]), *measures], rows)


def plot(results: list[dict], arms: list[dict], measures: Sequence[str], path: Path) -> None:
    """A panel for each measure, arms from left to right: every run a dot, the mean over seeds a line."""
    labels = ["\n".join(map(str, arm.values())) for arm in arms]
    columns = min(4, len(measures))
    rows = -(-len(measures) // columns)
    figure = new_figure(3 * columns, 2.6 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for axes, measure in zip(panels, measures, strict=False):
        by_arm = [values_of(results, arm, measure) for arm in arms]
        axes.plot(labels, [statistics.mean(values) for values in by_arm])
        for label, values in zip(labels, by_arm, strict=True):
            axes.scatter([label] * len(values), values, s=12, color="black")
        axes.set(title=measure, xlabel=", ".join(arms[0]).replace("_", " "))
    for axes in list(figure.axes)[len(measures) :]:
        axes.remove()
    save_figure(figure, path)


def compare(name: str, arms: list[dict], measures: Sequence[str], reference: dict, run: Callable[..., dict], settings) -> None:
    """Run the arms that are not done, and write what they gave beside `reference`: JSON, table and picture called `name`."""
    results = run_arms(arms, settings.seeds, settings.output, partial(run, settings=settings), settings.jobs)
    save(settings.output, name, results, table(results, arms, measures, reference))
    plot(results, arms, measures, settings.output / f"{name}.png")


def save(output: Path, name: str, results: list[dict], text: str) -> None:
    """`name`.json and `name`.md in the folder `output`; the text is printed too."""
    (output / f"{name}.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    (output / f"{name}.md").write_text(text + "\n", encoding="utf-8")
    print(text)
