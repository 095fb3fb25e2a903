"""Winograd's convolutions against the library's own in float64."""

import pytest
import torch
import torch.nn.functional as F

from muq_hf.models import winograd_muq
from muq_hf.models.winograd_muq import WinogradConvolution, minimal_filter, tile_matrices


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


def signal_and_kernels(rows=11, columns=23, channels=6, outputs=(5, 7), dtype=torch.float64):
    x = torch.randn(rows, columns, channels, dtype=dtype)
    weights = [torch.randn(c, channels, 3, 3, dtype=dtype) for c in outputs]
    return x, weights, [torch.randn(c, dtype=dtype) for c in outputs]


def library_convolution(x, weight, bias, stride):
    """[M, W, C] → [M', W', C'], in float64."""
    y = F.conv2d(x.permute(2, 0, 1)[None].double(), weight.double(), bias.double(), stride, 1)
    return y[0].permute(1, 2, 0)


@pytest.mark.parametrize(("num_taps", "points"), [(3, (0.0, 1.0, -1.0, 2.0)), (2, (0.0, 0.5, -1.0)), (2, (0.0, -1.0))])
def test_a_minimal_filter_correlates(num_taps, points):
    A, G, B = minimal_filter(num_taps, points)
    signal, taps = torch.randn(A.shape[1], dtype=torch.float64), torch.randn(num_taps, dtype=torch.float64)
    expected = F.conv1d(signal[None, None], taps[None, None])[0, 0]
    torch.testing.assert_close(A @ ((G @ taps) * (B @ signal)), expected)


@pytest.mark.parametrize(("stride", "products"), [(1, 6), (2, 5)])
def test_products_an_axis(stride, products):
    """36 products make 4×4 outputs with stride 1 (direct: 144), 25 make 2×2 with stride 2 (direct: 36)."""
    A, G, B = tile_matrices(stride)
    assert (A.shape[1], G.shape, B.shape[0]) == (products, (products, 3), products)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (2, 3), (8, 16), (11, 23), (16, 50)])
def test_any_size_equals_the_library(stride, rows, columns):
    x, weights, biases = signal_and_kernels(rows, columns)
    outputs = WinogradConvolution(weights, biases, stride)(x, -1, -(-columns // stride))
    for output, weight, bias in zip(outputs, weights, biases, strict=True):
        torch.testing.assert_close(output, library_convolution(x, weight, bias, stride))


@pytest.mark.parametrize("stride", [1, 2])
def test_columns_of_a_part_equal_those_of_the_whole(stride):
    x, weights, biases = signal_and_kernels(columns=40)
    convolution = WinogradConvolution(weights, biases, stride)
    whole = convolution(x, -1, 40 // stride)[0]
    start, stop = 5, 14
    first_tap = start * stride - 1
    part = convolution(x[:, first_tap : (stop - 1) * stride + 2], 0, stop - start)[0]
    torch.testing.assert_close(part, whole[:, start:stop])


@pytest.mark.parametrize("stride", [1, 2])
def test_small_buffers_change_nothing(stride, monkeypatch):
    x, weights, biases = signal_and_kernels(columns=61)
    num_columns = -(-61 // stride)
    expected = WinogradConvolution(weights, biases, stride)(x, -1, num_columns)
    monkeypatch.setattr(winograd_muq, "MAX_BUFFER_BYTES", 1)
    outputs = WinogradConvolution(weights, biases, stride)(x, -1, num_columns)
    torch.testing.assert_close(outputs, expected)


@pytest.mark.parametrize("stride", [1, 2])
def test_float32_is_as_exact_as_a_plain_sum(stride):
    """Rounding errors of a sum of n products add up like a random walk: half a unit in the last place times the root of n."""
    x, weights, biases = signal_and_kernels(16, 32, channels=256, outputs=(64,), dtype=torch.float32)
    reference = library_convolution(x, weights[0], biases[0], stride)
    (ours,) = WinogradConvolution(weights, biases, stride)(x, -1, reference.shape[1])
    relative_error = (ours - reference).square().mean().sqrt() / reference.square().mean().sqrt()
    assert relative_error <= torch.finfo(torch.float32).eps / 2 * (9 * 256) ** 0.5
