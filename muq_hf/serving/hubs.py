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
    return bool(_course(first[:count]) @ _course(second[:count]) >= _least_agreement(count))


def _course(parts: np.ndarray) -> np.ndarray:
    """[K, P] → [K·P] of length 1, what each part differs by from their mean; of few parts the mean itself."""
    course = (parts - parts.mean(axis=0)).ravel() if len(parts) >= min(SAME_COURSE) else parts.mean(axis=0)
    return course / max(float(np.linalg.norm(course)), 1e-9)


def _least_agreement(count: int) -> float:
    return next((least for parts, least in reversed(SAME_COURSE.items()) if count >= parts), SAME_VECTOR)


def fold_repeats(
    rows: list[int], songs: np.ndarray, parts: Callable[[int], np.ndarray], durations: np.ndarray
) -> list[list[int]]:
    """Rows of distinct songs from best to worst → groups; the first of each is shown, the others are the same recording.

    parts(song) → [K, P] float32.
    """
    same = _same_recordings([songs[row] for row in rows], parts, durations)
    shown, groups = np.zeros(len(rows), bool), []
    for place, row in enumerate(rows):
        matching = np.flatnonzero(shown & same[place])
        if len(matching):
            groups[np.count_nonzero(shown[: matching[0]])].append(row)
        else:
            shown[place] = True
            groups.append([row])
    return groups


def _same_recordings(songs: list[int], parts: Callable[[int], np.ndarray], durations: np.ndarray) -> np.ndarray:
    """→ [n, n] bool. Songs of as many parts are compared in one product: excerpts may all have one length."""
    lengths = durations[songs]
    same = np.abs(lengths[:, None] - lengths) <= SAME_LENGTH
    np.fill_diagonal(same, False)
    own = {place: parts(songs[place]) for place in np.flatnonzero(same.any(axis=1))}
    counts = np.array([len(own[place]) if place in own else 0 for place in range(len(songs))])
    for count in set(map(len, own.values())):
        alike = np.flatnonzero(counts == count)
        courses = np.stack([_course(own[place]) for place in alike])
        same[np.ix_(alike, alike)] &= courses @ courses.T >= _least_agreement(count)
    for first, second in np.argwhere(same & (counts[:, None] != counts)):
        same[first, second] = is_same_recording(own[first], own[second])
    return same
