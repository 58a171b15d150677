"""Calibrated rounding: choose levels one weight at a time, and let later weights make up for each error.

For a layer's matrix W (O, C), the second moment H of its inputs and G of the gradients that reach its outputs, the
loss of rounding to Ŵ is tr(G E H Eᵀ), E = W − Ŵ. With H⁻¹ = UᵀU and G⁻¹ = VᵀV (both upper triangular), the factor
of the whole is V ⊗ U: rounding weight (r, j) with error e = (w − ŵ)/(V_rr U_jj) costs e² and moves the weights still
to be rounded, (s, k) with s ≥ r and k ≥ j, by −e·V_rs·U_jk: the optimum for them, given the error. Within a row this
is the usual error feedback; between rows it uses that errors of outputs which the network adds up can cancel.

On a trellis (`enxuto.trellis`) each state keeps the path with the least loss that leads to it, with the weights still
to be rounded as that path has moved them; after 256 weights the best path of all is kept alone, since by then all
have the same beginning.

Source: OBS (Hassibi & Stork 1993), GPTQ (Frantar et al. 2022, arXiv:2210.17323); two-sided: Kronecker-factored
curvature (Martens & Grosse 2015, arXiv:1503.05671) in place of H alone. Search: Viterbi's algorithm, with feedback
along survivors (Kerpez 1991, "per-survivor processing").
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from enxuto.trellis import NEXT

__all__ = [
    "LARGEST_ON_TRELLIS",
    "candidates",
    "loss",
    "round_matrix",
    "round_on_trellis",
    "upper_factor",
]

Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]
_LARGEST = 2147483646.0
LARGEST_ON_TRELLIS = 1073741822.0
_BLOCK = 256  # weights after which one path is kept


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
        if r + 1 < rows:
            _share(weights, r, errors, inputs, outputs, moved)
    return True


@numba.njit(cache=True, nogil=True)
def _share(
    weights: Float64, r: int, errors: Float64, inputs: Float64, outputs: Float64, moved: Float64
) -> None:
    """Move the rows after `r` by what its errors (C,) call for; `moved` (C,) is overwritten."""
    rows, columns = weights.shape
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


def round_on_trellis(
    weights: Float64,
    row_steps: Float64,
    column_steps: Float64,
    inputs: Float64,
    outputs: Float64,
    states: npt.NDArray[np.int64],
    levels: Int32,
) -> bool:
    """Fill `levels` (R, C) as `round_matrix` does, with those of dependent quantization.

    states (R,): where each row begins on the trellis; overwritten by where it ends. Cost besides that of
    `round_matrix`: 8·256/2 multiplications a weight.
    """
    done: bool = _round_on_trellis(weights, row_steps, column_steps, inputs, outputs, NEXT, states, levels)
    return done


@numba.njit(cache=True, nogil=True)
def _round_on_trellis(
    weights: Float64,
    row_steps: Float64,
    column_steps: Float64,
    inputs: Float64,
    outputs: Float64,
    following: npt.NDArray[np.int64],
    states: npt.NDArray[np.int64],
    levels: Int32,
) -> bool:
    rows, columns = weights.shape
    errors = np.empty(columns)
    moved = np.empty(columns)
    for r in range(rows):
        for start in range(0, columns, _BLOCK):
            end = min(start + _BLOCK, columns)
            steps = row_steps[r] * column_steps[start:end]
            own = inputs[start:end, start:end]
            found, ended = _best_path(
                weights[r, start:end],
                steps,
                own,
                following,
                states[r],
                levels[r, start:end],
                errors[start:end],
            )
            if not found:
                return False
            states[r] = ended
            row = weights[r]
            for j in range(start, end):
                error = errors[j]
                for k in range(end, columns):
                    row[k] -= error * inputs[j, k]
        if r + 1 < rows:
            _share(weights, r, errors, inputs, outputs, moved)
    return True


@numba.njit(cache=True, nogil=True)
def _best_path(
    row: Float64,
    steps: Float64,
    inputs: Float64,
    following: npt.NDArray[np.int64],
    first: int,
    levels: Int32,
    errors: Float64,
) -> tuple[bool, int]:
    """Fill levels (n,) and errors (n,) of a piece of a row by the best path from state `first`.

    Returns whether all levels are within bounds, and the state that the path ends in.
    """
    count, length = following.shape[0], row.shape[0]
    losses, others = np.full(count, np.inf), np.empty(count)
    losses[first] = 0.0
    left, next_left = (
        np.empty((count, length)),
        np.empty((count, length)),
    )  # weights as survivors have moved them
    left[first] = row
    origins = np.empty((length, count), np.int64)
    chosen, missed = np.empty((length, count), np.int32), np.empty((length, count))
    for j in range(length):
        others[:] = np.inf
        for state in range(count):
            if losses[state] == np.inf:
                continue
            scaled = left[state, j] / steps[j]
            if not abs(scaled) <= LARGEST_ON_TRELLIS:
                return False, 0
            lower, upper = candidates(scaled, state & 1)
            for level in (lower, upper):
                units = 2.0 * level - (state & 1) * np.sign(level)
                error = (left[state, j] - units * steps[j]) / inputs[j, j]
                total = losses[state] + error * error
                reached = following[state, np.int64(level) & 1]
                if total < others[reached]:
                    others[reached] = total
                    origins[j, reached], chosen[j, reached] = state, np.int32(level)
                    missed[j, reached] = error
        for state in range(count):
            if others[state] < np.inf:
                origin, error = origins[j, state], missed[j, state]
                for k in range(j + 1, length):
                    next_left[state, k] = left[origin, k] - error * inputs[j, k]
        left, next_left = next_left, left
        losses, others = others, losses
    ended = int(np.argmin(losses))
    state = ended
    for j in range(length - 1, -1, -1):
        levels[j], errors[j] = chosen[j, state], missed[j, state]
        state = origins[j, state]
    return True, ended


@numba.njit(cache=True, nogil=True)
def candidates(scaled: float, odd: int) -> tuple[float, float]:
    """Return the two levels nearest to `scaled` steps in an even or an odd state, one of either parity."""
    if not odd:
        lower = np.floor(scaled / 2)
        return lower, lower + 1
    size = np.floor((abs(scaled) + 1) / 2)  # levels ±k stand for ±(2k − 1): zero lies between 1 and −1
    sign = -1.0 if scaled < 0 else 1.0
    return sign * size, sign * (size + 1)
