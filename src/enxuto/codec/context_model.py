"""The head of a payload of coder `contexts` (classes, scales, neighbours), and the tables made from it.

The class of a weight is the sum of its row's, its column's and its position's number and an offset, kept within
0…K−1. Numbers are written in Golomb–Rice codes, hazards as what they differ by from a straight line through the
two classes before. Layout: `docs/format.md`, "Coders contexts and trellis".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from enxuto.codec.bits import BitReader, BitWriter
from enxuto.codec.neighbours import BUCKETS, EIGHTHS, SHIFTS, SIZES, class_table, sign_table, step_table
from enxuto.codec.stop_odds import LOWEST, frequencies, hazard_of, mean_magnitudes, with_firsts
from enxuto.errors import FormatError
from enxuto.machine.kernels import clamp, inlined

__all__ = [
    "MOST_NUMBER",
    "MOST_TOKENS",
    "USUAL_SHIFTS_BY_END",
    "ContextModel",
    "expected_exponent",
    "first_hazards",
    "read_model",
    "write_model",
]

MOST_TOKENS = 64
MOST_NUMBER = 31  # of a row, column or position, either way
USUAL_SHIFTS_BY_END = {8: ((-5,),), 32: ((-5, -3), (3, -1), (-1, -5))}
"""By a trellis's states: quarter octaves from the first hazards of its states that end in 0 to those of the others."""
_OFFSET = 64
_STEEPEST = 8  # hazards of one class and the next are expected to differ by no more
MOST_EIGHTHS = 32  # that neighbours weigh together, so that sums stay below 1024
USUAL_SHIFTS = np.array([-1, -1, 0, 1, 2], np.int64)
USUAL_SIGNS = np.array([[0, 0, 0], [2, 3, 3], [4, 6, 7], [6, 9, 11], [8, 12, 13]], np.int64)

Int16 = npt.NDArray[np.int16]
Int64 = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class ContextModel:
    """All that coder and decoder must agree on.

    exponents (K, M): odds of the hazards. direct, groups: tokens of magnitudes. numbers: those of rows, columns and
    positions, int16. offset: added to their sum. signs (B, 3): odds that the sign is the neighbours', by how sure
    they are (B = 5, or 1 without neighbours, which then means a plus) and magnitude. shifts (5,), eighths (4,):
    see `neighbours`; None without neighbours. trellis: the number of its states, or 0. firsts (1 or 3, 1 or 2, K):
    odds of the first hazards where its state ends in 1, 2, 3; None without one.
    """

    exponents: Int64
    direct: int
    groups: int
    numbers: tuple[Int16, Int16, Int16]
    offset: int
    signs: Int64
    shifts: Int64 | None
    eighths: Int64 | None
    firsts: Int64 | None = None
    trellis: int = 0

    @property
    def classes(self) -> int:
        """K."""
        return len(self.exponents)

    @property
    def contexts(self) -> int:
        """How many ends of a trellis's state are told apart, 1 without one."""
        return 1 if self.firsts is None else 1 + len(self.firsts)

    @cached_property
    def table(self) -> Int64:
        """Frequencies (K, tokens), or with a trellis (contexts · K, tokens): K for each end of the state."""
        others = [] if self.firsts is None else [with_firsts(self.exponents, one) for one in self.firsts]
        return np.concatenate(
            [frequencies(one, self.direct, self.groups) for one in (self.exponents, *others)]
        )

    @cached_property
    def _means(self) -> Int64:
        return mean_magnitudes(self.table[: self.classes], self.direct)

    @cached_property
    def class_of(self) -> Bytes:
        """See `neighbours.class_table`."""
        steps = step_table(self._means)
        return class_table(
            steps, np.zeros(SHIFTS, np.int64) if self.shifts is None else self.shifts, self.classes
        )

    @cached_property
    def sure_of(self) -> Bytes:
        """See `neighbours.sign_table`."""
        return sign_table(self._means)

    @cached_property
    def shares(self) -> npt.NDArray[np.uint16]:
        """Of 256, how often the sign is the neighbours' (5 · 64,), by how sure they are and the token."""
        out = np.full((BUCKETS, MOST_TOKENS), 256, np.uint16)
        for sure, row in enumerate(self.signs.tolist()):
            for size, exponent in enumerate(row):
                out[sure, size + 1 :] = min(255, max(1, hazard_of(exponent) >> 8))
        return out.reshape(-1)

    @property
    def weights(self) -> Int64:
        """Eighths of the neighbours; zeros without neighbours."""
        return np.zeros(len(EIGHTHS), np.int64) if self.eighths is None else self.eighths

    @property
    def offsets(self) -> Int16:
        """Numbers of the positions (P,) and the offset, together."""
        return (self.numbers[2] + self.offset).astype(np.int16)


@inlined
def expected_exponent(exponents: Int64, c: int, m: int) -> int:
    """Predict hazard m of class c from the hazards written before it (the last class comes first)."""
    last = exponents.shape[0] - 1
    if c == last:
        return int(exponents[c, m - 1]) if m else 0
    slope = exponents[c + 1, m] - exponents[c + 2, m] if c + 1 < last else 0
    line = exponents[c + 1, m] + clamp(slope, -_STEEPEST, _STEEPEST)
    expected: int = clamp(line, LOWEST, -LOWEST - 1)
    return expected


