"""from_pretrained: every way in, and clear errors for what is damaged."""

import json
import logging
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from checks import relative_error, wave_of
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForAudioClassification,
    AutoModelForAudioFrameClassification,
    AutoModelForPreTraining,
)
from transformers.utils import logging as transformers_logging

import muq_hf
from muq_hf import MUQ_TINY, MelRVQModel, MuQForPreTraining, MuQForSequenceClassification, MuQModel, MuQMuLanModel
from muq_hf.models import loading_muq
from muq_hf.models.loading_muq import lacks_instructions_for
from muq_hf.models.published_muq import fuse_weight_norms


def test_auto_classes_find_the_models(micro_folder):
    assert isinstance(AutoConfig.from_pretrained(micro_folder), muq_hf.MuQConfig)
    assert isinstance(AutoFeatureExtractor.from_pretrained(micro_folder), muq_hf.MuQFeatureExtractor)
    assert isinstance(AutoModel.from_pretrained(micro_folder), MuQModel)
    assert isinstance(AutoModelForPreTraining.from_pretrained(micro_folder), MuQForPreTraining)
    classifier = AutoModelForAudioClassification.from_pretrained(micro_folder, num_labels=5)
    assert isinstance(classifier, MuQForSequenceClassification)
    assert classifier.classifier.out_features == 5
    frames = AutoModelForAudioFrameClassification.from_pretrained(micro_folder, num_labels=7)
    assert isinstance(frames, muq_hf.MuQForAudioFrameClassification)


FRESH_PROCESS = """
import sys, torch, muq_hf
folder = sys.argv[1]
wave = torch.load(folder + "/wave.pt")
results = {}
for name in ("MuQModel", "MuQForSequenceClassification", "MelRVQModel"):
    model = getattr(muq_hf, name).from_pretrained(folder + "/" + name)
    with torch.no_grad():
        results[name] = model(wave)[0]
torch.save(results, folder + "/results.pt")
"""


@pytest.mark.slow
def test_saving_and_loading_in_a_fresh_process_is_the_identity(micro_folder, tmp_path):
    wave = torch.linspace(-1, 1, 9600)[None] ** 3
    torch.save(wave, tmp_path / "wave.pt")
    expected = {}
    for model_class in (MuQModel, MuQForSequenceClassification, MelRVQModel):
        model = model_class.from_pretrained(micro_folder)
        model.save_pretrained(tmp_path / model_class.__name__)
        with torch.no_grad():
            expected[model_class.__name__] = model(wave)[0]
    subprocess.run([sys.executable, "-c", FRESH_PROCESS, str(tmp_path)], check=True, env=os.environ, capture_output=True)
    for name, result in torch.load(tmp_path / "results.pt").items():
        torch.testing.assert_close(result, expected[name], rtol=0, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}")


@pytest.fixture(scope="module")
def published_tensors(published_folder):
    return {key.removeprefix("model."): tensor for key, tensor in load_file(published_folder / "model.safetensors").items()}


@pytest.fixture(scope="module")
def loaded_state(published_folder):
    return MuQForPreTraining.from_pretrained(published_folder).state_dict()


