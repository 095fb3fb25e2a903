"""What one server serves: a table, the model that made it, and new songs as they come."""

import os
import sys
import threading
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path

import numpy as np

from ..audio import find_audio
from ..inference.embedding import embed_files
from ..inference.sources import path_text
from ..inference.tagging import read_labels
from .collection import Collection
from .flat_map import song_map
from .query_encoder import QueryEncoder
from .song_table import stamp_of


SECONDS_BETWEEN_LOOKS = 5.0


class Library:
    """`collection` is replaced as a whole when the table has changed, and `generation` counts how often."""

    def __init__(self, table: str | os.PathLike, encoder: QueryEncoder, labels: Sequence[str] | None = None):
        self.table, self.encoder = Path(table), encoder
        self.labels = list(labels or own_labels())
        self.generation = 0
        self._label_vectors = encoder.texts(self.labels)
        self._lock = threading.Lock()
        self._load()

    def _load(self) -> None:
        self._stamp = stamp_of(self.table)
        self.collection = Collection(self.table, self.labels, self._label_vectors)
        self._maps = {"pca": song_map(self.table, self.collection.song_vectors)}

    def reload_if_changed(self) -> bool:
        with self._lock:
            if stamp_of(self.table) == self._stamp:
                return False
            self._load()
            self.generation += 1
            return True

    def map(self, method: str) -> tuple[Collection, np.ndarray]:
        """→ the collection and its points [S, 2]; see `song_map`."""
        with self._lock:
            if method not in self._maps:
                self._maps[method] = song_map(self.table, self.collection.song_vectors, method)
            return self.collection, self._maps[method]


def own_labels() -> list[str]:
    """The words that songs are tagged with unless one brings a list of one's own."""
    with resources.as_file(resources.files(__package__) / "tags.txt") as file:
        return read_labels(file)[0]


class Watcher:
    """Looks into a folder every few seconds, embeds songs that are new and have stopped growing, and reloads the library.

    A file that cannot be embedded is reported once, and tried again when it has changed.
    """

    def __init__(self, library: Library, folder: str | os.PathLike, report: Callable[[str], None] | None = None):
        if not os.path.isdir(folder):
            raise ValueError(f"there is no folder {folder} to watch.")
        self.library, self.folder = library, folder
        self.report = report or (lambda line: print(line, file=sys.stderr, flush=True))
        self._stopped = threading.Event()
        self._seen: dict[str, tuple[int, int]] = {}  # path → size and time at the last look
        self._tried: dict[str, tuple[int, int]] = {}
        self._thread = threading.Thread(target=self._watch, name="watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()

    def look(self) -> int:
        """Once → how many songs were added."""
        known = set(self.library.collection.paths)
        now, ready = {}, []
        for path in find_audio([self.folder]):
            path = os.path.abspath(path)
            try:
                status = os.stat(path)
            except OSError:
                continue
            now[path] = (status.st_size, status.st_mtime_ns)
            if path_text(path) not in known and self._seen.get(path) == now[path] != self._tried.get(path):
                ready.append(path)
        self._seen = now
        if not ready:
            return 0
        self._tried |= {path: now[path] for path in ready}
        table, settings = self.library.table, self.library.collection.settings
        report = embed_files(
            ready,
            self.library.encoder.name,
            f"{table}/" if table.is_dir() else table,
            chunk_length_s=settings["chunk_length_s"],
            window_length_s=settings["window_length_s"],
            dtype=settings["dtype"],
            workers=1,
            resume=True,
            progress=False,
        )
        names = {path_text(path) for path in ready}
        failures = [failure for failure in report.failures if path_text(failure.path) in names]  # a folder lists earlier ones too
        for failure in failures:
            self.report(f"not added, {failure.reason}: {failure.message}")
        added = len(ready) - len(failures)
        if added:
            self.library.reload_if_changed()
            self.report(f"{added} new song{'s' if added > 1 else ''} added: {len(self.library.collection)} in all.")
        return added

    def _watch(self) -> None:
        while not self._stopped.wait(SECONDS_BETWEEN_LOOKS):
            try:
                self.look()
            except (ValueError, OSError) as error:
                self.report(f"the watched folder {self.folder}: {error}")
