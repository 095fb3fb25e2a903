"""Scores. scikit-learn and mir_eval compute what they define; the rest is here."""

import warnings

import mir_eval
import numpy as np
from scipy.stats import ConstantInputWarning, pearsonr, spearmanr
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, r2_score, roc_auc_score


TEMPO_TOLERANCE = 0.04  # of the true tempo (Gouyon et al. 2006, Accuracy 1 and 2)
TEMPO_OCTAVES = (1.0, 2.0, 3.0, 1 / 2, 1 / 3)  # factors that Accuracy 2 forgives
PITCH_CLASSES = 12


def class_scores(truth: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """truth, predicted: [N] class names."""
    return {
        "accuracy": float(accuracy_score(truth, predicted)),
        "macro_f1": float(f1_score(truth, predicted, average="macro", zero_division=0)),
    }


def pitch_scores(truth: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """truth, predicted: [N] MIDI notes."""
    truth, predicted = truth.astype(int), predicted.astype(int)
    same_class = (truth - predicted) % PITCH_CLASSES == 0
    return {**class_scores(truth, predicted), "pitch_class_accuracy": float(same_class.mean())}


def key_scores(truth: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """truth, predicted: [N] keys as in "C major", "Bb minor" → MIREX weighted score (mir_eval.key) and accuracy."""
    weighted = [mir_eval.key.weighted_score(a, b) for a, b in zip(truth, predicted, strict=True)]
    return {"weighted_score": float(np.mean(weighted)), **class_scores(truth, predicted)}


def tempo_scores(truth: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """truth, predicted: [N] beats per minute → share within 4 %, and the same where octave errors are forgiven."""
    octaves = np.outer(TEMPO_OCTAVES, truth)  # [5, N]
    close = np.abs(predicted - octaves) <= TEMPO_TOLERANCE * octaves
    return {"acc1": float(close[0].mean()), "acc2": float(close.any(axis=0).mean())}


def multilabel_scores(truth: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """truth [N, K] of 0 and 1, scores [N, K] → means over the tags that have both values in truth."""
    defined = (truth.min(axis=0) == 0) & (truth.max(axis=0) == 1)
    if not defined.any():
        raise ValueError(
            f"no tag has both clips with it and clips without it among the {len(truth)} clips that are scored: "
            "validation and test need more clips."
        )
    return {
        "roc_auc": float(roc_auc_score(truth[:, defined], scores[:, defined], average="macro")),
        "pr_auc": float(average_precision_score(truth[:, defined], scores[:, defined], average="macro")),
    }


def regression_scores(truth: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """truth, predicted: [N, K] → R², the mean over the K values and each of them; mean rank (srcc) and linear correlation (pcc).

    A correlation with what is constant is 0 here: it orders nothing.
    """
    truth, predicted = (np.asarray(values).reshape(len(values), -1) for values in (truth, predicted))
    each = r2_score(truth, predicted, multioutput="raw_values")
    found = {"r2": float(each.mean()), "srcc": 0.0, "pcc": 0.0}
    for name, correlation in (("srcc", spearmanr), ("pcc", pearsonr)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConstantInputWarning)
            values = [correlation(truth[:, k], predicted[:, k]).statistic if len(truth) > 1 else 0.0 for k in range(len(each))]
        found[name] = float(np.nan_to_num(values).mean())
    return found | ({f"r2_{k}": float(r2) for k, r2 in enumerate(each)} if len(each) > 1 else {})


def chord_scores(references, estimates) -> dict[str, float]:
    """Each: list of (intervals [n, 2] in seconds, labels) per clip → mir_eval's duration-weighted accuracies."""
    totals = {"majmin": [0.0, 0.0], "root": [0.0, 0.0]}
    for (ref_intervals, ref_labels), (est_intervals, est_labels) in zip(references, estimates, strict=True):
        est_intervals, est_labels = mir_eval.util.adjust_intervals(
            est_intervals, est_labels, ref_intervals.min(), ref_intervals.max(), "N", "N"
        )
        intervals, ref, est = mir_eval.util.merge_labeled_intervals(ref_intervals, ref_labels, est_intervals, est_labels)
        durations = mir_eval.util.intervals_to_durations(intervals)
        for name, total in totals.items():
            correct = getattr(mir_eval.chord, name)(ref, est)  # −1 where the reference is outside the vocabulary
            counted = correct >= 0
            total[0] += float((correct * durations)[counted].sum())
            total[1] += float(durations[counted].sum())
    return {f"weighted_{name}": hit / whole if whole else 0.0 for name, (hit, whole) in totals.items()}


def event_scores(references: list[np.ndarray], estimates: list[np.ndarray]) -> dict[str, float]:
    """Times in seconds per clip → mean F-measure within ±70 ms (mir_eval.beat)."""
    scores = [mir_eval.beat.f_measure(np.asarray(a), np.asarray(b)) for a, b in zip(references, estimates, strict=True)]
    return {"f_measure": float(np.mean(scores))}
