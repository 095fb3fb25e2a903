"""What this CPU, and inference on it, should do otherwise than other devices, compilers and exporters."""

import copy

import torch
from torch import nn

from .batches_muq import is_traced


SUPPORT_CHECKS = {torch.bfloat16: "_is_mkldnn_bf16_supported", torch.float16: "_is_mkldnn_fp16_supported"}
HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")


def are_plain(kind: type, *modules: nn.Module) -> bool:
    """Whether nothing is lost if the modules' tensors are computed with directly, and they are not called.

    Not with adapters or quantized layers in their places, with hooks on them, or with a `forward` of their own: accelerate
    gives them one that fetches offloaded weights.
    """
    return all(
        type(module) is kind and "forward" not in vars(module) and not any(getattr(module, hooks) for hooks in HOOKS)
        for module in modules
    )


def is_plain_cpu(module: nn.Module, states: torch.Tensor) -> bool:
    """Whether `module` runs on a CPU step by step: what is quickest there may then be chosen."""
    return (
        states.device.type == "cpu"
        and not is_traced()
        and all(parameter.device.type == "cpu" for parameter in module.parameters())  # and not offloaded
    )


def is_plain_cpu_inference(module: nn.Module, states: torch.Tensor) -> bool:
    """Whether it does so only for its result: loops may then depend on data."""
    return (
        is_plain_cpu(module, states)
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and not any(part.training for part in module.modules())
    )


def has_fast_convolution() -> bool:
    """With AVX-512 the library's direct convolution outruns its matrix product so far that fewer products do not pay."""
    return torch.backends.cpu.get_cpu_capability().startswith("AVX512")


def emulates(dtype: torch.dtype) -> bool:
    """Whether this CPU has no instructions for a half precision: computing in it is then many times slower than in float32.

    PyTorch built without oneDNN (for Macs) does not tell; it is then taken for one that has none.
    """
    if dtype not in SUPPORT_CHECKS:
        return False
    is_supported = getattr(torch.ops.mkldnn, SUPPORT_CHECKS[dtype], None)
    return is_supported is None or not is_supported()


def in_float32(module: nn.Module) -> nn.Module:
    """A copy of `module` whose floating-point tensors are float32; those that are already are shared, and so are hooks."""
    copies = {id(tensor): tensor.detach().float() if tensor.is_floating_point() else tensor for tensor in module.buffers()}
    for parameter in module.parameters():
        copies[id(parameter)] = nn.Parameter(parameter.detach().float(), requires_grad=False)
    for part in module.modules():
        shared = [getattr(part, hooks) for hooks in HOOKS] + [getattr(part, "_gradient_checkpointing_func", None)]
        copies |= {id(item): item for item in shared}
    return copy.deepcopy(module, copies)
