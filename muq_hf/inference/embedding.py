"""Bulk embedding: music files → one Parquet table of vectors, or frames per file."""

import operator
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm
from transformers import PreTrainedConfig

from ..devices import DTYPES, resolve_device
from ..models.configuration_muq_mulan import MuQMuLanConfig, is_mulan_config
from ..models.modeling_muq import MuQModel
from ..models.modeling_muq_mulan import MuQMuLanAudioModelWithProjection
from ..storage.fingerprint import weights_hash
from ..storage.json_lines import read_json_lines, to_json_lines
from ..storage.manifests import BAD_LINE, BadLine
from ..storage.whole_files import replace_text
from ..version import __version__
from .decoding_pool import DecodingPool
from .decoding_worker import DecodeTask, FileEnd, FileFailure, FileWindow, Message
from .embed_settings import EmbedSettings
from .encoding import WindowEncoder, resolve_layers
from .frame_store import FrameStore
from .joint import JOINT_LAYERS, JOINT_POOL, JointEncoder, check_joint_options
from .journal import Journal
from .parquet_store import ParquetStore
from .segments import WindowPlan
from .sources import collect_inputs, path_text


POOLS = ("mean", "max", "mean+std", "none")
WINDOW_LENGTH_S = 30.0
LOOK_AHEAD = 4  # batches of decoded windows to choose neighbours in length from
MAX_WORKERS = 16


@dataclass(frozen=True)
class EmbedReport:
    """What a run did. rows: in the table, or files in the manifest; the other numbers and the failures: of this run alone.

    `failures_file` lists the failures of earlier runs too whose files are still not in the output.
    """

    output: Path
    rows: int
    files: int
    failures: list[FileFailure]
    failures_file: Path
    audio_seconds: float
    seconds: float


def embed_files(
    inputs: str | os.PathLike | Iterable[str | os.PathLike],
    model: str | os.PathLike | MuQModel | MuQMuLanAudioModelWithProjection,
    output: str | os.PathLike,
    *,
    layer: int | Sequence[int] = -1,
    pool: str = "mean",
    chunk_length_s: float | None = None,
    window_length_s: float | None = None,
    stride_length_s: float = 0.0,
    device: str = "auto",
    dtype: str = "float32",
    batch_size: int = 8,
    workers: int | None = None,
    revision: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
) -> EmbedReport:
    """Embed audio files, folders and manifests (see `collect_inputs`) into `output`.

    One row per file and layer, pooled over all of its frames; with `chunk_length_s` one row per chunk of that length. Audio
    longer than `window_length_s` (default: 30, or what a MuQ-MuLan hears at once) is seen in windows, each with
    `stride_length_s` of context on both sides. With `pool="none"` the output is a folder of frames [T, D], one safetensors
    file per audio file. A MuQ-MuLan gives the vectors of its joint space, of length 1; `layer` and `pool` stay as they are.

    A loaded `model` stays where it is and as it is, but for its mode: it is put into evaluation mode. `resume` continues a run
    that was cut off, and adds new files to a finished output; `overwrite` replaces it. Files that cannot be embedded are
    listed in the report and in `failures_file`, and are not in the output.
    Raises ValueError for wrong options, other settings than those of the output to resume, and inputs without any file.
    """
    started = time.monotonic()
    output = Path(output)
    layer = [operator.index(index) for index in (layer if isinstance(layer, Iterable) else [layer])]
    store_class = _check_options(output, pool, layer, chunk_length_s, batch_size, resume, overwrite)
    bad_lines: list[BadLine] = []
    paths = collect_inputs(inputs, bad_lines.append)
    name, model = _load_model(model, revision, device, dtype)
    is_joint = model.config.model_type == MuQMuLanConfig.model_type
    config = model.config.audio_config if is_joint else model.config
    if window_length_s is None:
        window_length_s = model.config.clip_seconds if is_joint else WINDOW_LENGTH_S
    if is_joint:
        check_joint_options(model.config, layer, pool, window_length_s, stride_length_s)
        layers, pool = JOINT_LAYERS, JOINT_POOL
    else:
        layers = resolve_layers(layer, config.num_hidden_layers)
    plan = WindowPlan.from_seconds(config, chunk_length_s, window_length_s, stride_length_s)
    weights = weights_hash(model)
    settings = EmbedSettings(
        model=name,
        revision=getattr(model.config, "_commit_hash", None) or f"sha256:{weights[:12]}",
        weights=weights,
        dtype=str(model.dtype).removeprefix("torch."),
        layers=layers,
        pool=pool,
        chunk_length_s=chunk_length_s,
        window_length_s=window_length_s,
        stride_length_s=stride_length_s,
        version=__version__,
    )
    encoder = JointEncoder(model.eval()) if is_joint else WindowEncoder(model.eval(), layers, pool)
    store = store_class(output, settings, encoder.vector_size, config)
    known = _read_failures(store.failures_file) if resume else []
    run = _Run(store, _open_journal(store, output, settings, resume), encoder, progress)
    run.failures |= {f"{line.manifest}:{line.number}": _failure_of_line(line) for line in bad_lines}
    try:
        run.process(paths, plan, batch_size, _default_workers() if workers is None else workers)
        rows = run.finish(paths)
    finally:
        run.journal.close()
        _write_failures(store.failures_file, [*run.not_mended(known, paths), *run.failures.values()])
    run.journal.remove()
    return EmbedReport(
        output=output,
        rows=rows,
        files=len(paths) + len(bad_lines),
        failures=list(run.failures.values()),
        failures_file=store.failures_file,
        audio_seconds=run.audio_samples / config.sampling_rate,
        seconds=time.monotonic() - started,
    )


