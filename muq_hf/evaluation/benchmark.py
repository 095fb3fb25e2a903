"""Models × tasks: extract features, keep the guards, fit the probes, collect the scores."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import guards
from .baselines import Chroma, RecordingCues
from .encoders import Encoder, NoTimeAxisError
from .features import extract
from .labelled_clips import Clip
from .labels import check_labels, check_splits
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
        """Raises ValueError for an unknown kind, labels that are none of it, and splits that leave nothing to learn or score."""
        if kind not in PRIMARY:
            raise ValueError(f"unknown kind of label {kind!r}; valid: {', '.join(PRIMARY)}.")
        check_labels(clips, label, kind)
        check_splits(clips, label, kind)
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
    A model without a time axis is left out of frame tasks, which `tell` says, as it does which clips cannot be read and which
    checks fail.
    Raises LeakError, before anything is computed, if a test track is among them; ValueError if too many clips cannot be read.
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
            if features.failures:
                missing = f"{len(features.failures)} clips that cannot be read, the first: {features.failures[0]}"
                tell(f"{question.name}: {encoder.name} goes without {missing}")
            target = None
            if question.kind != "retrieval":
                check_splits(features.clips, question.label, question.kind)
                target = TARGETS[question.kind](features.clips, question.label)
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
                probes = _checked(probes, encoder, features, target, question, settings, level)
            row = _row(encoder.name, question, features, probes, time.monotonic() - started)
            details = {"fitted_rows": result.fitted_rows, "failures": features.failures, "fingerprint": encoder.fingerprint}
            rows.append(row | details)
            tell(f"{question.name:12} {encoder.name:24} {_headline(row)}  {row['seconds']:.0f} s")
            for probe, about in probes.items():
                if not about.get("near_chance", True):
                    tell(f"{question.name}: {encoder.name}, {probe}: above the chance of {level:.3f}, which it should not be.")
        tested = {row["clips"]["test"] for row in rows if row["task"] == question.name}
        if len(tested) > 1:
            tell(f"{question.name}: not all are scored on the same test clips, but on {min(tested)} to {max(tested)}.")
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


def _checked(probes: dict, encoder, features, target, question: Question, settings: Settings, level: float) -> dict:
    """The probes with one on shuffled labels; that one, and all of recording cues, say whether they are near chance."""
    result = _ask(features, target, question, settings, shuffle=True)
    shuffled = {"shuffled": {"scores": summary(result.linear or result.mlp)}}
    judged = shuffled | (probes if isinstance(encoder, RecordingCues) else {})
    for about in judged.values():
        primary = about["scores"][question.primary]
        about["near_chance"] = guards.near_chance(primary["mean"], primary["std"], level)
    return probes | shuffled


def _probe_rows(result: ProbeResult, primary: str) -> dict:
    probes: dict = {}
    if result.linear:
        probes["linear"] = {
            "seeds": len(result.linear),
            "scores": summary(result.linear),
            "chosen_layers": result.chosen_layers,
            "layers": {name: summary(scores)[primary] for name, scores in result.layers.items()},
        }
    if result.mlp:
        probes["mlp"] = {"seeds": len(result.mlp), "scores": summary(result.mlp), "layer_weights": result.layer_weights}
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
