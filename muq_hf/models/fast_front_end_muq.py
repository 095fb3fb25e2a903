"""A faster way to compute the front end in inference: the numbers of `front_end_muq` in less time and memory.

`can_take_over` decides whether it is used: reading the modules' weights must give what calling the modules would. The tricks:
- Batch norms are folded into the convolutions before them.
- On a CPU, wide models compute item by item and a few seconds at a time: memory stays bounded, and padding costs nothing.
- On a CPU without AVX-512, 3×3 convolutions are Winograd's.
"""

import torch
import torch.nn.functional as F
from torch import nn

from .batch_norm_muq import FreezableBatchNorm2d
from .batches_muq import is_traced
from .front_end_muq import ConvBlock, ConvFrontEnd, halve
from .spectrogram_muq import zero_padding
from .windowing_muq import FRONT_END_STRIDE
from .winograd_muq import WinogradConvolution


MAX_FRAMES_AT_ONCE = 64  # encoder frames, 2.6 s: what is alive at one time fits the heap, which then keeps its pages
MIN_WINOGRAD_FRAMES = 25  # encoder frames, 1 s: for less, transforming the weights costs more than it saves
MAX_NARROW_CHANNELS = 32  # up to which a convolution of the whole batch is quicker than one by columns (2 cores, AVX2)
MAX_WHOLE_VALUES = 2**25  # in a map of the whole batch, 128 MiB
HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")


def can_skip_call(kind: type, *modules: nn.Module) -> bool:
    """True if reading the weights gives what calling the modules would: no hooks, adapters, quantisation or offloading.

    accelerate gives a module whose weights are offloaded a `forward` of its own, which fetches them.
    """
    return all(
        type(module) is kind and "forward" not in vars(module) and not any(getattr(module, hooks) for hooks in HOOKS)
        for module in modules
    )


def can_take_over(front_end: ConvFrontEnd, mel: torch.Tensor) -> bool:
    """True for plain inference: no tracing, gradients, training mode or autocast, and no module that has to be called.

    The projection may be of any kind, for instance quantized, because the fast way calls it too.
    """
    device = mel.device
    if is_traced() or torch.is_grad_enabled() or torch.is_autocast_enabled(device.type):
        return False
    if any(part.training for part in front_end.modules()) or any(p.device != device for p in front_end.parameters()):
        return False
    blocks, projection = front_end.blocks, front_end.projection
    convolutions = [conv for block in blocks for conv in (block.conv1, block.conv2, block.conv3)]
    norms = [norm for block in blocks for norm in (block.norm1, block.norm2, block.norm3)]
    return (
        can_skip_call(ConvFrontEnd, front_end)
        and can_skip_call(ConvBlock, *blocks)
        and can_skip_call(nn.Conv2d, *convolutions)
        and can_skip_call(FreezableBatchNorm2d, *norms)
        and can_skip_call(type(projection), projection)  # a hook expects one call for the whole batch
    )


