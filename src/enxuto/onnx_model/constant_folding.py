"""Weights that the graph computes from other weights, computed once.

A kernel may reach its layer cut from a larger tensor (Slice, Split, Gather), joined of several (Concat), in another
shape, or as a product (weight norm's v · g / ‖v‖, the W + B·A of a low-rank update). Where everything in such a
computation is constant, the layer gets the result as a weight of its own: it can then be rounded with feedback, and the
decoded model has fewer nodes.

Nodes that share values or weights are decided on together, and folded only where the results have no more elements than
the weights that go, and layers read them. All is computed in double precision and rounded once, so that processors
agree on the results. Left alone: what calibration sees through (transposed matrices, the weights of recurrent cells),
changes of type (a Cast would store wider numbers), dequantization, subgraphs, values that the model gives out, and
parameters that a caller may give instead.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, helper
from onnx.reference import ReferenceEvaluator

from enxuto.onnx_model.attributes import int_attribute, ints_attribute
from enxuto.onnx_model.dtypes import FLOAT_TYPES
from enxuto.onnx_model.functions import inline_functions
from enxuto.onnx_model.model import Model
from enxuto.onnx_model.roles import Role
from enxuto.onnx_model.scopes import FREE_INITIALIZERS, STANDARD_DOMAINS, read_counts, reads_of
from enxuto.onnx_model.tensors import InMemory, WeightData, clear_bytes

__all__ = ["RULES", "fold_constants", "settle"]

RULES = 1
"""The number of these rules, which files keep: other rules fold other constants."""

_MOVING = frozenset(
    {"Concat", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"}
)  # fmt: skip
_COMPUTING = frozenset(
    {
        "Abs", "Add", "Div", "Exp", "MatMul", "Max", "Min", "Mul", "Neg", "Pow", "Reciprocal",
        "ReduceL1", "ReduceL2", "ReduceMean", "ReduceSum", "ReduceSumSquare", "Sqrt", "Sub",
    }
)  # fmt: skip
_BROADCASTING = frozenset({"Add", "Div", "Max", "Min", "Mul", "Pow", "Sub"})
_CELLS = frozenset({"GRU", "LSTM", "RNN"})
_OF_LAYERS = frozenset({Role.KERNEL, Role.DEPTHWISE, Role.MATRIX})
_STEPS = 16  # times as many elements as all weights have: what a group may compute
_FEWEST = 32  # elements of a matrix or kernel for whose sake anything is folded


def fold_constants(model: Model) -> tuple[Model, dict[str, list[str]]]:
    """A model whose weights are where they are read; by the name of each that was computed for it, those it is of.

    The outputs agree within float rounding. It is the model itself where there is nothing to fold.
    """
    groups = _groups(model)
    while groups:
        folded = _apply(model, groups)
        useful = [group for group in groups if _is_for_layers(group, folded)]
        if len(useful) == len(groups):
            return folded, {name: group.sources for group in groups for name in group.made}
        groups = useful
    return model, {}


def settle(model: Model) -> tuple[Model, dict[str, list[str]]]:
    """A model whose layers are all in its main graph with weights of their own: functions first, then constants.

    By the name of each weight that the given model has not, those of its weights that it is of.
    """
    inlined, moved = inline_functions(model)
    settled, computed = fold_constants(inlined)
    found = {
        name: [one for source in sources for one in moved.get(source, [source])]
        for name, sources in computed.items()
    }
    return settled, found | {name: sources for name, sources in moved.items() if name in settled}


@dataclass(frozen=True)
class _Group:
    """Nodes that are decided on together; sources: the weights that they read; made: what others read, in its type."""

    nodes: list[NodeProto]
    sources: list[str]
    made: dict[str, np.ndarray]


def _groups(model: Model) -> list[_Group]:
    """Return the nodes that can be folded, in groups that share no value that they make and no weight of floats."""
    nodes = list(model.proto.graph.node)
    reads, readers = read_counts(model.proto), _readers(model, nodes)
    most = sum(info.elements for info in model.infos())
    found = []
    for places in _connected(model, nodes):
        together, inside = [nodes[place] for place in places], set(places)
        made = [name for node in together for name in node.output if name and readers[name] - inside]
        outside = {place for name in made for place in readers[name] - inside}
        if any(place >= 0 and nodes[place].op_type in _CELLS for place in outside):
            continue
        group = _fold(model, together, made, reads, most) if made else None
        if group is not None:
            found.append(group)
    return found


def _readers(model: Model, nodes: Sequence[NodeProto]) -> defaultdict[str, set[int]]:
    """Return the places of the nodes that read each name, in their subgraphs too; −1 where it is given out."""
    found: defaultdict[str, set[int]] = defaultdict(set)
    for place, node in enumerate(nodes):
        for name in reads_of(node):
            found[name].add(place)
    for item in model.proto.graph.output:
        found[item.name].add(-1)
    return found


def _connected(model: Model, graph: Sequence[NodeProto]) -> list[list[int]]:
    """Return the places of nodes that depend on weights alone and can be computed, by groups that read floats."""
    constants = set(model.weight_names) - model.overridable
    floats = {info.name for info in model.infos() if info.data_type in FLOAT_TYPES}
    known: set[str] = set()
    nodes: list[NodeProto] = []
    places: list[int] = []
    for place, node in enumerate(graph):
        names = [name for name in node.input if name]
        if (
            node.op_type in _MOVING | _COMPUTING
            and node.domain in STANDARD_DOMAINS
            and names
            and all(name in known or name in constants for name in names)
        ):
            nodes.append(node)
            places.append(place)
            known.update(name for name in node.output if name)
    leader = list(range(len(nodes)))

    def find(number: int) -> int:
        while leader[number] != number:
            leader[number] = leader[leader[number]]
            number = leader[number]
        return number

    first: dict[str, int] = {}
    for number, node in enumerate(nodes):
        for name in (*node.input, *node.output):
            if name in floats or name in known:
                leader[find(number)] = find(first.setdefault(name, number))
    members: dict[int, list[int]] = defaultdict(list)
    for number, place in enumerate(places):
        members[find(number)].append(place)
    return [
        group
        for group in members.values()
        if any(name in floats for place in group for name in graph[place].input)
    ]


def _fold(
    model: Model, nodes: list[NodeProto], made: Sequence[str], reads: Counter[str], most: int
) -> _Group | None:
    """Return a group with what it makes; None where that may not, or need not, take the place of its weights."""
    given_out = {item.name for item in model.proto.graph.output}
    names = dict.fromkeys(name for node in nodes for name in node.input if name in model)
    sources = [name for name in names if model.info(name).data_type in FLOAT_TYPES]
    kinds = {model.info(name).dtype for name in sources}
    if (
        not given_out.isdisjoint(made)
        or len(kinds) != 1
        or all(_is_seen_through(node, model) for node in nodes)
    ):
        return None
    values = _compute(model, nodes, made, most)
    if values is None:
        return None
    dtype = kinds.pop()
    with np.errstate(over="ignore"):
        results = {
            name: np.asarray(value.astype(dtype) if value.dtype.kind == "f" else value, order="C")
            for name, value in values.items()
        }
    fits = all(map(_is_finite, results.values())) and any(map(_is_wide, results.values()))
    return (
        _Group(nodes, sources, results) if fits and not _grows(model, nodes, names, results, reads) else None
    )


def _grows(
    model: Model,
    nodes: Sequence[NodeProto],
    names: Collection[str],
    results: Mapping[str, np.ndarray],
    reads: Counter[str],
) -> bool:
    """Say whether results have more elements than the weights that go, floats or whole numbers."""
    inside = Counter(name for node in nodes for name in node.input)
    gone = [model.info(name) for name in names if inside[name] == reads[name]]
    for floats in (True, False):
        freed = sum(info.elements for info in gone if (info.data_type in FLOAT_TYPES) == floats)
        if sum(array.size for array in results.values() if (array.dtype.kind not in "iub") == floats) > freed:
            return True
    return False


def _compute(
    model: Model, nodes: Sequence[NodeProto], made: Collection[str], most: int
) -> dict[str, np.ndarray] | None:
    """Return values in double precision; None where one is larger than all weights, or all together are far larger."""
    left = Counter(name for node in nodes for name in node.input)
    values: dict[str, np.ndarray] = {}
    made_here = {name for node in nodes for name in node.output}
    spent = 0.0
    for node in nodes:
        arrays = [
            values[name] if name in made_here else _doubled(model.load(name)) for name in node.input if name
        ]
        bound = _bound(node, arrays)
        spent += bound
        fits = bound <= most and spent <= _STEPS * most
        results = _run(node, arrays, model.proto) if fits else None
        if results is None:
            return None
        values.update(results)
        left.subtract(node.input)
        for name in {name for name in node.input if left[name] <= 0 and name not in made}:
            values.pop(name, None)
    return {name: values[name] for name in made}


def _doubled(array: np.ndarray) -> np.ndarray:
    return array if array.dtype.kind in "iub" else array.astype(np.float64)


def _bound(node: NodeProto, arrays: Sequence[np.ndarray]) -> float:
    """Return at least the number of elements that a node makes; infinity where that is not known."""
    shapes = [array.shape for array in arrays]
    try:
        if node.op_type in _BROADCASTING:
            return float(math.prod(np.broadcast_shapes(*shapes)))
        if node.op_type == "MatMul":
            one, other = (
                (1, *shapes[0])[-2:],
                (*shapes[1], 1)[:2] if len(shapes[1]) == 1 else shapes[1][-2:],
            )
            batch = math.prod(np.broadcast_shapes(shapes[0][:-2], shapes[1][:-2]))
            return float(batch * one[0] * other[1])
        if node.op_type == "Gather":
            return float(arrays[1].size * (arrays[0].size // shapes[0][int_attribute(node, "axis", 0)]))
    except (ValueError, IndexError, ZeroDivisionError):
        return math.inf
    return float(sum(array.size for array in arrays))


def _run(node: NodeProto, arrays: Sequence[np.ndarray], proto: ModelProto) -> dict[str, np.ndarray] | None:
    """Return what a node makes of its inputs, by name; None where it cannot be computed."""
    names = [name for name in node.output if name]
    feeds = dict(zip((name for name in node.input if name), arrays, strict=True))
    try:
        inputs = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in feeds.items()
        ]
        outputs = [helper.make_empty_tensor_value_info(name) for name in names]
        alone = helper.make_model(
            helper.make_graph([node], "node", inputs, outputs), opset_imports=proto.opset_import
        )
        with np.errstate(all="ignore"):
            results: Any = ReferenceEvaluator(alone).run(None, feeds)
    except Exception:  # noqa: BLE001 - whatever is wrong with the node, it stays as it is
        return None
    return {name: np.asarray(result) for name, result in zip(names, results, strict=True)}


def _is_finite(array: np.ndarray) -> bool:
    return array.dtype.kind in "iub" or bool(np.isfinite(array.astype(np.float32)).all())


def _is_seen_through(node: NodeProto, model: Model) -> bool:
    """Say whether layers find their weights behind a node as it is."""
    if node.op_type == "Transpose" and not ints_attribute(node, "perm"):
        return node.input[0] not in model or len(model.info(node.input[0]).shape) == 2
    return node.op_type == "Identity" or (
        node.op_type == "Transpose" and ints_attribute(node, "perm") == (1, 0)
    )


def _is_wide(array: np.ndarray) -> bool:
    wide = sum(size > 1 for size in array.shape) > 1  # no vector of biases, whatever its axes
    return array.dtype.kind not in "iub" and wide and array.size >= _FEWEST


def _is_for_layers(group: _Group, folded: Model) -> bool:
    """Say whether a layer reads some of what a group makes; positions, which are added, are better off as they are."""
    return any(_is_wide(array) and folded.info(name).role in _OF_LAYERS for name, array in group.made.items())


def _apply(model: Model, groups: Sequence[_Group]) -> Model:
    """Return the model with the results of groups as weights, without their nodes and what nothing reads any more."""
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    graph = proto.graph
    folded = {name for group in groups for node in group.nodes for name in node.output if name}
    read = read_counts(model.proto)
    for group in groups:
        read.subtract(name for node in group.nodes for name in node.input)
    gone = {
        name for group in groups for node in group.nodes for name in node.input if read[name] <= 0
    } | folded
    kept = [node for node in graph.node if folded.isdisjoint(node.output)]
    kept = [node for node in kept if node.op_type != "Constant" or not set(node.output) <= gone]
    _refill(graph.node, kept)
    for items in (graph.initializer, graph.input, graph.value_info):
        _refill(items, [item for item in items if item.name not in gone])
    data: dict[str, WeightData] = {}
    for name, array in ((name, array) for group in groups for name, array in group.made.items()):
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        clear_bytes(graph.initializer.add(name=name, data_type=kind, dims=array.shape))
        if proto.ir_version < FREE_INITIALIZERS:
            graph.input.append(helper.make_tensor_value_info(name, kind, array.shape))
        data[name] = InMemory(array)
    return model.with_proto(proto, data)


def _refill(items: Any, kept: Sequence[Any]) -> None:
    """Leave these of a message's repeated field in it."""
    if len(kept) < len(items):
        copies = [type(item).FromString(item.SerializeToString()) for item in kept]
        del items[:]
        items.extend(copies)
