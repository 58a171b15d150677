"""What nodes that only move data make of a weight: its shape behind them, and where each axis comes from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from onnx import NodeProto

from enxuto.onnx_model.attributes import int_attribute, ints_attribute

__all__ = ["ELEMENTWISE", "JOINED", "MOVERS", "Moved", "move"]

_SAME_SHAPE = frozenset({"Identity", "Cast", "CastLike", "DequantizeLinear", "QuantizeLinear"})
_RESIZED = frozenset({"Slice", "Split", "Pad", "Tile"})
MOVERS = frozenset(
    {*_SAME_SHAPE, *_RESIZED, "Transpose", "Squeeze", "Unsqueeze", "Reshape", "Flatten", "Expand"}
)
"""Operators whose outputs are their first input, moved, cut or repeated."""
ELEMENTWISE = frozenset({"Mul", "Div", "Add", "Sub"})
"""Operators that give a weight back changed element by element, where what they change it by is constant too."""
JOINED = frozenset({"Concat", *ELEMENTWISE})
"""Operators whose output is made of all of their inputs."""

_Shape = tuple[int, ...]
_Axes = tuple[int | None, ...]


@dataclass(frozen=True)
class Moved:
    """The shape that a weight has somewhere; axis i of it is axis `axes[i]` of the weight as it is stored.

    exact: whether `shape` is right; behind a node that cuts, repeats or joins, a size may still be the whole weight's.
    """

    shape: _Shape
    axes: _Axes
    exact: bool = True

    @classmethod
    def whole(cls, shape: _Shape) -> Moved:
        """Return a weight as it is stored."""
        return cls(shape, tuple(range(len(shape))))

    @property
    def is_wide(self) -> bool:
        """Whether more than one axis has more than one element, so that it is no vector of factors or biases."""
        return sum(size > 1 for size in self.shape) > 1

    def without(self, axis: int) -> Moved | None:
        """Return a slice along `axis`, in which that axis is gone; None where there is no such axis."""
        if not -len(self.shape) <= axis < len(self.shape):
            return None
        gone = axis % len(self.shape)
        return replace(
            self,
            shape=self.shape[:gone] + self.shape[gone + 1 :],
            axes=self.axes[:gone] + self.axes[gone + 1 :],
        )


def move(node: NodeProto, argument: Sequence[int] | None, value: Moved) -> Moved | None:
    """Return a weight as it is behind a node of `MOVERS` or `JOINED`; None where that cannot be known.

    argument: the axes of Squeeze and Unsqueeze, the shape of Reshape and Expand, if they are constant.
    """
    kind, shape, axes = node.op_type, value.shape, value.axes
    if kind in _SAME_SHAPE:
        return value
    if kind in _RESIZED or kind in JOINED:
        return replace(value, exact=False)
    if kind == "Transpose":
        order = ints_attribute(node, "perm", range(len(shape))[::-1])
        if sorted(order) != list(range(len(shape))):
            return None
        return replace(
            value, shape=tuple(shape[axis] for axis in order), axes=tuple(axes[axis] for axis in order)
        )
    if kind == "Flatten":
        split = int_attribute(node, "axis", 1)
        split += len(shape) if split < 0 else 0
        after: _Shape | None = (math.prod(shape[:split]), math.prod(shape[split:]))
    elif kind == "Expand":
        return _expand(argument, value)
    else:
        after = _shape_after(kind, argument, shape)
        if after is None and argument is not None and kind == "Reshape" and not value.exact:
            # What is cut or joined has another number of elements than the weight; the rank is known all the same.
            known = tuple(max(1, size) for size in argument)
            return Moved(known, (None,) * len(known), exact=False)
    return None if after is None else replace(value, shape=after, axes=_align_axes(shape, axes, after))


def _expand(argument: Sequence[int] | None, value: Moved) -> Moved | None:
    """Return a weight repeated to the shape `argument`, whose axes in front are new."""
    if argument is None or min(argument, default=1) < 1:
        return None
    added = max(0, len(argument) - len(value.shape))
    wanted = (1,) * (len(value.shape) - len(argument)) + tuple(argument)
    own = (1,) * added + value.shape
    sizes = tuple(max(size, other) for size, other in zip(own, wanted, strict=True))
    return Moved(sizes, (None,) * added + value.axes, exact=False)


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