def fast_front_end(front_end: ConvFrontEnd, mel: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
    """What `front_end(mel, lengths)` gives, if it [`can_take_over`]. mel: [B, M, T]; lengths: [B] → [B, T', D]."""
    by_columns = mel.device.type == "cpu" and not _is_small(front_end, mel)
    return _by_columns(front_end, mel, lengths) if by_columns else _whole(front_end, mel, lengths)


def _is_small(front_end: ConvFrontEnd, mel: torch.Tensor) -> bool:
    """Whether few channels and short music make the whole batch at once the quicker way."""
    B, M, T = mel.shape
    C = front_end.projection.in_features * FRONT_END_STRIDE // M
    return C <= MAX_NARROW_CHANNELS and B * C * M * T // 4 <= MAX_WHOLE_VALUES


def _whole(front_end: ConvFrontEnd, mel: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
    """As the definition, with folded batch norms."""
    x = mel.unsqueeze(1).contiguous(memory_format=torch.channels_last)  # [B, 1, M, T]
    for block in front_end.blocks:
        lengths = halve(lengths)
        first, second, third = folded_convolutions(block)
        inner = zero_padding(F.conv2d(x, *first, stride=2, padding=1).relu_(), lengths)
        branch = F.conv2d(inner, *second, padding=1)
        x = zero_padding(branch.add_(F.conv2d(x, *third, stride=2, padding=1)).relu_(), lengths)
    return front_end.projection(x.permute(0, 3, 1, 2).flatten(2))  # channel-major, then mel band


def _by_columns(front_end: ConvFrontEnd, mel: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
    """Item by item, some seconds at a time, exact at the joins."""
    B, _, T = mel.shape
    lengths = [T] * B if lengths is None else lengths.tolist()  # on a CPU, where reading them waits for nothing
    num_frames = [front_end.num_frames(length) for length in lengths]
    use_winograd = mel.dtype == torch.float32 and not has_fast_convolution() and sum(num_frames) >= MIN_WINOGRAD_FRAMES
    first, second = (ColumnsOfBlock(block, use_winograd) for block in front_end.blocks)
    frames = mel.new_zeros(B, front_end.num_frames(T), front_end.projection.out_features)
    for item, (length, total) in enumerate(zip(lengths, num_frames, strict=True)):
        image = mel[item, :, :length].unsqueeze(2)  # [M, T, 1]

        def first_block(start, stop, image=image, length=length):
            return first(lambda start, stop: image[:, start:stop], length, start, stop)

        num_parts = -(-total // MAX_FRAMES_AT_ONCE)
        for part in range(num_parts):
            start, stop = total * part // num_parts, total * (part + 1) // num_parts
            x = second(first_block, halve(length), start, stop)  # [M / 4, frames, C]
            frames[item, start:stop] = front_end.projection(x.permute(1, 2, 0).flatten(1))  # channel-major, then mel band
    return frames


def has_fast_convolution() -> bool:
    """With AVX-512 the library's direct convolution outruns its matrix product so far that fewer products do not pay."""
    return torch.backends.cpu.get_cpu_capability().startswith("AVX512")


def fold_batch_norm(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias of the one convolution that equals `norm(conv(x))` in evaluation, computed in float32."""
    scale = norm.weight.float() * torch.rsqrt(norm.running_var.float() + norm.eps)
    weight = conv.weight.float() * scale.view(-1, 1, 1, 1)
    bias = (conv.bias.float() - norm.running_mean.float()) * scale + norm.bias.float()
    return weight.to(conv.weight.dtype), bias.to(conv.weight.dtype)


def folded_convolutions(block: ConvBlock) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Weight and bias of the block's three convolutions with the batch norms behind them."""
    pairs = ((block.conv1, block.norm1), (block.conv2, block.norm2), (block.conv3, block.norm3))
    return [fold_batch_norm(conv, norm) for conv, norm in pairs]


class DirectConvolution:
    """Several 3×3 convolutions of one [M, W, C] input, the rows outside it being zero, called as a WinogradConvolution."""

    def __init__(self, weights: list[torch.Tensor], biases: list[torch.Tensor], stride: int):
        self.weights, self.biases, self.stride = weights, biases, stride

    def __call__(self, x: torch.Tensor, first: int, count: int) -> list[torch.Tensor]:
        stop = first + (count - 1) * self.stride + 3
        columns = F.pad(x[:, max(first, 0) : stop], (0, 0, max(-first, 0), max(stop - x.shape[1], 0)))
        if x.shape[2] == 1:
            return self._of_one_channel(columns.squeeze(2))
        image = columns.permute(2, 0, 1).unsqueeze(0)
        convolved = [F.conv2d(image, w, b, self.stride, (1, 0)) for w, b in zip(self.weights, self.biases, strict=True)]
        return [y.squeeze(0).permute(1, 2, 0) for y in convolved]

    def _of_one_channel(self, image):
        """Nine taps are too few for the library's convolution: as a product of [positions, 9] and [9, C']."""
        windows = F.pad(image, (0, 0, 1, 1)).unfold(0, 3, self.stride).unfold(1, 3, self.stride)
        rows, columns = windows.shape[:2]
        taps = windows.reshape(-1, 9)
        products = [torch.addmm(b, taps, w.view(-1, 9).T) for w, b in zip(self.weights, self.biases, strict=True)]
        return [y.view(rows, columns, -1) for y in products]


class ColumnsOfBlock:
    """Any columns of a ConvBlock's output for one item, computed from just the columns of its input that they need."""

    def __init__(self, block: ConvBlock, use_winograd: bool):
        weights, biases = zip(*folded_convolutions(block), strict=True)
        several_channels = block.conv1.in_channels > 1
        Convolution1 = WinogradConvolution if use_winograd and several_channels else DirectConvolution
        Convolution2 = WinogradConvolution if use_winograd else DirectConvolution
        self.conv1_and_shortcut = Convolution1([weights[0], weights[2]], [biases[0], biases[2]], stride=2)
        self.conv2 = Convolution2([weights[1]], [biases[1]], stride=1)

    def __call__(self, source, num_input_columns: int, start: int, stop: int) -> torch.Tensor:
        """source(start, stop) → those [M, W, C] of the `num_input_columns` of the input → [M / 2, stop − start, C']."""
        inner_start, inner_stop = max(start - 1, 0), min(stop + 1, halve(num_input_columns))
        input_start, input_stop = max(2 * inner_start - 1, 0), min(2 * inner_stop, num_input_columns)
        x = source(input_start, input_stop)
        inner, shortcut = self.conv1_and_shortcut(x, 2 * inner_start - 1 - input_start, inner_stop - inner_start)
        (branch,) = self.conv2(inner.relu_(), start - 1 - inner_start, stop - start)
        return branch.add_(shortcut[:, start - inner_start : stop - inner_start]).relu_()
