"""Sizes of inputs that the graph leaves open and its weights fix, such as how many features a matrix takes.

Axes of inputs are followed forward: through what moves and joins them, and through the windows of convolutions and
pools, which make them shorter. Where a weight reads one, its size has to come to the weight's. What is not followed
says nothing: other operators, subgraphs, and axes that come of two open ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from onnx import NodeProto

from enxuto.errors import EnxutoError
from enxuto.onnx_model.attributes import has_attribute, int_attribute, ints_attribute
from enxuto.onnx_model.model import Model
from enxuto.onnx_model.scopes import STANDARD_DOMAINS
from enxuto.onnx_model.windows import Window, window_of

__all__ = ["read_sizes"]

_LONGEST = 1 << 14  # of the sizes that are tried for an axis
_MOST_WORK = 200  # steps from an input's size to one behind it: nothing in use has as many
_MOST = 64  # values of a constant that says axes, sizes or places

_SAME = frozenset(
    {
        "Identity", "Cast", "Relu", "LeakyRelu", "Elu", "Selu", "Celu", "Gelu", "Sigmoid", "HardSigmoid", "HardSwish",
        "Mish", "Softplus", "Softsign", "ThresholdedRelu", "Tanh", "Erf", "Sin", "Cos", "Exp", "Log", "Sqrt", "Neg",
        "Abs", "Reciprocal", "Floor", "Ceil", "Round", "Clip", "Softmax", "LogSoftmax", "Dropout",
        "LRN", "CumSum",
    }
)  # fmt: skip
_BROADCAST = frozenset({"Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "PRelu"})
_CHANNELS = {"BatchNormalization": 1, "InstanceNormalization": 1, "LayerNormalization": -1}
"""Which axis a scale of one axis is of."""
_POOLS = frozenset({"MaxPool", "AveragePool", "LpPool"})
_RECURRENT = frozenset({"LSTM", "GRU", "RNN"})


@dataclass(frozen=True)
class _Axis:
    """A size behind some nodes, as it follows from that of an input's axis.

    sources: which axes of inputs it is of. work: how many steps it takes to tell the size.
    """

    size: Callable[[int], int]
    sources: frozenset[tuple[str, int]] = frozenset()
    work: int = 1

    def then(self, change: Callable[[int], int]) -> _Axis | None:
        """Return the axis with its size changed; None where that takes too many steps."""
        if not self.sources:
            return _fixed(change(self.size(0)))
        before = self.size
        made = _Axis(lambda given: change(before(given)), self.sources, self.work + 1)
        return made if made.work <= _MOST_WORK else None


_Axes = Sequence["_Axis | None"]


def read_sizes(model: Model) -> dict[tuple[str, int], int]:
    """Return sizes by the name of an input and one of its axes, of those that are open and that weights fix.

    Where windows or parts make several sizes fit, the smallest one that fits all that reads the axis.
    """
    walk = _Walk(model)
    for item in model.proto.graph.input:
        if item.name in model or not item.type.tensor_type.HasField("shape"):
            continue
        walk.axes[item.name] = [
            _fixed(dim.dim_value)
            if dim.HasField("dim_value")
            else _Axis(_itself, frozenset({(item.name, at)}))
            for at, dim in enumerate(item.type.tensor_type.shape.dim)
        ]
    for node in model.proto.graph.node:
        if node.domain in STANDARD_DOMAINS:
            walk.follow(node)
    return {source: size for source, wants in walk.wanted.items() if (size := _solve(wants)) is not None}


def _itself(given: int) -> int:
    return given


def _fixed(size: int) -> _Axis:
    return _Axis(lambda given: size)


def _solve(wants: Sequence[tuple[_Axis, int]]) -> int | None:
    """Return the smallest size with which all axes come to what is wanted of them; None where there is none."""
    return next((n for n in range(1, _LONGEST) if all(axis.size(n) == want for axis, want in wants)), None)


@dataclass
class _Walk:
    """The axes of what nodes have made so far, and what weights want of them."""

    model: Model
    axes: dict[str, _Axes] = field(default_factory=dict)
    wanted: dict[tuple[str, int], list[tuple[_Axis, int]]] = field(default_factory=dict)

    def follow(self, node: NodeProto) -> None:
        """Note what a node wants, and the axes of its first output, where its first input is followed."""
        kind = node.op_type
        if kind in _BROADCAST or kind == "Concat":
            found = self._several(node)
        elif not node.input or (axes := self.axes.get(node.input[0])) is None:
            return
        elif kind in _SAME:
            found = axes
        elif kind in _CHANNELS:
            scale = self._weight_shape(node, 1)
            if scale is None or scale[-1:] != (1,):
                self._want(axes, _CHANNELS[kind], scale, -1)
            found = axes
        elif kind in ("MatMul", "Gemm") or kind in _RECURRENT:
            found = self._product(node, axes)
        elif kind in ("Conv", *_POOLS):
            found = self._windows(node, axes)
        else:
            found = self._moved(node, axes)
        if found is not None and node.output:
            self.axes[node.output[0]] = found

    def _want(self, axes: _Axes, at: int, shape: Sequence[int] | None, weight_at: int) -> None:
        """Note that an axis has to come to the size of a weight's axis."""
        if shape is None or not -len(axes) <= at < len(axes) or not -len(shape) <= weight_at < len(shape):
            return
        axis = axes[at]
        if axis is not None and len(axis.sources) == 1:
            (source,) = axis.sources
            self.wanted.setdefault(source, []).append((axis, shape[weight_at]))

    def _weight_shape(self, node: NodeProto, at: int) -> tuple[int, ...] | None:
        name = node.input[at] if at < len(node.input) else ""
        return self.model.info(name).shape if name in self.model else None

    def _constant(self, node: NodeProto, at: int, attribute: str) -> tuple[int, ...] | None:
        """Return the whole numbers that an input or an attribute gives; None where the graph computes them."""
        if attribute and has_attribute(node, attribute):
            return ints_attribute(node, attribute)
        shape = self._weight_shape(node, at)
        if shape is None or math.prod(shape) > _MOST:
            return None
        return tuple(int(one) for one in np.asarray(self.model.load(node.input[at])).reshape(-1))

    def _several(self, node: NodeProto) -> _Axes | None:
        """Return the axes of what joins its inputs, or works on them element by element."""
        known = [
            [_fixed(size) for size in self.model.info(name).shape]
            if name in self.model
            else self.axes.get(name)
            for name in node.input
        ]
        if any(axes is None for axes in known):
            return None
        inputs = [list(axes) for axes in known if axes is not None]
        if node.op_type == "Concat":
            at = int_attribute(node, "axis")
            if len({len(axes) for axes in inputs}) != 1 or not -len(inputs[0]) <= at < len(inputs[0]):
                return None
            joined = list(inputs[0])
            joined[at] = _total([axes[at] for axes in inputs], sum)
            return joined
        rank = max(map(len, inputs))
        aligned = [[*[_fixed(1)] * (rank - len(axes)), *axes] for axes in inputs]
        for name, axes in zip(node.input, aligned, strict=True):
            for at, axis in enumerate(axes if name in self.model else ()):
                if axis is not None and axis.size(0) > 1:
                    for other in aligned:
                        self._want(other, at, (axis.size(0),), 0)
        return [_broadcast([axes[at] for axes in aligned]) for at in range(rank)]

    def _product(self, node: NodeProto, axes: _Axes) -> _Axes | None:
        """Return the axes behind a matrix or a recurrent layer."""
        shape = self._weight_shape(node, 1)
        if shape is None:
            return None
        if node.op_type in _RECURRENT:
            self._want(axes, 2, shape, 2)
            hidden = self._weight_shape(node, 2)
            if len(axes) != 3 or hidden is None or int_attribute(node, "layout"):
                return None
            return [axes[0], _fixed(hidden[0]), axes[1], _fixed(hidden[2])]
        turned = node.op_type == "Gemm" and int_attribute(node, "transB") == 1
        if node.op_type == "Gemm" and int_attribute(node, "transA"):
            axes = list(reversed(axes))
        if len(shape) < 2 or not axes:
            return None
        self._want(axes, -1, shape, -1 if turned else -2)
        return [*axes[:-1], _fixed(shape[-2 if turned else -1])]

    def _windows(self, node: NodeProto, axes: _Axes) -> _Axes | None:
        """Return the axes behind a convolution or a pool."""
        shape = self._weight_shape(node, 1) if node.op_type == "Conv" else None
        if node.op_type == "Conv" and shape is None:
            return None
        try:
            window = window_of(node, None if shape is None else shape[2:])
        except EnxutoError:
            return None
        if len(window.kernel) != len(axes) - 2 or int_attribute(node, "ceil_mode"):
            return None
        if shape is not None:
            self._want(axes, 1, (shape[1] * int_attribute(node, "group", 1),), 0)
        channels = axes[1] if shape is None else _fixed(shape[0])
        return [axes[0], channels, *(_shortened(axis, window, at) for at, axis in enumerate(axes[2:]))]

    def _moved(self, node: NodeProto, axes: _Axes) -> _Axes | None:
        """Return the axes behind what moves, cuts or averages; None for any other operator."""
        match node.op_type:
            case "Transpose":
                order = ints_attribute(node, "perm") or tuple(reversed(range(len(axes))))
                return [axes[at] for at in order] if sorted(order) == list(range(len(axes))) else None
            case "Flatten":
                at = int_attribute(node, "axis", 1)
                at = at + len(axes) if at < 0 else at
                return [_total(axes[:at], math.prod), _total(axes[at:], math.prod)]
            case "Reshape":
                return self._reshaped(self._constant(node, 1, ""), axes)
            case "Slice":
                return self._cut(node, axes)
            case "Unsqueeze" | "Squeeze" | "ReduceMean" | "ReduceMax" | "ReduceSum":
                given = self._constant(node, 1, "axes")
                rank = len(axes) + (len(given or ()) if node.op_type == "Unsqueeze" else 0)
                if given is None or any(not -rank <= at < rank for at in given):
                    return None
                places = {at % rank for at in given}
                if node.op_type == "Unsqueeze":
                    rest = iter(axes)
                    return [_fixed(1) if at in places else next(rest) for at in range(rank)]
                kept = node.op_type != "Squeeze" and int_attribute(node, "keepdims", 1) == 1
                return [
                    _fixed(1) if at in places else axis
                    for at, axis in enumerate(axes)
                    if kept or at not in places
                ]
        return None

    def _reshaped(self, sizes: Sequence[int] | None, axes: _Axes) -> _Axes | None:
        """Return the axes behind a Reshape to these sizes: the last ones may be joined."""
        if not sizes:  # not known, or of a single number
            return None
        made: list[_Axis | None] = [_fixed(size) if size > 0 else None for size in sizes]
        for at, size in enumerate(sizes):
            if size == 0 and at < len(axes):
                made[at] = axes[at]
        if sizes[0] == -1 and len(sizes) > 1 and min(sizes[1:]) > 0:
            first = self._want_rest(axes, math.prod(sizes[1:]))
            made[0] = axes[0] if first == 1 else None
        elif len(sizes) == 2 and sizes[1] == -1 and sizes[0] in (0, 1):
            made[1] = _total(axes[1:], math.prod)
        return made

    def _want_rest(self, axes: _Axes, size: int) -> int:
        """Want that the last axes come together to a size; return where they begin, 0 where that is not known.

        Rows may be of several axes, such as samples and steps. So where fixed sizes come to it, nothing is wanted, and
        else of open ones the last only.
        """
        begin, fixed = len(axes), 1
        while begin > 1 and (axis := axes[begin - 1]) is not None and not axis.sources and fixed < size:
            begin, fixed = begin - 1, fixed * axis.size(0)
        if fixed >= size or begin < 2:
            return begin if fixed == size else 0
        begin -= 1
        while begin > 1 and (axis := axes[begin - 1]) is not None and not axis.sources:
            begin -= 1
        self._want([_total(axes[begin:], math.prod)], 0, (size,), 0)
        return begin

    def _cut(self, node: NodeProto, axes: _Axes) -> _Axes | None:
        """Return the axes behind a Slice."""
        starts, ends = self._constant(node, 1, "starts"), self._constant(node, 2, "ends")
        if starts is None or ends is None:
            return None
        given = (
            self._constant(node, 3, "axes") if len(node.input) > 3 or has_attribute(node, "axes") else None
        )
        places = range(len(starts)) if given is None else given
        steps = self._constant(node, 4, "") if len(node.input) > 4 else (1,) * len(starts)
        made = list(axes)
        for at, start, end, step in zip(places, starts, ends, steps or (), strict=False):
            axis = made[at] if -len(made) <= at < len(made) else None
            if axis is None or not step:
                return None
            made[at] = axis.then(_taken(start, end, step))
        return made if steps is not None else None


