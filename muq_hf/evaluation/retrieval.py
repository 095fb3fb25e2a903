"""Same-track retrieval: does a clip lie nearest to the other clips of its track, among those of all tracks?"""

import numpy as np

from .features import Features
from .heads import Scaler
from .metrics import retrieval_scores
from .probes import ProbeResult


def run_retrieval(features: Features, label: str, primary: str, shuffle: bool = False) -> ProbeResult:
    """Cosine between standardised features, one layer at a time; all clips are ranked, clips of the test split ask.

    The mean and deviation come from train and valid clips, whose queries also choose the layer. Nothing is random but the
    permutation of `shuffle`, so there is one "seed".
    """
    is_test = np.array([clip.split == "test" for clip in features.clips])
    tracks = np.array([clip.labels[label] for clip in features.clips])
    if shuffle:
        tracks = np.random.default_rng(0).permutation(tracks)
    layers, fitted = {}, {}
    for layer, name in enumerate(features.layer_names):
        rows = features.layer(layer)
        rows = Scaler(rows[~is_test])(rows)
        layers[name] = [retrieval_scores(rows, tracks, np.flatnonzero(is_test))]
        fitted[name] = retrieval_scores(rows, tracks, np.flatnonzero(~is_test))[primary]
    chosen = max(fitted, key=fitted.get)
    return ProbeResult(layers=layers, linear=layers[chosen], chosen_layers=[chosen])


def chance_retrieval(features: Features, label: str) -> dict[str, float]:
    """What one random order gives."""
    tracks = np.array([clip.labels[label] for clip in features.clips])
    is_test = np.array([clip.split == "test" for clip in features.clips])
    noise = np.random.default_rng(0).standard_normal((len(tracks), 64)).astype(np.float32)
    return retrieval_scores(noise, tracks, np.flatnonzero(is_test))
