"""Latents of whole tracks, computed once by each teacher and kept on disk: memory-mapped, resumable, bound to their teacher.

Neighbouring units of a spectrum rise and fall together, so a student that explains most of their variance may know loudness and
slope alone, and no harmony. Whitened latents are the same numbers in other axes, those of their principal components, all of
variance 1: the fine structure counts as much as the coarse.
"""

import contextlib
import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from ..audio import AudioError, load_audio
from ..storage.row_file import RowFile
from ..storage.whole_files import write_json
from .latent_teachers import SAMPLES_PER_FRAME, SAMPLING_RATE, LatentTeacher
from .stored_targets import key_of
from .tracks import Track


META, STATISTICS, INDEX, LATENTS = "latents.json", "statistics.json", "index.jsonl", "latents.f16"
AXES = "principal_axes.json"
VARIANCE_KEPT = 0.99  # by whitened latents: what comes after is mostly noise
WINDOW_FRAMES = 750  # that a teacher is given at once: 30 s
MIN_DEVIATION = 1e-4  # units that never move cannot be learned: they are left out
STATISTICS_ROWS = 50_000


class TeacherLatents:
    """One teacher's latents, float16 on disk, read as float32 with mean 0 and deviation 1 in every unit that moves."""

    def __init__(self, folder: Path, width: int, whiten: bool = False):
        self.rows = RowFile(folder / LATENTS, folder / INDEX, np.float16, width)
        self._folder, self._whiten = folder, whiten

    def measure(self) -> int:
        """Take the statistics of what is stored, once and for all → the number of units."""
        statistics = self._folder / STATISTICS
        if not statistics.exists():
            sample = self._sample()
            mean, deviation = sample.mean(axis=0), sample.std(axis=0)
            units = np.flatnonzero(deviation > MIN_DEVIATION)
            columns = {"units": units, "mean": mean[units], "deviation": deviation[units]}
            write_json(statistics, {name: column.tolist() for name, column in columns.items()})
        stored = json.loads(statistics.read_text(encoding="utf-8"))
        self._units = np.array(stored["units"], dtype=np.int64)
        self._mean, self._deviation = (np.array(stored[name], dtype=np.float32) for name in ("mean", "deviation"))
        self._axes = self._whitening() if self._whiten else None
        return len(self._units) if self._axes is None else self._axes.shape[1]

    def _sample(self) -> np.ndarray:
        table = self.rows.table
        return np.asarray(table[:: max(1, len(table) // STATISTICS_ROWS)], dtype=np.float32)

    def _whitening(self) -> np.ndarray:
        """[units, components]: the axes of largest variance, each divided by its deviation."""
        file = self._folder / AXES
        if not file.exists():
            variances, axes = np.linalg.eigh(np.cov(self._standard(self._sample()), rowvar=False))
            variances, axes = variances[::-1], axes[:, ::-1]
            kept = np.searchsorted(np.cumsum(variances), VARIANCE_KEPT * variances.sum()) + 1
            write_json(file, (axes[:, :kept] / np.sqrt(variances[:kept])).tolist())
        return np.array(json.loads(file.read_text(encoding="utf-8")), dtype=np.float32)

    def _standard(self, latents: np.ndarray) -> np.ndarray:
        return (latents[:, self._units] - self._mean) / self._deviation

    def of_track(self, track: Track, first: int, num_frames: int) -> torch.Tensor:
        """[num_frames, units] from frame `first` of `track`. Raises AudioError where there are none."""
        begin, frames = self.rows.place(key_of(track))
        if first + num_frames > frames:
            raise AudioError("missing", f"there are no latents for frames {first} to {first + num_frames} of {track.name}.")
        rows = np.asarray(self.rows.table[begin + first : begin + first + num_frames], dtype=np.float32)
        latents = self._standard(rows)
        return torch.from_numpy(latents if self._axes is None else latents @ self._axes)


class StoredLatents:
    """The latents of all teachers, in the order of `names`. `widths`: the units of each that move."""

    def __init__(self, names: Sequence[str], latents: Sequence[TeacherLatents]):
        self.names, self._latents = list(names), list(latents)
        self.widths = [each.measure() for each in self._latents]

    def num_frames(self, track: Track) -> int:
        """Frames of `track` that all teachers have."""
        return min(each.rows.place(key_of(track))[1] for each in self._latents)

    def of_clip(self, track: Track, first: int, num_frames: int) -> dict[str, torch.Tensor]:
        """What a training step takes of `num_frames` frames of `track` from frame `first`: "latents" [num_frames, all units]."""
        return {"latents": torch.cat([each.of_track(track, first, num_frames) for each in self._latents], dim=1)}


def store_latents(
    teachers: Sequence[LatentTeacher], tracks: Sequence[Track], folder: Path, whiten: Sequence[bool] | None = None
) -> StoredLatents:
    """Compute and store the latents of `tracks` under `folder`, a folder for each teacher.

    whiten: for each teacher, whether its latents are read in their principal axes (they are stored alike either way); default:
    none are. What an earlier, cut-off call stored is kept. Raises ValueError where it was stored by a teacher of another
    fingerprint.
    """
    stored = []
    for teacher, in_axes in zip(teachers, whiten or [False] * len(teachers), strict=True):
        place = folder / re.sub(r"[^\w.-]+", "_", teacher.name).strip("_")
        place.mkdir(parents=True, exist_ok=True)
        _bind(place / META, teacher)
        latents = TeacherLatents(place, teacher.width, in_axes)
        waiting = [track for track in tracks if key_of(track) not in latents.rows]
        for track in tqdm(waiting, desc=f"latents of {teacher.name}", unit="track", dynamic_ncols=True, disable=not waiting):
            with contextlib.suppress(AudioError):  # the crops of this track report it
                latents.rows.add([key_of(track)], [_latents_of(teacher, track)])
        stored.append(latents)
    return StoredLatents([teacher.name for teacher in teachers], stored)


def _bind(meta: Path, teacher: LatentTeacher) -> None:
    """Note whose latents these are. Raises ValueError if they are another teacher's."""
    own = {"name": teacher.name, "licence": teacher.licence, "width": teacher.width, "fingerprint": teacher.fingerprint()}
    if not meta.exists():
        write_json(meta, own)
    elif json.loads(meta.read_text(encoding="utf-8"))["fingerprint"] != own["fingerprint"]:
        raise ValueError(
            f"the latents in {meta.parent} were made by another {teacher.name} (its fingerprint differs): remove the folder to "
            "compute them anew."
        )


def _latents_of(teacher: LatentTeacher, track: Track) -> np.ndarray:
    """[N, width] of the whole track, given to the teacher in windows. Raises AudioError."""
    wave = load_audio(track.source(), SAMPLING_RATE, track.start, track.start + track.duration)
    num_frames = len(wave) // SAMPLES_PER_FRAME
    parts = []
    for first in range(0, num_frames, WINDOW_FRAMES):
        last = min(first + WINDOW_FRAMES, num_frames)
        if last - first < SAMPLING_RATE // SAMPLES_PER_FRAME and parts:  # less than a second: too short for some
            break
        piece = torch.from_numpy(wave[first * SAMPLES_PER_FRAME : last * SAMPLES_PER_FRAME])[None]
        parts.append(teacher.latents(piece)[0].cpu().numpy())
    if not parts:
        raise AudioError("too short", f"{track.name} has {len(wave)} samples, less than a frame.")
    return np.concatenate(parts)
