"""Which layer of a converged model to take the next targets from? The paper takes the tenth of twelve.

    python research/experiments/iterate_layer.py MUSIC --teacher RUN/final --rvq RVQ/final --notes RENDERED --output FOLDER

quantizes the latents of layers 2 … last of one teacher and trains a tiny MuQ from scratch on each; "none" is one that is trained
on the tokens of the Mel-RVQ, as the teacher was, with as many updates.
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
    train_refined,
)

from muq_hf import MuQConfig


FIRST_LAYER = 2
NONE = {"layer": "none"}
TASKS = ("pitch", "instrument", "key", "dance")
HEARD = score_names(TASKS)
MEASURES = ("loss / entropy", "codes used", *HEARD)


def run(folder: Path, seed: int, layer: int | str, settings: argparse.Namespace) -> dict:
    """Train one model on tokens of the teacher's layer → what it hears."""
    if layer == "none":
        final = train_muq(folder, seed, settings.music, settings.steps, settings.rvq)
        tokens, student = settings.rvq.parent, folder
    else:
        final = train_refined(folder, seed, settings.music, settings.steps, settings.rvq_steps, settings.teacher, layer)
        tokens, student = folder / "round_1" / "latent_rvq", folder / "round_1" / "muq"
    heard = probe_tasks(final, TASKS, [settings.notes], folder / "features")
    return {**masked_prediction(student), **quantizer_measures(tokens), **heard}


def main() -> int:
    parser = experiment_parser(__doc__)
    add_training(parser)
    add_rvq_steps(parser)
    parser.add_argument("--teacher", required=True, type=Path, help="folder of the converged MuQ")
    parser.add_argument("--rvq", required=True, type=Path, help="RUN/final of the Mel-RVQ that the teacher was trained with")
    add_notes(parser)
    settings = parse(parser)
    last = MuQConfig.from_pretrained(settings.teacher).num_hidden_layers
    arms = [NONE, *({"layer": layer} for layer in range(FIRST_LAYER, last + 1))]
    compare("iterate_layer", arms, MEASURES, NONE, run, settings)
    return 0


if __name__ == "__main__":
    sys.exit(main())
