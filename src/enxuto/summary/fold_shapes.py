"""Compute the small integers in a graph that give shapes, where shape inference alone does not see them.

Exporters write paddings and target shapes as chains of a dozen nodes (ConstantOfShape, Concat, Slice, Transpose,
Cast, …). Here such chains are run with ONNX's reference implementation and become constants.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, TypeProto, helper, numpy_helper

from enxuto.onnx_model import constant_tensor, has_attribute, int_attribute

__all__ = ["fold_shapes"]

_MOVERS = frozenset(
    {"Gather", "Concat", "Unsqueeze", "Squeeze", "Reshape", "Slice", "Transpose", "Identity", "Cast"}
)
_ARITHMETIC = frozenset(
    {"Add", "Sub", "Mul", "Div", "Mod", "Floor", "Ceil", "Neg", "Min", "Max", "ReduceProd"}
)
_CHOICES = frozenset({"Equal", "Where", "Not", "And", "Or", "Less", "Greater", "Range"})
_FOLDED = _MOVERS | _ARITHMETIC | _CHOICES
_LARGEST = 1024  # elements


def fold_shapes(proto: ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Replace what follows from small constants and known `shapes`, in place. Return whether there was any."""
    known = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer if _carries_small_data(t)}
    folded: dict[str, np.ndarray] = {}
    kept: list[NodeProto] = []
    for node in proto.graph.node:
        values = _known_value(node, known, shapes, proto)
        if values is None:
            kept.append(node)
            continue
        known[node.output[0]] = values
        if node.op_type != "Constant":
            folded[node.output[0]] = values
        else:
            kept.append(node)
    if folded:
        _replace(proto.graph, kept, folded)
    return bool(folded)


def _carries_small_data(tensor: TensorProto) -> bool:
    """Say whether a tensor is small and carries its data (weights were left out)."""
    small = prod(tensor.dims) <= _LARGEST
    return bool(
        small and tensor.data_location != TensorProto.EXTERNAL and tensor.data_type != TensorProto.STRING
    )


def _known_value(
    node: NodeProto, known: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]], proto: ModelProto
) -> np.ndarray | None:
    """Return what a node of one output computes, None where that is large or not known."""
    if len(node.output) != 1:
        return None
    if node.op_type == "Constant":
        tensor = constant_tensor(node)
        return (
            np.asarray(numpy_helper.to_array(tensor))
            if tensor is not None and _carries_small_data(tensor)
            else None
        )
    if node.op_type == "Shape" and node.input[0] in shapes:
        start = int_attribute(node, "start")
        end = int_attribute(node, "end") if has_attribute(node, "end") else None
        return np.array(shapes[node.input[0]][start:end], dtype=np.int64)
    if not all(name in known for name in node.input if name):
        return None
    if node.op_type == "ConstantOfShape":
        allowed = int(np.prod(known[node.input[0]])) <= _LARGEST
    else:
        allowed = node.op_type in _FOLDED
    return _compute(node, known, proto) if allowed else None


def _compute(node: NodeProto, known: Mapping[str, np.ndarray], proto: ModelProto) -> np.ndarray | None:
    from onnx.reference import ReferenceEvaluator  # slow to import, and few models need it

    graph = helper.make_graph(
        [node],
        "one_node",
        [helper.make_value_info(name, _type(known[name])) for name in dict.fromkeys(node.input) if name],
        [helper.make_empty_tensor_value_info(node.output[0])],
    )
    model = helper.make_model(graph, opset_imports=list(proto.opset_import), ir_version=proto.ir_version)
    try:
        (values,) = ReferenceEvaluator(model).run(None, {name: known[name] for name in node.input if name})
    except (RuntimeError, ValueError, TypeError, IndexError, KeyError):
        return None  # then the shape stays unknown, and whoever needs it says so
    array = np.asarray(values)
    return array if array.size <= _LARGEST else None


def _type(array: np.ndarray) -> TypeProto:
    return helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)


def _replace(graph: GraphProto, kept: list[NodeProto], folded: Mapping[str, np.ndarray]) -> None:
    nodes = [NodeProto.FromString(node.SerializeToString()) for node in kept]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(numpy_helper.from_array(values, name) for name, values in folded.items())
    infos = [item for item in graph.value_info if item.name not in folded]  # inference would believe them
    del graph.value_info[:]
    graph.value_info.extend(infos)
