"""Weights that the graph computes from other weights, computed once.

A kernel may reach its layer cut from a larger tensor (Slice, Split, Gather), joined of several (Concat), in another
shape, or as a product (weight norm's v · g / ‖v‖, the W + B·A of a low-rank update). Where everything in such a
computation is constant, the layer gets the result as a weight of its own: it can then be rounded with feedback, and the
decoded model has fewer nodes.

Nodes that share values or weights are decided on together, and folded only where the results have no more elements than
the weights that go. Left alone: what `calibration.own_weights` sees through (transposed matrices), changes of type
(a Cast would store wider numbers), dequantization, subgraphs, values that the model gives out, and parameters that a
caller may give instead.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from onnx import ModelProto, NodeProto, helper
from onnx.reference import ReferenceEvaluator

from enxuto.onnx_model.attributes import int_attribute, ints_attribute
from enxuto.onnx_model.dtypes import FLOAT_TYPES
from enxuto.onnx_model.model import Model
from enxuto.onnx_model.scopes import FREE_INITIALIZERS, STANDARD_DOMAINS, read_counts, reads_of
from enxuto.onnx_model.tensors import InMemory, WeightData, clear_bytes

__all__ = ["fold_constants"]

_MOVING = frozenset(
    {
        "Concat",
        "Flatten",
        "Gather",
        "Identity",
        "Reshape",
        "Slice",
        "Split",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    }
)
_COMPUTING = frozenset(
    {
        "Abs", "Add", "Div", "Exp", "MatMul", "Max", "Min", "Mul", "Neg", "Pow", "Reciprocal",
        "ReduceL1", "ReduceL2", "ReduceMean", "ReduceSum", "ReduceSumSquare", "Sqrt", "Sub",
    }
)  # fmt: skip
_BROADCASTING = frozenset({"Add", "Div", "Max", "Min", "Mul", "Pow", "Sub"})
_FEWEST = 32  # elements of a matrix or kernel for whose sake anything is folded


def fold_constants(model: Model) -> tuple[Model, dict[str, list[str]]]:
    """A model whose weights are where they are read; by the name of each that was computed for it, those it is of.

    The outputs agree within float rounding. It is the model itself where there is nothing to fold.
    """
    computed = _compute(model)
    reads = read_counts(model.proto)
    groups = [group for group in _groups(model, computed) if _pays(group, model, computed, reads)]
    if not groups:
        return model, {}
    return _apply(model, groups, computed, reads), {
        name: group.sources for group in groups for name in group.made
    }


@dataclass
class _Computed:
    """The nodes of a graph that depend on weights alone, and the values of all that they make."""

    nodes: list[NodeProto] = field(default_factory=list)
    values: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class _Group:
    """Nodes that are decided on together; sources: the weights that they read; made: the values that others read."""

    nodes: list[NodeProto]
    sources: list[str]
    made: list[str]


def _compute(model: Model) -> _Computed:
    """Compute what depends on weights alone, as far as it is no larger than all weights."""
    constants = set(model.weight_names) - model.overridable
    most = sum(info.elements for info in model.infos())
    found = _Computed()
    for node in model.proto.graph.node:
        names = [name for name in node.input if name]
        if (
            node.op_type not in _MOVING | _COMPUTING
            or node.domain not in STANDARD_DOMAINS
            or not names
            or not all(name in found.values or name in constants for name in names)
        ):
            continue
        arrays = {name: found.values[name] if name in found.values else model.load(name) for name in names}
        results = _run(node, arrays, model.proto) if _bound(node, list(arrays.values())) <= most else None
        if results is not None:
            found.nodes.append(node)
            found.values.update(results)
    return found


def _bound(node: NodeProto, arrays: Sequence[np.ndarray]) -> float:
    """Return at least the number of elements that a node makes; infinity where that is not known."""
    try:
        if node.op_type in _BROADCASTING:
            return math.prod(np.broadcast_shapes(*(array.shape for array in arrays)))
        if node.op_type == "MatMul":
            return float(math.prod(array.size // array.shape[-1] for array in arrays))
        if node.op_type == "Gather":
            return float(arrays[1].size * (arrays[0].size // arrays[0].shape[int_attribute(node, "axis", 0)]))
    except (ValueError, IndexError, ZeroDivisionError):
        return math.inf
    return sum(array.size for array in arrays)


def _run(
    node: NodeProto, arrays: Mapping[str, np.ndarray], proto: ModelProto
) -> dict[str, np.ndarray] | None:
    """Return what a node makes of arrays, by name; None where it cannot be computed or is not finite."""
    names = [name for name in node.output if name]
    try:
        inputs = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in arrays.items()
        ]
        outputs = [helper.make_empty_tensor_value_info(name) for name in names]
        alone = helper.make_model(
            helper.make_graph([node], "node", inputs, outputs), opset_imports=proto.opset_import
        )
        with np.errstate(all="ignore"):
            results = ReferenceEvaluator(alone).run(None, dict(arrays))
    except Exception:  # noqa: BLE001 - whatever is wrong with the node, it stays as it is
        return None
    found = {name: np.asarray(result) for name, result in zip(names, results, strict=True)}
    return found if all(_is_sound(array) for array in found.values()) else None


def _is_sound(array: np.ndarray) -> bool:
    return array.dtype.kind in "iub" or bool(np.isfinite(array.astype(np.float64)).all())


def _groups(model: Model, computed: _Computed) -> list[_Group]:
    """Return the nodes in groups that share no value that they make, and no weight of floats."""
    floats = {info.name for info in model.infos() if info.data_type in FLOAT_TYPES}
    leader = list(range(len(computed.nodes)))

    def find(number: int) -> int:
        while leader[number] != number:
            number = leader[number]
        return number

    first: dict[str, int] = {}
    for number, node in enumerate(computed.nodes):
        for name in (*node.input, *node.output):
            if name in floats or name in computed.values:
                leader[find(number)] = find(first.setdefault(name, number))
    members: dict[int, list[NodeProto]] = defaultdict(list)
    for number, node in enumerate(computed.nodes):
        members[find(number)].append(node)
    return [_group(nodes, floats, model) for nodes in members.values()]


def _group(nodes: list[NodeProto], floats: set[str], model: Model) -> _Group:
    inside = {id(node) for node in nodes}
    outside = {
        name for node in model.proto.graph.node if id(node) not in inside for name in reads_of(node)
    } | {item.name for item in model.proto.graph.output}
    sources = dict.fromkeys(name for node in nodes for name in node.input if name in floats)
    return _Group(nodes, list(sources), [name for node in nodes for name in node.output if name in outside])


def _pays(group: _Group, model: Model, computed: _Computed, reads: Counter[str]) -> bool:
    """Say whether a group's results may take the place of its weights."""
    given_out = {item.name for item in model.proto.graph.output}
    if not given_out.isdisjoint(group.made) or all(map(_is_seen_through, group.nodes)):
        return False
    if not any(_is_layer(computed.values[name]) for name in group.made):
        return False
    kinds = {model.info(name).dtype for name in group.sources}
    after = [computed.values[name] for name in group.made if computed.values[name].dtype.kind not in "iub"]
    if len(kinds) != 1 or any(array.dtype not in kinds for array in after):
        return False
    inside = Counter(name for node in group.nodes for name in node.input)
    freed = sum(model.info(name).elements for name in group.sources if inside[name] == reads[name])
    return sum(array.size for array in after) <= freed


