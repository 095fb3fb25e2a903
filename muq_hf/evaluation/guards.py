"""Guards of the benchmark: no test music in training, and scores near chance where there is nothing to learn."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..storage.training_record import read_record
from .clip import Clip


CHANCE_MARGIN = 0.05  # a check may exceed chance by this and by two deviations


class LeakError(ValueError):
    """Music that would be scored is in a model's training music."""


@dataclass(frozen=True)
class TrainingMusic:
    """names: of tracks, see `track_name`; contents: SHA-256 of files by their size in bytes."""

    names: frozenset[str] = frozenset()
    contents: dict[int, set[str]] = field(default_factory=dict)

    def match(self, path: Path) -> str | None:
        """ "name" or "content", whichever shows that a file is among this music; None if neither does."""
        if track_name(path.absolute()) in self.names:
            return "name"
        candidates = self.contents.get(path.stat().st_size) if path.exists() else None
        return "content" if candidates and hashlib.sha256(path.read_bytes()).hexdigest() in candidates else None


def training_music(model: str | os.PathLike) -> TrainingMusic | None:
    """The training music of a checkpoint (folder or Hub id); None if it has no record of it."""
    entries = read_record(model)
    if not entries:
        return None
    contents: dict[int, set[str]] = {}
    for entry in entries:
        if "sha256" in entry:
            contents.setdefault(entry["bytes"], set()).add(entry["sha256"])
    return TrainingMusic(frozenset(track_name(entry["path"]) for entry in entries), contents)


def refuse_leak(clips: Sequence[Clip], trained_on: TrainingMusic, model: str, split: str = "test") -> None:
    """Raises LeakError if a clip of `split`, which is scored, is from a file that the model was trained on.

    Files are known by the name of folder and file or by content.
    """
    known = {path: trained_on.match(path) for path in {clip.path for clip in clips if clip.split == split}}
    leaked = sorted(path for path, by in known.items() if by)
    if leaked:
        raise LeakError(
            f"{len(leaked)} {split} files are in the training music of {model}, the first, known by its {known[leaked[0]]}: "
            f"{leaked[0]}. Its scores would say nothing: test on other music, or train without these files. Where only the last "
            "folder and the name are the same, rename the folder."
        )


def leak_warnings(clips: Sequence[Clip], model: str | os.PathLike) -> list[str]:
    """What makes the scores of clips with splits too good, in a sentence each.

    Groups of train and valid; equal files of test and another split; test files that the encoder `model` was trained on.
    """
    found = []
    fitted, chosen = ({clip.group for clip in clips if clip.split == split} for split in ("train", "valid"))
    if fitted & chosen:
        found.append(
            f"{len(fitted & chosen)} groups lie both in the train and in the valid split, the first: {min(fitted & chosen)!r}. "
            "Validation then chooses what knows these groups by heart."
        )
    tested, others = ({clip.path for clip in clips if (clip.split == "test") == is_test} for is_test in (True, False))
    equal = _equal_files(tested, others)
    if equal:
        found.append(f"{len(equal)} test files are equal to files of other splits, the first: {min(equal)}.")
    trained_on = training_music(model)
    known = sorted(path for path in tested if trained_on and trained_on.match(path))
    if known:
        found.append(f"the encoder was trained on {len(known)} of the {len(tested)} test files, the first: {known[0]}.")
    return found


def _equal_files(tested: set[Path], others: set[Path]) -> set[Path]:
    """Those of `tested` whose bytes are those of one of `others`."""
    sizes = {path: path.stat().st_size for path in tested | others if path.is_file()}
    shared = {sizes[path] for path in tested if path in sizes} & {sizes[path] for path in others if path in sizes}
    digests = {path: hashlib.sha256(path.read_bytes()).digest() for path, size in sizes.items() if size in shared}
    elsewhere = {digests[path] for path in others if path in digests}
    return {path for path in tested - others if digests.get(path) in elsewhere}


def track_name(path: str | os.PathLike) -> str:
    """Folder and name without suffix: what stays the same when a collection is moved or encoded anew."""
    path = Path(path)
    return f"{path.parent.name}/{path.stem}"


def near_chance(score: float, deviation: float, chance: float) -> bool:
    """Whether a score is no better than chance, within the margin of a finite test set."""
    return score <= chance + CHANCE_MARGIN + 2 * deviation
