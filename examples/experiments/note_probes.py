"""How well a frozen model hears pitch and timbre: ridge probes on single notes that are made here, so that labels are exact.

Pitch is tested on a timbre that the probe has not heard, timbre on an octave that it has not heard.
"""

import numpy as np
import torch

from muq_hf import MuQModel


RATE = 24_000  # Hz
SECONDS = 1.0
PITCHES = range(48, 72)  # MIDI numbers, C3 to B4
TIMBRES = {  # amplitudes of the overtones 1, 2, …
    "soft": [1.0, 0.1],
    "reed": [1.0, 0.0, 0.33, 0.0, 0.2, 0.0, 0.14],
    "string": [1.0, 0.5, 0.33, 0.25, 0.2, 0.17, 0.14, 0.12],
    "bright": [0.3, 1.0, 0.2, 0.8, 0.1, 0.6, 0.1, 0.4],
}


def make_notes(per_class: int, seed: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Waves [N, S] and their labels: every pitch in every timbre, with random level, detuning (±20 cents), attack and noise."""
    generator = np.random.default_rng(seed)
    time = np.arange(int(SECONDS * RATE)) / RATE
    waves, pitches, timbres = [], [], []
    for pitch in PITCHES:
        for timbre, overtones in enumerate(TIMBRES.values()):
            for _ in range(per_class):
                hertz = 440 * 2 ** ((pitch - 69 + generator.uniform(-0.2, 0.2)) / 12)
                phases = generator.uniform(0, 2 * np.pi, len(overtones))
                wave = sum(a * np.sin(2 * np.pi * hertz * (n + 1) * time + phases[n]) for n, a in enumerate(overtones))
                envelope = np.minimum(1, time / generator.uniform(0.005, 0.1)) * np.exp(-time * generator.uniform(0.5, 4))
                noise = 0.01 * generator.standard_normal(len(time))
                waves.append(generator.uniform(0.05, 0.3) * envelope * wave / np.abs(wave).max() + noise)
                pitches.append(pitch)
                timbres.append(timbre)
    labels = {"pitch": np.array(pitches) - PITCHES.start, "timbre": np.array(timbres)}
    return np.array(waves, dtype=np.float32), labels


@torch.no_grad()
def features(model: MuQModel, waves: np.ndarray, batch_size: int = 48) -> np.ndarray:
    """Means over time of the last hidden state: [N, D]."""
    rows = [model(batch).last_hidden_state.mean(dim=1) for batch in torch.from_numpy(waves).split(batch_size)]
    return torch.cat(rows).double().numpy()


def ridge_accuracy(train: np.ndarray, train_labels, test: np.ndarray, test_labels, penalty: float = 1.0) -> float:
    """Accuracy of a linear classifier fitted by ridge regression on standardised features."""
    mean, deviation = train.mean(axis=0), train.std(axis=0) + 1e-6
    train, test = (train - mean) / deviation, (test - mean) / deviation
    train, test = (np.c_[rows, np.ones(len(rows))] for rows in (train, test))
    targets = np.eye(train_labels.max() + 1)[train_labels]
    weights = np.linalg.solve(train.T @ train + penalty * np.eye(train.shape[1]), train.T @ targets)
    return float(((test @ weights).argmax(axis=1) == test_labels).mean())


def probe(folder) -> dict[str, float]:
    """Accuracy of pitch (24 classes, chance 0.042) and timbre (4 classes, chance 0.25)."""
    model = MuQModel.from_pretrained(folder).eval()
    waves, labels = make_notes(4, seed=0)
    rows = features(model, waves)
    octave = labels["pitch"] // 12
    return {
        "pitch": held_out_accuracy(rows, labels["pitch"], groups=labels["timbre"]),
        "timbre": held_out_accuracy(rows, labels["timbre"], groups=octave),
    }


def held_out_accuracy(rows: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> float:
    """Mean accuracy on each group, of a probe that was fitted on the others."""
    accuracies = []
    for group in np.unique(groups):
        test = groups == group
        accuracies.append(ridge_accuracy(rows[~test], labels[~test], rows[test], labels[test]))
    return float(np.mean(accuracies))
