"""Which operator makes a model's first output: a softmax, its logarithm, an elementwise squashing function, or others.

The graph is walked backwards from the output through operators that only move, rename, convert or quantize values.
`cut_before_softmax` gives the model that ends in front of a softmax: its outputs are logits. Only the graph is read
here; whether the values agree with it is for the caller to see (`calibration.answers`).

Left out: a softmax inside a subgraph or a local function (its values still add up to 1, which the caller sees).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from enxuto.onnx_model.attributes import constant_tensor
from enxuto.onnx_model.model import Model
from enxuto.onnx_model.scopes import FREE_INITIALIZERS, STANDARD_DOMAINS, subgraphs
from enxuto.onnx_model.tensors import InMemory, WeightData, clear_bytes

__all__ = [
    "Ending",
    "append_flatten",
    "append_logarithm",
    "cut_before_softmax",
    "keeps_positions",
    "output_ending",
    "picks_values",
    "position_sources",
]

Kind = Literal["open", "probabilities", "log-probabilities", "squashed", "mixed", "chosen"]

_MOVES = frozenset(
    {"Identity", "Cast", "CastLike", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Dropout", "Clip",
     "QuantizeLinear", "DequantizeLinear"}
)  # fmt: skip
_SQUASHES = frozenset({"Sigmoid", "HardSigmoid", "Tanh", "Softsign", "QLinearSigmoid"})
_CHOOSES = frozenset({"ArgMax", "ArgMin", "TopK", "Hardmax", "NonMaxSuppression", "OneHot"})
_MIXES = frozenset(
    {"Slice", "Gather", "GatherElements", "Split", "Concat", "Mul", "Add", "Sub", "Div", "Mean", "Sum", "Pow", "Max",
     "ReduceMean", "ReduceMax", "ReduceSum", "Neg"}
)  # fmt: skip
_POINTWISE = frozenset(
    {"Add", "Sub", "Mul", "Div", "Concat", "Sum", "Mean", "Max", "Min", "Pow", "Neg", "Abs", "Exp", "Log", "Sqrt",
     "Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "Gelu", "Softplus", "HardSwish", "Mish", "Erf", "Sign",
     "ThresholdedRelu", "Round", "Floor", "Softmax", "LogSoftmax", "BatchNormalization", "Where"}
)  # fmt: skip
_SPREADS = frozenset({"Identity", "Cast", "CastLike", "Reshape", "Squeeze", "Unsqueeze", "Expand", "Flatten"})
_ADDS = frozenset({"ReduceSum", "ReduceL1"})  # of what is positive
_PARTS = frozenset({"Slice", "Gather", "GatherElements", "Split"})
_DEPTH = 16  # operators that are looked through at most
_MOST_NODES = 64
_LEAST = 2.0**-126
_FLOOR = 1e-4  # that is added to probabilities at most
_BOUNDS_ARE_INPUTS = 11  # the version of ONNX's operators from which Clip takes its bounds as inputs


@dataclass(frozen=True)
class Ending:
    """What makes a model's first output.

    kind: `probabilities` and `log-probabilities` of a softmax; `squashed`, each value by itself (a sigmoid); `mixed`,
    combinations or parts of those; `chosen`, positions or classes; `open`, all others, such as a classifier's logits.
    operator: its name, such as Softmax. before: the name of the softmax's input, None where the graph has none.
    """

    kind: Kind
    operator: str = ""
    before: str | None = None


def output_ending(model: Model, output: str | None = None) -> Ending:
    """Return what makes an output of a model, by default the first."""
    graph = model.proto.graph
    maker = {name: node for node in graph.node for name in node.output if name}
    if not graph.output:
        return Ending("open")
    found = _ending(model, maker, output or graph.output[0].name, 0)
    fed = {item.name for item in graph.input}
    if found.before is not None and (found.before in fed or found.before in model):
        return Ending(found.kind, found.operator)
    return found


def cut_before_softmax(model: Model, value: str) -> Model:
    """Return the model whose first, and only, output is `value`, which ONNX Runtime finds type and shape of."""
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    del proto.graph.output[:]
    proto.graph.output.add(name=value)
    return model.with_proto(proto)


def append_flatten(model: Model) -> Model:
    """Return the model with its first output as rows, (batch, all else), as its only one."""
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    graph = proto.graph
    taken = {name for node in graph.node for name in (*node.input, *node.output)} | set(model.weight_names)
    rows = _free(taken, "rows")
    graph.node.append(helper.make_node("Flatten", [graph.output[0].name], [rows], axis=1))
    del graph.output[:]
    graph.output.add(name=rows)
    return model.with_proto(proto)


def append_logarithm(model: Model) -> Model:
    """Return the model with the logarithm of its first output, float32's least normal number at least, as its only one.

    That makes logits of probabilities where there is no value in front of a softmax.
    """
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    graph = proto.graph
    taken = {name for node in graph.node for name in (*node.input, *node.output)} | set(model.weight_names)
    floats, floored, logits, least = (
        _free(taken, stem) for stem in ("as float", "at least", "logits", "least")
    )
    data: dict[str, WeightData] = {}
    graph.node.append(helper.make_node("Cast", [graph.output[0].name], [floats], to=TensorProto.FLOAT))
    versions = [item.version for item in proto.opset_import if item.domain in STANDARD_DOMAINS]
    if max(versions, default=1) < _BOUNDS_ARE_INPUTS:
        graph.node.append(helper.make_node("Clip", [floats], [floored], min=_LEAST))
    else:
        graph.node.append(helper.make_node("Clip", [floats, least], [floored]))
        clear_bytes(graph.initializer.add(name=least, data_type=TensorProto.FLOAT))
        if proto.ir_version < FREE_INITIALIZERS:
            graph.input.append(helper.make_tensor_value_info(least, TensorProto.FLOAT, []))
        data[least] = InMemory(np.array(_LEAST, np.float32))
    graph.node.append(helper.make_node("Log", [floored], [logits]))
    del graph.output[:]
    graph.output.add(name=logits)
    return model.with_proto(proto, data)


def position_sources(model: Model) -> tuple[list[NodeProto], list[str]]:
    """Return the nodes behind the first output that may keep positions apart, and the names of their first outputs.

    The graph is followed backwards from the output, up to and including nodes that mix positions, such as a Gemm. Each
    node is listed once.
    """
    maker = {name: node for node in model.proto.graph.node for name in node.output if name}
    found: list[NodeProto] = []
    pending = [model.proto.graph.output[0].name]
    seen: set[str] = set()
    while pending and len(found) < _MOST_NODES:
        name = pending.pop(0)
        node = maker.get(name)
        if node is None or name in seen:
            continue
        seen.add(name)
        found.append(node)
        if keeps_positions(node):
            # Of those that move values, the other inputs are shapes, axes and scales.
            read = node.input if node.op_type in _POINTWISE else node.input[:1]
            pending += [value for value in read if value and value not in model]
    return found, [node.output[0] for node in found]


def keeps_positions(node: NodeProto) -> bool:
    """Say whether each output value of a node comes from one position of its inputs."""
    return node.domain in STANDARD_DOMAINS and node.op_type in _MOVES | _SQUASHES | _POINTWISE | _PARTS


def picks_values(node: NodeProto) -> bool:
    """Say whether a node picks some of its input's values."""
    return node.op_type in _PARTS


