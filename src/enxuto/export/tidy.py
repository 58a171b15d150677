"""Clean up a graph that torch's exporter wrote, without changing what it computes or which weights it has.

torch's own optimizer also folds batch normalisation into convolutions and drops biases that happen to be zero, so
that the file would no longer have the network's parameters; here both stay. What goes: bias operands that the
exporter invented, the arithmetic of batch sizes around Reshape, slices that take everything, dead nodes. Nodes
are named by the path of their module (`/features/conv1/Conv`), since stack traces and other notes are left out.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Collection

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper

from enxuto.onnx_model import constant_tensor

__all__ = ["tidy"]

_SCOPES = "pkg.torch.onnx.name_scopes"
_SIZE_OPERATORS = frozenset({"Shape", "Squeeze", "Reshape", "Unsqueeze", "Identity", "Gather", "Cast"})
_END = 2**31 - 1  # of a slice: torch writes a larger number for "to the end"


def tidy(proto: ModelProto, state_names: Collection[str]) -> None:
    """Clean up `proto` in place; `state_names` names the parameters and buffers of the module."""
    graph = proto.graph
    constants = _constants(graph)
    for node in graph.node:
        if node.op_type == "Conv":
            _drop_invented_bias(node, constants, state_names)
    _shorten_reshapes(graph, constants)
    _drop_idle_slices(graph, constants)
    _drop_unused(graph)
    _name_nodes(graph)


def _constants(graph: GraphProto) -> dict[str, TensorProto]:
    """Constant values by name: initializers and Constant nodes."""
    found = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        tensor = constant_tensor(node)
        if tensor is not None:
            found[node.output[0]] = tensor
    return found


def _drop_invented_bias(
    node: NodeProto, constants: dict[str, TensorProto], state_names: Collection[str]
) -> None:
    """A convolution without bias is exported with zeros for one; zeros that are a parameter stay."""
    bias = node.input[2] if len(node.input) == 3 else ""
    invented = bias in constants and bias not in state_names
    if invented and not np.any(numpy_helper.to_array(constants[bias])):
        del node.input[2]


def _shorten_reshapes(graph: GraphProto, constants: dict[str, TensorProto]) -> None:
    """A target (batch size computed at run time, numbers) becomes the constant (−1, numbers)."""
    makers = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        if node.op_type != "Reshape" or node.input[1] not in makers:
            continue
        joined = makers[node.input[1]]
        if joined.op_type != "Concat" or not _is_batch_size(joined.input[0], makers):
            continue
        if not all(name in constants for name in joined.input[1:]):
            continue
        parts = [numpy_helper.to_array(constants[name]) for name in joined.input[1:]]
        sizes = np.concatenate([np.atleast_1d(part) for part in parts])
        if sizes.min() < 1:  # there can be only one −1
            continue
        target = np.concatenate([[-1], sizes]).astype(np.int64)
        name = "shape_" + "_".join(map(str, sizes))
        if name not in constants:
            graph.initializer.append(numpy_helper.from_array(target, name))
            constants[name] = graph.initializer[-1]
        node.input[1] = name
        del node.attribute[:]


def _is_batch_size(name: str, makers: dict[str, NodeProto]) -> bool:
    """Whether a value is a size of the input, which has one open size only, handed on without arithmetic."""
    while name in makers:
        if makers[name].op_type not in _SIZE_OPERATORS:
            return False
        if makers[name].op_type == "Shape":
            return makers[name].input[0] not in makers
        name = makers[name].input[0]
    return False


def _drop_idle_slices(graph: GraphProto, constants: dict[str, TensorProto]) -> None:
    """Who reads a slice from 0 to the end with step 1 reads what was sliced."""
    outputs = {item.name for item in graph.output}
    instead: dict[str, str] = {}
    for node in graph.node:
        for position, name in enumerate(node.input):
            node.input[position] = instead.get(name, name)
        if node.op_type == "Slice" and node.output[0] not in outputs and _is_whole_slice(node, constants):
            instead[node.output[0]] = node.input[0]


def _is_whole_slice(node: NodeProto, constants: dict[str, TensorProto]) -> bool:
    """(data, starts, ends, axes, steps)"""
    if len(node.input) < 3 or not all(name in constants for name in node.input[1:] if name):
        return False
    starts, ends = (numpy_helper.to_array(constants[name]) for name in node.input[1:3])
    steps = numpy_helper.to_array(constants[node.input[4]]) if len(node.input) > 4 else np.ones(1)
    return bool((starts == 0).all() and (ends >= _END).all() and (steps == 1).all())


def _drop_unused(graph: GraphProto) -> None:
    """Nodes and initializers that no output depends on."""
    needed = {item.name for item in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    nodes = [NodeProto.FromString(node.SerializeToString()) for node in reversed(kept)]
    del graph.node[:]
    graph.node.extend(nodes)
    for position in reversed(range(len(graph.initializer))):
        if graph.initializer[position].name not in needed:
            del graph.initializer[position]


def _name_nodes(graph: GraphProto) -> None:
    seen: Counter[str] = Counter()
    for node in graph.node:
        name = "/".join(["", *_module_path(node), node.op_type])
        seen[name] += 1
        node.name = name if seen[name] == 1 else f"{name}_{seen[name] - 1}"


def _module_path(node: NodeProto) -> list[str]:
    """`features.conv1` of the exporter's note ['', 'features', 'features.conv1', 'conv2d'] as a list."""
    note = next((item.value for item in node.metadata_props if item.key == _SCOPES), "[]")
    scopes = ast.literal_eval(note)
    path = str(scopes[-2]) if len(scopes) > 1 and scopes[0] == "" else ""
    return path.split(".") if path else []
