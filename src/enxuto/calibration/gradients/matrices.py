"""Derivatives of matrix products, of constants and of computed values, and of Einsum."""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Sequence

from onnx import NodeProto

from enxuto.calibration.gradients.graph import Contributions, GraphMaker, Rule, UnsupportedError
from enxuto.onnx_model import float_attribute, int_attribute, text_attribute

__all__ = ["MATRIX_RULES", "fused_matmul"]


def _matmul(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
    """Y = A·B: ∂A = G·Bᵀ and ∂B = Aᵀ·G, summed over axes along which a stack of matrices was broadcast."""
    left, right = node.input
    if left in carries and maker.is_constant(right) and len(maker.shape(right)) == 2:
        return [(left, maker.op("MatMul", gradient, maker.constant(maker.load(right).T)))]
    ranks = len(maker.shape(left)), len(maker.shape(right))
    stacked = gradient
    if 1 in ranks:  # a vector is a matrix of one row on the left, of one column on the right
        if ranks[0] == 1:
            stacked = maker.op("Unsqueeze", stacked, [-1 if ranks[1] == 1 else -2])
        if ranks[1] == 1:
            stacked = maker.op("Unsqueeze", stacked, [-1])
    found = []
    if left in carries:
        own = maker.op("MatMul", stacked, _transpose(maker, right, column=True))
        found.append((left, _sum_stack(maker, own, left, right, 0)))
    if right in carries:
        own = maker.op("MatMul", _transpose(maker, left, column=False), stacked)
        found.append((right, _sum_stack(maker, own, right, left, 1)))
    return found


def fused_matmul(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
    """Y = α·A′·B′ of stacks of matrices, where A′ and B′ may be transposed: ∂A′ = α·G·B′ᵀ and ∂B′ = α·A′ᵀ·G."""
    left, right = node.input
    ranks = [len(maker.shape(name)) for name in node.input]
    if min(ranks) < 2 or int_attribute(node, "transBatchA") or int_attribute(node, "transBatchB"):
        raise UnsupportedError("no gradient is known here for a FusedMatMul of vectors or transposed stacks")
    turned = [int_attribute(node, "transA"), int_attribute(node, "transB")]

    def turn(value: str, rank: int, times: int) -> str:
        order = [*range(rank - 2), rank - 1, rank - 2]
        return maker.op("Transpose", value, perm=order) if times % 2 else value

    scaled = maker.op("Mul", gradient, float_attribute(node, "alpha", 1.0))
    found = []
    if left in carries:
        own = maker.op("MatMul", scaled, turn(maker.value(right), ranks[1], turned[1] + 1))
        own = turn(own, len(maker.shape(node.output[0])), turned[0])
        found.append((left, _sum_stack(maker, own, left, right, 0)))
    if right in carries:
        own = maker.op("MatMul", turn(maker.value(left), ranks[0], turned[0] + 1), scaled)
        own = turn(own, len(maker.shape(node.output[0])), turned[1])
        found.append((right, _sum_stack(maker, own, right, left, 1)))
    return found


def _transpose(maker: GraphMaker, name: str, *, column: bool) -> str:
    """Return a value with its last two axes exchanged. A vector is a column or a row before that."""
    rank, value = len(maker.shape(name)), maker.value(name)
    if rank == 1:
        return maker.op("Unsqueeze", value, [0 if column else 1])
    order = [*range(rank - 2), rank - 1, rank - 2]
    return maker.op("Transpose", value, perm=order)


def _sum_stack(maker: GraphMaker, gradient: str, name: str, other: str, place: int) -> str:
    """Sum the gradient of one operand over the axes of the stack along which it was broadcast.

    place: 0 for the left operand, 1 for the right one.
    """
    template, other_template = maker.template(name), maker.template(other)
    stack, other_stack = template[:-2], other_template[:-2]
    count = max(len(stack), len(other_stack))
    own = [1] * (count - len(stack)) + stack
    against = [1] * (count - len(other_stack)) + other_stack
    axes = [axis for axis in range(count) if own[axis] == 1 and against[axis] != 1]
    if axes:
        gradient = maker.op("ReduceSum", gradient, axes, keepdims=1)
    if len(template) == 1 or axes or count > len(stack):
        return maker.op("Reshape", gradient, template)
    return gradient


def _gemm(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
    """Y = α·A′·B′ + β·C, where A′ and B′ may be transposed."""
    left, right = node.input[:2]
    turned_left, turned_right = int_attribute(node, "transA"), int_attribute(node, "transB")
    alpha = float_attribute(node, "alpha", 1.0)
    found = []
    if left in carries and not turned_left and maker.is_constant(right):
        matrix = maker.load(right) * alpha
        matrix = matrix if turned_right else matrix.T
        found.append((left, maker.op("MatMul", gradient, maker.constant(matrix))))
    elif left in carries:
        other = maker.value(right)
        own = (
            maker.op("Gemm", other, gradient, alpha=alpha, transA=turned_right, transB=1)
            if turned_left
            else maker.op("Gemm", gradient, other, alpha=alpha, transB=0 if turned_right else 1)
        )
        found.append((left, own))
    if right in carries:
        other = maker.value(left)
        own = (
            maker.op("Gemm", gradient, other, alpha=alpha, transA=1, transB=turned_left)
            if turned_right
            else maker.op("Gemm", other, gradient, alpha=alpha, transA=0 if turned_left else 1)
        )
        found.append((right, own))
    bias = node.input[2] if len(node.input) > 2 else ""
    if bias in carries:
        scaled = maker.op("Mul", gradient, float_attribute(node, "beta", 1.0))
        found.append((bias, maker.sum_to(scaled, bias, node.output[0])))
    return found


def _einsum(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
    """∂ of an operand is the Einsum of the gradient and the other operands that writes that operand's indices.

    An index that only this operand has was summed before anything else: its gradient is repeated along that axis.
    """
    terms, result = _read_equation(
        text_attribute(node, "equation"), [len(maker.shape(name)) for name in node.input]
    )
    if any(len(set(term)) < len(term) for term in terms):
        raise UnsupportedError("no gradient is known here for an Einsum that takes a diagonal")
    sizes: dict[str, set[int]] = {}
    for name, term in zip(node.input, terms, strict=True):
        for index, size in zip(term, maker.template(name), strict=True):
            sizes.setdefault(index, set()).add(size)
    if any(len(found) > 1 for found in sizes.values()):
        raise UnsupportedError("no gradient is known here for an Einsum that broadcasts")
    contributions = []
    for place, (name, term) in enumerate(zip(node.input, terms, strict=True)):
        if name not in carries:
            continue
        others = [other for i, other in enumerate(terms) if i != place]
        known = set(result).union(*others)
        kept = [index for index in term if index in known]
        operands = [maker.value(other) for i, other in enumerate(node.input) if i != place]
        equation = ",".join("".join(item) for item in (result, *others)) + "->" + "".join(kept)
        own = maker.op("Einsum", gradient, *operands, equation=equation)
        alone = [axis for axis, index in enumerate(term) if index not in known]
        if alone:
            shape = [1 if size == -1 else size for size in maker.template(name)]
            own = maker.op("Expand", maker.op("Unsqueeze", own, alone), shape)
        contributions.append((name, own))
    return contributions


def _read_equation(equation: str, ranks: Sequence[int]) -> tuple[list[list[str]], list[str]]:
    """Return the indices of every operand and of the result; those of an ellipsis become letters of their own."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    free = [letter for letter in string.ascii_letters if letter not in equation]
    widest = max(rank - len(term.replace("...", "")) for term, rank in zip(terms, ranks, strict=True))
    extra = free[:widest] if "..." in equation else []

    def indices(term: str, count: int) -> list[str]:
        before, dots, after = term.partition("...")
        return [*before, *(extra[len(extra) - count :] if dots and count else []), *after]

    read = [
        indices(term, rank - len(term.replace("...", ""))) for term, rank in zip(terms, ranks, strict=True)
    ]
    if arrow:
        return read, indices(right, len(extra))
    counts = Counter(index for term in read for index in term if index not in extra)
    return read, [*extra, *sorted(index for index, count in counts.items() if count == 1)]


MATRIX_RULES: dict[str, Rule] = {"Einsum": _einsum, "Gemm": _gemm, "MatMul": _matmul}
