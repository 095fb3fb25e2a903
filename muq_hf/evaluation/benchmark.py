"""Models × tasks: extract features, keep the guards, fit the probes, collect the scores."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import guards
from .baselines import Chroma
from .encoders import Encoder, NoTimeAxisError
from .features import extract
from .manifests import Clip
from .metrics import key_scores
from .probes import PROBES, ProbeResult, guessing_scores, majority_scores, run_probes, summary
from .retrieval import chance_retrieval, run_retrieval
from .targets import PER_FRAME, PRIMARY, TARGETS, ClassTarget


MAJORITY = "majority"


@dataclass(frozen=True)
class Question:
    """A task with its clips. primary: the metric that ranks, default the usual one of the kind."""

    name: str
    clips: Sequence[Clip]
    label: str
    kind: str
    primary: str
    equalised: bool = False
    redraw: bool = False

    @classmethod
    def of(cls, name: str, clips: Sequence[Clip], label: str, kind: str) -> "Question":
        if kind not in PRIMARY:
            raise ValueError(f"unknown kind of label {kind!r}; valid: {', '.join(PRIMARY)}.")
        return cls(name, clips, label, kind, PRIMARY[kind])


@dataclass(frozen=True)
class Settings:
    cache: Path
    seeds: int = 3
    probes: tuple[str, ...] = PROBES
    check: bool = False  # also fit on shuffled labels
    progress: bool = True
    workers: int = 2  # threads that decode, processes that fit


def evaluate(
    models: Sequence[tuple[Encoder, guards.TrainingMusic | None]],
    questions: Sequence[Question],
    settings: Settings,
    tell: Callable[[str], None] = print,
    save: Callable[[list[dict]], object] = lambda rows: None,
) -> list[dict]:
    """One row for each model and task: every score with mean and deviation over seeds; the first rows are what chance gives.

    models: encoders with the music that they were trained on, where that is recorded.
    save: called with the rows so far whenever a task is done, so that a run that is cut off keeps them.
    A model without a time axis is left out of frame tasks, which `tell` says.
    Raises LeakError, before anything is computed, if a test track is among them; ValueError if clips cannot be read.
    """
    for encoder, trained_on in models:
        for question in questions if trained_on else ():
            guards.refuse_leak(question.clips, trained_on, encoder.name)
    rows: list[dict] = []
    for question in questions:
        chance_known = False
        for encoder, _ in models:
            started = time.monotonic()
            try:
                features = _features(encoder, question, settings)
            except NoTimeAxisError as error:
                tell(f"{question.name}: {error}")
                continue
            target = None if question.kind == "retrieval" else TARGETS[question.kind](features.clips, question.label)
            if not chance_known:
                chance_known = True
                chance = _chance(features, target, question)
                rows.append(_row(MAJORITY, question, features, {"chance": {"scores": summary([chance])}}, 0.0))
                level = _chance_level(features, target, question, chance) if settings.check else None
            result = _ask(features, target, question, settings, shuffle=False)
            probes = _probe_rows(result, question.primary)
            if question.kind == "key" and isinstance(encoder, Chroma):
                probes["template"] = {"scores": summary([_template_keys(encoder, features, question.label)])}
            if settings.check:
                probes |= _check(features, target, question, settings, level)
            row = _row(encoder.name, question, features, probes, time.monotonic() - started)
            rows.append(row | {"fingerprint": encoder.fingerprint})
            tell(f"{question.name:12} {encoder.name:24} {_headline(row)}  {row['seconds']:.0f} s")
        save(rows)
    return rows


def _features(encoder: Encoder, question: Question, settings: Settings):
    return extract(
        encoder,
        question.clips,
        settings.cache,
        per_frame=question.kind in PER_FRAME,
        equalised=question.equalised,
        workers=settings.workers,
        progress=settings.progress,
    )


def _chance(features, target, question: Question) -> dict[str, float]:
    return chance_retrieval(features, question.label) if target is None else majority_scores(features, target)


def _chance_level(features, target, question: Question, chance: dict[str, float]) -> float:
    """What knowing nothing reaches at best: the majority, or of classes guessing."""
    levels = [chance]
    if isinstance(target, ClassTarget):
        levels.append(guessing_scores(features, target))
    return max(scores[question.primary] for scores in levels)


def _ask(features, target, question: Question, settings: Settings, shuffle: bool) -> ProbeResult:
    if target is None:
        return run_retrieval(features, question.label, question.primary, shuffle)
    # Shuffled labels need one kind of probe; with two the check would only take longer.
    probes = settings.probes[:1] if shuffle else settings.probes
    return run_probes(features, target, question.primary, settings.seeds, probes, question.redraw, shuffle, jobs=settings.workers)


def _template_keys(encoder: Chroma, features, label: str) -> dict[str, float]:
    is_test = np.array([clip.split == "test" for clip in features.clips])
    truth = np.array([clip.labels[label] for clip in features.clips])[is_test]
    return key_scores(truth, encoder.keys(features.layer(0)[is_test]))


def _check(features, target, question: Question, settings: Settings, level: float) -> dict:
    result = _ask(features, target, question, settings, shuffle=True)
    scores = summary(result.linear or result.mlp)
    primary = scores[question.primary]
    passed = guards.near_chance(primary["mean"], primary["std"], level)
    return {"shuffled": {"scores": scores, "near_chance": passed}}


def _probe_rows(result: ProbeResult, primary: str) -> dict:
    probes: dict = {}
    if result.linear:
        probes["linear"] = {
            "scores": summary(result.linear),
            "chosen_layers": result.chosen_layers,
            "layers": {name: summary(scores)[primary] for name, scores in result.layers.items()},
        }
    if result.mlp:
        probes["mlp"] = {"scores": summary(result.mlp), "layer_weights": result.layer_weights}
    return probes


def _row(model: str, question: Question, features, probes: dict, seconds: float) -> dict:
    splits = [clip.split for clip in features.clips]
    return {
        "model": model,
        "task": question.name,
        "primary": question.primary,
        "clips": {split: splits.count(split) for split in ("train", "valid", "test")},
        "unreadable": len(features.failures),
        "probes": probes,
        "seconds": round(seconds, 1),
    }


def _headline(row: dict) -> str:
    parts = []
    for probe, about in row["probes"].items():
        score = about["scores"][row["primary"]]
        parts.append(f"{probe} {score['mean']:.3f} ± {score['std']:.3f}")
    return f"{row['primary']}: " + ", ".join(parts)
