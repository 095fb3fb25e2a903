"""Acoustic fingerprints: the same recording is found again through other codecs, levels and lead-ins.

After Haitsma & Kalker, "A Highly Robust Audio Fingerprinting System" (ISMIR 2002): each frame gives 32 bits,
the signs of the energy differences between neighbouring bands and neighbouring frames.
"""

import numpy as np
import soxr


RATE = 6_000  # Hz: the bands end at 2 kHz
FRAME = 2_048  # samples, 0.34 s
HOP = 120  # samples, 20 ms: a copy is at most 10 ms off the frames of its original
BAND_EDGES = np.geomspace(300, 2_000, 34)  # Hz, 33 bands give 32 differences

MIN_EQUAL_WORDS = 3  # at one shift, for a pair of tracks to be compared bit by bit
BIT_ERRORS = 0.33  # of all bits over the shared stretch, at most; unrelated tracks are near 0.5
SHARED_SHARE = 0.5  # of the shorter track that the shared stretch must cover
COMMON_WORD = 40  # a word in more frames than this (silence, held tones) says nothing


def fingerprint(samples: np.ndarray, sampling_rate: int) -> np.ndarray:
    """float32 [S] → uint32 [frames], 50 words a second."""
    low = soxr.resample(samples, sampling_rate, RATE, quality="QQ")
    low = np.pad(low, (0, max(0, FRAME + HOP - len(low))))
    frames = np.lib.stride_tricks.sliding_window_view(low, FRAME)[::HOP]
    edges = np.round(BAND_EDGES / RATE * FRAME).astype(int)
    window = np.hanning(FRAME).astype(np.float32)
    energy = np.empty((len(frames), len(edges) - 1))
    for start in range(0, len(frames), 1_000):  # bounds the memory of long tracks
        power = np.abs(np.fft.rfft(frames[start : start + 1_000] * window, axis=1)) ** 2
        energy[start : start + 1_000] = np.add.reduceat(power, edges, axis=1)[:, :-1]
    bits = np.diff(np.diff(energy, axis=1), axis=0) > 0  # [frames - 1, 32]
    return np.packbits(bits, axis=1).view(">u4").ravel().astype(np.uint32)


def find_duplicates(prints: dict[str, np.ndarray]) -> dict[str, str]:
    """{track: earlier track that is the same recording}, in the order of `prints`."""
    names = list(prints)
    lengths = np.array([len(prints[name]) for name in names])
    words = np.concatenate([prints[name] for name in names])
    track = np.repeat(np.arange(len(names)), lengths)
    frame = np.concatenate([np.arange(length) for length in lengths])
    duplicates: dict[str, str] = {}
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
    shape = (track[-1] + 1, track[-1] + 1, 2 * len(words))  # shifts lie in -len(words) … len(words)
    keys = np.ravel_multi_index((track[i], track[j], frame[j] - frame[i] + len(words)), shape)
    found, votes = np.unique(keys, return_counts=True)
    first, second, shift = np.unravel_index(found, shape)
    best = np.lexsort((-votes, second, first))
    return {(int(first[k]), int(second[k]), int(shift[k]) - len(words)): int(votes[k]) for k in best}


def _same(first: np.ndarray, second: np.ndarray, shift: int, shorter: int) -> bool:
    """Compare the stretch that both share when `second` is `shift` frames late."""
    start, end = max(0, -shift), min(len(first), len(second) - shift)
    if end - start < SHARED_SHARE * shorter:
        return False
    differing = np.bitwise_xor(first[start:end], second[start + shift : end + shift])
    return np.unpackbits(differing.view(np.uint8)).mean() <= BIT_ERRORS
