"""`muq-hf zero-shot`: how well a model of music and text names the labels of music that it was not trained on."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from .manifests import Clip, label_kind, with_label


BATCH_CLIPS = 8
PLACE = "{}"  # of the label in the template


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        help="folder or Hub id of MuQ-MuLan, CLAP or another model of music and text (default: muq-mulan-tiny)",
    )
    parser.add_argument("--manifest", required=True, help="as in `muq-hf probe`, for instance magnatagatune:FOLDER")
    parser.add_argument("--label", help="key of the manifest's labels (default: the only one)")
    parser.add_argument("--split", default="test", help="clips of this split are scored (default: test)")
    parser.add_argument("--template", default=PLACE, help='text for a label, for instance "a song with {}" (default: the label)')
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--output", type=Path, help="write the scores to this JSON file")


def run(arguments: argparse.Namespace) -> int:
    from ..checkpoints import MUQ_MULAN_TINY, or_own, short_name
    from ..devices import resolve_device
    from .builders import read_labelled
    from .guards import refuse_leak, training_music

    _, clips = read_labelled(arguments.manifest)
    labels = sorted({label for clip in clips for label in clip.labels})
    if arguments.label is None and len(labels) > 1:
        raise ValueError(f"choose one --label of: {', '.join(labels)}.")
    label = arguments.label or labels[0]
    clips = [clip for clip in with_label(clips, label) if clip.split == arguments.split]
    if not clips:
        raise ValueError(f"no clip of split {arguments.split!r} has the label {label!r}.")
    folder = or_own(arguments.model, MUQ_MULAN_TINY)
    trained_on = training_music(folder)
    if trained_on:
        refuse_leak(clips, trained_on, folder, arguments.split)
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


def load_joint(folder: str):
    """→ model and processor of music and text. The Auto classes do not know the published format of MuQ-MuLan."""
    from transformers import AutoModel, AutoProcessor, PreTrainedConfig

    from ..configuration_muq_mulan import is_mulan_config
    from ..modeling_muq_mulan import MuQMuLanModel
    from ..processing_muq_mulan import MuQMuLanProcessor

    config, _ = PreTrainedConfig.get_config_dict(folder)
    kinds = (MuQMuLanModel, MuQMuLanProcessor) if is_mulan_config(config) else (AutoModel, AutoProcessor)
    return kinds[0].from_pretrained(folder, dtype=torch.float32), kinds[1].from_pretrained(folder)


@torch.inference_mode()
def zero_shot_scores(model, processor, clips: Sequence[Clip], label: str, template: str = PLACE) -> dict[str, float]:
    """Cosines between clips and the names of all their labels, scored against the labels (tags or classes).

    Raises ValueError for a template without a place for the label, for labels of another kind, and if more than 5 % of the
    clips cannot be read; up to that they are left out.
    """
    from .features import check_failures
    from .targets import TARGETS

    if PLACE not in template:
        raise ValueError(f"the template must hold {PLACE} where the label goes, got {template!r}.")
    kind = label_kind([clip.labels[label] for clip in clips])
    if kind not in ("class", "multilabel"):
        raise ValueError(f"zero-shot tagging needs classes or tags, the label {label!r} is of kind {kind!r}.")
    failures: list[str] = []
    batches = [_embed(model, processor, clips[i : i + BATCH_CLIPS], failures) for i in range(0, len(clips), BATCH_CLIPS)]
    check_failures(failures, len(clips))
    clips = [clip for read, _ in batches for clip in read]
    audio_vectors = torch.cat([vectors for _, vectors in batches])  # [N, D]
    target = TARGETS[kind](clips, label)
    texts = [template.replace(PLACE, str(name)) for name in target.classes]
    inputs = processor(text=texts, return_tensors="pt", padding=True).to(model.device)
    text_vectors = _unit(model.get_text_features(**inputs))  # [K, D]
    cosines = (audio_vectors @ text_vectors.T).float().cpu().numpy()  # [N, K]
    found = {"clips": len(clips), "unreadable": len(failures), "labels": len(texts)}
    return {**found, **target.score(clips, np.ones(len(clips), dtype=int), cosines)}


def _embed(model, processor, clips: Sequence[Clip], failures: list[str]) -> tuple[list[Clip], torch.Tensor]:
    """→ the clips that can be read, and their vectors [B, D] of length 1."""
    from ..audio import AudioError

    read, waves = [], []
    for clip in clips:
        try:
            waves.append(_load(clip, processor.feature_extractor))
            read.append(clip)
        except AudioError as error:
            failures.append(str(error))
            print(f"left out: {error}", file=sys.stderr)
    if not waves:
        return [], torch.empty(0)  # the one shape that `torch.cat` takes beside others
    rate = processor.feature_extractor.sampling_rate
    inputs = processor(audio=waves, sampling_rate=rate, return_tensors="pt").to(model.device)
    return read, _unit(model.get_audio_features(**inputs))


def _load(clip: Clip, extractor) -> np.ndarray:
    """[S] at the extractor's rate. Raises AudioError, also for silence and what is shorter than the extractor takes."""
    from ..audio import check_audible, load_audio

    wave = load_audio(clip.path, extractor.sampling_rate, start=clip.start, end=clip.end)
    check_audible(len(wave), np.abs(wave).max(initial=0.0), getattr(extractor, "min_samples", 1), str(clip.path))
    return wave


def _unit(output) -> torch.Tensor:
    vectors = output if isinstance(output, torch.Tensor) else output.pooler_output
    return torch.nn.functional.normalize(vectors, dim=-1)
