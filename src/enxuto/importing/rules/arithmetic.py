"""Operators of several operands that broadcast: sums, products, comparisons, selections."""

from __future__ import annotations

from functools import reduce
from typing import Any

import torch
from torch import Tensor

from enxuto.importing.modules import Apply
from enxuto.importing.node import Built, Node, Rule

__all__ = ["ARITHMETIC_RULES"]


def _all_inputs(function: Any) -> Rule:
    """A function of all inputs; an operand that is one number is written into it."""

    def rule(node: Node) -> Built:
        if node.opset < 7 and node.int("broadcast"):
            raise node.refusal(
                "before opset 7 operands broadcast by rules of their own; convert it to a later opset"
            )
        numbers = _single_numbers(node)
        inputs = [position for position in range(len(node.inputs)) if position not in numbers]
        return Built(Apply(function, numbers=numbers), inputs=inputs)

    return rule


def _single_numbers(node: Node) -> dict[int, float]:
    """Operands that are single numbers and add no axis to the result, where another operand is a tensor."""
    if len(node.inputs) != 2:
        return {}
    rank = max(value.rank for value in node.inputs if value is not None and value.constant is None)
    found: dict[int, float] = {}
    for position, value in enumerate(node.inputs):
        constant = None if value is None else value.constant
        if constant is not None and constant.size == 1 and constant.ndim <= rank:
            found[position] = constant.reshape(-1)[0].item()
    return found


def _add(a: Any, b: Any) -> Any:
    return a + b


def _subtract(a: Any, b: Any) -> Any:
    return a - b


def _multiply(a: Any, b: Any) -> Any:
    return a * b


def _divide(a: Any, b: Any) -> Any:
    """Divide; integers are divided as in C, towards zero."""
    whole = all(
        not isinstance(x, float) and not (isinstance(x, Tensor) and x.is_floating_point()) for x in (a, b)
    )
    return torch.div(a, b, rounding_mode="trunc") if whole else a / b


def _power(a: Any, b: Any) -> Any:
    return torch.pow(a, b).to(a.dtype) if isinstance(a, Tensor) else torch.pow(a, b)


def _modulus(node: Node) -> Built:
    function = torch.fmod if node.int("fmod") else torch.remainder
    numbers = _single_numbers(node)
    return Built(
        Apply(function, numbers=numbers), inputs=[position for position in (0, 1) if position not in numbers]
    )


def _sum(*operands: Tensor) -> Tensor:
    return reduce(torch.add, operands)


def _mean(*operands: Tensor) -> Tensor:
    return reduce(torch.add, operands) / len(operands)


def _largest(*operands: Any) -> Any:
    return reduce(_maximum, operands)


def _smallest(*operands: Any) -> Any:
    return reduce(_minimum, operands)


def _maximum(a: Any, b: Any) -> Any:
    if isinstance(b, Tensor) and isinstance(a, Tensor):
        return torch.maximum(a, b)
    return torch.clamp(a, min=b) if isinstance(a, Tensor) else torch.clamp(b, min=a)


def _minimum(a: Any, b: Any) -> Any:
    if isinstance(b, Tensor) and isinstance(a, Tensor):
        return torch.minimum(a, b)
    return torch.clamp(a, max=b) if isinstance(a, Tensor) else torch.clamp(b, max=a)


def _equal(a: Any, b: Any) -> Any:
    return a == b


def _greater(a: Any, b: Any) -> Any:
    return a > b


def _less(a: Any, b: Any) -> Any:
    return a < b


def _greater_or_equal(a: Any, b: Any) -> Any:
    return a >= b


def _less_or_equal(a: Any, b: Any) -> Any:
    return a <= b


ARITHMETIC_RULES: dict[str, Rule] = {
    "Mod": _modulus,
    **{
        name: _all_inputs(function)
        for name, function in {
            "Add": _add, "And": torch.logical_and, "Div": _divide, "Equal": _equal, "Greater": _greater,
            "GreaterOrEqual": _greater_or_equal, "Less": _less, "LessOrEqual": _less_or_equal, "Max": _largest,
            "Mean": _mean, "Min": _smallest, "Mul": _multiply, "Or": torch.logical_or, "Pow": _power, "Sub": _subtract,
            "Sum": _sum, "Where": torch.where, "Xor": torch.logical_xor,
        }.items()
    },
}  # fmt: skip
