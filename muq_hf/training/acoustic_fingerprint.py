"""Acoustic fingerprints: the same recording is found again through other codecs, levels and lead-ins.

After Haitsma & Kalker, "A Highly Robust Audio Fingerprinting System" (ISMIR 2002): each frame gives 32 bits,
the signs of the energy differences between neighbouring bands and neighbouring frames.
"""

from collections.abc import Hashable
from typing import TypeVar

import numpy as np
import soxr


Name = TypeVar("Name", bound=Hashable)


RATE = 6_000  # Hz: the bands end at 2 kHz
FRAME = 2_048  # samples, 0.34 s
HOP = 120  # samples, 20 ms: a copy is at most 10 ms off the frames of its original
BAND_EDGES = np.geomspace(300, 2_000, 34)  # Hz, 33 bands give 32 differences
BAND_BINS = np.round(BAND_EDGES / RATE * FRAME).astype(int)
WINDOW = np.hanning(FRAME).astype(np.float32)
FRAMES_AT_ONCE = 1_000  # 16 MB of spectra

MIN_EQUAL_WORDS = 3  # at one shift, for a pair of tracks to be compared bit by bit
BIT_ERRORS = 0.33  # of all bits over the shared stretch, at most; unrelated tracks are near 0.5
SHARED_SHARE = 0.5  # of the shorter track that the shared stretch must cover
COMMON_WORD = 40  # a word in more frames than this (silence, held tones) says nothing
MOST_WORDS = 20_000_000  # of 110 h of music; of more, words are drawn by their value, the same in every copy


class AcousticFingerprint:
    """The words of a recording that comes in blocks.

    As of the whole recording, and memory does not grow with its length but for the words: 0.7 MB an hour.
    """

    def __init__(self, sampling_rate: int):
        self._resampler = soxr.ResampleStream(sampling_rate, RATE, 1, dtype="float32", quality="QQ")
        self._waiting = np.empty(0, np.float32)  # samples at RATE of frames that are not whole yet
        self._energies = np.empty((0, len(BAND_EDGES) - 1))  # of the last frame
        self._words: list[np.ndarray] = []
        self._num_samples = 0

    def add(self, samples: np.ndarray) -> None:
        """samples: float32 [S], those that follow."""
        self._take(self._resampler.resample_chunk(np.asarray(samples, np.float32)))

    def words(self) -> np.ndarray:
        """→ uint32 [frames], 50 a second. Ends the recording."""
        self._take(self._resampler.resample_chunk(np.empty(0, np.float32), last=True))
        self._take(np.zeros(max(0, FRAME + HOP - self._num_samples), np.float32))
        return np.concatenate([np.empty(0, np.uint32), *self._words])

    def _take(self, low: np.ndarray) -> None:
        self._num_samples += len(low)
        self._waiting = np.concatenate([self._waiting, low])
        num_frames = max(0, (len(self._waiting) - FRAME) // HOP + 1)
        for start in range(0, num_frames, FRAMES_AT_ONCE):
            count = min(FRAMES_AT_ONCE, num_frames - start)
            frames = np.lib.stride_tricks.sliding_window_view(self._waiting[start * HOP :], FRAME)[::HOP][:count]
            power = np.abs(np.fft.rfft(frames * WINDOW, axis=1)) ** 2
            energies = np.concatenate([self._energies, np.add.reduceat(power, BAND_BINS, axis=1)[:, :-1]])
            bits = np.diff(np.diff(energies, axis=1), axis=0) > 0  # [count, 32], at the recording's beginning one fewer
            self._words.append(np.packbits(bits, axis=1).view(">u4").ravel().astype(np.uint32))
            self._energies = energies[-1:]
        self._waiting = self._waiting[num_frames * HOP :]


def acoustic_fingerprint(samples: np.ndarray, sampling_rate: int) -> np.ndarray:
    """float32 [S] → uint32 [frames], 50 words a second."""
    fingerprint = AcousticFingerprint(sampling_rate)
    fingerprint.add(samples)
    return fingerprint.words()


def find_duplicates(prints: dict[Name, np.ndarray]) -> dict[Name, Name]:
    """{track: earlier track that is the same recording}, in the order of `prints`."""
    names = [name for name in prints if len(prints[name])]
    if not names:
        return {}
    lengths = np.array([len(prints[name]) for name in names])
    words = np.concatenate([prints[name] for name in names])
    track = np.repeat(np.arange(len(names)), lengths)
    frame = np.concatenate([np.arange(length) for length in lengths])
    if len(words) > MOST_WORDS:
        mixed = words * np.uint32(2_654_435_761)  # modulo 2³²: neighbouring words come far apart
        drawn = mixed < np.uint32(2**32 * (MOST_WORDS / len(words)))
        words, track, frame = words[drawn], track[drawn], frame[drawn]
    duplicates = {}
    for (first, second, shift), votes in _votes(words, track, frame).items():
        shorter = min(lengths[first], lengths[second])
        if votes < MIN_EQUAL_WORDS or names[second] in duplicates or names[first] in duplicates:
            continue
        if _same(prints[names[first]], prints[names[second]], shift, shorter):
            duplicates[names[second]] = names[first]
    return duplicates


def _votes(words: np.ndarray, track: np.ndarray, frame: np.ndarray) -> dict[tuple[int, int, int], int]:
    """{(track, later track, shift in frames): equal words}, in order of tracks, the most first within a pair."""
    order = np.argsort(words, kind="stable")
    starts = np.flatnonzero(np.diff(words[order], prepend=words[order[0]] ^ 1))
    counts = np.diff(np.append(starts, len(words)))
    pairs = []
    for start, count in zip(starts[counts > 1], counts[counts > 1], strict=True):
        if count <= COMMON_WORD:
            group = order[start : start + count]
            i, j = np.triu_indices(count, 1)
            pairs.append(np.stack([group[i], group[j]], axis=1))
    if not pairs:
        return {}
    i, j = np.concatenate(pairs).T  # i < j: the sort is stable
    keep = track[i] != track[j]
    i, j = i[keep], j[keep]
    longest = int(frame.max()) + 1  # shifts lie between -longest and longest
    shape = (track[-1] + 1, track[-1] + 1, 2 * longest)
    keys = np.ravel_multi_index((track[i], track[j], frame[j] - frame[i] + longest), shape)
    found, votes = np.unique(keys, return_counts=True)
    first, second, shift = np.unravel_index(found, shape)
    best = np.lexsort((-votes, second, first))
    return {(int(first[k]), int(second[k]), int(shift[k]) - longest): int(votes[k]) for k in best}


def _same(first: np.ndarray, second: np.ndarray, shift: int, shorter: int) -> bool:
    """Compare the stretch that both share when `second` is `shift` frames late."""
    start, end = max(0, -shift), min(len(first), len(second) - shift)
    if end - start < SHARED_SHARE * shorter:
        return False
    differing = np.bitwise_xor(first[start:end], second[start + shift : end + shift])
    return np.unpackbits(differing.view(np.uint8)).mean() <= BIT_ERRORS
