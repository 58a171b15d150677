"""Paths through a row of weights: what each has chosen so far, and how to go back along it.

A path lives on while others that end give their place to new ones, so that its number changes with each weight.
Errors are therefore written down batch by batch, with the number that each path had when the batch began: going back
takes one step for eight weights, and one for each weight only along the path that is settled in the end.
`quantize.row_search` says which ways paths go.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from enxuto.machine.kernels import inlined

__all__ = ["BATCH", "Past", "Paths", "Ways", "begin_row", "go_on", "make_room", "read", "settle"]

BATCH = 8

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
UInt64 = npt.NDArray[np.uint64]


class Paths(NamedTuple):
    """Up to p paths: their losses (p,), infinite where there is none, and states on the trellis (p,).

    moved (2, p, span): what each takes from the span's weights; one half is read, the other written. batch (2, 8, p):
    errors since the batch began; roots (2, p): which path of that time each goes back to.
    """

    losses: Float64
    states: Int64
    moved: Float32
    batch: Float32
    roots: UInt64


class Ways(NamedTuple):
    """Two ways on from each path (2p,), the lower levels first; `picks` (p,) are those taken.

    shifts (p,): what each path takes from the weight in turn; before (p,): the states that ways begin in.
    """

    totals: Float64
    levels: Float64
    errors: Float64
    picks: UInt64
    shifts: Float64
    before: Int64


class Past(NamedTuple):
    """What it takes to go back along paths.

    origins, levels, errors (2, span, p): of each step of a span and of the span before. batches (span / 8, 8, p),
    roots (span / 8, p): errors of each batch of a span. before (span, p): each path's errors in the span before.
    """

    origins: UInt64
    levels: Int32
    errors: Float32
    batches: Float32
    roots: UInt64
    before: Float32


# Indices count unsigned where speed matters: one that might be negative is looked at each time.


def make_room(most: int, span: int) -> tuple[Paths, Ways, Past]:
    """Return room for so many paths through rows, `span` weights at a time (a multiple of `BATCH`)."""
    paths = Paths(
        np.zeros(most),
        np.zeros(most, np.int64),
        np.zeros((2, most, span), np.float32),
        np.zeros((2, BATCH, most), np.float32),
        np.zeros((2, most), np.uint64),
    )
    ways = Ways(
        np.zeros(2 * most),
        np.zeros(2 * most),
        np.zeros(2 * most),
        np.zeros(most, np.uint64),
        np.zeros(most),
        np.zeros(most, np.int64),
    )
    past = Past(
        np.zeros((2, span, most), np.uint64),
        np.zeros((2, span, most), np.int32),
        np.zeros((2, span, most), np.float32),
        np.zeros((span // BATCH, BATCH, most), np.float32),
        np.zeros((span // BATCH, most), np.uint64),
        np.zeros((span, most), np.float32),
    )
    return paths, ways, past


@inlined
def begin_row(paths: Paths, ways: Ways, first: int) -> None:
    """Begin a row with one path, in state `first`; the other paths lead nowhere, whatever stands in their places."""
    for path in range(len(paths.losses)):
        paths.losses[path] = 0.0 if path == 0 else np.inf
        paths.states[path] = first
        ways.picks[path] = np.uint64(0)


@inlined
def go_on(paths: Paths, ways: Ways, past: Past, following: Int64, side: int, place: int, i: int) -> None:
    """Go the ways picked, and write down which: the i-th of the batch, at `place` in the span."""
    turn, count = i % 2, np.uint64(len(paths.losses))
    origins, levels, errors = past.origins[side, place], past.levels[side, place], past.errors[side, place]
    old, new, states = paths.roots[turn], paths.roots[1 - turn], paths.states
    for path in range(count):
        way = ways.picks[path]
        origins[path] = way if way < count else way - count
        levels[path] = np.int32(ways.levels[way])
        errors[path] = ways.errors[way]
        new[path] = old[origins[path]]
    before = ways.before
    for path in range(count):
        before[path] = states[path]
    for path in range(count):
        states[path] = following[np.uint64(before[origins[path]]), np.uint64(levels[path] & 1)]
    for m in range(i):
        row, kept = paths.batch[turn, m], paths.batch[1 - turn, m]
        for path in range(count):
            kept[path] = row[origins[path]]
    kept = paths.batch[1 - turn, i]
    for path in range(count):
        kept[path] = errors[path]


@inlined
def settle(losses: Float64, past: Past, weights: int, settles: bool) -> tuple[np.int64, np.int64]:
    """Return the best path after a span of so many weights, and which it was before the span; fill `past.before`.

    settles: end paths that were others before the span.
    """
    best: Any = np.int64(0)
    for path in range(1, len(losses)):
        best = path if losses[path] < losses[best] else best
    batches = -(-weights // BATCH)
    settled = np.uint64(best)
    for number in range(batches - 1, -1, -1):
        settled = past.roots[number, settled]
    for path in range(len(losses)):
        back = np.uint64(path)
        for number in range(batches - 1, -1, -1):
            for i in range(BATCH):
                past.before[number * BATCH + i, path] = past.batches[number, i, back]
            back = past.roots[number, back]
        if settles and back != settled:
            losses[path] = np.inf
    return best, np.int64(settled)


@inlined
def read(past: Past, side: int, path: int | np.int64, unit: float, levels: Int32, errors: Float64) -> None:
    """Fill levels (n,) and errors (n,) of a span by the path that ends in it as `path`."""
    back = np.uint64(path)
    for i in range(len(levels) - 1, -1, -1):
        levels[i], errors[i] = past.levels[side, i, back], past.errors[side, i, back] * unit
        back = past.origins[side, i, back]
