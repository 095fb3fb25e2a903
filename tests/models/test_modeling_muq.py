"""The encoder against the published package, and the promises of its interface."""

import copy
import logging
import pickle
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from checks import MICRO, perturb_statistics, relative_error, wave_of

from muq_hf import (
    MelRVQConfig,
    MelRVQModel,
    MuQConfig,
    MuQFeatureExtractor,
    MuQForAudioFrameClassification,
    MuQForPreTraining,
    MuQForSequenceClassification,
    MuQModel,
)
from muq_hf.models.fast_front_end_muq import can_take_over


@pytest.fixture(scope="module")
def published_model(published_folder):
    return MuQModel.from_pretrained(published_folder)


@pytest.mark.parametrize("num_samples", [1025, 2500, 24_000, 50_011])
def test_hidden_states_are_the_published_ones(published_model, goldens, num_samples):
    with torch.no_grad():
        output = published_model(wave_of(goldens, num_samples), output_hidden_states=True)
    reference = goldens[f"{num_samples}.hidden_states"]
    assert len(output.hidden_states) == len(reference)
    for ours, theirs in zip(output.hidden_states, reference, strict=True):
        assert relative_error(ours[0], theirs) < 1e-5
    assert relative_error(output.last_hidden_state[0], goldens[f"{num_samples}.last_hidden_state"]) < 1e-5


@pytest.mark.parametrize("num_samples", [1025, 24_000])
def test_gradient_path_computes_the_same(published_model, goldens, num_samples):
    output = published_model(wave_of(goldens, num_samples))
    assert relative_error(output.last_hidden_state[0].detach(), goldens[f"{num_samples}.last_hidden_state"]) < 1e-5


@pytest.mark.parametrize("num_samples", [24_000, 50_011])
def test_tokens_are_the_published_ones(published_folder, goldens, num_samples):
    for model in (MelRVQModel.from_pretrained(published_folder), MuQForPreTraining.from_pretrained(published_folder)):
        encode = model.encode if isinstance(model, MelRVQModel) else model.tokenize
        assert torch.equal(encode(wave_of(goldens, num_samples))[0], goldens[f"{num_samples}.tokens"])


def test_decoded_mel_is_the_published_one(published_folder, goldens):
    model = MelRVQModel.from_pretrained(published_folder)
    with torch.no_grad():
        decoded = model.quantizer.decode(goldens["24000.tokens"][None])[0]
    torch.testing.assert_close(decoded, goldens["24000.decoded"], atol=1e-4, rtol=1e-4)


def ragged_batch(lengths, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(length).astype(np.float32) * 0.1 for length in lengths]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("with_gradients", [False, True])
def test_an_item_does_not_depend_on_its_batch(micro_config, attention, with_gradients):
    model = MuQModel._from_config(micro_config, attn_implementation=attention).eval()
    perturb_statistics(model)
    lengths = [1025, 1199, 2500, 9_599, 24_011, 20_161]
    waves = ragged_batch(lengths)
    batch = MuQFeatureExtractor()(waves, sampling_rate=24_000, return_tensors="pt")
    with torch.set_grad_enabled(with_gradients):
        together = model(**batch, output_hidden_states=True)
        for i, wave in enumerate(waves):
            alone = model(torch.from_numpy(wave)[None], output_hidden_states=True)
            T = alone.last_hidden_state.shape[1]
            assert together.attention_mask[i].sum() == T
            for ours, theirs in zip(together.hidden_states, alone.hidden_states, strict=True):
                assert (ours[i, :T] - theirs[0]).abs().max() < 1e-4


