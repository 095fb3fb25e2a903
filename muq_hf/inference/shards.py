"""The unit of all embedding: a shard of files → one Parquet fragment under a fixed name, and its failures.

Done means that the fragment is there, so doing a shard twice does no harm, and any engine may hand shards out: the loop of
`embed_files`, Ray (`ray_engine`), an array of jobs.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from ..storage.remote import Folder, file_version
from .decoding_worker import DecodeTask, FileEnd, FileFailure, FileWindow
from .embed_model import EmbeddingModel, encoder_config, encoder_of, load_embedding_model, require_model, window_plan
from .embed_run import EmbedRun
from .embed_settings import EmbedSettings
from .encode_loop import changed, encode_files, not_finite
from .parquet_store import SongWindows, rows_to_parquet
from .shard_plan import Shard, ShardPlan, fragment_name


MAX_WORKERS = 16


@dataclass(frozen=True)
class Receipt:
    """What became of a shard. error: why it could not be done; then nothing of it is recorded.

    stops: "storage" or "worker" if the error is not the shard's, and no other one could be done either.
    """

    shard: int
    rows: int = 0
    files: int = 0
    failures: int = 0
    audio_seconds: float = 0.0
    seconds: float = 0.0
    error: str = ""
    stops: str = ""


@dataclass
class _OpenShard:
    """A shard whose files are being decoded and encoded."""

    shard: Shard
    started: float
    versions: dict[str, str]
    songs: dict[str, SongWindows]  # that are not whole yet
    rows: dict[str, list[tuple]] = field(default_factory=dict)
    failures: dict[str, FileFailure] = field(default_factory=dict)
    samples: int = 0

    @property
    def is_whole(self) -> bool:
        return len(self.rows) + len(self.failures) == len(self.shard.files)


def default_workers() -> int:
    return max(1, min(MAX_WORKERS, (os.cpu_count() or 1) - 1))


class ShardWorker:
    """Embeds shards of the run in the folder `output`: `worker(12)` → its Receipt. It is done once, and found done from then on.

    Args:
        output: folder or address of the run, in which `embed_files` or `ray_engine.embed` wrote settings and plan.
        model: folder, Hub id or loaded model; the same as that of the run.
        workers: decoding processes; 0: a thread.

    Raises ValueError, naming the difference, for another model than the run's.
    """

    def __init__(
        self,
        output: str | os.PathLike | Folder,
        model: str | os.PathLike | EmbeddingModel,
        *,
        revision: str | None = None,
        device: str = "auto",
        dtype: str = "float32",
        batch_size: int = 8,
        workers: int | None = None,
        settings: EmbedSettings | None = None,
        plan: ShardPlan | None = None,
        on_batch: Callable[[float], None] = lambda seconds: None,
        on_file: Callable[[FileFailure | None], None] = lambda failure: None,
    ):
        """settings, plan: of the run, where they are at hand; else they are read and the model is checked.

        on_batch(seconds of audio), on_file(its failure, if it failed): called as the work goes on.
        """
        folder = output if isinstance(output, Folder) else Folder(output)
        self.run_state = EmbedRun(folder)
        self.settings = self.run_state.stored_settings()[0] if settings is None else settings
        _, self.model = load_embedding_model(model, revision, device, dtype)
        if settings is None:
            require_model(self.settings, self.model, folder.address)
        self._encoder = encoder_of(self.model, self.settings)
        self._windows = window_plan(self.model, self.settings)
        self._rate = encoder_config(self.model).sampling_rate
        self._plan = plan
        self._batch_size = batch_size
        self._workers = default_workers() if workers is None else workers
        self._on_batch, self._on_file = on_batch, on_file
        self._open: dict[str, _OpenShard] = {}  # path → its shard

    def __call__(self, number: int) -> Receipt:
        """Embed one shard of the plan, unless its fragment is there."""
        if self._plan is None or number not in self._plan.numbers:
            self._plan = ShardPlan.load(self.run_state.folder)
        if self.run_state.folder.exists(fragment_name(number)):
            return Receipt(number, files=self._plan.num_files([number]))
        return next(self.run([number]))

    def run(self, numbers: Iterable[int]) -> Iterator[Receipt]:
        """Embed shards of the plan one after another, the next one being decoded while the last is encoded."""
        if self._plan is None:
            self._plan = ShardPlan.load(self.run_state.folder)
        numbers = list(numbers)
        self._open.clear()
        self._whole: list[_OpenShard] = []
        tasks = self._tasks(numbers)
        workers = min(self._workers, self._plan.num_files(numbers))
        for batch in encode_files(tasks, self._encoder, self, self._batch_size, workers):
            self._on_batch(sum(window.end - window.start for window in batch) / self._rate)
            yield from self._write_whole()
        yield from self._write_whole()

    def add(self, window: FileWindow, vectors: np.ndarray) -> None:
        """vectors [L, P] of a window. (`encode_loop.Collector`)"""
        opened = self._open.get(window.path)
        if opened is None or window.path in opened.failures:  # what is left of a file that failed
            return
        opened.samples += window.end - window.start
        if not np.isfinite(vectors).all():
            self._fail(opened, not_finite(window, self._rate))
            return
        first, last = window.kept
        opened.songs[window.path].add(window.segment, window.start, window.end, last - first, vectors)
        self._complete_if_whole(opened, window.path)

    def end(self, message: FileEnd | FileFailure) -> None:
        """(`encode_loop.Collector`)"""
        opened = self._open.get(message.path)
        if opened is None or message.path in opened.failures:
            return
        if isinstance(message, FileFailure):
            self._fail(opened, message)
        else:
            opened.songs[message.path].num_windows = message.windows
            self._complete_if_whole(opened, message.path)

    def _tasks(self, numbers: list[int]) -> Iterator[DecodeTask]:
        """Asked for in the threads of the decoding pool, one at a time."""
        for number in numbers:
            shard = self._plan.shard(number)
            versions = dict(shard.files)
            opened = _OpenShard(shard, time.monotonic(), versions, {path: SongWindows(path) for path in versions})
            self._open |= dict.fromkeys(versions, opened)
            for path, _ in shard.files:
                yield DecodeTask(path, self._windows)

    def _complete_if_whole(self, opened: _OpenShard, path: str) -> None:
        song = opened.songs[path]
        if not song.is_whole:
            return
        if file_version(path) not in ("", opened.versions[path]):
            self._fail(opened, changed(path))
            return
        opened.rows[path] = song.rows(self.settings, self._rate)
        del opened.songs[path]
        self._on_file(None)
        self._close_if_whole(opened)

    def _fail(self, opened: _OpenShard, failure: FileFailure) -> None:
        opened.failures[failure.path] = failure
        opened.songs.pop(failure.path, None)
        self._on_file(failure)
        self._close_if_whole(opened)

    def _close_if_whole(self, opened: _OpenShard) -> None:
        if opened.is_whole:
            self._whole.append(opened)

    def _write_whole(self) -> Iterator[Receipt]:
        while self._whole:
            opened = self._whole.pop(0)
            paths = [path for path, _ in opened.shard.files]
            rows = [row for path in paths for row in opened.rows.get(path, ())]
            failures = [opened.failures[path] for path in paths if path in opened.failures]
            fragment = rows_to_parquet(rows, self.settings, self._encoder.vector_size)
            self.run_state.write_shard(opened.shard.number, fragment, failures)
            for path in paths:
                del self._open[path]
            yield Receipt(
                shard=opened.shard.number,
                rows=len(rows),
                files=len(paths),
                failures=len(failures),
                audio_seconds=opened.samples / self._rate,
                seconds=time.monotonic() - opened.started,
            )
