"""What is known of a graph's values while the module is built: constants, tensors by an example, sizes.

A `Value` is a constant (known now, from weights and numbers in the graph), a tensor (an example of it is known, from
zeros or random images), or sizes: integers that depend on the shape of the input, as `Shape` gives them. Sizes are
kept as NumPy arrays of Python objects, so that arithmetic on them works with ints and with torch's symbolic ints alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["Value", "to_tensor"]


@dataclass(frozen=True)
class Value:
    """A value of the graph.

    constant: its numbers, None where they depend on the input. source: the weight that a constant holds, perhaps
    reshaped or transposed; None for results of arithmetic. example: what the run at build time gave, for the others:
    a tensor, or an array of objects for sizes. kind: the type that the graph gives sizes, which are objects here.
    turned: whether a constant is its weight transposed.
    """

    name: str
    constant: np.ndarray | None = None
    source: str | None = None
    example: Tensor | np.ndarray | None = None
    kind: np.dtype[Any] | None = None
    turned: bool = False

    @property
    def is_sizes(self) -> bool:
        """Whether the value is made of sizes of the input."""
        return isinstance(self.example, np.ndarray)

    @property
    def number_type(self) -> np.dtype[Any]:
        """The type of the numbers of a constant or of sizes."""
        if self.constant is not None:
            return self.constant.dtype
        if self.kind is not None:
            return self.kind
        kinds = {type(item) for item in np.asarray(self.example).reshape(-1).tolist()}
        return np.dtype(np.float32 if float in kinds else np.bool_ if kinds == {bool} else np.int64)

    @property
    def rank(self) -> int:
        """The number of axes."""
        value = self.constant if self.constant is not None else self.example
        assert value is not None
        return value.ndim


def to_tensor(array: np.ndarray) -> Tensor:
    """A tensor of its own with a constant's numbers; bfloat16 and float8 come as float32."""
    if array.dtype.kind == "V" or array.dtype.name not in np.sctypeDict:
        array = array.astype(np.float32)
    return torch.from_numpy(np.array(array, order="C"))
