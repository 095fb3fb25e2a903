"""Masked share and block length against what the model hears: too aggressive a mask shows as weak pitch and instrument probes.

python research/experiments/masking_sweep.py MUSIC --rvq RUN/mel_rvq/final --notes RENDERED --output FOLDER
"""

import argparse
import sys
from pathlib import Path

from reports import compare
from task_probes import BEST, LAST, MEAN, probe_tasks, score_names
from training_arms import add_notes, add_training, experiment_parser, masked_prediction, parse, train_muq


PAPER = {"masked_share": 0.6, "block_seconds": 0.4}
ARMS = [
    {"masked_share": 0.3, "block_seconds": 0.4},
    PAPER,
    {"masked_share": 0.8, "block_seconds": 0.4},
    {"masked_share": 0.6, "block_seconds": 0.8},
]
TASKS = ("pitch", "instrument")
MEASURES = ("masked accuracy", *score_names(TASKS, (BEST, MEAN, LAST)))


def run(folder: Path, seed: int, masked_share: float, block_seconds: float, settings: argparse.Namespace) -> dict:
    """Train one model → what it recovers of masked tokens, and what it hears."""
    mask = {"mask_prob": masked_share, "mask_seconds": block_seconds}
    final = train_muq(folder, seed, settings.music, settings.steps, settings.rvq, **mask)
    return {**masked_prediction(folder), **probe_tasks(final, TASKS, [settings.notes], folder / "features")}


def main() -> int:
    parser = experiment_parser(__doc__)
    add_training(parser)
    parser.add_argument("--rvq", required=True, type=Path, help="folder of the trained Mel-RVQ")
    add_notes(parser)
    settings = parse(parser)
    compare("masking", ARMS, MEASURES, PAPER, run, settings)
    return 0


if __name__ == "__main__":
    sys.exit(main())
