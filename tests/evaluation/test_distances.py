"""Distances between sets equal those of fadtk, kadtk, prdc and vendi-score (stored by tests/oracle/distance_goldens.py)."""

import numpy as np
import pytest
from checks import ASSETS
from safetensors.numpy import load_file

from muq_hf.evaluation import distances
from muq_hf.evaluation.distances import (
    deviation_by_halves,
    frechet_between,
    frechet_distance,
    frechet_limit,
    kernel_distance,
    median_distance,
    nearest_rows,
    neighbour_scores,
    realism_scores,
    vendi_score,
)


CLOSE = 1e-6  # relative


@pytest.fixture(scope="module")
def goldens():
    return load_file(ASSETS / "distances.safetensors")


@pytest.fixture(scope="module")
def sets(goldens):
    return goldens["generated"], goldens["reference"]


def test_frechet_distance_is_that_of_fadtk(goldens, sets):
    assert frechet_distance(*sets) == pytest.approx(goldens["frechet"][0], rel=CLOSE)


def test_frechet_distance_of_gaussians_along_the_axes_is_the_formula():
    """With diagonal covariances the square root of the product is that of each pair of variances."""
    one, other = (np.zeros(2), np.diag([4.0, 9.0])), (np.array([3.0, 4.0]), np.diag([1.0, 16.0]))
    assert frechet_between(one, other) == pytest.approx(25 + (2 - 1) ** 2 + (3 - 4) ** 2)


def test_limit_of_the_frechet_distance_is_that_of_fadtk(goldens, sets):
    found = frechet_limit(*sets, steps=25, seed=0, least=40)
    assert [found.distance, found.slope, found.r2] == pytest.approx(goldens["frechet_limit"].tolist(), rel=CLOSE)


def test_limit_of_the_frechet_distance_lies_nearer_to_the_truth_than_the_distance():
    """Sets of one distribution, whose distance is 0; mean over five."""
    generator = np.random.default_rng(1)
    pairs = [(generator.standard_normal((200, 16)), generator.standard_normal((5_000, 16))) for _ in range(5)]
    limits = [abs(frechet_limit(*pair).distance) for pair in pairs]
    assert np.mean(limits) < 0.3 * np.mean([frechet_distance(*pair) for pair in pairs])


def test_kernel_distance_is_that_of_kadtk(goldens, sets):
    assert median_distance(sets[1]) == pytest.approx(goldens["bandwidth"][0], rel=CLOSE)
    assert kernel_distance(*sets) == pytest.approx(goldens["kernel"][0], rel=CLOSE)


def test_kernel_distance_of_equal_distributions_is_zero_on_average():
    generator = np.random.default_rng(0)
    found = [kernel_distance(generator.standard_normal((20, 4)), generator.standard_normal((20, 4))) for _ in range(200)]
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(len(found))


def test_neighbour_scores_are_those_of_prdc(goldens, sets):
    found = neighbour_scores(*sets)
    assert found == pytest.approx({name: goldens[name][0] for name in found}, rel=CLOSE)


def test_vendi_score_is_that_of_the_package(goldens, sets):
    assert vendi_score(sets[0]) == pytest.approx(goldens["vendi"][0], rel=CLOSE)


def test_vendi_score_counts_different_clips():
    different = np.eye(4)
    assert vendi_score(different) == pytest.approx(4)
    assert vendi_score(np.repeat(different, 3, axis=0)) == pytest.approx(4)


@pytest.mark.parametrize("values", [50, 7000])
def test_blocks_change_nothing(monkeypatch, sets, values):
    whole = (kernel_distance(*sets), neighbour_scores(*sets), realism_scores(*sets), nearest_rows(*sets)[0])
    monkeypatch.setattr(distances, "BLOCK_VALUES", values)
    parts = (kernel_distance(*sets), neighbour_scores(*sets), realism_scores(*sets), nearest_rows(*sets)[0])
    assert parts[0] == pytest.approx(whole[0], rel=1e-9)
    assert parts[1] == whole[1]
    np.testing.assert_allclose(parts[2], whole[2])
    np.testing.assert_array_equal(parts[3], whole[3])


def test_realism_is_the_formula(sets):
    """Ratio of the k-th neighbour's distance to the own one, over the half of the reference with narrow balls, pair by pair."""
    generated, reference = (rows.astype(float)[:40] for rows in sets)
    reach = np.array([np.sort(np.linalg.norm(reference - row, axis=1))[5] for row in reference])
    kept = reach <= np.median(reach)
    ratios = [(reach[kept] / np.linalg.norm(reference[kept] - row, axis=1)).max() for row in generated]
    np.testing.assert_allclose(realism_scores(generated, reference), ratios, rtol=1e-9)


def test_the_nearest_row_is_the_copy_and_not_its_own_song():
    generator = np.random.default_rng(0)
    reference = generator.standard_normal((20, 8))
    numbers, cosines = nearest_rows(2 * reference[[4, 11]], reference)
    assert numbers.tolist() == [4, 11] and cosines == pytest.approx([1, 1])
    songs = np.arange(20) // 2
    numbers, _ = nearest_rows(reference, reference, apart=(songs, songs))
    assert (songs[numbers] != songs).all()


def test_the_deviation_of_halves_is_that_of_new_draws():
    """Of the kernel distance between two Gaussians: the spread over 300 new pairs of sets, and the one found in single pairs."""
    generator = np.random.default_rng(0)

    def draw():
        return generator.standard_normal((60, 3)), generator.standard_normal((60, 3)) + 1

    truth = np.std([kernel_distance(*draw()) for _ in range(300)])
    found = []
    for _ in range(10):
        x, y = draw()
        score = lambda i, j: {"kernel": kernel_distance(x[i], y[j])}  # noqa: B023, E731
        found.append(deviation_by_halves(score, range(60), range(60), resamples=50)["kernel"])
    assert np.mean(found) == pytest.approx(truth, rel=0.2)


def test_halves_keep_the_clips_of_a_song_together():
    songs = np.repeat(np.arange(7), 3)
    drawn = []
    deviation_by_halves(lambda i, j: drawn.append(i) or {"size": len(i)}, songs, songs, resamples=5)
    assert all(set(np.bincount(songs[index], minlength=7)) <= {0, 3} for index in drawn)


@pytest.mark.parametrize("function", [frechet_distance, kernel_distance, neighbour_scores, realism_scores])
def test_sets_of_different_features_are_refused(function):
    with pytest.raises(ValueError, match="the same features"):
        function(np.zeros((20, 3)), np.zeros((20, 4)))


def test_what_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        vendi_score(np.array([[1.0, np.nan]]))
