"""Which attention function is called, and the further arguments that it is given."""

import pytest
import torch
from checks import MICRO
from mulan_models import music, tiny_model
from transformers import AttentionInterface

from muq_hf import MuQConfig, MuQForAudioFrameClassification, MuQForPreTraining, MuQForSequenceClassification, MuQModel
from muq_hf.models.attention_muq import eager_attention_forward


WAVE = torch.zeros(1, 9_600)
MODELS = (MuQModel, MuQForPreTraining, MuQForSequenceClassification, MuQForAudioFrameClassification)


def options_of(model_class):
    return {"return_loss": False} if model_class is MuQForPreTraining else {}


@pytest.fixture
def seen():
    """Keyword arguments of all calls of the attention function called "seen"."""
    calls = []

    def attend(*tensors, **kwargs):
        calls.append(kwargs)
        return eager_attention_forward(*tensors, **kwargs)

    AttentionInterface.register("seen", attend)
    return calls


@pytest.mark.parametrize("model_class", MODELS)
def test_arguments_of_the_attention_function_reach_it(seen, model_class):
    model = model_class(MuQConfig(**MICRO)).eval()
    model.config._attn_implementation = "seen"
    model(WAVE, max_length_q=7, **options_of(model_class))
    assert seen and all(kwargs["max_length_q"] == 7 for kwargs in seen)


@pytest.mark.parametrize("model_class", MODELS)
def test_an_unknown_argument_is_an_error(model_class):
    """Also the name that MuQ-MuLan's mask has: MuQ's is called `attention_mask`."""
    model = model_class(MuQConfig(**MICRO)).eval()
    with pytest.raises(TypeError, match="'padding_mask'"):
        model(WAVE, padding_mask=torch.ones_like(WAVE), **options_of(model_class))


def test_an_unknown_argument_of_either_tower_is_an_error():
    model, words = tiny_model(), torch.tensor([[5, 6]])
    with pytest.raises(TypeError, match="'text_mask'"):
        model.get_text_features(words, text_mask=torch.ones(1, 2))
    with pytest.raises(TypeError, match="'audio_mask'"):
        model.get_audio_features(music(1.0)[None], audio_mask=torch.ones(1, 24_000))
