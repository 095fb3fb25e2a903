"""Exported files against the models that they came from."""

import json

import onnx
import onnxruntime
import pytest
import torch
from mulan_models import MAX_TOKENS, music, tiny_processor

from muq_hf.onnx.tracing import OPSET


RATE = 24_000  # Hz


def batch_of(lengths: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Music of so many samples each, padded with what must not matter."""
    waves = torch.full((len(lengths), max(lengths)), 0.7)
    mask = torch.zeros(waves.shape, dtype=torch.long)
    for row, length in enumerate(lengths):
        waves[row, :length] = music(length / RATE, seed=row)
        mask[row, :length] = 1
    return waves, mask


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return torch.nn.functional.cosine_similarity(a.double().flatten(), b.double().flatten(), dim=0).item()


@pytest.mark.parametrize("seconds", [2, 10, 30])
@pytest.mark.parametrize("batch", [1, 3])
@torch.no_grad()
def test_encoder_equals_pytorch_at_every_batch_and_length(encoder, batch, seconds):
    waves, mask = batch_of([seconds * RATE] * batch)
    expected = encoder.model(waves).last_hidden_state
    found, frame_mask, *_ = encoder.run("model.onnx", input_values=waves, attention_mask=mask)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert frame_mask.all()


@pytest.mark.parametrize("lengths", [[1025], [1199, 1440], [24_001, 5000, 1025], [9839, 9840, 9841]])
@torch.no_grad()
def test_items_of_a_padded_batch_are_what_pytorch_gives_alone(encoder, lengths):
    waves, mask = batch_of(lengths)
    found, frame_mask, *_ = encoder.run("model.onnx", input_values=waves, attention_mask=mask)
    for row, length in enumerate(lengths):
        expected = encoder.model(waves[row : row + 1, :length]).last_hidden_state[0]
        assert frame_mask[row].sum() == len(expected)
        torch.testing.assert_close(found[row, : len(expected)], expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_chosen_hidden_states_follow_the_last(encoder):
    waves, mask = batch_of([RATE])
    session = onnxruntime.InferenceSession(encoder.folder / "model.onnx")
    assert [o.name for o in session.get_outputs()] == ["last_hidden_state", "frame_mask", "hidden_states.0", "hidden_states.1"]
    *_, first, second = encoder.run("model.onnx", input_values=waves, attention_mask=mask)
    expected = encoder.model(waves, output_hidden_states=True).hidden_states
    torch.testing.assert_close(first, expected[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(second, expected[1], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("file", "lowest"), [("model_fp16.onnx", 0.9999), ("model_int8.onnx", 0.998)])
@torch.no_grad()
def test_smaller_precisions_stay_close(encoder, file, lowest):
    lengths = [2 * RATE, RATE]
    waves, mask = batch_of(lengths)
    found, frame_mask, *_ = encoder.run(file, input_values=waves, attention_mask=mask)
    expected = encoder.model(waves, mask).last_hidden_state
    is_music = frame_mask.bool()
    assert found.dtype == torch.float32
    assert cosine(found[is_music], expected[is_music]) > lowest
    weights = sum(len(i.raw_data) for i in onnx.load(encoder.folder / file).graph.initializer if i.name.startswith("encoder/"))
    whole = onnx.load(encoder.folder / "model.onnx").graph.initializer
    assert weights < 0.8 * sum(len(i.raw_data) for i in whole if i.name.startswith("encoder/"))


@torch.no_grad()
def test_half_precision_counts_more_frames_than_it_has_integers_for(encoder):
    """2,049 frames: the number itself is none of half precision, whose steps are 2 from 2,048 on."""
    waves, mask = batch_of([2_049 * RATE // 25])
    found, frame_mask, *_ = encoder.run("model_fp16.onnx", input_values=waves, attention_mask=mask)
    assert frame_mask.shape == (1, 2_049)
    assert cosine(found, encoder.model(waves).last_hidden_state) > 0.9999


def test_the_mel_is_float32_in_every_file(encoder):
    kinds = {}
    for name in ("model", "model_fp16", "model_int8"):
        graph = onnx.load(encoder.folder / f"{name}.onnx").graph
        tables = [i for i in graph.initializer if i.name.startswith("mel/spectrogram.")]
        assert len(tables) >= 5 and {i.data_type for i in tables} == {onnx.TensorProto.FLOAT}
        kinds[name] = {i.data_type for i in graph.initializer if i.name.startswith("encoder/")}
    assert onnx.TensorProto.FLOAT16 in kinds["model_fp16"]
    assert onnx.TensorProto.INT8 in kinds["model_int8"]


def test_a_file_says_what_it_is(encoder):
    session = onnxruntime.InferenceSession(encoder.folder / "model_int8.onnx")
    about = session.get_modelmeta().custom_metadata_map
    assert about["sampling_rate"] == "24000" and about["frame_rate"] == "25.0" and about["min_samples"] == "1025"
    assert about["license"] == "mit" and about["model_id"] == "model" and about["precision"] == "int8"
    assert {i.name: i.shape for i in session.get_inputs()} == dict.fromkeys(
        ["input_values", "attention_mask"], ["batch", "samples"]
    )
    assert session.get_outputs()[0].shape == ["batch", "frames", 32]
    assert {o.domain: o.version for o in onnx.load(encoder.folder / "model.onnx").opset_import}[""] == OPSET


def test_the_folder_has_what_a_runtime_needs_beside_the_graph(encoder, mulan):
    assert json.loads((encoder.folder / "preprocessor_config.json").read_text())["sampling_rate"] == RATE
    assert sorted(file.name for file in encoder.folder.iterdir() if file.suffix != ".json") == [
        "model.onnx",
        "model_fp16.onnx",
        "model_int8.onnx",
    ]
    assert (mulan.folder / "tokenizer.json").is_file() and (mulan.folder / "config.json").is_file()


def test_every_file_was_checked_at_both_batch_sizes(encoder):
    assert [(row.precision, row.case) for row in encoder.rows] == [
        (precision, case) for precision in ("float32", "float16", "int8") for case in ("1 × 1 s", "3 × 1 s")
    ]
    assert all(row.max_error < 1e-5 for row in encoder.rows if row.precision == "float32")


@torch.no_grad()
def test_the_mel_of_a_split_model_is_that_of_the_spectrogram(mulan):
    waves, mask = batch_of([RATE // 2, RATE // 3])
    mel, mel_lengths, clip_weights = mulan.run("mel.onnx", input_values=waves, padding_mask=mask)
    expected = mulan.model.audio_model.encoder.spectrogram(waves, mask.sum(dim=1))
    torch.testing.assert_close(mel, expected, atol=1e-4, rtol=0)
    assert mel_lengths.tolist() == [50, 33] and torch.equal(clip_weights, torch.eye(2))


# One clip; whole clips; a rest; a rest that begins earlier; a rest that is left out; items with fewer clips than others.
@pytest.mark.parametrize(
    "lengths",
    [[5000], [24_000] * 3, [60_000, 24_000, 1025], [48_500], [24_100, 24_239], [24_240], [72_000, 24_240, 24_239]],
)
@torch.no_grad()
def test_music_tower_equals_pytorch(mulan, lengths):
    waves, mask = batch_of(lengths)
    mel, mel_lengths, clip_weights = mulan.run("mel.onnx", input_values=waves, padding_mask=mask)
    [found] = mulan.run("audio_model.onnx", mel=mel, mel_lengths=mel_lengths, clip_weights=clip_weights)
    expected = mulan.model.get_audio_features(waves, mask).pooler_output
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("texts", [["rock"], ["calm piano, rainy mood", "drums", "x" * (MAX_TOKENS - 2)]])
@torch.no_grad()
def test_text_tower_equals_pytorch(mulan, texts):
    inputs = tiny_processor()(text=texts, return_tensors="pt")
    feeds = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    [found] = mulan.run("text_model.onnx", **feeds)
    expected = mulan.model.get_text_features(**feeds).pooler_output
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
