"""Acoustic fingerprints: of a recording in blocks as of the whole, and the same recording found among many."""

import numpy as np
import pytest
from checks import EXAMPLE_AUDIO

from muq_hf.audio import load_audio
from muq_hf.training import acoustic_fingerprint
from muq_hf.training.acoustic_fingerprint import AcousticFingerprint, find_duplicates


RATE = 24_000
SONGS = ("bach_brandenburg", "folk_celtic_pride", "metal_ezer_ev")


@pytest.fixture(scope="module")
def songs() -> dict[str, np.ndarray]:
    return {name: load_audio(EXAMPLE_AUDIO / f"{name}.ogg", RATE) for name in SONGS}


@pytest.mark.parametrize("block", [1_000, 7_001, 240_000])
def test_a_recording_in_blocks_has_the_words_of_the_whole(songs, block):
    samples = songs["bach_brandenburg"]
    stream = AcousticFingerprint(RATE)
    for start in range(0, len(samples), block):
        stream.add(samples[start : start + block])
    words = stream.words()
    assert np.array_equal(words, acoustic_fingerprint.acoustic_fingerprint(samples, RATE))
    assert len(words) == pytest.approx(50 * len(samples) / RATE, rel=0.05)


@pytest.mark.parametrize("num_samples", [0, 1, 1_000])
def test_the_shortest_recordings_have_words_too(num_samples):
    assert len(acoustic_fingerprint.acoustic_fingerprint(np.zeros(num_samples, np.float32), RATE)) >= 1


@pytest.mark.parametrize("most_words", [20_000_000, 1_000])
def test_a_louder_excerpt_is_found_whether_words_are_drawn_or_not(songs, monkeypatch, most_words):
    monkeypatch.setattr(acoustic_fingerprint, "MOST_WORDS", most_words)
    prints = {name: acoustic_fingerprint.acoustic_fingerprint(samples, RATE) for name, samples in songs.items()}
    excerpt = 1.5 * songs["folk_celtic_pride"][3 * RATE + 77 :]
    prints["excerpt"] = acoustic_fingerprint.acoustic_fingerprint(excerpt, RATE)
    assert find_duplicates(prints) == {"excerpt": "folk_celtic_pride"}


def test_without_recordings_there_are_no_copies():
    assert find_duplicates({}) == {}
