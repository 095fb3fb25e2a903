"""Same-track retrieval: does a clip lie nearest to the other clips of its track, among those of all tracks?"""

from collections.abc import Sequence

import numpy as np

from .features import Features
from .heads import Scaler
from .labels import Scores
from .probes import POOLINGS, ProbeResult, poolings_of
from .ranking import same_track_scores


def run_retrieval(
    features: Features, tracks: Sequence, primary: str, poolings: Sequence[str] = POOLINGS, shuffle: bool = False
) -> ProbeResult:
    """Cosine between standardised features, one layer and pooling at a time; all clips are ranked for each test clip.

    tracks: of the features' clips. Mean and deviation come from train and valid clips, whose queries also choose layer and
    pooling. Nothing is random but the permutation of `shuffle`, so there is one "seed".
    """
    is_test, tracks = _is_test(features), np.array(tracks)
    if shuffle:
        tracks = np.random.default_rng(0).permutation(tracks)
    fits = {}
    for layer, name in enumerate(features.layer_names):
        for pool in poolings_of(features, poolings):
            rows = features.layer(layer, pool)
            rows = Scaler(rows[~is_test])(rows)
            chooses = same_track_scores(rows, tracks, np.flatnonzero(~is_test))[primary]
            fits[name, pool] = chooses, same_track_scores(rows, tracks, np.flatnonzero(is_test))
    result = ProbeResult()
    result.add_linear(fits)
    return result


def chance_retrieval(features: Features, tracks: Sequence) -> Scores:
    """What one random order gives."""
    noise = np.random.default_rng(0).standard_normal((len(tracks), 64)).astype(np.float32)
    return same_track_scores(noise, np.array(tracks), np.flatnonzero(_is_test(features)))


def _is_test(features: Features) -> np.ndarray:
    return np.array([clip.split == "test" for clip in features.clips])
