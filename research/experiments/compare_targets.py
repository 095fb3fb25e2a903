"""Do trained tokens teach more than random ones, and vary less from seed to seed?

    python research/experiments/compare_targets.py MUSIC --rvq 'FOLDER/seed_{seed}/run/final' --notes RENDERED --output FOLDER

trains a tiny MuQ from scratch on the tokens of a Mel-RVQ and on those of a random projection (one codebook of the same size),
with several seeds each. `{seed}` gives every seed a Mel-RVQ of its own (reconstruction.py trains them), as it draws a random
projection of its own; without it the trained tokens are the same for all seeds. The two losses do not compare, since their
vocabularies differ: compared are the evaluation loss divided by the entropy of the targets, and probes of the frozen models.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

from arms import run_arms, values_of, variance_ratio
from reports import rows_to_markdown, save, table
from task_probes import probe_tasks, score_names
from training_arms import add_notes, add_training, curve, experiment_parser, masked_prediction, parse, train_muq

from muq_hf.models.configuration_muq import MelRVQConfig
from muq_hf.training.plots import new_figure, save_figure


TRAINED, RANDOM = {"targets": "trained"}, {"targets": "random"}
TASKS = ("pitch", "instrument")
MEASURES = ("loss / entropy", *score_names(TASKS))


def run(folder: Path, seed: int, targets: str, settings: argparse.Namespace) -> dict:
    """Train one model → its curve and what it hears."""
    rvq = settings.rvq.replace("{seed}", str(seed))
    if targets == "trained":
        final = train_muq(folder, seed, settings.music, settings.steps, rvq)
    else:
        size = MelRVQConfig.from_pretrained(rvq).codebook_size
        final = train_muq(folder, seed, settings.music, settings.steps, "random_projection", codebook_size=size)
    heard = probe_tasks(final, TASKS, [settings.notes], folder / "features")
    return {**masked_prediction(folder), **heard, "curve": curve(folder, "eval_normalised_loss")}


def variances(results: list[dict]) -> str:
    """Variance over seeds of the random targets, relative to the trained ones'."""
    rows = []
    for measure in MEASURES:
        ratio, low, high = variance_ratio(*(values_of(results, arm, measure) for arm in (RANDOM, TRAINED)))
        rows.append([measure, f"{ratio:.2f}", f"{low:.2f} to {high:.2f}"])
    return rows_to_markdown(["measure", "variance, random / trained", "95 % interval (F)"], rows)


def plot(results: list[dict], path: Path) -> None:
    """Curves of all runs, and their probes as dots."""
    figure = new_figure(11, 3.5)
    loss, heard = figure.subplots(1, 2)
    for colour, arm in (("C0", TRAINED), ("C1", RANDOM)):
        name = arm["targets"]
        for points in values_of(results, arm, "curve"):
            loss.plot(*zip(*points, strict=True), color=colour)
        for position, measure in enumerate(MEASURES[1:]):
            values = values_of(results, arm, measure)
            shift = 0.1 if arm is RANDOM else -0.1
            heard.scatter([position + shift] * len(values), values, color=colour, s=14, label=None if position else name)
    loss.set(xlabel="step", ylabel="loss / entropy of the targets", title="Evaluation, masked tokens")
    heard.set(xticks=range(len(MEASURES) - 1), ylabel="accuracy", title="Probes")
    heard.set_xticklabels([measure.replace(", ", "\n") for measure in MEASURES[1:]])
    heard.legend()
    save_figure(figure, path)


def main() -> int:
    parser = experiment_parser(__doc__, seeds=5)
    add_training(parser)
    parser.add_argument("--rvq", required=True, help="folder of the trained Mel-RVQ; {seed} in it stands for the seed")
    add_notes(parser)
    settings = parse(parser)
    results = run_arms([TRAINED, RANDOM], settings.seeds, settings.output, partial(run, settings=settings), settings.jobs)
    text = table(results, [TRAINED, RANDOM], MEASURES, reference=TRAINED) + "\n\n" + variances(results)
    save(settings.output, "targets", results, text)
    plot(results, settings.output / "targets.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
