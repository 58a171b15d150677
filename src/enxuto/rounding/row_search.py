"""The levels of one row of weights, where each error moves the weights behind it: a search along many paths.

A path is a choice of levels so far, with what its errors take from the weights behind. Each is extended by the two
levels nearest to the next weight as it has moved it, of either parity, and the best of all extensions are kept. On a
trellis (`quantize.trellis`) paths may meet in a state; they are not equal then, as they would be for Viterbi's
algorithm, since their errors go on to move what comes.

What paths take from the weights behind is worked out eight weights at a time (a batch), and for the rest of a span of
128 weights. At the end of a span the best path settles the levels of the span before, whose errors then move the rest
of the row once for all paths; paths with other levels there end.

Numbers in which paths differ are in units of the row's step, in single precision: only the choice hangs on them.

Source: M-algorithm (Anderson & Mohan 1984, IEEE Trans. Commun. 32) with feedback along survivors (Kerpez 1991,
"per-survivor processing"); for lattices it is known as the K-best sphere decoder. What errors do to later weights:
`rounding.feedback`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from enxuto.machine.kernels import compiled, inlined
from enxuto.rounding.paths import (
    BATCH,
    Extensions,
    Paths,
    SearchMemory,
    allocate_paths,
    begin_row,
    extend_paths,
    read_path,
    settle_paths,
)

__all__ = ["LARGEST", "LARGEST_ON_TRELLIS", "Columns", "allocate_search", "pass_on", "search_row"]

LARGEST_ON_TRELLIS = 1073741822.0
LARGEST = 2147483646.0  # off the trellis
_SPAN = 128
_HALVINGS = 40

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
UInt64 = npt.NDArray[np.uint64]


# Indices count unsigned where speed matters: one that might be negative is looked at each time, which is ten times as
# slow in the innermost loops.


class Columns(NamedTuple):
    """What holds for column j of every row.

    steps (C,): in units of the row's. costs (C,): of the square of an error, in such units. ratios (C, C): what an
    error of j takes from weight k > j.
    """

    steps: Float64
    costs: Float64
    ratios: Float32


def allocate_search(max_paths: int, length: int) -> SearchMemory:
    """Return arrays for the search along rows of `length` weights, with at most `max_paths` paths."""
    return allocate_paths(max_paths, min(_SPAN, -(-length // BATCH) * BATCH))


@compiled
def search_row(
    row: Float64,
    unit: float,
    columns: Columns,
    following: Int64,
    first: int,
    memory: SearchMemory,
    levels: Int32,
    errors: Float64,
) -> tuple[bool, int]:
    """Fill levels (C,) of a row (C,), and errors (C,) of its weights as they were moved; as many paths as have room.

    The row is overwritten. The step of weight j is unit·columns.steps[j]. following (states, 2): the state after an
    even and after an odd level, from state `first` on; one state alone is no trellis. memory: from `allocate_search`.
    Returns whether levels are within bounds, and the last state.
    """
    paths, extensions, history = memory.paths, memory.extensions, memory.history
    steps, costs, ratios = columns.steps, columns.costs, columns.ratios
    length, off_trellis = len(row), len(following) == 1
    span = len(history.earlier_errors)
    begin_row(paths, extensions, first)
    side: Any = np.int64(0)
    best = np.int64(0)
    for start in range(0, length, span):
        end = start + span if start + span < length else length
        half: Any = np.int64(0)
        _begin_span(paths.moved, history.earlier_errors, ratios, start, end)
        for head in range(start, end, BATCH):
            tail = head + BATCH if head + BATCH < end else end
            for path in range(len(paths.losses)):
                paths.roots[0, path] = np.uint64(path)
            for j in range(head, tail):
                _shift(extensions.shifts, paths, half, ratios, start, head, j)
                if not _try_levels(
                    row[j] / unit, extensions, paths, steps[j], costs[j] * steps[j] ** 2, off_trellis
                ):
                    return False, 0
                _select_best(extensions.totals, extensions.picks, paths.losses)
                extend_paths(paths, extensions, history, following, side, j - start, j - head)
            number, turn = (head - start) // BATCH, (tail - head) % 2
            batch, roots = history.batches[number], history.roots[number]
            for path in range(len(roots)):
                roots[path] = paths.roots[turn, path]
            for i in range(BATCH):
                for path in range(len(roots)):
                    batch[i, path] = paths.batch[turn, i, path]
            if tail < end:
                _pass_batch_on(paths, half, batch, roots, ratios, start, head, end)
                half = 1 - half
        best, settled = settle_paths(paths.losses, history, end - start, start > 0)
        if start:
            earlier = start - span
            read_path(history, 1 - side, settled, unit, levels[earlier:start], errors[earlier:start])
            pass_on(row, errors, ratios, earlier, start, end)
        if end == length:
            read_path(history, side, best, unit, levels[start:end], errors[start:end])
        side = 1 - side
    return True, paths.states[best]


@inlined
def _begin_span(moved: Float32, earlier_errors: Float32, ratios: Float32, start: int, end: int) -> None:
    """Set `moved` (its half 0) for a new span: what errors of the span before take from its weights."""
    for path in range(moved.shape[1]):
        for k in range(moved.shape[2]):
            moved[0, path, k] = 0.0
    if start:
        span = len(earlier_errors)
        for i in range(0, span, BATCH):
            half = i // BATCH % 2
            for path in range(moved.shape[1]):
                _take(
                    moved[1 - half],
                    path,
                    moved[half],
                    path,
                    earlier_errors,
                    i,
                    ratios,
                    start - span + i,
                    start,
                    start,
                    end,
                )


@inlined
def _pass_batch_on(
    paths: Paths, half: int, batch: Float32, roots: UInt64, ratios: Float32, start: int, head: int, end: int
) -> None:
    """Write to the other half of `moved` what paths take from the rest of the span with this batch of errors."""
    moved, source = paths.moved[1 - half], paths.moved[half]
    for path in range(len(roots)):
        _take(
            moved,
            path,
            source,
            np.int64(roots[path]),
            batch,
            np.int64(0),
            ratios,
            head,
            start,
            head + BATCH,
            end,
        )


@compiled
def _take(
    moved: Float32,
    path: int,
    source: Float32,
    origin: int | np.int64,
    errors: Float32,
    i: int | np.int64,
    ratios: Float32,
    j: int,
    start: int,
    head: int,
    end: int,
) -> None:
    """Set what a path takes from weights [head, end) of a span: what `origin` did, and eight errors from weight j on.

    moved, source (p, span); errors (…, p), of which rows i to i + 7 count.
    """
    e0, e1, e2, e3 = errors[i, path], errors[i + 1, path], errors[i + 2, path], errors[i + 3, path]
    e4, e5, e6, e7 = errors[i + 4, path], errors[i + 5, path], errors[i + 6, path], errors[i + 7, path]
    here, its, first = np.uint64(path), np.uint64(origin), np.uint64(start)
    r0, r1, r2, r3 = np.uint64(j), np.uint64(j + 1), np.uint64(j + 2), np.uint64(j + 3)
    r4, r5, r6, r7 = np.uint64(j + 4), np.uint64(j + 5), np.uint64(j + 6), np.uint64(j + 7)
    for k in range(np.uint64(head), np.uint64(end)):
        former = (e0 * ratios[r0, k] + e1 * ratios[r1, k]) + (e2 * ratios[r2, k] + e3 * ratios[r3, k])
        latter = (e4 * ratios[r4, k] + e5 * ratios[r5, k]) + (e6 * ratios[r6, k] + e7 * ratios[r7, k])
        moved[here, k - first] = source[its, k - first] + (former + latter)


@inlined
def _shift(shifts: Float64, paths: Paths, half: int, ratios: Float32, start: int, head: int, j: int) -> None:
    """Fill `shifts` (p,): what each path takes from weight j."""
    turn = (j - head) % 2
    moved, roots, place = paths.moved[half], paths.roots[turn], np.uint64(j - start)
    for path in range(np.uint64(len(shifts))):
        shifts[path] = moved[roots[path], place]
    for i in range(j - head):
        errors, ratio = paths.batch[turn, i], ratios[head + i, j]
        for path in range(np.uint64(len(shifts))):
            shifts[path] += errors[path] * ratio


@inlined
def _try_levels(
    weight: float, extensions: Extensions, paths: Paths, step: float, cost: float, off_trellis: bool
) -> bool:
    """Try on each path the two levels nearest to a weight, of either parity; False if one is out of bounds.

    Beside 1, on the grid of odd multiples, that is 2, also where 0 would be nearer: for 0.001 bits, one branch less.
    """
    totals, levels, errors, losses, shifts = (
        extensions.totals,
        extensions.levels,
        extensions.errors,
        paths.losses,
        extensions.shifts,
    )
    count, grid = np.uint64(len(losses)), 1.0 if off_trellis else 2.0
    largest, outside = LARGEST if off_trellis else LARGEST_ON_TRELLIS, 0
    for path in range(count):
        scaled = (weight - shifts[path]) / step
        odd = 0.0 if off_trellis else np.float64(paths.states[path] & 1)
        # In an odd state levels ±k stand for ±(2k − 1): zero lies between 1 and −1. The same rule stands, with
        # branches, in `viterbi`; as one function for both, this loop takes twice as long.
        sign = -1.0 if odd * scaled < 0 else 1.0
        size = sign * scaled
        low = np.floor((size + odd) / grid)
        units = grid * low - odd
        error, other = size - (0.0 if units * odd < 0 else units), size - (units + grid)
        outside += 0 if abs(scaled) <= largest or losses[path] == np.inf else 1
        levels[path], levels[count + path] = sign * low, sign * (low + 1)
        errors[path], errors[count + path] = sign * error * step, sign * other * step
        totals[path], totals[count + path] = (
            losses[path] + error * error * cost,
            losses[path] + other * other * cost,
        )
    return outside == 0


@inlined
def _select_best(totals: Float64, picks: UInt64, losses: Float64) -> None:
    """Fill picks and losses (p,) with the least of totals (2p,), at least seven eighths as many as fit.

    Between the least and the largest a threshold is searched by halving: counting is faster than sorting.
    """
    most, extensions = len(losses), np.uint64(len(totals))
    low, high, count = np.inf, 0.0, 0
    for extension in range(extensions):
        low = min(low, totals[extension])
        high = max(high, totals[extension] if totals[extension] < np.inf else 0.0)
    for extension in range(extensions):
        count += 1 if totals[extension] < np.inf else 0
    threshold = high if count <= most else low
    for _ in range(_HALVINGS if count > most else 0):
        middle, count = (threshold + high) / 2, 0
        for extension in range(extensions):
            count += 1 if totals[extension] <= middle else 0
        if count > most:
            high = middle
        else:
            threshold = middle
            if count >= most - most // 8:
                break
    taken = np.uint64(0)
    for extension in range(extensions):
        if taken < np.uint64(most):
            picks[taken] = extension
            taken += np.uint64(1) if totals[extension] <= threshold else np.uint64(0)
    for path in range(taken):
        losses[path] = totals[picks[path]]
    for path in range(taken, np.uint64(most)):
        losses[path] = np.inf


@compiled
def pass_on(target: Float64, errors: Float64, ratios: Float32, start: int, end: int, behind: int) -> None:
    """Take from `target` (C,) from `behind` on what errors of weights [start, end) take, four at a time.

    The number of those is a multiple of 4, or nothing lies behind.
    """
    if behind < len(target):
        for j in range(start, end, 4):
            e0, e1, e2, e3 = errors[j], errors[j + 1], errors[j + 2], errors[j + 3]
            r0, r1, r2, r3 = np.uint64(j), np.uint64(j + 1), np.uint64(j + 2), np.uint64(j + 3)
            for k in range(np.uint64(behind), np.uint64(len(target))):
                former, latter = (
                    e0 * ratios[r0, k] + e1 * ratios[r1, k],
                    e2 * ratios[r2, k] + e3 * ratios[r3, k],
                )
                target[k] -= former + latter
