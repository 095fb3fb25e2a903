"""MP3: pieces that were joined are all read, what is missing is counted, and noise inside is refused."""

import io
import re

import numpy as np
import pytest
import soundfile
from audio_files import bare_mp3, mp3, music

from muq_hf.audio import AudioError, load_audio


FRAME = 1152 / 44_100  # seconds


def seconds(data: bytes) -> float:
    return len(load_audio(data)) / 24_000


def in_free_format(seconds: float, kbit: int) -> bytes:
    """MP3 of a constant bit rate that its headers leave out, behind an Info header. At 48 kHz no frame is padded."""
    buffer = io.BytesIO()
    level = 1 - (kbit - 32) / (320 - 32)
    soundfile.write(buffer, music(seconds, 48_000), 48_000, format="MP3", compression_level=level, bitrate_mode="CONSTANT")
    data = bytearray(buffer.getvalue())
    for position in range(144_000 * kbit // 48_000, len(data), 144_000 * kbit // 48_000):
        assert data[position] == 0xFF
        data[position + 2] &= 0x0F
    return bytes(data)


def test_frames_in_free_format_are_counted():
    data = in_free_format(2.0, 128)
    whole, again = load_audio(data), load_audio(data + in_free_format(2.0, 192))
    assert len(whole) == pytest.approx(48_000, abs=2 * 576)
    assert len(again) == 2 * len(whole) and np.array_equal(again[: len(whole) - 2_000], whole[:-2_000])
    bare = data[384:]
    assert len(load_audio(bare)) == pytest.approx(48_000, abs=4 * 576)
    with pytest.raises(AudioError, match="of .* MPEG frames are there"):
        load_audio(data[: len(data) // 2])


def test_a_second_info_header_begins_a_second_piece():
    first, second = mp3(2.0, seed=1), mp3(1.0, seed=2)
    np.testing.assert_allclose(load_audio(first + second)[:47_000], load_audio(first)[:47_000], atol=1e-6)
    assert seconds(first + second) == pytest.approx(3.0, abs=0.001)


@pytest.mark.parametrize(("rate", "channels"), [(44_100, 1), (48_000, 2), (32_000, 2)])
def test_a_change_of_format_begins_a_second_piece(rate, channels):
    joined = bare_mp3(2.0) + bare_mp3(1.0, rate, channels)
    assert seconds(joined) == pytest.approx(3.0, abs=5 * FRAME)


@pytest.mark.parametrize("tag", [b"TAG" + bytes(125), b"ID3\x04\0\0\0\0\x02\x00" + b"x" * 256, bytes(1_000)])
def test_tags_and_zeros_may_stand_anywhere(tag):
    first, second = bare_mp3(1.0), bare_mp3(1.0, seed=1)
    assert seconds(tag + first + tag + second + tag) == pytest.approx(2.0, abs=5 * FRAME)


def test_a_cut_last_frame_costs_that_frame_only():
    data = bare_mp3(2.0)
    assert seconds(data[:-100]) == pytest.approx(seconds(data), abs=1.01 * FRAME)


def test_part_of_a_frame_before_the_first_is_passed_over():
    data = bare_mp3(2.0)
    assert seconds(data[200:]) == pytest.approx(seconds(data), abs=2 * FRAME)


def test_frames_that_the_info_header_counts_and_that_are_not_there():
    data = mp3(3.0)
    with pytest.raises(AudioError, match=r"cut off: \d+ of \d+ MPEG frames"):
        load_audio(data[: len(data) * 2 // 3])


def test_an_info_header_that_says_too_little_is_not_believed():
    data = bytearray(mp3(3.0))
    at = re.search(b"Info|Xing", data).end() + 4
    data[at : at + 4] = (30).to_bytes(4, "big")
    assert seconds(bytes(data)) == pytest.approx(3.0, abs=3 * FRAME)


def test_noise_among_the_frames_is_refused():
    data = bare_mp3(2.0)
    middle = len(data) // 2
    noise = np.random.default_rng(0).bytes(3_000)
    with pytest.raises(AudioError, match="are no MPEG frames"):
        load_audio(data[:middle] + noise + data[middle + 3_000 :])


def test_noise_between_frames_that_are_all_there_is_passed_over():
    """The Info header counts them."""
    data = mp3(2.0)
    third_frame = data.index(data[:3], data.index(data[:3], 100) + 100)
    assert seconds(data[:third_frame] + b"noise" * 20 + data[third_frame:]) == pytest.approx(2.0, abs=3 * FRAME)


def test_a_file_of_tags_says_so():
    with pytest.raises(AudioError, match="tags only") as caught:
        load_audio(b"ID3\x04\0\0\0\0\x02\x00" + bytes(256))
    assert caught.value.reason == "empty"
