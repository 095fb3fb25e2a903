"""Which music to train on: tracks from a folder, a manifest or a `datasets` dataset, split by track."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from ..audio import AudioError, audio_info, find_audio
from ..storage.json_lines import read_json_lines, to_json_lines
from ..storage.manifests import BAD_LINE, BadLine, ManifestRow, OnBadLine, manifest_rows
from ..storage.whole_files import replace_text


TIME_FIELDS = ("duration", "start", "end")  # of a manifest's line, in seconds


@dataclass(frozen=True)
class Track:
    """An audio file, or the part of it from `start` to `start + duration` (s).

    row: None for a file; for a track of a saved dataset the row that holds its bytes, `path` being the dataset's folder.
    """

    path: str
    duration: float
    start: float = 0.0
    row: int | None = None

    @property
    def name(self) -> str:
        return self.path if self.row is None else f"{self.path}[{self.row}]"

    def source(self) -> str | bytes:
        """What `open_audio` takes."""
        return self.path if self.row is None else _row_bytes(self.path, self.row)


@dataclass(frozen=True)
class Skipped:
    """A track that is left out: `reason` is one of `muq_hf.audio.REASONS`, "too short", or `BAD_LINE` of a manifest."""

    name: str
    reason: str
    message: str


def find_tracks(data: str | Path) -> tuple[list[Track], list[Skipped]]:
    """Tracks of a folder (searched for audio), a manifest or a dataset saved by `datasets`, and what cannot be read.

    A manifest (see `storage.manifests`) has a path and perhaps `duration`, `start` and `end` in each line (s). Durations are read
    from the files' headers where the manifest does not give them. Lines that cannot be used are skipped as files are.
    Raises ValueError for a source that does not exist or holds no audio.
    """
    data = Path(data)
    if not data.exists():
        raise ValueError(f"`data` {data} does not exist; give a folder of audio, a manifest or a saved dataset.")
    if data.is_file():
        bad_lines: list[BadLine] = []
        tracks, skipped = _probe_all({"path": row.path, **times} for row, times in track_rows(data, bad_lines.append))
        skipped = [Skipped(f"{line.manifest}:{line.number}", BAD_LINE, str(line)) for line in bad_lines] + skipped
    elif is_saved_dataset(data):
        tracks, skipped = _probe_all({"path": str(data), "row": row} for row in range(len(_saved_dataset(str(data)))))
    else:
        tracks, skipped = _probe_all({"path": str(path)} for path in find_audio([data]))
    if not tracks:
        detail = f" {summary(skipped)}" if skipped else ""
        raise ValueError(f"{data} holds no audio that can be read.{detail}")
    return tracks, skipped


def is_saved_dataset(data: Path) -> bool:
    """Whether `datasets` saved it."""
    return (data / "dataset_info.json").exists()


def keep_long(tracks: list[Track], clip_seconds: float) -> tuple[list[Track], list[Skipped]]:
    """Tracks of at least one clip. Raises ValueError when none is."""
    kept = [track for track in tracks if track.duration >= clip_seconds]
    if not kept:
        longest = max(track.duration for track in tracks)
        raise ValueError(
            f"no track is as long as one clip of {clip_seconds:g} s (the longest of {len(tracks)} has {longest:.1f} s): "
            "set `clip_seconds` lower or give longer music."
        )
    short = [track for track in tracks if track.duration < clip_seconds]
    return kept, [Skipped(t.name, "too short", f"{t.name} has {t.duration:.1f} s, a clip {clip_seconds:g} s.") for t in short]


def split_tracks(tracks: list[Track], eval_share: float) -> tuple[list[Track], list[Track]]:
    """(training, evaluation): all parts of one file fall on one side, whatever other files there are.

    Album folder and file name decide, so that a collection that moves elsewhere is split alike. With `eval_share` above 0 and at
    least two files, at least one is for evaluation.
    """
    names = {track.name: hashlib.sha256(os.fsencode("/".join(Path(track.name).parts[-2:]))).digest() for track in tracks}
    threshold = eval_share * 2**64
    chosen = {name for name, digest in names.items() if int.from_bytes(digest[:8], "big") < threshold}
    if eval_share > 0 and len(names) > 1:
        chosen = chosen or {min(names, key=names.get)}
        if len(chosen) == len(names):
            chosen.remove(max(chosen, key=names.get))
    return [t for t in tracks if t.name not in chosen], [t for t in tracks if t.name in chosen]


def check_failing_share(failed: int, total: int, limit: float, skipped: Iterable[Skipped]) -> None:
    """Raises ValueError when more than the share `limit` of `total` tracks cannot be read."""
    if failed > limit * total:
        raise ValueError(
            f"{failed} of {total} tracks cannot be read, more than the {limit:.0%} that `max_failing_share` allows: "
            f"{summary(skipped)} Run `muq-hf data check`, repair or leave out these files, or raise `max_failing_share`."
        )


def summary(skipped: Iterable[Skipped]) -> str:
    """One sentence per reason: how many, and the first of them."""
    skipped = list(skipped)
    first = {item.reason: item.message for item in reversed(skipped)}
    counts = Counter(item.reason for item in skipped)
    return " ".join(f"{count} {reason} (first: {first[reason]})" for reason, count in counts.most_common())


def write_tracks(tracks: list[Track], path: Path) -> None:
    replace_text(path, to_json_lines(map(asdict, tracks)))


def read_tracks(path: Path) -> list[Track]:
    return [Track(**row) for row in read_json_lines(path)]


def track_rows(manifest: Path, on_bad_line: OnBadLine = lambda line: None) -> Iterator[tuple[ManifestRow, dict[str, float]]]:
    """The lines of a manifest that name a track, each with the times (s) that it gives; the others go to `on_bad_line`."""
    for row in manifest_rows(manifest, on_bad_line):
        try:
            times = {name: row.seconds(name) for name in TIME_FIELDS}
        except BadLine as error:
            on_bad_line(error)
        else:
            yield row, {name: value for name, value in times.items() if value is not None}


def _probe_all(entries: Iterable[dict]) -> tuple[list[Track], list[Skipped]]:
    tracks, skipped = [], []
    for entry in entries:
        try:
            tracks.append(_probe(**entry))
        except AudioError as error:
            row = entry.get("row")
            skipped.append(Skipped(entry["path"] if row is None else f"{entry['path']}[{row}]", error.reason, str(error)))
    return tracks, skipped


def _probe(path: str, duration=None, start: float = 0.0, end=None, row=None) -> Track:
    """A track whose duration is known: from `end`, from the manifest, or from the header of the file."""
    track = Track(path, 0.0, float(start), row)
    if duration is None or not Path(path).exists():
        duration = audio_info(track.source()).duration
    stop = duration if end is None else min(float(end), duration)
    if stop <= start:
        raise AudioError("empty", f"{path} has no audio between {start} s and {stop} s.")
    return Track(path, stop - float(start), float(start), row)


_DATASETS: dict[str, object] = {}  # one open (memory-mapped) dataset per process and folder


def _saved_dataset(folder: str):
    if folder not in _DATASETS:
        try:
            import datasets
        except ImportError:
            raise ImportError(f"the saved dataset {folder} needs datasets: pip install 'muq-hf[train]'") from None

        dataset = datasets.load_from_disk(folder)
        columns = [name for name, kind in dataset.features.items() if isinstance(kind, datasets.Audio)]
        if not columns:
            raise ValueError(f"the dataset in {folder} has no column of type Audio; its columns: {dataset.column_names}.")
        _DATASETS[folder] = dataset.select_columns(columns[:1]).cast_column(columns[0], datasets.Audio(decode=False))
    return _DATASETS[folder]


def _row_bytes(folder: str, row: int) -> str | bytes:
    (audio,) = _saved_dataset(folder)[row].values()
    return audio["path"] if audio["bytes"] is None else audio["bytes"]