class _Run:
    """One run: decoded windows → batches → model → store, with the count of each file's windows."""

    def __init__(self, store: ParquetStore | FrameStore, journal: Journal, encoder: WindowEncoder, progress: bool):
        self.store = store
        self.journal = journal
        self.encoder = encoder
        self.failures: dict[str, FileFailure] = {}
        self.audio_samples = 0
        self._progress = progress
        self._stored: dict[str, int] = {}  # unfinished files → windows stored
        self._windows: dict[str, int] = {}  # files read to their end → windows in all

    def process(self, paths: list[str], plan: WindowPlan, batch_size: int, workers: int) -> None:
        """Store every window of every file that is not stored yet."""
        open_paths = [path for path in paths if not self._is_finished(path)]
        tasks = [DecodeTask(path, plan, self.journal.windows_done(path)) for path in open_paths]
        self._stored = {task.path: len(task.done) for task in tasks}
        self._bar = tqdm(
            total=len(paths), initial=len(paths) - len(tasks), unit="file", disable=not self._progress, dynamic_ncols=True
        )
        self._clock = time.monotonic()
        with self._bar, DecodingPool(tasks, min(workers, len(tasks)), max_waiting=2 * batch_size) as decoded:
            for batch in bucket_by_length(decoded, decoded.waiting, batch_size, self._end_file):
                self._embed(batch)

    def finish(self, paths: list[str]) -> int:
        """Put the output in place, without any file that failed → its rows."""
        for path in paths:
            if path not in self.failures and not self._is_finished(path):
                message = f"{path} changed while it was read: run again with --resume."
                self.failures[path] = FileFailure(path, "unreadable", message)
        for path in self.failures:
            self.journal.forget(path)
        return self.store.finish(self.journal, paths)

    def not_mended(self, known: list[FileFailure], paths: list[str]) -> list[FileFailure]:
        """Failures of earlier runs whose files have neither been embedded nor failed again."""
        by_text = {path_text(path): path for path in paths}
        of_path = {by_text.get(failure.path, failure.path): failure for failure in known if failure.reason != BAD_LINE}
        return [of_path[path] for path in of_path if path not in self.failures and not self._is_finished(path)]

    def _is_finished(self, path: str) -> bool:
        return self.store.is_finished(path) or self.journal.is_complete(path)

    def _embed(self, windows: list[FileWindow]) -> None:
        values = self.encoder(windows)
        finite = [bool(np.isfinite(value).all()) for value in values]
        for window, is_finite in zip(windows, finite, strict=True):
            if not is_finite and window.path not in self.failures:
                seconds = window.start / self.encoder.model.config.sampling_rate
                message = f"{window.path}: the model's output is not finite at {seconds:.1f} s; try --dtype float32."
                self._fail(FileFailure(window.path, "not finite", message))
        good = [index for index, window in enumerate(windows) if window.path not in self.failures]
        if good:
            self._store([windows[index] for index in good], [values[index] for index in good])
        self.audio_samples += sum(window.end - window.start for window in windows)
        seconds = self.audio_samples / self.encoder.model.config.sampling_rate
        self._bar.set_postfix_str(f"{seconds / (time.monotonic() - self._clock):.1f} audio-s/s")

    def _store(self, windows: list[FileWindow], values: list[np.ndarray]) -> None:
        records = np.zeros(len(windows), self.journal.dtype)
        for record, window in zip(records, windows, strict=True):
            first, last = window.kept
            record["segment"], record["start"], record["end"] = window.segment, window.start, window.end
            record["frames"] = last - first
        self.store.append(self.journal, [window.path for window in windows], records, values)
        for window in windows:
            self._stored[window.path] += 1
            self._complete_if_whole(window.path)

    def _end_file(self, message: FileEnd | FileFailure) -> None:
        if isinstance(message, FileFailure):
            self._fail(message)
        else:
            self._windows[message.path] = message.windows
            self._complete_if_whole(message.path)

    def _complete_if_whole(self, path: str) -> None:
        if path not in self.failures and self._windows.get(path) == self._stored[path]:
            self.store.complete(self.journal, path, self._windows.pop(path))
            self._bar.update()

    def _fail(self, failure: FileFailure) -> None:
        self.failures[failure.path] = failure
        if self._progress:
            tqdm.write(f"{failure.reason}: {failure.message}", file=sys.stderr)
        self._bar.update()


