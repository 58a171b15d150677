"""Derivative of Pad in all of its modes. Amounts may be inputs or, in older operator sets, attributes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import NodeProto

from enxuto.calibration.gradients.graph import Contributions, GraphMaker, Rule, UnsupportedError
from enxuto.onnx_model import has_attribute, ints_attribute, text_attribute

__all__ = ["PADDING_RULES"]


def _pad(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
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
        return [(node.input[0], _gather_padded(maker, node, gradient, maker.integers(node.input[1]), mode))]
    starts, ends = [0] * len(shape), [0] * len(shape)
    for place, axis in enumerate(axes):
        starts[axis], ends[axis] = amounts[place], amounts[place + len(axes)]
    batch = maker.batch_axis(node.input[0])
    pads_batch = batch is not None and (starts[batch] or ends[batch])
    if mode == "constant" and min(*starts, *ends) >= 0 and not pads_batch:
        # Along the images everything is taken.
        stops = [
            1 << 40 if axis == batch else start + size
            for axis, (start, size) in enumerate(zip(starts, shape, strict=True))
        ]
        return [(node.input[0], maker.op("Slice", gradient, starts, stops))]
    pads = maker.constant([*starts, *ends], np.int64)
    return [(node.input[0], _gather_padded(maker, node, gradient, pads, mode))]


def _gather_padded(maker: GraphMaker, node: NodeProto, gradient: str, pads: str, mode: str) -> str:
    """Gather what a Pad spread. Positions are numbered from 1 on and padded as x is; what is added has the number 0."""
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


PADDING_RULES: dict[str, Rule] = {"Pad": _pad}
