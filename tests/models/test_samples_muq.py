"""Integers that were cast to floats and not scaled are refused at every door: they would give wrong vectors in silence."""

import numpy as np
import pytest
from mulan_models import save_tiny, tiny_processor
from sentence_transformers import SentenceTransformer
from transformers import pipeline

from muq_hf import MuQFeatureExtractor


RATE = 24_000
UNSCALED = (8_000 * np.sin(np.arange(RATE) * 0.05)).astype(np.int16).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(save_tiny(tmp_path_factory.mktemp("mulan")))


def test_the_feature_extractor():
    with pytest.raises(ValueError, match="item 1 holds samples up to 7999 where full scale is 1"):
        MuQFeatureExtractor()([np.zeros(RATE), UNSCALED], sampling_rate=RATE)


def test_the_processor():
    with pytest.raises(ValueError, match="full scale is 1"):
        tiny_processor()(audio=UNSCALED, sampling_rate=RATE)


@pytest.mark.parametrize("task", ["feature-extraction", "zero-shot-audio-classification"])
def test_the_pipelines(folder, task):
    options = {"candidate_labels": ["piano"]} if task.startswith("zero") else {}
    with pytest.raises(ValueError, match="full scale is 1"):
        pipeline(task, model=folder)(UNSCALED, **options)


def test_sentence_transformers(folder):
    with pytest.raises(ValueError, match="full scale is 1"):
        SentenceTransformer(folder).encode([{"array": UNSCALED, "sampling_rate": RATE}])


def test_integers_themselves_are_scaled():
    scaled = MuQFeatureExtractor()(UNSCALED.astype(np.int16), sampling_rate=RATE, return_tensors="np")["input_values"]
    np.testing.assert_allclose(scaled[0], UNSCALED / 32_768, atol=1e-7)
