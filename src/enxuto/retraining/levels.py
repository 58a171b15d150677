"""Weights that are rounded in the forward pass: latent numbers of steps → levels → values, as the file will hold them.

A latent number counts steps. Its level is the nearest whole number, and the value is the level times the grid's steps,
in the order of operations of `Grid.reconstruct`, so that the network in training gives what the file will give. On a
trellis the levels of a row are the path nearest to its latent numbers (`rounding.viterbi`), looked for anew whenever
weights moved, and the value counts the steps that levels stand for. Gradients pass through all roundings as if there
were none (Bengio et al. 2013, "Estimating or propagating gradients through stochastic neurons", arXiv:1308.3432). The
step of a layer is learned, and a factor for every row, which the file has as an exponent of 2^¼ and which is therefore
rounded too.

A training that comes down from a larger file also learns how much fewer steps are counted (`coarser`), as in learned
step size quantization (Esser et al. 2020, arXiv:1902.08153): the weight stays where it is, and is rounded more
coarsely. The layer's strength is learned apart from that, by the step.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from enxuto.errors import UsageError
from enxuto.quantize.grid import MOST_EXPONENT, Grid
from enxuto.quantize.scalar import DeadZone, short_float32
from enxuto.quantize.tensor import QuantizedTensor
from enxuto.quantize.trellis import multiples
from enxuto.rounding.viterbi import nearest_path

__all__ = ["LearnedLevels", "LevelsTooLargeError", "RoundedBias", "round_through"]

_WITHIN = 0.3  # of its level, that a latent number starts
_TOO_LARGE = 2.0**30  # steps


class LevelsTooLargeError(UsageError):
    """Weights went so far from zero that no file can hold their levels."""

    def __init__(self) -> None:
        super().__init__(
            "levels stay below 2**30; weights grew beyond that, or a step became too small for them"
        )


def round_through(x: Tensor) -> Tensor:
    """Return x rounded, half to even, exactly; gradients pass as if it were not."""
    return _RoundThrough.apply(x)  # type: ignore[no-untyped-call, no-any-return]


class _RoundThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.round(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


class LearnedLevels(nn.Module):
    """A weight as levels on a grid whose step and row factors are learned.

    latent: numbers of steps, in the shape of the weight. log_step: log2 of the step. rows: exponents of 2^¼ along the
    grid's axis of rows, as real numbers; empty where the grid has none. columns: exponents along the other axis.
    coarser: log2 of how many latent steps a level is. trellis: the number of its states, or 0.
    """

    column_factors: Tensor

    def __init__(self, weight: np.ndarray, start: QuantizedTensor, *, rounded: bool = True) -> None:
        """Start at levels rounded otherwise, as near to the weight as they allow.

        rounded: False for a weight that stays unrounded, and starts as it is.
        """
        super().__init__()
        self.rounded = rounded
        grid = start.quantizer
        if not isinstance(grid, Grid):
            raise TypeError("levels are learned on a grid")
        self.trellis = grid.trellis
        rows, columns = grid.steps(weight.shape)
        exact = weight.astype(np.float64) / (rows.astype(np.float64) * columns)
        at = multiples(start.levels, self.trellis) if self.trellis else start.levels
        near = np.clip(exact, at - _WITHIN, at + _WITHIN) if rounded else exact
        self.latent = nn.Parameter(torch.from_numpy(near.astype(np.float32)))
        self.log_step = nn.Parameter(torch.tensor(math.log2(grid.step)))
        self.coarser = nn.Parameter(torch.tensor(0.0))
        exponents = grid.rows or (0,) * (weight.shape[0] if weight.ndim > 1 else 0)
        self.rows = nn.Parameter(torch.tensor(exponents, dtype=torch.float32))
        self.columns = grid.columns
        self.register_buffer("column_factors", torch.from_numpy(np.array(columns)), persistent=False)

    def forward(self, known: Tensor | None = None) -> Tensor:
        """Return the weight's values; known: its levels, where they were looked for already."""
        levels = self._rounded_numbers(known) if self.rounded else self.numbers()
        step = torch.exp2(self.log_step + self.coarser)
        if not self.rows.numel():
            return levels * step * self.column_factors
        exponents = round_through(self.rows).clamp(-MOST_EXPONENT, MOST_EXPONENT)
        factors = torch.exp2(exponents / 4).reshape(-1, *[1] * (levels.dim() - 1))
        return (levels * (step * factors)) * self.column_factors

    def numbers(self) -> Tensor:
        """Return the numbers of steps before they are rounded to levels."""
        return self.latent * torch.exp2(-self.coarser)

    def levels(self) -> Tensor:
        """Return the levels, int32, on the CPU, without gradients."""
        return self.levels_of(self.numbers().detach().cpu())

    def levels_of(self, numbers: Tensor) -> Tensor:
        """Return the levels, int32, of numbers of steps, both on the CPU; `LevelsTooLargeError` for too large ones."""
        if not self.trellis:
            if numbers.numel() and float(numbers.abs().max()) >= _TOO_LARGE:
                raise LevelsTooLargeError
            return torch.round(numbers).to(torch.int32)
        rows = numbers.numpy().astype(np.float64).reshape(len(numbers), -1)
        found = nearest_path(rows, self.trellis)
        if found is None:
            raise LevelsTooLargeError
        return torch.from_numpy(found.reshape(numbers.shape))

    def _rounded_numbers(self, known: Tensor | None) -> Tensor:
        """Return the numbers of steps of the levels; gradients pass as if they were not rounded."""
        numbers = self.numbers()
        if not self.trellis:
            return round_through(numbers)
        levels = self.levels() if known is None else known
        steps = multiples(levels.numpy(), self.trellis).astype(np.float32)
        return torch.from_numpy(steps).to(numbers.device) + (numbers - numbers.detach())

    def quantized(self) -> QuantizedTensor:
        """Return the levels and the grid as they go into a file; exponents are counted from the usual one."""
        levels = self.levels().numpy()
        exponents = np.rint(self.rows.detach().cpu().numpy()).astype(np.int64)
        step = 2.0 ** float((self.log_step + self.coarser).detach())
        if exponents.size:
            usual = int(np.bincount(exponents - exponents.min()).argmax() + exponents.min())
            exponents, step = exponents - usual, step * 2.0 ** (usual / 4)
        exponents = np.clip(exponents, -MOST_EXPONENT, MOST_EXPONENT)
        rows = tuple(exponents.tolist()) if exponents.any() else ()
        return QuantizedTensor(levels, Grid(short_float32(step), rows, self.columns, self.trellis))


class RoundedBias(nn.Module):
    """A bias rounded to multiples of a step that does not change."""

    def __init__(self, bias: np.ndarray, step: float, *, rounded: bool = True) -> None:
        super().__init__()
        self.rounded = rounded
        self.step = step
        self.latent = nn.Parameter(torch.from_numpy(np.array(bias, np.float32)))

    def forward(self) -> Tensor:
        """Return the bias's values."""
        return round_through(self.latent / self.step) * self.step if self.rounded else self.latent

    def values(self) -> np.ndarray:
        """Return the values that a file with this step holds, in the shape of the bias."""
        quantizer = DeadZone(self.step, 0.5)
        return quantizer.reconstruct(quantizer.quantize(self.latent.detach().cpu().numpy().copy()))
