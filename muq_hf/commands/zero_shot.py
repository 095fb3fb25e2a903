"""`muq-hf zero-shot`: its arguments, and what it prints."""

import json
from pathlib import Path
from typing import Annotated

import typer

from .exit_codes import DONE
from .extras import require
from .options import Device


EXAMPLES = """
muq-hf zero-shot --manifest magnatagatune:FOLDER --template "{} music"
"""


def run(
    manifest: Annotated[str, typer.Option(help="as in `muq-hf probe`, for instance magnatagatune:FOLDER")],
    model: Annotated[
        str | None,
        typer.Option(help="folder or Hub id of MuQ-MuLan, CLAP or another model of music and text (default: muq-mulan-tiny)"),
    ] = None,
    label: Annotated[str | None, typer.Option(help="key of the manifest's labels (default: the only one)")] = None,
    split: Annotated[
        str | None, typer.Option(help="clips of this split are scored (default: test, or all if the manifest has no `split`)")
    ] = None,
    template: Annotated[str, typer.Option(help='text for a label, for instance "a song with {}"')] = "{}",
    device: Device = "auto",
    output: Annotated[Path | None, typer.Option(metavar="FILE.json", help="write the scores to this file")] = None,
) -> int:
    require("sklearn", "mir_eval")
    from ..checkpoints import MUQ_MULAN_TINY, model_or_default, short_name
    from ..devices import resolve_device
    from ..evaluation.builders import read_labelled
    from ..evaluation.guards import refuse_leak, training_music
    from ..evaluation.labelled_clips import read_clips, with_label
    from ..evaluation.text_tagging import load_joint, scored_clips, zero_shot_scores

    _, clips = read_labelled(manifest, read_clips)
    labels = sorted({label for clip in clips for label in clip.labels})
    if label is None and len(labels) > 1:
        raise ValueError(f"choose one --label of: {', '.join(labels)}.")
    label = label or labels[0]
    clips = scored_clips(with_label(clips, label), split)
    folder = model_or_default(model, MUQ_MULAN_TINY)
    trained_on = training_music(folder)
    if trained_on:
        refuse_leak(clips, trained_on, folder, clips[0].split)
    joint, processor = load_joint(folder)
    joint = joint.to(resolve_device(device)).eval()
    scores = zero_shot_scores(joint, processor, clips, label, template)
    for name, value in scores.items():
        print(f"{name}: {value:.4f}" if isinstance(value, float) else f"{name}: {value}")
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        settings = {"model": short_name(folder), "manifest": manifest, "label": label, "template": template}
        output.write_text(json.dumps({**settings, **scores}, indent=1) + "\n", encoding="utf-8")
    return DONE
