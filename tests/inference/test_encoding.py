import numpy as np
import pytest
import torch

from muq_hf.inference.encoding import combine_windows
from muq_hf.models.pooling_muq import pool_frames


@pytest.mark.parametrize("pool", ["mean", "std", "max", "mean+std"])
def test_pooled_windows_combine_to_the_pool_of_all_frames(pool):
    frames = torch.randn(2, 90, 16, generator=torch.Generator().manual_seed(0)) + 3  # [L, T, D]
    lengths = [40, 40, 1, 9]
    of_window = "mean+std" if pool == "std" else pool  # as `WindowEncoder` gives them
    vectors = torch.stack([pool_frames(part, None, of_window) for part in frames.split(lengths, dim=1)])  # [W, L, P]
    combined = combine_windows(vectors.numpy(), np.array(lengths), pool)
    assert combined.dtype == np.float32
    np.testing.assert_allclose(combined, pool_frames(frames, None, pool).numpy(), rtol=1e-5, atol=1e-6)


def test_frames_cannot_be_combined():
    with pytest.raises(ValueError, match="mean, std, max"):
        combine_windows(np.zeros((1, 1, 4), np.float32), np.array([1]), "none")
