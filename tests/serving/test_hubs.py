import numpy as np

from muq_hf.serving.hubs import fold_repeats, offsets


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def test_the_skewness_of_occurrences_falls():
    """The measure of Radovanović et al.: how often each item is among the ten nearest of a query."""
    generator = np.random.default_rng(0)
    queries = unit(generator.standard_normal((400, 32)) + 0.5)
    items = unit(generator.standard_normal((200, 32)) + 0.4)
    cosines = queries @ items.T

    def skewness(ranks):
        counts = np.bincount(np.argsort(-ranks, axis=1)[:, :10].ravel(), minlength=200)
        return ((counts - counts.mean()) ** 3).mean() / counts.std() ** 3

    assert skewness(cosines - offsets(queries, items)) < 0.6 * skewness(cosines)


def test_offsets_are_half_the_mean_of_the_nearest_cosines():
    bank, vectors = unit(np.random.default_rng(1).standard_normal((2, 40, 8)))
    expected = [np.sort(bank @ vector)[-10:].mean() / 2 for vector in vectors]
    np.testing.assert_allclose(offsets(bank, vectors), expected, rtol=1e-5)
    assert offsets(bank[:0], vectors).tolist() == [0] * 40


def test_songs_of_other_lengths_are_no_copies():
    vectors = unit(np.array([[1.0, 0], [1, 0.001], [1, 0.002], [0, 1]]))
    durations = np.array([100.0, 100.5, 90, 100])
    assert fold_repeats([0, 1, 2, 3], np.arange(4), vectors, durations) == [[0, 1], [2], [3]]
