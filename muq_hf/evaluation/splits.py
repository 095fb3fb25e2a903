"""The splits train, valid and test: as they are given or drawn by group, and no music in two of them."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace

from .clip import Clip


SPLITS = ("train", "valid", "test")
SPLIT_ALIASES = {"training": "train", "val": "valid", "validation": "valid", "dev": "valid", "testing": "test"}
VALID_SHARE = TEST_SHARE = 0.15  # of the groups, where a manifest has no split of its own


def complete_splits(clips: Sequence[Clip]) -> list[Clip]:
    """Splits by their usual names; where no clip has one, or none is "valid", groups are drawn by a hash of their name.

    Raises ValueError for names that are none of `SPLITS`, and for too few groups to draw from.
    """
    names = {clip.split for clip in clips}
    if names == {None}:
        drawn = _drawn_splits({clip.group for clip in clips}, {"test": TEST_SHARE, "valid": VALID_SHARE})
        return [replace(clip, split=drawn[clip.group]) for clip in clips]
    clips = usual_splits(clips)
    missing = {"train", "test"} - {clip.split for clip in clips}
    if missing:
        raise ValueError(f"the manifest has no clips of split {' and '.join(sorted(missing))}.")
    if all(clip.split != "valid" for clip in clips):
        drawn = _drawn_splits({clip.group for clip in clips if clip.split == "train"}, {"valid": VALID_SHARE})
        return [replace(clip, split=drawn[clip.group]) if clip.split == "train" else clip for clip in clips]
    return clips


def usual_splits(clips: Iterable[Clip]) -> list[Clip]:
    """The clips with their splits by their usual names. Raises ValueError for names that are none of `SPLITS`."""
    clips = [replace(clip, split=SPLIT_ALIASES.get(clip.split, clip.split)) for clip in clips]
    unknown = {clip.split for clip in clips} - set(SPLITS)
    if unknown:
        raise ValueError(f"every `split` must be one of {', '.join(SPLITS)}, or none given; got {sorted(map(str, unknown))}.")
    return clips


def refuse_shared_groups(clips: Sequence[Clip]) -> None:
    """Raises ValueError if a group, or overlapping stretches of one file, lie both in test and in train or valid."""
    tested = {clip.group for clip in clips if clip.split == "test"}
    shared = sorted({clip.group for clip in clips if clip.split != "test" and clip.group in tested})
    if shared:
        raise ValueError(
            f"{len(shared)} groups lie both in the test split and in another, the first: {shared[0]!r}. Put all clips of one "
            "track or piece into one split."
        )
    stretches: dict[str, list[Clip]] = {}
    for clip in clips:
        stretches.setdefault(os.path.realpath(clip.path), []).append(clip)
    for path, same_file in stretches.items():
        for test_clip in (clip for clip in same_file if clip.split == "test"):
            for other in same_file:
                if other.split != "test" and _overlap(test_clip, other):
                    raise ValueError(f"the same music of {path} lies in the test split and in the {other.split} split.")


def redraw_validation(clips: Sequence[Clip], seed: int) -> list[str]:
    """Splits [N] in which other groups of train and valid are the validation, as many as before; test stays as it is.

    Where train and valid share groups anyway (notes of one soundfont), clips are drawn instead; folder and file name decide, so
    that a collection that moves elsewhere is divided alike.
    """
    of_split = {split: {clip.group for clip in clips if clip.split == split} for split in SPLITS}
    by_clip = bool(of_split["train"] & of_split["valid"])
    units = [f"{'/'.join(clip.path.absolute().parts[-2:])} {clip.start}" if by_clip else clip.group for clip in clips]
    fitted = {unit for unit, clip in zip(units, clips, strict=True) if clip.split != "test"}
    count = len({unit for unit, clip in zip(units, clips, strict=True) if clip.split == "valid"})
    valid = set(sorted(fitted, key=lambda unit: _unit_hash(f"{seed} {unit}"))[:count])
    return [
        clip.split if clip.split == "test" else ("valid" if unit in valid else "train")
        for unit, clip in zip(units, clips, strict=True)
    ]


def _overlap(a: Clip, b: Clip) -> bool:
    end_a = float("inf") if a.end is None else a.end
    end_b = float("inf") if b.end is None else b.end
    return a.start < end_b and b.start < end_a


def _unit_hash(text: str) -> float:
    """A number in [0, 1) that depends on the text alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48


def _drawn_splits(groups: set[str], shares: dict[str, float]) -> dict[str, str]:
    """Group → split: by its hash, so that others do not move it; each split gets one group at least, the rest is "train".

    Raises ValueError where there are too few groups for that.
    """
    if len(groups) <= len(shares):
        raise ValueError(
            f"{len(groups)} groups (files, where no `group` is given) are too few to draw the splits {', '.join(shares)} and "
            "train from: give more, or a `split` for each clip."
        )
    left = sorted(groups, key=_unit_hash)
    drawn, end = {}, 0.0
    for open_splits, (split, share) in zip(range(len(shares), 0, -1), shares.items(), strict=True):
        end += share
        count = sum(_unit_hash(group) < end for group in left)
        count = min(max(count, 1), len(left) - open_splits)  # one group each stays for the splits to come
        drawn |= dict.fromkeys(left[:count], split)
        left = left[count:]
    return drawn | dict.fromkeys(left, "train")
