"""Modules made for tracing against those that they stand for, in PyTorch."""

import shutil

import onnx
import pytest
import torch
from mulan_models import music, tiny_config, tiny_model
from numpy.testing import assert_allclose

from muq_hf import MuQConfig
from muq_hf.models.clips_muq_mulan import cut_clips, plan_clips
from muq_hf.models.spectrogram_muq import LogMelSpectrogram
from muq_hf.onnx import tracing
from muq_hf.onnx.graphs import Clips
from muq_hf.onnx.parts import audio_parts
from muq_hf.onnx.prepare import prepare
from muq_hf.onnx.spectrogram import ProductSpectrogram


@pytest.mark.parametrize(("n_fft", "hop_length"), [(2048, 240), (400, 160), (509, 240), (600, 600)])
def test_fourier_transform_by_products_gives_the_same_mel(n_fft, hop_length):
    config = MuQConfig(n_fft=n_fft, hop_length=hop_length)
    waves = torch.stack([music(0.5, seed=0), torch.zeros(12_000)])
    lengths = torch.tensor([12_000, 7001])
    for given in (None, lengths):
        expected = LogMelSpectrogram(config)(waves, given)
        torch.testing.assert_close(ProductSpectrogram(config)(waves, given), expected, atol=2e-4, rtol=0)


@torch.no_grad()
def test_prepared_model_gives_the_same_frames(micro_model):
    waves = torch.stack([music(1.0, seed=0), music(1.0, seed=1)])
    mask = (torch.arange(24_000) < torch.tensor([[24_000], [9000]])).long()
    expected = micro_model(waves, mask)
    prepare(micro_model)
    found = micro_model(waves, mask)
    is_music = expected.attention_mask.bool()
    torch.testing.assert_close(found.last_hidden_state[is_music], expected.last_hidden_state[is_music], atol=1e-5, rtol=0)


@pytest.mark.parametrize("extra", [0, 1, 239, 240, 241, 1024, 1025, 12_000])
@pytest.mark.parametrize("whole", [1, 2])
def test_clips_are_those_of_the_plan(whole, extra):
    config = tiny_config(clip_seconds=1.0)
    lengths = [24_000 * whole + extra, 9000, 24_300]
    waves = torch.rand(3, max(lengths), generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(waves.shape[1]) < torch.tensor(lengths)[:, None]).long()
    clips, clip_mask, weights = Clips(config)(waves, mask)
    frame, shortest = config.audio_config.samples_per_frame, config.min_samples
    plans = [plan_clips(length, config.clip_samples, "duration", frame, shortest) for length in lengths]
    batch = cut_clips(waves, lengths, plans)
    counted = weights.sum(dim=0) > 0
    found = zip(clips[counted], clip_mask[counted].sum(dim=1), strict=True)
    for (clip, length), expected, expected_length in zip(found, batch.clips, batch.lengths, strict=True):
        assert length == expected_length and torch.equal(clip[:length], expected[:length])
    rows, places = weights.nonzero(as_tuple=True)
    assert torch.equal(rows, batch.item)
    assert_allclose(weights[rows, places], batch.weight, rtol=1e-6)


def test_weights_beyond_the_limit_go_to_a_second_file(mulan, tmp_path, monkeypatch):
    parts = audio_parts(tiny_model(clip_seconds=1.0).audio_model)
    source = {"tower": shutil.copy(mulan.folder / "audio_model.onnx", tmp_path)}
    for limit, files in ((2**20, ["model.onnx"]), (2**10, ["model.onnx", "model.onnx.data"])):
        monkeypatch.setattr(tracing, "MAX_SINGLE_FILE_BYTES", limit)
        folder = tmp_path / str(limit)
        folder.mkdir()
        tracing.join(source, parts, {"license": "mit"}, folder / "model.onnx")
        assert sorted(file.name for file in folder.iterdir()) == files
        onnx.checker.check_model(folder / "model.onnx", full_check=True)
