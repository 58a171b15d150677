"""Derivatives of operators that put the same values elsewhere, or leave some out: shapes, slices, pads, pieces.

Rules are as in `rules`. Bounds and amounts may be inputs or, in older operator sets, attributes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import NodeProto

from enxuto.calibration.gradients.graph import Found, GraphMaker, Rule, UnsupportedError, scattered
from enxuto.onnx_model import has_attribute, int_attribute, ints_attribute, text_attribute
from enxuto.onnx_model.dtypes import FLOAT_TYPES

__all__ = ["MOVING_RULES", "split_rule"]


def _moved(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Found:
    """Reshape, Flatten, Squeeze, Unsqueeze: the same values in another shape."""
    return [(node.input[0], maker.resized(gradient, node.input[0]))]


def _identity(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Found:
    return [(node.input[0], gradient)]


def _dropout(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Found:
    training = node.input[2] if len(node.input) > 2 else ""
    if training and not (maker.is_constant(training) and not maker.load(training).any()):
        raise UnsupportedError("no gradient is known here for a Dropout that trains")
    return [(node.input[0], gradient)]


def _cast(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Found:
    if int_attribute(node, "to") not in FLOAT_TYPES:
        raise UnsupportedError("no gradient is known here for a Cast to integers")
    return [(node.input[0], gradient)]


def _transpose(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Found:
    rank = len(maker.shape(node.input[0]))
    order = ints_attribute(node, "perm", range(rank)[::-1])
    return [(node.input[0], maker.op("Transpose", gradient, perm=[int(i) for i in np.argsort(order)]))]


def _concat(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Found:
    rank = len(maker.shape(node.output[0]))
    axis = int_attribute(node, "axis", 1) % rank
    found, start = [], 0
    for name in node.input:
        end = start + maker.shape(name)[axis]
        if name in carries:
            bounds = [maker.constant([value], np.int64) for value in (start, end, axis)]
            found.append((name, maker.op("Slice", gradient, *bounds)))
        start = end
    return found


def split_rule(maker: GraphMaker, node: NodeProto, place: int, gradient: str) -> Found:
    """Return what arrives at the input of a Split by way of its output number `place`: zeros but there."""
    shape = maker.shape(node.input[0])
    axis = int_attribute(node, "axis") % len(shape)
    if not axis:
        raise UnsupportedError("no gradient is known here for a Split of the images")
    start = sum(maker.shape(name)[axis] for name in node.output[:place])
    pads = [0] * (2 * len(shape))
    pads[axis] = start
    pads[axis + len(shape)] = shape[axis] - start - maker.shape(node.output[place])[axis]
    return [(node.input[0], maker.op("Pad", gradient, maker.constant(pads, np.int64)))]


def _slice(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Found:
    """Numbers name the places; slicing the numbers tells where each gradient belongs."""
    x = maker.value(node.input[0])
    if has_attribute(node, "starts"):
        starts, ends = ints_attribute(node, "starts"), ints_attribute(node, "ends")
        axes = ints_attribute(node, "axes", range(len(starts)))
        bounds = [maker.constant(list(v), np.int64) for v in (starts, ends, axes)]
    else:
        bounds = [_integers(maker, name) if name else "" for name in node.input[1:]]
    size = maker.op("Size", x)
    numbers = maker.op("Range", maker.constant(0, np.int64), size, maker.constant(1, np.int64))
    taken = maker.op("Slice", maker.op("Reshape", numbers, maker.op("Shape", x)), *bounds)
    where = maker.op("Reshape", taken, maker.constant([-1], np.int64))
    flat = maker.op("Reshape", gradient, maker.constant([-1], np.int64))
    return [(node.input[0], scattered(maker, where, flat, x))]


def _integers(maker: GraphMaker, name: str) -> str:
    if maker.is_constant(name):
        return maker.constant(maker.load(name), np.int64)
    maker.integers.add(name)
    return maker.value(name)


def _pad(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Found:
    """What was cropped gets nothing, and what was repeated gets all of its copies' gradients."""
    shape = maker.shape(node.input[0])
    mode = text_attribute(node, "mode", "constant")
    amounts: Sequence[int] | None = None
    if has_attribute(node, "pads"):
        amounts = ints_attribute(node, "pads")
    elif has_attribute(node, "paddings"):  # in opset 1
        amounts = ints_attribute(node, "paddings")
    elif maker.is_constant(node.input[1]):
        amounts = maker.load(node.input[1]).reshape(-1).tolist()
    axes: Sequence[int] = range(len(shape))
    if len(node.input) > 3 and node.input[3]:
        if not maker.is_constant(node.input[3]):
            raise UnsupportedError("no gradient is known here for a Pad whose axes are computed")
        axes = maker.load(node.input[3]).reshape(-1).tolist()
    if amounts is None:
        if len(axes) != len(shape):
            raise UnsupportedError("no gradient is known here for a Pad of some axes by computed amounts")
        return [(node.input[0], _unpadded(maker, node, gradient, _integers(maker, node.input[1]), mode))]
    starts, ends = [0] * len(shape), [0] * len(shape)
    for place, axis in enumerate(axes):
        starts[axis], ends[axis] = amounts[place], amounts[place + len(axes)]
    if mode == "constant" and min(*starts, *ends) >= 0 and not starts[0] and not ends[0]:
        # The batch is not padded; along it everything is taken.
        bounds = [starts, [1 << 40, *(s + size for s, size in zip(starts[1:], shape[1:], strict=True))]]
        return [(node.input[0], maker.op("Slice", gradient, *(maker.constant(b, np.int64) for b in bounds)))]
    pads = maker.constant([*starts, *ends], np.int64)
    return [(node.input[0], _unpadded(maker, node, gradient, pads, mode))]


def _unpadded(maker: GraphMaker, node: NodeProto, gradient: str, pads: str, mode: str) -> str:
    """Gather what a Pad spread: places are numbered from 1 on, padded as x is, and 0 takes what belongs nowhere."""
    x = maker.value(node.input[0])
    one, ahead = maker.constant(1, np.int64), maker.constant([1], np.int64)
    after = maker.op("Add", maker.op("Size", x), one)
    numbers = maker.op("Reshape", maker.op("Range", one, after, one), maker.op("Shape", x))
    where = maker.op("Pad", numbers, pads, maker.constant(0, np.int64), mode=mode)
    line = maker.constant([-1], np.int64)
    zeros = maker.op("Expand", maker.constant([0.0]), maker.op("Reshape", after, ahead))
    flat = [maker.op("Reshape", value, line) for value in (where, gradient)]
    sums = maker.op("ScatterElements", zeros, *flat, axis=0, reduction="add")
    kept = maker.op("Slice", sums, ahead, maker.op("Reshape", after, ahead))
    return maker.op("Reshape", kept, maker.op("Shape", x))


MOVING_RULES: dict[str, Rule] = {
    "Cast": _cast,
    "Concat": _concat,
    "Dropout": _dropout,
    "Flatten": _moved,
    "Identity": _identity,
    "Pad": _pad,
    "Reshape": _moved,
    "Slice": _slice,
    "Squeeze": _moved,
    "Transpose": _transpose,
    "Unsqueeze": _moved,
}
