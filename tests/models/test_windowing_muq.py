"""Windows over long audio: whatever the lengths, the kept frames are the frames of the whole signal, once each and in order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muq_hf import MuQConfig
from muq_hf.models.windowing_muq import WindowLengths, frame_times, num_frames, plan_windows, stream_windows


CONFIG = MuQConfig.from_preset("tiny")
FRAME, SHORTEST = CONFIG.samples_per_frame, CONFIG.min_samples


@st.composite
def lengths_and_signals(draw):
    """(WindowLengths, number of samples), often near the edges of hops, frames and windows."""
    left, right = draw(st.integers(0, 6)), draw(st.integers(0, 6))
    chunk = left + right + draw(st.integers(1 if left + right else 2, 20))
    lengths = WindowLengths(max(chunk, 2) * FRAME, left * FRAME, right * FRAME, FRAME, SHORTEST)
    near = draw(st.integers(0, 60)) * FRAME // 4 + draw(st.integers(-3, 3))
    num_samples = draw(st.sampled_from([near, draw(st.integers(SHORTEST, 90 * FRAME))]))
    return lengths, max(SHORTEST, num_samples)


def windows_of(lengths, num_samples):
    return plan_windows(num_samples, lengths.chunk, lengths.stride_left, lengths.stride_right, FRAME, SHORTEST)


@given(lengths_and_signals())
@settings(max_examples=300, deadline=None)
def test_kept_frames_tile_the_frames_of_the_whole_signal(case):
    lengths, num_samples = case
    frames = []
    for window in windows_of(lengths, num_samples):
        a, b = window.kept_frames(FRAME)
        frames += [window.start // FRAME + i for i in range(a, b)]
    assert frames == list(range(num_frames(num_samples, FRAME)))


@given(lengths_and_signals())
@settings(max_examples=300, deadline=None)
def test_every_window_is_one_that_the_model_takes(case):
    lengths, num_samples = case
    for window in windows_of(lengths, num_samples):
        assert window.start >= 0 and window.end <= num_samples and window.start % FRAME == 0
        assert SHORTEST <= window.end - window.start <= max(lengths.chunk, SHORTEST + FRAME)
        a, b = window.kept_frames(FRAME)
        assert 0 <= a < b <= num_frames(window.end - window.start, FRAME)


@given(lengths_and_signals())
@settings(max_examples=300, deadline=None)
def test_kept_frames_have_the_promised_context(case):
    lengths, num_samples = case
    windows = windows_of(lengths, num_samples)
    assert all(window.keep_start - window.start >= lengths.stride_left for window in windows[1:])
    assert all(window.end - window.keep_end == lengths.stride_right for window in windows[:-1])


@given(lengths_and_signals(), st.integers(1, 30_000))
@settings(max_examples=200, deadline=None)
def test_streaming_gives_the_planned_windows(case, block):
    lengths, num_samples = case
    signal = np.arange(num_samples, dtype=np.float32)
    blocks = (signal[i : i + block] for i in range(0, num_samples, block))
    streamed = list(stream_windows(blocks, lengths))
    assert [window for window, _, _ in streamed] == windows_of(lengths, num_samples)
    assert [is_last for _, _, is_last in streamed] == [False] * (len(streamed) - 1) + [True]
    for window, samples, _ in streamed:
        np.testing.assert_array_equal(samples, signal[window.start : window.end])


def test_streaming_holds_no_more_than_a_window_and_a_block():
    lengths = WindowLengths(50 * FRAME, 8 * FRAME, 8 * FRAME, FRAME, SHORTEST)
    read = 0

    def blocks():
        nonlocal read
        for _ in range(2000):
            read += FRAME
            yield np.zeros(FRAME, dtype=np.float32)

    for window, samples, _ in stream_windows(blocks(), lengths):
        assert read - window.end <= 2 * FRAME
        assert samples.base is None or len(samples.base) <= lengths.chunk + 5 * FRAME


def test_frames_are_those_that_the_model_makes():
    from muq_hf import MuQModel

    model = MuQModel(CONFIG)
    for num_samples in range(SHORTEST, SHORTEST + 3 * FRAME, 7):
        assert num_frames(num_samples, FRAME) == model._get_feat_extract_output_lengths(num_samples)


def test_speech_recognition_semantics():
    """10 s windows with 2 s and 1 s of context advance by 7 s; the ends of the signal have no context to lose."""
    second = 25 * FRAME
    windows = plan_windows(20 * second, 10 * second, 2 * second, second, FRAME, SHORTEST)
    assert [tuple(n / second for n in window) for window in windows] == [(0, 10, 0, 9), (7, 17, 9, 16), (14, 20, 16, 20)]


def test_seconds_are_rounded_to_frames():
    lengths = WindowLengths.from_seconds(10.01, (1.99, 0.0), CONFIG.sampling_rate, FRAME, SHORTEST)
    assert (lengths.chunk, lengths.stride_left, lengths.stride_right) == (250 * FRAME, 50 * FRAME, 0)


def test_stride_is_a_sixth_of_the_chunk_unless_told():
    lengths = WindowLengths.from_seconds(30.0, None, CONFIG.sampling_rate, FRAME, SHORTEST)
    assert lengths.stride_left == lengths.stride_right == 5 * CONFIG.sampling_rate


def test_times_cover_the_signal():
    times = frame_times(24_000 + 500, 24_000, FRAME)
    assert times[0].tolist() == [0.0, 0.04]
    assert times[-1].tolist() == [1.0, 24_500 / 24_000]
    np.testing.assert_array_equal(times[1:, 0], times[:-1, 1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1000, 0, 0), "multiples of a frame, 960 samples"),
        ((9600, 4800, 4800), "longer than both its strides"),
        ((9600, -960, 0), "not be negative"),
        ((960, 0, 0), "at least 1025"),
        ((0, 0, 0), "longer than both"),
    ],
)
def test_impossible_lengths_are_explained(arguments, message):
    with pytest.raises(ValueError, match=message):
        plan_windows(100_000, *arguments, FRAME, SHORTEST)


@pytest.mark.parametrize("stride", [(1.0,), (1.0, 2.0, 3.0), float("nan"), (float("inf"), 0.0), "one", {}])
def test_malformed_strides_are_explained(stride):
    with pytest.raises(ValueError, match="one or two"):
        WindowLengths.from_seconds(10.0, stride, CONFIG.sampling_rate, FRAME, SHORTEST)


def test_short_signals_are_refused():
    with pytest.raises(ValueError, match="1024 samples; at least 1025"):
        plan_windows(1024, 9600, 0, 0, FRAME, SHORTEST)
    with pytest.raises(ValueError, match="1024 samples; at least 1025"):
        list(stream_windows([np.zeros(1024, dtype=np.float32)], WindowLengths(9600, 0, 0, FRAME, SHORTEST)))
