"""What levels cost: coder `contexts` is fitted to levels, then says the bits of each level for each weight.

Rounding by rate weighs errors against these bits (`enxuto.rounding`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from enxuto.codec.context_fit import FittedModel, fit_contexts
from enxuto.codec.context_model import ContextModel
from enxuto.codec.contexts import is_codable
from enxuto.codec.layout import Shapes, flatten
from enxuto.codec.neighbours import SHIFTS
from enxuto.codec.stop_odds import BITS
from enxuto.errors import UsageError

__all__ = ["LevelModel", "fit"]

Int32 = npt.NDArray[np.int32]


def fit(levels: Int32, shapes: Shapes | None = None, *, trellis: int = 0) -> LevelModel:
    """Fit coder `contexts`, or that of a trellis, to `levels`, to know what each one costs for each weight.

    shapes, trellis: as in `encode`. Raises `UsageError` for no levels and for levels beyond 2**30.
    """
    flat, layout = flatten(levels, shapes)
    if not is_codable(flat):
        raise UsageError("a model of scales needs at least one level, and none beyond 2**30")
    fitted = fit_contexts(flat, layout, trellis)
    model = fitted.model
    sums = layout.sums(*model.numbers[:2], 0, layout.kernels)
    classes = np.clip(sums[:, None] + model.offsets, 0, model.classes - 1).astype(np.uint8)
    return LevelModel(classes.reshape(levels.shape), fitted)


@dataclass(frozen=True)
class LevelModel:
    """What levels cost by the class of scale of their weight, averaged over all neighbours.

    classes: of each weight, 0…K−1, uint8, in the shape of the levels.
    """

    classes: npt.NDArray[np.uint8]
    fitted: FittedModel

    @property
    def ends(self) -> int:
        """How many ends of a trellis's state are told apart, 1 without one."""
        return self.fitted.model.contexts

    def costs(self, reach: int, end: int = 0) -> npt.NDArray[np.float64]:
        """Return the bits (K, 2·reach + 1) of levels −reach…reach in each class, all finite.

        end: of the state that a level on a trellis follows.
        """
        model = self.fitted.model
        magnitudes = np.arange(reach + 1)
        token, raw = _tokens(magnitudes, model)
        known = np.minimum(token, model.table.shape[1] - 1)
        beyond = np.where(token == known, 0, 2.0 * (token - known))  # levels that have not occurred
        signs = self._sign_bits()[np.minimum(magnitudes, 3)]
        bits = -np.log2(self._shares(end))[:, known] + raw + beyond + signs
        return np.concatenate([bits[:, :0:-1], bits], axis=1)

    def shares_of_ends(self) -> npt.NDArray[np.float64]:
        """Return how often the states before a class's levels have each end (ends, K)."""
        counts = self.fitted.counts.sum(axis=(2, 3)) + 1e-3
        return np.asarray(counts / counts.sum(axis=0))

    def _shares(self, end: int) -> npt.NDArray[np.float64]:
        """How often the weights of a class have each token (K, tokens), averaged over their neighbours."""
        model, counts = self.fitted.model, self.fitted.counts[end].sum(axis=2) + 1e-6
        weights = counts / counts.sum(axis=1, keepdims=True)
        shifts = np.zeros(SHIFTS, np.int64) if model.shifts is None else model.shifts
        reached = np.clip(np.arange(model.classes)[:, None] + shifts, 0, model.classes - 1)
        table = model.table[end * model.classes : (end + 1) * model.classes]
        return np.asarray(np.einsum("cs,cst->ct", weights, table[reached] / (1 << BITS)))

    def _sign_bits(self) -> npt.NDArray[np.float64]:
        """Mean bits of the signs of magnitudes 0, 1, 2 and more; 1 for those that did not occur."""
        shares = self.fitted.model.shares.reshape(SHIFTS, -1)[:, 1:4] / 256
        bits = np.stack([-np.log2(shares), -np.log2(1 - np.minimum(shares, 255 / 256))], axis=-1)
        counts = self.fitted.signs
        totals = counts.sum(axis=(0, 2))
        mean = np.sum(bits * counts, axis=(0, 2)) / np.maximum(totals, 1)
        return np.concatenate([[0.0], np.where(totals > 0, mean, 1.0)])


def _tokens(
    magnitudes: npt.NDArray[np.int64], model: ContextModel
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return tokens and numbers of raw bits of magnitudes."""
    order = np.frexp(np.maximum(magnitudes - model.direct, 1).astype(np.float64))[1].astype(np.int64) - 1
    escaped = magnitudes > model.direct
    return np.where(escaped, model.direct + 1 + order, magnitudes), np.where(escaped, order, 0)
