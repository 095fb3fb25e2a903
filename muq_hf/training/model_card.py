"""The model card that a finished run writes itself."""

from collections.abc import Iterable
from pathlib import Path

from huggingface_hub import EvalResult, ModelCardData

from ..models.configuration_muq import MelRVQConfig
from ..storage.card_writer import PIPELINE_TAGS, card, card_table
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
MEASURES = ("loss", "accuracy", "_r1", "_r5", "_r10", "_median_rank")  # ends of the names in the log that are shown


def write_card(
    path: Path, introduction: str, settings, trainer, tracks: list[dict], results: dict, earlier_models: Iterable = ()
) -> None:
    """What was trained on what music, how, and how well; the scores on music that was kept back in the Hub's form too.

    path: README.md in the folder of the model, itself in that of the run. tracks: as in the training record. results: heading →
    rows of a table. earlier_models: folders or Hub ids of the models that this one was trained from; those on the Hub are named
    as its base.
    """
    config = trainer.model.config
    measured = _last_metrics(trainer)
    room, name = ("muq_hf", "MelRVQModel") if config.model_type == MelRVQConfig.model_type else ("transformers", "AutoModel")
    hours = sum(entry["duration"] for entry in tracks) / 3600
    env = environment()
    course = (
        f"{len(tracks)} tracks, {hours:.2f} h (`training_files.jsonl` lists them with checksums); "
        f"{trainer.state.global_step} steps on {env['device']}, {env['processes']} process(es)."
    )
    tables = [(heading, card_table(list(rows[0]), [list(row.values()) for row in rows])) for heading, rows in results.items()]
    sections = [
        ("## Training", f"{course}\n\n{settings_table(settings.given, SHOWN_SETTINGS)}"),
        ("## Results", card_table(("measure", "last value"), measured.items())),
        *((f"### {heading}", table) for heading, table in tables),
        ("## Software", software(env)),
    ]
    usage = f'import muq_hf\nfrom {room} import {name}\n\nmodel = {name}.from_pretrained("FOLDER")'
    kept_back = {name.removeprefix("eval_"): value for name, value in measured.items() if name.startswith("eval_")}
    data = ModelCardData(
        library_name="transformers",
        pipeline_tag=PIPELINE_TAGS[config.model_type],
        tags=["music", "audio", config.model_type],
        base_model=[str(model) for model in earlier_models if not Path(model).exists()] or None,
        model_name=path.parents[1].name,
        eval_results=[
            EvalResult(
                task_type=PIPELINE_TAGS[config.model_type],
                dataset_type="kept-back-tracks",
                dataset_name=Path(str(settings.given.get("data"))).name,
                dataset_split="validation",
                metric_type=name,
                metric_value=round(value, 4),
            )
            for name, value in kept_back.items()
            if "/" not in name  # those of single codebooks
        ]
        or None,
    )
    title = f"{config.model_type}, {trainer.model.num_parameters() / 1e6:.1f} M parameters"
    card(data, title, introduction, usage, sections).save(path)


def settings_table(given: dict, names: Iterable[str]) -> str:
    """Those of the settings that were given."""
    return card_table(("setting", "value"), [(name, given[name]) for name in names if given.get(name) is not None])


def software(env: dict) -> str:
    versions = ", ".join(f"{package} {number}" for package, number in env["packages"].items())
    return f"Python {env['python']}, {versions}."


def _last_metrics(trainer) -> dict[str, float]:
    """The newest value of each loss, accuracy and rank."""
    last = {}
    for row in trainer.state.log_history:
        last |= {key: float(value) for key, value in row.items() if key.endswith(MEASURES) and isinstance(value, (int, float))}
    return last