def first_hazards(exponents: Int64, count: int) -> Int64:
    """Return the first hazards (count, K) of exponents (K, M); the last one holds where there are fewer."""
    return exponents[:, np.minimum(np.arange(count), exponents.shape[1] - 1)].T


def write_model(model: ContextModel) -> bytes:
    """Return the head's bytes."""
    out = BitWriter()
    for value, width in (
        (model.classes - 1, 5),
        (model.exponents.shape[1] - 1, 4),
        (model.direct, 6),
        (model.groups, 5),
        (int(model.shifts is not None), 1),
    ):
        out.write(value, width)
    for numbers in model.numbers:
        out.write(int(numbers.any()), 1)
    exponents = model.exponents
    out.write_numbers(
        [int(exponents[place]) - expected_exponent(exponents, *place) for place in _hazard_order(exponents)]
    )
    if model.firsts is not None:
        usual = np.array(USUAL_SHIFTS_BY_END[model.trellis])[:, :, None]
        shifts = (model.firsts - first_hazards(exponents, usual.shape[1]))[:, :, ::-1]
        out.write_numbers(np.diff(shifts, axis=2, prepend=usual).reshape(-1))
    out.write(model.offset + _OFFSET, 7)
    for numbers in model.numbers:
        if numbers.any():
            out.write_numbers(numbers)
    steps = np.diff(model.signs - USUAL_SIGNS[: len(model.signs)], axis=0, prepend=0)
    out.write_numbers(steps.reshape(-1))
    if model.shifts is not None and model.eighths is not None:
        out.write_numbers(np.concatenate([model.shifts - USUAL_SHIFTS, model.eighths - EIGHTHS]))
    return out.to_bytes()


def read_model(
    data: bytes | memoryview, sizes: tuple[int, int, int], trellis: int = 0
) -> tuple[ContextModel, int]:
    """Read the head of a payload.

    Args:
        data: a payload.
        sizes: numbers of rows, columns and positions.
        trellis: how many states the levels' trellis has, or 0.

    Returns:
        The model, and the length of the head in bytes.

    Raises:
        FormatError: the head is damaged or cut off.
    """
    source = BitReader(data)
    classes, hazards = source.read(5) + 1, source.read(4) + 1
    direct, groups, neighbours = source.read(6), source.read(5), source.read(1)
    if direct + 1 + groups > MOST_TOKENS or groups > 30:
        raise FormatError("a payload has too many tokens")
    scaled = [source.read(1) for _ in sizes]
    exponents = np.zeros((classes, hazards), np.int64)
    for place, number in zip(_hazard_order(exponents), source.read_numbers(exponents.size), strict=True):
        exponents[place] = expected_exponent(exponents, *place) + number
    if exponents.min() < LOWEST or exponents.max() >= -LOWEST:
        raise FormatError("a payload's hazards are out of range")
    firsts = None
    if trellis:
        usual = np.array(USUAL_SHIFTS_BY_END[trellis])[:, :, None]
        changes = source.read_numbers(usual.size * classes).reshape(*usual.shape[:2], classes)
        firsts = first_hazards(exponents, usual.shape[1]) + (np.cumsum(changes, axis=2) + usual)[:, :, ::-1]
        if firsts.min() < LOWEST or firsts.max() >= -LOWEST:
            raise FormatError("a payload's hazards are out of range")
    offset = source.read(7) - _OFFSET
    rows, columns, positions = (
        (source.read_numbers(size) if has_scales else np.zeros(size)).astype(np.int16)
        for size, has_scales in zip(sizes, scaled, strict=True)
    )
    if max(np.abs(numbers).max() for numbers in (rows, columns, positions)) > MOST_NUMBER:
        raise FormatError("a payload's scales are out of range")
    buckets = BUCKETS if neighbours else 1
    steps = source.read_numbers(buckets * SIZES).reshape(buckets, SIZES)
    signs = np.cumsum(steps, axis=0) + USUAL_SIGNS[:buckets]
    if signs.min() < LOWEST or signs.max() >= -LOWEST:
        raise FormatError("a payload's signs are out of range")
    shifts, eighths = None, None
    if neighbours:
        moves = source.read_numbers(SHIFTS + len(EIGHTHS))
        shifts, eighths = moves[:SHIFTS] + USUAL_SHIFTS, moves[SHIFTS:] + EIGHTHS
    if eighths is not None and np.abs(eighths).sum() > MOST_EIGHTHS:
        raise FormatError("a payload's weights of neighbours are too large")
    model = ContextModel(
        exponents, direct, groups, (rows, columns, positions), offset, signs, shifts, eighths, firsts, trellis
    )
    return model, source.finish()


def _hazard_order(exponents: Int64) -> Iterator[tuple[int, int]]:
    """Yield the indices (class, hazard) of hazards in the order in which they are written."""
    for c in range(len(exponents) - 1, -1, -1):
        for m in range(exponents.shape[1]):
            yield c, m
