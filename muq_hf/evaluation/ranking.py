"""How high what belongs to a query is ranked: the one definition of retrieval's scores."""

from collections.abc import Iterable, Sequence

import numpy as np


CUTOFFS = (1, 5, 10)


def relevant_ranks(scores: np.ndarray, is_relevant: np.ndarray) -> np.ndarray:
    """Ranks, from 1, of the relevant ones among N candidates, best first.

    scores [N], larger is better; is_relevant [N] bool. Ties and NaN count against the query, so a model that gives everything
    one vector finds nothing.
    """
    scores = np.where(np.isnan(scores), np.where(is_relevant, -np.inf, np.inf), scores)
    order = np.lexsort((is_relevant, -scores))  # of equal scores the relevant ones come last
    return np.flatnonzero(is_relevant[order]) + 1


def average_precision(ranks: np.ndarray) -> float:
    """The mean, over the relevant ones, of the share of relevant ones among all that are ranked as high or higher."""
    return float(np.mean(np.arange(1, len(ranks) + 1) / ranks))


def recall_at(ranks: Iterable[np.ndarray], k: int) -> float:
    """The share of queries with a relevant one among the first k."""
    return float(np.mean([of_query[0] <= k for of_query in ranks]))


def same_track_scores(features: np.ndarray, tracks: np.ndarray, queries: Sequence[int]) -> dict[str, float]:
    """Clips [N, D] of `tracks` [N], ranked by cosine for each of `queries` (indices), itself left out.

    → r_at_1: share of queries whose nearest clip is of the same track; map: mean average precision. Queries that are the only
    clip of their track do not count; raises ValueError if all are.
    """
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    ranks = []
    for query in queries:
        others = np.arange(len(unit)) != query
        is_relevant = tracks[others] == tracks[query]
        if is_relevant.any():
            ranks.append(relevant_ranks((unit @ unit[query])[others], is_relevant))
    if not ranks:
        raise ValueError("retrieval needs tracks with at least two clips among the queries.")
    return {"r_at_1": recall_at(ranks, 1), "map": float(np.mean([average_precision(of_query) for of_query in ranks]))}


def pair_scores(audio: np.ndarray, text: np.ndarray, audio_ids: np.ndarray, text_ids: np.ndarray) -> dict[str, float]:
    """Row i of audio and of text [N, P], of length 1, belong together; so do rows with an equal id [N] of either kind.

    → for both directions the share of queries with something that belongs to them among the first 1, 5 and 10, and the median
    rank, from 1, of the first such thing.
    """
    belongs = (audio_ids[:, None] == audio_ids) | (text_ids[:, None] == text_ids)
    cosines = text @ audio.T
    scores = {}
    for name, of_query in (("text_to_audio", cosines), ("audio_to_text", cosines.T)):
        ranks = [relevant_ranks(row, is_relevant) for row, is_relevant in zip(of_query, belongs, strict=True)]
        scores |= {f"{name}_r{k}": recall_at(ranks, k) for k in CUTOFFS}
        scores[f"{name}_median_rank"] = float(np.median([of_query[0] for of_query in ranks]))
    return scores
