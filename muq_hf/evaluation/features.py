"""Frozen features, computed once per model: decoded in threads, encoded in batches, kept in a memory-mapped store."""

import json
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr
import torch
from tqdm.auto import tqdm

from ..audio import AudioError, load_audio
from ..devices import torch_threads
from ..models.pooling_muq import FrameStatistics, frame_statistics, join_statistics, pool_statistics
from ..storage.row_file import RowFile
from ..storage.whole_files import lock_file, write_json
from .clip import Clip
from .encoders import Encoder
from .labels import FRAME_RATE


CPU_BATCH_SECONDS, GPU_BATCH_SECONDS = 30.0, 240.0  # audio in one forward pass; on a CPU more only takes memory
SMALL_MODEL = 50_000_000  # parameters, up to which several batches at once are quicker, and fit
LOOK_AHEAD_SECONDS = 1200.0  # audio decoded ahead, of which clips of one length share a batch
SORT_EVERY_CLIPS = 64  # after so many clips the buffer is encoded if it holds LOOK_AHEAD_SECONDS
MAX_BUFFERED_SECONDS = 3600.0  # of decoded audio, 350 MB at 24 kHz; a fuller buffer is encoded at once
RMS_LEVEL = 0.1  # of full scale, −20 dB: the one loudness of clips that are equalised
COMMON_RATE = 20_000  # Hz; some recordings have nothing above 10 kHz, and equalised ones lose it
MAX_FAILED_SHARE = 0.05  # unreadable clips beyond which a set is refused
POOLED_DTYPE, FRAMES_DTYPE = np.float32, np.float16
FRAMES = "frames"  # in place of a pool, of features that are not pooled
PARTS = {"mean": (0, 1), "std": (1, 2), "max": (2, 3), "mean+std": (0, 2)}  # of a layer's [3·D], for each of `POOLS`
NUM_PARTS = 3


