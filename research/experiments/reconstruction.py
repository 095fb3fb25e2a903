"""How much of the mel each codebook of a Mel-RVQ brings back, on tracks that it never saw.

    python research/experiments/reconstruction.py MUSIC --output FOLDER

trains a Mel-RVQ for every seed and decodes held-out music from 1, 2, … 8 codebooks. The quantizers come into
FOLDER/seed_N/run/final: other experiments take them as `--rvq FOLDER/seed_{seed}/run/final`.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

from arms import run_arms, values_of
from reports import cell, rows_to_markdown, save
from training_arms import add_training, codebook_rows, experiment_parser, parse, train_rvq

from muq_hf.training.plots import new_figure, save_figure


CODEBOOKS = range(1, 9)
MEASURES = {
    "absolute_error_db": "mean error (dB)",
    "residual_energy": "energy left",
    "usage": "codes used",
    "perplexity": "perplexity",
}


def run(folder: Path, seed: int, settings: argparse.Namespace) -> dict:
    """Train one Mel-RVQ → its measures with 1, 2, … codebooks."""
    train_rvq(folder, seed, settings.music, settings.steps, num_codebooks=len(CODEBOOKS))
    return {f"{title}, {row['codebooks']}": row[name] for row in codebook_rows(folder) for name, title in MEASURES.items()}


def table(results: list[dict]) -> str:
    """Mean ± deviation over seeds; below, the 95 % interval of the mean.

    Of error and energy, from two codebooks on: what the last one added (paired by seed) and its 95 % interval.
    """
    rows = []
    for k in CODEBOOKS:
        cells = []
        for name, title in MEASURES.items():
            accumulates = name in ("absolute_error_db", "residual_energy")
            before = values_of(results, {}, f"{title}, {k - 1}") if accumulates and k > 1 else None
            cells.append(cell(values_of(results, {}, f"{title}, {k}"), before))
        rows.append([k, *cells])
    return rows_to_markdown(["codebooks", *MEASURES.values()], rows)


def plot(results: list[dict], path: Path) -> None:
    """A line for each seed."""
    figure = new_figure(3 * len(MEASURES), 3)
    for axes, title in zip(figure.subplots(1, len(MEASURES)), MEASURES.values(), strict=True):
        for result in results:
            axes.plot(CODEBOOKS, [result[f"{title}, {k}"] for k in CODEBOOKS], marker=".", label=f"seed {result['seed']}")
        axes.set(xlabel="codebooks", title=title, ylim=(0, None))
    figure.axes[0].legend(fontsize="small")
    save_figure(figure, path)


def main() -> int:
    parser = experiment_parser(__doc__, seeds=5)
    add_training(parser, steps=400)
    settings = parse(parser)
    results = run_arms([{}], settings.seeds, settings.output, partial(run, settings=settings), settings.jobs)
    save(settings.output, "reconstruction", results, table(results))
    plot(results, settings.output / "reconstruction.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