def bucket_by_length(
    messages: Iterable[Message],
    waiting: Callable[[], bool],
    batch_size: int,
    end_file: Callable[[FileEnd | FileFailure], None],
) -> Iterator[list[FileWindow]]:
    """Windows → batches of windows of similar length; other messages go to `end_file` as they come.

    Of the windows at hand a batch takes the oldest and those nearest to it in length, so none waits for ever. More windows
    than one batch are gathered only while `waiting()` says that they come at once, and LOOK_AHEAD batches at most.
    """
    held: list[FileWindow] = []
    for message in messages:
        if not isinstance(message, FileWindow):
            end_file(message)
            continue
        held.append(message)
        while len(held) >= LOOK_AHEAD * batch_size or (len(held) >= batch_size and not waiting()):
            yield _take_batch(held, batch_size)
    while held:
        yield _take_batch(held, batch_size)


def _take_batch(held: list[FileWindow], batch_size: int) -> list[FileWindow]:
    length = len(held[0].audio)
    nearest = sorted(range(len(held)), key=lambda index: abs(len(held[index].audio) - length))[:batch_size]
    batch = [held[index] for index in nearest]
    for index in sorted(nearest, reverse=True):
        del held[index]
    return batch


def _check_options(
    output: Path,
    pool: str,
    layers: list[int],
    chunk_length_s: float | None,
    batch_size: int,
    resume: bool,
    overwrite: bool,
) -> type[ParquetStore] | type[FrameStore]:
    """Everything that can be refused before the model is loaded → the kind of output."""
    if pool not in POOLS:
        raise ValueError(f"`pool` must be one of {', '.join(POOLS)}, got {pool!r}.")
    if batch_size < 1:
        raise ValueError(f"the batch size must be at least 1, got {batch_size}.")
    if resume and overwrite:
        raise ValueError("--resume keeps what is there and --overwrite replaces it: choose one.")
    if pool == "none" and chunk_length_s is not None:
        raise ValueError("--chunk-length-s makes rows of pooled vectors; --pool none writes all frames of a file.")
    if pool == "none" and len(layers) > 1:
        raise ValueError(f"--pool none writes the frames of one layer, got {len(layers)} layers.")
    store_class = FrameStore if pool == "none" else ParquetStore
    store_class.check_output(output)
    if not (resume or overwrite):
        if Journal.exists(_journal_folder(output)):
            raise ValueError(f"an unfinished run of {output} is there: --resume continues it, --overwrite starts again.")
        if store_class.exists(output):
            raise ValueError(f"{output} exists: --resume adds new files to it, --overwrite replaces it.")
    return store_class


