"""Labelled clips for training: random crops with their targets, windows over whole clips, and the batches of both."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset

from ..audio import AudioError, audio_info, load_audio
from ..evaluation.clip import Clip
from ..models.classification_muq import IGNORED_LABEL
from ..models.windowing_muq import num_frames, plan_windows
from .clips import MAX_ATTEMPTS, SkipLog
from .tracks import Skipped


KEPT_SECONDS = 90.0  # clips up to this length are decoded once
MEMORY_SECONDS = 20_000.0  # of audio kept decoded, 1.9 GB at 24 kHz
NOISE_RANGE_DB = 40.0
CROP, MIX = 3, 4  # random streams of one crop, besides those of clips.py and captions.py


@dataclass(frozen=True)
class Augmentation:
    """gain_db: largest change of loudness (dB); noise_db: lowest signal-to-noise ratio (dB), None: no noise."""

    gain_db: float = 0.0
    noise_db: float | None = None

    def __call__(self, wave: np.ndarray, random: np.random.Generator) -> np.ndarray:
        if self.noise_db is not None:
            ratio = self.noise_db + NOISE_RANGE_DB * random.random()
            level = float(np.sqrt(np.mean(np.square(wave)))) * 10 ** (-ratio / 20)
            wave = wave + level * random.standard_normal(len(wave), dtype=np.float32)
        if self.gain_db:
            wave = wave * np.float32(10 ** (self.gain_db * random.uniform(-1, 1) / 20))
        return wave


class ClipReader:
    """Waves of labelled clips at the model's rate; short ones are decoded once and kept, up to `MEMORY_SECONDS` in all."""

    def __init__(self, sampling_rate: int, min_samples: int):
        self.sampling_rate, self.min_samples = sampling_rate, min_samples
        self._kept: dict[int, np.ndarray] = {}  # by the identity of a clip, which holds dictionaries
        self._kept_samples = 0
        self._lengths: dict[int, int] = {}

    def num_samples(self, clip: Clip) -> int:
        """Length of the whole clip. Raises AudioError."""
        if id(clip) not in self._lengths:
            end = audio_info(clip.path).duration if clip.end is None else min(clip.end, audio_info(clip.path).duration)
            self._lengths[id(clip)] = max(0, round((end - clip.start) * self.sampling_rate))
        return self._lengths[id(clip)]

    def read(self, clip: Clip, start: int, length: int) -> np.ndarray:
        """Samples `start` to `start + length` of the clip, or as many as it has [S]. Raises AudioError."""
        if id(clip) in self._kept:
            return self._kept[id(clip)][start : start + length]
        total = self.num_samples(clip)
        if total <= KEPT_SECONDS * self.sampling_rate and self._kept_samples + total <= MEMORY_SECONDS * self.sampling_rate:
            self._kept[id(clip)] = self._load(clip, 0, total)
            self._kept_samples += total
            return self.read(clip, start, length)
        return self._load(clip, start, length)

    def _load(self, clip: Clip, start: int, length: int) -> np.ndarray:
        first = clip.start + start / self.sampling_rate
        last = first + length / self.sampling_rate
        last = last if clip.end is None else min(last, clip.end)
        wave = load_audio(clip.path, self.sampling_rate, start=first, end=last)
        if len(wave) < self.min_samples:
            raise AudioError("too short", f"{clip.path} has {len(wave)} samples there; the model needs {self.min_samples}.")
        return wave


