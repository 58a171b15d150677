"""Products of matrices: Gemm, MatMul, Einsum."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from enxuto.importing.modules import Apply
from enxuto.importing.node import Built, Node, Rule

__all__ = ["MATRIX_RULES"]


def _gemm(node: Node) -> Built:
    """x W + b as `nn.Linear`, the factors alpha and beta in its numbers; other products as a function."""
    alpha, beta = node.float("alpha", 1.0), node.float("beta", 1.0)
    transposed = {"transpose_a": bool(node.int("transA")), "transpose_b": bool(node.int("transB"))}
    weight = node.value(1).constant
    bias = node.value(2).constant if node.has(2) else None
    if weight is None or transposed["transpose_a"] or (node.has(2) and bias is None):
        settings = {**transposed, "alpha": alpha, "beta": beta}
        return Built(Apply(_product, settings), inputs=tuple(range(3 if node.has(2) else 2)))
    rows = weight if transposed["transpose_b"] else weight.T
    shift = None
    if bias is not None:
        if bias.size not in (1, rows.shape[0]) or (bias.ndim == 2 and bias.shape[0] != 1):
            settings = {**transposed, "alpha": alpha, "beta": beta}
            return Built(Apply(_product, settings), inputs=(0, 1, 2))
        shift = np.broadcast_to(bias.reshape(-1), rows.shape[:1]) * bias.dtype.type(beta)
    return linear(rows * rows.dtype.type(alpha), shift, turned=not transposed["transpose_b"])


def linear(rows: np.ndarray, bias: np.ndarray | None, *, turned: bool) -> Built:
    """`nn.Linear` with weight (outputs, inputs); turned: whether the graph has it as (inputs, outputs)."""
    module = nn.Linear(rows.shape[1], rows.shape[0], bias=bias is not None, device="meta")
    state = {"weight": (1, rows)}
    if bias is not None:
        state["bias"] = (2, bias)
    return Built(module, state=state, turned=frozenset({"weight"} if turned else ()))


def _product(
    a: Tensor, b: Tensor, c: Tensor | None = None, *,
    transpose_a: bool, transpose_b: bool, alpha: float, beta: float,
) -> Tensor:  # fmt: skip
    found = alpha * ((a.T if transpose_a else a) @ (b.T if transpose_b else b))
    return found if c is None else found + beta * c


def _matmul(node: Node) -> Built:
    """By a constant matrix: `nn.Linear` without bias. (The Add behind it is joined to it by `build`.)"""
    right = node.value(1).constant
    if right is not None and right.ndim == 2 and node.value(0).constant is None and node.value(0).rank > 1:
        return linear(right.T, None, turned=True)
    return Built(Apply(torch.matmul), inputs=(0, 1))


def _einsum(node: Node) -> Built:
    equation = node.text("equation", "")
    return Built(Apply(_sum_products, {"equation": equation}), inputs=tuple(range(len(node.inputs))))


def _sum_products(*operands: Tensor, equation: str) -> Tensor:
    found: Tensor = torch.einsum(equation, *operands)
    return found


MATRIX_RULES: dict[str, Rule] = {"Gemm": _gemm, "MatMul": _matmul, "Einsum": _einsum}
