"""Tensors made of sizes of the input: ConstantOfShape and Range, and `TensorOf`, which turns sizes into a tensor.

Such tensors lie where the network does: a buffer that no checkpoint holds goes along with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from enxuto.importing.node import Built, Node, Rule
from enxuto.importing.size_arithmetic import is_symbol
from enxuto.importing.values import to_tensor

__all__ = ["MADE_RULES", "TensorOf"]


class _Placed(nn.Module):
    """A module that knows where the network lies, by `place`."""

    place: Tensor

    def __init__(self, number: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("place", to_tensor(number), persistent=False)

    def extra_repr(self) -> str:
        """What `print(network)` shows."""
        return str(self.place.dtype)


class TensorOf(_Placed):
    """Sizes as a tensor of the type that the graph gives them."""

    def __init__(self, kind: np.dtype[Any]) -> None:
        super().__init__(np.zeros((), kind))

    def forward(self, sizes: np.ndarray) -> Tensor:
        """Return the tensor."""
        numbers = sizes.reshape(-1).tolist()
        if not any(is_symbol(number) for number in numbers):
            return self.place.new_tensor(sizes.tolist())
        return torch.stack([self.place.new_full((), number) for number in numbers]).reshape(sizes.shape)


class _Filled(_Placed):
    """One number in a shape that is computed."""

    def forward(self, shape: np.ndarray) -> Tensor:
        """Return the tensor."""
        return self.place.new_ones(shape.tolist()) * self.place


class _Counted(_Placed):
    """Numbers from a start to an end; those of the three that are constant stay in `numbers`."""

    def __init__(self, numbers: Sequence[Any], kind: np.dtype[Any]) -> None:
        super().__init__(np.zeros((), kind))
        self.numbers = tuple(numbers)

    def forward(self, *sizes: np.ndarray) -> Tensor:
        """Return the tensor."""
        given = iter(sizes)
        start, end, step = (next(given).item() if number is None else number for number in self.numbers)
        return torch.arange(start, end, step, dtype=self.place.dtype, device=self.place.device)


def _filled(node: Node) -> Built:
    if not node.value(0).is_sizes:
        raise node.refusal("its shape is computed from the images' values")
    value = next((item.t for item in node.proto.attribute if item.name == "value"), None)
    return Built(
        _Filled(np.zeros((), np.float32) if value is None else numpy_helper.to_array(value).reshape(()))
    )


def _counted(node: Node) -> Built:
    values = [node.value(position) for position in range(3)]
    if any(value.constant is None and not value.is_sizes for value in values):
        raise node.refusal("its limits are computed from the images' values")
    numbers = [None if value.constant is None else value.constant.item() for value in values]
    computed = tuple(position for position, number in enumerate(numbers) if number is None)
    return Built(_Counted(numbers, values[0].number_type), inputs=computed)


MADE_RULES: dict[str, Rule] = {"ConstantOfShape": _filled, "Range": _counted}
