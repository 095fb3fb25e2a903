"""Retrieval scores against their definition."""

import numpy as np
import pytest
import torch

from muq_hf.training.text_retrieval import retrieval_metrics


def unit_rows(count, seed):
    return torch.nn.functional.normalize(torch.randn(count, 8, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_ranks_are_those_of_a_sorted_list():
    audio, text = unit_rows(30, 0), unit_rows(30, 1)
    metrics = retrieval_metrics(audio, text, torch.arange(30), torch.arange(30))
    for name, scores in (("text_to_audio", text @ audio.T), ("audio_to_text", audio @ text.T)):
        ranks = [1 + list(np.argsort(-row)).index(i) for i, row in enumerate(scores.numpy())]
        for k in (1, 5, 10):
            assert metrics[f"{name}_r{k}"] == pytest.approx(np.mean(np.array(ranks) <= k))
        assert metrics[f"{name}_median_rank"] == pytest.approx(np.median(ranks))


def test_perfect_pairs_are_found_first():
    rows = unit_rows(12, 0)
    metrics = retrieval_metrics(rows, rows, torch.arange(12), torch.arange(12))
    assert metrics["text_to_audio_r1"] == metrics["audio_to_text_r1"] == metrics["text_to_audio_median_rank"] == 1


def test_another_clip_with_the_same_caption_counts_as_found():
    audio = torch.eye(3)
    text = audio[[1, 1, 2]]  # the first two captions are one
    ids = torch.arange(3)
    assert retrieval_metrics(audio, text, ids, torch.tensor([0, 0, 1]))["text_to_audio_r1"] == 1
    assert retrieval_metrics(audio, text, ids, ids)["text_to_audio_r1"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("value", [1.0, float("nan")])
def test_a_collapsed_model_finds_nothing(value):
    rows, ids = torch.full((50, 8), value), torch.arange(50)
    metrics = retrieval_metrics(rows, rows, ids, ids)
    assert metrics["text_to_audio_r10"] == metrics["audio_to_text_r10"] == 0
    assert metrics["text_to_audio_median_rank"] == 50
