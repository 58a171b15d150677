"""Calibrated rounding: choose levels one weight at a time, and let later weights make up for each error.

For a layer's matrix W (O, C), the second moment H of its inputs and G of the gradients that reach its outputs, the
loss of rounding to Ŵ is tr(G E H Eᵀ), E = W − Ŵ. With H⁻¹ = UᵀU and G⁻¹ = VᵀV (both upper triangular), the factor
of the whole is V ⊗ U: rounding weight (r, j) with error e = (w − ŵ)/(V_rr U_jj) costs e² and moves the weights still
to be rounded, (s, k) with s ≥ r and k ≥ j, by −e·V_rs·U_jk: the optimum for them, given the error. Within a row this
is the usual error feedback; between rows it uses that errors of outputs which the network adds up can cancel.

Source: OBS (Hassibi & Stork 1993), GPTQ (Frantar et al. 2022, arXiv:2210.17323); two-sided: Kronecker-factored
curvature (Martens & Grosse 2015, arXiv:1503.05671) in place of H alone.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

__all__ = ["loss", "regularised", "round_matrix", "upper_factor"]

Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]
_LARGEST = 2147483646.0


def regularised(second: Float64, shrink: float) -> Float64:
    """Return H (C, C) shrunk towards its diagonal, dead inputs given the least of weights.

    Raises nothing for any H: one of zeros, as a layer without inputs that ever differ from 0 has it, becomes 1.
    """
    diagonal = np.diag(second).astype(np.float64)
    mean = float(diagonal.mean())
    if not np.isfinite(mean) or mean <= 0:
        return np.eye(len(second))
    diagonal = np.maximum(diagonal, mean * 1e-4)
    shrunk = (1 - shrink) * second.astype(np.float64)
    np.fill_diagonal(shrunk, diagonal)
    return shrunk


def upper_factor(second: Float64) -> Float64:
    """Return U, upper triangular, with H⁻¹ = UᵀU, for a positive definite H (C, C)."""
    # With the inputs in reverse order H = LLᵀ, so H⁻¹ = L⁻ᵀL⁻¹; put back in order, L⁻¹ is upper triangular: it is U.
    lower = np.linalg.cholesky(second[::-1, ::-1])
    inverse = np.linalg.inv(lower)
    return np.ascontiguousarray(np.triu(inverse[::-1, ::-1]))


def loss(error: Float64, inputs: Float64, outputs: Float64 | None = None) -> float:
    """Return tr(G E H Eᵀ) for an error E (R, C), H = `inputs` (C, C) and G = `outputs` (R, R), by default 1."""
    spread = error @ inputs
    if outputs is not None:
        error = outputs @ error
    return float(np.einsum("rc,rc->", error, spread))


@numba.njit(cache=True, nogil=True)
def round_matrix(
    weights: Float64,
    row_steps: Float64,
    column_steps: Float64,
    inputs: Float64,
    outputs: Float64,
    levels: Int32,
) -> bool:
    """Fill `levels` (R, C) for `weights` (R, C), which are overwritten; False if a level leaves 31 bits.

    The step of weight (r, j) is row_steps[r]·column_steps[j]. inputs: U (C, C); outputs: V (R, R). Cost:
    R·C²/2 multiplications for the feedback within rows, and as many again and R²·C/2 for that between rows.
    """
    rows, columns = weights.shape
    errors = np.empty(columns)
    moved = np.empty(columns)
    for r in range(rows):
        row = weights[r]
        for j in range(columns):
            step = row_steps[r] * column_steps[j]
            level = np.rint(row[j] / step)
            if not abs(level) <= _LARGEST:
                return False
            levels[r, j] = np.int32(level)
            error = (row[j] - level * step) / inputs[j, j]
            errors[j] = error
            for k in range(j + 1, columns):
                row[k] -= error * inputs[j, k]
        if r + 1 == rows:
            break
        moved[:] = 0.0
        for j in range(columns):
            error = errors[j] / outputs[r, r]
            for k in range(j, columns):
                moved[k] += error * inputs[j, k]
        for s in range(r + 1, rows):
            share = outputs[r, s]
            if share != 0.0:
                for k in range(columns):
                    weights[s, k] -= share * moved[k]
    return True
