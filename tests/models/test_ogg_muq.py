"""Ogg: streams that follow each other are all read, and a damaged page is refused."""

import io
import subprocess
import sys

import numpy as np
import pytest
from audio_files import ogg_pages, opus, silent_vorbis, vorbis

from muq_hf.audio import AudioError, load_audio
from muq_hf.models.ogg_muq import ogg_parts, page_checksum


@pytest.mark.parametrize("encode", [vorbis, opus])
def test_streams_that_follow_each_other_are_joined(encode):
    first, second = encode(2.0, seed=1), encode(1.0, seed=2)
    expected = np.concatenate([load_audio(first), load_audio(second)])
    joined = load_audio(first + second)
    assert abs(len(joined) - len(expected)) <= 2
    np.testing.assert_allclose(joined[24_100:47_000], expected[24_100:47_000], atol=1e-5)
    np.testing.assert_allclose(joined[48_100:], expected[48_100 : len(joined)], atol=2e-2)


def test_streams_of_other_rates_and_channels_are_joined():
    first, second = vorbis(2.0, 44_100), vorbis(1.0, 22_050, channels=1)
    joined = load_audio(first + second)
    assert len(joined) / 24_000 == pytest.approx(3.0, abs=0.001)
    inner = slice(1_000, -1_000)
    assert np.corrcoef(joined[48_000:72_000][inner], load_audio(second)[:24_000][inner])[0, 1] > 0.999


def test_an_excerpt_across_a_join_is_a_slice_of_the_whole():
    data = vorbis(2.0) + vorbis(1.0, seed=3)
    np.testing.assert_allclose(load_audio(data, start=1.5, end=2.5), load_audio(data)[36_000:60_000], atol=2e-6)


@pytest.mark.parametrize("encode", [vorbis, opus])
def test_a_flipped_bit_is_refused_wherever_it_is(encode):
    data = encode()
    generator = np.random.default_rng(0)
    for place in generator.integers(0, len(data), 60):
        damaged = bytearray(data)
        damaged[place] ^= 1 << generator.integers(8)
        with pytest.raises(AudioError) as caught:
            load_audio(bytes(damaged))
        assert caught.value.reason in ("unreadable", "unsupported")


READ_AND_MEASURE = """
import resource, sys
from muq_hf.audio import stream_audio

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
seconds = sum(map(len, stream_audio(sys.argv[1]))) / 24_000
print(seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.slow
def test_few_bytes_of_many_channels_take_little_memory(tmp_path):
    """Five seconds of 255 channels are 225 MB of samples."""
    (tmp_path / "wide.ogg").write_bytes(silent_vorbis(5.0))
    assert (tmp_path / "wide.ogg").stat().st_size < 20_000
    result = subprocess.run(
        [sys.executable, "-c", READ_AND_MEASURE, tmp_path / "wide.ogg"], capture_output=True, text=True, check=True
    )
    seconds, mebibytes = map(float, result.stdout.split())
    assert seconds == pytest.approx(5.0, abs=0.05) and mebibytes < 80


def test_a_page_that_is_missing_is_refused():
    pages = ogg_pages(vorbis(10.0))
    with pytest.raises(AudioError, match="pages are missing"):
        load_audio(b"".join(pages[:4] + pages[5:]))


def test_a_stream_that_is_cut_before_the_next_one_is_refused():
    with pytest.raises(AudioError, match="cut off before its last page"):
        load_audio(b"".join(ogg_pages(vorbis())[:-1]) + vorbis())


def test_tags_behind_the_last_page_are_no_damage():
    np.testing.assert_array_equal(load_audio(vorbis() + b"TAG" + bytes(125)), load_audio(vorbis()))


def test_checksums_are_those_that_libogg_writes():
    for page in ogg_pages(vorbis()):
        assert page_checksum(page) == int.from_bytes(page[22:26], "little")


def test_codings_that_libsndfile_does_not_read_are_named():
    page = bytearray(b"OggS\0\x06" + bytes(20) + b"\1\x08Speex   ")
    page[22:26] = page_checksum(bytes(page)).to_bytes(4, "little")
    with pytest.raises(AudioError, match="Speex in Ogg needs the ffmpeg program"):
        ogg_parts(io.BytesIO(bytes(page)), 0)