class LabelledCrops(Dataset):
    """Crop number n is a random stretch of clip n modulo their number: a pure function of (seed, n).

    targets: for each clip what it is to learn: [] or [K] of a clip, [T(, K)] of its frames.
    An item holds input_values [S], labels, and its number.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        targets: Sequence[np.ndarray],
        per_frame: bool,
        reader: ClipReader,
        samples_per_frame: int,
        clip_seconds: float,
        seed: int,
        augmentation: Augmentation,
        skip_log: SkipLog,
    ):
        self.clips, self.targets, self.per_frame, self.reader = list(clips), targets, per_frame, reader
        self.samples_per_frame = samples_per_frame
        self.length = max(1, int(clip_seconds * reader.sampling_rate) // samples_per_frame) * samples_per_frame
        self.seed, self.augmentation, self.skip_log = seed, augmentation, skip_log
        self._broken: set[int] = set()

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        random = np.random.default_rng([self.seed, number, CROP])
        index = number % len(self)
        for _ in range(MAX_ATTEMPTS):
            item = self._crop(index, random)
            if item is not None:
                return item | {"number": torch.tensor(number)}
            index = int(random.integers(len(self)))
        raise ValueError(f"{MAX_ATTEMPTS} clips in a row cannot be read, the last: {self.clips[index].path}.")

    def _crop(self, index: int, random: np.random.Generator) -> dict[str, torch.Tensor] | None:
        clip = self.clips[index]
        if index in self._broken:
            return None
        try:
            room = max(0, self.reader.num_samples(clip) - self.length)
            start = int(random.random() * (room + 1)) // self.samples_per_frame * self.samples_per_frame
            wave = self.reader.read(clip, start, self.length)
        except AudioError as error:
            self._broken.add(index)
            self.skip_log.add(Skipped(str(clip.path), error.reason, str(error)))
            return None
        labels = torch.as_tensor(self.targets[index])
        if self.per_frame:
            first = start // self.samples_per_frame
            labels = labels[first : first + num_frames(len(wave), self.samples_per_frame)]
        return {"input_values": torch.from_numpy(self.augmentation(wave, random)), "labels": labels}


class ClipWindows(Dataset):
    """Windows of `clip_seconds` side by side over whole clips.

    An item holds input_values [S] and its `place`: the clip's index, from which to which frame to keep, and samples kept.
    """

    def __init__(self, clips: Sequence[Clip], reader: ClipReader, samples_per_frame: int, clip_seconds: float):
        chunk = max(1, int(clip_seconds * reader.sampling_rate) // samples_per_frame) * samples_per_frame
        self.clips, self.reader, self.samples_per_frame = list(clips), reader, samples_per_frame
        self.windows = [
            (index, window)
            for index, clip in enumerate(self.clips)
            for window in plan_windows(reader.num_samples(clip), chunk, 0, 0, samples_per_frame, reader.min_samples)
        ]

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        index, window = self.windows[number]
        wave = self.reader.read(self.clips[index], window.start, window.end - window.start)
        return {"input_values": torch.from_numpy(wave), "place": self.place(number)}

    def place(self, number: int) -> torch.Tensor:
        index, window = self.windows[number]
        return torch.tensor([index, *window.kept_frames(self.samples_per_frame), window.keep_end - window.keep_start])


class CropCollator:
    """Items → a padded batch with attention_mask, or of kept states with frame_mask.

    With `mixup` each clip is mixed with another of the batch.

    mixup: α of Beta(α, α) (arXiv 1710.09412); drawn from the seed and the batch's first number. Mixed labels of classes become
    shares [B, num_classes].
    """

    def __init__(self, mixup: float, seed: int, num_classes: int | None):
        self.mixup, self.seed, self.num_classes = mixup, seed, num_classes

    def __call__(self, items: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        name, mask = ("states", "frame_mask") if "states" in items[0] else ("input_values", "attention_mask")
        rows = [item[name] for item in items]
        longest = max(map(len, rows))
        batch = {
            name: torch.nn.utils.rnn.pad_sequence(rows, batch_first=True),
            mask: torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows]),
        }
        if "place" in items[0]:
            return batch | {"place": torch.stack([item["place"] for item in items])}
        batch["labels"] = _padded_labels([item["labels"] for item in items])
        if self.mixup and len(items) > 1:
            self._mix(batch, int(items[0]["number"]))
        return batch

    def _mix(self, batch: dict, number: int) -> None:
        random = np.random.default_rng([self.seed, number, MIX])
        share = float(random.beta(self.mixup, self.mixup))
        other = torch.from_numpy(random.permutation(len(batch["labels"])))
        labels = batch["labels"]
        if not labels.is_floating_point():
            labels = torch.nn.functional.one_hot(labels, self.num_classes).float()
        batch["labels"] = share * labels + (1 - share) * labels[other]
        batch["input_values"] = share * batch["input_values"] + (1 - share) * batch["input_values"][other]
        batch["attention_mask"] = batch["attention_mask"] | batch["attention_mask"][other]


def _padded_labels(labels: list[torch.Tensor]) -> torch.Tensor:
    """Of clips [B(, K)]; of frames [B, T(, K)], ignored where an item has ended."""
    if labels[0].ndim == 0 or len({len(label) for label in labels}) == 1:
        return torch.stack(labels)
    longest = max(map(len, labels))
    ignored = math.nan if labels[0].is_floating_point() else IGNORED_LABEL
    padded = labels[0].new_full((len(labels), longest, *labels[0].shape[1:]), ignored)
    for row, label in zip(padded, labels, strict=True):
        row[: len(label)] = label
    return padded
