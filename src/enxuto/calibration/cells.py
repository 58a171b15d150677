"""The weights of recurrent cells as layers: one matrix applied to the inputs, one to the hidden states before.

Exporters give a cell its weights through Slice, Concat, Unsqueeze and the like, which put gates into the operator's
order. What they do is found by computing them once for a weight of numbered elements.

`with_hidden_states` adds, for every cell, a value with the hidden state before each step (steps, directions, batch,
hidden): what the second matrix is applied to.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper

from enxuto.calibration.gradients.cells import is_cell
from enxuto.errors import EnxutoError
from enxuto.onnx_model import STANDARD_DOMAINS, Model, Role, piece_of, reads_of, text_attribute
from enxuto.onnx_model.dtypes import FLOAT_TYPES
from enxuto.onnx_model.tensors import InMemory, clear_bytes
from enxuto.runtime import Runner

__all__ = ["CellWeight", "cell_weights", "hidden_name", "with_hidden_states"]

_MOST_NUMBERED = 1 << 24  # elements that float32 can number
_EXACT_IN_HALVES = 128  # whole numbers up to here are exact in bfloat16 too
_OPSET = 13  # from which Slice and Unsqueeze take axes as inputs


@dataclass(frozen=True)
class CellWeight:
    """A weight behind one of a cell's matrices (directions, gates × hidden, inputs).

    direction: the one that it belongs to, None where it holds all. order: `order[i]` is the row of the operator's
    matrix that holds the weight's row i; empty where the rows are the same.
    """

    name: str
    direction: int | None
    order: tuple[int, ...] = ()


def hidden_name(node: NodeProto) -> str:
    """Return the name of the value with a cell's hidden states before each step."""
    return f"hidden states of {next(name for name in node.output if name)}"


def with_hidden_states(model: Model) -> Model:
    """Return the model with the hidden states before each step of every cell; itself where it has no cell."""
    versions = [item.version for item in model.proto.opset_import if item.domain in STANDARD_DOMAINS]
    if not any(is_cell(node) for node in model.proto.graph.node) or max(versions, default=1) < _OPSET:
        return model
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    del proto.graph.node[:]
    data: dict[str, InMemory] = {}

    def constant(name: str, array: np.ndarray) -> str:
        if name not in data:
            tensor = numpy_helper.from_array(array, name)
            clear_bytes(tensor)
            proto.graph.initializer.append(tensor)
            data[name] = InMemory(array)
        return name

    def slice_of(value: str, start: int, end: int, axis: int, output: str) -> NodeProto:
        bounds = [
            constant(f"hidden states at {number}", np.array([number], np.int64))
            for number in (start, end, axis)
        ]
        return helper.make_node("Slice", [value, *bounds], [output])

    for node in model.proto.graph.node:
        proto.graph.node.append(node)
        if not is_cell(node) or int(next((a.i for a in node.attribute if a.name == "layout"), 0)):
            continue
        added = proto.graph.node[-1]
        if not added.output[0]:
            added.output[0] = hidden_name(node).removeprefix("hidden ")
        name = hidden_name(added)
        after, parts = added.output[0], []
        ways = {"forward": [1], "reverse": [-1]}.get(text_attribute(node, "direction") or "forward", [1, -1])
        if len(node.input) > 5 and node.input[5]:
            axis = constant("hidden states at 0", np.array([0], np.int64))
            proto.graph.node.append(helper.make_node("Unsqueeze", [node.input[5], axis], [f"{name} first"]))
        else:
            proto.graph.node.append(slice_of(after, 0, 1, 0, f"{name} some"))
            proto.graph.node.append(helper.make_node("Sub", [f"{name} some"] * 2, [f"{name} first"]))
        for number, way in enumerate(ways):
            stem = f"{name} {number}"
            proto.graph.node.append(slice_of(after, number, number + 1, 1, f"{stem} all"))
            proto.graph.node.append(slice_of(f"{name} first", number, number + 1, 1, f"{stem} first"))
            rest = (0, -1) if way > 0 else (1, 1 << 40)
            proto.graph.node.append(slice_of(f"{stem} all", *rest, 0, f"{stem} rest"))
            joined = [f"{stem} first", f"{stem} rest"][::way]
            proto.graph.node.append(helper.make_node("Concat", joined, [stem], axis=0))
            parts.append(stem)
        proto.graph.node.append(helper.make_node("Concat", parts, [name], axis=1))
    return model.with_proto(proto, data)


