"""An append-only record of a running job: what kill -9 leaves behind is complete up to the running batch.

A folder with
    settings.json   what makes the vectors comparable; a continued run must bring the same
    files.jsonl     one line when a file's first window is stored, one when its last one is
    windows.bin     fixed-size records, one per window, appended and synced batch by batch
    frames/         with `pool="none"`: the frames, until the run ends
A torn last line or record is cut off when the journal is opened again.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from ..storage.whole_files import lock_file, write_json
from .embed_settings import EmbedSettings


def window_dtype(vector_shape: tuple[int, ...]) -> np.dtype:
    """Record of one window: whose it is, the samples it speaks for, its frames, and the vectors pooled over them."""
    return np.dtype(
        [
            ("file", "<i4"),
            ("segment", "<i4"),  # counted from 0 within the file: one row of the table each
            ("start", "<i8"),  # first sample that the window's kept frames speak for
            ("end", "<i8"),
            ("frames", "<i4"),  # kept frames
            ("vectors", "<f4", vector_shape),
        ]
    )


class Journal:
    """See the module. `vector_shape` is the shape of one window's pooled vectors, `(0,)` when frames go elsewhere."""

    def __init__(self, folder: Path, vector_shape: tuple[int, ...]):
        self.folder = Path(folder)
        self.frames_folder = self.folder / "frames"
        self.dtype = window_dtype(vector_shape)
        self._ids: dict[str, int] = {}  # path → latest id
        self._versions: dict[int, list[int]] = {}  # id → [bytes, modification time in ns]
        self._counts: dict[int, int] = {}  # id → windows of a file that ended
        self._done: dict[int, set[int]] = {}  # id → starts of its stored windows
        self._lock = self._windows = self._files = None

    @staticmethod
    def exists(folder: Path) -> bool:
        return (Path(folder) / "settings.json").exists()

    @staticmethod
    def stored_settings(folder: Path) -> tuple[EmbedSettings, bool]:
        """→ the settings of the job, and whether it replaces an older output."""
        path = Path(folder) / "settings.json"
        try:
            content = json.loads(path.read_text("utf-8"))
            return EmbedSettings.from_dict(content["settings"]), bool(content["replace"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} cannot be read ({error}): use --overwrite to start again.") from error

    def create(self, settings: EmbedSettings, replace: bool) -> "Journal":
        """Start an empty journal in place of any older one."""
        if self.folder.exists():
            self._acquire()
            self.remove()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._acquire()
        for name in ("files.jsonl", "windows.bin"):
            (self.folder / name).touch()
        write_json(self.folder / "settings.json", {"settings": settings.to_dict(), "replace": replace})
        return self._open()

    def reopen(self) -> "Journal":
        """Continue a journal: read what is complete, cut off what is torn."""
        self._acquire()
        for line in self._read_lines():
            if "path" in line:
                self._ids[line["path"]] = line["file"]
                self._versions[line["file"]] = line["version"]
            else:
                self._counts[line["file"]] = line["windows"]
        self._note(self.records())
        return self._open()

    def windows_done(self, path: str) -> frozenset[int]:
        """Starts (samples) of the windows stored for the file as it is now; a file changed since then has none."""
        file = self._ids.get(path)
        if file is None or self._versions[file] != _file_version(path):
            return frozenset()
        return frozenset(self._done.get(file, ()))

    def version(self, path: str) -> list[int]:
        """Size (bytes) and modification time (ns) of the file when its windows were stored."""
        return self._versions[self._ids[path]]

    def is_complete(self, path: str) -> bool:
        file = self._ids.get(path)
        return file in self._counts and len(self.windows_done(path)) == self._counts[file]

    def complete_files(self, order: Iterable[str]) -> Iterator[tuple[str, np.ndarray]]:
        """Yield each file whose windows are all stored, and their records by time: `order` first, then any others."""
        records = self.records()
        file_of = np.array(records["file"])
        by_file = np.argsort(file_of, kind="stable")
        borders = np.searchsorted(file_of, np.arange(len(self._versions) + 1), sorter=by_file)
        for path in dict.fromkeys([*order, *self._ids]):
            if self._is_stored(path):
                file = self._ids[path]
                own = records[by_file[borders[file] : borders[file + 1]]]
                yield path, own[np.argsort(own["start"])]

    def append(self, paths: list[str], records: np.ndarray) -> None:
        """Store one batch: `records[i]` (of `self.dtype`, `file` still open) is a window of `paths[i]`."""
        new = []
        for path in dict.fromkeys(paths):
            if not self.windows_done(path):
                self._ids.pop(path, None)  # so that a changed file moves to the end of the order
                self._ids[path] = file = len(self._versions)
                self._versions[file] = _file_version(path)
                new.append({"file": file, "path": path, "version": self._versions[file]})
        self._write_lines(new)
        _sync(self._files)
        records["file"] = [self._ids[path] for path in paths]
        self._windows.write(records.tobytes())
        _sync(self._windows)
        self._note(records)

    def complete(self, path: str, windows: int) -> None:
        """Note that the file ended after this many windows, which are all stored.

        The note is synced with the next batch: if a power cut takes it, the file is only decoded again.
        """
        file = self._ids[path]
        self._counts[file] = windows
        self._write_lines([{"file": file, "windows": windows}])

    def forget(self, path: str) -> None:
        """Leave the file's windows, if there are any, out of `complete_files`."""
        self._ids.pop(path, None)

    def records(self) -> np.ndarray:
        """All stored windows, mapped from the disk; a torn record at the end is cut off."""
        path = self.folder / "windows.bin"
        count, torn = divmod(path.stat().st_size, self.dtype.itemsize)
        if torn:
            os.truncate(path, count * self.dtype.itemsize)
        if count == 0:  # an empty file cannot be mapped
            return np.empty(0, dtype=self.dtype)
        return np.memmap(path, dtype=self.dtype, mode="r", shape=(count,))

    def close(self) -> None:
        for handle in (self._windows, self._files, self._lock):
            if handle is not None:
                handle.close()
        self._lock = self._windows = self._files = None

    def remove(self) -> None:
        """Delete the journal's own files, and the folder if nothing else is in it."""
        self.close()
        shutil.rmtree(self.frames_folder, ignore_errors=True)
        for name in ("settings.json", "settings.json.partial", "files.jsonl", "windows.bin", "lock"):
            (self.folder / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.folder.rmdir()

    def _is_stored(self, path: str) -> bool:
        file = self._ids.get(path)
        return file in self._counts and len(self._done.get(file, ())) == self._counts[file]

    def _note(self, records: np.ndarray) -> None:
        for file, start in zip(records["file"].tolist(), records["start"].tolist(), strict=True):
            self._done.setdefault(file, set()).add(start)

    def _acquire(self) -> None:
        self._lock = open(self.folder / "lock", "a")
        if not lock_file(self._lock):
            self.close()
            raise ValueError(f"another run is writing to {self.folder}: wait for it or stop it first.")

    def _open(self) -> "Journal":
        self._windows = open(self.folder / "windows.bin", "ab")
        self._files = open(self.folder / "files.jsonl", "ab")
        return self

    def _write_lines(self, lines: list[dict]) -> None:
        self._files.write("".join(json.dumps(line) + "\n" for line in lines).encode("ascii"))
        self._files.flush()

    def _read_lines(self) -> list[dict]:
        path = self.folder / "files.jsonl"
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            os.truncate(path, len(whole))
        return [json.loads(line) for line in whole.splitlines()]


def _sync(handle) -> None:
    handle.flush()
    os.fsync(handle.fileno())


def _file_version(path: str) -> list[int]:
    """Size (bytes) and modification time (ns): a changed file is embedded anew."""
    try:
        status = os.stat(path)
    except OSError:  # gone since it was decoded
        return [-1, -1]
    return [status.st_size, status.st_mtime_ns]