def _is_seen_through(node: NodeProto) -> bool:
    """Say whether layers find their weights behind a node as it is."""
    return node.op_type == "Identity" or (
        node.op_type == "Transpose" and ints_attribute(node, "perm", (1, 0)) == (1, 0)
    )


def _is_layer(array: np.ndarray) -> bool:
    wide = sum(size > 1 for size in array.shape) > 1  # no vector of biases, whatever its axes
    return array.dtype.kind not in "iub" and wide and array.size >= _FEWEST


def _apply(model: Model, groups: Sequence[_Group], computed: _Computed, reads: Counter[str]) -> Model:
    """Return the model with the results of groups as weights, without their nodes and what nothing reads any more."""
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    graph = proto.graph
    folded = {name for group in groups for node in group.nodes for name in node.output if name}
    read = Counter(reads)
    for group in groups:
        read.subtract(name for node in group.nodes for name in node.input)
    for node in [node for node in graph.node if not folded.isdisjoint(node.output)]:
        graph.node.remove(node)
    gone = {
        name for group in groups for node in group.nodes for name in node.input if read[name] <= 0
    } | folded
    for items in (graph.initializer, graph.input, graph.value_info):
        for item in [item for item in items if item.name in gone]:
            items.remove(item)
    for node in [node for node in graph.node if node.op_type == "Constant" and set(node.output) <= gone]:
        graph.node.remove(node)
    data: dict[str, WeightData] = {}
    for name in (name for group in groups for name in group.made):
        array = np.ascontiguousarray(computed.values[name])
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        clear_bytes(graph.initializer.add(name=name, data_type=kind, dims=array.shape))
        if proto.ir_version < FREE_INITIALIZERS:
            graph.input.append(helper.make_tensor_value_info(name, kind, array.shape))
        data[name] = InMemory(array)
    return model.with_proto(proto, data)
