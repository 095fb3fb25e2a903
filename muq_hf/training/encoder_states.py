"""What a frozen encoder gives for labelled clips, computed once and kept: the epochs of a head then cost almost nothing."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset
from tqdm.auto import tqdm

from ..audio import AudioError
from ..evaluation.clip import Clip
from ..models.windowing_muq import Window, num_frames
from ..storage.row_file import RowFile
from .clips import SkipLog
from .labelled_crops import CROP, ClipReader, ClipWindows
from .tracks import Skipped


MAX_KEPT_BYTES = 8_000_000_000
WINDOWS_AT_ONCE = 16  # that are written to the disk together


class EncoderStates:
    """Hidden states of windows, [T, L, D] float32, in a folder.

    Each window goes through the encoder alone, so that its numbers do not depend on what is computed beside it: a resumed run
    trains on the same ones. L is 1 for a classifier of the last layer. With `pooled` the mean over the frames is kept, [1, L, D].

    Args:
        folder: that the states are kept in; None keeps none.
        model: the classifier, whose encoder is used as it is.
    """

    def __init__(self, folder: Path | None, model, reader: ClipReader, pooled: bool, show_progress: bool = True):
        self.model, self.reader, self.pooled, self.show_progress = model, reader, pooled, show_progress
        config = model.config
        self.shape = (config.num_hidden_layers + 1 if config.use_weighted_layer_sum else 1, config.hidden_size)
        self._rows = None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            self._rows = RowFile(folder / "data.bin", folder / "index.jsonl", np.float32, self.shape[0] * self.shape[1])

    def __getstate__(self) -> dict:
        return {**self.__dict__, "model": None}  # workers of a data loader only read

    def num_bytes(self, windows: ClipWindows) -> int:
        """What the states of all windows take."""
        lengths = [num_frames(window.end - window.start, windows.samples_per_frame) for _, window in windows.windows]
        return 4 * self.shape[0] * self.shape[1] * (len(lengths) if self.pooled else sum(lengths))

    @torch.inference_mode()
    def encode(self, clip: Clip, window: Window) -> np.ndarray:
        """→ [T, L, D], or [1, L, D]. Raises AudioError."""
        encoder = self.model.muq.eval()
        wave = self.reader.read(clip, window.start, window.end - window.start)
        if len(wave) < self.reader.min_samples:
            raise AudioError("too short", f"{clip.path} ends {window.start / self.reader.sampling_rate:.1f} s into the clip.")
        device = next(encoder.parameters()).device
        outputs = encoder(
            torch.from_numpy(wave)[None].to(device),
            output_hidden_states=self.model.config.use_weighted_layer_sum,
            return_dict=True,
        )
        layers = outputs.hidden_states if self.model.config.use_weighted_layer_sum else [outputs.last_hidden_state]
        states = torch.stack([layer[0].float() for layer in layers], dim=1)  # [T, L, D]
        return (states.mean(dim=0, keepdim=True) if self.pooled else states).cpu().numpy()

    def keep(self, windows: ClipWindows, skip_log: SkipLog) -> set[int]:
        """Compute the states that are not kept yet → indices of the clips that cannot be read, which are told to `skip_log`."""
        missing = [(index, window) for index, window in windows.windows if _key(windows.clips[index], window) not in self._rows]
        broken: set[int] = set()
        keys, blocks = [], []
        for index, window in tqdm(missing, unit="window", desc="encode", disable=not (self.show_progress and missing)):
            if index in broken:
                continue
            clip = windows.clips[index]
            try:
                blocks.append(self.encode(clip, window).reshape(-1, self._rows.width))
            except AudioError as error:
                broken.add(index)
                skip_log.add(Skipped(str(clip.path), error.reason, str(error)))
                continue
            keys.append(_key(clip, window))
            if len(keys) == WINDOWS_AT_ONCE:
                self._rows.add(keys, blocks)
                keys, blocks = [], []
        if keys:
            self._rows.add(keys, blocks)
        return broken

    def __getitem__(self, place: tuple[Clip, Window]) -> torch.Tensor:
        """The kept states of a window, [T, L, D] or [1, L, D]."""
        first, count = self._rows.place(_key(*place))
        return torch.from_numpy(np.array(self._rows.table[first : first + count])).view(count, *self.shape)


class StateWindows(Dataset):
    """The windows of whole clips, as kept states. An item holds states [T, L, D] and its `place` (see `ClipWindows`)."""

    def __init__(self, windows: ClipWindows, states: EncoderStates):
        self.clips, self.windows, self.states = windows.clips, windows, states

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        index, window = self.windows.windows[number]
        return {"states": self.states[self.clips[index], window], "place": self.windows.place(number)}


class StateCrops(Dataset):
    """Number n is a window of clip n modulo their number, drawn by its length: a pure function of (seed, n).

    targets: as for `LabelledCrops`. An item holds states [T, L, D], labels, and its number.
    """

    def __init__(self, windows: ClipWindows, targets: Sequence[np.ndarray], per_frame: bool, states: EncoderStates, seed: int):
        self.clips, self.targets, self.per_frame, self.states, self.seed = windows.clips, targets, per_frame, states, seed
        self.samples_per_frame = windows.samples_per_frame
        self._windows: list[list[Window]] = [[] for _ in self.clips]
        for index, window in windows.windows:
            self._windows[index].append(window)

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        random, index = np.random.default_rng([self.seed, number, CROP]), number % len(self)
        lengths = np.array([window.end - window.start for window in self._windows[index]])
        window = self._windows[index][int(random.choice(len(lengths), p=lengths / lengths.sum()))]
        states, labels = self.states[self.clips[index], window], torch.as_tensor(self.targets[index])
        if self.per_frame:
            first = window.start // self.samples_per_frame
            labels = labels[first : first + len(states)]
        return {"states": states, "labels": labels, "number": torch.tensor(number)}


def _key(clip: Clip, window: Window) -> str:
    return f"{clip.path} {clip.start} {clip.end} {window.start}"
