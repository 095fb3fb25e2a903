"""What experiments that train share: settings, the command line, tiny models of each stage, and their last evaluation."""

import argparse
import json
from pathlib import Path

from muq_hf.storage.json_lines import read_json_lines
from muq_hf.training.chain import train


CONFIG = {
    "clip_seconds": 5.0,
    "channel": "mix",
    "eval_share": 0.1,  # the same tracks whatever the seed
    "num_eval_clips": 64,
    "logging_steps": 10,
    "disable_tqdm": True,
    "hash_files": False,
    "mel_rvq": {
        "model": {"codebook_size": 512, "stale_steps": 20},
        "statistics_clips": 64,
        "learning_rate": 0.001,
        "per_device_train_batch_size": 16,
        "eval_strategy": "no",  # codebooks.json is measured at the end
        "num_eval_clips": 360,  # 45,000 tokens, at least twenty for each of 2,048 codes
    },
    "muq": {  # 1.5 M parameters without the head: two thirds of the preset tiny's time for an update
        "model": {
            "conv_channels": 16,
            "hidden_size": 160,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "intermediate_size": 256,
            "hidden_dropout": 0.0,
            "activation_dropout": 0.0,
            "attention_dropout": 0.0,
            "conv_dropout": 0.0,
        },
        "learning_rate": 0.0005,
        "per_device_train_batch_size": 4,
    },
}
MAY_CHANGE = ("output", "seeds", "jobs")  # between calls that continue one experiment


def experiment_parser(description: str, seeds: int = 3) -> argparse.ArgumentParser:
    """--output, --seeds and --jobs, which all experiments have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", required=True, type=Path, help="finished runs in it are not repeated")
    parser.add_argument("--seeds", type=int, default=seeds)
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side")
    return parser


def add_training(parser: argparse.ArgumentParser, steps: int = 600) -> None:
    parser.add_argument("music", help="folder or manifest")
    parser.add_argument("--steps", type=int, default=steps, help="updates of each model")


def add_rvq_steps(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rvq-steps", type=int, default=300, help="updates of each residual quantizer")


def add_notes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--notes", required=True, type=Path, help="folder that research/corpus/render_scores.py wrote")


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The settings, kept in the output folder. Raises ValueError when it holds results of other ones."""
    settings = parser.parse_args()
    kept = {name: str(value) for name, value in vars(settings).items() if name not in MAY_CHANGE}
    file = settings.output / "settings.json"
    if file.exists():
        before = json.loads(file.read_text(encoding="utf-8"))
        changed = [f"{name} was {before.get(name)}, is {value}" for name, value in kept.items() if before.get(name) != value]
        if changed:
            raise ValueError(f"{settings.output} holds runs of other settings ({'; '.join(changed)}): choose another --output.")
    settings.output.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
    return settings


def train_rvq(folder: Path, seed: int, music: str, steps: int, **model) -> Path:
    """A Mel-RVQ; model: fields of MelRVQConfig → folder of the finished model."""
    section = {"model": {**CONFIG["mel_rvq"]["model"], **model}, **_length(steps)}
    return _train("mel_rvq", folder, seed, music, {"mel_rvq": section})


def train_muq(folder: Path, seed: int, music: str, steps: int, targets: str | Path, **model) -> Path:
    """A tiny MuQ on the tokens of `targets`; model: further fields of MuQConfig → folder of the finished model."""
    section = {"targets": str(targets), "model": {**CONFIG["muq"]["model"], **model}, **_length(steps), **_warmup(steps)}
    return _train("muq", folder, seed, music, {"muq": section})


def train_refined(folder: Path, seed: int, music: str, steps: int, rvq_steps: int, teacher: Path, layer: int) -> Path:
    """Stage 3: a tiny MuQ on tokens of the teacher's latents → folder of the finished model."""
    refined = {"teacher": str(teacher), "layer": layer, **_length(steps), **_warmup(steps)}
    return _train("iterate", folder, seed, music, {"latent_rvq": _length(rvq_steps), "iterate": refined})


def _length(steps: int) -> dict:
    return {"max_steps": steps, "save_steps": max(1, steps // 4)}


def _warmup(steps: int) -> dict:
    return {"warmup_steps": steps // 8}


def _train(stage: str, folder: Path, seed: int, music: str, sections: dict[str, dict]) -> Path:
    """sections: settings of single stages, which go before those of CONFIG. A run that was cut off continues."""
    config = {**CONFIG, **{name: {**CONFIG.get(name, {}), **section} for name, section in sections.items()}}
    run = {"data": music, "output_dir": str(folder), "seed": seed, "data_seed": seed, "resume": folder.exists()}
    return train(stage, config, run)


def curve(run: Path, name: str) -> list[tuple[int, float]]:
    """(step, value) of every line of metrics.jsonl that has `name`."""
    return [(row["step"], row[name]) for row in read_json_lines(run / "metrics.jsonl") if name in row]


def masked_prediction(run: Path) -> dict[str, float]:
    """The last evaluation of a MuQ's run. The loss compares between vocabularies: 1 = guessing by frequency."""
    return {
        "loss / entropy": curve(run, "eval_normalised_loss")[-1][1],
        "masked accuracy": curve(run, "eval_masked_accuracy")[-1][1],
    }


def codebook_rows(run: Path) -> list[dict]:
    """What a quantizer's run measured on held-out tracks with 1, 2, … codebooks."""
    return json.loads((run / "codebooks.json").read_text(encoding="utf-8"))


def quantizer_measures(run: Path) -> dict[str, float]:
    """With all codebooks: energy left; means over codebooks: share of the codes in use, perplexity."""
    rows = codebook_rows(run)
    return {
        "energy left": rows[-1]["residual_energy"],
        "codes used": sum(row["usage"] for row in rows) / len(rows),
        "perplexity": sum(row["perplexity"] for row in rows) / len(rows),
    }
