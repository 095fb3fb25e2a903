"""Frames [T, D] → one safetensors file per audio file, and a manifest of them."""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..models.configuration_muq import MuQConfig
from ..storage.json_lines import read_json_lines, to_json_lines
from ..storage.remote import file_version, is_remote
from ..storage.whole_files import replace_text, write_json
from .decoding_worker import FileEnd, FileFailure, FileWindow
from .embed_settings import EmbedSettings
from .encode_loop import changed, not_finite
from .sources import path_text


HEADER_BYTES = 1024  # of a safetensors file, its length field included; frames can be written before their number is known
MANIFEST = "manifest.jsonl"
SETTINGS = "embed_settings.json"
LINE_SUFFIX = ".line.json"
STEM_CHARACTERS = 60  # of the audio file's name in the name of its frames; file systems allow 255 bytes


class FrameStore:
    """Frames of a file are written to a file of their own, window by window; `finish` puts all of them in place.

    The output folder holds `manifest.jsonl` (path, file, frames, start, end, layer, model, revision, fingerprint),
    `embed_settings.json` and `NAME-HASH.safetensors` with the tensor "frames". Until the run ends its files lie in `partial`,
    each with its line of the manifest beside it once it is whole.
    """

    def __init__(self, output: Path, partial: Path, settings: EmbedSettings, vector_size: int, config: MuQConfig):
        self.output = output
        self.partial = partial
        self.settings = settings
        self.vector_size = vector_size
        self.sampling_rate = config.sampling_rate
        self.samples_per_frame = config.samples_per_frame
        self.failures: dict[str, FileFailure] = {}
        self.on_file: Callable[[FileFailure | None], None] = lambda failure: None
        self._in_manifest: dict[str, dict] = {}  # path as text → its line
        self._songs: dict[str, _Song] = {}  # begun by this process

    @staticmethod
    def check_output(output: Path) -> None:
        if output.is_file() or output.suffix.lower() == ".parquet":
            raise ValueError(f"with --pool none, --output must be a folder, got {str(output)!r}.")
        if not Path(os.path.abspath(output)).name:
            raise ValueError(f"--output must be a folder with a name, got {str(output)!r}: take one inside it.")
        if FrameStore.exists(output) and not (output / SETTINGS).exists():  # a manifest of something else
            raise ValueError(f"{output} is no output of `muq-hf embed --pool none`: use another --output.")

    @staticmethod
    def exists(output: Path) -> bool:
        return (output / MANIFEST).exists()

    @property
    def failures_file(self) -> Path:
        return self.output / "failures.jsonl"

    def load_finished(self) -> None:
        """Keep the files of a finished folder of the same settings."""
        try:
            stored = EmbedSettings.from_dict(json.loads((self.output / SETTINGS).read_text("utf-8")))
            self._in_manifest = {line["path"]: line for line in read_json_lines(self.output / MANIFEST)}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{self.output} is no output of `muq-hf embed --pool none`: use another --output.") from error
        self.settings.require_same(stored, str(self.output))

    def has_files(self) -> bool:
        """Whether there is anything for a manifest to list."""
        return bool(self._in_manifest) or any(self.partial.glob(f"*{LINE_SUFFIX}"))

    def is_finished(self, path: str) -> bool:
        """Whether the frames of the file, as it is now, are whole."""
        return path_text(path) in self._in_manifest or self._line_file(path).exists()

    def add(self, window: FileWindow, frames: np.ndarray) -> None:
        """Write the kept frames [n, D] of a window at their place in the file. (`encode_loop.Collector`)"""
        if window.path in self.failures:
            return
        if not np.isfinite(frames).all():
            self._fail(not_finite(window, self.sampling_rate))
            return
        song = self._song(window.path)
        position = window.start // self.samples_per_frame * self._bytes_per_frame
        with open(song.file, "rb+" if song.windows else "wb") as file:
            file.seek(HEADER_BYTES + position)
            file.write(np.ascontiguousarray(frames, dtype="<f4").tobytes())
        song.windows += 1
        song.frames += len(frames)
        song.end = max(song.end, window.end)
        self._complete_if_whole(song)

    def end(self, message: FileEnd | FileFailure) -> None:
        """(`encode_loop.Collector`)"""
        if message.path in self.failures:
            return
        if isinstance(message, FileFailure):
            self._fail(message)
        else:
            song = self._song(message.path)
            song.num_windows = message.windows
            self._complete_if_whole(song)

    def finish(self, order: list[str]) -> int:
        """Add the new files, replace the manifest, delete what only the old one named → number of files in the new one.

        Wherever this is cut off, the manifest and the files that it names belong together.
        """
        self.output.mkdir(parents=True, exist_ok=True)
        lines = dict(self._in_manifest)
        for line in self._new_lines(order):
            lines[line["path"]] = line
            whole = self.partial / line["file"]
            if whole.exists():  # else a run that was cut off here has moved it
                os.replace(whole, self.output / line["file"])
        old = self._old_names()
        write_json(self.output / SETTINGS, self.settings.to_dict())
        replace_text(self.output / MANIFEST, to_json_lines(lines.values()))
        for name in old - {line["file"] for line in lines.values()}:
            (self.output / name).unlink(missing_ok=True)
        return len(lines)

    def clear(self) -> None:
        """Delete what is left of the run in `partial`."""
        for pattern in ("*.safetensors", f"*{LINE_SUFFIX}*", MANIFEST):
            for path in self.partial.glob(pattern):
                path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.partial.rmdir()

    def _song(self, path: str) -> "_Song":
        if path not in self._songs:
            self.partial.mkdir(parents=True, exist_ok=True)
            version = file_version(path)
            self._songs[path] = _Song(path, version, self.partial / self._name(path, version))
        return self._songs[path]

    def _complete_if_whole(self, song: "_Song") -> None:
        """Give the file of frames its header, and then its line."""
        if song.windows != song.num_windows:
            return
        if file_version(song.path) != song.version:
            self._fail(changed(song.path))
            return
        with open(song.file, "rb+") as file:
            file.write(self._header(song.frames))
            file.flush()
            os.fsync(file.fileno())
        write_json(self._line_file(song.path), self._line(song))
        del self._songs[song.path]
        self.on_file(None)

    def _fail(self, failure: FileFailure) -> None:
        self.failures[failure.path] = failure
        song = self._songs.pop(failure.path, None)
        if song is not None:
            song.file.unlink(missing_ok=True)
        self.on_file(failure)

    def _new_lines(self, order: list[str]) -> list[dict]:
        """Lines of all files that are whole, those of `order` first. A file that changed since then is a failure."""
        stored = {file.name: json.loads(file.read_text("utf-8")) for file in self.partial.glob(f"*{LINE_SUFFIX}")}
        first = []
        for path in order:
            if path in self.failures or path_text(path) in self._in_manifest:
                continue
            name = self._line_file(path).name
            if name in stored:
                first.append(stored.pop(name))
            else:
                self.failures[path] = changed(path)
        asked = set(map(path_text, order))
        return first + [line for line in stored.values() if line["path"] not in asked]

    def _old_names(self) -> set[str]:
        """Files that the old manifest names: a copy is kept for a run that is cut off after it was replaced."""
        copy = self.partial / MANIFEST
        self.partial.mkdir(parents=True, exist_ok=True)
        if self.exists(self.output) and not copy.exists():
            replace_text(copy, (self.output / MANIFEST).read_text("utf-8"))
        return {Path(line["file"]).name for line in read_json_lines(copy)} if copy.exists() else set()

    def _name(self, path: str, version: str) -> str:
        return frames_name(path, f"{self.settings.fingerprint} {version}")

    def _line_file(self, path: str) -> Path:
        return self.partial / (self._name(path, file_version(path)) + LINE_SUFFIX)

    @property
    def _bytes_per_frame(self) -> int:
        return 4 * self.vector_size

    def _header(self, num_frames: int) -> bytes:
        """The first bytes of a safetensors file: the length of the JSON (8 bytes), the JSON, padded with spaces."""
        length = num_frames * self._bytes_per_frame
        tensor = {"dtype": "F32", "shape": [num_frames, self.vector_size], "data_offsets": [0, length]}
        metadata = {
            "fingerprint": self.settings.fingerprint,
            "layer": str(self.settings.layers[0]),
            "frame_rate": str(self.sampling_rate / self.samples_per_frame),
        }
        content = json.dumps({"__metadata__": metadata, "frames": tensor}).encode("ascii").ljust(HEADER_BYTES - 8)
        return len(content).to_bytes(8, "little") + content

    def _line(self, song: "_Song") -> dict:
        return {
            "path": path_text(song.path),
            "file": song.file.name,
            "frames": song.frames,
            "start": 0.0,
            "end": float(song.end / self.sampling_rate),
            "layer": self.settings.layers[0],
            "model": self.settings.model,
            "revision": self.settings.revision,
            "fingerprint": self.settings.fingerprint,
        }


@dataclass
class _Song:
    """A file whose frames are being written."""

    path: str
    version: str
    file: Path
    num_windows: int | None = None  # known at the file's end
    windows: int = 0
    frames: int = 0
    end: int = 0  # samples


def frames_name(path: str, made_from: str = "") -> str:
    """→ a file name that tells the song; songs of the same name, and frames made from something else, have another."""
    stem = "".join(c if c.isalnum() or c in " -_.()" else "_" for c in Path(path_text(path)).stem)[:STEM_CHARACTERS]
    identity = os.fsencode(path if is_remote(path) else os.path.abspath(path)) + made_from.encode("ascii")
    return f"{stem}-{hashlib.sha256(identity).hexdigest()[:12]}.safetensors"
