"""States of a frozen encoder: those of the model, computed once, and drawn as a function of seed and number."""

import numpy as np
import pytest
import soundfile
import torch
from checks import MICRO

from muq_hf import MuQConfig, MuQForSequenceClassification
from muq_hf.evaluation.labelled_clips import Clip, read_manifest
from muq_hf.training.clips import SkipLog
from muq_hf.training.encoder_states import EncoderStates, StateCrops, StateWindows
from muq_hf.training.labelled_crops import ClipReader, ClipWindows


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return MuQForSequenceClassification(MuQConfig(**MICRO, use_weighted_layer_sum=True)).eval()


@pytest.fixture
def windows(clicks, model):
    reader = ClipReader(24_000, model.config.min_samples)
    clips = [Clip(clip.path) for clip in read_manifest(clicks)[:3]]
    return ClipWindows(clips, reader, model.config.samples_per_frame, 1.5)  # of 4 s: windows of 1.5, 1.5 and 1 s


@pytest.mark.parametrize("pooled", [False, True])
def test_kept_states_are_those_of_the_model(pooled, model, windows, tmp_path):
    states = EncoderStates(tmp_path, model, windows.reader, pooled)
    states.keep(windows, SkipLog(tmp_path / "skipped.jsonl"))
    number = 4  # the second window of the second clip
    index, window = windows.windows[number]
    with torch.no_grad():
        expected = torch.cat(model.muq(windows[number]["input_values"][None], output_hidden_states=True).hidden_states)
    kept = states[windows.clips[index], window].transpose(0, 1)  # [L, T, D]
    torch.testing.assert_close(kept, expected.mean(dim=1, keepdim=True) if pooled else expected, atol=1e-5, rtol=1e-5)
    item = StateWindows(windows, states)[number]
    assert torch.equal(item["states"].transpose(0, 1), kept) and torch.equal(item["place"], windows[number]["place"])


def test_states_are_computed_once(model, windows, tmp_path, monkeypatch):
    """A run that goes on in the folder computes what is missing and nothing else, and reads the same numbers."""
    log = SkipLog(tmp_path / "skipped.jsonl")
    few = ClipWindows(windows.clips[:2], windows.reader, windows.samples_per_frame, 1.5)
    first = EncoderStates(tmp_path, model, windows.reader, pooled=False)
    first.keep(few, log)
    second = EncoderStates(tmp_path, model, windows.reader, pooled=False)
    encoded = []
    monkeypatch.setattr(second, "encode", lambda clip, window: encoded.append(clip) or EncoderStates.encode(second, clip, window))
    second.keep(windows, log)
    assert encoded == [windows.clips[2]] * 3
    assert torch.equal(first[windows.clips[0], few.windows[1][1]], second[windows.clips[0], windows.windows[1][1]])


def test_a_broken_clip_is_told_and_left_out(model, windows, tmp_path):
    """A file whose header tells of more music than there is."""
    file = tmp_path / "cut.wav"
    soundfile.write(file, np.zeros(96_000), 24_000)
    clips = [windows.clips[0], Clip(file)]
    cut = ClipWindows(clips, windows.reader, windows.samples_per_frame, 1.5)
    file.write_bytes(file.read_bytes()[:40])
    log = SkipLog(tmp_path / "skipped.jsonl")
    assert EncoderStates(tmp_path / "states", model, windows.reader, pooled=True).keep(cut, log) == {1}
    assert [item.name for item in log.read()] == [str(file)]


def test_windows_are_drawn_by_seed_number_and_length(model, windows, tmp_path):
    states = EncoderStates(tmp_path, model, windows.reader, pooled=False)
    states.keep(windows, SkipLog(tmp_path / "skipped.jsonl"))
    targets = [np.arange(100)] * 3  # of frames: their number
    crops = StateCrops(windows, targets, True, states, seed=0)
    drawn = [crops[number] for number in range(0, 900, 3)]
    firsts = np.array([int(item["labels"][0]) for item in drawn])
    assert all(len(item["labels"]) == len(item["states"]) for item in drawn)
    assert set(firsts) == {0, 37, 74}
    assert (firsts == 74).mean() == pytest.approx(26 / 100, abs=0.1)
    again = StateCrops(windows, targets, True, states, seed=0)[30]
    assert torch.equal(again["labels"], drawn[10]["labels"]) and torch.equal(again["states"], drawn[10]["states"])
