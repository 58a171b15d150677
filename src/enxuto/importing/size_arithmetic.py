"""Arithmetic on sizes: what elementwise operators make of them, in the type that the graph gives the result.

Numbers are computed by NumPy in that type, so that `floor(size * 0.1)` is what ONNX Runtime makes of it. A symbolic
size, as torch has for the batch where it exports a network, goes through Python's operators and stays a symbol.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
import torch
from onnx import helper

from enxuto.importing.modules import Apply
from enxuto.importing.node import Node

__all__ = ["ARITHMETIC", "as_kind", "is_symbol", "size_kind", "to_objects"]

_COMPARISONS = frozenset({"Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"})
_TRUTHS = _COMPARISONS | {"And", "Or", "Xor", "Not"}


def to_objects(values: Any) -> np.ndarray:
    """An array of Python objects from an array, a list or one object."""
    if isinstance(values, np.ndarray):
        return values.astype(object)
    items = values if isinstance(values, list) else [values]
    found = np.empty(len(items), object)
    for position, item in enumerate(items):  # item by item: NumPy would make numbers of symbols
        found[position] = item
    return found if isinstance(values, list) else found.reshape(())


def is_symbol(value: Any) -> bool:
    """Whether a size stands for any number, which is so where torch exports a network."""
    return isinstance(value, (torch.SymInt, torch.SymFloat, torch.SymBool))


def size_kind(node: Node) -> np.dtype[Any]:
    """The type of what a node makes of sizes."""
    if node.operator in ("Shape", "Size"):
        return np.dtype(np.int64)
    if node.operator == "Cast":
        return np.dtype(helper.tensor_dtype_to_np_dtype(node.int("to")))
    if node.operator == "ConstantOfShape":
        value = next((item.t for item in node.proto.attribute if item.name == "value"), None)
        return np.dtype(np.float32 if value is None else helper.tensor_dtype_to_np_dtype(value.data_type))
    if node.operator in _TRUTHS:
        return np.dtype(np.bool_)
    return node.value(1 if node.operator == "Where" else 0).number_type


def as_kind(x: np.ndarray, kind: np.dtype[Any]) -> np.ndarray:
    """Objects of a type: floats lose their fractions on the way to integers, as in C."""
    if any(is_symbol(item) for item in x.reshape(-1).tolist()):
        return to_objects(np.frompyfunc(_symbol_caster(kind), 1, 1)(x))
    return to_objects(np.array(x.tolist()).reshape(x.shape).astype(kind))


def _symbol_caster(kind: np.dtype[Any]) -> Callable[[Any], Any]:
    casters: dict[str, Callable[[Any], Any]] = {"f": torch.sym_float, "i": torch.sym_int, "u": torch.sym_int}
    return casters.get(kind.kind, lambda size: size)


def _elementwise(numbers: Callable[..., Any], symbols: Callable[..., Any]) -> Callable[[Node], Apply]:
    """A rule by a function of typed arrays and one of single objects."""

    def rule(node: Node) -> Apply:
        kinds = [value.number_type for value in node.inputs if value is not None]
        settings = {"numbers": numbers, "symbols": symbols, "kinds": kinds, "made": size_kind(node)}
        return Apply(_computed, settings)

    return rule


def _computed(
    *operands: Any, numbers: Callable[..., Any], symbols: Callable[..., Any],
    kinds: list[np.dtype[Any]], made: np.dtype[Any],
) -> np.ndarray:  # fmt: skip
    arrays = [np.asarray(operand, object) for operand in operands]
    if any(is_symbol(item) for array in arrays for item in array.reshape(-1).tolist()):
        found = to_objects(np.frompyfunc(symbols, len(arrays), 1)(*arrays))
        return as_kind(found, made) if made.kind == "f" else found
    typed = [array.astype(kind) for array, kind in zip(arrays, kinds, strict=True)]
    with np.errstate(all="ignore"):  # a division by 0 gives infinity in a graph
        return to_objects(np.asarray(numbers(*typed)).astype(made))


def _divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Integers are divided as in C, towards zero."""
    if a.dtype.kind == "f":
        return np.asarray(a / b)
    if not b.all():
        raise ZeroDivisionError("a size is divided by 0")
    return np.asarray(np.sign(a) * np.sign(b) * (abs(a) // abs(b)))


def _divide_symbols(a: Any, b: Any) -> Any:
    floats = (float, torch.SymFloat)
    return a / b if isinstance(a, floats) or isinstance(b, floats) else a // b


def _power(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The type is the base's; integers may have exponents that are none, or negative."""
    return np.asarray(np.power(a.astype(np.float64), b.astype(np.float64)))


def _modulus(node: Node) -> Apply:
    return _elementwise(np.fmod if node.int("fmod") else np.mod, operator.mod)(node)


def _all(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    return lambda *operands: reduce(function, operands)


def _mean(*operands: Any) -> Any:
    return reduce(operator.add, operands) / len(operands)


ARITHMETIC: dict[str, Callable[[Node], Apply]] = {
    "Abs": _elementwise(np.abs, abs),
    "Add": _elementwise(np.add, operator.add),
    "And": _elementwise(np.logical_and, lambda a, b: a and b),
    "Ceil": _elementwise(np.ceil, math.ceil),
    "Div": _elementwise(_divide, _divide_symbols),
    "Equal": _elementwise(np.equal, operator.eq),
    "Exp": _elementwise(np.exp, math.exp),
    "Floor": _elementwise(np.floor, math.floor),
    "Greater": _elementwise(np.greater, operator.gt),
    "GreaterOrEqual": _elementwise(np.greater_equal, operator.ge),
    "Less": _elementwise(np.less, operator.lt),
    "LessOrEqual": _elementwise(np.less_equal, operator.le),
    "Log": _elementwise(np.log, math.log),
    "Max": _elementwise(_all(np.maximum), _all(lambda a, b: a if a > b else b)),
    "Mean": _elementwise(_mean, _mean),
    "Min": _elementwise(_all(np.minimum), _all(lambda a, b: a if a < b else b)),
    "Mod": _modulus,
    "Mul": _elementwise(np.multiply, operator.mul),
    "Neg": _elementwise(np.negative, operator.neg),
    "Not": _elementwise(np.logical_not, operator.not_),
    "Or": _elementwise(np.logical_or, lambda a, b: a or b),
    "Pow": _elementwise(_power, operator.pow),
    "Reciprocal": _elementwise(np.reciprocal, lambda size: 1 / size),
    "Round": _elementwise(np.rint, round),
    "Sign": _elementwise(np.sign, lambda size: (size > 0) - (size < 0)),
    "Sqrt": _elementwise(np.sqrt, lambda size: size**0.5),
    "Sub": _elementwise(np.subtract, operator.sub),
    "Sum": _elementwise(_all(np.add), _all(operator.add)),
    "Where": _elementwise(np.where, lambda which, a, b: a if which else b),
    "Xor": _elementwise(np.logical_xor, operator.ne),
}
"""Rules by operator for sizes and constants that broadcast."""
