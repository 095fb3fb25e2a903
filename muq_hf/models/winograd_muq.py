"""3×3 convolutions over columns of time, for inference on a CPU: fewer multiplications, and buffers that stay small.

Signals are [M, W, C] (rows of the mel axis, columns of time, channels). Outside its rows and columns a signal is zero.
"""

import torch
import torch.nn.functional as F


# glibc maps every allocation of 32 MiB or more anew, and its pages then cost more than the arithmetic on them.
MAX_BUFFER_BYTES = 16 * 2**20

# Interpolation points beside infinity. These lose least precision (as arXiv 1803.10986 advises: few, small, symmetric).
POINTS_OF_STRIDE = {1: (0.0, 0.75, -0.75, 1.5, -1.5), 2: (0.0, -1.0)}


def powers(points: tuple[float, ...], count: int) -> torch.Tensor:
    """Powers 0 … count − 1 of each point, and of infinity the last row: [len(points) + 1, count] float64."""
    finite = [[point**exponent for exponent in range(count)] for point in points]
    return torch.tensor([*finite, [0.0] * (count - 1) + [1.0]], dtype=torch.float64, device="cpu")


def minimal_filter(num_taps: int, points: tuple[float, ...]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Matrices A [m, n], G [n, taps], B [n, n] of the filter F(m, taps): y = A ((G w) · (B d)), n = m + taps − 1 products.

    The transposed Toom-Cook algorithm (arXiv 1509.09308, section 4.1): evaluate m- and tap-polynomials, interpolate.
    """
    num_products = len(points) + 1
    A = powers(points, num_products - num_taps + 1).T
    G = powers(points, num_taps)
    B = torch.linalg.inv(powers(points, num_products)).T
    scale = B.abs().amax(dim=1, keepdim=True)  # so that both factors of a product keep the size of their signals
    return A, G * scale, B / scale


def tile_matrices(stride: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A, G and B of one axis of a 3-tap convolution. With stride 2, taps 0 and 2 meet samples that tap 1 never meets."""
    points = POINTS_OF_STRIDE[stride]
    if stride == 1:
        return minimal_filter(3, points)
    A, G, B = minimal_filter(2, points)
    m, n = A.shape
    identity = torch.eye(m, dtype=A.dtype, device="cpu")
    taps, samples = G.new_zeros(n + m, 3), B.new_zeros(n + m, 2 * m + 1)
    taps[:n, 0::2], taps[n:, 1] = G, 1.0
    samples[:n, 0::2], samples[n:, 1::2] = B, identity
    return torch.cat([A, identity], dim=1), taps, samples


class WinogradConvolution:
    """Several 3×3 convolutions of one input by minimal filtering of square tiles; weights are transformed once, here."""

    def __init__(self, weights: list[torch.Tensor], biases: list[torch.Tensor], stride: int):
        """weights: each [C', C, 3, 3]; biases: each [C']."""
        matrices = [torch.kron(one_axis, one_axis).to(weights[0].dtype) for one_axis in tile_matrices(stride)]
        self.output_matrix, weight_matrix, self.input_matrix = matrices  # [m², n²], [n², 9], [n², n²]
        self.stride, self.biases = stride, biases
        self.tile, self.window = (round(size**0.5) for size in self.output_matrix.shape)
        self.kernels = [self._transformed(weight, weight_matrix) for weight in weights]

    def _transformed(self, weight, weight_matrix):
        """[C', C, 3, 3] → n² matrices [C', C], in pieces of consecutive ones."""
        C_out, C = weight.shape[:2]
        matrices_per_piece = max(1, MAX_BUFFER_BYTES // (C_out * C * weight.element_size()))
        taps = weight.reshape(-1, 9).T
        return [torch.mm(rows, taps).view(-1, C_out, C) for rows in weight_matrix.split(matrices_per_piece)]

    def __call__(self, x: torch.Tensor, first: int, count: int) -> list[torch.Tensor]:
        """`count` output columns; the first tap of the first one lies on column `first` of x (−1: on the zeros before it).

        x: [M, W, C] → for each weight [⌈M / stride⌉, count, C'].
        """
        rows, width, C = x.shape
        m, n, hop = self.tile, self.window, self.tile * self.stride
        out_rows = -(-rows // self.stride)
        tile_rows, tile_columns = -(-out_rows // m), -(-count // m)
        below = (tile_rows - 1) * hop + n - 1 - rows
        outputs = [x.new_empty(tile_rows * m, tile_columns * m, len(bias)) for bias in self.biases]
        channels = max(C, *(len(bias) for bias in self.biases))
        step = max(1, MAX_BUFFER_BYTES // (n * n * channels * x.element_size() * tile_rows))
        for column in range(0, tile_columns, step):
            k = min(step, tile_columns - column)
            start = first + column * hop
            stop = start + (k - 1) * hop + n
            padded = F.pad(x[:, max(start, 0) : stop], (0, 0, max(-start, 0), max(stop - width, 0), 1, below))
            tiles = padded.unfold(0, n, hop).unfold(1, n, hop).permute(0, 1, 3, 4, 2).reshape(tile_rows * k, n * n, C)
            spectra = torch.bmm(self.input_matrix.expand(tile_rows * k, -1, -1), tiles).transpose(0, 1)  # [n², tiles, C]
            for pieces, bias, output in zip(self.kernels, self.biases, outputs, strict=True):
                products = x.new_empty(n * n, tile_rows * k, len(bias))
                row = 0
                for piece in pieces:
                    rows_of_piece = slice(row, row + len(piece))
                    torch.bmm(spectra[rows_of_piece], piece.transpose(1, 2), out=products[rows_of_piece])
                    row += len(piece)
                tiles_out = torch.mm(self.output_matrix, products.view(n * n, -1)).view(m, m, tile_rows, k, len(bias))
                target = output[:, column * m : (column + k) * m].view(tile_rows, m, k, m, len(bias))
                torch.add(tiles_out.permute(2, 0, 3, 1, 4), bias, out=target)
        return [output[:out_rows, :count] for output in outputs]
