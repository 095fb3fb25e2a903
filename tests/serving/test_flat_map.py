import numpy as np
import pytest
from sklearn.decomposition import PCA

from muq_hf.serving import flat_map


@pytest.fixture
def vectors():
    return np.random.default_rng(0).standard_normal((40, 8)).astype(np.float32) * np.arange(1, 9)


@pytest.fixture
def table(write_table, tmp_path):
    return write_table(tmp_path / "t.parquet", [("a.ogg", 0.0, 1.0, np.ones(8))])


def test_pca_is_that_of_scikit_learn_up_to_sign(vectors):
    expected = PCA(2).fit_transform(vectors)
    np.testing.assert_allclose(np.abs(flat_map.pca(vectors)), np.abs(expected), atol=1e-3)


def test_a_map_is_computed_once_and_again_when_the_table_changes(table, vectors, write_table, monkeypatch):
    first = flat_map.song_map(table, vectors)
    assert first.min() == 0 and first.max() == 1
    monkeypatch.setattr(flat_map, "pca", lambda vectors: np.eye(40, 2))
    np.testing.assert_array_equal(flat_map.song_map(table, vectors), first)
    write_table(table, [("b.ogg", 0.0, 2.0, np.ones(8)), ("c.ogg", 0.0, 2.0, np.ones(8))])
    assert not np.array_equal(flat_map.song_map(table, vectors), first)


def test_a_torn_map_file_is_made_anew(table, vectors):
    first = flat_map.song_map(table, vectors)
    file = flat_map.map_file(table, "pca")
    file.write_bytes(file.read_bytes()[:100])
    np.testing.assert_array_equal(flat_map.song_map(table, vectors), first)


def test_few_songs_have_a_map_too(table):
    for count in (0, 1, 2):
        assert flat_map.song_map(table, np.ones((count, 8), np.float32)).shape == (count, 2)


def test_methods_that_are_not_there_are_named(table, vectors, monkeypatch):
    monkeypatch.setattr(flat_map.importlib.util, "find_spec", lambda name: None)
    assert flat_map.available_methods() == ["pca"]
    with pytest.raises(ValueError, match="pip install umap-learn"):
        flat_map.song_map(table, vectors, "umap")
    with pytest.raises(ValueError, match="pca or umap"):
        flat_map.song_map(table, vectors, "tsne")


@pytest.mark.slow  # the package compiles itself at its first use
def test_umap_keeps_neighbours_together_the_same_each_time(table):
    """With the real package umap-learn: each of four well separated groups stays together on the map."""
    assert flat_map.available_methods() == ["pca", "umap"]
    generator = np.random.default_rng(0)
    group = np.repeat(np.arange(4), 30)
    vectors = (4 * np.eye(4, 16)[group] + generator.standard_normal((120, 16))).astype(np.float32)
    points = flat_map.song_map(table, vectors, "umap")
    np.testing.assert_array_equal(flat_map.umap(vectors), flat_map.umap(vectors))
    distances = np.linalg.norm(points[:, None] - points, axis=-1) + 9 * np.eye(120)
    nearest = np.argsort(distances, axis=1)[:, :5]
    assert (group[nearest] == group[:, None]).mean() > 0.95
    flat_map.map_file(table, "umap").unlink()