@pytest.mark.parametrize(
    ("name", "published_name"),
    [
        ("muq.front_end.blocks.0.conv1.weight", "conv.conv.0.conv1.weight"),
        ("muq.front_end.blocks.1.conv3.bias", "conv.conv.1.conv3.bias"),
        ("muq.front_end.blocks.1.norm2.running_var", "conv.conv.1.bn2.running_var"),
        ("muq.front_end.projection.weight", "conv.linear.weight"),
        ("muq.encoder.layers.0.ffn1_layer_norm.weight", "conformer.layers.0.ffn1_layer_norm.weight"),
        ("muq.encoder.layers.0.ffn1.up_proj.weight", "conformer.layers.0.ffn1.intermediate_dense.weight"),
        ("muq.encoder.layers.2.ffn2.down_proj.bias", "conformer.layers.2.ffn2.output_dense.bias"),
        ("muq.encoder.layers.1.attention_layer_norm.bias", "conformer.layers.1.self_attn_layer_norm.bias"),
        ("muq.encoder.layers.1.attention.q_proj.weight", "conformer.layers.1.self_attn.linear_q.weight"),
        ("muq.encoder.layers.1.attention.k_proj.weight", "conformer.layers.1.self_attn.linear_k.weight"),
        ("muq.encoder.layers.1.attention.v_proj.weight", "conformer.layers.1.self_attn.linear_v.weight"),
        ("muq.encoder.layers.1.attention.out_proj.bias", "conformer.layers.1.self_attn.linear_out.bias"),
        ("muq.encoder.layers.2.convolution.gate_proj.weight", "conformer.layers.2.conv_module.pointwise_conv1.weight"),
        ("muq.encoder.layers.2.convolution.depthwise.weight", "conformer.layers.2.conv_module.depthwise_conv.weight"),
        ("muq.encoder.layers.2.convolution.batch_norm.running_mean", "conformer.layers.2.conv_module.batch_norm.running_mean"),
        ("muq.encoder.layers.2.convolution.out_proj.weight", "conformer.layers.2.conv_module.pointwise_conv2.weight"),
        ("muq.encoder.layer_norm.weight", "conformer.layer_norm.weight"),
        ("head.weight", "linear.weight"),
        ("quantizer.steps.3.codebook.weight", "rvq.quantizers.3.codebook.weight"),
        ("quantizer.steps.7.unused_steps", "rvq.quantizers.7.stale_counter"),
        ("quantizer.steps.7.in_proj.bias", "rvq.quantizers.7.in_proj.bias"),
    ],
)
def test_published_tensor_is_found_again(loaded_state, published_tensors, name, published_name):
    ours = loaded_state[name]
    theirs = published_tensors[published_name].to(ours.dtype)
    if theirs.ndim == 3:  # one-dimensional convolutions, which are linear maps and a two-dimensional convolution here
        theirs = theirs.unsqueeze(3) if "depthwise" in name else theirs.squeeze(2)
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("part", ["steps.0.in_proj", "steps.5.out_proj"])
def test_published_weight_norm_is_multiplied_out(loaded_state, published_tensors, part):
    stem = "rvq.quantizers." + part.removeprefix("steps.")
    magnitude, direction = (published_tensors[f"{stem}.weight_{letter}"].double().numpy() for letter in "gv")
    weight = magnitude * direction / np.sqrt((direction**2).sum(axis=(1, 2), keepdims=True))
    np.testing.assert_allclose(loaded_state[f"quantizer.{part}.weight"].numpy(), weight[:, :, 0], rtol=1e-6, atol=1e-8)


def test_no_published_tensor_is_lost_but_the_unused(loaded_state, published_tensors):
    unused = [key for key in published_tensors if key == "cls_token" or "pos_conv_embed" in key or "inv_freq" in key]
    halves = [key for key in published_tensors if key.endswith("weight_g")]  # two tensors become one
    assert len(loaded_state) == len(published_tensors) - len(unused) - len(halves)
    assert (len(unused), len(halves)) == (5, 16)


def test_both_spellings_of_weight_norm_fuse_to_the_same_weight():
    magnitude, direction = torch.rand(6, 1, 1) + 0.5, torch.randn(6, 4, 1)
    old = fuse_weight_norms({"p.weight_g": magnitude, "p.weight_v": direction})
    new = fuse_weight_norms({"p.parametrizations.weight.original0": magnitude, "p.parametrizations.weight.original1": direction})
    layer = torch.nn.utils.parametrizations.weight_norm(torch.nn.Conv1d(4, 6, 1), dim=0)
    layer.parametrizations.weight.original0.data = magnitude
    layer.parametrizations.weight.original1.data = direction
    torch.testing.assert_close(old["p.weight"], layer.weight.detach())
    assert torch.equal(old["p.weight"], new["p.weight"])


def test_heads_on_the_published_encoder(published_folder, goldens):
    model = MuQForSequenceClassification.from_pretrained(published_folder, num_labels=3, problem_type="regression")
    assert (model.config.num_labels, model.config.problem_type) == (3, "regression")
    with torch.no_grad():
        states = model.muq(wave_of(goldens, 24_000)).last_hidden_state[0]
    assert relative_error(states, goldens["24000.last_hidden_state"]) < 1e-5


def damaged(folder, tmp_path, change):
    """A copy of a model folder whose tensors went through `change`."""
    copy = tmp_path / "damaged"
    shutil.copytree(folder, copy)
    tensors = load_file(copy / "model.safetensors")
    change(tensors)
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    return copy


@pytest.mark.parametrize("which", ["published", "own"])
def test_truncated_file_is_named(published_folder, micro_folder, tmp_path, which):
    copy = tmp_path / "copy"
    shutil.copytree(published_folder if which == "published" else micro_folder, copy)
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(OSError, match=f"{copy}.*damaged or incomplete"):
        MuQModel.from_pretrained(copy)


