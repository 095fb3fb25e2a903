"""The model card that a finished run writes itself."""

from pathlib import Path

from ..models.configuration_muq import MelRVQConfig
from ..storage.safe_text import printable
from .run_folder import environment


SHOWN_SETTINGS = (
    "data",
    "clip_seconds",
    "targets",
    "teacher",
    "layer",
    "learning_rate",
    "lr_scheduler_type",
    "warmup_steps",
    "max_steps",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "bf16",
    "seed",
)


def write_card(path: Path, what: str, settings, trainer, heard: list[dict], results: dict) -> None:
    """A card with what was trained on what, how, and how well; YAML for the Hub at its head."""
    config = trainer.model.config
    name = "MelRVQModel" if config.model_type == MelRVQConfig.model_type else "AutoModel"
    hours = sum(entry["duration"] for entry in heard) / 3600
    given = settings.given
    rows = [(key, given[key]) for key in SHOWN_SETTINGS if given.get(key) is not None]
    env = environment()
    lines = [
        "---",
        "library_name: transformers",
        "pipeline_tag: feature-extraction",
        "tags: [music, audio, muq]",
        "---",
        "",
        f"# {config.model_type}, {trainer.model.num_parameters() / 1e6:.1f} M parameters",
        "",
        what,
        "",
        "```python",
        "import muq_hf",
        f"from {'muq_hf' if name == 'MelRVQModel' else 'transformers'} import {name}",
        "",
        f'model = {name}.from_pretrained("FOLDER")',
        "```",
        "",
        "## Training",
        "",
        f"{len(heard)} tracks, {hours:.2f} h (`training_files.jsonl` lists them with checksums); "
        f"{trainer.state.global_step} steps on {env['device']}, {env['processes']} process(es).",
        "",
        *_table([("setting", "value"), *[(key, f"`{value}`") for key, value in rows]]),
        "",
        "## Results",
        "",
        *_table([("measure", "last value"), *[(key, f"{value:.4g}") for key, value in _last_metrics(trainer).items()]]),
    ]
    for title, table in results.items():
        lines += ["", f"### {title}", ""]
        lines += _table([list(table[0]), *[[_short(value) for value in row.values()] for row in table]])
    versions = ", ".join(f"{package} {number}" for package, number in env["packages"].items())
    lines += ["", "## Software", "", f"Python {env['python']}, {versions}.", ""]
    path.write_text("\n".join(lines), encoding="utf-8")


def _last_metrics(trainer) -> dict[str, float]:
    """The newest value of each loss and accuracy."""
    last = {}
    for row in trainer.state.log_history:
        last |= {
            key: value for key, value in row.items() if key.endswith(("loss", "accuracy")) and isinstance(value, (int, float))
        }
    return last


def _table(rows) -> list[str]:
    """Cells may hold names of files and labels: no control code, line or bar of theirs breaks the table."""
    header, *body = [[printable(str(cell)).replace("|", "\\|") for cell in row] for row in rows]
    return ["| " + " | ".join(header) + " |", "|" + "---|" * len(header), *["| " + " | ".join(row) + " |" for row in body]]


def _short(value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
