"""A song against itself: which moments are alike, and where something new begins."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..storage.figures import new_figure, save_figure


STEP_SECONDS = 0.5
KERNEL_SECONDS = 16.0  # that novelty looks at on both sides together
MIN_DEVIATION = 1e-6
BOUNDARY_DEVIATIONS = 1.0  # by which a maximum of novelty exceeds the mean to be a boundary


@dataclass(frozen=True)
class SelfSimilarity:
    """times [T]: start of each step (s); similarity [T, T]: cosines; novelty [T]; boundaries: seconds."""

    times: np.ndarray
    similarity: np.ndarray
    novelty: np.ndarray
    boundaries: np.ndarray


def compare_with_itself(
    frames: np.ndarray, frame_rate: float, step_seconds: float = STEP_SECONDS, kernel_seconds: float = KERNEL_SECONDS
) -> SelfSimilarity:
    """frames [N, D] at `frame_rate` (Hz), of a hidden state for instance.

    Frames are averaged over steps, features brought to mean 0 and deviation 1 over the song. Raises ValueError for a song that is
    shorter than the kernel.
    """
    per_step = max(1, round(step_seconds * frame_rate))
    steps = len(frames) // per_step
    half = max(1, round(kernel_seconds / 2 * frame_rate / per_step))
    if steps < 2 * half:
        seconds = len(frames) / frame_rate
        raise ValueError(f"{seconds:.1f} s are too short for a kernel of {kernel_seconds:g} s: choose a shorter one.")
    rows = frames[: steps * per_step].reshape(steps, per_step, -1).mean(axis=1)
    rows = (rows - rows.mean(axis=0)) / np.maximum(rows.std(axis=0), MIN_DEVIATION)
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), MIN_DEVIATION)
    similarity = unit @ unit.T
    novelty = novelty_curve(similarity, half)
    times = np.arange(steps) * per_step / frame_rate
    return SelfSimilarity(times, similarity, novelty, times[_boundaries(novelty, half)])


def novelty_curve(similarity: np.ndarray, half: int) -> np.ndarray:
    """How much the `half` steps after each moment are alike, and unlike those before it [T], never below 0 (Foote 2000).

    A checkerboard kernel with a Gaussian taper, moved along the diagonal; beyond the song's ends nothing is known, and counts 0.
    """
    place = np.arange(-half, half) + 0.5
    taper = np.exp(-4 * (place / half) ** 2)
    kernel = np.outer(np.sign(place) * taper, np.sign(place) * taper)
    kernel /= np.abs(kernel).sum()
    padded = np.pad(similarity, half)
    curve = [np.sum(padded[t : t + 2 * half, t : t + 2 * half] * kernel) for t in range(len(similarity))]
    return np.maximum(curve, 0.0)


def plot_self_similarity(found: SelfSimilarity, title: str, path: Path) -> None:
    """The matrix above, the novelty curve with its boundaries below."""
    step = found.times[1] - found.times[0]
    end = found.times[-1] + step
    figure = new_figure(7, 8.4)
    matrix, curve = figure.subplots(2, 1, sharex=True, height_ratios=(5, 1))
    matrix.imshow(found.similarity, origin="lower", extent=(0, end, 0, end), cmap="magma", vmin=-0.5, vmax=1, aspect="auto")
    matrix.set(title=title, ylabel="s")
    curve.plot(found.times, found.novelty)
    for boundary in found.boundaries:
        curve.axvline(boundary, color="0.6", linewidth=0.8)
    curve.set(xlabel="s", ylabel="novelty", xlim=(0, end))
    save_figure(figure, path)


def _boundaries(novelty: np.ndarray, half: int) -> np.ndarray:
    """Steps at which novelty is highest within half a kernel on both sides, and clearly above its mean."""
    threshold = novelty.mean() + BOUNDARY_DEVIATIONS * novelty.std()
    return np.array(
        [
            t
            for t in range(len(novelty))
            if novelty[t] > threshold and novelty[t] == novelty[max(0, t - half) : t + half + 1].max()
        ],
        dtype=int,
    )
