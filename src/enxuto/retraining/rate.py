"""What the file's coder will spend on levels, as a function that has gradients.

`codec.fit` fits the coder to the levels as they are: classes of scale for rows, columns and positions, and what each
level costs in each class, averaged over neighbours. Between whole numbers the cost is interpolated, so that its slope
for a weight is what the next level towards zero would save. The fit is repeated from time to time (`refresh`); it
changes slowly. What neighbours save is not in it, so the sum is a little above what the coder spends.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from enxuto.codec import fit

__all__ = ["RateModel"]

_MOST_REACH = 255  # levels of larger magnitude cost as much as this one


class RateModel:
    """Bits of one tensor's levels. `refresh` first."""

    def __init__(self) -> None:
        self._classes = torch.zeros(0, dtype=torch.int64)
        self._costs = torch.zeros(0)
        self._reach = 1

    def refresh(self, levels: np.ndarray, device: torch.device | None = None) -> None:
        """Fit the coder to levels (int32, of the tensor's shape), for latent numbers on a device (None: the CPU)."""
        self._reach = min(_MOST_REACH, int(np.abs(levels).max(initial=0)) + 2)
        model = fit(np.clip(levels, -_MOST_REACH, _MOST_REACH))
        places = model.classes.astype(np.int64) * (2 * self._reach + 1)
        self._classes = torch.from_numpy(places).to(device)
        self._costs = torch.from_numpy(model.costs(self._reach).astype(np.float32).reshape(-1)).to(device)

    def bits(self, latent: Tensor) -> Tensor:
        """Return the bits of all levels, interpolated where `latent` lies between whole numbers."""
        inside = latent.clamp(-self._reach, self._reach - 1e-3)
        lower = torch.floor(inside.detach())
        place = self._classes + (lower.to(torch.int64) + self._reach)
        low, high = self._costs[place], self._costs[place + 1]
        share = inside - lower
        return torch.sum(low + share * (high - low))

    def bits_of_levels(self, latent: Tensor) -> Tensor:
        """Return the bits of the levels that `latent` rounds to, without gradients."""
        with torch.no_grad():
            return self.bits(torch.round(latent))
