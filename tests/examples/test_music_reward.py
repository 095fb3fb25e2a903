"""`MusicReward` in the form that TRL calls rewards."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from checks import EXAMPLE_AUDIO

from muq_hf.audio import load_audio
from muq_hf.checkpoints import MUQ_MULAN_TINY
from muq_hf.inference.joint import JointModel


@pytest.fixture(scope="module")
def reward():
    file = Path(__file__).parent.parent.parent / "examples" / "music_reward.py"
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.MusicReward()


def test_a_reward_is_the_cosine_of_clip_and_prompt_and_silence_has_none(reward):
    """As GRPOTrainer calls it: keyword arguments, columns of the data set beside, and a list of numbers or None."""
    path = str(EXAMPLE_AUDIO / "metal_ezer_ev.ogg")
    wave = load_audio(path, 24_000, end=5.0)
    completions = [wave, [{"role": "assistant", "content": wave}], np.zeros(24_000), "no file.wav"]
    prompts = ["heavy metal", [{"role": "user", "content": "calm piano"}], "silence", "a file that is not there"]
    rewards = reward(prompts=prompts, completions=completions, completion_ids=[[0]] * 4, style=["metal"] * 4, trainer_state=None)
    assert rewards[2:] == [None, None]
    joint = JointModel(MUQ_MULAN_TINY, device="cpu")
    words = joint.embed_texts(["heavy metal", "calm piano"])
    inputs = reward.processor(audio=[wave], sampling_rate=24_000, return_tensors="pt")
    music = reward.model.get_audio_features(**inputs).pooler_output.detach().numpy()[0]
    assert rewards[:2] == pytest.approx((words @ music).tolist(), abs=1e-5)
    assert reward.__name__ == "music_reward"