def test_missing_published_tensor_is_named(published_folder, tmp_path):
    copy = damaged(published_folder, tmp_path, lambda tensors: tensors.pop("model.conformer.layers.1.ffn2.output_dense.bias"))
    with pytest.raises(ValueError, match=r"model.safetensors lacks 1 tensors.*encoder.layers.1.ffn2.down_proj.bias"):
        MuQModel.from_pretrained(copy)


def test_half_of_a_weight_norm_is_named(published_folder, tmp_path):
    copy = damaged(published_folder, tmp_path, lambda tensors: tensors.pop("model.rvq.quantizers.0.in_proj.weight_v"))
    with pytest.raises(ValueError, match="rvq.quantizers.0.in_proj.weight_v"):
        MuQModel.from_pretrained(copy)


def test_unknown_published_tensor_is_named(published_folder, tmp_path):
    copy = damaged(published_folder, tmp_path, lambda tensors: tensors.update({"model.surprise": torch.zeros(1)}))
    with pytest.raises(ValueError, match="'surprise'"):
        MuQModel.from_pretrained(copy)


def test_missing_encoder_tensor_is_named_even_under_a_fresh_head(micro_folder, tmp_path):
    copy = damaged(micro_folder, tmp_path, lambda tensors: tensors.pop("muq.encoder.layer_norm.weight"))
    with pytest.raises(ValueError, match="lacks 1 tensors of MuQForSequenceClassification.*muq.encoder.layer_norm.weight"):
        MuQForSequenceClassification.from_pretrained(copy)


def test_tensor_of_another_shape_is_named(micro_folder, tmp_path):
    def shrink(tensors):
        tensors["muq.encoder.layer_norm.weight"] = torch.zeros(5)

    with pytest.raises(
        ValueError, match=r"damaged: tensor 'encoder.layer_norm.weight' has shape \(5,\), the model needs \(32,\)"
    ):
        MuQModel.from_pretrained(damaged(micro_folder, tmp_path, shrink))


@pytest.fixture
def encoder_folder(micro_folder, tmp_path):
    """An encoder without head and tokenizer."""
    MuQModel.from_pretrained(micro_folder).save_pretrained(tmp_path / "encoder")
    return tmp_path / "encoder"


@pytest.mark.parametrize("tokenizer", [{"quantizer_type": "none"}, {"quantizer_type": "random_projection", "num_codebooks": 1}])
def test_an_encoder_alone_can_start_pretraining(encoder_folder, tokenizer):
    model = MuQForPreTraining.from_pretrained(encoder_folder, **tokenizer)
    encoder = MuQModel.from_pretrained(encoder_folder).state_dict()
    assert all(torch.equal(tensor, encoder[name]) for name, tensor in model.muq.state_dict().items())
    tokens = {"target_tokens": torch.zeros(1, 10, 4, dtype=torch.long)} if tokenizer["quantizer_type"] == "none" else {}
    assert torch.isfinite(model(torch.randn(1, 9600), **tokens).loss)


def test_a_trained_tokenizer_is_not_made_up(encoder_folder):
    with pytest.raises(ValueError, match='lacks .* tensors of MuQForPreTraining.*`quantizer_type="none"`'):
        MuQForPreTraining.from_pretrained(encoder_folder)


FIRST_SHAPES = {"gate_proj": (64, 32, 1), "out_proj": (32, 32, 1), "depthwise": (32, 1, 31)}


