"""Paths through a row of weights: the choices of each so far, and how to trace it back.

A path lives on while others that end give their place to new ones, so that its number changes with each weight.
Errors are therefore written down batch by batch, with the number that each path had when the batch began: going back
takes one step for eight weights, and one for each weight only along the path that is settled in the end.
`rounding.row_search` chooses the extensions.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from enxuto.machine.kernels import inlined

__all__ = [
    "BATCH",
    "Extensions",
    "History",
    "Paths",
    "SearchMemory",
    "allocate_paths",
    "begin_row",
    "extend_paths",
    "read_path",
    "settle_paths",
]

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


class Extensions(NamedTuple):
    """The two extensions of each path by the next weight (2p,), lower levels first; `picks` (p,): those chosen.

    shifts (p,): what each path takes from the weight in turn; start_states (p,): the states that they begin in.
    """

    totals: Float64
    levels: Float64
    errors: Float64
    picks: UInt64
    shifts: Float64
    start_states: Int64


class History(NamedTuple):
    """What is needed to trace paths back.

    origins, levels, errors (2, span, p): of each step of a span and of the span before. batches (span / 8, 8, p),
    roots (span / 8, p): errors of each batch of a span. earlier_errors (span, p): those of each
    path in the span before.
    """

    origins: UInt64
    levels: Int32
    errors: Float32
    batches: Float32
    roots: UInt64
    earlier_errors: Float32


class SearchMemory(NamedTuple):
    """Arrays that a search works in; the same ones serve row after row."""

    paths: Paths
    extensions: Extensions
    history: History


# Indices count unsigned where speed matters: one that might be negative is looked at each time.


def allocate_paths(max_paths: int, span: int) -> SearchMemory:
    """Return arrays for `max_paths` paths through rows, `span` weights at a time (a multiple of `BATCH`)."""
    paths = Paths(
        np.zeros(max_paths),
        np.zeros(max_paths, np.int64),
        np.zeros((2, max_paths, span), np.float32),
        np.zeros((2, BATCH, max_paths), np.float32),
        np.zeros((2, max_paths), np.uint64),
    )
    extensions = Extensions(
        np.zeros(2 * max_paths),
        np.zeros(2 * max_paths),
        np.zeros(2 * max_paths),
        np.zeros(max_paths, np.uint64),
        np.zeros(max_paths),
        np.zeros(max_paths, np.int64),
    )
    history = History(
        np.zeros((2, span, max_paths), np.uint64),
        np.zeros((2, span, max_paths), np.int32),
        np.zeros((2, span, max_paths), np.float32),
        np.zeros((span // BATCH, BATCH, max_paths), np.float32),
        np.zeros((span // BATCH, max_paths), np.uint64),
        np.zeros((span, max_paths), np.float32),
    )
    return SearchMemory(paths, extensions, history)


@inlined
def begin_row(paths: Paths, extensions: Extensions, first: int) -> None:
    """Begin a row with one path, in state `first`; the other paths are dead, whatever their arrays hold."""
    for path in range(len(paths.losses)):
        paths.losses[path] = 0.0 if path == 0 else np.inf
        paths.states[path] = first
        extensions.picks[path] = np.uint64(0)


@inlined
def extend_paths(
    paths: Paths,
    extensions: Extensions,
    history: History,
    following: Int64,
    side: int,
    position: int,
    step: int,
) -> None:
    """Extend paths as `picks` says, and record it; step: of the batch, position: in the span."""
    turn, count = step % 2, np.uint64(len(paths.losses))
    origins, levels, errors = (
        history.origins[side, position],
        history.levels[side, position],
        history.errors[side, position],
    )
    old, new, states = paths.roots[turn], paths.roots[1 - turn], paths.states
    for path in range(count):
        extension = extensions.picks[path]
        origins[path] = extension if extension < count else extension - count
        levels[path] = np.int32(extensions.levels[extension])
        errors[path] = extensions.errors[extension]
        new[path] = old[origins[path]]
    start_states = extensions.start_states
    for path in range(count):
        start_states[path] = states[path]
    for path in range(count):
        states[path] = following[np.uint64(start_states[origins[path]]), np.uint64(levels[path] & 1)]
    for m in range(step):
        row, kept = paths.batch[turn, m], paths.batch[1 - turn, m]
        for path in range(count):
            kept[path] = row[origins[path]]
    kept = paths.batch[1 - turn, step]
    for path in range(count):
        kept[path] = errors[path]


@inlined
def settle_paths(losses: Float64, history: History, weights: int, settles: bool) -> tuple[np.int64, np.int64]:
    """Return the best path after a span of `weights` weights, and its number before the span.

    Fills `history.earlier_errors`.

    settles: end paths that were others before the span.
    """
    best: Any = np.int64(0)
    for path in range(1, len(losses)):
        best = path if losses[path] < losses[best] else best
    batches = -(-weights // BATCH)
    settled = np.uint64(best)
    for number in range(batches - 1, -1, -1):
        settled = history.roots[number, settled]
    for path in range(len(losses)):
        back = np.uint64(path)
        for number in range(batches - 1, -1, -1):
            for i in range(BATCH):
                history.earlier_errors[number * BATCH + i, path] = history.batches[number, i, back]
            back = history.roots[number, back]
        if settles and back != settled:
            losses[path] = np.inf
    return best, np.int64(settled)


@inlined
def read_path(
    history: History, side: int, path: int | np.int64, unit: float, levels: Int32, errors: Float64
) -> None:
    """Fill levels (n,) and errors (n,) of a span by the path that ends in it as `path`."""
    back = np.uint64(path)
    for i in range(len(levels) - 1, -1, -1):
        levels[i], errors[i] = history.levels[side, i, back], history.errors[side, i, back] * unit
        back = history.origins[side, i, back]
