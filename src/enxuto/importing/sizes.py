"""Arithmetic on sizes of the input, as exporters write it in front of Reshape, Slice, Expand and Resize.

Sizes are NumPy arrays of Python objects (`values`), so that the rules below are NumPy's own functions, and a batch
size stays symbolic where torch exports the network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from enxuto.importing.modules import Apply
from enxuto.importing.node import Node
from enxuto.importing.size_arithmetic import ARITHMETIC, as_kind, size_kind, to_objects

__all__ = ["SIZE_RULES", "SizeRule"]

SizeRule = Callable[[Node], Apply]


def _shape(node: Node) -> Apply:
    limits = node.int("start", 0), node.int("end", 2**31)
    return Apply(_sizes_of, {"start": limits[0], "end": limits[1]})


def _sizes_of(x: Tensor | np.ndarray, start: int, end: int) -> np.ndarray:
    return to_objects(list(x.shape)[start:end])


def _count(x: Tensor, **_: Any) -> np.ndarray:
    total = 1
    for size in x.shape:
        total = total * size
    return to_objects(total)


def _cast(node: Node) -> Apply:
    return Apply(as_kind, {"kind": size_kind(node)})


def _as_is(x: np.ndarray) -> np.ndarray:
    return x


def _function(function: Callable[..., Any]) -> SizeRule:
    return lambda node: Apply(_as_objects, {"function": function})


def _as_objects(*operands: Any, function: Callable[..., Any]) -> np.ndarray:
    return to_objects(function(*operands))


def _concat(node: Node) -> Apply:
    axis = node.int("axis")
    return Apply(_joined, {"axis": axis})


def _joined(*parts: np.ndarray, axis: int) -> np.ndarray:
    return np.concatenate([to_objects(part) for part in parts], axis)


def _gather(node: Node) -> Apply:
    axis = node.int("axis")
    return Apply(_picked, {"axis": axis})


def _picked(x: np.ndarray, indices: np.ndarray, axis: int) -> np.ndarray:
    return to_objects(np.take(x, np.asarray(indices, np.int64), axis))


def _slice(node: Node) -> Apply:
    if node.has_attribute("starts"):
        starts, ends = node.ints("starts"), node.ints("ends")
        return Apply(_sliced, {"given": (starts, ends, node.ints("axes") or None)})
    return Apply(_sliced)


def _sliced(x: np.ndarray, *limits: Any, given: Sequence[Any] | None = None) -> np.ndarray:
    starts, ends, axes, steps = (*(given or limits), None, None, None, None)[:4]
    axes = range(len(starts)) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        index: list[slice] = [slice(None)] * x.ndim
        index[int(axis)] = slice(int(start), int(end), int(step))
        x = x[tuple(index)]
    return x


def _axes(node: Node) -> tuple[int, ...] | None:
    given = node.setting("axes", 1)
    return None if given is None else tuple(int(axis) for axis in given.reshape(-1))


def _squeeze(node: Node) -> Apply:
    return Apply(_squeezed, {"axes": _axes(node)})


def _squeezed(x: np.ndarray, *_: Any, axes: tuple[int, ...] | None) -> np.ndarray:
    return to_objects(np.squeeze(x, axes))


def _unsqueeze(node: Node) -> Apply:
    return Apply(_unsqueezed, {"axes": _axes(node)})


def _unsqueezed(x: np.ndarray, *_: Any, axes: tuple[int, ...]) -> np.ndarray:
    return to_objects(np.expand_dims(x, axes))


def _reduce_product(node: Node) -> Apply:
    return Apply(_product, {"keep": bool(node.int("keepdims", 1))})


def _product(x: np.ndarray, *_: Any, keep: bool) -> np.ndarray:
    total: Any = 1
    for size in x.reshape(-1):
        total = total * size
    return to_objects([total] if keep else total)


def _filled(node: Node) -> Apply:
    value = next((item.t for item in node.proto.attribute if item.name == "value"), None)
    number = 0.0
    if value is not None:
        from onnx import numpy_helper

        number = numpy_helper.to_array(value).reshape(-1)[0].item()
    return Apply(_full, {"number": number})


def _full(shape: np.ndarray, number: float) -> np.ndarray:
    found = np.empty([int(size) for size in shape], object)
    found[...] = number
    return found


def _reshape(node: Node) -> Apply:
    return Apply(_reshaped)


def _reshaped(x: np.ndarray, target: np.ndarray) -> np.ndarray:
    return x.reshape([int(size) for size in target])


SIZE_RULES: dict[str, SizeRule] = {
    **ARITHMETIC,
    "Cast": _cast,
    "Concat": _concat,
    "ConstantOfShape": _filled,
    "Expand": _function(
        lambda x, shape: np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(map(int, shape))))
    ),
    "Gather": _gather,
    "Identity": lambda node: Apply(_as_is),
    "Range": _function(lambda start, end, step: np.arange(int(start), int(end), int(step))),
    "ReduceProd": _reduce_product,
    "Reshape": _reshape,
    "Shape": _shape,
    "Size": lambda node: Apply(_count),
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
}
"""Rules by operator of ONNX's own domain, for inputs that are sizes or constants (for Shape and Size: any)."""
