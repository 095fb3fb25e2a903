"""Random crops of tracks. Each is a pure function of (seed, number), so two runs, any workers and a resumed run agree."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from ..audio import AudioError
from ..models.decoding_muq import open_audio, resample
from ..models.masking_muq import choose_blocks
from ..storage.json_lines import read_json_lines, to_json_lines
from ..storage.whole_files import replace_text
from .tracks import Skipped, Track


MAX_ATTEMPTS = 50  # tracks tried for one crop before giving up
MISSING_SECONDS = 0.05  # that a file may be shorter than its header says; the crop's end is then silence
CROP, MASK = 0, 1  # separate random streams of one crop


@dataclass(frozen=True)
class BlockMasking:
    """Which blocks of a crop are masked, and by what noise (arXiv 2501.01108, section 3.3)."""

    block_samples: int
    probability: float
    noise_std: float

    @classmethod
    def from_config(cls, config) -> "BlockMasking":
        return cls(config.mask_frames * config.samples_per_frame, config.mask_prob, config.mask_noise_std)

    def draw(self, num_samples: int, random: np.random.Generator) -> dict[str, torch.Tensor]:
        """→ block_mask [num_samples // block] bool with at least one block masked, mask_noise [num_samples]."""
        num_blocks = num_samples // self.block_samples
        mask = choose_blocks(torch.from_numpy(random.random(num_blocks)), self.probability)
        noise = self.noise_std * random.standard_normal(num_samples, dtype=np.float32)
        return {"block_mask": mask, "mask_noise": torch.from_numpy(noise)}


class SkipLog:
    """Tracks that could not be read, in a file that all processes append to, each line at once."""

    def __init__(self, path: Path):
        self.path = Path(path)

    def add(self, skipped: Skipped) -> None:
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(to_json_lines([asdict(skipped)]))

    def read(self) -> list[Skipped]:
        """Each track once."""
        if not self.path.exists():
            return []
        return list({item.name: item for item in (Skipped(**row) for row in read_json_lines(self.path))}.values())

    def remove(self, names: frozenset[str]) -> None:
        """Drop the entries of these tracks: the files may have been repaired, and broken ones are found again."""
        if self.path.exists():
            replace_text(self.path, to_json_lines(asdict(item) for item in self.read() if item.name not in names))


def read_crop(track: Track, start: float, num_samples: int, sampling_rate: int, channel: float | None) -> np.ndarray:
    """float32 [num_samples] of `track` from `start` (s, from the start of the track), by seeking.

    channel: a number in [0, 1) that picks one of the channels, or None for their mean. Raises AudioError.
    """
    with open_audio(track.source()) as reader:
        rate = reader.sampling_rate
        needed = math.ceil(num_samples * rate / sampling_rate) + 1
        blocks, found = [], 0
        for block in reader.blocks(round((track.start + start) * rate), needed):
            blocks.append(block)
            found += len(block)
            if found >= needed:
                break
        if found < needed - MISSING_SECONDS * rate:
            raise AudioError(
                "unreadable", f"{track.name} ends {(needed - found) / rate:.2f} s before the end that its header names."
            )
        frames = np.concatenate(blocks)[:needed]  # [n, C]
        wave = frames.mean(axis=1) if channel is None else frames[:, int(channel * reader.channels)]
    if not np.isfinite(wave).all():
        raise AudioError("unreadable", f"{track.name} holds NaN or infinite samples.")
    wave = resample(np.ascontiguousarray(wave, dtype=np.float32), rate, sampling_rate)[:num_samples]
    return np.pad(wave, (0, num_samples - len(wave)))


class ClipDataset(Dataset):
    """Crop number n falls into track slot n modulo the number of whole clips in all tracks.

    tracks: each at least one clip long; config: a MuQConfig or MelRVQConfig; masking: None to draw no masks; stored: what was
    computed of the tracks (`StoredTargets`, `StoredLatents`), crops then start on whole frames.
    An item holds input_values [S], and where asked for block_mask, mask_noise, and what is stored of the crop.
    """

    def __init__(
        self,
        tracks: list[Track],
        config,
        clip_seconds: float,
        seed: int,
        channel: str = "random",
        masking: BlockMasking | None = None,
        stored=None,
        skip_log: SkipLog | None = None,
    ):
        if stored is not None and channel != "mix":
            raise ValueError('what is stored describes the mean of all channels: set `channel` to "mix".')
        self.tracks = tracks
        self.sampling_rate = config.sampling_rate
        self.samples_per_frame = config.samples_per_frame
        self.num_frames = int(clip_seconds * config.sampling_rate) // config.samples_per_frame
        self.num_samples = self.num_frames * config.samples_per_frame
        shortest = config.min_samples if masking is None else masking.block_samples
        if self.num_samples < shortest:
            raise ValueError(
                f"`clip_seconds` of {clip_seconds:g} s is too short: at least {shortest / config.sampling_rate:.2f} s are needed."
            )
        self.seed, self.mix = seed, channel == "mix"
        self.masking, self.stored, self.skip_log = masking, stored, skip_log
        clip = self.num_samples / self.sampling_rate
        self._slots = np.cumsum([max(1, int(track.duration / clip)) for track in tracks])
        self._broken: set[int] = set()

    def __len__(self) -> int:
        """Whole clips in all tracks."""
        return int(self._slots[-1])

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        random = np.random.default_rng([self.seed, number, CROP])
        slot = number % len(self)
        for _ in range(MAX_ATTEMPTS):
            index = int(np.searchsorted(self._slots, slot, side="right"))
            item = self._crop(index, *random.random(2))
            if item is not None:
                break
            slot = int(random.integers(len(self)))
        else:
            raise ValueError(f"{MAX_ATTEMPTS} tracks in a row cannot be read, the last: {self.tracks[index].name}.")
        if self.masking is not None:
            item |= self.masking.draw(self.num_samples, np.random.default_rng([self.seed, number, MASK]))
        return item

    def _crop(self, index: int, position: float, channel: float) -> dict[str, torch.Tensor] | None:
        """The crop at `position` in [0, 1) of the track's possible starts, or None for a broken track."""
        track = self.tracks[index]
        if index in self._broken:
            return None
        room = int(track.duration * self.sampling_rate) - self.num_samples  # samples
        start = int(position * (max(0, room) + 1))
        if self.stored is not None:
            start -= start % self.samples_per_frame
        try:
            wave = read_crop(
                track, start / self.sampling_rate, self.num_samples, self.sampling_rate, None if self.mix else channel
            )
            item = {"input_values": torch.from_numpy(wave)}
            if self.stored is not None:
                item |= self.stored.of_clip(track, start // self.samples_per_frame, self.num_frames)
            return item
        except AudioError as error:
            self._broken.add(index)
            if self.skip_log is not None:
                self.skip_log.add(Skipped(track.name, error.reason, str(error)))
            return None


class ClipSampler(Sampler[int]):
    """Crop numbers of one epoch: all slots in random order, filled up to whole batches; no number comes twice in a run."""

    def __init__(self, num_clips: int, multiple_of: int, seed: int):
        self.length = math.ceil(num_clips / multiple_of) * multiple_of
        self.seed, self.epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.length)
        yield from (order + self.epoch * self.length).tolist()


def evenly_spread(dataset: ClipDataset, num_clips: int) -> torch.utils.data.Subset:
    """`num_clips` fixed crops over all tracks of `dataset`."""
    slots = len(dataset)
    numbers = [index * slots // num_clips for index in range(num_clips)] if num_clips <= slots else list(range(num_clips))
    return torch.utils.data.Subset(dataset, numbers)
