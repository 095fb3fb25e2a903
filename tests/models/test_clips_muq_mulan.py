"""How audio of any length is cut into clips."""

import pytest
import torch

from muq_hf.models.clips_muq_mulan import Clip, cut_clips, plan_clips


RATE = 24_000  # Hz
CLIP = 10 * RATE


def plan(seconds, rule):
    return plan_clips(round(seconds * RATE), CLIP, rule, samples_per_frame=960, min_samples=1025)


LENGTHS = [2400, CLIP - 1, CLIP, CLIP + 200, CLIP + 480, CLIP + 2400, 600_000, 1_480_801]


@pytest.mark.parametrize("num_samples", LENGTHS)
def test_weights_sum_to_one_under_the_published_rule(num_samples):
    assert sum(clip.weight for clip in plan(num_samples / RATE, "published")) == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("num_samples", LENGTHS)
def test_weights_by_duration_sum_to_the_share_that_is_heard(num_samples):
    clips = plan(num_samples / RATE, "duration")
    assert num_samples - 240 < clips[-1].end <= num_samples
    assert sum(clip.weight for clip in clips) == pytest.approx(clips[-1].end / num_samples, abs=1e-9)


@pytest.mark.parametrize("seconds", [0.1, 9.9, 10.0, 10.02, 10.1, 25.0, 61.7])
def test_by_duration_no_clip_is_longer_than_the_model_hears_and_all_audio_is_heard(seconds):
    clips = plan(seconds, "duration")
    assert all(1025 <= clip.end - clip.start <= CLIP for clip in clips)
    assert clips[0].start == 0 and clips[-1].end == pytest.approx(seconds * RATE, abs=240)
    assert all(later.start <= earlier.end for earlier, later in zip(clips, clips[1:], strict=False))


def test_a_short_rest_hardly_counts_by_duration():
    assert plan(10.1, "duration")[-1].weight == pytest.approx(0.1 / 10.1, rel=1e-3)


def test_published_rule_completes_a_rest_with_the_beginning():
    assert plan(10.1, "published") == [Clip(0, CLIP, 0, 0.5), Clip(CLIP, CLIP + 2400, CLIP - 2400, 0.5)]


def test_published_rule_doubles_short_audio():
    assert plan(3, "published") == [Clip(0, 3 * RATE, 3 * RATE, 1.0)]
    wave = torch.arange(3.0 * RATE)
    clips = cut_clips(wave[None], [len(wave)], [plan(3, "published")]).clips
    assert torch.equal(clips, torch.cat([wave, wave])[None])


def test_clips_of_ragged_items_lie_in_one_padded_batch():
    waves = torch.arange(1.0, 31.0).view(2, 15)
    batch = cut_clips(waves, [15, 4], [[Clip(0, 10, 0, 0.5), Clip(10, 15, 2, 0.5)], [Clip(0, 4, 0, 1.0)]])
    assert batch.lengths.tolist() == [10, 7, 4]
    assert batch.item.tolist() == [0, 0, 1]
    assert batch.clips[1].tolist() == [11, 12, 13, 14, 15, 1, 2, 0, 0, 0]
    assert batch.clips[2].tolist() == [16, 17, 18, 19, 0, 0, 0, 0, 0, 0]