def _taken(start: int, end: int, step: int) -> Callable[[int], int]:
    """Return how many of so many places a Slice takes; ends far below zero are in front of the first."""

    def count(size: int) -> int:
        stop = None if step < 0 and end < -size else end
        return len(range(*slice(start, stop, step).indices(max(0, size))))

    return count


def _total(axes: _Axes, combine: Callable[[Sequence[int]], int]) -> _Axis | None:
    """Return the axis that is made of several, by `sum` or `prod`; None where one of them is not known."""
    known = [axis for axis in axes if axis is not None]
    if len(known) < len(axes):
        return None
    sources = frozenset[tuple[str, int]]().union(*(axis.sources for axis in known))
    if not sources:
        return _fixed(combine([axis.size(0) for axis in known]))
    work = 1 + sum(axis.work for axis in known)
    if work > _MOST_WORK:
        return None
    return _Axis(lambda given: combine([axis.size(given) for axis in known]), sources, work)


def _broadcast(axes: _Axes) -> _Axis | None:
    """Return the axis of what works on several element by element: the one that is not 1 everywhere."""
    several = [axis for axis in axes if axis is None or axis.sources or axis.size(0) != 1]
    return several[0] if several else _fixed(1)


def _shortened(axis: _Axis | None, window: Window, at: int) -> _Axis | None:
    """Return a spatial axis behind a window."""
    if axis is None:
        return None
    stride, extent, half = window.strides[at], window.extents[at], len(window.kernel)

    def places(size: int) -> int:
        if window.is_same:
            return -(-size // stride)
        return (size + window.pads[at] + window.pads[at + half] - extent) // stride + 1

    return axis.then(places)
