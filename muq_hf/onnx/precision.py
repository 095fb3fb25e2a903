"""float32 graphs → smaller ones."""

from pathlib import Path

import onnx

from .tracing import quiet


PRECISIONS = ("float32", "float16", "int8")
FILE_SUFFIXES = {"float32": "", "float16": "_fp16", "int8": "_int8"}  # those that transformers.js looks for


def convert(source: Path, target: Path, precision: str) -> None:
    """Write the graph of `source` in another precision; its inputs and outputs keep their types."""
    with quiet():
        {"float16": to_float16, "int8": to_int8}[precision](source, target)


def to_float16(source: Path, target: Path) -> None:
    """Weights and computation in half precision; sums in float32, because they overflow."""
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    kept = [*DEFAULT_OP_BLOCK_LIST, "ReduceSum", "ReduceMean", "ReduceL2"]
    model = convert_float_to_float16(onnx.load(source), keep_io_types=True, op_block_list=kept)
    onnx.save_model(model, target, save_as_external_data=True, location=f"{target.name}.data")


def to_int8(source: Path, target: Path) -> None:
    """Weights of matrix products in 8 bits, with one scale per output; the activations' are found while running.

    7 of the 8 bits are used: without VNNI instructions, pairs of products would overflow their 16-bit sums.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        source,
        target,
        op_types_to_quantize=["MatMul", "Gemm"],
        per_channel=True,
        reduce_range=True,
        weight_type=QuantType.QInt8,
        use_external_data_format=True,
    )
