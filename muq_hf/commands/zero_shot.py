"""`muq-hf zero-shot`: its arguments, and what it prints."""

import argparse
import json
from pathlib import Path

from .extras import require


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        help="folder or Hub id of MuQ-MuLan, CLAP or another model of music and text (default: muq-mulan-tiny)",
    )
    parser.add_argument("--manifest", required=True, help="as in `muq-hf probe`, for instance magnatagatune:FOLDER")
    parser.add_argument("--label", help="key of the manifest's labels (default: the only one)")
    parser.add_argument("--split", help="clips of this split are scored (default: test, or all if the manifest has no `split`)")
    parser.add_argument("--template", default="{}", help='text for a label, for instance "a song with {}" (default: the label)')
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--output", type=Path, help="write the scores to this JSON file")


def run(arguments: argparse.Namespace) -> int:
    require("sklearn", "mir_eval")
    from ..checkpoints import MUQ_MULAN_TINY, or_own, short_name
    from ..devices import resolve_device
    from ..evaluation.builders import read_labelled
    from ..evaluation.guards import refuse_leak, training_music
    from ..evaluation.labelled_clips import read_clips, with_label
    from ..evaluation.text_tagging import load_joint, scored_clips, zero_shot_scores

    _, clips = read_labelled(arguments.manifest, read_clips)
    labels = sorted({label for clip in clips for label in clip.labels})
    if arguments.label is None and len(labels) > 1:
        raise ValueError(f"choose one --label of: {', '.join(labels)}.")
    label = arguments.label or labels[0]
    clips = scored_clips(with_label(clips, label), arguments.split)
    folder = or_own(arguments.model, MUQ_MULAN_TINY)
    trained_on = training_music(folder)
    if trained_on:
        refuse_leak(clips, trained_on, folder, clips[0].split)
    model, processor = load_joint(folder)
    model = model.to(resolve_device(arguments.device)).eval()
    scores = zero_shot_scores(model, processor, clips, label, arguments.template)
    for name, value in scores.items():
        print(f"{name}: {value:.4f}" if isinstance(value, float) else f"{name}: {value}")
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        said = {"model": short_name(folder), "manifest": arguments.manifest, "label": label, "template": arguments.template}
        arguments.output.write_text(json.dumps({**said, **scores}, indent=1) + "\n", encoding="utf-8")
    return 0
