"""Which values of a graph are constants, and their numbers: weights, and what is computed from weights alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import onnx
from onnx import NodeProto, helper

from enxuto.importing.values import Value
from enxuto.onnx_model import Model, constant_tensor, ints_attribute
from enxuto.onnx_model.scopes import subgraphs
from enxuto.runtime import Runner

__all__ = ["evaluate", "follow_sizes", "is_constant", "is_setting", "tensors_of_sizes"]

_MOVING = frozenset({"Identity", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Flatten", "Cast"})
_IR_VERSION = 8
_RANDOM = frozenset({"RandomNormal", "RandomUniform", "Bernoulli", "Multinomial"})
_STARTS = frozenset({"Shape", "Size"})
_SHAPED = frozenset({"ConstantOfShape", "Expand", "Range", "Tile"})
_SETTINGS: dict[str, frozenset[int]] = {
    "ConstantOfShape": frozenset({0}),
    "Range": frozenset({0, 1, 2}),
    "Resize": frozenset({1, 2, 3}),
    "Pad": frozenset({1, 3}),
    "Slice": frozenset({1, 2, 3, 4}),
    **dict.fromkeys(
        ("Expand", "Gather", "Reshape", "Split", "Squeeze", "Tile", "Unsqueeze", "Upsample"), frozenset({1})
    ),
}


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
            node.op_type in _STARTS or (inputs and all(name in sizes or name in known for name in inputs))
        ):
            sizes.update(node.output)
    return known, sizes


def is_setting(operator: str, position: int) -> bool:
    """Whether an operator reads its input at `position` as sizes, axes or places, and no numbers of it."""
    return position in _SETTINGS.get(operator, ()) or (position == 1 and operator.startswith("Reduce"))


def tensors_of_sizes(nodes: Sequence[NodeProto], constants: set[str]) -> set[str]:
    """Values made of sizes and weights alone that have to be tensors, such as zeros for every image of a batch.

    They are those whose shape follows sizes, or whose numbers are a weight's, where operators that make no sizes read
    them. Zeros as many as a batch has images could be no array of objects: where torch exports the network, their
    number is a symbol. A weight that only sizes pick from stays a parameter this way.
    """
    known, sizes = follow_sizes(nodes, constants)
    read: set[str] = set()
    for node in reversed(nodes):
        made = sizes.intersection(node.output)
        if node.op_type in _STARTS or (made and not read & made):
            continue
        read.update(name for place, name in enumerate(node.input) if not is_setting(node.op_type, place))
    found: set[str] = set()
    for node in nodes:
        if node.op_type in _STARTS or not sizes.intersection(node.output):
            continue
        numbers = [name for place, name in enumerate(node.input) if not is_setting(node.op_type, place)]
        of_tensors = found.intersection(node.input)
        own = node.op_type in _SHAPED or all(name in known for name in numbers)
        if of_tensors or (own and read.intersection(node.output)):
            found.update(node.output)
    return found


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
    turned = False if first is None else _is_turned(node, first)
    return [
        Value(name, np.asarray(array), source, turned=turned and source is not None)
        for name, array in zip(names, found, strict=True)
    ]


def _is_turned(node: NodeProto, moved: Value) -> bool:
    """Whether a constant is a weight's matrix transposed; one that was given another shape behind it is none."""
    if node.op_type == "Transpose" and moved.constant is not None and moved.constant.ndim == 2:
        return moved.turned != (ints_attribute(node, "perm") in ((), (1, 0)))
    return moved.turned and node.op_type in ("Identity", "Cast")
