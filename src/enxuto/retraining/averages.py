"""Running averages of all that is learned: smoother than the last step, and what files are made of.

Source: Polyak & Juditsky 1992; as exponential averages with a horizon that grows, as in Kingma & Ba 2015, section 7.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["Averages"]

_HORIZON = 0.04  # of the training


class Averages:
    """Averages of a module's parameters."""

    def __init__(self, module: nn.Module) -> None:
        self._parameters = list(module.parameters())
        self.values: list[Tensor] = [parameter.detach().clone() for parameter in self._parameters]
        self.count = 0

    def update(self, steps: int) -> None:
        """Take the parameters in after a step of a training of so many."""
        self.count += 1
        weight = max(1 / (1 + _HORIZON * steps), 1 / (1 + self.count / 3))
        with torch.no_grad():
            for value, parameter in zip(self.values, self._parameters, strict=True):
                value.lerp_(parameter, weight)

    @contextmanager
    def applied(self, values: list[Tensor] | None = None) -> Iterator[None]:
        """Inside, the module has the averages (or other values) for its parameters."""
        before = [parameter.detach().clone() for parameter in self._parameters]
        self._set(self.values if values is None else values)
        try:
            yield
        finally:
            self._set(before)

    def _set(self, values: list[Tensor]) -> None:
        with torch.no_grad():
            for parameter, value in zip(self._parameters, values, strict=True):
                parameter.copy_(value)
