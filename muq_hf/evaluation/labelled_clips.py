"""Labelled sets of clips: manifests with a path, a label and a `split` in each line."""

from collections.abc import Iterable
from pathlib import Path

from ..storage.json_lines import to_json_lines
from ..storage.manifests import ManifestRow, manifest_rows
from .clip import Clip
from .label_kinds import COLUMNS, is_one_label
from .splits import SPLITS, complete_splits, refuse_shared_groups


LABEL = "label"  # the key of the only label of a clip
CLIP_FIELDS = ("start", "end", "split", "group", *COLUMNS)


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
        labels=label if isinstance(label, dict) and not is_one_label(label) else {LABEL: label},
        meta={name: value for name, value in row.fields.items() if name not in CLIP_FIELDS and value != ""},
    )


def _label(row: ManifestRow):
    """The label or labels of a row. A table has one column of `COLUMNS`, which says of which kind its labels are."""
    if not row.is_text:
        label = next((row.fields[name] for name in ("labels", "label") if name in row.fields), None)
        if label is None:
            raise row.error("has neither `label` nor `labels`.")
        return label
    columns = [name for name in COLUMNS if name in row.fields]
    if len(columns) != 1:
        raise row.error(f"needs one column of {', '.join(COLUMNS)}; it has {', '.join(columns) or 'none of them'}.")
    text = row.fields[columns[0]]
    if not text and columns[0] != "labels":  # an empty cell of tags: no tag
        raise row.error(f"`{columns[0]}` is empty.")
    try:
        return COLUMNS[columns[0]].from_text(text, Path(row.manifest).parent)
    except ValueError as error:
        raise row.error(f"{text!r}: {error}.") from None