def test_number_of_frames_is_announced_right(micro_model):
    for num_samples in [1025, 1199, 1200, 1439, 9599, 9600, 9601, 33_333]:
        with torch.no_grad():
            frames = micro_model(torch.randn(1, num_samples)).last_hidden_state.shape[1]
        assert micro_model._get_feat_extract_output_lengths(num_samples) == frames
        assert micro_model._get_feat_extract_output_lengths(torch.tensor([num_samples])).tolist() == [frames]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_finite_and_close(published_folder, goldens, dtype):
    wave = wave_of(goldens, 50_011)
    reference = goldens["50011.last_hidden_state"]
    for model in (
        MuQModel.from_pretrained(published_folder, dtype=dtype),
        MuQModel.from_pretrained(published_folder).to(dtype),
    ):
        with torch.no_grad():
            states = model(wave).last_hidden_state[0]
        assert states.dtype == dtype
        assert states.isfinite().all()
        cosine = torch.cosine_similarity(states.float(), reference, dim=-1)
        assert cosine.min() > 0.999


def test_tokens_do_not_depend_on_the_dtype(published_folder, goldens):
    model = MuQForPreTraining.from_pretrained(published_folder, dtype=torch.bfloat16)
    assert torch.equal(model.tokenize(wave_of(goldens, 24_000))[0], goldens["24000.tokens"])


@pytest.mark.parametrize("quantizer", [{}, {"quantizer_type": "random_projection", "num_codebooks": 1}])
@torch.no_grad()
def test_tokens_stay_the_same_when_the_whole_model_is_halved(quantizer):
    model = MuQForPreTraining(MuQConfig(**MICRO | quantizer)).eval()
    wave = torch.randn(1, 24_000)
    tokens = model.tokenize(wave)
    assert torch.equal(model.bfloat16().tokenize(wave), tokens)


@torch.no_grad()
def test_latents_of_half_precision_have_tokens(rvq_model):
    latents = rvq_model.features(0.1 * torch.randn(1, 24_000)).bfloat16()
    assert torch.equal(rvq_model.quantizer.encode(latents), rvq_model(features=latents).codes)


@pytest.fixture
def rvq_model() -> MelRVQModel:
    return MelRVQModel(MelRVQConfig(num_codebooks=4, codebook_size=32)).eval()


@torch.no_grad()
def test_codes_do_not_depend_on_autocast(rvq_model):
    wave = 0.1 * torch.randn(1, 24_000)
    codes, features = rvq_model.encode(wave), rvq_model.features(wave)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(rvq_model.encode(wave), codes)
        assert torch.equal(rvq_model(wave).codes, codes)
        assert torch.equal(rvq_model(features=features).codes, codes)
        assert rvq_model(features=features.bfloat16()).quantized.dtype == torch.float32  # a teacher's latents


@pytest.mark.parametrize(
    ("wave", "message"),
    [
        (torch.zeros(4800), "downmix|put a single waveform into a batch"),
        (torch.zeros(1, 1024), "at least 1025"),
        (torch.zeros(1, 4800, dtype=torch.int16), "floating point"),
    ],
)
def test_malformed_waveforms_have_no_tokens(rvq_model, micro_config, wave, message):
    pretraining = MuQForPreTraining(micro_config)
    for function in (rvq_model.encode, rvq_model, pretraining.tokenize, pretraining):
        with pytest.raises(ValueError, match=message):
            function(wave)


def test_a_random_projection_only_encodes():
    model = MelRVQModel(MelRVQConfig(num_codebooks=1, quantizer_type="random_projection"))
    codes = model.encode(torch.randn(1, 4800))
    features = partial(model, None)
    for function, argument in ((model, torch.randn(1, 4800)), (features, torch.randn(1, 5, 512)), (model.decode, codes)):
        with pytest.raises(ValueError, match="random projection is fixed.*only `encode`"):
            function(argument)


def test_a_tokenizer_of_latents_takes_no_waveforms():
    model = MelRVQModel(MelRVQConfig(input_size=128))
    codes = model(features=torch.randn(1, 5, 128)).codes
    assert codes.shape == (1, 5, 8)
    for function, argument in (
        (model.features, torch.randn(1, 4800)),
        (model.encode, torch.randn(1, 4800)),
        (model.decode, codes),
    ):
        with pytest.raises(ValueError, match="vectors of 128 values.*not mel frames \\(512\\)"):
            function(argument)


