"""Tokens of whole tracks, computed once by a teacher and kept on disk: memory-mapped, resumable, bound to their teacher."""

import contextlib
import json
from pathlib import Path

import numpy as np
import torch

from ..audio import AudioError, load_audio
from ..storage.row_file import RowFile
from ..storage.whole_files import write_json
from .tracks import Track


DTYPE = np.uint16  # codes; codebooks have at most 65,536
META, INDEX, TOKENS = "targets.json", "index.jsonl", "tokens.u16"


def is_stored_targets(folder: str | Path) -> bool:
    return (Path(folder) / META).exists()


class StoredTargets:
    """`targets.json` names the teacher of the tokens; `tokens.u16` holds K codes a frame, `index.jsonl` the tracks' places."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.meta = json.loads((self.folder / META).read_text(encoding="utf-8"))
        self.num_codebooks, self.codebook_size = self.meta["num_codebooks"], self.meta["codebook_size"]
        self.rows = RowFile(self.folder / TOKENS, self.folder / INDEX, DTYPE, self.num_codebooks)

    def of_clip(self, track: Track, first: int, num_frames: int) -> dict[str, torch.Tensor]:
        """What a training step takes of `num_frames` frames of `track` from frame `first`."""
        return {"target_tokens": self.tokens(track, first, num_frames)}

    def tokens(self, track: Track, first: int, num_frames: int) -> torch.Tensor:
        """[num_frames, K] int64 from frame `first` of `track`. Raises AudioError where there are none."""
        begin, frames = self.rows.place(key_of(track))
        if first + num_frames > frames:
            raise AudioError(
                "missing", f"{self.folder} has no tokens for frames {first} to {first + num_frames} of {track.name}."
            )
        return torch.from_numpy(self.rows.table[begin + first : begin + first + num_frames].astype(np.int64))


def store_targets(teacher, tracks: list[Track], folder: Path, window_seconds: float) -> StoredTargets:
    """Compute and store the tokens of `tracks`, with `window_seconds` of audio at once.

    Tokens that an earlier, interrupted call stored are kept. Raises ValueError if another teacher made them.
    """
    config, rvq = teacher.model.config, teacher.rvq.config
    window = int(window_seconds * config.sampling_rate) // config.samples_per_frame * config.samples_per_frame  # samples
    meta = {
        "fingerprint": teacher.fingerprint(),
        "num_codebooks": rvq.num_codebooks,
        "codebook_size": rvq.codebook_size,
        "window_samples": window,
        "layer": teacher.layer,
        "spectrogram": config.spectrogram_settings,
        "teacher": [str(path) for path in teacher.folders],
    }
    stored = open_targets(folder, meta)
    for track in tracks:
        if key_of(track) not in stored.rows:
            with contextlib.suppress(AudioError):  # the crops of this track report it
                stored.rows.add([key_of(track)], [np.concatenate(list(_track_tokens(teacher, track, window)))])  # [N, K]
    return stored


def open_targets(folder: Path, meta: dict) -> StoredTargets:
    """Begin the tokens that `meta` describes, or go on with those in `folder`. Raises ValueError if another teacher made them."""
    folder.mkdir(parents=True, exist_ok=True)
    if is_stored_targets(folder):
        check_fingerprint(folder, meta["fingerprint"])
    else:
        write_json(folder / META, meta)
    return StoredTargets(folder)


def check_fingerprint(folder: Path, fingerprint: str) -> None:
    """Raises ValueError unless the stored tokens are this teacher's."""
    stored = json.loads((folder / META).read_text(encoding="utf-8"))
    if stored["fingerprint"][: len(fingerprint)] != fingerprint:  # earlier versions stored all 64 digits
        raise ValueError(
            f"the tokens in {folder} were made by another model or layer ({', '.join(stored['teacher'])}, layer "
            f"{stored['layer']}): remove the folder to compute them anew."
        )


def key_of(track: Track) -> str:
    return f"{track.name}@{track.start:.6f}+{track.duration:.6f}"


def _track_tokens(teacher, track: Track, window: int):
    """[N, K] of each window of the track; the last one is shorter, and left out where it is too short for the model."""
    config = teacher.model.config
    rate = config.sampling_rate
    total = int(track.duration * rate)
    for first in range(0, total, window):
        last = min(first + window, total)
        if last - first < config.min_samples:
            return
        wave = load_audio(track.source(), rate, track.start + first / rate, track.start + last / rate)
        if len(wave) < config.min_samples:
            return
        device = teacher.model.device
        yield teacher.tokens(torch.from_numpy(wave).to(device).unsqueeze(0))[0].cpu().numpy()