def split_weights(folder):
    """The weights of a folder in two files and an index, as transformers saves large models."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, own in parts.items():
        save_file({name: tensors[name] for name in own}, folder / file, metadata={"format": "pt"})
    size = sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": {name: file for file, own in parts.items() for name in own}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("model_class", "in_several_files"),
    [(MuQModel, False), (MuQForPreTraining, False), (MuQForSequenceClassification, False), (MuQModel, True)],
)
def test_folders_of_the_first_layout_load(micro_folder, tmp_path, model_class, in_several_files):
    """Its convolution modules were of one-dimensional convolutions."""

    def put_back(tensors):
        for key in [key for key in tensors if ".convolution." in key and key.split(".")[-2] in FIRST_SHAPES]:
            tensors[key] = tensors[key].reshape(FIRST_SHAPES[key.split(".")[-2]])

    folder = damaged(micro_folder, tmp_path, put_back)
    if in_several_files:
        split_weights(folder)
    torch.manual_seed(0)
    expected = model_class.from_pretrained(micro_folder, use_weighted_layer_sum=True)
    torch.manual_seed(0)
    loaded = model_class.from_pretrained(folder, use_weighted_layer_sum=True)
    assert loaded.config.use_weighted_layer_sum and loaded.name_or_path == str(folder)
    assert loaded.state_dict().keys() == expected.state_dict().keys()
    ours = {name: tensor for name, tensor in loaded.state_dict().items() if name.startswith(("encoder", "muq"))}
    assert ours and all(torch.equal(tensor, expected.state_dict()[name]) for name, tensor in ours.items())


@pytest.mark.parametrize("index", ["{", "[]", '{"weight_map": {"a": 3}}', '{"weight_map": {"a": "gone.safetensors"}}'])
def test_a_damaged_index_of_weights_is_named(micro_folder, tmp_path, index):
    folder = shutil.copytree(micro_folder, tmp_path / "model")
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(index)
    with pytest.raises(OSError, match="index.json is damaged|gone.safetensors"):
        MuQModel.from_pretrained(folder)


@pytest.fixture
def warnings_of_transformers(caplog):
    """What is logged, from a beginning at which nothing was said once and for all."""
    logger = logging.getLogger("transformers")
    logger.addHandler(caplog.handler)
    transformers_logging.warning_once.cache_clear()
    yield caplog
    logger.removeHandler(caplog.handler)


def emulate(monkeypatch, dtype):
    monkeypatch.setattr(loading_muq, "lacks_instructions_for", lambda found: found == dtype)


def test_loading_in_an_emulated_dtype_warns_once(micro_folder, monkeypatch, warnings_of_transformers):
    emulate(monkeypatch, torch.bfloat16)
    for _ in range(2):
        model = MuQForPreTraining.from_pretrained(micro_folder, dtype=torch.bfloat16)
    assert model.dtype == torch.bfloat16
    assert warnings_of_transformers.text.count("no bfloat16 instructions") == 1
    assert "dtype=torch.float32" in warnings_of_transformers.text


@pytest.mark.parametrize("convert", [lambda model: model.to(torch.bfloat16), lambda model: model.bfloat16()])
def test_moving_to_an_emulated_dtype_warns(micro_folder, monkeypatch, warnings_of_transformers, convert):
    emulate(monkeypatch, torch.bfloat16)
    model = MuQModel.from_pretrained(micro_folder)
    assert "instructions" not in warnings_of_transformers.text
    convert(model)
    assert "no bfloat16 instructions" in warnings_of_transformers.text


def test_a_dtype_of_the_processor_does_not_warn(micro_folder, monkeypatch, warnings_of_transformers):
    emulate(monkeypatch, None)
    MuQModel.from_pretrained(micro_folder, dtype=torch.bfloat16)
    assert "instructions" not in warnings_of_transformers.text


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_build_that_cannot_tell_is_taken_for_one_without_half_precision(dtype, monkeypatch):
    monkeypatch.setattr(torch.ops, "mkldnn", SimpleNamespace())
    assert lacks_instructions_for(dtype) and not lacks_instructions_for(torch.float32)


def test_missing_statistics_in_the_published_configuration_are_named(published_folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(published_folder, copy)
    config = json.loads((copy / "config.json").read_text())
    config["stat"] = {}
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="melspec_2048_mean"):
        MuQModel.from_pretrained(copy)


def test_folder_without_a_model_is_an_error(tmp_path):
    with pytest.raises(OSError, match="model.safetensors"):
        MuQModel.from_pretrained(tmp_path)


@pytest.mark.slow
def test_importing_leaves_network_and_threads_alone():
    code = (
        "import socket, threading, torch\n"
        "def refuse(*a, **k): raise AssertionError('network')\n"
        "socket.socket.connect = refuse\n"
        "threads, state = torch.get_num_threads(), torch.get_rng_state()\n"
        "import transformers, muq_hf, muq_hf.models.modeling_muq, muq_hf.models.pipeline_muq\n"
        "muq_hf.MuQModel(muq_hf.MuQConfig(num_hidden_layers=1, hidden_size=32, conv_channels=4, num_attention_heads=2))\n"
        "assert threading.active_count() == 1 and torch.get_num_threads() == threads\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ, capture_output=True)


def test_a_model_of_another_type_is_named():
    with pytest.raises(ValueError, match="is a model of type 'muq', no MuQMuLanModel"):
        MuQMuLanModel.from_pretrained(MUQ_TINY)
