"""Frequency tables: from counts of symbols to integers that sum to 2**k, and to few bytes.

A table is written as floating point numbers of very few bits. Each frequency f ≥ 1 has a class c = bit length of
f, coded as the difference from the class two symbols before (symbols alternate between positive and negative
levels, so that is the neighbour on the same side), and `mantissa` bits below its leading one. Rounding
frequencies to three such bits costs about 0.0005 bit per symbol, and a table takes three to
eight bits per symbol. The most frequent symbol is left out: it takes what remains of 2**k.

Decoders need integers only; which table is best is the encoder's business alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from enxuto.codec.bits import BitReader, BitWriter, gamma_bits
from enxuto.errors import FormatError

__all__ = [
    "MAX_BITS",
    "MAX_SYMBOLS",
    "FrequencyTable",
    "best_table",
    "read_table",
    "table_bytes",
    "write_table",
]

MAX_BITS = 15
MAX_SYMBOLS = 8192
_MIN_BITS = 8
_MANTISSAS = (1, 2, 3, 4, 6)
_LARGE_TABLE = (
    2e-4  # share of size that halving a decoder's table is worth: beyond 2**12 slots it leaves the L1 cache
)

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class FrequencyTable:
    """Frequencies (A,) of the symbols 0…A−1 (0 = never occurs), their sum 2**bits, and how they are written."""

    frequencies: Int64
    bits: int
    mantissa: int
    largest: int

    def cost(self, counts: Int64) -> float:
        """Return the bits an ideal coder spends on symbols that occur `counts` times; inf if one cannot be coded."""
        used = counts > 0
        if (self.frequencies[used] == 0).any():
            return float("inf")
        return float(np.sum(counts[used] * (self.bits - np.log2(self.frequencies[used]))))


def best_table(counts: Int64) -> FrequencyTable:
    """Return the table that makes symbols and table together shortest, among all k and mantissa lengths.

    `counts` (A,), A ≤ `MAX_SYMBOLS`, the last of them not 0.
    """
    present = int(np.count_nonzero(counts))
    fitting = [bits for bits in range(_MIN_BITS, MAX_BITS + 1) if 1 << bits >= 2 * present]
    assert fitting, "MAX_SYMBOLS leaves room in 2**MAX_BITS"
    bits = np.repeat(fitting[-1:] if present > 512 else fitting, len(_MANTISSAS))
    mantissas = np.resize(_MANTISSAS, len(bits))
    largest = int(np.argmax(counts))
    frequencies = _round_counts(counts, bits, mantissas)
    used = counts > 0
    # In rows that lie in memory one after the other, sums are those of each row alone, to the last bit.
    ideal = np.sum(counts[used] * (bits[:, None] - np.log2(frequencies.compress(used, axis=1))), axis=1)
    totals = ideal + 8 * _written_bytes(frequencies, bits, mantissas, largest)
    totals *= 1 + _LARGE_TABLE * np.maximum(0, bits - 12)
    chosen = int(np.argmin(totals))
    return FrequencyTable(frequencies[chosen], int(bits[chosen]), int(mantissas[chosen]), largest)


def _round_counts(counts: Int64, bits: Int64, mantissas: Int64) -> Int64:
    """Round counts (A,) to frequencies (T, A) that can be written with mantissas (T,) and sum to 2**bits (T,)."""
    totals = np.int64(1) << bits
    largest = int(np.argmax(counts))
    targets = counts * (totals / counts.sum())[:, None]
    rounded = np.maximum(1, _round_to_mantissa(targets, mantissas[:, None]))
    frequencies = np.where(counts > 0, rounded, 0)
    frequencies[:, largest] = 0
    excesses = frequencies.sum(axis=1) - (totals - 1)
    for table in np.flatnonzero(excesses > 0):
        _take(frequencies[table], counts, int(excesses[table]), int(mantissas[table]))
    frequencies[:, largest] = totals - frequencies.sum(axis=1)
    return frequencies


def _take(frequencies: Int64, counts: Int64, excess: int, mantissa: int) -> None:
    """Lower frequencies (A,) by `excess` or a little more: too little is left for the largest symbol.

    Each time, it is taken from whichever loses least per unit taken.
    """
    while excess > 0:
        lowered = np.where(frequencies > 1, _next_below(frequencies, mantissa), frequencies)
        taken = frequencies - lowered
        loss = np.full(len(counts), np.inf)
        able = taken > 0
        loss[able] = (
            counts[able] * np.log2(frequencies[able] / lowered[able]) / np.minimum(taken[able], excess)
        )
        chosen = int(np.argmin(loss))
        frequencies[chosen] = lowered[chosen]
        excess -= int(taken[chosen])


def _round_to_mantissa(values: npt.NDArray[np.float64], mantissas: Int64) -> Int64:
    """Round positive numbers (T, A) to integers with at most `mantissas` (T, 1) bits below the leading one."""
    unit = np.exp2(np.maximum(0, np.floor(np.log2(np.maximum(values, 1.0))) - mantissas))
    return np.asarray(np.rint(values / unit) * unit, np.int64)


def _next_below(frequencies: Int64, mantissa: int) -> Int64:
    """Return the next smaller numbers that the written form can hold."""
    less = np.maximum(frequencies - 1, 1)
    unit = np.int64(1) << np.maximum(0, np.floor(np.log2(less)).astype(np.int64) - mantissa)
    return np.asarray(less // unit * unit, np.int64)


def write_table(table: FrequencyTable) -> bytes:
    """Return the table as bytes (layout: `docs/format.md`, "Frequency table")."""
    out = BitWriter()
    out.write(table.bits, 4)
    out.write(table.mantissa, 3)
    out.write_gamma(len(table.frequencies) - 1)
    out.write_gamma(table.largest)
    classes = _Classes(table.bits)
    for symbol, frequency in enumerate(table.frequencies.tolist()):
        if symbol == table.largest:
            classes.skip()
            continue
        kind = frequency.bit_length()
        out.write_unary(classes.code(kind))
        if kind > 1:
            kept = min(table.mantissa, kind - 1)
            out.write((frequency >> (kind - 1 - kept)) - (1 << kept), kept)
    return out.to_bytes()


def table_bytes(table: FrequencyTable) -> int:
    """Return the length of `write_table(table)`, without writing it."""
    bits, mantissas = np.array([table.bits]), np.array([table.mantissa])
    return int(_written_bytes(table.frequencies[None], bits, mantissas, table.largest)[0])


def _written_bytes(frequencies: Int64, bits: Int64, mantissas: Int64, largest: int) -> Int64:
    """Return the lengths (T,) of tables with frequencies (T, A), bits (T,), mantissas (T,) and that largest symbol."""
    kinds = np.frexp(frequencies.astype(np.float64))[1].astype(np.int64)  # bit lengths
    # Two in front that count as the highest; the symbol that is not written has the class that was expected.
    classes = np.concatenate([bits[:, None], bits[:, None], kinds], axis=1)
    classes[:, largest + 2] = classes[:, largest]
    difference = classes[:, 2:] - classes[:, :-2]
    codes = np.where(difference > 0, 2 * difference, np.maximum(0, -2 * difference - 1)) + 1
    fields = codes + np.minimum(mantissas[:, None], np.maximum(kinds - 1, 0))
    fields[:, largest] = 0
    head = 7 + gamma_bits(frequencies.shape[1] - 1) + gamma_bits(largest)
    return np.asarray(-(-(head + fields.sum(axis=1)) // 8), np.int64)


def read_table(data: bytes | memoryview) -> tuple[FrequencyTable, int]:
    """Read a table from the start of `data`; return it and the bytes it took. `FormatError` if it is not one."""
    source = BitReader(data)
    bits = source.read(4)
    mantissa = source.read(3)
    size = source.read_gamma() + 1
    largest = source.read_gamma()
    if not _MIN_BITS <= bits <= MAX_BITS or size > MAX_SYMBOLS or largest >= size:
        raise FormatError("a frequency table's head is impossible")
    frequencies = np.zeros(size, np.int64)
    classes = _Classes(bits)
    for symbol in range(size):
        if symbol == largest:
            classes.skip()
            continue
        kind = classes.kind(source.read_unary(2 * (bits + 1)))
        if kind:
            kept = min(mantissa, kind - 1)
            frequencies[symbol] = ((1 << kept) + source.read(kept)) << (kind - 1 - kept)
    rest = (1 << bits) - int(frequencies.sum())
    if rest < 1:
        raise FormatError("a frequency table's sum is too large")
    frequencies[largest] = rest
    return FrequencyTable(frequencies, bits, mantissa, largest), source.finish()


class _Classes:
    """Code a class as its difference from the class two symbols before: 0, −1, +1, −2, … become 0, 1, 2, 3, …"""

    def __init__(self, bits: int) -> None:
        self._highest = bits
        self._before = bits  # of the symbol before the last
        self._last = bits

    def skip(self) -> None:
        """Pass over the symbol that is not written: it counts as having the class that was expected."""
        self._before, self._last = self._last, self._before

    def code(self, kind: int) -> int:
        """Return the difference code of a class."""
        difference = kind - self._before
        self._before, self._last = self._last, kind
        return 2 * difference if difference > 0 else max(0, -2 * difference - 1)

    def kind(self, code: int) -> int:
        """Return the class that a difference code stands for; `FormatError` where there is none."""
        difference = code // 2 if code % 2 == 0 else -(code + 1) // 2
        kind = self._before + difference
        if not 0 <= kind <= self._highest:
            raise FormatError("a frequency table holds an impossible frequency")
        self._before, self._last = self._last, kind
        return kind