@pytest.mark.parametrize("wanted", [[1], 1, [0, -1]])
@pytest.mark.parametrize("return_loss", [True, False])
def test_pretraining_gives_just_the_hidden_states_asked_for(micro_config, wanted, return_loss):
    model = MuQForPreTraining(micro_config).eval()
    inputs = {"input_values": torch.randn(1, 19_200), "block_mask": torch.tensor([[True, False]]), "return_loss": return_loss}
    inputs["mask_noise"] = torch.randn(1, 19_200)
    some, all_states = model(**inputs, output_hidden_states=wanted), model(**inputs, output_hidden_states=True)
    assert torch.equal(some.logits, all_states.logits)
    kept = {1} if wanted != [0, -1] else {0, 3}
    assert {i for i, state in enumerate(some.hidden_states) if state is not None} == kept
    assert all(torch.equal(some.hidden_states[i], all_states.hidden_states[i]) for i in kept)
    assert model(**inputs).hidden_states is None


def test_early_exit_gives_the_same_states_and_no_last_one(micro_model):
    wave = torch.randn(1, 9600)
    with torch.no_grad():
        full = micro_model(wave, output_hidden_states=True)
        early = micro_model(wave, output_hidden_states=[0, 2])
    assert early.last_hidden_state is None
    assert [state is not None for state in early.hidden_states] == [True, False, True, False]
    assert torch.equal(early.hidden_states[2], full.hidden_states[2])


def test_early_exit_computes_nothing_above(micro_model):
    calls = []
    for index, layer in enumerate(micro_model.encoder.layers):
        layer.register_forward_hook(lambda *_, index=index: calls.append(index))
    micro_model(torch.randn(1, 2400), output_hidden_states=[-3])  # state 1 of 0…3
    assert calls == [0]


def test_last_hidden_state_is_the_last_of_all_states(micro_model):
    output = micro_model(torch.randn(1, 2400), output_hidden_states=[-1])
    assert torch.equal(output.last_hidden_state, output.hidden_states[-1])


@pytest.mark.parametrize("layers", [[4], [-5], []])
def test_unknown_layers_are_refused(micro_model, layers):
    with pytest.raises(ValueError, match="hidden states 0 .* to 3"):
        micro_model(torch.randn(1, 2400), output_hidden_states=layers)


def test_attentions_are_distributions_over_the_music(micro_model):
    batch = MuQFeatureExtractor()(ragged_batch([9600, 4800]), sampling_rate=24_000, return_tensors="pt")
    plain = micro_model(**batch)
    output = micro_model(**batch, output_attentions=True)
    assert len(output.attentions) == 3
    torch.testing.assert_close(output.attentions[0].sum(-1), torch.ones(2, 4, 10))
    assert (output.attentions[0][1, :, :, 5:] == 0).all()
    torch.testing.assert_close(output.last_hidden_state, plain.last_hidden_state, atol=1e-5, rtol=0)


