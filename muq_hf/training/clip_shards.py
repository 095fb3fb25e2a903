"""Clips in Parquet shards, for more music than one wants to list, seek in or hash: written once, shuffled, and streamed.

A folder with
    clips.json               length and rate of the clips, their number in each shard
    shard-00012.parquet      clips in random order: FLAC bytes, mono, 16 bit; the name of the track, and the clip's start (s)
    eval/                    clips of tracks that are only evaluated on, as files
    training_files.jsonl     the tracks of the shards with their SHA-256
"""

import inspect
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
import torch
from torch.utils.data import IterableDataset as TorchIterableDataset

from ..audio import AudioError
from ..storage.training_record import write_record
from ..storage.whole_files import write_json
from .clips import MASK, BlockMasking, read_crop
from .run_folder import training_files
from .tracks import Skipped, Track, find_tracks, keep_long, split_tracks


META = "clips.json"
EVAL_FOLDER = "eval"
SHARD_SCHEMA = pa.schema({"audio": pa.binary(), "track": pa.string(), "start": pa.float64(), "number": pa.int64()})
READ_BYTES = 1 << 20
CLIPS_AT_ONCE = 16  # of 30 s: about 12 MB that a reader holds


def is_clip_shards(folder: str | Path) -> bool:
    return (Path(folder) / META).exists()


def write_clip_shards(
    data: str | Path,
    folder: str | Path,
    clip_seconds: float = 30.0,
    num_shards: int = 64,
    sampling_rate: int = 24_000,
    eval_share: float = 0.05,
    num_eval_clips: int = 64,
    seed: int = 0,
) -> list[Skipped]:
    """Cut all music of `data` (see `find_tracks`) into clips side by side, and write them in random order → what is left out.

    A rest shorter than a clip is dropped. `num_shards`: a multiple of all numbers of processes that shall train on them.
    Raises ValueError where there is no music, or fewer clips than shards.
    """
    folder = Path(folder)
    if is_clip_shards(folder):
        raise ValueError(f"{folder} already holds clips: choose another folder.")
    tracks, skipped = find_tracks(data)
    tracks, short = keep_long(tracks, clip_seconds)
    train, evaluation = split_tracks(tracks, eval_share)
    folder.mkdir(parents=True, exist_ok=True)
    clips = np.array([(index, n) for index, track in enumerate(train) for n in range(int(track.duration / clip_seconds))])
    if len(clips) < num_shards:
        raise ValueError(f"{len(clips)} clips of {clip_seconds:g} s are fewer than {num_shards} shards: take fewer shards.")
    np.random.default_rng(seed).shuffle(clips)
    broken: dict[str, Skipped] = {}
    counts = []
    for number, places in enumerate(np.array_split(np.arange(len(clips)), num_shards)):
        rows = []
        for place in places.tolist():
            track, start = train[clips[place][0]], float(clips[place][1]) * clip_seconds
            if (audio := _flac(track, start, clip_seconds, sampling_rate, broken)) is not None:
                rows.append({"audio": audio, "track": track.name, "start": start, "number": place})
        table = pa.Table.from_pylist(rows, SHARD_SCHEMA)
        options = {"row_group_size": CLIPS_AT_ONCE, "compression": "none", "use_dictionary": ["track"]}
        pq.write_table(table, folder / f"shard-{number:05d}.parquet", **options)
        counts.append(len(rows))
    (folder / EVAL_FOLDER).mkdir(exist_ok=True)
    for number, track in enumerate(evaluation[:num_eval_clips]):
        if (audio := _flac(track, 0.0, clip_seconds, sampling_rate, broken)) is not None:
            (folder / "eval" / f"{number:05d}.flac").write_bytes(audio)
    write_record(folder, training_files([track for track in train if track.name not in broken], True, []))
    write_json(folder / META, {"clip_seconds": clip_seconds, "sampling_rate": sampling_rate, "clips": counts})
    return [*skipped, *short, *broken.values()]


