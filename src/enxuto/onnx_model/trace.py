"""Follow weights forward to the operators that use them, keeping track of where each axis comes from."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import FunctionProto, GraphProto, ModelProto, NodeProto

from enxuto.onnx_model.attributes import has_attribute, ints_attribute
from enxuto.onnx_model.scopes import STANDARD_DOMAINS, Slot, scopes

__all__ = ["Reader", "Tracer", "Use"]

_LARGEST_CONSTANT = 64  # elements; axes and shapes are far smaller
_SAME_SHAPE = frozenset({"Identity", "Cast", "DequantizeLinear"})

_Shape = tuple[int, ...]
_Axes = tuple[int | None, ...]


Reader = tuple[str, NodeProto, int]
"""The path of a scope, a node there, and which of its inputs is meant."""


@dataclass(frozen=True)
class Use:
    """`node` reads a weight as input `index`, in `shape`; axis i of that is axis `axes[i]` of the weight.

    path: of the scope that the node is in.
    """

    node: NodeProto
    index: int
    shape: _Shape
    axes: _Axes
    path: str = ""


@dataclass(frozen=True)
class _Value:
    """A name in a scope that holds the weight, perhaps transposed or reshaped."""

    scope_path: str
    name: str
    shape: _Shape
    axes: _Axes


class Tracer:
    """Who reads which name in which scope; made once per model. `functions`: scopes by domain and name."""

    def __init__(
        self, proto: ModelProto, slots: Mapping[str, Slot], load: Callable[[str], np.ndarray]
    ) -> None:
        self._slots = slots
        self._load = load
        self._scopes = {scope.path: scope for scope in scopes(proto)}
        self._made = {path: _defined_names(scope.body) for path, scope in self._scopes.items()}
        self.functions = {
            (scope.body.domain, scope.body.name): scope
            for scope in self._scopes.values()
            if isinstance(scope.body, FunctionProto)
        }
        self._readers: dict[tuple[str, str], list[Reader]] = defaultdict(list)
        for path, scope in self._scopes.items():
            for node in scope.body.node:
                for index, name in enumerate(node.input):
                    if name:
                        self._readers[self._defining_path(path, name), name].append((path, node, index))

    def readers(self, path: str, name: str) -> Sequence[Reader]:
        """Who reads what is called `name` in the scope at `path`, where it is made."""
        return self._readers.get((path, name), ())

    def follow(self, slot: Slot) -> Iterator[Use]:
        """All operators that read a weight, seen through those that only move or rename it."""
        shape = tuple(slot.tensor.dims)
        waiting = [_Value(slot.scope_path, slot.local_name, shape, tuple(range(len(shape))))]
        seen: set[tuple[str, str]] = set()
        while waiting:
            value = waiting.pop()
            if (value.scope_path, value.name) in seen:
                continue
            seen.add((value.scope_path, value.name))
            for path, node, index in self.readers(value.scope_path, value.name):
                passed = self._follow_through(value, path, node, index)
                if passed is None:
                    yield Use(node, index, value.shape, value.axes, path)
                else:
                    waiting.append(passed)

    def _defining_path(self, path: str, name: str) -> str:
        """Path of the innermost scope around `path` that makes `name`; subgraphs see names from outside."""
        inner: str | None = path
        while inner is not None:
            if name in self._made[inner]:
                return inner
            inner = self._scopes[inner].parent
        return path

    def _follow_through(self, value: _Value, path: str, node: NodeProto, index: int) -> _Value | None:
        """The value that a node only hands on, or None for a node that uses it."""
        function = self.functions.get((node.domain, node.op_type))
        if function is not None and index < len(function.body.input):
            return _Value(function.path, str(function.body.input[index]), value.shape, value.axes)
        if index != 0 or not node.output or node.domain not in STANDARD_DOMAINS:
            return None
        moved = self._rearrange(node, path, value.shape, value.axes)
        return None if moved is None else _Value(path, node.output[0], *moved)

    def _rearrange(
        self, node: NodeProto, path: str, shape: _Shape, axes: _Axes
    ) -> tuple[_Shape, _Axes] | None:
        """Shape and origin of axes behind a node that moves data, or None for any other node."""
        kind = node.op_type
        if kind in _SAME_SHAPE:
            return shape, axes
        if kind == "Transpose":
            order = ints_attribute(node, "perm", range(len(shape))[::-1])
            if sorted(order) != list(range(len(shape))):
                return None
            return tuple(shape[axis] for axis in order), tuple(axes[axis] for axis in order)
        if kind in {"Squeeze", "Unsqueeze", "Reshape"}:
            argument = self._argument(node, path, "shape" if kind == "Reshape" else "axes")
            after = _shape_after(kind, argument, shape)
            return None if after is None else (after, _align_axes(shape, axes, after))
        return None

    def _argument(self, node: NodeProto, path: str, name: str) -> list[int] | None:
        """Integers given by an attribute (older opsets) or by a constant second input."""
        if has_attribute(node, name):
            return list(ints_attribute(node, name))
        if len(node.input) < 2 or not node.input[1]:
            return None
        slot = self._slots.get(self._defining_path(path, node.input[1]) + node.input[1])
        if slot is None or math.prod(slot.tensor.dims) > _LARGEST_CONSTANT:
            return None
        values = self._load(slot.name)
        return [int(value) for value in values.reshape(-1)] if values.dtype.kind in "iu" else None


def _defined_names(body: GraphProto | FunctionProto) -> set[str]:
    made = {name for node in body.node for name in node.output}
    if isinstance(body, FunctionProto):
        return made | set(body.input)
    return made | {item.name for item in body.input} | {item.name for item in body.initializer}


def _shape_after(kind: str, argument: Sequence[int] | None, shape: _Shape) -> _Shape | None:
    """Shape behind Reshape to `argument`, or Squeeze or Unsqueeze of the axes `argument`."""
    if kind == "Squeeze":
        gone = {axis % max(len(shape), 1) for axis in argument} if argument is not None else None
        return tuple(
            size for axis, size in enumerate(shape) if size != 1 or (gone is not None and axis not in gone)
        )
    if argument is None:
        return None
    if kind == "Unsqueeze":
        rank = len(shape) + len(argument)
        added = {axis % rank for axis in argument} if rank else set()
        rest = iter(shape)
        return (
            None
            if len(added) != len(argument)
            else tuple(1 if i in added else next(rest) for i in range(rank))
        )
    sizes = [shape[i] if size == 0 and i < len(shape) else size for i, size in enumerate(argument)]
    total, known = math.prod(shape), math.prod(size for size in sizes if size > 0)
    after = tuple(total // known if size == -1 and known else size for size in sizes)
    return after if math.prod(after) == total and min(after, default=1) >= 0 else None


def _align_axes(shape: _Shape, axes: _Axes, after: _Shape) -> _Axes:
    """Origin of the axes of `after`: an axis is the same one where its size and what lies inside it agree."""
    inside = {}
    for axis, size in enumerate(shape):
        if size != 1:
            inside[size, math.prod(shape[axis + 1 :])] = axes[axis]
    return tuple(inside.get((size, math.prod(after[i + 1 :]))) for i, size in enumerate(after))