def _journal_folder(output: Path) -> Path:
    return Path(os.path.abspath(output) + ".partial")  # "." alone has no name


def _open_journal(store: ParquetStore | FrameStore, output: Path, settings: EmbedSettings, resume: bool) -> Journal:
    """Continue the unfinished run if there is one to resume, else begin."""
    output.parent.mkdir(parents=True, exist_ok=True)
    folder = _journal_folder(output)
    journal = Journal(folder, store.vector_shape)
    unfinished = resume and Journal.exists(folder)
    replaces = not resume
    if unfinished:
        stored, replaces = Journal.stored_settings(folder)
        settings.require_same(stored, str(folder))
    if not replaces and store.exists(output):
        store.load_finished()
    return journal.reopen() if unfinished else journal.create(settings, replaces)


def _load_model(
    model: str | os.PathLike | MuQModel | MuQMuLanAudioModelWithProjection, revision: str | None, device: str, dtype: str
) -> tuple[str, MuQModel | MuQMuLanAudioModelWithProjection]:
    """→ the name to record, and the model ready to run."""
    if isinstance(model, (MuQModel, MuQMuLanAudioModelWithProjection)):
        return model.name_or_path or type(model).__name__, model
    if not isinstance(model, str | os.PathLike):
        kinds = f"{MuQModel.__name__} or {MuQMuLanAudioModelWithProjection.__name__}"
        raise TypeError(f"`model` must be a folder, a Hub id or a loaded {kinds}, got a {type(model).__name__}.")
    if dtype not in DTYPES:
        raise ValueError(f"`dtype` must be one of {', '.join(DTYPES)}, got {dtype!r}.")
    place = resolve_device(device)
    arguments = {} if revision is None else {"revision": revision}
    config, _ = PreTrainedConfig.get_config_dict(model, **arguments)
    kind = MuQMuLanAudioModelWithProjection if is_mulan_config(config) else MuQModel
    return os.fspath(model), kind.from_pretrained(model, dtype=DTYPES[dtype], **arguments).to(place)


def _failure_of_line(line: BadLine) -> FileFailure:
    return FileFailure(f"{line.manifest}:{line.number}", BAD_LINE, str(line))


def _default_workers() -> int:
    return max(1, min(MAX_WORKERS, (os.cpu_count() or 1) - 1))


def _read_failures(path: Path) -> list[FileFailure]:
    if not path.exists():
        return []
    try:
        return [FileFailure(**line) for line in read_json_lines(path)]
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"{path} is no list of failures of `muq-hf embed`: move it away.") from error


def _write_failures(path: Path, failures: list[FileFailure]) -> None:
    """Write the list, or delete what an earlier run left there."""
    lines = [{"path": path_text(f.path), "reason": f.reason, "message": path_text(f.message)} for f in failures]
    if lines:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_text(path, to_json_lines(lines))
    else:
        path.unlink(missing_ok=True)