def _free(taken: set[str], stem: str) -> str:
    name = stem
    while name in taken:
        name += "_"
    return name


def _ending(model: Model, maker: Mapping[str, NodeProto], value: str, depth: int) -> Ending:
    node = maker.get(value)
    if node is None or depth > _DEPTH:
        return Ending("open")
    kind = node.op_type
    if kind in ("QLinearSoftmax", "QLinearSigmoid"):  # of ONNX Runtime's quantizer, in its own domain
        return Ending("probabilities" if kind == "QLinearSoftmax" else "squashed", kind)
    if node.domain not in STANDARD_DOMAINS:
        return Ending("open")
    if kind in _SQUASHES:
        return Ending("squashed", kind)
    if kind in _CHOOSES:
        return Ending("chosen", kind)
    softmax = _softmax(maker, node)
    if softmax is not None:
        return softmax
    if kind == "If":
        return _of_branches(model, maker, node, value, depth)
    if kind in _MOVES:
        return _ending(model, maker, node.input[0], depth + 1)
    if kind in ("Add", "Max"):  # a floor under probabilities, as in ln(p + 1e-9)
        moved = [name for name in node.input if not _is_floor(model, maker, name)]
        if len(moved) == 1 and len(node.input) > 1:
            floored = _ending(model, maker, moved[0], depth + 1)
            if floored.kind == "probabilities":
                return floored
    if kind in ("Log", "Exp"):
        return _curved(_ending(model, maker, node.input[0], depth + 1), kind)
    if kind == "ReduceMean":  # of yeses and noes it is one
        averaged = _ending(model, maker, node.input[0], depth + 1)
        if averaged.kind == "squashed":
            return averaged
    if kind in _MIXES:
        inner = [_ending(model, maker, name, depth + 1) for name in node.input if name and name not in model]
        inner = [one for one, name in zip(inner, _computed(model, maker, node), strict=True) if name]
        # Values scaled by a gate are no probabilities: all parts have to be.
        if inner and all(one.kind != "open" for one in inner):
            return Ending("mixed", f"{kind} of {inner[0].operator}")
    return Ending("open")


def _of_branches(
    model: Model, maker: Mapping[str, NodeProto], node: NodeProto, value: str, depth: int
) -> Ending:
    """Return what makes an output of an If, where all branches agree; nothing in them can be measured by itself."""
    place = list(node.output).index(value)
    found = []
    for _, graph in subgraphs(node):
        inside = {**maker, **{name: one for one in graph.node for name in one.output if name}}
        found.append(_ending(model, inside, graph.output[place].name, depth + 1))
    same = {one.kind for one in found}
    return Ending(found[0].kind, found[0].operator) if len(same) == 1 else Ending("open")


