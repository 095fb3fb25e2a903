"""The 2-D convolution front end: log-mel at 100 Hz → encoder frames at 25 Hz (arXiv 2501.01108, section 3.1)."""

import torch
import torch.nn.functional as F
from torch import nn

from .cpu_muq import are_plain, emulates, has_fast_convolution, in_float32, is_plain_cpu_inference
from .spectrogram_muq import zero_padding
from .windowing_muq import FRONT_END_STRIDE
from .winograd_muq import WinogradConvolution


MAX_FRAMES_AT_ONCE = 64  # encoder frames, 2.6 s: what is alive at one time fits the heap, which then keeps its pages
MIN_WINOGRAD_FRAMES = 25  # encoder frames, 1 s: for less, transforming the weights costs more than it saves
MAX_NARROW_CHANNELS = 32  # up to which a convolution of the whole batch is quicker than one by columns (2 cores, AVX2)
MAX_WHOLE_VALUES = 2**25  # in a map of the whole batch, 128 MiB


def halve(length):
    """Length after one block of stride 2: ⌈length / 2⌉. An int, a tensor, or None where nothing is padded."""
    return None if length is None else (length + 1) // 2


def fold_batch_norm(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias of the one convolution that equals `norm(conv(x))` in evaluation, computed in float32."""
    scale = norm.weight.float() * torch.rsqrt(norm.running_var.float() + norm.eps)
    weight = conv.weight.float() * scale.view(-1, 1, 1, 1)
    bias = (conv.bias.float() - norm.running_mean.float()) * scale + norm.bias.float()
    return weight.to(conv.weight.dtype), bias.to(conv.weight.dtype)


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


class ConvBlock(nn.Module):
    """Residual block of stride 2×2. Padding is kept at zero before every convolution, as if each item came alone."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.conv3 = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1)
        self.norm3 = nn.BatchNorm2d(out_channels)

    def forward(self, x, lengths=None):
        """x: [B, C, M, T]; lengths: [B] frames after this block, or None → [B, C', M / 2, ⌈T / 2⌉]."""
        inner = zero_padding(F.relu(self._normed(self.conv1, self.norm1, x)), lengths)
        branch = self._normed(self.conv2, self.norm2, inner)
        shortcut = self._normed(self.conv3, self.norm3, x)
        return zero_padding(F.relu(branch + shortcut), lengths)

    def _normed(self, conv, norm, x):
        if norm.training or torch.is_grad_enabled() or not self.can_fold():
            return norm(conv(x))
        weight, bias = fold_batch_norm(conv, norm)
        return F.conv2d(x, weight, bias, conv.stride, conv.padding)

    def can_fold(self) -> bool:
        norms = (self.norm1, self.norm2, self.norm3)
        return are_plain(nn.Conv2d, self.conv1, self.conv2, self.conv3) and are_plain(nn.BatchNorm2d, *norms)


class ColumnsOfBlock:
    """Any columns of a ConvBlock's output for one item, computed from just the columns of its input that they need."""

    def __init__(self, block: ConvBlock, use_winograd: bool):
        weights, biases = zip(
            fold_batch_norm(block.conv1, block.norm1),
            fold_batch_norm(block.conv2, block.norm2),
            fold_batch_norm(block.conv3, block.norm3),
            strict=True,
        )
        several_channels = block.conv1.in_channels > 1
        OfInput = WinogradConvolution if use_winograd and several_channels else DirectConvolution
        OfInner = WinogradConvolution if use_winograd else DirectConvolution
        self.of_input = OfInput([weights[0], weights[2]], [biases[0], biases[2]], stride=2)
        self.of_inner = OfInner([weights[1]], [biases[1]], stride=1)

    def __call__(self, source, num_input_columns: int, start: int, stop: int) -> torch.Tensor:
        """source(start, stop) → those [M, W, C] of the `num_input_columns` of the input → [M / 2, stop − start, C']."""
        inner_start, inner_stop = max(start - 1, 0), min(stop + 1, halve(num_input_columns))
        input_start, input_stop = max(2 * inner_start - 1, 0), min(2 * inner_stop, num_input_columns)
        x = source(input_start, input_stop)
        inner, shortcut = self.of_input(x, 2 * inner_start - 1 - input_start, inner_stop - inner_start)
        (branch,) = self.of_inner(inner.relu_(), start - 1 - inner_start, stop - start)
        return branch.add_(shortcut[:, start - inner_start : stop - inner_start]).relu_()


class ConvFrontEnd(nn.Module):
    def __init__(self, config):
        super().__init__()
        C = config.conv_channels
        self.blocks = nn.ModuleList([ConvBlock(1, C), ConvBlock(C, C)])
        self.projection = nn.Linear(C * config.num_mel_bins // FRONT_END_STRIDE, config.hidden_size)

    @property
    def dtype(self) -> torch.dtype:
        """That of the convolutions: the weight of a quantized projection has another."""
        return self.blocks[0].conv1.weight.dtype

    def num_frames(self, num_mel_frames):
        """Encoder frames of so many mel frames (an int or a tensor of them)."""
        return halve(halve(num_mel_frames))

    def forward(self, mel: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """mel: [B, M, T]; lengths: [B] mel frames, or None → [B, T', D]."""
        if is_plain_cpu_inference(self, mel) and self._may_be_taken_apart():
            if emulates(mel.dtype):
                return in_float32(self)(mel.float(), lengths)
            if not self._is_small(mel):
                return self._forward_by_columns(mel, lengths)
        x = mel.unsqueeze(1).contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            lengths = halve(lengths)
            x = block(x, lengths)
        return self.projection(x.permute(0, 3, 1, 2).flatten(2))  # channel-major, then mel band

    def _may_be_taken_apart(self) -> bool:
        """Whether nobody waits for a call of a block, or for the one call of the projection."""
        are_untouched = are_plain(ConvBlock, *self.blocks) and are_plain(type(self.projection), self.projection)
        return are_untouched and all(block.can_fold() for block in self.blocks)

    def _is_small(self, mel: torch.Tensor) -> bool:
        """Whether few channels and short music make the whole batch at once the quicker way."""
        B, M, T = mel.shape
        C = self.projection.in_features * FRONT_END_STRIDE // M
        return C <= MAX_NARROW_CHANNELS and B * C * M * T // 4 <= MAX_WHOLE_VALUES

    def _forward_by_columns(self, mel, lengths):
        """The same with bounded memory and no work on padding: item by item, some seconds at a time, exact at the joins."""
        B, _, T = mel.shape
        lengths = [T] * B if lengths is None else lengths.tolist()
        num_frames = [self.num_frames(length) for length in lengths]
        use_winograd = mel.dtype == torch.float32 and not has_fast_convolution() and sum(num_frames) >= MIN_WINOGRAD_FRAMES
        blocks = [ColumnsOfBlock(block, use_winograd) for block in self.blocks]
        frames = mel.new_zeros(B, self.num_frames(T), self.projection.out_features)
        for item in range(B):
            num_parts = -(-num_frames[item] // MAX_FRAMES_AT_ONCE)
            for part in range(num_parts):
                start, stop = num_frames[item] * part // num_parts, num_frames[item] * (part + 1) // num_parts
                x = self._columns(blocks, mel[item, :, : lengths[item]].unsqueeze(2), start, stop)
                frames[item, start:stop] = self.projection(x.permute(1, 2, 0).flatten(1))  # channel-major, then mel band
        return frames

    @staticmethod
    def _columns(blocks, mel, start, stop):
        T = mel.shape[1]
        first, second = blocks

        def first_block(start, stop):
            return first(lambda start, stop: mel[:, start:stop], T, start, stop)

        return second(first_block, halve(T), start, stop)
