"""The Conformer's modules against their definitions, and that every part of them is called."""

import copy

import pytest
import torch
import torch.nn.functional as F
from checks import perturb_statistics, relative_error

from muq_hf import MuQConfig
from muq_hf.models.conformer_muq import ConformerEncoder, ConvolutionModule, rotary_table, rotate


CONFIG = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}


@pytest.fixture
def convolution() -> ConvolutionModule:
    module = ConvolutionModule(MuQConfig(**CONFIG)).eval()
    perturb_statistics(module)
    return module


@pytest.fixture
def encoder() -> ConformerEncoder:
    config = MuQConfig(**CONFIG)
    config._attn_implementation = "sdpa"
    module = ConformerEncoder(config).eval()
    perturb_statistics(module)
    return module


def by_definition(module: ConvolutionModule, states: torch.Tensor) -> torch.Tensor:
    """Conformer's convolution module as one-dimensional convolutions in float64. states: [B, T, D]."""
    module = copy.deepcopy(module).double()
    depthwise = module.depthwise.weight.squeeze(3)  # [D, 1, kernel]
    channels = module.layer_norm(states.double()).transpose(1, 2)
    gated = F.glu(F.conv1d(channels, module.gate_proj.weight.unsqueeze(2)), dim=1)
    mixed = F.conv1d(gated, depthwise, padding=depthwise.shape[2] // 2, groups=len(depthwise))
    activated = F.silu(module.batch_norm(mixed))
    return F.conv1d(activated, module.out_proj.weight.unsqueeze(2)).transpose(1, 2)


@pytest.mark.parametrize("num_frames", [1, 5, 40])
@pytest.mark.parametrize("with_gradients", [False, True])
def test_convolution_equals_the_definition(convolution, num_frames, with_gradients):
    states = torch.randn(2, num_frames, 32)
    with torch.set_grad_enabled(with_gradients):
        assert relative_error(convolution(states).detach(), by_definition(convolution, states).detach()) < 5e-6


@pytest.mark.parametrize("with_gradients", [False, True])
def test_padding_is_silent_under_the_depthwise_kernel(convolution, with_gradients):
    states = torch.randn(2, 40, 32)
    with torch.set_grad_enabled(with_gradients):
        together = convolution(states, torch.tensor([40, 23]))
        assert relative_error(together[1, :23], convolution(states[1:, :23])[0]) < 5e-6


def test_an_adapter_in_place_of_a_convolution_is_heard(convolution):
    class Doubled(torch.nn.Module):
        def __init__(self, conv):
            super().__init__()
            self.conv, self.weight = conv, conv.weight

        def forward(self, x):
            return 2 * self.conv(x)

    states = torch.randn(1, 20, 32)
    with torch.no_grad():
        before = convolution(states)
        convolution.out_proj = Doubled(convolution.out_proj)
        torch.testing.assert_close(convolution(states), 2 * before)


@pytest.mark.parametrize("name", ["layer_norm", "gate_proj", "depthwise", "batch_norm", "activation", "out_proj", "dropout"])
@pytest.mark.parametrize("training", [False, True])
def test_hooks_on_every_part_are_called(convolution, name, training):
    part, states, calls = convolution.train(training).get_submodule(name), torch.randn(1, 20, 32), []
    with torch.set_grad_enabled(training):
        for register in (part.register_forward_pre_hook, part.register_forward_hook):
            handle = register(lambda *_: calls.append(name))
            convolution(states)
            handle.remove()
    assert len(calls) == 2


@pytest.mark.parametrize("name", ["gate_proj", "depthwise", "batch_norm", "out_proj"])
def test_backward_hooks_are_called(convolution, name):
    calls = []
    for register in ("register_full_backward_pre_hook", "register_full_backward_hook"):
        getattr(convolution.get_submodule(name), register)(lambda *_: calls.append(name))
    convolution(torch.randn(1, 20, 32)).sum().backward()
    assert len(calls) == 2


def test_attentions_that_nobody_asked_for_are_not_kept(encoder):
    with torch.no_grad():
        assert encoder(torch.randn(1, 30, 32))[2] == ()


def test_rotation_keeps_lengths_and_depends_on_distance_alone():
    cos, sin = rotary_table(12, 8, 10_000.0, "cpu", torch.float32)
    one = torch.randn(8).expand(1, 12, 1, 8)
    turned = rotate(one, cos, sin)[0, :, 0]
    torch.testing.assert_close(turned.norm(dim=-1), one[0, :, 0].norm(dim=-1))
    products = turned @ turned.T
    torch.testing.assert_close(products[0, 3], products[5, 8])