def test_rotation_precedes_the_query_projection(micro_model):
    """The published quirk: with identity projections the scores are those of rotated *inputs*, values stay unrotated."""
    attention = micro_model.encoder.layers[0].attention
    with torch.no_grad():
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj, attention.out_proj):
            projection.weight.copy_(torch.eye(32))
            projection.bias.zero_()
    T, H, d = 6, 4, 8
    states = torch.randn(1, T, 32)
    x = states[0].numpy().reshape(T, H, d).astype(np.float64)
    angle = np.arange(T)[:, None] * 10_000.0 ** (-np.arange(0, d, 2) / d)
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    first, second = x[..., : d // 2], x[..., d // 2 :]
    turned = np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    scores = np.einsum("thd,shd->hts", turned, turned) / np.sqrt(d)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    expected = np.einsum("hts,shd->thd", weights, x).reshape(T, 32)

    from muq_hf.models.conformer_muq import rotary_table

    rotary = rotary_table(T, d, 10_000.0, "cpu", torch.float32)
    with torch.no_grad():
        ours, _ = attention(states, None, rotary)
    np.testing.assert_allclose(ours[0].numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("wave", "mask", "message"),
    [
        (torch.zeros(4800), None, r"must be \[batch, samples\]"),
        (torch.zeros(1, 2, 4800), None, "downmix"),
        (torch.zeros(1, 1024), None, "at least 1025"),
        (torch.zeros(0, 4800), None, "empty batch"),
        (torch.zeros(1, 4800, dtype=torch.int16), None, "floating point"),
        (torch.zeros(1, 4800), torch.ones(1, 20), "shape of `input_values`"),
        (torch.zeros(2, 4800), torch.ones(2, 4800).tril(100), "at least 1025"),
        (torch.zeros(1, 4800), torch.ones(1, 4800).triu(2000), "padding to its right"),
    ],
)
def test_malformed_batches_are_refused(micro_model, wave, mask, message):
    with pytest.raises(ValueError, match=message):
        micro_model(wave, mask)


def test_tuple_output(micro_model):
    wave = torch.randn(1, 2400)
    assert torch.equal(micro_model(wave, return_dict=False)[0], micro_model(wave).last_hidden_state)


@pytest.mark.parametrize("return_loss", [True, False])
def test_a_configuration_can_ask_for_tuples(return_loss):
    model = MuQForPreTraining(MuQConfig(**MICRO, return_dict=False)).eval()
    first, *_ = model(torch.randn(1, 9600), return_loss=return_loss)
    assert first.shape == (() if return_loss else (1, 10, 4, 32))
    assert model(torch.randn(1, 9600), return_loss=return_loss, return_dict=True).logits.shape == (1, 10, 4, 32)


def test_every_training_step_has_a_masked_block():
    model = MuQForPreTraining(MuQConfig(**MICRO, mask_prob=0.0)).train()
    output = model(torch.randn(3, 28_800))
    assert output.token_mask.sum(dim=1).tolist() == [10, 10, 10]
    output.loss.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_clips_too_short_for_a_masked_block_are_refused(micro_config):
    with pytest.raises(ValueError, match="9599 samples has no block to mask, which takes 9600"):
        MuQForPreTraining(micro_config)(torch.randn(1, 9599))


@pytest.mark.parametrize("return_logits", [True, False])
def test_an_empty_mask_is_refused(micro_config, return_logits):
    model = MuQForPreTraining(micro_config)
    with pytest.raises(ValueError, match="masks no token.*at least one of the 2 blocks"):
        model(torch.randn(1, 19_200), block_mask=torch.zeros(1, 2, dtype=torch.bool), return_logits=return_logits)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"target_tokens": torch.zeros(2, 5, 4, dtype=torch.long)}, r"`target_tokens` must cover the clips, \[2, 20, 4\]"),
        ({"target_tokens": torch.zeros(1, 20, 4, dtype=torch.long)}, r"got shape \(1, 20, 4\)"),
        ({"target_tokens": torch.zeros(2, 40, 4, dtype=torch.long)}, r"got shape \(2, 40, 4\)"),
        ({"block_mask": torch.ones(2, 1, dtype=torch.bool)}, r"`block_mask` must cover the clips, \[2, 2\]"),
    ],
)
def test_tokens_and_masks_of_another_length_are_refused(micro_config, given, message):
    with pytest.raises(ValueError, match=message):
        MuQForPreTraining(micro_config)(torch.randn(2, 19_200), **given)


def test_the_tokenizer_stays_frozen_when_it_is_loaded(micro_config, tmp_path):
    MuQForPreTraining(micro_config).save_pretrained(tmp_path)
    model = MuQForPreTraining.from_pretrained(tmp_path)
    assert {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad} == {"muq", "head"}


