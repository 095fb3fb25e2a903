"""Results that are worth listening to: no song that is everybody's neighbour, and no recording twice.

In spaces of many dimensions some items lie near to most queries ("hubs"; Radovanović et al. 2010, JMLR 11). Their cosines are
lowered by what they have with queries in general, as in cross-domain similarity local scaling (arXiv 1710.04087, eq. 3).

Copies of a recording are known by their course: how the vectors of its parts change over time. A codec moves all of them in one
direction, so that their means may be far apart.
"""

from collections.abc import Callable

import numpy as np


NEAREST_QUERIES = 10  # of the bank that make up an item's offset: k in arXiv 1710.04087
ROWS_AT_ONCE = 4096
SAME_LENGTH = 0.25  # s, at most between copies: codecs add silence at the ends
SAME_COURSE = {3: 0.9, 6: 0.75}  # least correlation of the courses of two songs with at least so many parts
SAME_VECTOR = 0.998  # least cosine of songs with fewer parts, which have no course


class BankOffsets:
    """What is taken off the cosine with each song (`of_songs` [S]) and each row (`of_rows` [N]) to rank them.

    Half the mean cosine with the nearest queries of `bank` [B, P]: CSLS ranks by 2·cosine − r(query) − r(item), of which
    r(query) is the same for all items.
    """

    def __init__(self, bank: np.ndarray, song_vectors: np.ndarray, row_vectors: np.ndarray):
        self.of_songs = offsets(bank, song_vectors)
        self.of_rows = offsets(bank, row_vectors)


def offsets(bank: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """bank [B, P], vectors [N, P] → [N] float32."""
    result = np.zeros(len(vectors), np.float32)
    count = min(NEAREST_QUERIES, len(bank))
    for first in range(0, len(vectors) if count else 0, ROWS_AT_ONCE):
        cosines = vectors[first : first + ROWS_AT_ONCE].astype(np.float32) @ bank.T
        nearest = np.partition(cosines, -count, axis=1)[:, -count:]
        result[first : first + len(cosines)] = nearest.mean(axis=1) / 2
    return result


def is_same_recording(first: np.ndarray, second: np.ndarray) -> bool:
    """Parts [K, P], [L, P] of two songs of the same length → whether one is a copy of the other, in another codec perhaps."""
    count = min(len(first), len(second))
    first, second = first[:count], second[:count]
    bounds = [bound for parts, bound in SAME_COURSE.items() if count >= parts]
    if bounds:
        first, second = first - first.mean(axis=0), second - second.mean(axis=0)
    else:
        first, second = first.mean(axis=0), second.mean(axis=0)
    lengths = np.linalg.norm(first) * np.linalg.norm(second)
    return bool((first * second).sum() >= (bounds[-1] if bounds else SAME_VECTOR) * max(lengths, 1e-9))


def fold_repeats(
    rows: list[int], songs: np.ndarray, parts: Callable[[int], np.ndarray], durations: np.ndarray
) -> list[list[int]]:
    """Rows of distinct songs from best to worst → groups; the first of each is shown, the others are the same recording.

    parts(song) → [K, P] float32.
    """
    groups: list[list[int]] = []
    for row in rows:
        song = songs[row]
        shown = songs[[group[0] for group in groups]] if groups else np.empty(0, int)
        for place in np.flatnonzero(np.abs(durations[shown] - durations[song]) <= SAME_LENGTH):
            if is_same_recording(parts(shown[place]), parts(song)):
                groups[place].append(row)
                break
        else:
            groups.append([row])
    return groups
