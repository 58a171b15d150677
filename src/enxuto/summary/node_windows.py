"""Which places of a plane an ONNX node reads: the window of a convolution or pool, or the whole plane."""

from __future__ import annotations

from collections.abc import Sequence

from onnx import NodeProto

from enxuto.onnx_model import Window, window_of

__all__ = ["padding_of", "plane_window", "reads_whole_plane"]

_KERNELS = frozenset({"Conv", "ConvTranspose", "FusedConv", "QLinearConv", "ConvInteger", "DeformConv"})
_POOLS = frozenset({"MaxPool", "AveragePool", "LpPool"})


def plane_window(node: NodeProto, weight: Sequence[int] | None) -> Window | None:
    """Return the window of a convolution whose weight has the shape `weight`, or of a pool; None for others."""
    if node.op_type in _KERNELS and weight is not None:
        return window_of(node, weight[2:])
    return window_of(node) if node.op_type in _POOLS else None


def padding_of(
    node: NodeProto, window: Window, before: Sequence[int] | None, after: Sequence[int] | None
) -> tuple[int, ...]:
    """Return the zeros (top, left, bottom, right) that a node adds to what it reads.

    `before` and `after` are the shapes that it reads and writes, None where unknown; they settle SAME.
    """
    wide = after if node.op_type == "ConvTranspose" else before
    return window.pads if wide is None else window.padding(wide[2:])


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
