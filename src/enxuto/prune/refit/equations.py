"""Least squares of one layer on what the pruned network feeds it, with a clipping activation behind it taken in.

Where both the output wanted and the output found lie on the flat side of a ReLU (or above a ReLU6's 6), nothing is
lost however far apart they are. So after plain least squares the outputs wanted on the flat side are moved to what was
found, or to the bend, and the layer is fitted again, several times. Each time a bound on the error behind the
activation falls: outputs wanted on the slope count in full there, also where what was found is on the flat side.

Source: X. Zhang, J. Zou, K. He, J. Sun, Accelerating very deep convolutional networks for classification and
detection, arXiv:1505.06798, sections 3.2 and 3.3, which have such auxiliary outputs, there for low rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from enxuto.prune.attribution.layers import FilterLayer
from enxuto.prune.refit.readers import sample_inputs

__all__ = ["Equations", "Goal", "is_depthwise"]

FOLDS = 3
_RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 1e3)
_OF_ONE_IMAGE = 1.0  # where no other image tells noise apart: 1e-4 loses more on others than no fit at all
_TIMES = 8  # fitted again


@dataclass(frozen=True)
class Goal:
    """What a layer should give for a chunk of images, (images, positions, outputs).

    low, high: below and above which outputs make no difference; they broadcast to `values`.
    """

    values: Tensor
    low: Tensor | None = None
    high: Tensor | None = None


class Equations:
    """Collects equations, then solves them."""

    def __init__(self, module: FilterLayer, *, constant: bool) -> None:
        self.module = module
        self.constant = constant
        self.depthwise = is_depthwise(module)
        self.reads: list[Tensor] = []
        self.gaps: list[Tensor] = []
        self.lows: list[Tensor] = []
        self.highs: list[Tensor] = []
        self.folds: list[Tensor] = []

    def add(self, x: Tensor, places: Sequence[int] | None, goal: Goal, first: int) -> None:
        """Add a chunk: what the layer reads, and what it should give. first: number of its first image."""
        module = self.module
        read = sample_inputs(module, x, places)
        positions = read.shape[1]
        if self.depthwise:
            kernel = module.weight[0].numel()
            read = read.reshape(*read.shape[:2], -1, kernel).permute(2, 0, 1, 3)
            now = torch.einsum("cnpk,ck->npc", read, module.weight.flatten(1))
        else:
            now = read @ module.weight.flatten(1).T
            read = read[None]
        if module.bias is not None:
            now = now + module.bias
        if self.constant:
            read = torch.cat((read, torch.ones(*read.shape[:3], 1)), 3)
        self.reads.append(read.flatten(1, 2))
        self.gaps.append(self._rows(goal.values - now))
        if goal.low is not None:
            self.lows.append(self._rows((goal.low - now).expand_as(goal.values)))
        if goal.high is not None:
            self.highs.append(self._rows((goal.high - now).expand_as(goal.values)))
        self.folds.append(((torch.arange(len(x)) + first) % FOLDS).repeat_interleave(positions))

    def _rows(self, values: Tensor) -> Tensor:
        """(groups, equations, outputs)"""
        return values.permute(2, 0, 1).flatten(1)[..., None] if self.depthwise else values.flatten(0, 1)[None]

    def solve(self) -> tuple[Tensor, Tensor | None]:
        """What to add to the weight, (outputs, columns), and to the constant, (outputs,)."""
        read, gap = torch.cat(self.reads, 1), torch.cat(self.gaps, 1)
        folds = torch.cat(self.folds)
        parts = [folds == fold for fold in range(FOLDS)]
        inputs = torch.stack([(read[:, part].transpose(1, 2) @ read[:, part]).double() for part in parts])
        missing = torch.stack([(read[:, part].transpose(1, 2) @ gap[:, part]).double() for part in parts])
        total = inputs.sum(0)
        ridge = self._best_ridge(inputs, missing)
        factor = self._factor(total, ridge)
        found = torch.cholesky_solve(missing.sum(0), factor)
        if self.lows or self.highs:
            low = torch.cat(self.lows, 1) if self.lows else None
            high = torch.cat(self.highs, 1) if self.highs else None
            for _ in range(_TIMES):
                wanted = _moved(gap, read @ found.float(), low, high)
                found = torch.cholesky_solve((read.transpose(1, 2) @ wanted).double(), factor)
        found = found[..., 0] if self.depthwise else found[0].T
        if not self.constant:
            return found.float(), None
        return found[:, :-1].float(), found[:, -1].float()

    def _best_ridge(self, inputs: Tensor, missing: Tensor) -> float:
        total, gaps = inputs.sum(0), missing.sum(0)
        losses = torch.zeros(len(_RIDGES), dtype=torch.float64)
        for fold, gap in zip(inputs, missing, strict=True):
            if not bool((total - fold).any()):
                return _OF_ONE_IMAGE  # nothing is left to fit without its fold
            for number, ridge in enumerate(_RIDGES):
                found = torch.cholesky_solve(gaps - gap, self._factor(total - fold, ridge))
                losses[number] += (found * (fold @ found)).sum() - 2 * (found * gap).sum()
        return _RIDGES[int(losses.argmin())]

    def _factor(self, inputs: Tensor, ridge: float) -> Tensor:
        powers = inputs.diagonal(dim1=1, dim2=2)
        added = ridge * torch.maximum(powers, 1e-6 * powers.mean(1, keepdim=True) + 1e-12)
        if self.constant:
            added[:, -1] = 1e-9 * powers[:, -1] + 1e-12
        factor: Tensor = torch.linalg.cholesky(inputs + torch.diag_embed(added))
        return factor


def _moved(gap: Tensor, found: Tensor, low: Tensor | None, high: Tensor | None) -> Tensor:
    """What is wanted, where it makes no difference moved to what was found, or to the bend."""
    wanted = gap
    if low is not None:
        wanted = torch.where(gap <= low, torch.minimum(found, low), wanted)
    if high is not None:
        wanted = torch.where(gap >= high, torch.maximum(found, high), wanted)
    return wanted


def is_depthwise(module: nn.Module) -> bool:
    """Whether each filter reads the one channel of its own number."""
    return isinstance(module, nn.Conv2d) and 1 < module.groups == module.in_channels == module.out_channels
