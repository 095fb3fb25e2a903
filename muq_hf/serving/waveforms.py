"""What a song looks like: the loudest sample of each of a few hundred stretches, and its parts beside each other."""

import os
from collections import OrderedDict

import numpy as np

from ..audio import audio_info, stream_audio


PEAKS = 240
SECONDS_AT_ONCE = 0.01
REMEMBERED_SONGS = 2000
MAX_PARTS = 400  # of a similarity matrix; of longer songs every n-th part is taken


def peaks_of(path: str | os.PathLike, count: int = PEAKS) -> list[int]:
    """The file's peaks, 0 to 255, relative to its loudest; memory does not grow with its samples. Raises AudioError."""
    heights, rest = [], np.empty(0, np.float32)
    rate = audio_info(path).sampling_rate  # at its own rate nothing is resampled
    at_once = max(1, round(SECONDS_AT_ONCE * rate))
    for block in stream_audio(path, sampling_rate=rate):
        samples = np.abs(np.concatenate([rest, block]))
        whole = len(samples) // at_once * at_once
        heights.append(samples[:whole].reshape(-1, at_once).max(axis=1))
        rest = samples[whole:]
    heights = np.concatenate([*heights, [rest.max(initial=0.0)]])
    peaks = np.array([part.max() for part in np.array_split(heights, min(count, len(heights)))])
    return np.round(255 * peaks / max(peaks.max(), 1e-9)).astype(int).tolist()


def similarity_of(vectors: np.ndarray, count: int = MAX_PARTS) -> tuple[np.ndarray, np.ndarray]:
    """vectors [K, P] of length 1 → the parts taken [k], and their cosines [k, k]."""
    taken = np.arange(0, len(vectors), -(-len(vectors) // count))
    return taken, vectors[taken] @ vectors[taken].T


class PeakStore:
    """The peaks of songs asked for before, by path and time of last change."""

    def __init__(self):
        self._peaks: OrderedDict[tuple, list[int]] = OrderedDict()

    def peaks(self, path: str | os.PathLike) -> list[int]:
        """Raises AudioError."""
        try:
            key = (os.fspath(path), os.stat(path).st_mtime_ns)
        except OSError:
            key = (os.fspath(path), None)  # decoding it says what is wrong
        if key not in self._peaks:
            self._peaks[key] = peaks_of(path)
            while len(self._peaks) > REMEMBERED_SONGS:
                self._peaks.popitem(last=False)
        return self._peaks[key]
