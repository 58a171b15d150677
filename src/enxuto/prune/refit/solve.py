"""Least squares on second moments: the weights that make up for removed columns, and what is lost all the same.

A layer computes y = A x, with A = [W b] and x its inputs and a constant 1. Without the removed columns r the best that
the kept ones k can do is A' = A_k + A_r H_rk (H_kk + λ D)⁻¹, with H = E[x xᵀ] and D its diagonal. At λ = 0 this is
W' = W H[:, k] H[k, k]⁻¹; a large λ leaves W as it was. λ is the one that loses least on images left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from enxuto.prune.refit.moments import RIDGE, ReaderMoments

__all__ = ["best_ridge", "column_costs", "column_groups", "divergence", "matrix_of", "refit_matrix"]

_RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1e3)
_COST_RIDGES = (RIDGE, 1e-2, 1e-1, 1.0, 3.0, 10.0)
_ENOUGH = 50  # positions of images for each column, with which no other ridge is needed


def matrix_of(module: nn.Module) -> Tensor:
    """[W b], or W where there is no bias, float64."""
    weight, bias = module.weight, module.bias
    assert isinstance(weight, Tensor)
    rows = weight.detach().double().flatten(1)
    return rows if not isinstance(bias, Tensor) else torch.cat((rows, bias.detach().double()[:, None]), 1)


def divergence(change: Tensor, moments: ReaderMoments) -> float:
    """What a change of the matrix, (outputs, K + 1) or (outputs, K), costs in nats: ½ tr(G Δ H Δᵀ)."""
    size = change.shape[1]
    second = moments.inputs[:, :size, :size].sum(0) / moments.counts.sum()
    return 0.5 * float(((moments.gradients @ change @ second) * change).sum())


def refit_matrix(matrix: Tensor, moments: ReaderMoments, kept: Tensor, ridge: float | None = None) -> Tensor:
    """The matrix of the kept columns.

    Args:
        matrix: (outputs, K + 1), the bias last; (outputs, K) for a layer without a bias, which gets none.
        moments: of its inputs.
        kept: (K + 1,) or (K,), true for columns that stay.
        ridge: λ; None: the one that loses least on images left out.

    Returns:
        (outputs, kept columns), float64.
    """
    size = matrix.shape[1]
    folds = moments.inputs[:, :size, :size]
    total, count = folds.sum(0), moments.counts.sum()
    if ridge is not None:
        return _solve(matrix, total / count, kept, ridge)
    losses = torch.zeros(len(_RIDGES), dtype=torch.float64)
    for fold, weight in zip(folds, moments.counts, strict=True):
        if weight == 0 or weight == count:
            continue
        others = (total - fold) / (count - weight)
        for number, ridge in enumerate(_RIDGES):
            gap = _spread(_solve(matrix, others, kept, ridge), kept) - matrix
            losses[number] += ((gap @ fold) * gap).sum()
    return _solve(matrix, total / count, kept, _RIDGES[int(losses.argmin())])


def _solve(matrix: Tensor, second: Tensor, kept: Tensor, ridge: float) -> Tensor:
    own, cross = second[kept][:, kept], second[~kept][:, kept]
    factor = torch.linalg.cholesky(_add_ridge(own, ridge))
    made_up = torch.cholesky_solve((matrix[:, ~kept] @ cross).T, factor).T
    return matrix[:, kept] + made_up


def _add_ridge(second: Tensor, ridge: float) -> Tensor:
    """H + λ D; inputs that are always 0, perhaps all of them, get a little too, so that the matrix has an inverse."""
    powers = second.diagonal()
    least = (1e-6 * powers.mean()).clamp(min=1e-12)
    return second + torch.diag(ridge * torch.maximum(powers, least))


def _spread(part: Tensor, kept: Tensor) -> Tensor:
    whole = torch.zeros(part.shape[0], len(kept), dtype=part.dtype)
    whole[:, kept] = part
    return whole


def column_costs(matrix: Tensor, moments: ReaderMoments, groups: Tensor) -> Tensor:
    """What it costs, in nats of divergence, to lose each group of columns when the others make up for it.

    What the others cannot make up, and λ D times the squares of what they change, is A_j (P_jj⁻¹ - λ D_jj) A_jᵀ with
    P = (H + λ D)⁻¹; half of its product with the outputs' gradients is the cost, summed over positions.

    Args:
        matrix: (outputs, columns) of the kept columns, the bias last where there is one.
        moments: restricted to these columns.
        groups: (n, m), the columns of each group.

    Returns:
        (n,)
    """
    second = moments.inputs.sum(0) / moments.counts.sum()
    ridged = _add_ridge(second, moments.ridge)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(ridged))
    of_group = (groups[:, :, None], groups[:, None, :])
    blocks = torch.linalg.inv(inverse[of_group]) - (ridged - second)[of_group]
    return _weighted(matrix, moments, groups, blocks)


def best_ridge(matrix: Tensor, moments: ReaderMoments, groups: Sequence[Tensor]) -> float:
    """λ of costs with which the columns of each group are best made from the others, on images left out.

    With few images, and no positions, as in front of a linear layer, each column seems to follow from the others.
    Errors count as `column_costs` counts them, on the first fold, by what the others tell.

    Args:
        matrix, moments: of all columns.
        groups: each (n, m), as `column_costs` takes them, of all sizes that there are.
    """
    size = matrix.shape[1]
    folds, counts = moments.inputs[:, :size, :size], moments.counts
    if float(counts.sum()) >= _ENOUGH * size or not bool(counts[0] > 0) or not bool(counts[1:].sum() > 0):
        return RIDGE
    others, left_out = folds[1:].sum(0) / counts[1:].sum(), folds[0] / counts[0]
    best, least = RIDGE, float("inf")
    for ridge in _COST_RIDGES:
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(_add_ridge(others, ridge)))
        seen = inverse @ left_out
        lost = 0.0
        for members in groups:
            own = torch.linalg.inv(inverse[members[:, :, None], members[:, None, :]])
            left = seen[members] @ inverse[members].mT
            lost += float(_weighted(matrix, moments, members, own @ left @ own).sum())
        if lost >= least:
            break  # losses fall, then rise
        best, least = ridge, lost
    return best


def column_groups(columns: np.ndarray) -> list[Tensor]:
    """The places of columns that go together, (n, m) for each size m. columns: by column, the channel it reads."""
    by_size: dict[int, list[np.ndarray]] = {}
    for channel in np.unique(columns):
        places = np.flatnonzero(columns == channel)
        by_size.setdefault(len(places), []).append(places)
    return [torch.from_numpy(np.stack(members)) for members in by_size.values()]


def _weighted(matrix: Tensor, moments: ReaderMoments, groups: Tensor, blocks: Tensor) -> Tensor:
    """(n,): half of tr(G A_j B_j A_jᵀ) for each group's block."""
    parts = matrix[:, groups].permute(1, 0, 2)  # (n, outputs, m)
    costs: Tensor = (blocks * (parts.mT @ (moments.gradients @ parts))).sum((1, 2))
    return 0.5 * costs
