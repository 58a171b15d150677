"""Calibrated rounding: choose levels one input at a time, and let later weights make up for each error.

For a row w of a layer's matrix and the inputs' second moment H, the loss of rounding to ŵ is (w − ŵ)ᵀ H (w − ŵ).
With H⁻¹ = UᵀU (U upper triangular), rounding input j with error e = (w_j − ŵ_j)/U_jj costs e² and moves the
weights still to be rounded by −e·U_j,j+1…: the optimum for them, given the error. Every choice also pays its rate,
λ·(−log2 p(level)), so that weights whose error costs little go to zero or to cheap levels.

Source: OBS (Hassibi & Stork 1993), GPTQ (Frantar et al. 2022, arXiv:2210.17323), with the rate term as in
entropy-constrained quantization (Sullivan 1996; Conzelmann & Bamler 2025).
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

__all__ = ["conditional_weights", "level_rates", "loss", "regularised", "round_rows", "upper_factor"]

Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]


def regularised(second: Float64, shrink: float) -> Float64:
    """Return H (C, C) shrunk towards its diagonal, dead inputs given the least of weights."""
    diagonal = np.diag(second).copy()
    floor = max(float(diagonal.mean()) * 1e-4, 1e-12)
    diagonal = np.maximum(diagonal, floor)
    shrunk = (1 - shrink) * second
    np.fill_diagonal(shrunk, diagonal)
    return shrunk


def upper_factor(second: Float64) -> Float64:
    """Return U, upper triangular, with H⁻¹ = UᵀU, for a positive definite H (C, C)."""
    # With the inputs in reverse order H = LLᵀ, so H⁻¹ = L⁻ᵀL⁻¹; put back in order, L⁻¹ is upper triangular: it is U.
    lower = np.linalg.cholesky(second[::-1, ::-1])
    inverse = np.linalg.inv(lower)
    return np.ascontiguousarray(np.triu(inverse[::-1, ::-1]))


def conditional_weights(factor: Float64) -> Float64:
    """Return 1/U_jj² (C,): what an error in input j costs once the inputs behind it have made up for it."""
    return np.asarray(1.0 / np.diag(factor) ** 2, np.float64)


def loss(error: Float64, second: Float64) -> float:
    """Return Σ over rows of eᵀ H e; `error` (R, C)."""
    return float(np.einsum("rc,rc->", error @ second, error))


def level_rates(levels: Int32, reach: int) -> Float64:
    """Return −log2 p for levels −reach…reach (2·reach + 1,), from the counts in `levels`, smoothed.

    Smoothing adds a Laplacian of the levels' own mean size, of the weight of two dozen levels, so that levels not
    seen yet can be taken.
    """
    clipped = np.clip(levels.reshape(-1), -reach, reach)
    counts = np.bincount(clipped + reach, minlength=2 * reach + 1).astype(np.float64)
    size = float(np.abs(clipped).mean()) + 0.05
    spread = np.exp(-np.abs(np.arange(-reach, reach + 1)) / size)
    smoothed = counts + 24 * spread / spread.sum() + 1e-3
    return np.asarray(-np.log2(smoothed / smoothed.sum()), np.float64)


@numba.njit(cache=True, nogil=True)
def round_rows(
    weights: Float64, steps: Float64, factor: Float64, rates: Float64, price: float, levels: Int32
) -> None:
    """Fill `levels` (R, C) for `weights` (R, C), which is overwritten; row r has step `steps[r]`.

    rates: −log2 p for levels −K…K (2K + 1,); larger levels pay the outermost one's. price: λ, loss per bit.
    """
    rows, columns = weights.shape
    reach = rates.shape[0] // 2
    for r in range(rows):
        step = steps[r]
        for j in range(columns):
            scale = step / factor[j, j]
            weight = scale * scale
            target = weights[r, j] / step
            nearest = np.int64(np.rint(target))
            best = np.int64(0)
            best_cost = np.inf
            toward = nearest - 1 if nearest > 0 else nearest + 1
            away = nearest + 1 if target > nearest else nearest - 1
            for choice in range(4):
                level = (
                    nearest
                    if choice == 0
                    else (toward if choice == 1 else (np.int64(0) if choice == 2 else away))
                )
                miss = target - level
                place = min(max(level + reach, 0), 2 * reach)
                cost = miss * miss * weight + price * rates[place]
                if cost < best_cost:
                    best_cost = cost
                    best = level
            levels[r, j] = np.int32(best)
            error = (target - best) * scale
            for k in range(j + 1, columns):
                weights[r, k] -= error * factor[j, k]
