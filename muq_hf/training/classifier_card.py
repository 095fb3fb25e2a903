"""The model card of a classifier, with its scores in the Hub's format."""

import contextlib
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ..checkpoints import MUQ_TINY, short_name
from .run_folder import environment


SHOWN_SETTINGS = (
    "data", "clip_seconds", "tune", "weighted_layers", "pool", "head_layers", "head_size", "class_weights", "mixup",
    "augment_gain_db", "augment_noise_db", "learning_rate", "encoder_learning_rate", "num_train_epochs",
    "per_device_train_batch_size", "seed",
)  # fmt: skip
TEMPLATE = """---
{{ card_data }}
---
# {{ title }}

{{ what }}

```python
{{ usage }}
```

## Labels

{{ labels }}

## Scores

{{ scores }}

## Training

{{ training }}

{{ settings }}

## Software

{{ software }}
"""
USAGE_OF_CLIPS = """import muq_hf
from transformers import pipeline

pipeline("audio-classification", "FOLDER")("song.mp3")"""
USAGE_OF_FRAMES = """import muq_hf
from transformers import AutoModelForAudioFrameClassification

model = muq_hf.MuQForAudioFrameClassification.from_pretrained("FOLDER")
muq_hf.MuQAudioClassificationPipeline(model)("song.mp3", return_timestamps=True)"""


def write_classifier_card(folder: Path, settings, task, model, steps: int, results: dict) -> None:
    """README.md with metadata for the Hub. Splits are named; only test scores become the card's evaluation results."""
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
    rows = [f"| {name} | {results.get(f'valid_{name}', float('nan')):.4g} | {value:.4g} |" for name, value in tests.items()]
    shown = [f"| {name} | `{given[name]}` |" for name in SHOWN_SETTINGS if given.get(name) is not None]
    versions = ", ".join(f"{package} {number}" for package, number in env["packages"].items())
    names = task.names
    ModelCard.from_template(
        data,
        template_str=TEMPLATE,
        title=f"{task.label}: a classifier of music",
        what=f"{'Frames' if task.per_frame else 'Clips'} of music by `{task.label}` ({task.kind}), on {short_name(encoder)}.",
        usage=USAGE_OF_FRAMES if task.per_frame else USAGE_OF_CLIPS,
        labels=", ".join(names[:100]) + (" …" if len(names) > 100 else ""),
        scores="\n".join(["| score | validation | test |", "|---|--:|--:|", *rows]),
        training=f"{numbers['train']} clips, with {numbers['valid']} to choose the epoch and {numbers['test']} to test on; "
        f"{steps} steps on {env['device']}.",
        settings="\n".join(["| setting | value |", "|---|---|", *shown]),
        software=f"Python {env['python']}, {versions}.",
    ).save(folder / "README.md")


def _licence_of(encoder: str) -> str | None:
    """Of the encoder's weights, where its card says it: a classifier holds them."""
    readme = Path(encoder) / "README.md"
    with contextlib.suppress(Exception):
        return ModelCard.load(readme, ignore_metadata_errors=True).data.license if readme.is_file() else None
    return None
