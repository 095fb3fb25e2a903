"""`muq-hf data check`: what a folder of music holds, which files cannot be trained on, and a manifest of the others."""

import hashlib
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from ..audio import SILENCE, AudioError, audio_info, stream_audio
from ..storage.json_lines import to_json_lines
from ..storage.whole_files import replace_text
from .acoustic_fingerprint import AcousticFingerprint, find_duplicates
from .tracks import TIME_FIELDS, Skipped, Track, find_tracks, track_rows


BLOCK_SECONDS = 10.0
CHECK_RATE = 24_000  # Hz
MAX_MISSING_SECONDS = 0.5  # of a track that has less music than its manifest or header says


@dataclass(frozen=True)
class Checked:
    """What decoding a track found.

    silence: share of blocks of 10 s that are silent; digest: of the decoded samples; copy_of: an earlier track that is the same
    recording, encoded otherwise.
    """

    track: Track
    sampling_rate: int  # Hz
    channels: int
    duration: float  # seconds
    silence: float
    digest: str
    copy_of: Track | None = None


def check_data(data: str | Path, workers: int = 2) -> tuple[list[Checked], list[Skipped]]:
    """Decode every track, once however many lines name it. Raises ValueError where there is no readable audio at all."""
    tracks, skipped = find_tracks(data)
    tracks = list(dict.fromkeys(tracks))
    with ThreadPoolExecutor(workers) as pool:
        results = list(tqdm(pool.map(_check_or_skip, tracks), total=len(tracks), unit="track", dynamic_ncols=True))
    skipped += [result for result in results if isinstance(result, Skipped)]
    return _with_copies([result for result in results if not isinstance(result, Skipped)]), skipped


def report(checked: list[Checked], skipped: list[Skipped]) -> str:
    """The findings as text."""
    hours = sum(item.duration for item in checked) / 3600
    rates = Counter(f"{item.sampling_rate} Hz, {item.channels} channel{'s' * (item.channels > 1)}" for item in checked)
    durations = sorted(item.duration for item in checked) or [0.0]
    lines = [
        f"{len(checked)} tracks, {hours:.2f} h; shortest {durations[0]:.1f} s, median {durations[len(durations) // 2]:.1f} s, "
        f"longest {durations[-1]:.1f} s",
        *[f"  {count} of {kind}" for kind, count in rates.most_common()],
    ]
    silent = [item for item in checked if item.silence == 1.0]
    partly = [item for item in checked if 0.25 < item.silence < 1.0]
    lines += [f"silent: {item.track.name}" for item in silent]
    lines += [f"{item.silence:.0%} silent: {item.track.name}" for item in partly]
    lines += [
        f"{item.duration:.1f} s of music, not {item.track.duration:.1f} s: {item.track.name}"
        for item in checked
        if item.track.duration - item.duration > MAX_MISSING_SECONDS
    ]
    lines += [f"same music: {', '.join(item.track.name for item in group)}" for group in duplicates(checked)]
    copies = [item for item in checked if item.copy_of is not None]
    lines += [f"same recording, encoded otherwise: {item.copy_of.name}, {item.track.name}" for item in copies]
    lines += [f"{item.reason}: {item.message}" for item in skipped]
    lines.append(
        f"{len(skipped)} broken, {len(silent)} silent, {len(duplicates(checked))} groups of duplicates, "
        f"{len(copies)} copies encoded otherwise"
    )
    return "\n".join(lines)


def duplicates(checked: list[Checked]) -> list[list[Checked]]:
    """Groups of tracks that decode to the same samples (silence aside)."""
    groups = defaultdict(list)
    for item in checked:
        if item.silence < 1.0:
            groups[item.digest].append(item)
    return [group for group in groups.values() if len(group) > 1]


def sound_tracks(checked: list[Checked]) -> list[Checked]:
    """Not silent, and of each recording the first track."""
    repeated = {item.track for group in duplicates(checked) for item in group[1:]}
    return [item for item in checked if item.silence < 1.0 and item.copy_of is None and item.track not in repeated]


def _with_copies(found: list[tuple[Checked, np.ndarray]]) -> list[Checked]:
    """Fill `copy_of`, from the acoustic fingerprints of what is neither silent nor the same samples as an earlier track."""
    prints: dict[str, tuple[int, np.ndarray]] = {}  # by digest
    for index, (item, words) in enumerate(found):
        if item.silence < 1.0:
            prints.setdefault(item.digest, (index, words))
    copies = find_duplicates({index: words for index, words in prints.values()})
    checked = [item for item, _ in found]
    for index, original in copies.items():
        if checked[index].track.path != checked[original].track.path:  # stretches of one file may overlap
            checked[index] = replace(checked[index], copy_of=checked[original].track)
    return checked


def write_manifest(kept: list[Checked], data: Path, path: Path) -> None:
    """JSONL with absolute paths and the durations found; whatever else a manifest `data` says of the tracks stays with them."""
    fields_of = _manifest_fields(data) if data.is_file() else {}
    entries = []
    for item in kept:
        track, duration = item.track, min(item.track.duration, item.duration)
        times = {"start": track.start, "end": track.start + duration} if track.start else {"duration": duration}
        place = {"path": str(Path(track.path).resolve()), **times}
        entries += [place | fields for fields in fields_of.get((track.path, track.start), [{}])]
    replace_text(path, to_json_lines(entries))


def _manifest_fields(manifest: Path) -> dict[tuple[str, float], list[dict]]:
    """(path, start) of a track → the fields of each of its lines, but for path and times. Bad lines are left out."""
    fields_of = defaultdict(list)
    for row, times in track_rows(manifest):
        fields = {name: value for name, value in row.fields.items() if name not in TIME_FIELDS}
        fields_of[row.path, times.get("start", 0.0)].append(fields)
    return fields_of


def _check_or_skip(track: Track) -> tuple[Checked, np.ndarray] | Skipped:
    try:
        return _check(track)
    except AudioError as error:
        return Skipped(track.name, error.reason, str(error))


def _check(track: Track) -> tuple[Checked, np.ndarray]:
    """→ what is found, and the words of the acoustic fingerprint."""
    info = audio_info(track.source())
    digest, fingerprint = hashlib.sha256(), AcousticFingerprint(CHECK_RATE)
    samples, blocks, silent = 0, 0, 0
    end = track.start + track.duration
    for block in stream_audio(track.source(), BLOCK_SECONDS, CHECK_RATE, track.start, end):
        digest.update(np.round(block * 2**15).astype(np.int32).tobytes())
        fingerprint.add(block)
        samples, blocks = samples + len(block), blocks + 1
        silent += bool(np.abs(block).max() < 10 ** (SILENCE / 20))
    found = Checked(track, info.sampling_rate, info.channels, samples / CHECK_RATE, silent / blocks, digest.hexdigest())
    return found, fingerprint.words()
