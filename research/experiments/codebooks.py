"""Do more codebooks help? A Mel-RVQ with 1, 2, 4, 8, 12 or 16, and a tiny MuQ on its tokens, with as many updates each.

python research/experiments/codebooks.py MUSIC --notes RENDERED --output FOLDER
"""

import argparse
import sys
from pathlib import Path

from reports import compare
from task_probes import probe_tasks, score_names
from training_arms import (
    add_notes,
    add_rvq_steps,
    add_training,
    experiment_parser,
    masked_prediction,
    parse,
    quantizer_measures,
    train_muq,
    train_rvq,
)


ARMS = [{"codebooks": number} for number in (1, 2, 4, 8, 12, 16)]
PAPER = {"codebooks": 8}
TASKS = ("pitch", "instrument")
HEARD = score_names(TASKS)
MEASURES = ("energy left", "codes used", "loss / entropy", *HEARD)


def run(folder: Path, seed: int, codebooks: int, settings: argparse.Namespace) -> dict:
    """Train one quantizer and one model → what is left over, and what the model hears."""
    rvq = train_rvq(folder / "rvq", seed, settings.music, settings.rvq_steps, num_codebooks=codebooks)
    final = train_muq(folder / "muq", seed, settings.music, settings.steps, rvq)
    heard = probe_tasks(final, TASKS, [settings.notes], folder / "features")
    return {**quantizer_measures(folder / "rvq"), **masked_prediction(folder / "muq"), **heard}


def main() -> int:
    parser = experiment_parser(__doc__)
    add_training(parser)
    add_rvq_steps(parser)
    add_notes(parser)
    settings = parse(parser)
    compare("codebooks", ARMS, MEASURES, PAPER, run, settings)
    return 0


if __name__ == "__main__":
    sys.exit(main())
