"""`muq-hf zero-shot`: how well a model of music and text names the labels of music that it was not trained on."""

import math
import sys
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from .clip import Clip
from .splits import SPLIT_ALIASES, usual_splits


BATCH_CLIPS = 8
BATCH_TEXTS = 64
PLACE = "{}"  # where the label goes in the template


def scored_clips(clips: Sequence[Clip], split: str | None) -> list[Clip]:
    """The clips of `split`; without one those of the test split, or all, as test clips, where none has a split.

    Raises ValueError if there are none, and for splits that are none of `SPLITS`.
    """
    if all(clip.split is None for clip in clips):
        if split is not None:
            raise ValueError(f"no clip has a split: leave --split {split} out, and all are scored.")
        return [replace(clip, split="test") for clip in clips]
    split = SPLIT_ALIASES.get(split, split) or "test"
    chosen = [clip for clip in usual_splits(clips) if clip.split == split]
    if not chosen:
        raise ValueError(f"no clip of split {split!r} has the label; splits here: {', '.join(sorted({c.split for c in clips}))}.")
    return chosen


def load_joint(folder: str):
    """→ model and processor of music and text: a MuQ-MuLan, or what transformers' Auto classes know (CLAP)."""
    from transformers import AutoModel, AutoProcessor

    from ..loader import load, model_type, read_config, without_weight_bars

    if model_type(read_config(folder)) == "muq_mulan":
        return load(folder)
    with without_weight_bars():
        return AutoModel.from_pretrained(folder, dtype=torch.float32), AutoProcessor.from_pretrained(folder)


def label_texts(labels: Sequence, template: str) -> list[str]:
    """The text for each label. Raises ValueError for a template without a place for it."""
    if PLACE not in template:
        raise ValueError(f"the template must hold {PLACE} where the label goes, got {template!r}.")
    return [template.replace(PLACE, str(label)) for label in labels]


@torch.inference_mode()
def zero_shot_scores(model, processor, clips: Sequence[Clip], label: str, template: str = PLACE) -> dict[str, float]:
    """Cosines between clips and the names of all their labels, scored against the labels (tags or classes).

    Raises ValueError for a template without a place for the label, for labels of another kind, and if more than 5 % of the
    clips cannot be read; up to that they are left out.
    """
    from .label_kinds import KINDS, kind_of

    label_texts([], template)
    kind = kind_of([clip.labels[label] for clip in clips])
    if kind not in ("class", "multilabel"):
        raise ValueError(f"zero-shot tagging needs classes or tags, the label {label!r} is of kind {kind!r}.")
    clips, audio_vectors, failures = embed_audio(model, processor, clips)
    labels = [clip.labels[label] for clip in clips]
    target = KINDS[kind](labels)
    texts = label_texts(target.classes, template)
    cosines = (audio_vectors @ embed_texts(model, processor, texts).T).float().cpu().numpy()  # [N, K]
    found = {"clips": len(clips), "unreadable": len(failures), "labels": len(texts)}
    return {**found, **target.score(labels, np.ones(len(labels), dtype=int), cosines)}


@torch.inference_mode()
def embed_texts(model, processor, texts: Sequence[str]) -> torch.Tensor:
    """→ [N, D], of length 1."""
    vectors = []
    for first in range(0, len(texts), BATCH_TEXTS):
        part = list(texts[first : first + BATCH_TEXTS])
        inputs = processor(text=part, return_tensors="pt", padding=True).to(model.device)
        vectors.append(torch.nn.functional.normalize(_vectors(model.get_text_features(**inputs)), dim=-1))
    return torch.cat(vectors)


@torch.inference_mode()
def embed_audio(model, processor, clips: Sequence[Clip]) -> tuple[list[Clip], torch.Tensor, list[str]]:
    """→ the clips that can be read, their vectors [N, D] of length 1, and what is wrong with the others.

    Raises ValueError if more than 5 % of the clips cannot be read.
    """
    from .features import check_failures

    failures: list[str] = []
    batches = [_embed(model, processor, clips[i : i + BATCH_CLIPS], failures) for i in range(0, len(clips), BATCH_CLIPS)]
    check_failures(failures, len(clips))
    return [clip for read, _ in batches for clip in read], torch.cat([vectors for read, vectors in batches if read]), failures


def _embed(model, processor, clips: Sequence[Clip], failures: list[str]) -> tuple[list[Clip], torch.Tensor | None]:
    """→ the clips that can be read, and their vectors [B, D] of length 1, if there are any.

    What is longer than the extractor takes (CLAP: 10 s, of more it would draw a part) is the mean of its pieces.
    """
    from ..audio import AudioError
    from .encoders import longest_input

    read, waves = [], []
    for clip in clips:
        try:
            waves.append(_load(clip, processor.feature_extractor))
            read.append(clip)
        except AudioError as error:
            failures.append(str(error))
            print(f"left out: {error}", file=sys.stderr)
    if not waves:
        return [], None
    longest = longest_input(processor.feature_extractor)  # seconds
    most_samples = longest and longest * processor.feature_extractor.sampling_rate
    pieces = [np.array_split(wave, math.ceil(len(wave) / most_samples) if most_samples else 1) for wave in waves]
    flat = [piece for parts in pieces for piece in parts]
    vectors = torch.cat([_audio_vectors(model, processor, flat[i : i + BATCH_CLIPS]) for i in range(0, len(flat), BATCH_CLIPS)])
    means = [part.mean(dim=0) for part in vectors.split([len(parts) for parts in pieces])]
    return read, torch.nn.functional.normalize(torch.stack(means), dim=-1)


def _audio_vectors(model, processor, waves: list[np.ndarray]) -> torch.Tensor:
    """→ [B, D]."""
    from .encoders import without_fusion

    rate = processor.feature_extractor.sampling_rate
    inputs = without_fusion(processor(audio=waves, sampling_rate=rate, return_tensors="pt"))
    return _vectors(model.get_audio_features(**inputs.to(model.device)))


def _load(clip: Clip, extractor) -> np.ndarray:
    """[S] at the extractor's rate. Raises AudioError, also for silence and what is shorter than the extractor takes."""
    from ..audio import check_audible, load_audio

    wave = load_audio(clip.path, extractor.sampling_rate, start=clip.start, end=clip.end)
    check_audible(len(wave), np.abs(wave).max(initial=0.0), getattr(extractor, "min_samples", 1), str(clip.path))
    return wave


def _vectors(output) -> torch.Tensor:
    return output if isinstance(output, torch.Tensor) else output.pooler_output
