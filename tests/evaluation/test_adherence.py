"""Text adherence against its definition, with a model of music and text that knows nothing."""

import numpy as np
import pytest
import soundfile
import torch
from labelled_clips import SAMPLING_RATE, tone

from muq_hf.evaluation import adherence
from muq_hf.evaluation.adherence import read_prompts, text_adherence
from muq_hf.evaluation.music_sets import find_clips


VECTORS = {"low": [1.0, 0.0], "high": [0.6, 0.8], "silent": [0.0, 1.0]}


@pytest.fixture
def clips(tmp_path):
    for number in range(4):
        soundfile.write(tmp_path / f"{number}.wav", tone(300, np.random.default_rng(number)), SAMPLING_RATE)
    return find_clips(tmp_path, None)[0]


@pytest.fixture
def known_vectors(monkeypatch):
    """Clips 0 and 1 lie where "low" does, 2 and 3 where "high" does."""
    audio = torch.tensor([VECTORS["low"]] * 2 + [VECTORS["high"]] * 2)
    monkeypatch.setattr(adherence, "embed_audio", lambda model, processor, clips: (clips, audio[: len(clips)], []))
    monkeypatch.setattr(adherence, "embed_texts", lambda model, processor, texts: torch.tensor([VECTORS[t] for t in texts]))


def test_shuffled_is_the_mean_over_the_other_prompts(clips, known_vectors):
    prompts = dict(zip((clip.path.resolve() for clip in clips), ["low", "low", "high", "silent"], strict=True))
    found = text_adherence(None, None, clips, prompts, "model")
    own = [1.0, 1.0, 1.0, 0.8]
    others = [(0.6 + 0.0) / 2, (0.6 + 0.0) / 2, (0.6 + 0.6 + 0.8) / 3, (0.6 + 0.6 + 1.0) / 3]
    assert found["adherence"]["value"] == pytest.approx(np.mean(own))
    assert found["shuffled"]["value"] == pytest.approx(np.mean(others))
    assert found["above_shuffled"]["value"] == pytest.approx(np.mean(own) - np.mean(others))


def test_clips_without_a_prompt_are_counted(clips, known_vectors):
    prompts = {clips[0].path.resolve(): "low", clips[1].path.resolve(): "high"}
    found = text_adherence(None, None, clips, prompts, "model")
    assert (found["prompted"], found["without_prompt"]) == (2, 2)


def test_one_prompt_for_all_cannot_be_shuffled(clips, known_vectors):
    with pytest.raises(ValueError, match="1 different prompts"):
        text_adherence(None, None, clips, {clip.path.resolve(): "low" for clip in clips}, "model")


def test_prompts_are_read_by_their_usual_names(tmp_path):
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"path": "a.wav", "prompt": "calm"}\n{"path": "b.wav", "caption": "loud"}\n')
    assert read_prompts(file) == {tmp_path / "a.wav": "calm", tmp_path / "b.wav": "loud"}
    file.write_text('{"path": "a.wav"}\n')
    with pytest.raises(ValueError, match="line 1"):
        read_prompts(file)