def test_checkpointing_that_would_count_batches_twice_warns(micro_config, caplog):
    logger = logging.getLogger("transformers")
    logger.addHandler(caplog.handler)
    try:
        MuQModel(micro_config).gradient_checkpointing_enable({"use_reentrant": True})
    finally:
        logger.removeHandler(caplog.handler)
    assert "batch norms count every batch twice" in caplog.text


def test_deepcopy_and_pickle_compute_the_same(micro_model):
    wave = torch.randn(1, 2400)
    expected = micro_model(wave).last_hidden_state
    for twin in (copy.deepcopy(micro_model), pickle.loads(pickle.dumps(micro_model))):
        assert torch.equal(twin(wave).last_hidden_state, expected)


def test_construction_leaves_the_global_generator_to_torch_alone(micro_config):
    """Two models built one after the other differ, and a fixed seed gives the same model: nothing reseeds."""
    torch.manual_seed(3)
    first, second = MuQForPreTraining(micro_config), MuQForPreTraining(micro_config)
    torch.manual_seed(3)
    again = MuQForPreTraining(micro_config)
    assert not torch.equal(first.head.weight, second.head.weight)
    assert torch.equal(first.head.weight, again.head.weight)


def test_tables_are_right_after_construction_without_memory(micro_folder):
    """from_pretrained builds on the "meta" device, where tables must be computed again."""
    loaded, fresh = MuQModel.from_pretrained(micro_folder), MuQModel(MuQConfig(**MICRO))
    assert torch.equal(loaded.spectrogram.filter_bank, fresh.spectrogram.filter_bank)
    assert torch.equal(loaded.spectrogram.window, fresh.spectrogram.window)


def test_gradient_checkpointing_changes_neither_gradients_nor_statistics(micro_config):
    config = MuQConfig(**MICRO, hidden_dropout=0.0, activation_dropout=0.0, attention_dropout=0.0, conv_dropout=0.0)
    plain = MuQModel(config).train()
    saving = copy.deepcopy(plain)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        saving.gradient_checkpointing_enable({"use_reentrant": False})
    wave = torch.randn(2, 9600)
    for model in (plain, saving):
        model(wave).last_hidden_state.square().mean().backward()
    for (name, one), two in zip(plain.named_parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, msg=lambda text, name=name: f"{name}: {text}")
    for (name, one), two in zip(plain.named_buffers(), saving.buffers(), strict=True):
        torch.testing.assert_close(one, two, msg=lambda text, name=name: f"{name}: {text}")


@pytest.fixture
def shallow_model():
    """One layer, because compiling takes its time by the layer."""
    model = MuQModel(MuQConfig(**MICRO | {"num_hidden_layers": 1})).eval()
    perturb_statistics(model)
    return model


@pytest.mark.slow
def test_compiles_without_graph_breaks(shallow_model):
    compiled = torch.compile(shallow_model, fullgraph=True, dynamic=True, backend="eager")
    for num_samples in (9600, 12_345):
        wave = torch.randn(1, num_samples)
        with torch.no_grad():
            expected = shallow_model(wave).last_hidden_state
            torch.testing.assert_close(compiled(wave).last_hidden_state, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_half_precision_compiles_without_graph_breaks(shallow_model):
    model = shallow_model.bfloat16()
    compiled, wave = torch.compile(model, fullgraph=True, dynamic=True, backend="eager"), torch.randn(1, 9600)
    with torch.no_grad():
        states = [function(wave).last_hidden_state.float() for function in (compiled, model)]
        cosine = torch.cosine_similarity(*states, dim=-1)
    assert cosine.min() > 0.999


@pytest.mark.slow
@torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True)  # the masked tokens are selected
def test_pretraining_compiles_without_graph_breaks():
    model = MuQForPreTraining(MuQConfig(**MICRO | {"num_hidden_layers": 1})).eval()
    inputs = {"block_mask": torch.tensor([[True, False]]), "mask_noise": torch.randn(1, 19_200), "output_hidden_states": [1]}
    wave = torch.randn(1, 19_200)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(wave, **inputs).loss, model(wave, **inputs).loss)