def _flac(track: Track, start: float, seconds: float, rate: int, broken: dict[str, Skipped]) -> bytes | None:
    if track.name in broken:
        return None
    try:
        wave = read_crop(track, start, int(seconds * rate), rate, channel=None)
    except AudioError as error:
        broken[track.name] = Skipped(track.name, error.reason, str(error))
        return None
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(wave, -1.0, 1.0), rate, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def _rows(files: list[str]) -> Iterator[dict]:
    for file in files:
        with pq.ParquetFile(file, buffer_size=READ_BYTES) as shard:
            for batch in shard.iter_batches(CLIPS_AT_ONCE, use_threads=False):
                yield from batch.to_pylist()


class StreamedClips(TorchIterableDataset):
    """The clips of this process, epoch after epoch, each epoch in another order of the shards.

    An item holds input_values [S], and with `masking` block_mask and mask_noise. Its masks depend on seed, epoch and clip alone.
    `state_dict()` tells where the stream is; a stream that loads it goes on with the next clip.
    Raises ValueError for clips of another length or rate than the model takes, and for a number of shards that is no multiple
    of the processes.
    """

    def __init__(
        self,
        folder: str | Path,
        config,
        clip_seconds: float,
        seed: int,
        masking: BlockMasking | None = None,
        rank: int = 0,
        world_size: int = 1,
    ):
        self.folder = Path(folder)
        meta = json.loads((self.folder / META).read_text("utf-8"))
        for name, wanted in (("clip_seconds", clip_seconds), ("sampling_rate", config.sampling_rate)):
            if meta[name] != wanted:
                raise ValueError(f"the clips in {folder} have {name} {meta[name]:g}, {wanted:g} is asked for.")
        if len(meta["clips"]) % world_size:
            raise ValueError(
                f"{len(meta['clips'])} shards cannot be dealt out evenly to {world_size} processes: write the clips with a "
                "number of shards that is a multiple of it."
            )
        self.num_clips = sum(meta["clips"])
        num_frames = int(clip_seconds * config.sampling_rate) // config.samples_per_frame
        self.num_samples = num_frames * config.samples_per_frame
        self.seed, self.masking, self.rank, self.world_size = seed, masking, rank, world_size
        self._epoch = 0
        self._clips = self._read()
        self._stream = self._open(0)

    def state_dict(self) -> dict:
        return {"epoch": self._epoch, "stream": self._stream.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        self._epoch = state["epoch"]
        self._stream = self._open(self._epoch)
        self._stream.load_state_dict(state["stream"])

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        while True:
            for row in self._stream:
                yield self.item(row)
            self._epoch += 1
            self._stream = self._open(self._epoch)

    def item(self, row: dict) -> dict[str, torch.Tensor]:
        wave, _ = soundfile.read(io.BytesIO(row["audio"]), dtype="float32")
        item = {"input_values": torch.from_numpy(wave[: self.num_samples])}
        if self.masking is not None:
            random = np.random.default_rng([self.seed, self._epoch, row["number"], MASK])
            item |= self.masking.draw(self.num_samples, random)
        return item

    def _read(self):
        """`datasets` makes shards of a list that a generator is given. (Its own streams of Parquet wait 5 s at each start.)"""
        from datasets import IterableDataset

        files = sorted(map(str, self.folder.glob("shard-*.parquet")))
        return IterableDataset.from_generator(_rows, gen_kwargs={"files": files})

    def _open(self, epoch: int):
        """The stream of one epoch. With a buffer of one clip it can be resumed exactly: the clips were shuffled when written."""
        from datasets.distributed import split_dataset_by_node

        seed = int(np.random.default_rng([self.seed, epoch]).integers(2**31))
        options = {"seed": seed, "buffer_size": 1}
        if "max_buffer_input_shards" in inspect.signature(self._clips.shuffle).parameters:
            options["max_buffer_input_shards"] = 1  # newer versions would hold ten open shards in memory
        return split_dataset_by_node(self._clips.shuffle(**options), self.rank, self.world_size)
