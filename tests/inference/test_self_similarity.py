"""Self-similarity finds repetitions and borders in made-up songs."""

import numpy as np
import pytest

from muq_hf.inference.self_similarity import compare_with_itself, novelty_curve, plot_self_similarity


def song(*parts: str) -> np.ndarray:
    """Parts of 20 s, each letter with features of its own, at 25 frames a second."""
    generator = np.random.default_rng(0)
    centre = {letter: 3 * generator.standard_normal(8) for letter in sorted(set(parts))}
    return np.concatenate([centre[letter] + generator.standard_normal((500, 8)) for letter in parts])


def test_borders_are_where_the_parts_change():
    found = compare_with_itself(song("a", "b", "a", "c"), 25.0)
    np.testing.assert_allclose(found.boundaries, [20, 40, 60], atol=0.5)


def test_the_same_part_is_alike_and_another_is_not():
    found = compare_with_itself(song("a", "b", "a"), 25.0)
    part = len(found.times) // 3
    blocks = found.similarity[: 3 * part, : 3 * part].reshape(3, part, 3, part).mean(axis=(1, 3))
    assert blocks[0, 2] > 0.5 > blocks[0, 1]
    np.testing.assert_allclose(found.similarity, found.similarity.T)


def test_novelty_is_the_kernel_on_the_diagonal():
    """Written out for one moment: what is alike before and after it, less what is alike across it."""
    generator = np.random.default_rng(0)
    similarity, half, moment = generator.standard_normal((30, 30)), 3, 12
    total = norm = 0.0
    for i in range(-half, half):
        for j in range(-half, half):
            weight = np.exp(-4 * (((i + 0.5) / half) ** 2 + ((j + 0.5) / half) ** 2))
            total += (1 if (i < 0) == (j < 0) else -1) * weight * similarity[moment + i, moment + j]
            norm += weight
    assert novelty_curve(similarity, half)[moment] == pytest.approx(max(0, total / norm))


def test_a_song_shorter_than_the_kernel_is_refused():
    with pytest.raises(ValueError, match="too short"):
        compare_with_itself(song("a")[:200], 25.0)


def test_the_picture_is_a_png(tmp_path):
    plot_self_similarity(compare_with_itself(song("a", "b"), 25.0), "song", tmp_path / "song.png")
    assert (tmp_path / "song.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