@pytest.mark.slow
def test_compiles_with_padding(shallow_model):
    batch = MuQFeatureExtractor()(ragged_batch([9600, 4801]), sampling_rate=24_000, return_tensors="pt")
    compiled = torch.compile(shallow_model, fullgraph=True, backend="eager")
    with torch.no_grad():
        expected, ours = shallow_model(**batch), compiled(**batch)
    assert torch.equal(ours.attention_mask, expected.attention_mask)
    torch.testing.assert_close(ours.last_hidden_state[1, :5], expected.last_hidden_state[1, :5], atol=1e-5, rtol=1e-5)


def test_lora_adapters_train(micro_model):
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(micro_model, LoraConfig(r=2, target_modules=["q_proj", "v_proj"]))
    model(torch.randn(1, 2400)).last_hidden_state.sum().backward()
    trained = [name for name, p in model.named_parameters() if p.grad is not None]
    assert trained
    assert all("lora" in name for name in trained)


def test_adapters_and_quantisation_reach_the_convolution_modules(micro_model):
    """All linear layers of the encoder, the pointwise convolutions among them, and the front end stays fast."""
    from peft import LoraConfig, get_peft_model

    adapted = get_peft_model(copy.deepcopy(micro_model), LoraConfig(r=2, target_modules="all-linear"))
    names = [name for name, _ in adapted.named_parameters() if "lora_A" in name]
    quantized = copy.deepcopy(micro_model)
    quantized.encoder = torch.ao.quantization.quantize_dynamic(quantized.encoder, {torch.nn.Linear}, dtype=torch.qint8)
    for layer in ("gate_proj", "out_proj"):
        assert sum(f"convolution.{layer}" in name for name in names) == 3
        for index in range(3):
            module = quantized.get_submodule(f"encoder.layers.{index}.convolution.{layer}")
            assert isinstance(module, torch.ao.nn.quantized.dynamic.Linear)
    with torch.no_grad():
        assert can_take_over(quantized.front_end, torch.randn(1, 128, 150))
        wave = torch.randn(1, 9600)
        states = [model(wave).last_hidden_state for model in (quantized, micro_model)]
    assert torch.cosine_similarity(*states, dim=-1).min() > 0.99


def test_statistics_of_frozen_batch_norms_stay(micro_config):
    """What training computes with them is what evaluation will."""
    dropouts = dict.fromkeys(("hidden_dropout", "activation_dropout", "attention_dropout", "conv_dropout"), 0.0)
    model = MuQModel(MuQConfig(**MICRO, **dropouts))
    perturb_statistics(model)
    model.requires_grad_(False)
    model.encoder.layer_norm.requires_grad_(True)
    before, wave = copy.deepcopy(dict(model.named_buffers())), torch.randn(2, 9600)
    trained = model.train()(wave).last_hidden_state
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())
    torch.testing.assert_close(trained, model.eval()(wave).last_hidden_state, atol=1e-5, rtol=1e-5)


