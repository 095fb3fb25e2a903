"""ONNX files of classifiers give PyTorch's logits, of clips and of frames, with every kind of head."""

import numpy as np
import onnxruntime
import pytest
import torch
from checks import MICRO, perturb_statistics

from muq_hf import (
    MuQAudioClassificationPipeline,
    MuQConfig,
    MuQFeatureExtractor,
    MuQForAudioFrameClassification,
    MuQForSequenceClassification,
)
from muq_hf.onnx.onnx_files import export_onnx


def exported(model_class, folder, **settings):
    model = model_class(MuQConfig(**MICRO, num_labels=3, **settings)).eval()
    perturb_statistics(model)
    model.save_pretrained(folder / "model")
    MuQFeatureExtractor().save_pretrained(folder / "model")
    export_onnx(folder / "model", folder / "onnx", licence="mit", seconds=(1,))
    return model, onnxruntime.InferenceSession(folder / "onnx" / "model.onnx")


@pytest.mark.slow
@pytest.mark.parametrize(
    "head",
    [
        {"classifier_pool": "attention", "classifier_layers": 2, "use_weighted_layer_sum": True},
        {"classifier_pool": "mean+std"},
    ],
)
def test_logits_of_clips(head, tmp_path):
    model, session = exported(MuQForSequenceClassification, tmp_path, **head)
    batch = MuQFeatureExtractor()(
        [0.1 * np.random.randn(n).astype(np.float32) for n in (30_000, 12_345)], 24_000, return_tensors="pt"
    )
    (logits,) = session.run(
        ["logits"],
        {name: tensor.numpy().astype(np.float32 if tensor.is_floating_point() else np.int64) for name, tensor in batch.items()},
    )
    with torch.no_grad():
        np.testing.assert_allclose(logits, model(**batch).logits.numpy(), atol=1e-4)


@pytest.mark.slow
def test_a_long_file_gets_the_scores_of_the_pipeline(tmp_path):
    """The softmax of the windows' logits, averaged by length, is what the pipeline says of a whole song."""
    model, session = exported(MuQForSequenceClassification, tmp_path, classifier_clip_seconds=1.0)
    wave = 0.1 * np.random.default_rng(0).standard_normal(60_000).astype(np.float32)
    total = np.zeros(3)
    for start in range(0, len(wave), 24_000):
        window = wave[None, start : start + 24_000]
        (logits,) = session.run(["logits"], {"input_values": window, "attention_mask": np.ones(window.shape, np.int64)})
        total += window.shape[1] * np.exp(logits[0]) / np.exp(logits[0]).sum()
    found = {row["label"]: row["score"] for row in MuQAudioClassificationPipeline(model, device="cpu")(wave, top_k=None)}
    assert [found[model.config.id2label[i]] for i in range(3)] == pytest.approx((total / len(wave)).tolist(), abs=1e-4)


@pytest.mark.slow
def test_logits_of_frames(tmp_path):
    model, session = exported(MuQForAudioFrameClassification, tmp_path, classifier_layers=2)
    wave = 0.1 * torch.randn(1, 30_000)
    logits, mask = session.run(
        ["logits", "frame_mask"], {"input_values": wave.numpy(), "attention_mask": np.ones((1, 30_000), np.int64)}
    )
    with torch.no_grad():
        np.testing.assert_allclose(logits, model(wave).logits.numpy(), atol=1e-4)
    assert mask.shape == logits.shape[:2] and mask.all()
