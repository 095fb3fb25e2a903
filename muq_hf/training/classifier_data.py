"""The splits of a classifier's task as datasets, and the statistics of what its head sees."""

import json
import logging
from collections.abc import Sequence

import numpy as np
from torch.utils.data import Dataset

from ..audio import AudioError
from ..evaluation.clip import Clip
from ..evaluation.splits import SPLITS
from ..models.windowing_muq import num_frames
from ..storage.whole_files import write_json
from .arguments import crop_seed
from .classifier_task import ClassifierTask
from .encoder_states import MAX_KEPT_BYTES, EncoderStates, StateCrops, StateWindows
from .labelled_crops import Augmentation, ClipReader, ClipWindows, LabelledCrops
from .run_folder import RunFolder
from .standardised_head import layer_means, without_adapters
from .tracks import Skipped, check_failing_share


logger = logging.getLogger(__name__)

MAX_MEASURED_WINDOWS = 256  # of which the statistics are taken where no states are kept


class ClassifierData:
    """Crops to train on, and windows over whole clips to score: audio, or where nothing random touches it the encoder's states.

    Clips that cannot be read leave the task, and are told to the run's log.

    Attributes:
        clips: of each split, those that can be read.
        rows: what each training clip is to learn.
        keeps_states: whether the datasets hold states, so that a head alone is trained.
    """

    def __init__(self, task: ClassifierTask, model, settings, run: RunFolder):
        self.task, self.run, self.training, self.own = task, run, settings.training, settings.stage
        self.clip_seconds, self.max_failing_share = settings.data.clip_seconds, settings.data.max_failing_share
        self.model, config = without_adapters(model), model.config
        self.samples_per_frame = config.samples_per_frame
        self.reader = ClipReader(config.sampling_rate, config.min_samples)
        self.clips = {split: [clip for clip in task.clips[split] if self._has_audio(clip)] for split in SPLITS}
        self._check_clips()
        pooled = not task.per_frame and self.own.pool == "mean"
        windows = self._windows()
        states = EncoderStates(None, self.model, self.reader, pooled)
        num_bytes = sum(map(states.num_bytes, windows.values()))
        is_fixed = self.own.tune == "frozen" and not (
            self.own.mixup or self.own.augment_gain_db or self.own.augment_noise_db is not None
        )
        self.keeps_states = is_fixed and num_bytes <= MAX_KEPT_BYTES
        if is_fixed and not self.keeps_states:
            logger.warning(
                "the encoder's states of all clips take %.1f GB, and are computed anew in every epoch; `pool` mean, "
                "`weighted_layers` false or fewer clips keep them.",
                num_bytes / 1e9,
            )
        self.model.muq.to(self.training.device)
        with self.training.main_process_first(local=False, desc="encode the clips"):
            self._states = self._kept(pooled, windows) if self.keeps_states else states
            self.windows = self._windows() if self.keeps_states else windows
            self.mean, self.deviation = self._statistics()
        counts = [num_frames(self.reader.num_samples(clip), self.samples_per_frame) for clip in self.clips["train"]]
        self.rows = task.rows(self.clips["train"], counts)

    def train(self) -> Dataset:
        if self.keeps_states:
            seed = crop_seed(self.training)
            return StateCrops(self.windows["train"], self.rows, self.task.per_frame, self._states, seed)
        return LabelledCrops(
            self.clips["train"],
            self.rows,
            self.task.per_frame,
            self.reader,
            self.samples_per_frame,
            self.clip_seconds,
            crop_seed(self.training),
            Augmentation(self.own.augment_gain_db, self.own.augment_noise_db),
            self.run.skip_log,
        )

    def scored(self, split: str) -> Dataset:
        return StateWindows(self.windows[split], self._states) if self.keeps_states else self.windows[split]

    def _has_audio(self, clip: Clip) -> bool:
        try:
            found = self.reader.num_samples(clip)
        except AudioError as error:
            self.run.skip_log.add(Skipped(str(clip.path), error.reason, str(error)))
            return False
        if found < self.reader.min_samples:
            message = f"{clip.path} has {found} samples there; the model needs {self.reader.min_samples}."
            self.run.skip_log.add(Skipped(str(clip.path), "too short", message))
        return found >= self.reader.min_samples

    def _check_clips(self) -> None:
        """Raises ValueError if too many clips, or all of a split, cannot be read."""
        total = sum(map(len, self.task.clips.values()))
        missing = total - sum(map(len, self.clips.values()))
        check_failing_share(missing, total, self.max_failing_share, self.run.skip_log.read())
        empty = [split for split in SPLITS if not self.clips[split]]
        if empty:
            raise ValueError(f"no clip of the {empty[0]} split can be read.")

    def _windows(self) -> dict[str, ClipWindows]:
        lengths = self.samples_per_frame, self.clip_seconds
        return {split: ClipWindows(clips, self.reader, *lengths) for split, clips in self.clips.items()}

    def _kept(self, pooled: bool, windows: dict[str, ClipWindows]) -> EncoderStates:
        """The states of all windows; clips that turn out to be unreadable are left out."""
        states = EncoderStates(
            self.run.path / "states", self.model, self.reader, pooled, show_progress=not self.training.disable_tqdm
        )
        for split, clips in self.clips.items():
            broken = states.keep(windows[split], self.run.skip_log)
            self.clips[split] = [clip for index, clip in enumerate(clips) if index not in broken]
        self._check_clips()
        return states

    def _statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation [D] of the head's input over the training split; a resumed run takes those of its start."""
        kept = self.run.path / "head_input.json"
        if not kept.exists():
            mean, deviation = layer_means(self._training_states())
            write_json(kept, {"mean": mean.tolist(), "deviation": deviation.tolist()})
        stored = json.loads(kept.read_text(encoding="utf-8"))
        return np.array(stored["mean"]), np.array(stored["deviation"])

    def _training_states(self):
        windows = self.windows["train"]
        if self.keeps_states:
            yield from (self._states[windows.clips[index], window].numpy() for index, window in windows.windows)
            return
        for index, window in _evenly_spread(windows.windows, MAX_MEASURED_WINDOWS):
            try:
                yield self._states.encode(windows.clips[index], window)
            except AudioError:
                continue  # which is told when the clip is trained on


def _evenly_spread(items: Sequence, most: int) -> list:
    return [items[i] for i in np.unique(np.linspace(0, len(items) - 1, most).astype(int))]
