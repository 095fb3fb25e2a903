"""The model card of a classifier, with its scores in the Hub's format."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import EvalResult, ModelCardData

from ..checkpoints import MUQ_TINY, short_name
from ..storage.card_writer import card, card_table, read_card_data
from ..storage.safe_text import markdown_text
from .model_card import settings_table, software
from .run_folder import environment


SHOWN_SETTINGS = (
    "data", "clip_seconds", "tune", "weighted_layers", "pool", "head_layers", "head_size", "class_weights", "mixup",
    "augment_gain_db", "augment_noise_db", "learning_rate", "encoder_learning_rate", "num_train_epochs",
    "per_device_train_batch_size", "seed",
)  # fmt: skip
USAGE_OF_CLIPS = """import muq_hf
from transformers import pipeline

pipeline("audio-classification", "FOLDER")("song.mp3")"""
USAGE_OF_FRAMES = """import muq_hf
from transformers import AutoModelForAudioFrameClassification

model = muq_hf.MuQForAudioFrameClassification.from_pretrained("FOLDER")
muq_hf.MuQAudioClassificationPipeline(model)("song.mp3", return_timestamps=True)"""


def write_classifier_card(folder: Path, settings, task, model, steps: int, results: dict, warnings: Sequence[str]) -> None:
    """README.md with metadata for the Hub. Only test scores become the card's evaluation results; `warnings` stand below them."""
    own, given, env = settings.stage, settings.given, environment()
    encoder = own.encoder or MUQ_TINY
    tests = {name.removeprefix("test_"): value for name, value in results.items() if name.startswith("test_")}
    tests.pop("threshold", None)  # a choice, no score
    data_name = Path(str(given.get("data"))).name
    evaluations = [
        EvalResult(
            task_type="audio-classification",
            dataset_type="labelled-clips",
            dataset_name=data_name,
            dataset_split="test",
            metric_type=name,
            metric_value=round(float(value), 4),
        )
        for name, value in tests.items()
    ]
    data = ModelCardData(
        license=_licence_of(encoder),
        library_name="transformers",
        pipeline_tag="audio-classification",
        tags=["music", "audio", "muq"],
        base_model=None if Path(encoder).exists() else encoder,
        model_name=f"{data_name} {task.label}",
        eval_results=evaluations,
    )
    numbers = {split: len(clips) for split, clips in task.clips.items()}
    rows = [(name, float(results.get(f"valid_{name}", float("nan"))), float(value)) for name, value in tests.items()]
    course = (
        f"{numbers['train']} clips, with {numbers['valid']} to choose the epoch and {numbers['test']} to test on; "
        f"{steps} steps on {env['device']}."
    )
    cautions = [f"These may be too good: {markdown_text(warning)}" for warning in warnings]
    sections = [
        ("## Labels", ", ".join(map(markdown_text, task.names[:100])) + (" …" if len(task.names) > 100 else "")),
        ("## Scores", "\n\n".join([card_table(("score", "validation", "test"), rows), *cautions])),
        ("## Training", f"{course}\n\n{settings_table(given, SHOWN_SETTINGS)}"),
        ("## Software", software(env)),
    ]
    kind = "Frames" if task.per_frame else "Clips"
    introduction = f"{kind} of music by {markdown_text(task.label)} ({task.kind}), on {markdown_text(short_name(encoder))}."
    usage = USAGE_OF_FRAMES if task.per_frame else USAGE_OF_CLIPS
    card(data, f"{task.label}: a classifier of music", introduction, usage, sections).save(folder / "README.md")


def _licence_of(encoder: str) -> str | None:
    """Of the encoder's weights, where its card says it: a classifier holds them."""
    with contextlib.suppress(ValueError):
        data = read_card_data(encoder)
        return data.license if data else None
    return None