def cell_weights(
    model: Model, value: str, made_by: Mapping[str, NodeProto], reads: Counter[str]
) -> list[CellWeight]:
    """Return the weights behind a cell's matrix, as far as they are its own and keep its rows and columns whole."""
    nodes, leaves = _upstream(model, value, made_by)
    if nodes is None:
        return []
    inside = Counter(name for node in nodes for name in reads_of(node)) + Counter([value])
    found = []
    for name in sorted(leaves):
        info = model.info(name)
        own = info.role is Role.MATRIX and len(info.shape) in (2, 3) and inside[name] == reads[name]
        if not own or info.elements >= _MOST_NUMBERED:
            continue
        places = _numbered(model, nodes, leaves, value, name)
        weight = None if places is None else _placed(name, info.shape, places)
        if weight is not None:
            found.append(weight)
    return found


def _numbered(
    model: Model, nodes: Sequence[NodeProto], leaves: set[str], value: str, name: str
) -> np.ndarray | None:
    """Return the number, from 1 up, of the element of a weight at every place of a value; 0 at places of others."""
    info = model.info(name)
    numbers = 1 + np.arange(info.elements).reshape(info.shape)
    base = (
        _EXACT_IN_HALVES if info.dtype.itemsize < 4 else _MOST_NUMBERED
    )  # digits that the type holds exactly
    found, power = None, 1
    while found is None or numbers.any():
        numbers, digits = np.divmod(numbers, base)
        places = _computed(model, nodes, leaves, value, {name: digits.astype(info.dtype)})
        if places is None:
            return None
        found = places.astype(np.float64) * power + (0.0 if found is None else found)
        power *= base
    return found


def _upstream(
    model: Model, value: str, made_by: Mapping[str, NodeProto]
) -> tuple[list[NodeProto] | None, set[str]]:
    """Return the nodes, in order, and the weights that a value follows from; None where it follows from an input."""
    pending, leaves, seen = [value], set[str](), set[str]()
    nodes: list[NodeProto] = []
    while pending:
        name = pending.pop()
        if name in seen or not name:
            continue
        seen.add(name)
        if name in model:
            leaves.add(name)
        elif name in made_by:
            nodes.append(made_by[name])
            pending += reads_of(made_by[name])
        else:
            return None, set()
    wanted = {id(node) for node in nodes}
    return [node for node in model.proto.graph.node if id(node) in wanted], leaves


def _computed(
    model: Model, nodes: Sequence[NodeProto], leaves: set[str], value: str, given: Mapping[str, np.ndarray]
) -> np.ndarray | None:
    """Return a value that follows from weights alone, with other numbers in one and zeros in the other floats."""
    if not nodes:
        return given[value]
    piece = piece_of(model, nodes, [value])
    zeros = {
        name: np.zeros(model.info(name).shape, model.info(name).dtype)
        for name in leaves - set(given)
        if model.info(name).data_type in FLOAT_TYPES and name in piece
    }
    try:
        return Runner(piece.replace_weights({**zeros, **given}), threads=1).run({}, [value])[0]
    except EnxutoError:
        return None


def _placed(name: str, shape: tuple[int, ...], places: np.ndarray) -> CellWeight | None:
    """Return where a weight's rows are in a matrix (directions, rows, inputs) that holds its numbered elements."""
    if places.ndim != 3 or places.shape[2] != shape[-1]:
        return None
    numbers = np.rint(places).astype(np.int64) - 1
    rows = numbers[:, :, 0] // shape[-1]
    expected = rows[:, :, None] * shape[-1] + np.arange(shape[-1])
    held = numbers[:, :, 0] >= 0
    if not np.array_equal(numbers[held], expected[held]) or (numbers[~held] >= 0).any():
        return None
    count = int(np.prod(shape[:-1]))
    if not np.array_equal(np.sort(rows[held]), np.arange(count)):
        return None
    if len(shape) == 3:
        same = places.shape == shape and np.array_equal(rows.reshape(-1), np.arange(count))
        return CellWeight(name, None) if same else None
    directions = np.flatnonzero(held.any(axis=1))
    if len(directions) != 1:
        return None
    order = np.empty(count, np.int64)
    order[rows[directions[0]][held[directions[0]]]] = np.flatnonzero(held[directions[0]])
    return CellWeight(name, int(directions[0]), tuple(order.tolist()))
