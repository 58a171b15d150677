"""`Node`: a node of the graph as a rule sees it, and `Built`: the module that a rule makes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from onnx import NodeProto
from torch import Tensor, nn

from enxuto.errors import ModelError
from enxuto.importing.values import Value
from enxuto.onnx_model import float_attribute, has_attribute, int_attribute, ints_attribute, text_attribute

__all__ = ["Built", "Node", "Rule"]

Integer = int  # `Node.int` hides the name within the class


@dataclass(frozen=True)
class Built:
    """What a node becomes.

    module: is called with the node's inputs at the positions `inputs`. state: attribute of the module → the input that
    it holds, and its numbers in the layout of PyTorch. buffers: those of them that are not trained. turned:
    those that are matrices of the graph, transposed. before, after:
    modules for the first of the inputs and for the result.
    """

    module: nn.Module
    inputs: Sequence[int] = (0,)
    state: Mapping[str, tuple[int, np.ndarray]] = field(default_factory=dict)
    buffers: frozenset[str] = frozenset()
    turned: frozenset[str] = frozenset()
    before: nn.Module | None = None
    after: nn.Module | None = None


@dataclass(frozen=True)
class Node:
    """A node with its inputs: `inputs` has None where an optional one is left out; opset is of ONNX's own domain."""

    proto: NodeProto
    opset: int
    inputs: Sequence[Value | None]

    @property
    def operator(self) -> str:
        """The operator's name, such as `Conv`."""
        return self.proto.op_type

    def has(self, position: int) -> bool:
        """Whether an input is there."""
        return position < len(self.inputs) and self.inputs[position] is not None

    def value(self, position: int) -> Value:
        """An input that must be there."""
        found = self.inputs[position] if position < len(self.inputs) else None
        if found is None:
            raise self.refusal(f"input {position} is missing")
        return found

    def example(self, position: int = 0) -> Tensor:
        """The example of an input that depends on the images."""
        found = self.value(position).example
        if not isinstance(found, Tensor):
            raise self.refusal(f"input {position} must depend on the images")
        return found

    def shape(self, position: Integer) -> tuple[Integer, ...]:
        """The sizes of an input, by its example where it depends on the images."""
        value = self.value(position)
        held = value.constant if value.constant is not None else value.example
        assert held is not None
        return tuple(held.shape)

    def constant(self, position: int) -> np.ndarray:
        """The numbers of an input that must be a constant, such as a weight."""
        found = self.value(position).constant
        if found is None:
            raise self.refusal(
                f"input {position} ({self.proto.input[position]!r}) is computed from the images"
            )
        return found

    def setting(self, name: str, position: int, default: np.ndarray | None = None) -> np.ndarray | None:
        """A setting that older opsets have as an attribute, newer ones as a constant input."""
        if self.has_attribute(name):
            values = ints_attribute(self.proto, name)
            return np.array(values if values else int_attribute(self.proto, name), np.int64)
        return self.constant(position) if self.has(position) else default

    def has_attribute(self, name: str) -> bool:
        """Whether the node has an attribute of this name."""
        return has_attribute(self.proto, name)

    def int(self, name: str, default: Integer = 0) -> Integer:
        """An integer attribute."""
        return int_attribute(self.proto, name, default)

    def ints(self, name: str) -> tuple[Integer, ...]:
        """A list of integers, empty where it is left out."""
        return ints_attribute(self.proto, name)

    def float(self, name: str, default: float) -> float:
        """A floating-point attribute."""
        return float_attribute(self.proto, name, default)

    def text(self, name: str, default: str) -> str:
        """A text attribute."""
        return text_attribute(self.proto, name, default)

    def refusal(self, reason: str) -> ModelError:
        """The error for a form of the operator that no module is made of."""
        made = ", ".join(name for name in self.proto.output if name)
        return ModelError(
            f"{self.operator} that makes {made!r}: {reason}; no PyTorch module can be made of it", code="E032"
        )


Rule = Callable[[Node], Built]
