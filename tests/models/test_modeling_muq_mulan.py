"""MuQ-MuLan against the published package, and the promises of its interface."""

import copy
import inspect
import warnings

import pytest
import torch
from checks import ASSETS
from mulan_models import music, tiny_config, tiny_model, tiny_processor
from safetensors.torch import load_file
from transformers import BertConfig, DistilBertConfig

from muq_hf.models.modeling_muq_mulan import MuQMuLanAudioModelWithProjection, MuQMuLanModel, MuQMuLanTextModelWithProjection


PUBLISHED = ASSETS / "published_mulan_tiny"
CLIP = 240_000  # samples


@pytest.fixture(scope="module")
def published_model():
    return MuQMuLanModel.from_pretrained(PUBLISHED).eval()


@pytest.fixture(scope="module")
def mulan_goldens():
    return load_file(PUBLISHED / "goldens.safetensors")


@pytest.fixture(scope="module")
def song(request):
    """A function: number of samples → the waveform that the goldens were made of (tests/oracle/README.md)."""
    wave = load_file(ASSETS / "goldens.safetensors")["50011.wave_int16"].float() / 32768
    return lambda n: wave[(torch.arange(n) * (1 + torch.arange(n) // CLIP)) % len(wave)]


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@torch.no_grad()
def audio_vector(model, wave, **options):
    return model.get_audio_features(wave[None], **options).pooler_output[0]


@torch.no_grad()
def text_vectors(model, texts):
    inputs = tiny_processor()(text=texts, return_tensors="pt")
    return model.get_text_features(**inputs).pooler_output


@pytest.mark.parametrize("seconds", ["3", "10", "10.1", "25"])
def test_audio_vectors_under_the_published_rule_are_the_published_ones(published_model, mulan_goldens, song, seconds):
    wave = song(round(float(seconds) * 24_000))
    vector = audio_vector(published_model, wave, clip_rule="published")
    torch.testing.assert_close(vector, mulan_goldens[f"audio.{seconds}"], atol=1e-5, rtol=0)


def test_published_rule_holds_in_a_padded_batch(published_model, mulan_goldens, song):
    waves = [song(round(seconds * 24_000)) for seconds in (3, 25, 10.1)]
    batch = torch.nn.utils.rnn.pad_sequence(waves, batch_first=True)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones(len(wave)) for wave in waves], batch_first=True)
    with torch.no_grad():
        vectors = published_model.get_audio_features(batch, mask, clip_rule="published").pooler_output
    expected = torch.stack([mulan_goldens[f"audio.{seconds}"] for seconds in ("3", "25", "10.1")])
    torch.testing.assert_close(vectors, expected, atol=1e-5, rtol=0)


def test_single_clips_are_the_published_ones(published_model, mulan_goldens, song):
    with torch.no_grad():
        vectors = published_model.get_audio_features(song(2 * CLIP).view(2, CLIP)).pooler_output
    torch.testing.assert_close(vectors, mulan_goldens["audio.windows"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("num_tokens", ["3", "6", "11", "equal"])
def test_text_vectors_are_the_published_ones(published_model, mulan_goldens, num_tokens):
    ids = mulan_goldens[f"text.{num_tokens}.ids"]
    with torch.no_grad():
        vectors = published_model.get_text_features(ids.reshape(-1, ids.shape[-1])).pooler_output
    torch.testing.assert_close(vectors, mulan_goldens[f"text.{num_tokens}.embeds"].reshape(vectors.shape), atol=1e-5, rtol=0)


def test_cosines_are_the_published_ones(published_model, mulan_goldens, song):
    published_model.config.clip_rule = "published"
    try:
        with torch.no_grad():
            ids = mulan_goldens["text.equal.ids"]
            output = published_model(input_ids=ids, input_values=song(10 * 24_000)[None])
    finally:
        published_model.config.clip_rule = "duration"
    cosines = output.logits_per_audio / published_model.logit_scale.exp()
    torch.testing.assert_close(cosines[0], mulan_goldens["similarity"][1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_audio_vector_does_not_depend_on_batch_mates(attention):
    model = tiny_model()
    model.set_attn_implementation(attention)
    waves = [music(seconds, seed) for seed, seconds in enumerate((0.1, 3.0, 9.99, 21.3))]
    inputs = tiny_processor()(audio=[wave.numpy() for wave in waves], sampling_rate=24_000, return_tensors="pt")
    with torch.no_grad():
        together = model.get_audio_features(**inputs).pooler_output
    for vector, wave in zip(together, waves, strict=True):
        torch.testing.assert_close(vector, audio_vector(model, wave), atol=1e-5, rtol=0)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_text_vector_does_not_depend_on_batch_mates(attention):
    model = tiny_model()
    model.set_attn_implementation(attention)
    texts = ["", "rock", "calm piano, rainy mood", "宁静的钢琴", "موسيقى هادئة", "🎹🌧"]
    together = text_vectors(model, texts)
    for vector, text in zip(together, texts, strict=True):
        torch.testing.assert_close(vector, text_vectors(model, [text])[0], atol=1e-5, rtol=0)


def test_vectors_have_length_one(model):
    vectors = [audio_vector(model, music(seconds)) for seconds in (3, 10, 23)] + list(text_vectors(model, ["a", "calm piano"]))
    torch.testing.assert_close(torch.stack([vector.norm() for vector in vectors]), torch.ones(5))


def test_long_audio_is_the_mean_of_its_clips_by_duration(model):
    wave = music(26.0)
    clips = [audio_vector(model, clip) for clip in wave.split(CLIP)]
    expected = torch.nn.functional.normalize(10 * clips[0] + 10 * clips[1] + 6 * clips[2], dim=0)
    torch.testing.assert_close(audio_vector(model, wave), expected, atol=1e-5, rtol=0)


def test_a_tail_too_short_for_the_model_changes_next_to_nothing(model):
    wave = music(10.02)  # 480 samples over
    assert audio_vector(model, wave) @ audio_vector(model, wave[:CLIP]) > 0.999


def test_many_clips_in_several_runs_give_what_they_give_at_once(model, monkeypatch):
    wave = music(45.0)
    at_once = audio_vector(model, wave)
    monkeypatch.setattr("muq_hf.models.towers_muq_mulan.CLIPS_AT_ONCE", 2)
    torch.testing.assert_close(audio_vector(model, wave), at_once, atol=1e-5, rtol=0)


def test_forward_gives_scaled_cosines_both_ways(model):
    inputs = tiny_processor()(text=["a", "b", "c"], audio=[music(1).numpy(), music(2).numpy()], sampling_rate=24_000)
    with torch.no_grad():
        output = model(**inputs.convert_to_tensors("pt"))
    expected = output.audio_embeds @ output.text_embeds.T * 10
    torch.testing.assert_close(output.logits_per_audio, expected)
    assert torch.equal(output.logits_per_text, output.logits_per_audio.T)
    assert output.loss is None
    assert output.audio_model_output.pooler_output is output.audio_embeds


def test_a_configuration_can_ask_for_tuples():
    config = tiny_config(return_dict=False)
    config.audio_config.return_dict = config.text_config.return_dict = False
    model = MuQMuLanModel(config).eval()
    text = tiny_processor()(text=["rock"], return_tensors="pt")
    audio = {"input_values": music(1)[None]}
    with torch.no_grad():
        output = model(**text, **audio, return_dict=True)
        logits_per_audio, _, text_embeds, audio_embeds, *_ = model(**text, **audio)
        assert torch.equal(logits_per_audio, output.logits_per_audio)
        assert torch.equal(model.get_text_features(**text)[1], text_embeds)
        assert torch.equal(model.get_audio_features(**audio)[1], audio_embeds)
        assert torch.equal(MuQMuLanAudioModelWithProjection(config).eval()(**audio)[0].norm().round(), torch.tensor(1.0))
        assert torch.equal(MuQMuLanTextModelWithProjection(config).eval()(**text)[0].norm().round(), torch.tensor(1.0))


@pytest.mark.parametrize("part", ["audio", "text"])
def test_one_tower_alone_equals_it_in_the_whole(model, tmp_path, part):
    model.save_pretrained(tmp_path)
    kind = {"audio": MuQMuLanAudioModelWithProjection, "text": MuQMuLanTextModelWithProjection}[part]
    tower, info = kind.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    if part == "audio":
        vector = tower(music(2)[None]).audio_embeds[0].detach()
        torch.testing.assert_close(vector, audio_vector(model, music(2)), atol=1e-6, rtol=0)
        assert not any("text" in name for name, _ in tower.named_parameters())
    else:
        inputs = tiny_processor()(text=["rock"], return_tensors="pt")
        vectors = tower(**inputs).text_embeds.detach()
        torch.testing.assert_close(vectors, text_vectors(model, ["rock"]), atol=1e-6, rtol=0)
        assert not any("audio" in name for name, _ in tower.named_parameters())


def test_saved_model_is_the_same_model(model, tmp_path):
    model.save_pretrained(tmp_path)
    again = MuQMuLanModel.from_pretrained(tmp_path)
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in model.state_dict().items())
    assert again.config.to_dict() == MuQMuLanModel.from_pretrained(tmp_path).config.to_dict()
    assert torch.equal(audio_vector(again, music(12)), audio_vector(model, music(12)))


@pytest.mark.parametrize(
    "text_config",
    [
        BertConfig(vocab_size=300, hidden_size=20, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32),
        DistilBertConfig(vocab_size=300, dim=24, n_layers=1, n_heads=2, hidden_dim=32),
    ],
    ids=lambda config: config.model_type,
)
def test_other_text_encoders_work_and_every_parameter_learns(text_config):
    torch.manual_seed(0)
    model = MuQMuLanModel(tiny_config(text_config=text_config))
    inputs = tiny_processor()(text=["one", "three"], audio=[music(1).numpy(), music(2, 1).numpy()], sampling_rate=24_000)
    model(**inputs.convert_to_tensors("pt"), return_loss=True).loss.backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_stays_close(model, dtype):
    half = copy.deepcopy(model).to(dtype)
    for wave in (music(3), music(12)):
        vector = audio_vector(half, wave)
        assert torch.isfinite(vector).all()
        assert torch.nn.functional.cosine_similarity(vector.float(), audio_vector(model, wave), dim=0) > 0.999
    cosines = torch.nn.functional.cosine_similarity(
        text_vectors(half, ["calm piano"]).float(), text_vectors(model, ["calm piano"])
    )
    assert cosines.min() > 0.999


def test_gradient_checkpointing_gives_the_same_gradients_and_statistics():
    plain = tiny_model().train()
    checkpointed = copy.deepcopy(plain)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        checkpointed.gradient_checkpointing_enable({"use_reentrant": False})
    inputs = tiny_processor()(text=["one", "three"], audio=[music(1).numpy(), music(2, 1).numpy()], sampling_rate=24_000)
    inputs = inputs.convert_to_tensors("pt")
    for model in (plain, checkpointed):
        model(**inputs, return_loss=True).loss.backward()
    for (name, a), b in zip(plain.named_parameters(), checkpointed.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, atol=1e-5, rtol=1e-4, msg=name)
    for a, b in zip(plain.buffers(), checkpointed.buffers(), strict=True):
        torch.testing.assert_close(a, b)


def pairs(*seconds):
    texts = ["rock", "a calm piano", "drums"][: len(seconds)]
    waves = [music(s, seed).numpy() for seed, s in enumerate(seconds)]
    return tiny_processor()(text=texts, audio=waves, sampling_rate=24_000).convert_to_tensors("pt")


def test_the_loss_of_one_pair_is_nothing(model):
    """There is nothing to tell it from, as in CLIP."""
    loss = model(**pairs(1), return_loss=True).loss
    assert loss.item() == 0 and loss.requires_grad


def test_hidden_states_and_attentions_are_those_of_the_towers():
    model = tiny_model()
    model.set_attn_implementation("eager")
    inputs = pairs(3, 12)
    with torch.no_grad():
        output = model(**inputs, output_hidden_states=True, output_attentions=True)
        plain = model(**inputs)
    audio, text = output.audio_model_output, output.text_model_output
    clips, tokens = 3, inputs["input_ids"].shape[1]  # 12 s are two clips
    assert [tuple(state.shape) for state in audio.hidden_states] == 2 * [(clips, 250, 16)]
    assert [tuple(weights.shape) for weights in audio.attentions] == [(clips, 2, 250, 250)]
    assert [tuple(state.shape) for state in text.hidden_states] == 2 * [(2, tokens, 24)]
    assert [tuple(weights.shape) for weights in text.attentions] == [(2, 2, tokens, tokens)]
    torch.testing.assert_close(output.audio_embeds, plain.audio_embeds, atol=1e-5, rtol=0)
    assert plain.audio_model_output.hidden_states is None and plain.text_model_output.attentions is None


def test_hidden_states_of_many_clips_in_several_runs_are_those_at_once(model, monkeypatch):
    wave = music(45.0)[None]
    with torch.no_grad():
        at_once = model.audio_model(wave, output_hidden_states=True).hidden_states
        monkeypatch.setattr("muq_hf.models.towers_muq_mulan.CLIPS_AT_ONCE", 2)
        in_runs = model.audio_model(wave, output_hidden_states=True).hidden_states
    for one, other in zip(at_once, in_runs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("model_class", [MuQMuLanModel, MuQMuLanAudioModelWithProjection, MuQMuLanTextModelWithProjection])
def test_main_input_is_the_first_argument(model_class):
    assert model_class.main_input_name == list(inspect.signature(model_class.forward).parameters)[1]


def test_unknown_clip_rule_is_refused(model):
    with pytest.raises(ValueError, match="clip_rule.*duration, published.*'mean'"):
        model.get_audio_features(music(1)[None], clip_rule="mean")


def test_mask_errors_name_the_padding_mask(model):
    with pytest.raises(ValueError, match="`padding_mask` must have the shape"):
        model.get_audio_features(music(1)[None], torch.ones(1, 7))


def test_too_many_tokens_are_refused_with_the_limit(model):
    with pytest.raises(ValueError, match="40 tokens.*positions for 32"):
        model.get_text_features(torch.full((1, 40), 5))
