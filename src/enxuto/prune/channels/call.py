"""One operator as it ran: its operands, the names of their elements, and which of them are parameters.

The rules (`moves`, `rules`) read a `Call` and return the names of what the operator wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from enxuto.prune.channels.names import NameBook

__all__ = ["Call", "ParameterView", "flatten"]


@dataclass(frozen=True)
class ParameterView:
    """A parameter or buffer, possibly transposed or with axes of size 1 added.

    axes: for each axis of the view the axis of the parameter, None for an added one.
    """

    name: str
    axes: tuple[int | None, ...]


@dataclass(frozen=True)
class Call:
    """An ATen operator with its operands and its result.

    module_path: of the module it ran in. resizing: path of the module around it whose sizes follow the channels
    (flattening, padding shortcut, channel shuffle), or None.
    """

    book: NameBook
    module_path: str
    resizing: str | None
    function: Callable[..., Any]
    name: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    output: Any
    known: Mapping[int, tuple[Tensor, Tensor]]
    views: Mapping[int, tuple[Tensor, ParameterView]]
    computed: Mapping[int, tuple[Tensor, str]]

    def names(self, tensor: object) -> Tensor | None:
        """The names of a tensor's elements; None where it holds no channels."""
        found = self.known.get(id(tensor))
        return None if found is None else found[1]

    def parameter(self, tensor: object) -> ParameterView | None:
        """Which parameter or buffer a tensor is."""
        found = self.views.get(id(tensor))
        return None if found is None else found[1]

    def source(self, tensor: object) -> str | None:
        """The parameter that a tensor was computed from, where it is not simply that parameter."""
        found = self.computed.get(id(tensor))
        return None if found is None else found[1]

    def operands(self) -> list[Tensor]:
        """All tensors among the arguments, in order."""
        return [item for item in flatten([self.args, list(self.kwargs.values())]) if isinstance(item, Tensor)]

    def operand_names(self) -> list[Tensor]:
        """The names of all operands that hold channels."""
        return [names for names in map(self.names, self.operands()) if names is not None]

    def first_names(self) -> Tensor:
        """The names of the first operand that holds channels."""
        return self.operand_names()[0]

    def argument(self, position: int, name: str, default: Any) -> Any:
        """An argument by its position or its name."""
        return self.args[position] if len(self.args) > position else self.kwargs.get(name, default)

    def apply_to_names(self, names: Tensor) -> Any:
        """The operator itself, applied to the names instead of the operand that they name; indices stay indices."""

        def swap_names(value: Any) -> Any:
            if isinstance(value, Tensor):
                return names if self.names(value) is not None else value.cpu()
            if isinstance(value, (list, tuple)):
                return type(value)(swap_names(item) for item in value)
            return value

        return self.function(
            *(swap_names(item) for item in self.args),
            **{key: swap_names(item) for key, item in self.kwargs.items() if key not in {"memory_format"}},
        )

    def fix_all(self, reason: str) -> None:
        """All channels among the operands must stay."""
        for names in self.operand_names():
            self.book.fix(names, f"{reason} in {self.module_path}")

    def fixed_output_names(self, reason: str) -> Any:
        """Names that must stay for every tensor of the result."""
        if isinstance(self.output, Tensor):
            return self.book.new_fixed_names(self.output.shape, f"{reason} in {self.module_path}")
        return [
            self.book.new_fixed_names(item.shape, f"{reason} in {self.module_path}")
            if isinstance(item, Tensor)
            else None
            for item in self.output
        ]


def flatten(values: Any) -> Iterator[Any]:
    """What is in nested lists, tuples and mappings."""
    if isinstance(values, Mapping):
        values = list(values.values())
    if isinstance(values, (list, tuple)):
        for value in values:
            yield from flatten(value)
    else:
        yield values
