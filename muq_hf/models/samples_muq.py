"""Checks of samples, whether they come from a file, an array, a tensor or a list."""

import numpy as np


REASONS = ("missing", "unreadable", "unsupported", "empty", "silent", "too short")

MAX_AMPLITUDE = 100.0  # × full scale; beyond it floats are unscaled integers


class AudioError(ValueError):
    """No usable audio in a source. `reason` is one of `REASONS`; the text names the source and what is wrong."""

    def __init__(self, reason: str, message: str):
        super().__init__(reason, message)
        self.reason = reason

    def __str__(self) -> str:
        return self.args[1]


def check_samples(wave: np.ndarray, name: str) -> None:
    """Raises AudioError where samples are NaN, infinite or far beyond full scale (±1)."""
    peak = np.abs(wave).max(initial=0.0)
    if not np.isfinite(peak):
        raise AudioError("unreadable", f"{name} holds NaN or infinite samples.")
    if peak > MAX_AMPLITUDE:
        raise AudioError(
            "unreadable",
            f"{name} holds samples up to {peak:.4g} where full scale is 1: divide integer samples by their full scale.",
        )
