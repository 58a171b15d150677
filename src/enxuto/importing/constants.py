"""Which values of a graph are constants, and their numbers: weights, and what is computed from weights alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import onnx
from onnx import NodeProto, helper

from enxuto.importing.values import Value
from enxuto.onnx_model import Model, constant_tensor
from enxuto.onnx_model.scopes import subgraphs
from enxuto.runtime import Runner

__all__ = ["evaluate", "follow_sizes", "is_constant"]

_MOVING = frozenset({"Identity", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Flatten", "Cast"})
_IR_VERSION = 8
_RANDOM = frozenset({"RandomNormal", "RandomUniform", "Bernoulli", "Multinomial"})


def is_constant(node: NodeProto, known: set[str]) -> bool:
    """Whether a node's outputs are constants, where the values `known` are."""
    if node.op_type in _RANDOM or node.domain not in ("", "ai.onnx") or any(True for _ in subgraphs(node)):
        return False
    if node.op_type == "Constant":
        return True
    return bool(node.input) and all(name in known for name in node.input if name)


def follow_sizes(nodes: Iterable[NodeProto], constants: set[str]) -> tuple[set[str], set[str]]:
    """The names of all constants, `constants` among them, and of all values made of sizes of the input alone."""
    known, sizes = set(constants), set[str]()
    for node in nodes:
        inputs = [name for name in node.input if name]
        own = node.domain in ("", "ai.onnx") and not any(True for _ in subgraphs(node))
        if is_constant(node, known):
            known.update(node.output)
        elif own and (
            node.op_type in ("Shape", "Size")
            or (inputs and all(name in sizes or name in known for name in inputs))
        ):
            sizes.update(node.output)
    return known, sizes


def evaluate(node: NodeProto, opset: int, inputs: Sequence[Value | None]) -> list[Value]:
    """The outputs of a node with constant inputs, by ONNX Runtime.

    What only moves a weight's numbers keeps the weight's name as its source.
    """
    tensor = constant_tensor(node)
    if tensor is not None:
        return [Value(node.output[0], onnx.numpy_helper.to_array(tensor), None)]
    held = {
        value.name: onnx.numpy_helper.from_array(value.constant, name)
        for name, value in zip(node.input, inputs, strict=True)
        if value is not None and value.constant is not None
    }
    names = [name for name in node.output if name]
    graph = helper.make_graph(
        [node], "constant", [], [onnx.ValueInfoProto(name=name) for name in names], [*held.values()]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=_IR_VERSION)
    found = Runner(Model.from_proto(model), threads=1).run({})
    first = inputs[0] if inputs else None
    source = first.source if first is not None and node.op_type in _MOVING else None
    return [Value(name, np.asarray(array), source) for name, array in zip(names, found, strict=True)]
