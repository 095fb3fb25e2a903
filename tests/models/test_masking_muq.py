"""Block masks: how often, where, and never none."""

import pytest
import torch

from muq_hf.models.masking_muq import choose_blocks, draw_block_mask


def test_blocks_are_masked_with_the_probability():
    mask = draw_block_mask(200 * 9600 + 9599, 100, 9600, 0.6, torch.Generator().manual_seed(0))
    assert mask.shape == (100, 200)
    assert mask.float().mean() == pytest.approx(0.6, abs=0.02)


def test_no_item_is_without_a_masked_block_and_any_may_be_it():
    mask = draw_block_mask(3 * 9600, 600, 9600, 0.0, torch.Generator().manual_seed(0))
    assert (mask.sum(dim=1) == 1).all()
    assert (mask.sum(dim=0) > 150).all()


def test_draws_below_the_probability_are_all_that_is_masked_elsewhere():
    draws = torch.tensor([[0.5, 0.1, 0.7], [0.9, 0.8, 0.61]])
    assert choose_blocks(draws, 0.6).tolist() == [[True, True, False], [False, False, True]]


def test_a_clip_shorter_than_a_block_is_refused():
    with pytest.raises(ValueError, match="4800 samples has no block to mask, which takes 9600"):
        draw_block_mask(4800, 1, 9600, 0.6, torch.default_generator)
