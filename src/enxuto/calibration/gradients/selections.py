"""Derivatives of operators that join values, or take parts of them: Concat and Split, slices, gathers, the largest.

Scatters are gathers run backwards: what was written somewhere gets the gradient that is there.

Parts taken from anywhere are found by numbers: the positions of a value are numbered, the operator is applied to the
numbers, and each gradient is added at the position that its number names. Bounds may be inputs or, in older operator
sets, attributes.
"""

from __future__ import annotations

from onnx import NodeProto

from enxuto.calibration.gradients.graph import Contributions, GraphMaker, Operand, Rule, UnsupportedError
from enxuto.onnx_model import has_attribute, int_attribute, ints_attribute, text_attribute

__all__ = ["SELECTION_RULES", "split_rule"]


def _concat(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
    axis = int_attribute(node, "axis", 1) % len(maker.shape(node.output[0]))
    if maker.batch_axis(node.output[0]) == axis:
        raise UnsupportedError("no gradient is known here for a Concat of images")
    found, start = [], 0
    for name in node.input:
        end = start + maker.shape(name)[axis]
        if name in carries:
            found.append((name, maker.op("Slice", gradient, [start], [end], [axis])))
        start = end
    return found


def split_rule(maker: GraphMaker, node: NodeProto, place: int, gradient: str) -> Contributions:
    """Return what arrives at the input of a Split by way of its output number `place`: zeros but there."""
    shape = maker.shape(node.input[0])
    axis = int_attribute(node, "axis") % len(shape)
    if axis == maker.batch_axis(node.input[0]):
        raise UnsupportedError("no gradient is known here for a Split of the images")
    start = sum(maker.shape(name)[axis] for name in node.output[:place])
    pads = [0] * (2 * len(shape))
    pads[axis] = start
    pads[axis + len(shape)] = shape[axis] - start - maker.shape(node.output[place])[axis]
    return [(node.input[0], maker.op("Pad", gradient, pads))]


def _slice(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
    """Slicing the numbers of the positions tells where each gradient belongs."""
    if has_attribute(node, "starts"):
        starts, ends = ints_attribute(node, "starts"), ints_attribute(node, "ends")
        axes = ints_attribute(node, "axes", range(len(starts)))
        bounds: list[Operand] = [starts, ends, axes]
    else:
        bounds = [maker.integers(name) if name else "" for name in node.input[1:]]
    positions = maker.op("Slice", maker.number_positions(node.input[0]), *bounds)
    return [(node.input[0], maker.scatter(positions, gradient, node.input[0]))]


def _gather(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
    """Gather and GatherElements along an axis, GatherND."""
    name = node.input[0]
    axes = {"axis": int_attribute(node, "axis")} if node.op_type != "GatherND" else {}
    batches = {"batch_dims": int_attribute(node, "batch_dims")} if node.op_type == "GatherND" else {}
    numbers, indices = maker.number_positions(name), maker.integers(node.input[1])
    positions = maker.op(node.op_type, numbers, indices, **axes, **batches)
    return [(name, maker.scatter(positions, gradient, name))]


def _scatter(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
    """ScatterElements and ScatterND: a sum hands its gradient to all of its parts, what is replaced gets none."""
    how = text_attribute(node, "reduction", "none")
    if how not in ("none", "add"):
        raise UnsupportedError(f"no gradient is known here for a {node.op_type} that takes the {how}")
    data, _, updates = node.input
    parts = node.op_type != "ScatterND"
    axes = {"axis": int_attribute(node, "axis")} if parts else {}
    indices = maker.integers(node.input[1])
    written = maker.op("GatherElements" if parts else "GatherND", gradient, indices, **axes)
    found = [(updates, written)] if updates in carries else []
    if data in carries and how == "add":
        found.append((data, gradient))
    elif data in carries:
        nothing = maker.op("Expand", maker.constant(0.0), maker.op("Shape", written))
        found.append((data, maker.op(node.op_type, gradient, indices, nothing, **axes)))
    return found


def _top(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
    """TopK: its second output says where along the axis each value was."""
    name = node.input[0]
    axis = int_attribute(node, "axis", -1)
    count: Operand = [int_attribute(node, "k")] if has_attribute(node, "k") else maker.integers(node.input[1])
    largest, ordered = int_attribute(node, "largest", 1), int_attribute(node, "sorted", 1)
    maker.op("TopK", maker.value(name), count, axis=axis, largest=largest, sorted=ordered)
    indices = maker.second_output()
    positions = maker.op("GatherElements", maker.number_positions(name), indices, axis=axis)
    return [(name, maker.scatter(positions, gradient, name))]


def _triangle(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
    """Trilu: what was kept gets its gradient."""
    offset = [maker.integers(name) for name in node.input[1:] if name]
    kept = maker.op("Trilu", gradient, *offset, upper=int_attribute(node, "upper", 1))
    return [(node.input[0], kept)]


SELECTION_RULES: dict[str, Rule] = {
    "Concat": _concat,
    "Gather": _gather,
    "GatherElements": _gather,
    "GatherND": _gather,
    "ScatterElements": _scatter,
    "ScatterND": _scatter,
    "Slice": _slice,
    "TopK": _top,
    "Trilu": _triangle,
}
