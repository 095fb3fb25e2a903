import numpy as np
import pytest

from muq_hf.serving.collection import Collection


LABELS = ["calm", "loud"]


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@pytest.fixture
def songs(write_table, tmp_path):
    """Thirty songs of three parts, in two folders; song 7 and song 21 are one recording."""
    vectors = np.random.default_rng(1).standard_normal((30, 3, 16))
    vectors[21] = vectors[7] + 1e-3
    names = [f"/m/{'rock' if song % 2 else 'folk'}/{song}.ogg" for song in range(30)]
    rows = [(names[song], 10.0 * part, 10.0 * part + 10, vectors[song, part]) for song in range(30) for part in range(3)]
    labels = unit(np.random.default_rng(2).standard_normal((2, 16))).astype(np.float32)
    return Collection(write_table(tmp_path / "t.parquet", rows), LABELS, labels), unit(vectors)


def csls(bank, vectors, query):
    nearest = np.sort(vectors @ bank.T, axis=-1)[..., -10:].mean(axis=-1)
    return vectors @ query - nearest / 2


def test_songs_rank_as_the_formula_says(songs):
    collection, vectors = songs
    query = unit(np.random.default_rng(3).standard_normal(16))
    means = unit(vectors.mean(axis=1))
    expected = np.argsort(-csls(means, means, query))
    found = collection.search(query.astype(np.float32), "audio", top_k=5)
    assert [hit.song for hit in found] == [song for song in expected if song != 21 or 7 not in expected[:6]][:5]
    assert [hit.cosine for hit in found] == pytest.approx([means[hit.song] @ query for hit in found], abs=2e-3)


def test_a_song_comes_once_by_its_best_part_unless_repeats_are_wanted(songs):
    collection, vectors = songs
    query = unit(vectors[4, 1] + 0.9 * vectors[4, 2]).astype(np.float32)
    hits = collection.search(query, "audio", per="part", top_k=30)
    assert len({hit.song for hit in hits}) == len(hits)
    assert (hits[0].song, hits[0].start) == (4, 10.0)
    both = collection.search(query, "audio", per="part", top_k=2, repeats=True)
    assert [(hit.song, hit.start) for hit in both] == [(4, 10.0), (4, 20.0)]


def test_near_duplicates_are_folded_into_one_hit(songs):
    collection, vectors = songs
    hits = collection.search(unit(vectors[7].mean(axis=0)).astype(np.float32), "audio", top_k=5)
    assert {hits[0].song, *hits[0].copies} == {7, 21}
    assert {7, 21}.isdisjoint(hit.song for hit in hits[1:])


def test_neighbours_leave_the_song_itself_out(songs):
    collection, vectors = songs
    assert 3 not in [hit.song for hit in collection.neighbours(3, 29)]
    assert collection.neighbours(7, 1)[0].song == 21
    part = collection.neighbours(7, 1, part=2, per="part")[0]
    assert (part.song, part.start) == (21, 20.0)
    with pytest.raises(ValueError, match="parts 0 to 2"):
        collection.neighbours(7, 1, part=3)


def test_filters_choose_by_folder_tag_and_title(songs):
    collection, _ = songs
    assert set(np.flatnonzero(collection.allowed(folder="rock"))) == set(range(1, 30, 2))
    assert np.flatnonzero(collection.allowed(title="FOLK 14")).tolist() == [14]
    with pytest.raises(ValueError, match="there is no tag 'quiet'"):
        collection.allowed(tag="quiet")
    query = np.eye(16, dtype=np.float32)[0]
    hits = collection.search(query, "text", top_k=30, allowed=collection.allowed(folder="rock"))
    assert {hit.song % 2 for hit in hits} == {1}


def test_a_song_far_above_the_others_in_a_label_gets_it_as_its_tag(write_table, tmp_path):
    generator = np.random.default_rng(0)
    labels = unit(generator.standard_normal((2, 16))).astype(np.float32)
    common = labels[1] + 0.1 * generator.standard_normal((12, 16))  # "loud" lies near to all of them
    common[5] += 0.6 * labels[0]
    rows = [(f"{song}.ogg", 0.0, 10.0, vector) for song, vector in enumerate(common)]
    collection = Collection(write_table(tmp_path / "t.parquet", rows), LABELS, labels)
    assert LABELS[collection.song_tags[5, 0]] == "calm"
    cosines = collection.song_vectors @ labels.T
    assert cosines[5, 1] > cosines[5, 0]


def test_an_empty_table_is_an_empty_collection(write_table, tmp_path):
    collection = Collection(write_table(tmp_path / "t.parquet", []), LABELS, np.eye(2, 4, dtype=np.float32))
    assert len(collection) == 0 and collection.search(np.eye(4, dtype=np.float32)[0], "text") == []
    assert collection.search(np.eye(4, dtype=np.float32)[0], "text", per="part") == []
