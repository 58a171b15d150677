"""Calibrated rounding: choose levels one weight at a time, and let later weights make up for each error.

For a layer's matrix W (O, C), the second moment H of its inputs and G of the gradients that reach its outputs, the
loss of rounding to Ŵ is tr(G E H Eᵀ), E = W − Ŵ. With H⁻¹ = UᵀU and G⁻¹ = VᵀV (both upper triangular), the factor
of the whole is V ⊗ U: rounding weight (r, j) with error e = (w − ŵ)/(V_rr U_jj) costs e² and moves the weights still
to be rounded, (s, k) with s ≥ r and k ≥ j, by −e·V_rs·U_jk: the optimum for them, given the error. Within a row this
is the usual error feedback; between rows it uses that errors of outputs which the network adds up can cancel.

Along a row the nearest level of each weight in turn is one choice among many; several are followed together
(`rounding.row_search`), on a trellis (`enxuto.quantize.trellis`) or without one.

Source: OBS (Hassibi & Stork 1993), GPTQ (Frantar et al. 2022, arXiv:2210.17323); two-sided: Kronecker-factored
curvature (Martens & Grosse 2015, arXiv:1503.05671) in place of H alone.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from enxuto.machine.kernels import clamp, compiled, inlined
from enxuto.quantize.trellis import MACHINES, NEWEST
from enxuto.rounding.paths import SearchMemory
from enxuto.rounding.row_search import LARGEST, Columns, allocate_search, pass_on, search_row

__all__ = [
    "loss",
    "round_matrix",
    "round_on_trellis",
    "upper_factor",
]

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
_TILE = 16  # rows that are moved together by all before them: a multiple of 4
_PIECE = 256  # of their weights at a time
_NO_TRELLIS = np.zeros((1, 2), np.int64)


def upper_factor(second: Float64) -> Float64:
    """Return U, upper triangular, with H⁻¹ = UᵀU, for a positive definite H (C, C)."""
    # With the inputs in reverse order H = LLᵀ, so H⁻¹ = L⁻ᵀL⁻¹; put back in order, L⁻¹ is upper triangular: it is U.
    lower = np.linalg.cholesky(second[::-1, ::-1])
    inverse = np.linalg.inv(lower)
    return np.ascontiguousarray(np.triu(inverse[::-1, ::-1]))


def loss(error: Float64, input_moment: Float64, gradient_moment: Float64 | None = None) -> float:
    """Return tr(G E H Eᵀ) for an error E (R, C), H = `input_moment` (C, C), G = `gradient_moment` (R, R).

    Without a G it is the unit matrix.
    """
    spread = error @ input_moment
    if gradient_moment is not None:
        error = gradient_moment @ error
    return float(np.einsum("rc,rc->", error, spread))


def round_matrix(
    weights: Float64,
    row_steps: Float64,
    column_steps: Float64,
    column_factor: Float64,
    row_factor: Float64,
    levels: Int32,
    *,
    paths: int = 1,
) -> bool:
    """Fill `levels` (R, C) for `weights` (R, C), which are overwritten; False if a level leaves 31 bits.

    The step of weight (r, j) is row_steps[r]·column_steps[j]. column_factor: U (C, C); row_factor: V (R, R); both from
    `upper_factor`. paths: how many are followed along each row; one alone takes the nearest level of each weight.
    Cost: R·C² multiplications for what errors do to the row and to later ones, R²·C/2 for handing that on, and up to
    200 more for each path of a weight.
    """
    states = np.zeros(len(weights), np.int64)
    return _round_rows(
        weights, row_steps, column_steps, column_factor, row_factor, _NO_TRELLIS, states, paths, levels
    )


def round_on_trellis(
    weights: Float64,
    row_steps: Float64,
    column_steps: Float64,
    column_factor: Float64,
    row_factor: Float64,
    states: Int64,
    levels: Int32,
    *,
    paths: int = 64,
) -> bool:
    """Fill `levels` (R, C) as `round_matrix` does, with those of dependent quantization.

    states (R,): where each row begins on the trellis; overwritten by where it ends.
    """
    return _round_rows(
        weights,
        row_steps,
        column_steps,
        column_factor,
        row_factor,
        MACHINES[NEWEST].following,
        states,
        paths,
        levels,
    )


def _round_rows(
    weights: Float64,
    row_steps: Float64,
    column_steps: Float64,
    column_factor: Float64,
    row_factor: Float64,
    following: Int64,
    states: Int64,
    paths: int,
    levels: Int32,
) -> bool:
    own, shared = np.diagonal(column_factor), np.diagonal(row_factor)
    shares, (rows, columns) = row_factor / shared[:, None], weights.shape
    coupled = bool(np.triu(shares, 1).any())
    ratios = (column_factor / own[:, None]).astype(np.float32)
    done: bool = _round_all_rows(
        weights,
        row_steps,
        Columns(column_steps, (own.max() / own) ** 2, ratios),
        shares,
        coupled,
        following,
        states,
        allocate_search(paths, columns),
        np.empty(columns),
        np.zeros((rows if coupled else 1, columns)),
        levels,
    )
    return done


@compiled
def _round_all_rows(
    weights: Float64,
    row_steps: Float64,
    columns: Columns,
    shares: Float64,
    coupled: bool,
    following: Int64,
    states: Int64,
    memory: SearchMemory,
    errors: Float64,
    taken: Float64,
    levels: Int32,
) -> bool:
    """Round row by row. Errors move later rows when those are next in turn, many at a time.

    coupled: whether errors of a row move later ones. memory, errors (C,): what a row is worked out in. taken (R, C):
    for what each row takes from those behind, over V_rs/V_rr, or of one row if they are not coupled.
    """
    one_path = len(memory.paths.losses) == 1 and len(following) == 1
    for r in range(len(weights)):
        row = weights[r]
        if coupled:
            _move_row(weights, taken, shares, r)
        if one_path:
            found = _round_row(row, row_steps[r], columns.steps, columns.ratios, levels[r], errors)
        else:
            found, states[r] = search_row(
                row, row_steps[r], columns, following, states[r], memory, levels[r], errors
            )
        if not found:
            return False
        if coupled:
            _spread(taken[r], errors, columns.ratios)
    return True


@inlined
def _round_row(
    row: Float64, unit: float, steps: Float64, ratios: Float32, levels: Int32, errors: Float64
) -> bool:
    """Fill levels (C,) and errors (C,) of a row off the trellis one by one; False if a level leaves 31 bits."""
    for start in range(0, len(row), _PIECE):
        end = clamp(start + _PIECE, 0, len(row))
        for j in range(start, end):
            step = unit * steps[j]
            level = np.rint(row[j] / step)
            if not abs(level) <= LARGEST:
                return False
            error, own = row[j] - level * step, ratios[j]
            levels[j], errors[j] = np.int32(level), error
            for k in range(np.uint64(j + 1), np.uint64(end)):
                row[k] -= error * own[k]
        pass_on(row, errors, ratios, start, end, end)
    return True


@inlined
def _move_row(weights: Float64, taken: Float64, shares: Float64, r: int) -> None:
    """Take from row r what all rows before it take; those before a tile of rows do so at its head, for all of it."""
    columns = weights.shape[1]
    head = r - r % _TILE
    if r == head:
        for start in range(0, columns, _PIECE):
            for first in range(0, head, 4):
                for s in range(head, clamp(head + _TILE, 0, len(weights))):
                    _move_by_four(weights, taken, shares, first, s, start, clamp(start + _PIECE, 0, columns))
    for s in range(head, r):
        row, move, share = weights[r], taken[s], shares[s, r]
        for k in range(np.uint64(columns)):
            row[k] += share * move[k]


@compiled
def _move_by_four(
    weights: Float64, taken: Float64, shares: Float64, first: int, s: int, start: int, end: int
) -> None:
    """Take from a piece of row s what the four rows from `first` on take."""
    v0, v1, v2, v3 = shares[first, s], shares[first + 1, s], shares[first + 2, s], shares[first + 3, s]
    here = np.uint64(s)
    r0, r1, r2, r3 = np.uint64(first), np.uint64(first + 1), np.uint64(first + 2), np.uint64(first + 3)
    for k in range(np.uint64(start), np.uint64(end)):
        former, latter = v0 * taken[r0, k] + v1 * taken[r1, k], v2 * taken[r2, k] + v3 * taken[r3, k]
        weights[here, k] += former + latter


@inlined
def _spread(taken: Float64, errors: Float64, ratios: Float32) -> None:
    """Fill `taken` (C,) with what errors (C,) of a row take from every weight, their own (1) included."""
    columns = len(taken)
    for k in range(columns):
        taken[k] = 0.0
    for start in range(0, columns, _TILE):
        end = clamp(start + _TILE, 0, columns)
        for j in range(start, end):
            error, own = errors[j], ratios[j]
            for k in range(np.uint64(j), np.uint64(end)):
                taken[k] -= error * own[k]
        pass_on(taken, errors, ratios, start, end, end)
