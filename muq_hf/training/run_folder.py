"""The folder of a run: settings, environment, tracks, metrics, checkpoints, plots and the finished model in `final/`."""

import contextlib
import errno
import filecmp
import hashlib
import json
import os
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from ..storage.training_record import read_record
from ..storage.whole_files import replace_text, write_json
from .clips import SkipLog
from .tracks import Track, read_tracks, write_tracks


# A resumed run must agree in these, or its crops and weights would not be those of an unbroken run.
FIXED_SETTINGS = (
    "data",
    "clip_seconds",
    "channel",
    "eval_share",
    "seed",
    "data_seed",
    "model",
    "targets",
    "teacher",
    "teachers",
    "teacher_weights",
    "whiten",
    "layers",
    "gain_db",
    "low_pass_share",
    "layer",
    "start",
    "music_encoder",
    "text_encoder",
    "templates",
    "plain_tag_share",
    "mask_duplicates",
    "statistics_clips",
    "encoder",
    "label",
    "kind",
    "tune",
    "weighted_layers",
    "pool",
    "head_layers",
    "head_size",
    "class_weights",
    "mixup",
    "augment_gain_db",
    "augment_noise_db",
    "lora_rank",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "processes",
)
# In messages of safetensors and torch.save, which raise no OSError.
SIGNS_OF_A_FULL_DISK = ("No space left", "os error 28", "os error 27", "file write failed", "unexpected pos")
PACKAGES = ("muq-hf", "torch", "transformers", "accelerate", "datasets", "numpy", "soundfile", "soxr")


class RunFolder:
    """One stage's run. Only the process with `is_main` writes."""

    def __init__(self, path: str | Path, is_main: bool = True):
        self.path, self.is_main = Path(path), is_main
        self.final = self.path / "final"
        self.metrics = self.path / "metrics.jsonl"
        self.plots = self.path / "plots"
        self.skip_log = SkipLog(self.path / "skipped.jsonl")

    @property
    def finished(self) -> bool:
        return self.final.exists()

    def open(self, settings: dict, resume: bool) -> Path | None:
        """Create the folder or continue in it → the checkpoint to resume from, None to start at the beginning.

        Raises ValueError when the folder cannot be written, holds a run and `resume` is not set, or holds one of other settings.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            probe = self.path / f".writable-{os.getpid()}"
            probe.write_text("")
            probe.unlink()
        except OSError as error:
            raise ValueError(
                f"the run folder {self.path} cannot be written ({error.strerror}); choose another with --output."
            ) from error
        stored = self.path / "settings.json"
        if self.is_main:
            if stored.exists() and not resume:
                raise ValueError(f"{self.path} already holds a run: continue it with --resume, or choose another --output.")
            if stored.exists():
                self._check_same(json.loads(stored.read_text(encoding="utf-8")), settings)
            else:
                write_json(stored, settings)
            write_json(self.path / "environment.json", environment())
        return last_checkpoint(self.path)

    def tracks(self, find) -> tuple[list[Track], list[Track]]:
        """(training, evaluation) tracks; found by `find()` on the first start and read from the folder from then on."""
        train, evaluation = self.path / "tracks.jsonl", self.path / "eval_tracks.jsonl"
        if train.exists() and evaluation.exists():
            return read_tracks(train), read_tracks(evaluation)
        train_tracks, eval_tracks = find()
        if self.is_main:
            write_tracks(eval_tracks, evaluation)
            write_tracks(train_tracks, train)
        return train_tracks, eval_tracks

    def drop_metrics_after(self, step: int) -> None:
        """Drop the lines that a run wrote after the checkpoint that it is resumed from."""
        if self.is_main and self.metrics.exists():
            lines = self.metrics.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
            replace_text(self.metrics, "".join(kept))

    def save_final(self, write) -> None:
        """`write(folder)` fills a folder that becomes `final/` only when it is complete."""
        partial = self.path / "final.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        write(partial)
        partial.rename(self.final)

    @staticmethod
    def _check_same(stored: dict, settings: dict) -> None:
        changed = [name for name in FIXED_SETTINGS if stored.get(name) != settings.get(name)]
        if changed:
            detail = "; ".join(f"{name}: was {stored.get(name)!r}, is {settings.get(name)!r}" for name in changed)
            raise ValueError(f"the run was started with other settings ({detail}): use them again, or another --output.")


def last_checkpoint(run: Path) -> Path | None:
    """The newest checkpoint that was written to its end: the trainer's state comes last."""
    checkpoints = {}
    for folder in run.glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
        try:
            state = json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
            checkpoints[state["global_step"]] = folder
        except (OSError, json.JSONDecodeError, KeyError):
            continue
    return checkpoints[max(checkpoints)] if checkpoints else None


def training_files(tracks: list[Track], hash_files: bool, earlier: list[str | Path]) -> list[dict]:
    """The files that the model was trained on, those of its teachers (`earlier`) included: name, length, bytes and SHA-256.

    A file that has gone since then is listed without bytes and SHA-256.
    """
    entries = {}
    for folder in earlier:
        entries |= {entry["path"]: entry for entry in read_record(folder)}
    for track in tracks:
        entry = {"path": track.name, "name": Path(track.path).name, "duration": round(track.duration, 3)}
        if hash_files:
            with contextlib.suppress(OSError):
                entry |= _digest(track.source())
        entries[track.name] = entry
    return list(entries.values())


@contextlib.contextmanager
def explain_full_disk(run: Path):
    """Turn the many errors of a full disk into one that names it, and the last complete checkpoint."""
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        is_full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        if not is_full and not any(sign in str(error) for sign in SIGNS_OF_A_FULL_DISK):
            raise
        last = last_checkpoint(run)
        kept = f"{last.name} is whole" if last else "no checkpoint had been written yet"
        raise OSError(f"the disk of {run} is full ({error}); {kept}. Free space and run again with --resume.") from error


def environment() -> dict:
    """What decides the numbers of a run besides its settings."""
    versions = {}
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = version(package)
    return {
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": versions,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads",
        "processes": int(os.environ.get("WORLD_SIZE", 1)),
    }


def _digest(source: str | bytes) -> dict:
    if isinstance(source, bytes):
        return {"bytes": len(source), "sha256": hashlib.sha256(source).hexdigest()}
    digest = hashlib.sha256()
    with open(source, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
        return {"bytes": file.tell(), "sha256": digest.hexdigest()}


def has_weights_of(final: Path, model: Path) -> bool:
    weights = [(file, final / file.name) for file in model.glob("*.safetensors")]
    return final.exists() and all(
        copy.exists() and (copy.samefile(file) or filecmp.cmp(file, copy, shallow=False)) for file, copy in weights
    )


def link_or_copy(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target
