"""Modules → ONNX graphs → one file."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx_ir as ir
import torch

from .parts import Axes, Part


OPSET = 18  # of the ai.onnx domain: LayerNormalization is one operator, and every current runtime knows it
MAX_SINGLE_FILE_BYTES = 2**31 - 2**24  # a Protocol Buffers message ends at 2 GiB; some room is for the graph


def trace(part: Part, path: Path) -> None:
    """Write the part as ONNX graph `path`.

    By PyTorch's tracing exporter: seconds for the largest model, where the one on torch.export takes many minutes.
    """
    axes = {name: {axis: label for axis, label in enumerate(labels) if label} for name, labels in _axes([part]).items()}
    with torch.no_grad(), quiet():
        torch.onnx.export(
            part.module.eval(),
            part.example,
            path,
            input_names=list(part.inputs),
            output_names=list(part.outputs),
            opset_version=OPSET,
            dynamic_axes=axes,
            dynamo=False,
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the exporter's warnings: missing optional libraries, deprecations of its own, other ways to call it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)


def join(files: dict[str, Path], parts: list[Part], metadata: dict[str, str], output: Path) -> None:
    """One ONNX file from the graphs of consecutive parts, whose names become prefixes within it.

    `output` holds the weights too, unless they exceed 2 GB: those then are in `output`.data.
    """
    models = {name: ir.load(path) for name, path in files.items()}
    inputs, nodes, initializers, available, opsets = [], [], [], {}, {}
    for name, model in models.items():
        graph = model.graph
        opsets.update(model.opset_imports)
        outputs = {value.name: value for value in graph.outputs}
        for value in list(graph.inputs):
            if value.name in available:
                ir.convenience.replace_all_uses_with(value, available.pop(value.name))
            else:
                inputs.append(value)
        for node in list(graph):
            node.name = f"{name}/{node.name}"
            for value in node.outputs:
                if value.name not in outputs:
                    value.name = f"{name}/{value.name}"
                    value.shape = None
        for value in list(graph.initializers.values()):
            graph.initializers.pop(value.name)
            value.name = f"{name}/{value.name}"
            initializers.append(value)
        available = outputs | available
        part_nodes = list(graph)
        graph.outputs.clear()
        graph.inputs.clear()
        graph.remove(part_nodes)
        nodes += part_nodes
    _name_axes([*inputs, *available.values()], _axes(parts))
    graph = ir.Graph(inputs, available.values(), nodes=nodes, initializers=initializers, opset_imports=opsets, name="muq")
    model = ir.Model(graph, ir_version=min(m.ir_version for m in models.values()), producer_name="muq_hf")
    model.metadata_props.update(metadata)
    num_bytes = sum(value.const_value.nbytes for value in initializers)
    if num_bytes > MAX_SINGLE_FILE_BYTES:
        ir.save(model, output, external_data=f"{output.name}.data")
    else:
        ir.save(ir.external_data.load_to_model(model), output)


def _axes(parts: list[Part]) -> dict[str, Axes]:
    """The axes of every named tensor."""
    return {name: axes for part in parts for name, axes in (part.inputs | part.outputs).items()}


def _name_axes(values: list[ir.Value], axes: dict[str, Axes]) -> None:
    for value in values:
        sizes = value.shape if value.shape is not None else [None] * len(axes[value.name])
        value.shape = ir.Shape([name or size for name, size in zip(axes[value.name], sizes, strict=True)])
