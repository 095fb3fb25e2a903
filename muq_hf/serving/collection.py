"""The songs that are served: search, tags and neighbours over the vectors of one table, in memory."""

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from .credits import credit_of, credits_beside
from .hubs import BankOffsets, fold_repeats
from .song_table import SongTable, place_of, read_song_table


ROWS_AT_ONCE = 4096
TAGS_PER_SONG = 5
PRIOR_SONGS = 8  # how many songs' worth of the general mean a label's own mean and deviation are mixed with


@dataclass(frozen=True)
class Hit:
    """cosine: of query and song, or part; start, end: that part (s); copies: songs that are nearly the same recording."""

    song: int
    cosine: float
    start: float
    end: float
    copies: list[int] = field(default_factory=list)


class Collection:
    """A table's songs, numbered from 0 in its order.

    Args:
        table: file or folder of fragments.
        labels: words to tag with.
        label_vectors: [L, P] of length 1, the same words as text vectors.
    """

    def __init__(self, table: str | os.PathLike, labels: list[str], label_vectors: np.ndarray):
        self.table = Path(table)
        content: SongTable = read_song_table(table)
        self.paths, self.first, self.spans, self.vectors = content.paths, content.first, content.spans, content.vectors
        self.settings, self.labels, self.label_vectors = content.settings, labels, label_vectors
        self.song_of_row = np.repeat(np.arange(len(self.paths)), np.diff(self.first))
        self.durations = self.spans[self.first[1:] - 1, 1] if len(self.paths) else np.empty(0, np.float32)
        self.titles = [os.path.splitext(os.path.basename(path))[0].replace("_", " ") for path in self.paths]
        self.folders = _folders(self.paths)
        credits = credits_beside(table)
        self.credits = [credit_of(path, credits) if credits else None for path in self.paths]
        self.song_vectors = _song_vectors(self.vectors, self.spans, self.first)
        self.label_mean, self.label_deviation = self._label_statistics()
        self.song_tags = self._song_tags()
        self.offsets = {
            "text": BankOffsets(label_vectors, self.song_vectors, self.vectors),
            "audio": BankOffsets(_sample(self.song_vectors), self.song_vectors, self.vectors),
        }

    def __len__(self) -> int:
        return len(self.paths)

    def place(self, song: int) -> Path:
        """The song's file."""
        return place_of(self.paths[song], self.table)

    def parts(self, song: int) -> tuple[np.ndarray, np.ndarray]:
        """→ spans [K, 2] (s) and vectors [K, P] float32 of the song's rows."""
        return self.spans[self.first[song] : self.first[song + 1]], self._vectors_of(song)

    def search(
        self,
        query: np.ndarray,
        kind: str,
        *,
        per: str = "song",
        top_k: int = 20,
        allowed: np.ndarray | None = None,
        repeats: bool = False,
    ) -> list[Hit]:
        """The songs nearest to `query` [P] of length 1, at most one hit a song and one hit for near-duplicates.

        Args:
            kind: of the query, "text" or "audio"; songs near to all queries of a kind are ranked lower (see `hubs`).
            per: "song": by the song's mean vector; "part": by its nearest part.
            allowed: [S] bool, songs to look among.
            repeats: several parts of one song, and near-duplicates, as hits of their own.
        """
        by_song = per == "song"
        cosines = self.song_vectors @ query if by_song else _products(self.vectors, query)
        ranks = cosines - self.offsets[kind].of_songs if by_song else cosines - self.offsets[kind].of_rows
        songs = np.arange(len(self)) if by_song else self.song_of_row
        if allowed is not None:
            ranks = np.where(allowed[songs], ranks, -np.inf)
        if by_song or repeats:
            rows = np.arange(len(ranks))
        else:
            rows = _best_row_of_each_song(ranks, self.first)
        wanted = min(len(rows), top_k if repeats else 4 * top_k)  # some to spare, for those that are folded
        best = rows[_top(ranks[rows], wanted)]
        best = [int(row) for row in best if ranks[row] > -np.inf]
        groups = [[row] for row in best] if repeats else fold_repeats(best, songs, self._vectors_of, self.durations)
        return [self._hit(group, songs, cosines, by_song) for group in groups[:top_k]]

    def neighbours(self, song: int, top_k: int, part: int | None = None, **options) -> list[Hit]:
        """Songs like this one, or like its `part` (index of its rows), without itself."""
        allowed = options.pop("allowed", None)
        allowed = np.ones(len(self), bool) if allowed is None else allowed.copy()
        allowed[song] = False
        spans, vectors = self.parts(song)
        if part is not None and not 0 <= part < len(spans):
            raise ValueError(f"song {song} has the parts 0 to {len(spans) - 1}, got {part}.")
        query = self.song_vectors[song] if part is None else vectors[part]
        return self.search(query, "audio", top_k=top_k, allowed=allowed, **options)

    def standing_out(self, vectors: np.ndarray) -> np.ndarray:
        """vectors [K, P] → [K, L]: how far each label's cosine lies above what is usual in the collection, in deviations.

        The cosines themselves cannot be compared between labels: some words lie near to all music.
        """
        return (vectors @ self.label_vectors.T - self.label_mean) / self.label_deviation

    def allowed(self, folder: str | None = None, tag: str | None = None, title: str | None = None) -> np.ndarray | None:
        """[S] bool of the songs in a folder, with a tag among theirs, with a text in their title; None for all."""
        if not (folder or tag or title):
            return None
        mask = np.ones(len(self), bool)
        if folder:
            mask &= np.array([each == folder or each.startswith(folder + "/") for each in self.folders], bool)
        if tag:
            if tag not in self.labels:
                raise ValueError(f"there is no tag {tag!r}; those that there are: {', '.join(self.labels)}.")
            mask &= (self.song_tags == self.labels.index(tag)).any(axis=1)
        if title:
            words = title.casefold().split()
            names = (f"{folder}/{title}".casefold() for folder, title in zip(self.folders, self.titles, strict=True))
            mask &= np.array([all(word in name for word in words) for name in names], bool)
        return mask

    def _vectors_of(self, song: int) -> np.ndarray:
        return self.vectors[self.first[song] : self.first[song + 1]].astype(np.float32)

    def _hit(self, group: list[int], songs: np.ndarray, cosines: np.ndarray, by_song: bool) -> Hit:
        row, song = group[0], int(songs[group[0]])
        start, end = (0.0, self.durations[song]) if by_song else self.spans[row]
        copies = [int(songs[other]) for other in group[1:]]
        return Hit(song, float(cosines[row]), float(start), float(end), copies)

    def _label_statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation [L] of each label's cosine over the songs; of few songs they lean on the mean over all labels."""
        cosines = np.concatenate([np.empty((0, len(self.labels)), np.float32), *self._label_cosines()])
        if not len(cosines):
            return np.zeros(len(self.labels), np.float32), np.ones(len(self.labels), np.float32)
        mean = (cosines.sum(axis=0) + PRIOR_SONGS * cosines.mean()) / (len(cosines) + PRIOR_SONGS)
        squares = ((cosines - mean) ** 2).sum(axis=0)
        variance = (squares + PRIOR_SONGS * squares.mean() / len(cosines)) / (len(cosines) + PRIOR_SONGS)
        return mean, np.sqrt(variance) + 1e-6

    def _label_cosines(self):
        for first in range(0, len(self), ROWS_AT_ONCE):
            yield self.song_vectors[first : first + ROWS_AT_ONCE] @ self.label_vectors.T

    def _song_tags(self) -> np.ndarray:
        """[S, TAGS_PER_SONG]: indices of the labels that stand out most, from high to low."""
        count = min(TAGS_PER_SONG, len(self.labels))
        tags = np.empty((len(self), count), np.int16)
        for first in range(0, len(self), ROWS_AT_ONCE):
            scores = self.standing_out(self.song_vectors[first : first + ROWS_AT_ONCE])
            tags[first : first + len(scores)] = np.argsort(-scores, axis=1, kind="stable")[:, :count]
        return tags


