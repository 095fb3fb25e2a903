"""Labelled sets of clips: manifests with a path, a label and a `split` in each line."""

import hashlib
import numbers
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..storage.json_lines import to_json_lines
from ..storage.manifests import LIST_SEPARATOR, ManifestRow, manifest_rows
from ..storage.whole_files import read_text


KINDS = ("class", "multilabel", "regression", "frames", "events")
SPLITS = ("train", "valid", "test")
SPLIT_ALIASES = {"training": "train", "val": "valid", "validation": "valid", "dev": "valid", "testing": "test"}
VALID_SHARE = TEST_SHARE = 0.15  # of the groups, where a manifest has no split of its own
LABEL = "label"  # the key of the only label of a clip

# CSV column with the label → kind of label
LABEL_COLUMNS = {"label": "class", "labels": "multilabel", "value": "regression", "segments": "frames", "events": "events"}
CLIP_FIELDS = ("start", "end", "split", "group", *LABEL_COLUMNS)


@dataclass(frozen=True)
class Clip:
    """One labelled stretch of a file.

    start, end: seconds, end None: to the end of the file. group: what must not be divided between splits (track, piece,
    font). labels: task → str | int (class), list of str (multilabel), float or list of them (regression),
    [[start, end, label], …] in seconds of the clip (frames), {"events": [seconds, …]} (events).
    meta: every other field.
    """

    path: Path
    start: float = 0.0
    end: float | None = None
    split: str | None = None
    group: str = ""
    labels: dict = field(default_factory=dict)
    meta: dict = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The same for the same stretch of the same unchanged file."""
        stat = self.path.stat()
        text = f"{self.path.resolve()} {stat.st_size} {stat.st_mtime_ns} {self.start} {self.end}"
        return hashlib.sha1(text.encode()).hexdigest()


def read_manifest(path: str | Path) -> list[Clip]:
    """The clips of a manifest (see `storage.manifests`), with checked splits.

    Raises ValueError for lines without path or label, stretches that are none, unknown splits, and groups or stretches in two
    splits.
    """
    clips = complete_splits(read_clips(path))
    refuse_shared_groups(clips)
    return clips


def read_clips(path: str | Path) -> list[Clip]:
    """The clips of a manifest with their splits as they are written."""
    clips = [_clip(row) for row in manifest_rows(path)]
    if not clips:
        raise ValueError(f"{path} holds no clips.")
    return clips


def write_manifest(clips: Iterable[Clip], path: str | Path) -> Path:
    """Write clips as JSONL, paths relative to its folder where they lie below it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    folder, rows = path.parent.resolve(), []
    for clip in clips:
        row = {
            "path": _name_in(folder, clip.path.resolve()),
            "split": clip.split,
            "group": clip.group,
            "labels": clip.labels,
            **clip.meta,
        }
        if clip.start:
            row["start"] = clip.start
        if clip.end is not None:
            row["end"] = clip.end
        rows.append(row)
    path.write_text(to_json_lines(rows), encoding="utf-8")
    return path


def with_label(clips: Iterable[Clip], key: str) -> list[Clip]:
    """The clips that have a label called `key`. Raises ValueError with the names there are if none has."""
    clips = list(clips)
    chosen = [clip for clip in clips if clip.labels.get(key) is not None]
    if not chosen:
        known = sorted({name for clip in clips for name in clip.labels})
        raise ValueError(f"no clip has a label {key!r}; labels here: {', '.join(known)}.")
    return chosen


def label_kind(values: Sequence) -> str:
    """The kind of label that the values are; an empty list is of the others' kind. Raises ValueError for a mixture."""
    kinds = {_kind_of(value) for value in values if value != []} or set(map(_kind_of, values))
    if kinds == {"class", "regression"} and all(isinstance(value, numbers.Number) for value in values):
        return "regression"
    if len(kinds) != 1:
        raise ValueError(f"labels of one task must be of one kind, got {', '.join(sorted(kinds))}.")
    kind = kinds.pop()
    if kind == "class":
        check_classes(values)
    return kind


