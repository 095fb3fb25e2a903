"""One model on one task: its features, its probes, what knowing nothing gives, and the row of the table."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import guards
from .baselines import Chroma, RecordingCues
from .encoders import Encoder
from .features import extract
from .label_kinds import KINDS, check_splits
from .labels import Scores
from .metrics import key_scores
from .probes import POOLINGS, PROBES, ProbeResult, run_probes, summary
from .retrieval import chance_retrieval, run_retrieval
from .tasks import RETRIEVAL, Task


@dataclass(frozen=True)
class Settings:
    """How a benchmark runs.

    cache: folder for features. seeds: fits of each probe. poolings: of the frames of a clip, of which validation chooses one.
    check: also fit on shuffled labels. workers: threads that decode, processes that fit.
    """

    cache: Path
    seeds: int = 3
    probes: tuple[str, ...] = PROBES
    poolings: tuple[str, ...] = POOLINGS
    check: bool = False
    progress: bool = True
    workers: int = 2


class Trial:
    """`Trial.of(encoder, task, settings)` extracts the features; `row()` fits and scores.

    Raises NoTimeAxisError for a model without a time axis on a frame task, and ValueError if too many clips cannot be read, or
    those that can leave a split with nothing to learn or to score.
    """

    def __init__(self, encoder: Encoder, task: Task, settings: Settings):
        self.encoder, self.task, self.settings = encoder, task, settings
        self._started = time.monotonic()
        self.features = extract(
            encoder,
            task.clips,
            settings.cache,
            per_frame=self.per_frame,
            equalised=task.equalised,
            workers=settings.workers,
            progress=settings.progress,
        )
        self.labels = task.labels(self.features.clips)

    @staticmethod
    def of(encoder: Encoder, task: Task, settings: Settings) -> "Trial":
        return (RetrievalTrial if task.kind == RETRIEVAL else ProbeTrial)(encoder, task, settings)

    @property
    def per_frame(self) -> bool:
        return False

    def chance(self) -> Scores:
        """What the most frequent answer, or a random order, gives."""
        raise NotImplementedError

    def chance_level(self) -> float:
        """The primary score that knowing nothing reaches at best."""
        return self.chance()[self.task.primary]

    def fit(self, shuffle: bool = False) -> ProbeResult:
        raise NotImplementedError

    def extra_probes(self) -> dict:
        """Probes of this model and task alone, as they stand in a row."""
        return {}

    def chance_row(self) -> dict:
        return self._row("majority", {"chance": {"scores": summary([self.chance()])}}, 0.0)

    def row(self, level: float | None = None) -> dict:
        """Every score with mean and deviation over seeds. level: of chance, for a run that checks shuffled labels against it."""
        result = self.fit()
        probes = _probe_rows(result, self.task.primary) | self.extra_probes()
        if level is not None:
            probes = self._checked(probes, level)
        row = self._row(self.encoder.name, probes, time.monotonic() - self._started)
        failures = self.features.failures
        return row | {"fitted_rows": result.fitted_rows, "failures": failures, "fingerprint": self.encoder.fingerprint}

    def _checked(self, probes: dict, level: float) -> dict:
        """Adds a probe on shuffled labels; that one, and all of recording cues, must be near chance."""
        result = self.fit(shuffle=True)
        shuffled = {"shuffled": {"scores": summary(result.linear or result.mlp)}}
        judged = shuffled | (probes if isinstance(self.encoder, RecordingCues) else {})
        for probe in judged.values():
            primary = probe["scores"][self.task.primary]
            probe["near_chance"] = guards.near_chance(primary["mean"], primary["std"], level)
        return probes | shuffled

    def _row(self, model: str, probes: dict, seconds: float) -> dict:
        splits = [clip.split for clip in self.features.clips]
        return {
            "model": model,
            "task": self.task.name,
            "primary": self.task.primary,
            "clips": {split: splits.count(split) for split in ("train", "valid", "test")},
            "unreadable": len(self.features.failures),
            "probes": probes,
            "seconds": round(seconds, 1),
        }


class ProbeTrial(Trial):
    """Heads that learn the labels."""

    def __init__(self, encoder: Encoder, task: Task, settings: Settings):
        super().__init__(encoder, task, settings)
        check_splits(task, self.features.clips)
        self.kind = KINDS[task.kind](self.labels)

    @property
    def per_frame(self) -> bool:
        return KINDS[self.task.kind].per_frame

    def chance(self) -> Scores:
        return self.kind.majority(*self._of_split("train"), *self._of_split("test"))

    def chance_level(self) -> float:
        guessing = self.kind.guessing(self._of_split("train")[0], self._of_split("test")[0])
        levels = [self.chance(), *([guessing] if guessing else [])]
        return max(scores[self.task.primary] for scores in levels)

    def fit(self, shuffle: bool = False) -> ProbeResult:
        settings, task = self.settings, self.task
        # Shuffled labels need one kind of probe; with two the check would only take longer.
        probes = settings.probes[:1] if shuffle else settings.probes
        return run_probes(
            self.features,
            self.kind,
            self.labels,
            task.primary,
            settings.seeds,
            probes,
            settings.poolings,
            task.redraw,
            shuffle,
            jobs=settings.workers,
        )

    def extra_probes(self) -> dict:
        if self.task.kind != "key" or not isinstance(self.encoder, Chroma):
            return {}
        is_test = np.array([clip.split == "test" for clip in self.features.clips])
        found = self.encoder.keys(self.features.layer(0, "mean")[is_test])
        return {"template": {"scores": summary([key_scores(np.array(self.labels)[is_test], found)])}}

    def _of_split(self, split: str) -> tuple[list, np.ndarray]:
        """Labels, and rows of each."""
        is_chosen = np.array([clip.split == split for clip in self.features.clips])
        return [label for label, chosen in zip(self.labels, is_chosen, strict=True) if chosen], self.features.counts[is_chosen]


class RetrievalTrial(Trial):
    """Clips that are ranked by their cosine."""

    def chance(self) -> Scores:
        return chance_retrieval(self.features, self.labels)

    def fit(self, shuffle: bool = False) -> ProbeResult:
        return run_retrieval(self.features, self.labels, self.task.primary, self.settings.poolings, shuffle)


def _probe_rows(result: ProbeResult, primary: str) -> dict:
    probes: dict = {}
    if result.linear:
        probes["linear"] = {
            **_scored(result.linear),
            "chosen_layers": result.chosen_layers,
            "chosen_pools": result.chosen_pools,
            "layers": {name: summary(scores)[primary] for name, scores in result.layers.items()},
        }
        probes |= _by_pool("linear", result.linear_by_pool)
    if result.mlp:
        probes["mlp"] = {**_scored(result.mlp), "chosen_pools": result.mlp_pools, "layer_weights": result.layer_weights}
        probes |= _by_pool("mlp", result.mlp_by_pool)
    return probes


def _by_pool(probe: str, scores_of: dict[str, Sequence[Scores]]) -> dict:
    """A probe with each pooling, where there is more than one."""
    return {f"{probe}, {pool}": _scored(scores) for pool, scores in scores_of.items()} if len(scores_of) > 1 else {}


def _scored(scores: Sequence[Scores]) -> dict:
    return {"seeds": len(scores), "scores": summary(scores)}
