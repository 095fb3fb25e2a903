"""Frames [T, D] → one safetensors file per audio file, and a manifest of them."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np

from ..models.configuration_muq import MuQConfig
from ..storage.json_lines import read_json_lines, to_json_lines
from ..storage.whole_files import replace_text, write_json
from .embed_settings import EmbedSettings
from .journal import Journal
from .sources import path_text


HEADER_BYTES = 1024  # of a safetensors file, its length field included; frames can be written before their number is known
MANIFEST = "manifest.jsonl"
SETTINGS = "embed_settings.json"
STEM_CHARACTERS = 60  # of the audio file's name in the name of its frames; file systems allow 255 bytes


class FrameStore:
    """Frames go to a file of their own in the journal window by window; `finish` puts all of them in place.

    The output folder holds `manifest.jsonl` (path, file, frames, start, end, layer, model, revision, fingerprint),
    `embed_settings.json` and `NAME-HASH.safetensors` with the tensor "frames".
    """

    vector_shape = (0,)  # nothing but the windows' places goes to the journal

    def __init__(self, output: Path, settings: EmbedSettings, vector_size: int, config: MuQConfig):
        self.output = output
        self.settings = settings
        self.vector_size = vector_size
        self.sampling_rate = config.sampling_rate
        self.samples_per_frame = config.samples_per_frame
        self._in_manifest: dict[str, dict] = {}  # path as text → its line
        self._begun: set[str] = set()  # by this process, as the journal hears of a window after its frames are written

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

    def is_finished(self, path: str) -> bool:
        return path_text(path) in self._in_manifest

    def append(self, journal: Journal, paths: list[str], records: np.ndarray, values: list[np.ndarray]) -> None:
        """values: for each window, its kept frames [n, D]; written at their place in the file, then noted."""
        journal.frames_folder.mkdir(exist_ok=True)
        for path, record, frames in zip(paths, records, values, strict=True):
            position = int(record["start"]) // self.samples_per_frame * self._bytes_per_frame
            begun = path in self._begun or journal.windows_done(path)
            self._begun.add(path)
            with open(journal.frames_folder / frames_name(path), "rb+" if begun else "wb") as file:
                file.seek(HEADER_BYTES + position)
                file.write(np.ascontiguousarray(frames, dtype="<f4").tobytes())
                file.flush()
                os.fsync(file.fileno())
        journal.append(paths, records)

    def complete(self, journal: Journal, path: str, windows: int) -> None:
        """Give the file of frames its header."""
        whole = journal.frames_folder / frames_name(path)
        if whole.exists():  # else a run that was cut off in `finish` has moved it
            num_frames = (whole.stat().st_size - HEADER_BYTES) // self._bytes_per_frame
            with open(whole, "rb+") as file:
                file.write(self._header(num_frames))
                file.flush()
                os.fsync(file.fileno())
        journal.complete(path, windows)

    def finish(self, journal: Journal, order: list[str]) -> int:
        """Add the new files, replace the manifest, delete what only the old one named → number of files in the new one.

        Wherever this is cut off, the manifest and the files that it names belong together.
        """
        self.output.mkdir(parents=True, exist_ok=True)
        lines = dict(self._in_manifest)
        for path, records in journal.complete_files(order):
            line = lines[path_text(path)] = self._line(path, journal.version(path), records)
            whole = journal.frames_folder / frames_name(path)
            if whole.exists():  # else a run that was cut off here has moved it
                os.replace(whole, self.output / line["file"])
        old = self._old_names(journal)
        write_json(self.output / SETTINGS, self.settings.to_dict())
        replace_text(self.output / MANIFEST, to_json_lines(lines.values()))
        for name in old - {line["file"] for line in lines.values()}:
            (self.output / name).unlink(missing_ok=True)
        return len(lines)

    def _old_names(self, journal: Journal) -> set[str]:
        """Files that the old manifest names: the journal keeps it for a run that is cut off after it was replaced."""
        copy = journal.frames_folder / MANIFEST
        if self.exists(self.output) and not copy.exists():
            copy.parent.mkdir(exist_ok=True)
            replace_text(copy, (self.output / MANIFEST).read_text("utf-8"))
        return {Path(line["file"]).name for line in read_json_lines(copy)} if copy.exists() else set()

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

    def _line(self, path: str, version: list[int], records: np.ndarray) -> dict:
        return {
            "path": path_text(path),
            "file": frames_name(path, f"{self.settings.fingerprint} {version}"),
            "frames": int(records["frames"].sum()),
            "start": float(records["start"].min() / self.sampling_rate),
            "end": float(records["end"].max() / self.sampling_rate),
            "layer": self.settings.layers[0],
            "model": self.settings.model,
            "revision": self.settings.revision,
            "fingerprint": self.settings.fingerprint,
        }


def frames_name(path: str, made_from: str = "") -> str:
    """→ a file name that tells the song; songs of the same name, and frames made from something else, have another."""
    stem = "".join(c if c.isalnum() or c in " -_.()" else "_" for c in Path(path_text(path)).stem)[:STEM_CHARACTERS]
    identity = os.fsencode(os.path.abspath(path)) + made_from.encode("ascii")
    return f"{stem}-{hashlib.sha256(identity).hexdigest()[:12]}.safetensors"
