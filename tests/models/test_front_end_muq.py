"""The front end's ways of computing one thing: the definition, and in inference the batch at once or by columns."""

import copy
import pickle
from functools import partial

import accelerate
import pytest
import torch
import torch.nn.functional as F
from checks import perturb_statistics, relative_error

from muq_hf import MuQConfig
from muq_hf.models import fast_front_end_muq
from muq_hf.models.fast_front_end_muq import DirectConvolution, can_take_over, fast_front_end
from muq_hf.models.front_end_muq import ConvFrontEnd
from muq_hf.models.spectrogram_muq import zero_padding


@pytest.fixture(params=["by columns", "whole"])
def front_end(request, monkeypatch) -> ConvFrontEnd:
    """In inference, as wide front ends and long music go, and as narrow ones and short music."""
    monkeypatch.setattr(fast_front_end_muq, "MAX_NARROW_CHANNELS", 0 if request.param == "by columns" else 32)
    model = ConvFrontEnd(MuQConfig(conv_channels=16, hidden_size=24, num_attention_heads=2)).eval()
    perturb_statistics(model)
    return model


def compute(front_end: ConvFrontEnd, mel: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
    """As `MuQModel.forward` does."""
    return fast_front_end(front_end, mel, lengths) if can_take_over(front_end, mel) else front_end(mel, lengths)


def by_definition(front_end: ConvFrontEnd, mel: torch.Tensor) -> torch.Tensor:
    """The published composition of plain modules in float64. mel: [B, M, T] → [B, T', D]."""
    modules = copy.deepcopy(front_end).double()
    x = mel.double().unsqueeze(1)
    for block in modules.blocks:
        branch = block.norm2(block.conv2(F.relu(block.norm1(block.conv1(x)))))
        x = F.relu(branch + block.norm3(block.conv3(x)))
    return modules.projection(x.permute(0, 3, 1, 2).flatten(2))


@pytest.mark.parametrize("num_mel_frames", [1, 3, 4, 101, 256, 259, 700])
@pytest.mark.parametrize("fast_convolution", [False, True])
def test_inference_equals_the_definition(front_end, num_mel_frames, fast_convolution, monkeypatch):
    """With Winograd's and with the library's convolutions, over joins of parts, at lengths off every grid."""
    monkeypatch.setattr(fast_front_end_muq, "has_fast_convolution", lambda: fast_convolution)
    mel = torch.randn(2, 128, num_mel_frames)
    with torch.no_grad():
        frames = compute(front_end, mel)
        assert frames.shape[1] == front_end.num_frames(num_mel_frames)
        assert relative_error(frames.detach(), by_definition(front_end, mel).detach()) < 5e-6


def test_with_gradients_equals_the_definition(front_end):
    mel = torch.randn(2, 128, 259)
    frames = compute(front_end, mel)
    assert frames.requires_grad
    assert relative_error(frames.detach(), by_definition(front_end, mel).detach()) < 5e-6


def test_training_updates_the_statistics(front_end):
    before = front_end.blocks[1].norm2.running_mean.clone()
    with torch.no_grad():
        compute(front_end.train(), torch.randn(2, 128, 64))
    assert not torch.equal(front_end.blocks[1].norm2.running_mean, before)


@pytest.mark.parametrize("most_frames_at_once", [1, 2, 7])
def test_the_size_of_the_parts_does_not_matter(front_end, most_frames_at_once, monkeypatch):
    mel = torch.randn(1, 128, 141)
    with torch.no_grad():
        expected = compute(front_end, mel)
        monkeypatch.setattr(fast_front_end_muq, "MAX_FRAMES_AT_ONCE", most_frames_at_once)
        assert relative_error(compute(front_end, mel), expected) < 5e-6


def test_padded_items_are_as_alone(front_end):
    lengths = torch.tensor([300, 37, 5])
    mel = zero_padding(torch.randn(3, 128, 300), lengths)
    with torch.no_grad():
        together = compute(front_end, mel, lengths)
        for item, length in enumerate(lengths.tolist()):
            alone = compute(front_end, mel[item : item + 1, :, :length])[0]
            assert relative_error(together[item, : len(alone)], alone) < 5e-6


def test_columns_ignore_what_lies_behind_an_item(front_end, monkeypatch):
    monkeypatch.setattr(fast_front_end_muq, "MAX_NARROW_CHANNELS", 0)
    lengths = torch.tensor([300, 37, 5])
    mel = torch.randn(3, 128, 300)
    with torch.no_grad():
        together = compute(front_end, mel, lengths)
        for item, length in enumerate(lengths.tolist()):
            alone = compute(front_end, mel[item : item + 1, :, :length])[0]
            assert relative_error(together[item, : len(alone)], alone) < 5e-6


def test_padded_items_are_as_alone_with_gradients(front_end):
    lengths = torch.tensor([61, 37])
    mel = torch.randn(2, 128, 61)
    mel[1, :, 37:] = 0.0
    alone = compute(front_end, mel[1:, :, :37])[0]
    assert relative_error(compute(front_end, mel, lengths)[1, : len(alone)].detach(), alone.detach()) < 5e-6


def test_new_weights_are_used_at_once(front_end):
    """Nothing derived from the weights is kept between calls."""
    mel = torch.randn(1, 128, 150)
    with torch.no_grad():
        before = compute(front_end, mel)
        front_end.blocks[1].conv2.weight.mul_(1.5)
        after = compute(front_end, mel)
        assert relative_error(after, by_definition(front_end, mel)) < 5e-6
        assert not torch.allclose(before, after)


def test_a_call_leaves_no_trace(front_end):
    tensors = set(front_end.state_dict())
    attributes = set(vars(front_end.blocks[0]))
    with torch.no_grad():
        compute(front_end, torch.randn(1, 128, 150))
    assert set(front_end.state_dict()) == tensors
    assert set(vars(front_end.blocks[0])) == attributes
    pickle.dumps(copy.deepcopy(front_end))


def test_an_adapter_in_place_of_a_convolution_is_heard(front_end):
    """A module put in place of a convolution must be called, not read for its weight."""

    class Doubled(torch.nn.Module):
        def __init__(self, conv):
            super().__init__()
            self.conv, self.weight, self.bias = conv, conv.weight, conv.bias

        def forward(self, x):
            return 2 * self.conv(x)

    mel = torch.randn(1, 128, 150)
    with torch.no_grad():
        front_end.blocks[1].conv2 = Doubled(front_end.blocks[1].conv2)
        assert relative_error(compute(front_end, mel), by_definition(front_end, mel)) < 5e-6


@pytest.mark.parametrize("name", ["conv1", "norm1", "conv2", "norm2", "conv3", "norm3"])
def test_hooks_on_every_part_are_called(front_end, name):
    calls = []
    for block in front_end.blocks:
        block.get_submodule(name).register_forward_hook(lambda *_: calls.append(name))
    with torch.no_grad():
        compute(front_end, torch.randn(1, 128, 150))
    assert len(calls) == 2


@pytest.mark.parametrize(("name", "shape"), [("blocks.0", (2, 16, 64, 75)), ("projection", (2, 38, 24))])
def test_hooks_get_whole_batches(front_end, name, shape):
    shapes = []
    front_end.get_submodule(name).register_forward_hook(lambda module, arguments, output: shapes.append(tuple(output.shape)))
    with torch.no_grad():
        compute(front_end, torch.randn(2, 128, 150))
    assert shapes == [shape]


@pytest.mark.parametrize("offload_buffers", [False, True])
def test_weights_that_are_fetched_when_a_part_is_called_are_waited_for(front_end, offload_buffers):
    mel = torch.randn(1, 128, 150)
    with torch.no_grad():
        expected = compute(front_end, mel)
        offloaded = accelerate.cpu_offload(copy.deepcopy(front_end), torch.device("cpu"), offload_buffers=offload_buffers)
        torch.testing.assert_close(compute(offloaded, mel), expected)


def test_plain_inference_is_taken_over(front_end):
    """And nothing else is: not gradients, training, autocast or a hook."""
    mel = torch.randn(1, 128, 150)
    assert not can_take_over(front_end, mel)
    with torch.no_grad():
        assert can_take_over(front_end, mel)
        with torch.autocast("cpu", torch.bfloat16):
            assert not can_take_over(front_end, mel)
        assert not can_take_over(copy.deepcopy(front_end).train(), mel)
        front_end.register_forward_hook(lambda *_: None)
        assert not can_take_over(front_end, mel)


def test_a_projection_of_another_kind_is_called(front_end):
    """A quantized one, for instance: the convolutions stay as fast as they were."""

    class Doubled(torch.nn.Linear):
        def forward(self, states):
            return 2 * super().forward(states)

    mel = torch.randn(1, 128, 150)
    with torch.no_grad():
        expected = 2 * compute(front_end, mel)
        front_end.projection.__class__ = Doubled
        assert can_take_over(front_end, mel)
        torch.testing.assert_close(compute(front_end, mel), expected)


@pytest.mark.slow
def test_compiled_whole_graph_with_dynamic_length(front_end):
    compiled = torch.compile(partial(compute, front_end), backend="eager", fullgraph=True, dynamic=True)
    with torch.no_grad():
        for num_mel_frames in (100, 131):
            mel = torch.randn(1, 128, num_mel_frames)
            assert relative_error(compiled(mel), compute(front_end, mel)) < 5e-6


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("stride", [1, 2])
def test_direct_convolution_of_columns(channels, stride):
    x, weight, bias = torch.randn(9, 20, channels), torch.randn(3, channels, 3, 3), torch.randn(3)
    expected = F.conv2d(x.permute(2, 0, 1)[None], weight, bias, stride, 1)[0].permute(1, 2, 0)
    (whole,) = DirectConvolution([weight], [bias], stride)(x, -1, expected.shape[1])
    torch.testing.assert_close(whole, expected)
