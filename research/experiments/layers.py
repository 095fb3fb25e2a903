"""Where in a model is what: a linear probe on every layer. Do acoustic tasks peak low and semantic ones high?

    python research/experiments/layers.py muq='RUN/seed_{seed}/final' random=random:tiny --corpus CORPUS RENDERED --output FOLDER

Each model is NAME=SPEC, where SPEC is what `muq-hf probe --model` takes. `{seed}` in it stands for the seed of the model's
training; a model without it is probed once.
"""

import argparse
import statistics
import sys
from functools import partial
from pathlib import Path

import numpy as np
from arms import half_interval, mean_and_spread, run_arms
from reports import cell, rows_to_markdown, save
from task_probes import probe_layers
from training_arms import experiment_parser, parse

from muq_hf.training.plots import new_figure, save_figure


ACOUSTIC = ("pitch", "instrument", "key")  # said to peak in lower layers (arXiv 2501.01108, section 4)
BETWEEN = ("chord", "tempo")
SEMANTIC = ("dance", "album")  # said to peak in higher ones: genre
TASKS = (*ACOUSTIC, *BETWEEN, *SEMANTIC)


def run(folder: Path, seed: int, model: str, settings: argparse.Namespace) -> dict:
    """→ the score of every task in every layer of one model."""
    spec = specs_of(settings)[model].replace("{seed}", str(seed))
    return {"scores": probe_layers(spec, TASKS, settings.corpus, folder / "features")}


def specs_of(settings: argparse.Namespace) -> dict[str, str]:
    return dict(model.split("=", 1) for model in settings.models)


def by_model(results: list[dict]) -> dict[str, list[dict[str, dict[str, float]]]]:
    """Model → for each seed task → layer → score."""
    scores: dict[str, list] = {}
    for result in results:
        scores.setdefault(result["model"], []).append(result["scores"])
    return scores


def peak(layers: dict[str, float]) -> float:
    """Index of the layer with the highest score; of several the mean index: a flat task peaks in the middle."""
    scores = np.array(list(layers.values()))
    return float(np.flatnonzero(scores == scores.max()).mean())


def rise(scores: dict[str, dict[str, float]]) -> float:
    """Mean peak layer of the semantic tasks minus that of the acoustic ones, of one model."""
    semantic, acoustic = ([peak(scores[task]) for task in tasks] for tasks in (SEMANTIC, ACOUSTIC))
    return statistics.mean(semantic) - statistics.mean(acoustic)


def table(results: list[dict]) -> str:
    """For each model its scores by layer, mean ± deviation over seeds and the mean's 95 % interval, and where the tasks peak."""
    parts = []
    for model, seeds in by_model(results).items():
        layers = list(seeds[0][TASKS[0]])
        rows = []
        for task in TASKS:
            cells = [cell([scores[task][layer] for scores in seeds]) for layer in layers]
            rows.append([task, *cells, mean_and_spread([peak(scores[task]) for scores in seeds])])
        number = "1 seed" if len(seeds) == 1 else f"{len(seeds)} seeds"
        parts.append(f"**{model}**, {number}\n\n" + rows_to_markdown(["task", *layers, "peak layer"], rows))
        rises = [rise(scores) for scores in seeds]
        interval = f", 95 % interval ± {half_interval(rises):.2f}" if len(rises) > 1 else ""
        above = f"{' and '.join(SEMANTIC)} above that of {', '.join(ACOUSTIC)}"
        parts.append(f"Peak of {above}: {statistics.mean(rises):+.2f} layers{interval}.")
    return "\n\n".join(parts)


def plot(results: list[dict], path: Path) -> None:
    """A heat map for each model: means over seeds as numbers, relative to the task's best layer as colour."""
    models = by_model(results)
    figure = new_figure(5.5 * len(models), 4)
    for axes, (model, seeds) in zip(figure.subplots(1, len(models), squeeze=False)[0], models.items(), strict=True):
        layers = list(seeds[0][TASKS[0]])
        means = np.array([[statistics.mean(scores[task][layer] for scores in seeds) for layer in layers] for task in TASKS])
        relative = means / np.maximum(means.max(axis=1, keepdims=True), 1e-9)
        image = axes.imshow(relative, aspect="auto", cmap="Wistia", vmin=0, vmax=1)
        for (row, column), value in np.ndenumerate(means):
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize="small")
        axes.set(title=model, xlabel="layer", xticks=range(len(layers)), yticks=range(len(TASKS)), yticklabels=TASKS)
    figure.colorbar(image, ax=figure.axes, label="score / the task's best layer")
    save_figure(figure, path)


def main() -> int:
    parser = experiment_parser(__doc__)
    parser.add_argument("models", nargs="+", metavar="NAME=SPEC")
    parser.add_argument("--corpus", required=True, nargs="+", type=Path, help="folders that research/corpus wrote")
    settings = parse(parser)
    task = partial(run, settings=settings)
    seeded = [{"model": name} for name, spec in specs_of(settings).items() if "{seed}" in spec]
    fixed = [{"model": name} for name, spec in specs_of(settings).items() if "{seed}" not in spec]
    results = run_arms(seeded, settings.seeds, settings.output, task, settings.jobs)
    results += run_arms(fixed, 1, settings.output, task, settings.jobs)
    save(settings.output, "layers", results, table(results))
    plot(results, settings.output / "layers.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
