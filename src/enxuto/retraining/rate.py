"""What the file's coder will spend on levels, as a function that has gradients.

`codec.fit` fits the coder to the levels as they are: classes of scale for rows, columns and positions, and what each
level costs in each class, averaged over neighbours. Between whole numbers the cost is interpolated, so that its slope
for a weight is what the next level towards zero would save. The fit is repeated from time to time (`refresh`); it
changes slowly. What neighbours save is not in it, so the sum is a little above what the coder spends.

On a trellis a number of steps can be reached in some states only, and which state a weight will be in nobody can tell
before the path is found. There the cost is the mean over states, each as often as it occurs.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from enxuto.codec import fit
from enxuto.quantize.trellis import states_before

__all__ = ["RateModel"]

_MOST_REACH = 255  # levels of larger magnitude cost as much as this one

Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]


class RateModel:
    """Bits of one tensor's levels. `refresh` first.

    trellis: how many states the levels' dependent quantization has, or 0.
    """

    def __init__(self, trellis: int = 0) -> None:
        self.trellis = trellis
        self._classes = torch.zeros(0, dtype=torch.int64)
        self._by_steps = self._by_level = torch.zeros(
            0
        )  # (K · …) bits of numbers of steps, (ends · K · …) of levels
        self._most_steps = self._most_level = 1
        self._count = 0  # K

    def refresh(self, levels: Int32, device: torch.device | None = None) -> None:
        """Fit the coder to levels (of the tensor's shape), for latent numbers on a device (None: the CPU)."""
        reach = min(_MOST_REACH, int(np.abs(levels).max(initial=0)) + 2)
        model = fit(_within_reach(levels), trellis=self.trellis)
        costs = np.stack([model.costs(reach, end) for end in range(model.ends)])
        by_steps = _costs_of_steps(costs, model.shares_of_ends()) if self.trellis else costs[0]
        self._count = costs.shape[1]
        self._most_level, self._most_steps = reach, by_steps.shape[1] // 2
        self._classes = torch.from_numpy(model.classes.astype(np.int64)).to(device)
        self._by_steps, self._by_level = (
            torch.from_numpy(one.astype(np.float32).reshape(-1)).to(device) for one in (by_steps, costs)
        )

    def bits(self, latent: Tensor) -> Tensor:
        """Return the bits of all levels, interpolated where `latent` lies between whole numbers of steps."""
        most = self._most_steps
        inside = latent.clamp(-most, most - 1e-3)
        lower = torch.floor(inside.detach())
        place = self._classes * (2 * most + 1) + (lower.to(torch.int64) + most)
        low, high = self._by_steps[place], self._by_steps[place + 1]
        share = inside - lower
        return torch.sum(low + share * (high - low))

    def bits_of_levels(self, levels: Tensor) -> Tensor:
        """Return the bits of levels, int32, in the shape of the tensor."""
        most, rows = self._most_level, self._classes
        if self.trellis:
            before = states_before(levels.cpu().numpy(), self.trellis).astype(np.int64)
            ends = len(self._by_level) // (self._count * (2 * most + 1))
            rows = rows + self._count * torch.from_numpy(before & (ends - 1)).to(rows.device)
        column = levels.to(rows.device, torch.int64).clamp(-most, most) + most
        return self._by_level[rows * (2 * most + 1) + column].sum()


def _within_reach(levels: Int32) -> Int32:
    """Return levels of no more than `_MOST_REACH`, of the same parity, so that states of a trellis stay the same."""
    most = _MOST_REACH - ((levels ^ _MOST_REACH) & 1)
    return np.clip(levels, -most, most)


def _costs_of_steps(costs: Float64, shares: Float64) -> Float64:
    """Return the bits (K, 4·reach − 3) of numbers of steps on a trellis, from those of levels (ends, K, 2·reach + 1).

    shares (ends, K): of the ends of states. In even states levels stand for even numbers of steps, in odd ones for odd
    numbers and zero; a number between two of those costs their mean.
    """
    reach = costs.shape[2] // 2
    steps = np.arange(2 - 2 * reach, 2 * reach - 1)
    sizes, signs = np.abs(steps), np.sign(steps)
    total = np.zeros((costs.shape[1], len(steps)))
    for end, (bits, share) in enumerate(zip(costs, shares, strict=True)):
        low = (sizes + (end & 1)) // 2
        high = (sizes + 1 + (end & 1) * (sizes > 0)) // 2
        total += share[:, None] * (bits[:, reach + signs * low] + bits[:, reach + signs * high]) / 2
    return total
