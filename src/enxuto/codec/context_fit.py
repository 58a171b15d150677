"""Fit a context model to levels: scales of rows, columns and positions, hazards of classes, what neighbours say.

Scales start as those of a product model (mean magnitude = row × column × position, by iterative proportional
fitting), rounded to a grid of fractions of an octave: the classes. Then hazards are fitted to the classes' counts,
and every row's, column's and position's number moves to where its weights cost least, as in Lloyd's algorithm; the
bits of writing a number count too, so that a scale that does not pay stays where most are. How fine the grid is,
and whether neighbours are worth their bytes, is tried.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from enxuto.codec.context_fit_loops import (
    cost_of_changed_numbers,
    count_signs,
    count_tokens,
    magnitude_tokens,
    sum_magnitudes,
)
from enxuto.codec.context_model import MOST_NUMBER, USUAL_SHIFTS_BY_END, ContextModel, write_model
from enxuto.codec.layout import Layout, Pictures
from enxuto.codec.neighbours import (
    BUCKETS,
    EIGHTHS,
    MOST_SUM,
    SHIFTS,
    class_table,
    look_around,
    sign_table,
    step_table,
)  # fmt: skip
from enxuto.codec.stop_odds import BITS, UNIT, frequencies, mean_magnitudes, with_firsts
from enxuto.codec.stop_odds_fit import (
    fit_exponents,
    fit_firsts,
    laplacian_exponents,
    sign_bits,
    sign_exponents,
)
from enxuto.quantize.trellis import MACHINES, states_before

__all__ = ["FittedModel", "fit_contexts"]

_GRIDS = ((0.35, 14), (0.5, 10), (0.75, 7))  # octaves between classes, and how many classes at most
_GRID = ((0.5, 14),)
_SMALL = 1 << 16  # weights; only tensors of less try all grids
_ROUNDS = 3
_MOST_DIRECT = 33  # with as many groups as there can be these are all 64 tokens
_FEWEST = 4  # weights that a row, column or position must have on average to have a scale
_FURTHEST = 8  # classes that neighbours may move a weight by
_HAZARDS = (2, 3, 4, 6, 9, 13)
_SWEEPS = (0, 1, 2, 0, 1)
_PRIOR = (
    3.0  # weights of average magnitude that every row, column and position is taken to have besides its own
)
_LOG_STEPS = np.log2(
    [0.55, 0.76, 1.0, 1.4, 2.2]
)  # what neighbours' steps say of the magnitude, to begin with

Int16 = npt.NDArray[np.int16]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FittedModel:
    """A model, the bits it needs (head included, raw bits not), and how its classes' weights fell.

    counts (1, or 2 or 4 with a trellis, K, 5, tokens): weights by the end of the trellis's state, class, step of the
    neighbours and token. signs (5, 3, 2): see `count_signs`.
    """

    model: ContextModel
    bits: float
    counts: Int64
    signs: Int64


def fit_contexts(levels: Int32, layout: Layout, trellis: int = 0) -> FittedModel:
    """Return the best model found for `levels` (n,) > 0 of that layout; trellis: how many states it has, or 0."""
    data = _LevelsToFit(levels.reshape(-1, layout.positions), layout, trellis)
    grids = _GRIDS if levels.size < _SMALL else _GRID
    use_neighbours = layout.positions > 1
    fits = [data.fit(*grid, use_neighbours) for grid in grids]
    best = min(range(len(fits)), key=lambda i: fits[i].bits)
    if use_neighbours and levels.size < _SMALL:
        fits.append(data.fit(*grids[best], False))
    return min(fits, key=lambda fit: fit.bits)


@dataclass
class _LevelsToFit:
    """Levels (N, P) and what all fits of them share."""

    levels: Int32
    layout: Layout
    trellis: int
    pictures: Pictures = field(init=False)
    tokens: Bytes = field(init=False)

    def __post_init__(self) -> None:
        self.pictures = Pictures.of(self.layout)
        largest = int(np.abs(self.levels).max())
        self.mean = max(float(np.abs(self.levels).mean(dtype=np.float64)), 1e-6)
        self.direct = min(largest, max(3, int(np.ceil(5 * self.mean)) + 1), _MOST_DIRECT)
        self.groups = (largest - self.direct).bit_length()
        self.tokens = np.empty(self.levels.shape, np.uint8)
        magnitude_tokens(self.levels, self.direct, self.tokens)
        self.factors = self._factors()
        self.before: Bytes = np.zeros(0, np.uint8)  # the end of the trellis's state before each level
        self.contexts = 1
        if self.trellis:
            self.contexts = MACHINES[self.trellis].contexts
            states = states_before(self.levels.reshape(self.layout.sizes[0], -1), self.trellis)
            self.before = np.asarray(states.reshape(-1) & (self.contexts - 1), np.uint8)
        self.eighths = np.array(EIGHTHS, np.int64)
        self.around, self.totals = np.zeros(0, np.uint8), np.zeros(0, np.int16)
        if self.layout.positions > 1:
            self.around, self.totals = (
                np.empty(self.tokens.size, np.uint8),
                np.empty(self.tokens.size, np.int16),
            )
            self._look_around()

    def _look_around(self) -> None:
        pictures = self.pictures
        look_around(
            self.levels,
            pictures.cells,
            pictures.stride,
            pictures.size,
            self.eighths,
            self.around,
            self.totals,
        )

    def _factors(self) -> list[Floats]:
        """Scales of rows, columns and positions, as factors of the mean magnitude."""
        factors = [np.ones(size) for size in self.layout.sizes]
        counts = [np.full(size, self.levels.size / max(1, size)) for size in self.layout.sizes]
        counts[0] = np.diff(self.layout.starts).astype(np.float64) * self.layout.positions
        for axis in _SWEEPS:
            if self.has_scales(axis):
                sums = np.zeros(self.layout.sizes[axis])
                rows, columns, positions = factors
                sum_magnitudes(self.levels, self.layout.starts, rows, columns, positions, axis, sums)
                factors[axis] = (sums / self.mean + _PRIOR) / (counts[axis] + _PRIOR)
        return factors

    def has_scales(self, axis: int) -> bool:
        """Say whether rows, columns or positions (axis 0, 1, 2) may have scales of their own."""
        size = self.layout.sizes[axis]
        return 1 < size <= self.levels.size // _FEWEST

    def fit(self, grid: float, max_classes: int, use_neighbours: bool) -> FittedModel:
        """Fit with at most so many classes, `grid` octaves apart, with neighbours or without."""
        logs = [np.log2(factor / np.median(factor)) for factor in self.factors]
        usual = self.mean * float(np.prod([np.median(factor) for factor in self.factors]))
        numbers = [np.clip(np.rint(log / grid), -MOST_NUMBER, MOST_NUMBER).astype(np.int16) for log in logs]
        low, high = self._range(numbers)
        low = max(low, high + 2 - max_classes)  # the smallest scales, where nearly all is 0, share a class
        classes = high - low + 2
        search = _Search(self, numbers, -low, use_neighbours)
        scales = usual * np.exp2(grid * (np.arange(classes) + low))
        search.means = np.maximum(1, np.rint(scales * UNIT)).astype(np.int64)
        search.shifts = np.rint(_LOG_STEPS / grid).astype(np.int64)
        search.exponents = laplacian_exponents(scales)
        for _ in range(_ROUNDS):
            search.improve()
        return search.result()

    def _range(self, numbers: list[Int16]) -> tuple[int, int]:
        """The sums of numbers that nearly all weights have lie between these two."""
        sums = self.layout.sums(numbers[0], numbers[1], 0, self.layout.kernels)
        values, counts = np.unique(sums, return_counts=True)
        all_sums = (values[:, None] + numbers[2][None, :]).reshape(-1)
        weights = np.repeat(counts, len(numbers[2]))
        order = np.argsort(all_sums, kind="stable")
        share = np.cumsum(weights[order]) / weights.sum()
        ends = np.minimum(np.searchsorted(share, [0.003, 0.997]), len(order) - 1)
        low, high = np.clip(all_sums[order[ends]], -60, 60).tolist()
        return int(low), int(high)


@dataclass
class _Search:
    """A fit that is being improved: its classes, numbers of rows, columns and positions, and hazards."""

    data: _LevelsToFit
    numbers: list[Int16]
    offset: int
    use_neighbours: bool
    means: Int64 = field(init=False)
    shifts: Int64 = field(init=False)
    exponents: Int64 = field(init=False)
    firsts: Int64 | None = None

    @property
    def around(self) -> Bytes:
        return self.data.around if self.use_neighbours else self.data.around[:0]

    def offsets(self) -> Int16:
        return (self.numbers[2] + self.offset).astype(np.int16)

    def sums(self) -> Int16:
        return self.data.layout.sums(self.numbers[0], self.numbers[1], 0, self.data.layout.kernels)

    def counts(self) -> Int64:
        """Weights by end of the state, class, step of the neighbours and token."""
        data = self.data
        tokens = data.direct + 1 + data.groups
        out = np.zeros((data.contexts, len(self.means), SHIFTS, tokens), np.int64)
        steps = step_table(self.means) if self.use_neighbours else np.zeros(0, np.uint8)
        near = data.pictures.around
        count_tokens(data.tokens, self.around, near, data.before, self.sums(), self.offsets(), steps, out)
        return out

    def sum_by_reached_class(self, counts: Int64) -> Int64:
        """The counts by the class that weights are coded with (contexts, K, tokens)."""
        if not self.use_neighbours:
            return np.asarray(counts.sum(axis=2))
        contexts, classes, _, tokens = counts.shape
        out = np.zeros((contexts, classes, tokens), np.int64)
        for step, shift in enumerate(self.shifts):
            reached = np.clip(np.arange(classes) + shift, 0, classes - 1)
            for context in range(contexts):
                np.add.at(out[context], reached, counts[context, :, step])
        return out

    def tables(self, hazards: int | None = None) -> Int64:
        """Fit hazards to what the classes hold, so many or as many as pay; return counts."""
        counts = self.counts()
        reached = self.sum_by_reached_class(counts)
        tokens = reached.shape[2]
        own = len(USUAL_SHIFTS_BY_END[self.data.trellis][0]) if self.data.trellis else 1
        choices = [hazards] if hazards else [count for count in _HAZARDS if count < tokens] or [2]
        best: tuple[float, Int64, Int64 | None] | None = None
        for count in choices:
            exponents, bits = fit_exponents(reached.astype(np.float64), self.data.direct, count, own)
            firsts = self._fit_firsts(reached, exponents)
            total = float(np.sum(reached * self.cost(exponents, firsts))) + bits
            if best is None or total < best[0]:
                best = total, exponents, firsts
        assert best is not None, "there is always a choice"
        _, self.exponents, self.firsts = best
        return counts

    def _fit_firsts(self, reached: Int64, exponents: Int64) -> Int64 | None:
        """First hazards where the trellis's state does not end in 0 (1 or 3, F, K), None without a trellis."""
        if not self.data.trellis:
            return None
        usual = USUAL_SHIFTS_BY_END[self.data.trellis]
        pairs = zip(reached[1:], usual, strict=True)
        return np.stack([fit_firsts(counts.astype(np.float64), exponents, shift) for counts, shift in pairs])

    def cost(self, exponents: Int64, firsts: Int64 | None) -> Floats:
        """Bits of tokens (contexts, K, tokens)."""
        others = [] if firsts is None else [with_firsts(exponents, one) for one in firsts]
        tables = [frequencies(one, self.data.direct, self.data.groups) for one in (exponents, *others)]
        return BITS - np.log2(np.stack(tables))

    def improve(self) -> None:
        """One round: hazards, then each axis, then the neighbours' shifts."""
        data = self.data
        counts = self.tables(3)
        cost = self.cost(self.exponents, self.firsts)
        if self.use_neighbours:
            self._fit_shifts(counts, cost)
        self.means = mean_magnitudes(frequencies(self.exponents, data.direct, data.groups), data.direct)
        classes = np.zeros(0, np.uint8)
        if self.use_neighbours:
            classes = class_table(step_table(self.means), self.shifts, len(self.means))
        for axis, size in enumerate(data.layout.sizes):
            if not data.has_scales(axis):
                continue
            bits = np.zeros((size, 5))
            cost_of_changed_numbers(
                data.tokens, self.around, data.pictures.around, data.before, data.layout.starts, self.numbers[0],
                self.numbers[1], self.offsets(), axis, classes, cost.astype(np.float32), bits,
            )  # fmt: skip
            self._move_numbers(axis, bits)

    def _fit_shifts(self, counts: Int64, cost: Floats) -> None:
        """Move each step of the neighbours by as many classes as suits its weights best."""
        classes = cost.shape[1]
        own = np.arange(classes)[None, :] + np.arange(-_FURTHEST, _FURTHEST + 1)[:, None]
        reached = cost[:, np.clip(own, 0, classes - 1)]  # h m c t: contexts, moves, classes, tokens
        totals = np.einsum("hmct,hcst->ms", reached, counts, optimize=True)
        for step in np.flatnonzero(counts.any(axis=(0, 1, 3))):
            self.shifts[step] = int(np.argmin(totals[:, step])) - _FURTHEST

    def _move_numbers(self, axis: int, bits: Floats) -> None:
        """Change an axis' numbers to the cheapest, what writing them costs included; the usual one becomes 0."""
        numbers = self.numbers[axis].astype(np.int64)
        choices = np.clip(numbers[:, None] + np.arange(-2, 3), -MOST_NUMBER, MOST_NUMBER)
        usual = np.bincount(numbers + MOST_NUMBER, minlength=2 * MOST_NUMBER + 1) + 0.3
        rare = np.log2(usual.sum() / usual)
        chosen = choices[np.arange(len(numbers)), np.argmin(bits + rare[choices + MOST_NUMBER], axis=1)]
        centre = int(np.bincount(chosen + MOST_NUMBER).argmax()) - MOST_NUMBER
        centre = min(max(centre, -64 - self.offset), 63 - self.offset)
        self.offset += centre
        self.numbers[axis] = np.clip(chosen - centre, -MOST_NUMBER, MOST_NUMBER).astype(np.int16)

    def result(self) -> FittedModel:
        """The final tables, signs and size."""
        data = self.data
        self.tables()
        # What neighbours say is measured against the tables' own means, as the decoder does.
        self.means = mean_magnitudes(frequencies(self.exponents, data.direct, data.groups), data.direct)
        counts = self.counts()
        signs = np.zeros((BUCKETS, 3, 2), np.int64)
        totals = data.totals if self.use_neighbours else data.totals[:0]
        count_signs(
            data.levels, totals, self.sums(), self.offsets(), sign_table(self.means), 2 * MOST_SUM + 2,
            len(self.means) - 1, signs,
        )  # fmt: skip
        counted = signs if self.use_neighbours else signs[:1]
        odds = sign_exponents(counted)
        rows, columns, positions = self.numbers
        model = ContextModel(
            self.exponents, data.direct, data.groups, (rows, columns, positions), self.offset, odds,
            self.shifts if self.use_neighbours else None, data.eighths if self.use_neighbours else None, self.firsts,
            data.trellis,
        )  # fmt: skip
        coded = float(np.sum(self.sum_by_reached_class(counts) * self.cost(self.exponents, self.firsts)))
        bits = coded + sign_bits(counted, odds)
        return FittedModel(model, bits + 8 * len(write_model(model)), counts, signs)