def test_a_saved_adapter_is_what_was_trained(micro_folder, tmp_path):
    from peft import LoraConfig, PeftModel, get_peft_model

    def base():
        torch.manual_seed(0)
        return MuQForSequenceClassification.from_pretrained(micro_folder, num_labels=3)

    settings = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], modules_to_save=["projector", "classifier"])
    model = get_peft_model(base(), settings).train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(5):
        model(torch.randn(4, 9600), labels=torch.tensor([0, 1, 2, 0])).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(tmp_path / "adapter")
    again = PeftModel.from_pretrained(base(), tmp_path / "adapter")
    wave = torch.randn(1, 9600)
    with torch.no_grad():
        torch.testing.assert_close(again.eval()(wave).logits, model.eval()(wave).logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("model_class", [MuQForPreTraining, MuQForSequenceClassification])
def test_new_weights_have_the_deviation_of_the_configuration(model_class):
    model = model_class(MuQConfig(**MICRO, initializer_range=0.5))
    weights = torch.cat([m.weight.flatten() for m in model.modules() if isinstance(m, (torch.nn.Linear, torch.nn.Conv2d))])
    assert weights.std().item() == pytest.approx(0.5, rel=0.02)


@pytest.mark.parametrize("model_class", [MuQForSequenceClassification, MuQForAudioFrameClassification])
def test_the_feature_encoder_can_be_frozen_alone(micro_config, model_class):
    model = model_class(micro_config).train()
    model.freeze_feature_encoder()
    before = copy.deepcopy(dict(model.muq.front_end.named_buffers()))
    model(torch.randn(2, 9600)).logits.sum().backward()
    assert all(parameter.grad is None for parameter in model.muq.front_end.parameters())
    assert all(parameter.grad is not None for parameter in model.muq.encoder.layers[0].ffn1.parameters())
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.muq.front_end.named_buffers())


def test_pretraining_gives_attentions(micro_config):
    model = MuQForPreTraining(micro_config).eval()
    for return_loss in (True, False):
        output = model(torch.randn(1, 9600), return_loss=return_loss, output_attentions=True)
        assert [tuple(weights.shape) for weights in output.attentions] == 3 * [(1, 4, 10, 10)]


MODEL_CLASSES = (MuQModel, MuQForPreTraining, MuQForSequenceClassification, MuQForAudioFrameClassification, MelRVQModel)


@pytest.mark.parametrize("model_class", MODEL_CLASSES)
def test_lists_name_parts_that_the_model_has(model_class):
    model = model_class(MelRVQConfig() if model_class is MelRVQModel else MuQConfig(**MICRO))
    parts = {part for name, _ in model.named_modules() for part in name.split(".")}
    classes = {type(module).__name__ for module in model.modules()}
    assert set(model_class._keep_in_fp32_modules_strict) <= parts
    assert set(model_class._no_split_modules) <= classes


@pytest.mark.parametrize("model_class", MODEL_CLASSES)
def test_music_has_no_embeddings_of_ids(model_class):
    """Quantisation by torchao asks for them, to leave them out."""
    assert model_class(MelRVQConfig() if model_class is MelRVQModel else MuQConfig(**MICRO)).get_input_embeddings() is None


def test_device_map_auto_loads(micro_folder):
    reference = MuQModel.from_pretrained(micro_folder)
    placed = MuQModel.from_pretrained(micro_folder, device_map="auto")
    wave = torch.randn(1, 2400, device=placed.device)
    with torch.no_grad():
        torch.testing.assert_close(placed(wave).last_hidden_state.cpu(), reference(wave.cpu()).last_hidden_state)


def test_large_preset_has_the_published_number_of_parameters():
    """316.3 M in front end and encoder (the published class without its unused parts and heads)."""
    with torch.device("meta"):
        model = MuQModel(MuQConfig.from_preset("large"))
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    assert round(millions, 1) == 316.3


def test_a_quantized_projection_leaves_the_precision_of_the_rest(micro_model):
    """Its weight has no floating-point dtype, and is a method in some libraries."""

    class Quantized(torch.nn.Linear):
        def forward(self, states):
            return torch.nn.functional.linear(states, self.scale * self.weight.float(), self.bias)

    wave = torch.randn(1, 9600)
    projection = micro_model.front_end.projection
    scale = projection.weight.abs().max() / 127
    rounded = (projection.weight / scale).round()
    projection.weight.data = rounded * scale
    with torch.no_grad():
        expected = micro_model(wave).last_hidden_state
        projection.__class__, projection.scale = Quantized, scale
        projection.weight = torch.nn.Parameter(rounded.to(torch.int8), requires_grad=False)
        torch.testing.assert_close(micro_model(wave).last_hidden_state, expected)
