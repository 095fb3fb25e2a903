"""FLAC: the last frame says how long a file is, whatever its header says."""

import numpy as np
import pytest
from audio_files import encode, flac, music

from muq_hf.audio import AudioError, audio_info, load_audio


RATE = 44_100


def whole(seconds: float = 3.0, seed: int = 0) -> bytes:
    return encode(music(seconds, RATE, seed=seed), RATE, "FLAC")


def with_total(data: bytes, samples: int) -> bytes:
    """`samples` in the 36 bits of STREAMINFO that hold their number; 0: unknown (RFC 9639, section 8.2)."""
    fields = int.from_bytes(data[18:26], "big") >> 36 << 36 | samples
    return data[:18] + fields.to_bytes(8, "big") + data[26:]


@pytest.mark.parametrize("declared", [0, RATE])
def test_all_samples_are_read_whatever_the_header_says(tmp_path, declared):
    path = tmp_path / "song.flac"
    path.write_bytes(with_total(whole(), declared))
    np.testing.assert_array_equal(load_audio(path), load_audio(whole()))
    np.testing.assert_allclose(load_audio(path, start=2.0, end=2.5), load_audio(whole())[48_000:60_000], atol=2e-6)
    assert audio_info(path).duration == 3.0


@pytest.mark.parametrize("declared", [0, 3 * RATE])
@pytest.mark.parametrize("share", [0.9, 0.5])
def test_files_that_are_cut_off_are_refused(declared, share):
    data = with_total(whole(), declared)
    with pytest.raises(AudioError, match="cut off"):
        load_audio(data[: int(len(data) * share)])


def test_streams_that_follow_each_other_are_joined():
    joined = load_audio(whole(2.0) + whole(1.0, seed=1))
    assert len(joined) == 3 * 24_000
    np.testing.assert_allclose(joined[:47_000], load_audio(whole(2.0))[:47_000], atol=1e-6)


def test_two_streams_of_one_length_are_refused():
    with pytest.raises(AudioError, match="second FLAC stream"):
        load_audio(whole(1.0) + whole(1.0, seed=1))


def test_our_own_encoding_of_usual_widths_is_what_libsndfile_reads():
    samples = (music(0.5) * 32_767).astype(np.int64)
    np.testing.assert_array_equal(
        load_audio(flac(samples, 16), RATE), load_audio(encode(samples.astype(np.int16), RATE, "FLAC"), RATE)
    )


@pytest.mark.parametrize("bits", [12, 15, 20])
def test_rare_widths_of_samples_need_ffmpeg(bits, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AudioError, match=f"samples of {bits} bits needs the ffmpeg program") as caught:
        load_audio(flac(np.zeros((5_000, 1), np.int64), bits))
    assert caught.value.reason == "unsupported"