class FeatureStore:
    """The features of one model in a folder: rows of all layers side by side.

    A clip has one row, in which each layer's mean, deviation and maximum [3·D] are, or with `per_frame` one row [D] per frame.
    Whoever makes one and adds to it holds `lock_features`.
    """

    def __init__(self, folder: Path, encoder: Encoder, per_frame: bool):
        self.folder, self.per_frame = folder, per_frame
        self.dtype = np.dtype(FRAMES_DTYPE if per_frame else POOLED_DTYPE)
        self._meta_file = folder / "meta.json"
        self._meta = {"model": encoder.name, "fingerprint": encoder.fingerprint}
        self.sizes: list[int] | None = None  # D of each layer
        self._rows: RowFile | None = None
        if self._meta_file.exists():
            self._open(json.loads(self._meta_file.read_text(encoding="utf-8"))["sizes"])

    @property
    def pools(self) -> tuple[str, ...]:
        """What `read` can give."""
        return (FRAMES,) if self.per_frame else tuple(PARTS)

    def __contains__(self, key: str) -> bool:
        return self._rows is not None and key in self._rows

    def add(self, keys: Sequence[str], layers: list[list[np.ndarray]]) -> None:
        """layers: for each clip, for each layer [n, D] of its frames, or [1, 3·D] of its statistics."""
        if self._rows is None:
            sizes = [layer.shape[-1] // self._parts for layer in layers[0]]
            write_json(self._meta_file, {**self._meta, "sizes": sizes, "dtype": self.dtype.name})
            self._open(sizes)
        self._rows.add(keys, [np.concatenate(clip_layers, axis=1) for clip_layers in layers])

    def read(self, keys: Sequence[str], layer: int, pool: str, rows: np.ndarray | None = None) -> np.ndarray:
        """→ [R, D] float32 ([R, 2·D] for "mean+std"): the clips' rows one after the other, or those of them numbered `rows`."""
        begin, end = (0, 1) if pool == FRAMES else PARTS[pool]
        size, first = self.sizes[layer], self._parts * sum(self.sizes[:layer])
        places = np.concatenate([np.arange(start, start + count) for start, count in map(self._rows.place, keys)])
        places = places if rows is None else places[rows]
        return np.ascontiguousarray(self._rows.table[places, first + begin * size : first + end * size], dtype=np.float32)

    def counts(self, keys: Sequence[str]) -> np.ndarray:
        """Rows of each clip [N]."""
        return np.array([self._rows.place(key)[1] for key in keys])

    @property
    def _parts(self) -> int:
        """Numbers that a row holds for each feature."""
        return 1 if self.per_frame else NUM_PARTS

    def _open(self, sizes: list[int]) -> None:
        self.sizes = sizes
        self._rows = RowFile(self.folder / "data.bin", self.folder / "index.jsonl", self.dtype, self._parts * sum(sizes))


@contextmanager
def lock_features(folder: Path) -> Iterator[None]:
    """Hold the right to add features to `folder`; wait while another run has it."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "a") as lock:
        if not lock_file(lock):
            print(f"another run adds to {folder}: waiting for it.", file=sys.stderr)
            lock_file(lock, wait=True)
        yield


@dataclass(frozen=True)
class Features:
    """Features of the clips that could be read, in their order. failures: a message for each of the others."""

    clips: list[Clip]
    keys: list[str]
    store: FeatureStore
    layer_names: tuple[str, ...]
    failures: list[str]

    @property
    def pools(self) -> tuple[str, ...]:
        """Ways in which the frames of a clip can be pooled: `POOLS`, or for frame features `FRAMES` alone."""
        return self.store.pools

    def layer(self, layer: int, pool: str, rows: np.ndarray | None = None) -> np.ndarray:
        """[R, D] float32: one row per clip, or per frame of the clips one after the other; or some, those numbered `rows`."""
        return self.store.read(self.keys, layer, pool, rows)

    @property
    def counts(self) -> np.ndarray:
        """Rows of each clip [N]."""
        return self.store.counts(self.keys)


def extract(
    encoder: Encoder,
    clips: Sequence[Clip],
    cache: Path,
    per_frame: bool = False,
    equalised: bool = False,
    workers: int = 2,
    progress: bool = True,
) -> Features:
    """Features of all clips, from the cache where it has them.

    equalised: bring every clip to one RMS level and bandwidth first.
    Raises ValueError if more than 5 % of the clips cannot be read.
    """
    kind = ("frames" if per_frame else "statistics") + ("-equalised" if equalised else "")
    folder = cache / encoder.fingerprint / kind
    keys, failures, found = _keys(clips)
    check_failures(failures, len(clips))
    with lock_features(folder):
        store = FeatureStore(folder, encoder, per_frame)
        pending = [(key, clip) for key, clip in zip(keys, found, strict=True) if key not in store]
        pending = list(dict(pending).items())  # a clip that is listed twice is encoded once
        bar = tqdm(total=len(pending), desc=encoder.name, unit="clip", disable=not progress or not pending, file=sys.stderr)
        with bar:
            for keys_of_batch, rows in _encoded(encoder, _decoded(pending, encoder, equalised, workers, failures), per_frame):
                store.add(keys_of_batch, rows)
                bar.update(len(rows))
    check_failures(failures, len(clips))
    kept = [(key, clip) for key, clip in zip(keys, found, strict=True) if key in store]
    return Features([clip for _, clip in kept], [key for key, _ in kept], store, encoder.layer_names, failures)


def check_failures(failures: Sequence[str], total: int) -> None:
    """Raises ValueError if more than 5 % of `total` clips could not be read."""
    if len(failures) > MAX_FAILED_SHARE * total:
        raise ValueError(f"{len(failures)} of {total} clips cannot be read, the first: {failures[0]}")


def _keys(clips: Sequence[Clip]) -> tuple[list[str], list[str], list[Clip]]:
    keys, failures, found = [], [], []
    for clip in clips:
        try:
            keys.append(clip.key)
            found.append(clip)
        except OSError as error:
            failures.append(f"{clip.path}: {error.strerror}")
    return keys, failures, found


def _decoded(pending, encoder: Encoder, equalised: bool, workers: int, failures: list[str]) -> Iterator[list]:
    """Batches of (key, wave [S]), each of one length and with as much audio as suits the device.

    Clips end with their last whole frame of 40 ms, so that nearly equal ones can share a batch.
    """

    def decode(item):
        key, clip = item
        try:
            wave = load_audio(clip.path, encoder.sampling_rate, start=clip.start, end=clip.end)
        except AudioError as error:
            return key, None, str(error)
        samples, frame = len(wave), encoder.sampling_rate // FRAME_RATE
        wave = wave[: samples - samples % frame or None]
        if len(wave) < encoder.min_samples:
            needed = f"{encoder.name} needs {encoder.min_samples} in whole frames of {frame}"
            return key, None, f"{clip.path}: {samples} samples are too few, {needed}."
        return key, equalise(wave, encoder.sampling_rate) if equalised else wave, None

    batch_seconds = CPU_BATCH_SECONDS if _is_on_cpu(encoder) else GPU_BATCH_SECONDS
    by_length: dict[int, list] = {}
    ahead = 0.0  # seconds
    with ThreadPoolExecutor(workers) as pool:
        for number, (key, wave, problem) in enumerate(_few_at_once(pool, decode, pending, workers), 1):
            if problem:
                failures.append(problem)
            else:
                by_length.setdefault(len(wave), []).append((key, wave))
                ahead += len(wave) / encoder.sampling_rate
            limit = MAX_BUFFERED_SECONDS if number % SORT_EVERY_CLIPS else LOOK_AHEAD_SECONDS
            if ahead >= limit or number == len(pending):
                for length, items in by_length.items():
                    size = max(1, int(batch_seconds * encoder.sampling_rate / length))
                    yield from (items[i : i + size] for i in range(0, len(items), size))
                by_length, ahead = {}, 0.0


def _few_at_once(pool: ThreadPoolExecutor, work, items: Iterable, most: int) -> Iterator:
    """The results of `pool.map`, with at most `most` of them waiting to be taken."""
    running: deque = deque()
    for item in items:
        running.append(pool.submit(work, item))
        if len(running) > most:
            yield running.popleft().result()
    while running:
        yield running.popleft().result()


def equalise(wave: np.ndarray, sampling_rate: int) -> np.ndarray:
    """The same [S] at `RMS_LEVEL` with nothing above half of `COMMON_RATE`; silence stays silent."""
    if sampling_rate > COMMON_RATE:
        narrow = soxr.resample(wave, sampling_rate, COMMON_RATE)
        wave = np.resize(soxr.resample(narrow, COMMON_RATE, sampling_rate), len(wave))
    rms = float(np.sqrt(np.mean(np.square(wave, dtype=np.float64))))
    return wave * np.float32(RMS_LEVEL / rms) if rms > 0 else wave


def _encoded(encoder: Encoder, batches: Iterator[list], per_frame: bool) -> Iterator[tuple[list[str], list]]:
    """Keys and features of one batch after the other.

    Of a small model on a CPU each core takes a batch: most steps are too small to share one.
    """
    threads = torch.get_num_threads() if _is_on_cpu(encoder) and _is_small(encoder) else 1

    def encode(batch: list) -> tuple[list[str], list]:
        return [key for key, _ in batch], _encode(encoder, np.stack([wave for _, wave in batch]), per_frame)

    with torch_threads(torch.get_num_threads() // threads), ThreadPoolExecutor(threads) as pool:
        yield from _few_at_once(pool, encode, batches, threads)


def _is_on_cpu(encoder: Encoder) -> bool:
    device = getattr(getattr(encoder, "model", None), "device", None)
    return device is None or device.type == "cpu"


def _is_small(encoder: Encoder) -> bool:
    model = getattr(encoder, "model", None)
    return model is None or sum(parameter.numel() for parameter in model.parameters()) <= SMALL_MODEL


def _encode(encoder: Encoder, waves: np.ndarray, per_frame: bool) -> list[list[np.ndarray]]:
    """waves [B, S] → for each clip, for each layer [n, D] of its frames, or [1, 3·D] of their mean, deviation and maximum."""
    pieces = _pieces(waves, encoder)
    if per_frame:
        parts = [encoder.frames(piece) for piece in pieces]
        layers = [np.concatenate(layer, axis=1) for layer in zip(*parts, strict=True)]  # L × [B, T, D]
    else:
        parts = [[_statistics(state) for state in encoder.states(piece)] for piece in pieces]
        joined = [join_statistics(layer) for layer in zip(*parts, strict=True)]
        layers = [torch.cat([pool_statistics(s, how) for how in ("mean+std", "max")], dim=-1)[:, None] for s in joined]
        layers = [layer.cpu().numpy() for layer in layers]  # L × [B, 1, 3·D]
    return [[layer[i] for layer in layers] for i in range(len(waves))]


def _statistics(states: torch.Tensor) -> FrameStatistics:
    """[B, T, D], or maps [B, C, H, W], which are pooled over both axes."""
    return frame_statistics(states if states.ndim == 3 else states.flatten(2).transpose(1, 2))


def _pieces(waves: np.ndarray, encoder: Encoder) -> list[np.ndarray]:
    """[B, S] cut between frames into as few parts as the encoder can take, of nearly one length."""
    frame = encoder.sampling_rate // FRAME_RATE  # samples
    longest = int(encoder.max_seconds * encoder.sampling_rate) // frame
    num_frames = -(-waves.shape[1] // frame)
    parts = -(-num_frames // longest)
    return np.split(waves, [num_frames * part // parts * frame for part in range(1, parts)], axis=1)