def _folders(paths: list[str]) -> list[str]:
    """The folder of each path, relative to the deepest folder that holds all of them; "" in that folder itself."""
    parents = [os.path.dirname(path) for path in paths]
    if not parents:
        return []
    root = os.path.commonpath(parents) if len({os.path.isabs(parent) for parent in parents}) == 1 else ""
    relative = {parent: os.path.relpath(parent or ".", root or ".") for parent in set(parents)}
    return ["" if relative[parent] == "." else relative[parent].replace(os.sep, "/") for parent in parents]


def _song_vectors(vectors: np.ndarray, spans: np.ndarray, first: np.ndarray) -> np.ndarray:
    """[S, P] float32 of length 1: the mean over a song's rows, each weighing as much as its length."""
    songs = np.empty((len(first) - 1, vectors.shape[1]), np.float32)
    weights = (spans[:, 1] - spans[:, 0])[:, None]
    for begin in range(0, len(songs), ROWS_AT_ONCE):
        after = min(begin + ROWS_AT_ONCE, len(songs))
        rows = slice(first[begin], first[after])
        sums = np.add.reduceat(vectors[rows] * weights[rows], first[begin:after] - first[begin], axis=0)
        songs[begin:after] = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    return songs


def _sample(vectors: np.ndarray, count: int = 128) -> np.ndarray:
    """The same `count` of them each time, spread at random."""
    if len(vectors) <= count:
        return vectors
    return vectors[np.sort(np.random.default_rng(0).choice(len(vectors), count, replace=False))]


def _products(vectors: np.ndarray, query: np.ndarray) -> np.ndarray:
    """[N, P] float16 · [P] → [N] float32, block by block; torch converts half precision seven times as fast as NumPy."""
    products = np.empty(len(vectors), np.float32)
    stored, asked = torch.from_numpy(vectors), torch.from_numpy(np.ascontiguousarray(query, np.float32))
    for first in range(0, len(vectors), ROWS_AT_ONCE):
        products[first : first + ROWS_AT_ONCE] = (stored[first : first + ROWS_AT_ONCE].float() @ asked).numpy()
    return products


def _best_row_of_each_song(ranks: np.ndarray, first: np.ndarray) -> np.ndarray:
    """[S]: where in each song's rows the highest rank stands."""
    best = np.maximum.reduceat(ranks, first[:-1]) if len(first) > 1 else np.empty(0)
    is_best = ranks == np.repeat(best, np.diff(first))
    rows = np.flatnonzero(is_best)
    songs = np.searchsorted(first, rows, side="right") - 1
    return rows[np.unique(songs, return_index=True)[1]]


def _top(values: np.ndarray, count: int) -> np.ndarray:
    """Places of the `count` highest values, from high to low; equal ones in their order."""
    if count < len(values):
        places = np.sort(np.argpartition(-values, count)[:count])
    else:
        places = np.arange(len(values))
    return places[np.argsort(-values[places], kind="stable")]
