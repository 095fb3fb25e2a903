"""What keeps a benchmark honest: no test music in training, chance where there is nothing to learn."""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from transformers.utils import cached_file

from .manifests import Clip


TRAINING_RECORD = "training_manifest.jsonl"  # beside the weights: one line {"path": …} per track that they were trained on
CHANCE_MARGIN = 0.05  # a check may exceed chance by this and by two deviations


class LeakError(ValueError):
    """Test music was in a model's training."""


def training_tracks(model: str | os.PathLike) -> set[str] | None:
    """Names of the tracks that a checkpoint (folder or Hub id) says it was trained on; None if it says nothing."""
    record = cached_file(str(model), TRAINING_RECORD, _raise_exceptions_for_missing_entries=False)
    if record is None:
        return None
    with open(record, encoding="utf-8") as file:
        return {track_name(json.loads(line)["path"]) for line in file if line.strip()}


def refuse_leak(clips: Sequence[Clip], trained_on: Iterable[str], model: str) -> None:
    """Raises LeakError if a test clip is from a track in `trained_on`."""
    trained_on = set(trained_on)
    leaked = sorted({track_name(clip.path) for clip in clips if clip.split == "test"} & trained_on)
    if leaked:
        raise LeakError(
            f"{len(leaked)} test tracks are in the training manifest of {model}, the first: {leaked[0]!r}. Its scores would say "
            "nothing: test on other music, or train without these tracks."
        )


def track_name(path: str | os.PathLike) -> str:
    """Folder and name without suffix: what stays the same when a collection is moved or encoded anew."""
    path = Path(path)
    return f"{path.parent.name}/{path.stem}"


def near_chance(score: float, deviation: float, chance: float) -> bool:
    """Whether a score is no better than chance, within the margin of a finite test set."""
    return score <= chance + CHANCE_MARGIN + 2 * deviation