def check_classes(values: Sequence) -> None:
    """Raises ValueError for texts beside numbers, which cannot be told apart in a manifest nor be sorted."""
    texts, others = [v for v in values if isinstance(v, str)], [v for v in values if not isinstance(v, str)]
    if texts and others:
        raise ValueError(
            f"classes must be all text or all whole numbers, got both {texts[0]!r} and {others[0]!r}: write the numbers as text, "
            "or leave one of the two out."
        )


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


def _name_in(folder: Path, path: Path) -> str:
    """A path as a manifest in `folder` gives it: relative where it lies below."""
    return (path.relative_to(folder) if path.is_relative_to(folder) else path).as_posix()


def _clip(row: ManifestRow) -> Clip:
    label, folder = _label(row), Path(row.manifest).parent
    start, end = row.seconds("start") or 0.0, row.seconds("end")
    split, group = row.fields.get("split") or None, row.fields.get("group")
    if not isinstance(split, str | None):
        raise row.error(f"`split` must be one of {', '.join(SPLITS)}, got {split!r}.")
    if end is not None and end <= start:
        raise row.error(f"`end` must be after `start`, in seconds; got start={start:g}, end={end:g}.")
    return Clip(
        path=Path(row.path),
        start=start,
        end=end,
        split=split,
        group=_name_in(folder, Path(row.path)) if group in (None, "") else str(group),
        labels=label if isinstance(label, dict) and "events" not in label else {LABEL: label},
        meta={name: value for name, value in row.fields.items() if name not in CLIP_FIELDS and value != ""},
    )


def _label(row: ManifestRow):
    """The label or labels of a row. A table has one column of `LABEL_COLUMNS`, which says what its text means."""
    if not row.is_text:
        label = next((row.fields[name] for name in ("labels", "label") if name in row.fields), None)
        if label is None:
            raise row.error("has neither `label` nor `labels`.")
        return label
    columns = [name for name in LABEL_COLUMNS if name in row.fields]
    if len(columns) != 1:
        raise row.error(f"needs one column of {', '.join(LABEL_COLUMNS)}; it has {', '.join(columns) or 'none of them'}.")
    text = row.fields[columns[0]]
    if not text and columns[0] != "labels":  # an empty cell of tags: no tag
        raise row.error(f"`{columns[0]}` is empty.")
    try:
        return _csv_label(text, columns[0], Path(row.manifest).parent)
    except ValueError as error:
        raise row.error(f"{text!r}: {error}.") from None


def _csv_label(text: str, column: str, folder: Path):
    kind = LABEL_COLUMNS[column]
    if kind == "class":
        return text
    if kind in ("multilabel", "regression"):
        parts = [part.strip() for part in text.split(LIST_SEPARATOR) if part.strip()]
        return parts if kind == "multilabel" else [float(part) for part in parts]
    lines = [line.split(maxsplit=2) for line in read_text(folder / text).splitlines() if line.strip()]
    if kind == "events":
        return {"events": [float(line[0]) for line in lines]}
    return [[float(start), float(end), label] for start, end, label in lines]


def _kind_of(value) -> str:
    if isinstance(value, dict) and "events" in value:
        return "events"
    if isinstance(value, (str, int)) and not isinstance(value, bool):
        return "class"
    if isinstance(value, float):
        return "regression"
    if isinstance(value, list):
        if all(isinstance(item, str) for item in value):
            return "multilabel"
        if all(isinstance(item, numbers.Number) for item in value):
            return "regression"
        if all(isinstance(item, (list, tuple)) and len(item) == 3 for item in value):
            return "frames"
    raise ValueError(
        f"label {value!r} is none of: a class (text or whole number), a list of tags, numbers, "
        '[[start, end, label], …], {"events": [seconds, …]}'
    )
