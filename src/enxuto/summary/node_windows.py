"""Kernel, stride, padding and dilation of an ONNX node, with ONNX's defaults filled in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import onnx
from onnx import NodeProto

__all__ = ["Window", "attributes", "reads_whole_plane", "window_of"]

_KERNELS = frozenset({"Conv", "ConvTranspose", "FusedConv", "QLinearConv", "ConvInteger", "DeformConv"})
_POOLS = frozenset({"MaxPool", "AveragePool", "LpPool"})
_SAME = frozenset({"SAME_UPPER", "SAME_LOWER"})


@dataclass(frozen=True)
class Window:
    """By axis (height, width); padding (top, left, bottom, right)."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]


def attributes(node: NodeProto) -> dict[str, Any]:
    """The node's attributes by name, as Python values."""
    return {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}


def window_of(
    node: NodeProto, kernel: Sequence[int] | None, before: Sequence[int] | None, after: Sequence[int] | None
) -> Window | None:
    """The window of a convolution (whose weight has the shape `kernel`) or pool, None for other operators.

    `before` and `after` are the shapes it reads and writes; they settle padding given as "same".
    """
    given = attributes(node)
    if node.op_type in _KERNELS and kernel is not None:
        sides = tuple(kernel[2:])
    elif node.op_type in _POOLS:
        sides = tuple(given["kernel_shape"])
    else:
        return None
    axes = len(sides)
    stride = tuple(given.get("strides") or (1,) * axes)
    dilation = tuple(given.get("dilations") or (1,) * axes)
    padding = tuple(given.get("pads") or (0,) * 2 * axes)
    mode = given.get("auto_pad", b"NOTSET").decode()
    if mode in _SAME and before is not None and after is not None:
        padding = _same_padding(mode, sides, stride, dilation, before[2:], after[2:])
    return Window(sides, stride, padding, dilation)


def reads_whole_plane(
    node: NodeProto, before: Sequence[int] | None, after: Sequence[int] | None, moving: int
) -> bool:
    """Whether each output sees all places: fully connected layers, global pools, products of two values.

    `before` and `after` are the shapes read and written, `moving` how many operands depend on the image.
    """
    if node.op_type.startswith("Global"):
        return True
    if node.op_type in {"Gemm", "MatMul", "MatMulInteger", "QLinearMatMul"}:
        return moving > 1 or before is None or len(before) <= 2
    if node.op_type in {"LSTM", "GRU", "RNN", "Attention"}:
        return True
    if node.op_type == "Einsum":  # a 1×1 convolution, or more
        return moving > 1 or before is None or after is None or tuple(after[2:]) != tuple(before[2:])
    if node.op_type in {"ReduceMean", "ReduceMax"} and before is not None and after is not None:
        # Told from the shapes: the axes are an attribute up to opset 17 and an operand from 18 on.
        return len(before) > 2 and set(after[2:]) <= {1} and tuple(after[1:2]) == tuple(before[1:2])
    return False


def _same_padding(
    mode: str,
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    before: Sequence[int],
    after: Sequence[int],
) -> tuple[int, ...]:
    """Zeros at the beginnings, then at the ends of the axes; an odd one goes where the mode's name says."""
    totals = [
        max((n - 1) * s + d * (f - 1) + 1 - size, 0)
        for f, s, d, size, n in zip(kernel, stride, dilation, before, after, strict=True)
    ]
    small = [total // 2 for total in totals]
    large = [total - part for total, part in zip(totals, small, strict=True)]
    return tuple(small + large) if mode == "SAME_UPPER" else tuple(large + small)
