import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muq_hf import MuQConfig
from muq_hf.inference.segments import WindowPlan, split_stream


CONFIG = MuQConfig.from_preset("tiny")
FRAME = CONFIG.samples_per_frame


def blocks_of(audio: np.ndarray, size: int):
    return (audio[start : start + size] for start in range(0, len(audio), size))


def frames(samples: int) -> int:
    """Frames that the encoder gives for so many samples: two halvings of the mel frames, rounded up."""
    return math.ceil(math.ceil(samples // CONFIG.hop_length / 2) / 2)


plans = st.builds(
    lambda chunk, kept, stride: WindowPlan.from_seconds(CONFIG, chunk and chunk / 25, (kept + 2 * stride) / 25, stride / 25),
    chunk=st.none() | st.integers(2, 75),  # frames
    kept=st.integers(2, 50),
    stride=st.integers(0, 12),  # each side
)


@settings(deadline=None)
@given(plan=plans, length=st.integers(1025, 200_000), block=st.integers(500, 50_000))
def test_kept_parts_tile_the_file_and_their_frames_are_those_of_the_whole(plan, length, block):
    audio = np.arange(length, dtype=np.float32)
    windows = list(split_stream(blocks_of(audio, block), plan))
    assert [w.start for w in windows] == [0] + [w.end for w in windows[:-1]]
    assert length - CONFIG.hop_length < windows[-1].end <= length
    assert all(w.start % FRAME == 0 for w in windows)
    assert sum(last - first for first, last in (w.kept for w in windows)) == frames(length)


@settings(deadline=None)
@given(plan=plans, length=st.integers(1025, 200_000), block=st.integers(500, 50_000))
def test_windows_hold_their_part_of_the_file_with_context_of_their_own_segment(plan, length, block):
    audio = np.arange(length, dtype=np.float32)
    windows = list(split_stream(blocks_of(audio, block), plan))
    begins = {w.segment: w.start for w in reversed(windows)}
    ends = {w.segment: w.end for w in windows}
    for w in windows:
        left = w.start - w.kept[0] * FRAME
        assert np.array_equal(w.audio, audio[left : left + len(w.audio)])
        assert begins[w.segment] <= left and w.end <= left + len(w.audio)
        assert w.segment == max(ends) or left + len(w.audio) <= ends[w.segment]
        assert CONFIG.min_samples <= len(w.audio) <= max(plan.window.chunk, CONFIG.min_samples + FRAME)
        assert w.kept[1] <= frames(len(w.audio))


@given(plan=plans, length=st.integers(1025, 200_000))
def test_segments_have_the_length_asked_for_but_for_the_last(plan, length):
    windows = list(split_stream([np.zeros(length, np.float32)], plan))
    ends = {w.segment: w.end for w in windows}
    assert list(ends) == list(range(len(ends)))
    if plan.chunk is None:
        assert len(ends) == 1
    else:
        assert [ends[s] for s in list(ends)[:-1]] == [plan.chunk * (s + 1) for s in range(len(ends) - 1)]
        last = length - plan.chunk * (len(ends) - 1)
        assert last < plan.chunk + plan.min_last_chunk
        assert len(ends) == 1 or last >= plan.min_last_chunk


def test_a_rest_below_one_second_joins_the_last_chunk():
    plan = WindowPlan.from_seconds(CONFIG, 2.0, 30.0, 0.0)
    for rest, segments in ((0.99, 1), (1.0, 2)):
        windows = list(split_stream([np.zeros(round((2 + rest) * CONFIG.sampling_rate), np.float32)], plan))
        assert windows[-1].segment == segments - 1


def test_memory_holds_about_one_window_of_a_long_stream():
    plan = WindowPlan.from_seconds(CONFIG, None, 2.0, 0.5)
    read = 0

    def blocks():
        nonlocal read
        for _ in range(1000):
            read += 12_000
            yield np.zeros(12_000, np.float32)

    for window in split_stream(blocks(), plan):
        assert read - window.start <= plan.window.chunk + 12_000 + CONFIG.hop_length


@pytest.mark.parametrize(
    ("chunk", "window", "stride", "named"),
    [
        (0.01, 30, 0, "chunk length"),
        (float("nan"), 30, 0, "chunk length"),
        (None, 0.02, 0, "window and stride length"),
        (None, 30, 15, "window and stride length"),
        (None, float("inf"), 0, "window and stride length"),
        (None, 30, -1, "window and stride length"),
    ],
)
def test_lengths_that_leave_nothing_are_refused(chunk, window, stride, named):
    with pytest.raises(ValueError, match=named):
        WindowPlan.from_seconds(CONFIG, chunk, window, stride)
