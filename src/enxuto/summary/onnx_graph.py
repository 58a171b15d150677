"""The layer table of an ONNX model: its operators in order, with shapes from `onnx_shapes`. Weights stay unread.

Operators that only look at data another way (Reshape, Flatten, Squeeze, Unsqueeze, Identity, Dropout in
inference) write nothing and are no rows; neither is what depends on weights or shapes alone.

Parameters of a row are the weights it is the first to use: of any floating-point operand with more than one
element (integers too, where an operator of integers has its weights), except running means and variances, scales, first
states of recurrent layers, and settings such as the bounds of Clip. A table that a Gather looks words up in is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import prod

from onnx import NodeProto

from enxuto.errors import ModelError
from enxuto.onnx_model import Model, Window, int_attribute
from enxuto.onnx_model.scopes import subgraphs
from enxuto.summary.cost import flops, is_product
from enxuto.summary.node_names import layer_names
from enxuto.summary.node_windows import padding_of, plane_window, reads_whole_plane
from enxuto.summary.onnx_products import (
    BIAS_AT,
    LEARNT_AT,
    WEIGHT_AT,
    is_uncounted,
    macs_of,
)
from enxuto.summary.onnx_shapes import Shapes, shapes_of
from enxuto.summary.reach import Reach
from enxuto.summary.table import Layer, Summary, Volume

__all__ = ["summarize_onnx"]

_VIEWS = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"})
_SETTINGS = frozenset({"Clip", "Pad", "Resize", "Upsample", "Slice", "Expand", "Tile", "TopK"})
_ALIASES = frozenset({*_VIEWS, "Cast", "Transpose", "DequantizeLinear"})
_SHIFT_AT = {
    **dict.fromkeys(("BatchNormalization", "InstanceNormalization", "LayerNormalization"), 2),
    "GroupNormalization": 2,
}


def summarize_onnx(
    model: Model, *, input_shape: Sequence[int] | None = None, source: str = "model"
) -> Summary:
    """The layer table of an ONNX model for one image; `input_shape` fills in sizes that the model leaves open.

    Raises `ModelError` where shapes contradict each other or those of a layer cannot be known, `UsageError`
    where `input_shape` is missing or does not fit.
    """
    shapes = shapes_of(model, input_shape)
    walk = _Walk(shapes)
    for node in shapes.proto.graph.node:
        try:
            walk.step(node)
        except (KeyError, IndexError, ValueError, TypeError, ZeroDivisionError) as error:
            label = node.name or ", ".join(node.output)
            raise ModelError(
                f"{node.op_type} {label!r} is not as ONNX defines it ({error})", code="E031"
            ) from error
    remarks = []
    if walk.unknown:
        kinds = ", ".join(sorted(walk.unknown))
        remarks.append(f"the shapes behind {kinds} cannot be known; such rows count no activations")
    if walk.uncounted:
        remarks.append(f"what {', '.join(sorted(walk.uncounted))} compute is not counted")
    if shapes.open_length:
        remarks.append("the length of sequences is open and was taken as 1; give input_shape=")
    if walk.bodies:
        remarks.append(f"the bodies of {', '.join(sorted(walk.bodies))} are not in the table")
    return Summary(source, shapes.of[shapes.input][1:], tuple(walk.rows), tuple(remarks))


class _Walk:
    """Goes through the nodes in order; keeps receptive fields and which weights have been counted."""

    def __init__(self, shapes: Shapes) -> None:
        self.rows: list[Layer] = []
        self.unknown: set[str] = set()
        self.bodies: set[str] = set()
        self.uncounted: set[str] = set()
        self._shapes = shapes
        self._names = layer_names(shapes)
        self._counted: set[str] = set()
        self._origin: dict[str, str] = {}
        self._reaches: dict[str, Reach] = {
            shapes.input: Reach.of_image(shapes.of[shapes.input][2:]),
        }

    def step(self, node: NodeProto) -> None:
        """Follow one node."""
        moving = [name for name in node.input if name in self._shapes.moving]
        outputs = [name for name in node.output if name]
        if not outputs or outputs[0] not in self._shapes.moving:
            if node.op_type in _ALIASES and node.input and outputs:
                self._origin[outputs[0]] = self._origin.get(node.input[0], node.input[0])
            return
        if any(subgraphs(node)):  # If, Loop, Scan
            self.bodies.add(node.op_type)
        window = self._window(node, moving, outputs[0])
        reach = self._reach(node, moving, outputs[0], window)
        if reach is not None:
            self._reaches.update(dict.fromkeys(outputs, reach))
        if node.op_type not in _VIEWS:
            self._add(node, moving, outputs[0], window, reach)

    def _shape(self, name: str) -> tuple[int, ...] | None:
        return self._shapes.of.get(name)

    def _window(self, node: NodeProto, moving: Sequence[str], output: str) -> Window | None:
        if moving[0] != node.input[0]:
            return None
        kernel = self._shape(node.input[WEIGHT_AT[node.op_type]]) if node.op_type in WEIGHT_AT else None
        if node.op_type in WEIGHT_AT and kernel is None:
            raise ModelError(f"the weight's shape of {node.op_type} {output!r} cannot be known", code="E032")
        before = self._shape(moving[0])
        if node.op_type == "Conv" and kernel is not None and before is not None:
            expected = kernel[1] * int_attribute(node, "group", 1)
            if before[1:2] != (expected,):
                found = before[1] if len(before) > 1 else 0
                raise ModelError(
                    f"Conv {output!r} reads {found} channels but its weight is for {expected}", code="E031"
                )
        return plane_window(node, kernel)

    def _reach(
        self, node: NodeProto, moving: Sequence[str], output: str, window: Window | None
    ) -> Reach | None:
        known = [self._reaches[name] for name in moving if name in self._reaches]
        if not known:
            return None
        reach = known[0]
        for other in known[1:]:
            reach = reach.merge(other)
        before, after = self._shape(moving[0]), self._shape(output)
        if window is not None:
            plane = (after or ())[2:]
            if node.op_type == "ConvTranspose":
                return reach.upsample(window.kernel, window.strides, plane)
            return reach.window(window.kernel, window.strides, window.dilations, plane)
        if reads_whole_plane(node, before, after, len(moving)):
            return reach.whole()
        resized = node.op_type in {"Resize", "Upsample"} and before and after and len(before) == len(after)
        if resized and before and after and len(after) == 2 + len(reach.size):
            steps = zip(reach.stride, before[2:], after[2:], strict=True)
            return Reach(reach.size, tuple(step * Fraction(a, b) for step, a, b in steps), after[2:])
        return reach

    def _add(
        self, node: NodeProto, moving: Sequence[str], output: str, window: Window | None, reach: Reach | None
    ) -> None:
        shape = self._shape(output)
        foreign = is_uncounted(node)
        if foreign:
            self.uncounted.add(_full_name(node))
        operator = (
            _full_name(node)
            if foreign
            else _operator(node, reads_whole_plane(node, self._shape(moving[0]), shape, len(moving)))
        )
        if shape is None:
            if is_product(operator):
                raise ModelError(
                    f"the shape that {operator} {output!r} writes cannot be known; give input_shape=C,H,W",
                    code="E032",
                )
            self.unknown.add(operator)
        written = self._elements(output)
        macs = self._macs(node, output) if is_product(operator) else 0
        weights, biases = self._parameters(node)
        self.rows.append(
            Layer(
                name=self._names[output],
                operator=operator,
                inputs=tuple(self._volume(name) for name in moving),
                output=self._volume(output),
                activations=written,
                kernel=window.kernel if window else (),
                stride=window.strides if window else (),
                padding=padding_of(node, window, self._shape(moving[0]), shape) if window else (),
                dilation=window.dilations if window and is_product(operator) else (),
                groups=int_attribute(node, "group", 1),
                weights=weights,
                biases=biases,
                macs=macs,
                flops=flops(
                    operator,
                    macs=macs,
                    inputs=self._elements(moving[0]),
                    outputs=written,
                    kernel=window.kernel if window else (),
                    bias=_operand(node, BIAS_AT.get(operator)) is not None,
                    window=int_attribute(node, "size"),
                ),
                reach=reach,
            )
        )

    def _volume(self, name: str) -> Volume:
        return (self._shape(name) or ())[1:]

    def _elements(self, name: str) -> int:
        """Elements for one image; a value of unknown shape counts none."""
        shape = self._shape(name)
        return 0 if shape is None else prod(shape) // self._shapes.batch

    def _macs(self, node: NodeProto, output: str) -> int:
        macs = macs_of(node, self._shape, output)
        if macs is None:
            raise ModelError(
                f"a shape that {node.op_type} {output!r} reads cannot be known; give input_shape=C,H,W",
                code="E032",
            )
        return macs // self._shapes.batch

    def _parameters(self, node: NodeProto) -> tuple[int, int]:
        """(weights, biases) that no earlier row has counted."""
        if node.op_type in _SETTINGS:
            return 0, 0
        weights = biases = 0
        for place, name in enumerate(node.input):
            if place not in LEARNT_AT.get(node.op_type, (place,)):
                continue
            size = self._learnt(node, place, name)
            added = place in (BIAS_AT.get(node.op_type), _SHIFT_AT.get(node.op_type))
            if added or node.op_type in {"Add", "Sub", "Sum"}:
                biases += size
            else:
                weights += size
        return weights, biases

    def _learnt(self, node: NodeProto, place: int, name: str) -> int:
        """Elements of an operand that is a weight counted here for the first time, else 0."""
        shape = self._shape(name)
        origin = self._origin.get(name, name)
        if not name or name in self._shapes.moving or shape is None or origin in self._counted:
            return 0
        # Of a product any number is a weight, integers too; of a Gather those of a table of words, not of a shape.
        is_kernel = is_product(node.op_type) and node.op_type in LEARNT_AT
        is_table = node.op_type.startswith("Gather") and len(shape) > 1 and name in self._shapes.int8_weights
        one_number = prod(shape) == 1 and not is_kernel and node.op_type not in {*_SHIFT_AT, "PRelu"}
        if one_number or (name not in self._shapes.floats and not is_kernel and not is_table):
            return 0
        self._counted.add(origin)
        return prod(shape)


def _operand(node: NodeProto, place: int | None) -> str | None:
    """The name of an operand that is there."""
    if place is None or place >= len(node.input) or not node.input[place]:
        return None
    return str(node.input[place])


def _full_name(node: NodeProto) -> str:
    """The operator's name with its domain, where it is not ONNX's own."""
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"


def _operator(node: NodeProto, whole: bool) -> str:
    """The operator's name; a mean or maximum over the whole plane goes by what it is."""
    if whole and node.op_type in {"ReduceMean", "ReduceMax"}:
        return {"ReduceMean": "GlobalAveragePool", "ReduceMax": "GlobalMaxPool"}[node.op_type]
    return str(node.op_type)