def _computed(model: Model, maker: Mapping[str, NodeProto], node: NodeProto) -> list[bool]:
    """Say of every input that is no weight whether it depends on the image."""
    names = [name for name in node.input if name and name not in model]
    return [name not in maker or maker[name].op_type not in ("Constant", "Shape", "Size") for name in names]


def _is_floor(model: Model, maker: Mapping[str, NodeProto], name: str) -> bool:
    """Say whether a value is a constant that hardly changes probabilities."""
    if name in model:
        value = model.load(name) if model.info(name).elements == 1 else None
    else:
        value = _single_number(maker[name]) if name in maker else None
    return value is not None and np.size(value) == 1 and bool(np.all((value >= 0) & (value <= _FLOOR)))


def _single_number(node: NodeProto) -> np.ndarray | None:
    """Return the number that a Constant node gives, None where it gives something else."""
    tensor = constant_tensor(node)
    if tensor is None or math.prod(tensor.dims) != 1:
        return None
    return np.asarray(numpy_helper.to_array(tensor))


def _curved(inner: Ending, kind: str) -> Ending:
    """Return what the logarithm, or the exponential, of something is."""
    if kind == "Log" and inner.kind == "probabilities":
        return Ending("log-probabilities", f"Log of {inner.operator}", inner.before)
    if kind == "Exp" and inner.kind == "log-probabilities":
        return Ending("probabilities", f"Exp of {inner.operator}", inner.before)
    return inner if inner.kind in ("squashed", "mixed", "chosen") else Ending("open")


def _softmax(maker: Mapping[str, NodeProto], node: NodeProto) -> Ending | None:
    """Return the ending that a softmax or its logarithm is, whole or written out in parts, None for other nodes."""
    if node.op_type == "Softmax":
        return Ending("probabilities", "Softmax", node.input[0])
    if node.op_type == "LogSoftmax":
        return Ending("log-probabilities", "LogSoftmax", node.input[0])
    if node.op_type not in ("Div", "Mul", "Sub"):
        return None
    one, other = (_behind_movements(maker, name) for name in node.input)
    if node.op_type == "Mul":  # exp(x) · (1 / Σ exp(x)), the factors in either order
        if _kind_of(maker, one) == "Reciprocal":
            one, other = other, one
        if _kind_of(maker, other) != "Reciprocal":
            return None
        other = _behind_movements(maker, maker[other].input[0])
    if node.op_type in ("Div", "Mul"):  # exp(x) / Σ exp(x)
        whole = _kind_of(maker, one) == "Exp" and _sums(maker, other, one)
        return Ending("probabilities", "Softmax", _shifted(maker, maker[one].input[0])) if whole else None
    if _kind_of(maker, other) == "ReduceLogSumExp" and _behind_movements(maker, maker[other].input[0]) == one:
        return Ending("log-probabilities", "LogSoftmax", _shifted(maker, one))
    if _kind_of(maker, other) != "Log":  # x − ln Σ exp(x)
        return None
    summed = _behind_movements(maker, maker[other].input[0])
    power = _behind_movements(maker, maker[summed].input[0]) if _kind_of(maker, summed) in _ADDS else ""
    if _kind_of(maker, power) != "Exp" or _behind_movements(maker, maker[power].input[0]) != one:
        return None
    return Ending("log-probabilities", "LogSoftmax", _shifted(maker, one))


def _kind_of(maker: Mapping[str, NodeProto], value: str) -> str:
    return maker[value].op_type if value in maker else ""


def _behind_movements(maker: Mapping[str, NodeProto], value: str) -> str:
    """Return the value behind operators that only move, broadcast or convert it, as JAX and TensorFlow write sums.

    A graph that this misreads is found by its values (`calibration.answers`).
    """
    for _ in range(_DEPTH):
        if _kind_of(maker, value) not in _SPREADS:
            break
        value = maker[value].input[0]
    return value


def _sums(maker: Mapping[str, NodeProto], value: str, of: str) -> bool:
    return _kind_of(maker, value) in _ADDS and _behind_movements(maker, maker[value].input[0]) == of


def _shifted(maker: Mapping[str, NodeProto], value: str) -> str:
    """Return x where the value is x − max(x), or x − max(x, a constant), itself otherwise."""
    node = maker.get(_behind_movements(maker, value))
    if node is None or node.op_type != "Sub":
        return value
    taken, most = _behind_movements(maker, node.input[0]), _behind_movements(maker, node.input[1])
    greatest = [most]
    if _kind_of(maker, most) in ("Max", "Where"):  # −∞ at least, or finite at least
        greatest = [_behind_movements(maker, name) for name in maker[most].input]
    largest = any(
        _kind_of(maker, name) == "ReduceMax" and _behind_movements(maker, maker[name].input[0]) == taken
        for name in greatest
    )
    return taken if largest else value
