"""A set of music as one encoder sees it: its clips with their features, from audio or from a table of vectors."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F

from ..audio import AudioError, audio_info, find_audio
from ..storage.fingerprint import fingerprint
from ..storage.manifests import BadLine, is_manifest, manifest_rows
from .clip import Clip
from .encoders import Encoder
from .features import FRAMES, extract
from .labels import FRAME_RATE


EMBED_KEY, COMPARE_KEY = b"muq_hf", b"muq_hf_compare"  # of the metadata of tables: `muq-hf embed`'s, `write_table`'s
SHORTEST_CLIP = 0.1  # seconds


@dataclass(frozen=True)
class MusicSet:
    """One side of a comparison.

    made_with: what decides the numbers; sets are comparable if it is the same. seconds, rates: length (s) and sampling rate (Hz,
    NaN if unknown) of each clip's file [N]. rows: number of the clip that each row of features belongs to [R]. layers: name →
    features [R, D]. failures: why clips are missing.
    """

    source: str
    model: str
    made_with: str
    clips: list[Clip]
    seconds: np.ndarray
    rates: np.ndarray
    rows: np.ndarray
    layers: dict[str, np.ndarray]
    model_rate: float = float("nan")  # Hz
    failures: tuple[str, ...] = ()

    @property
    def files(self) -> np.ndarray:
        """The file of each clip as text [N]."""
        return np.array([str(clip.path) for clip in self.clips])

    def clip_means(self, layer: str) -> np.ndarray:
        """→ [N, D]: of several rows of a clip the mean."""
        features = self.layers[layer].astype(np.float64)
        if len(features) == len(self.clips):
            return features
        sums = np.zeros((len(self.clips), features.shape[1]))
        np.add.at(sums, self.rows, features)
        return sums / np.bincount(self.rows, minlength=len(self.clips))[:, None]


def find_clips(source: str | Path, clip_seconds: float | None) -> tuple[list[Clip], list[str]]:
    """A folder, audio file or manifest → clips of `clip_seconds` side by side (None: as they are), and what cannot be read.

    A manifest may give "start" and "end" (s) of each file. What is left at the end of a file is dropped. meta holds
    "seconds" and "rate" of each clip. Raises ValueError if nothing is there.
    """
    clips, failures = [], []
    for path, start, end in _stretches(Path(source), failures):
        try:
            info = audio_info(path)
        except AudioError as error:
            failures.append(str(error))
            continue
        end = info.duration if end is None else min(end, info.duration)
        parts = _parts(start, end, clip_seconds)
        if not parts:
            needed = SHORTEST_CLIP if clip_seconds is None else clip_seconds
            failures.append(f"{path} has {max(0.0, end - start):.2f} s of audio there; a clip has {needed:g} s.")
        for part_start, part_end in parts:
            meta = {"seconds": part_end - part_start, "rate": info.sampling_rate}
            clips.append(Clip(path, start=part_start, end=part_end, group=str(path), meta=meta))
    if not clips:
        first = f"; the first that cannot be used: {failures[0]}" if failures else "."
        raise ValueError(f"no clip of audio in {source}{first}")
    return clips, failures


def _stretches(source: Path, failures: list[str]) -> Iterator[tuple[Path, float, float | None]]:
    """(file, start, end) of what a source names; end None: to the end of the file. Bad lines are noted in `failures`."""
    if source.is_dir() or not is_manifest(source):
        yield from ((path, 0.0, None) for path in find_audio([source]))
        return
    for row in manifest_rows(source, lambda line: failures.append(str(line))):
        try:
            yield Path(row.path), row.seconds("start") or 0.0, row.seconds("end")
        except BadLine as line:
            failures.append(str(line))


def embed_clips(
    source: str,
    clips: Sequence[Clip],
    encoder: Encoder,
    layers: Sequence[int],
    cache: Path,
    row_seconds: float | None = None,
    equalised: bool = False,
    workers: int = 2,
    progress: bool = True,
) -> MusicSet:
    """Features of clips that `find_clips` found, cached in a folder. layers: numbers of the encoder's, negative from the end.

    row_seconds: several rows a clip, each the mean of the frames of so many seconds; None: one, of all frames.
    Raises ValueError for layers that the encoder does not have, and if more than 5 % of the clips cannot be read.
    """
    numbers = chosen_layers(layers, encoder)
    viewed = encoder if row_seconds is None else RowsOfSeconds(encoder, numbers, row_seconds)
    found = extract(viewed, clips, cache, row_seconds is not None, equalised, workers, progress)
    stored, pool = (numbers, "mean") if row_seconds is None else (range(len(numbers)), FRAMES)
    return MusicSet(
        source=source,
        model=encoder.name,
        made_with=fingerprint(encoder.fingerprint, row_seconds, equalised),
        clips=found.clips,
        seconds=np.array([clip.meta["seconds"] for clip in found.clips]),
        rates=np.array([clip.meta["rate"] for clip in found.clips], dtype=float),
        rows=np.repeat(np.arange(len(found.clips)), found.counts),
        layers={encoder.layer_names[number]: found.layer(place, pool) for place, number in zip(stored, numbers, strict=True)},
        model_rate=encoder.sampling_rate,
        failures=tuple(found.failures),
    )


def chosen_layers(layers: Sequence[int], encoder: Encoder) -> list[int]:
    """Numbers from 0, each once; a model with a single layer gives that. Raises ValueError for others than it has."""
    total = len(encoder.layer_names)
    if total == 1:
        return [0]
    wrong = [layer for layer in layers if not -total <= layer < total]
    if wrong:
        raise ValueError(f"{encoder.name} has layers 0 to {total - 1}, or −1 for the last; got {wrong[0]}.")
    return list(dict.fromkeys(layer % total for layer in layers))


class RowsOfSeconds(Encoder):
    """An encoder whose frames are the means of `row_seconds` each, of some of its layers."""

    def __init__(self, encoder: Encoder, layers: Sequence[int], row_seconds: float):
        if not row_seconds * FRAME_RATE >= 1:
            raise ValueError(f"a row must have at least {1 / FRAME_RATE:g} s, a frame, got {row_seconds:g} s.")
        self._encoder, self._layers, self._frames_per_row = encoder, list(layers), row_seconds * FRAME_RATE
        self.model = getattr(encoder, "model", None)
        self.name, self.sampling_rate = encoder.name, encoder.sampling_rate
        self.max_seconds, self.min_samples = encoder.max_seconds, encoder.min_samples
        self.layer_names = tuple(encoder.layer_names[layer] for layer in layers)
        self.fingerprint = fingerprint(encoder.fingerprint, "rows", self._layers, row_seconds)

    def frames(self, waves: np.ndarray) -> list[np.ndarray]:
        found = self._encoder.frames(waves)
        number = max(1, round(found[0].shape[1] / self._frames_per_row))
        states = (torch.from_numpy(found[layer]).transpose(1, 2) for layer in self._layers)
        return [F.adaptive_avg_pool1d(state, number).transpose(1, 2).numpy() for state in states]


def write_table(music: MusicSet, path: Path, spec: str, settings: dict) -> Path:
    """The set as a Parquet table with the columns of `muq-hf embed`'s and the files' rates, for later comparisons.

    spec: what `load_encoder` made the encoder of; settings: "row_seconds", "clip_seconds", "equalised". Paths stay names.
    """
    metadata = {"spec": spec, "model": music.model, "made_with": music.made_with, "model_rate": music.model_rate, **settings}
    columns: dict[str, list] = {name: [] for name in ("path", "start", "end", "rate", "layer", "embedding")}
    for layer, features in music.layers.items():
        for number, vector in zip(music.rows, features, strict=True):
            clip = music.clips[number]
            values = (str(clip.path), clip.start, clip.start + music.seconds[number], music.rates[number], layer, vector)
            for column, value in zip(columns.values(), values, strict=True):
                column.append(value)
    path.parent.mkdir(parents=True, exist_ok=True)
    vectors = pa.array(columns.pop("embedding"), pa.list_(pa.float32()))
    table = pa.table({**columns, "embedding": vectors}).replace_schema_metadata({COMPARE_KEY: json.dumps(metadata)})
    partial = path.with_name(path.name + ".partial")
    pq.write_table(table, partial)
    partial.replace(path)
    return path


def read_table(path: str | Path) -> MusicSet:
    """The set in a table of `muq-hf embed` or of `write_table`. Raises ValueError for other files."""
    settings = table_settings(path)
    if settings is None:
        raise ValueError(f"{path} is no table of `muq-hf embed` or of `muq-hf compare --save-reference`.")
    table = pq.read_table(path)
    if table.num_rows == 0:
        raise ValueError(f"{path} holds no rows.")
    names = {layer: _layer_name(layer, settings) for layer in table["layer"].unique().to_pylist()}
    layer_of = table["layer"].to_numpy(zero_copy_only=False)
    first = layer_of == layer_of[0]
    places = list(zip(*(table[name].to_numpy(zero_copy_only=False)[first] for name in ("path", "start", "end")), strict=True))
    clips = [Clip(Path(name), float(start), float(end), group=name) for name, start, end in dict.fromkeys(places)]
    number_of = {(str(clip.path), clip.start, clip.end): number for number, clip in enumerate(clips)}
    rows = np.array([number_of[(str(Path(name)), float(start), float(end))] for name, start, end in places])
    rates = np.full(len(clips), np.nan)
    if "rate" in table.column_names:
        rates[rows] = table["rate"].to_numpy()[first]
    vectors = table["embedding"].combine_chunks()
    vectors = vectors.flatten().to_numpy(zero_copy_only=False).reshape(table.num_rows, -1)
    is_embed = "weights" in settings
    return MusicSet(
        source=str(path),
        model=settings["model"],
        made_with=settings["fingerprint" if is_embed else "made_with"],
        clips=clips,
        seconds=np.array([clip.end - clip.start for clip in clips]),
        rates=rates,
        rows=rows,
        layers={name: vectors[layer_of == layer] for layer, name in names.items()},
        model_rate=settings.get("model_rate", float("nan")),
    )


def tables_in(source: str | Path) -> list[Path]:
    """The tables that a source is: itself, or those in a folder without audio; [] for audio and manifests."""
    source = Path(source)
    candidates = sorted(source.glob("*.parquet")) if source.is_dir() else [source]
    if source.suffix.lower() != ".parquet" and (not source.is_dir() or find_audio([source])):
        return []
    return [file for file in candidates if table_settings(file) is not None]


def table_settings(path: str | Path) -> dict | None:
    """What a table of `muq-hf embed` or of `write_table` was made with; None for other files, such as manifests."""
    try:
        schema = pq.read_schema(path)
        metadata = schema.metadata or {}
        if {"path", "start", "end", "layer", "embedding"} <= set(schema.names):
            return json.loads(metadata.get(COMPARE_KEY) or metadata[EMBED_KEY])
    except (pa.ArrowException, OSError, KeyError, ValueError):
        pass
    return None


def _layer_name(layer: int | str, settings: dict) -> str:
    if isinstance(layer, str):
        return layer
    return "joint" if settings.get("pool") == "joint" else f"layer {layer}"


def _parts(start: float, end: float, clip_seconds: float | None) -> list[tuple[float, float]]:
    if clip_seconds is None:
        return [(start, end)] if end - start >= SHORTEST_CLIP else []
    number = int((end - start) / clip_seconds + 1e-6)
    return [(start + i * clip_seconds, start + (i + 1) * clip_seconds) for i in range(number)]
