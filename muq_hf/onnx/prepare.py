"""Replaces modules by ones that ONNX runtimes run and quantise best. The numbers stay the same."""

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from ..models.conformer_muq import ConvolutionModule
from ..models.front_end_muq import ConvBlock
from ..models.modeling_muq import MuQModel
from .spectrogram import ProductSpectrogram


class Product(nn.Module):
    """A linear layer whose weight is stored as ONNX's MatMul takes it, so that quantisation finds a constant."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None):
        """weight: [out, in]."""
        super().__init__()
        self.register_buffer("weight", weight.detach().T.contiguous())
        self.register_buffer("bias", None if bias is None else bias.detach())

    def forward(self, states):
        product = torch.matmul(states, self.weight)
        return product if self.bias is None else product + self.bias


class FoldedConvolution(nn.Module):
    """A convolution and the batch norm behind it as one; being no `nn.Conv2d`, it is not folded again."""

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm1d | nn.BatchNorm2d):
        super().__init__()
        statistics = (norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias)
        weight, bias = fuse_conv_bn_weights(conv.weight, conv.bias, *statistics)
        self.register_buffer("weight", weight.detach())
        self.register_buffer("bias", bias.detach())
        self.stride, self.padding, self.groups = conv.stride, conv.padding, conv.groups

    def forward(self, x):
        return torch.conv2d(x, self.weight, self.bias, self.stride, self.padding, groups=self.groups)


@torch.no_grad()
def prepare(model: nn.Module) -> None:
    """Replace modules in place; afterwards the model is for tracing only."""
    for module in list(model.modules()):
        if isinstance(module, MuQModel):
            module.spectrogram = ProductSpectrogram(module.config)
        elif isinstance(module, ConvBlock):
            for index in (1, 2, 3):
                _fold(module, f"conv{index}", f"norm{index}")
        elif isinstance(module, ConvolutionModule):
            _fold(module, "depthwise", "batch_norm")
        for name, child in module.named_children():
            if isinstance(child, nn.Linear):
                setattr(module, name, Product(child.weight, child.bias))
    model.requires_grad_(False)


def _fold(module: nn.Module, conv_name: str, norm_name: str) -> None:
    setattr(module, conv_name, FoldedConvolution(getattr(module, conv_name), getattr(module, norm_name)))
    setattr(module, norm_name, nn.Identity())
