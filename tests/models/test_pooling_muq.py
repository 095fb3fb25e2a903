"""Pooling of frames: masks, dtypes, exactness over windows."""

import numpy as np
import pytest
import torch

from muq_hf.models.pooling_muq import crossfade, frame_statistics, join_statistics, pool_frames, pool_statistics


REDUCTIONS = {
    "mean": lambda x: x.mean(0),
    "std": lambda x: x.std(0),
    "max": lambda x: x.max(0),
    "mean+std": lambda x: np.concatenate([x.mean(0), x.std(0)]),
}


@pytest.fixture
def batch():
    """Frames [4, 11, 6] and the lengths of the items."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(4, 11, 6, generator=generator) * 3 + 5, torch.tensor([11, 7, 1, 4])


def as_mask(lengths, num_frames=11):
    return (torch.arange(num_frames) < lengths[:, None]).long()


@pytest.mark.parametrize("how", REDUCTIONS)
def test_equals_numpy_on_each_item_alone(batch, how):
    frames, lengths = batch
    pooled = pool_frames(frames, as_mask(lengths), how)
    for item, length, result in zip(frames.double().numpy(), lengths, pooled, strict=True):
        np.testing.assert_allclose(result.numpy(), REDUCTIONS[how](item[:length]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("how", REDUCTIONS)
def test_what_the_padding_holds_does_not_matter(batch, how):
    frames, lengths = batch
    mask = as_mask(lengths)
    dirty = frames.masked_fill(mask[..., None] == 0, float("nan"))
    torch.testing.assert_close(pool_frames(dirty, mask, how), pool_frames(frames, mask, how), rtol=0, atol=0)


@pytest.mark.parametrize("how", REDUCTIONS)
def test_no_mask_counts_all_frames(batch, how):
    frames, _ = batch
    torch.testing.assert_close(pool_frames(frames, None, how), pool_frames(frames, torch.ones(4, 11), how), rtol=0, atol=0)


def test_none_returns_the_frames(batch):
    frames, lengths = batch
    assert pool_frames(frames, as_mask(lengths), "none") is frames


def test_one_frame_has_no_deviation(batch):
    frames, lengths = batch
    assert (pool_frames(frames, as_mask(lengths), "mean+std")[2, 6:] == 0).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_pooled_in_float32_and_kept(dtype):
    frames = torch.full((1, 5000, 2), 33.0, dtype=dtype)
    pooled = pool_frames(frames, None, "mean")
    assert pooled.dtype == dtype
    assert (pooled == 33).all()  # a float16 sum would overflow, a bfloat16 one stall


@pytest.mark.parametrize("how", REDUCTIONS)
def test_windows_of_any_length_join_to_the_whole(batch, how):
    frames, _ = batch
    windows = [frame_statistics(part) for part in frames.split([2, 1, 5, 3], dim=1)]
    joined = pool_statistics(join_statistics(windows), how)
    torch.testing.assert_close(joined, pool_frames(frames, None, how), rtol=1e-5, atol=1e-5)


def test_gradients_reach_counted_frames_only(batch):
    frames, lengths = batch
    frames.requires_grad_()
    mask = as_mask(lengths)
    pool_frames(frames, mask, "mean").sum().backward()
    assert ((frames.grad != 0).all(-1) == mask.bool()).all()


def test_unknown_pool_names_the_valid_ones(batch):
    with pytest.raises(ValueError, match="mean, std, max, mean\\+std or none, got 'median'"):
        pool_frames(batch[0], None, "median")


def test_frames_alone_are_no_vector(batch):
    with pytest.raises(ValueError, match="to make vectors"):
        pool_statistics(frame_statistics(batch[0]), "none")


@pytest.mark.parametrize("shape", [(11, 6), (4, 6), (4, 11, 6)])
def test_masks_of_another_shape_are_refused(batch, shape):
    with pytest.raises(ValueError, match="mask \\[B, T\\]"):
        pool_frames(batch[0], torch.ones(shape), "mean")


def test_an_item_without_frames_is_refused(batch):
    with pytest.raises(ValueError, match="no frame"):
        pool_frames(batch[0], torch.zeros(4, 11), "max")


def test_crossfade_goes_linearly_from_one_window_to_the_next():
    first, second = torch.zeros(1, 10, 1), torch.ones(1, 10, 1)
    faded = crossfade([first, second], [0, 6])[0, :, 0]  # frames 6 to 9 are in both
    np.testing.assert_allclose(faded, [0] * 6 + [0.125, 0.375, 0.625, 0.875] + [1] * 6)


def test_crossfade_of_windows_that_agree_changes_nothing():
    frames = torch.randn(2, 23, 3, generator=torch.Generator().manual_seed(0))
    starts, ends = [0, 4, 8, 15], [9, 13, 17, 23]  # up to three windows at a frame
    windows = [frames[:, start:end] for start, end in zip(starts, ends, strict=True)]
    torch.testing.assert_close(crossfade(windows, starts), frames)
