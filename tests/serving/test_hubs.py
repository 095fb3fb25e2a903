import shutil
import subprocess

import numpy as np
import pytest
from checks import EXAMPLE_AUDIO

from muq_hf.checkpoints import MUQ_MULAN_TINY
from muq_hf.inference.embedding import embed_files
from muq_hf.serving.collection import Collection
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


@pytest.fixture
def recording():
    """Eight parts of one song that changes on its way."""
    return unit(np.random.default_rng(2).standard_normal(16) + 0.3 * np.random.default_rng(3).standard_normal((8, 16)))


def groups_of(songs, durations):
    return fold_repeats(list(range(len(songs))), np.arange(len(songs)), songs.__getitem__, np.array(durations))


def test_a_copy_that_a_codec_has_moved_is_known_by_its_course(recording):
    copy = unit(recording + 0.8 * unit(np.random.default_rng(4).standard_normal(16)))
    assert recording.mean(axis=0) @ copy.mean(axis=0) < 0.95
    assert groups_of([recording, copy], [80.0, 80.1]) == [[0, 1]]


def test_another_song_of_the_same_style_and_length_is_none(recording):
    mean = unit(recording.mean(axis=0))
    other = unit(mean + 0.05 * np.random.default_rng(5).standard_normal((8, 16)))
    assert mean @ unit(other.mean(axis=0)) > 0.99
    assert groups_of([recording, other], [80.0, 80.0]) == [[0], [1]]
    assert groups_of([recording, recording], [80.0, 81.0]) == [[0], [1]]


def test_songs_of_one_part_are_copies_only_when_nearly_equal():
    vectors = unit(np.array([[1.0, 0], [1, 0.001], [1, 0.2], [0, 1]]))[:, None]
    assert groups_of(vectors, [100.0, 100.2, 100, 100]) == [[0, 1], [2], [3]]


@pytest.mark.slow
def test_copies_of_real_music_are_folded_and_other_songs_of_its_length_are_not(tmp_path):
    """Six clips of 12 s, in parts of 2 s, and MP3 of them at 128 kbit/s."""
    for clip in EXAMPLE_AUDIO.glob("*.ogg"):
        shutil.copy(clip, tmp_path)
        command = ["ffmpeg", "-v", "error", "-i", clip, "-b:a", "128k", tmp_path / f"{clip.stem}_copy.mp3"]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    table = tmp_path / "songs.parquet"
    embed_files(tmp_path, MUQ_MULAN_TINY, table, chunk_length_s=2, workers=0, progress=False)
    labels = np.eye(2, 128, dtype=np.float32)
    collection = Collection(table, ["a", "b"], labels)
    hits = collection.search(labels[0], "audio", top_k=50)
    names = [{collection.titles[song].removesuffix(" copy") for song in (hit.song, *hit.copies)} for hit in hits]
    assert all(len(name) == 1 for name in names) and sum(len(hit.copies) for hit in hits) == len(hits)
