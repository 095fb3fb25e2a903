"""float32 graphs → smaller ones."""

from pathlib import Path

import onnx

from .tracing import quiet


PRECISIONS = ("float32", "float16", "int8")
BEFORE_CAST = "_cast_to_fp16"  # what the conversion adds to the name of a float32 output that it casts
FILE_SUFFIXES = {"float32": "", "float16": "_fp16", "int8": "_int8"}  # those that transformers.js looks for


def convert(source: Path, target: Path, precision: str) -> None:
    """Write the graph of `source` in another precision; its inputs and outputs keep their types."""
    with quiet():
        {"float16": to_float16, "int8": to_int8}[precision](source, target)


def to_float16(source: Path, target: Path) -> None:
    """Weights and computation in half precision.

    Sums stay in float32, because they overflow, and so do positions: half precision counts to 2,048 only.
    """
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    kept = [*DEFAULT_OP_BLOCK_LIST, "ReduceSum", "ReduceMean", "ReduceL2"]
    model = onnx.load(source)
    positions = position_nodes(model.graph)
    model = convert_float_to_float16(model, keep_io_types=True, op_block_list=kept, node_block_list=positions)
    _join_casts(model.graph)
    onnx.save_model(model, target, save_as_external_data=True, location=f"{target.name}.data")


def position_nodes(graph: onnx.GraphProto) -> list[str]:
    """The nodes that turn the number of frames into cosines and sines of their positions."""
    maker = {output: node for node in graph.node for output in node.output}
    waiting = [node for node in graph.node if node.op_type in ("Cos", "Sin")]
    found = {}
    while waiting:
        node = waiting.pop()
        if node.op_type != "Shape" and node.name not in found:  # before it: the music
            found[node.name] = node
            waiting += [maker[name] for name in node.input if name in maker]
    return list(found)


def _join_casts(graph: onnx.GraphProto) -> None:
    """Between two nodes that stay in float32 the conversion goes through half precision and back: connect them directly."""
    casts = {node.output[0]: node for node in graph.node if node.op_type == "Cast"}
    for node in graph.node:
        for place, name in enumerate(node.input):
            up = casts.get(name)
            down = casts.get(up.input[0]) if up is not None else None
            if down is not None and down.input[0].endswith(BEFORE_CAST) and _target(down) == onnx.TensorProto.FLOAT16:
                if _target(up) == onnx.TensorProto.FLOAT:
                    node.input[place] = down.input[0]


def _target(cast: onnx.NodeProto) -> int:
    return next(attribute.i for attribute in cast.attribute if attribute.name == "to")


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
