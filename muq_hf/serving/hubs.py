"""Results that are worth listening to: no song that is everybody's neighbour, and no recording twice.

In spaces of many dimensions some items lie near to most queries ("hubs"; Radovanović et al. 2010, JMLR 11). Their cosines are
lowered by what they have with queries in general, as in cross-domain similarity local scaling (arXiv 1710.04087, eq. 3).
"""

import numpy as np


NEAREST_QUERIES = 10  # of the bank that make up an item's offset: k in arXiv 1710.04087
ROWS_AT_ONCE = 4096
SAME_RECORDING = 0.998  # cosine of two songs' mean vectors
SAME_LENGTH = 0.01  # relative difference of durations


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


def fold_repeats(rows: list[int], songs: np.ndarray, song_vectors: np.ndarray, durations: np.ndarray) -> list[list[int]]:
    """Rows of distinct songs from best to worst → groups; the first of each is shown, the others are the same recording."""
    groups: list[list[int]] = []
    for row in rows:
        song = songs[row]
        shown = songs[[group[0] for group in groups]] if groups else np.empty(0, int)
        alike = song_vectors[shown] @ song_vectors[song] >= SAME_RECORDING
        alike &= np.abs(durations[shown] - durations[song]) <= SAME_LENGTH * durations[song]
        if alike.any():
            groups[int(np.argmax(alike))].append(row)
        else:
            groups.append([row])
    return groups
