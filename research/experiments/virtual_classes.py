"""What do codes do that no music ever hits ("virtual classes" of the softmax)?

    python research/experiments/virtual_classes.py MUSIC --notes RENDERED --output FOLDER
    python research/experiments/virtual_classes.py --count

The first trains, for each arm, a Mel-RVQ and a tiny MuQ on its tokens: codebooks of several sizes; without the replacement of
unused codes, so that few are hit; and with codes that are added after the training and cannot be hit, so that the tokens stay
exactly the same. Usage is measured on held-out tracks and related to the probes. The second counts the parameters of the preset
"large".
"""

import argparse
import copy
import shutil
import statistics
import sys
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from arms import half_interval, run_arms, values_of
from reports import rows_to_markdown, save, table
from scipy import stats
from task_probes import probe_tasks, score_names
from training_arms import (
    CONFIG,
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

from muq_hf import MelRVQModel, MuQConfig, MuQForPreTraining
from muq_hf.training.plots import new_figure, save_figure


PAPER_PARAMETERS = 310_000_000  # arXiv 2501.01108, section 4
CODEBOOKS = 4  # with 8 the head of the largest arm alone would have 2.6 M parameters
PAPER = {"codes": 1024, "replaced": True, "virtual": 0}
ARMS = [
    {"codes": 128, "replaced": True, "virtual": 0},
    {"codes": 512, "replaced": True, "virtual": 0},
    PAPER,
    {"codes": 2048, "replaced": True, "virtual": 0},
    {"codes": 1024, "replaced": False, "virtual": 0},
    {"codes": 2048, "replaced": False, "virtual": 0},
    {"codes": 1024, "replaced": True, "virtual": 1024},
]
TASKS = ("pitch", "instrument")
HEARD = score_names(TASKS)
USAGE = ("classes used", "perplexity")
MEASURES = (*USAGE, "energy left", "loss / entropy", *HEARD)


def run(folder: Path, seed: int, codes: int, replaced: bool, virtual: int, settings: argparse.Namespace) -> dict:
    """Train one quantizer and one model → use of the codes, and what the model hears."""
    steps = settings.rvq_steps
    stale_steps = CONFIG["mel_rvq"]["model"]["stale_steps"] if replaced else steps + 1
    fields = {"num_codebooks": CODEBOOKS, "codebook_size": codes, "stale_steps": stale_steps}
    rvq = train_rvq(folder / "rvq", seed, settings.music, steps, **fields)
    if virtual:
        rvq = add_virtual_codes(rvq, virtual, folder / "virtual")
    final = train_muq(folder / "muq", seed, settings.music, settings.steps, rvq)
    heard = probe_tasks(final, TASKS, [settings.notes], folder / "features")
    measures = quantizer_measures(folder / "rvq")
    used = measures["codes used"] * codes / (codes + virtual)
    return {**measures, "classes used": used, **masked_prediction(folder / "muq"), **heard}


def add_virtual_codes(rvq: Path, number: int, folder: Path) -> Path:
    """The Mel-RVQ with `number` more codes in each codebook, all zero: their cosine with anything is 0, never the largest."""
    model = MelRVQModel.from_pretrained(rvq)
    config = copy.deepcopy(model.config)
    config.codebook_size += number
    larger = MelRVQModel(config)
    state = model.state_dict()
    for name, tensor in larger.state_dict().items():
        missing = len(tensor) - len(state[name]) if tensor.ndim else 0
        padding = [0, 0] * (tensor.ndim - 1) + [0, missing]
        state[name] = F.pad(state[name], padding) if missing else state[name]
    larger.load_state_dict(state)
    shutil.copytree(rvq, folder, dirs_exist_ok=True)
    larger.save_pretrained(folder)
    return folder


def correlations(results: list[dict]) -> str:
    """Rank correlation of usage and probes over the arms (Spearman), of each seed; mean over seeds and its 95 % interval."""
    seeds = sorted({result["seed"] for result in results})
    rows = []
    for measure in HEARD:
        row = [measure]
        for usage in USAGE:
            pairs = [(values_of(results, {"seed": seed}, usage), values_of(results, {"seed": seed}, measure)) for seed in seeds]
            values = [float(stats.spearmanr(*pair).statistic) for pair in pairs]
            row.append(f"{statistics.mean(values):+.2f} (± {half_interval(values):.2f})")
        rows.append(row)
    return rows_to_markdown(["rank correlation of", *USAGE], rows)


def plot(results: list[dict], path: Path) -> None:
    """Every run a dot, in the colour of its arm: usage against each probe."""
    figure = new_figure(3.2 * len(HEARD), 3.4 * len(USAGE))
    for panels, usage in zip(figure.subplots(len(USAGE), len(HEARD)), USAGE, strict=True):
        for axes, measure in zip(panels, HEARD, strict=True):
            for arm in ARMS:
                label = f"{arm['codes']} codes" + (f" + {arm['virtual']} virtual" if arm["virtual"] else "")
                label += "" if arm["replaced"] else ", none replaced"
                axes.scatter(values_of(results, arm, usage), values_of(results, arm, measure), s=16, label=label)
            axes.set(xlabel=usage, title=measure)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize="small")
    save_figure(figure, path)


def count_parameters(preset: str) -> str:
    """The parameters of a preset by part, beside the paper's; nothing is allocated."""
    with torch.device("meta"):
        model = MuQForPreTraining(MuQConfig.from_preset(preset))
    parts = {
        "2-D front end and projection": model.muq.front_end,
        "Conformer layers and final norm": model.muq.encoder,
        "token head": model.head,
        "Mel-RVQ": model.quantizer,
    }
    counts = {name: sum(parameter.numel() for parameter in part.parameters()) for name, part in parts.items()}
    total = sum(parameter.numel() for parameter in model.parameters())
    encoder = sum(parameter.numel() for parameter in model.muq.parameters())
    rows = [*counts.items(), ("all", total), ("front end and Conformer", encoder), ("the paper", PAPER_PARAMETERS)]
    return rows_to_markdown(["part", "parameters (M)"], [[name, f"{number / 1e6:.2f}"] for name, number in rows])


class _Count(argparse.Action):
    def __call__(self, parser, *_):
        print(count_parameters("large"))
        parser.exit()


def main() -> int:
    parser = experiment_parser(__doc__)
    add_training(parser)
    add_rvq_steps(parser)
    add_notes(parser)
    parser.add_argument("--count", action=_Count, nargs=0, help="print the parameters of the preset large and stop")
    settings = parse(parser)
    results = run_arms(ARMS, settings.seeds, settings.output, partial(run, settings=settings), settings.jobs)
    text = table(results, ARMS, MEASURES, reference=PAPER) + "\n\n" + correlations(results)
    save(settings.output, "virtual_classes", results, text)
    plot(results, settings.output / "virtual_classes.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
