"""Frequency tables: what they hold, how they are written, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enxuto.codec.bits import BitWriter
from enxuto.codec.tables import (
    MAX_BITS,
    MAX_SYMBOLS,
    FrequencyTable,
    best_table,
    read_table,
    table_bytes,
    write_table,
)
from enxuto.errors import FormatError

COUNTS = st.lists(
    st.one_of(st.just(0), st.integers(1, 5), st.integers(1, 10**7)), min_size=1, max_size=80
).map(lambda counts: np.array([*counts[:-1], max(1, counts[-1])], np.int64))


def check(counts: np.ndarray) -> FrequencyTable:
    table = best_table(counts)
    assert 8 <= table.bits <= MAX_BITS
    assert len(table.frequencies) == len(counts)
    assert table.frequencies.sum() == 1 << table.bits
    assert ((table.frequencies > 0) == (counts > 0)).all()
    data = write_table(table)
    assert table_bytes(table) == len(data)
    again, used = read_table(data + b"\xff\x00")
    assert used == len(data)
    assert again.frequencies.tolist() == table.frequencies.tolist()
    assert (again.bits, again.mantissa, again.largest) == (table.bits, table.mantissa, table.largest)
    assert write_table(again) == data
    return table


@settings(max_examples=80, deadline=None)
@given(COUNTS)
def test_any_counts_give_a_table_that_comes_back(counts: np.ndarray) -> None:
    check(counts)


@pytest.mark.parametrize(
    "counts",
    [
        [1],
        [0, 0, 9],
        [10**12, 1],
        [1, 10**12],
        [1] * MAX_SYMBOLS,
        [10**9, *[1] * (MAX_SYMBOLS - 1)],
        [*[10**9] * 10, *[1] * (MAX_SYMBOLS - 10)],
        [*[1, 0] * 2000, 5],
        [3] * 128,
        [3] * 129,
    ],
    ids=lambda counts: f"{len(counts)} of {max(counts)}",
)
def test_extreme_counts(counts: list[int]) -> None:
    check(np.array(counts, np.int64))


def test_the_cost_of_rounding_is_small() -> None:
    """The ideal code length with the table's frequencies against the entropy, for a Laplacian."""
    size = np.abs(np.arange(-60, 61))
    counts = np.maximum(1, (1e6 * np.exp(-size / 9))).astype(np.int64)
    total = counts.sum()
    ideal = total * np.log2(total) - np.sum(counts * np.log2(counts))
    assert ideal <= check(counts).cost(counts) <= ideal * 1.0005


def test_a_symbol_without_frequency_costs_infinitely_much() -> None:
    table = FrequencyTable(np.array([256, 0]), 8, 1, 0)
    assert table.cost(np.array([5, 0])) == 0
    assert table.cost(np.array([5, 1])) == float("inf")


def test_exact_bytes() -> None:
    """k = 8 in four bits, m = 1 in three, A − 1 = 1 (gamma 100), largest 0 (gamma 0), then token 1.

    Token 1 has frequency 128, class 8 as expected (k): a zero, and one bit below the leading one: 0.
    0001 (k, low bit first) 100 (m) 1 00 | 0 | 0 | 0 → bytes 0b1001_1000, 0.
    """
    data = write_table(FrequencyTable(np.array([128, 128]), 8, 1, 0))
    assert data == bytes([0b1_001_1000, 0])
    assert read_table(data)[0].frequencies.tolist() == [128, 128]


def head(bits: int, mantissa: int, last: int, largest: int) -> BitWriter:
    out = BitWriter()
    out.write(bits, 4)
    out.write(mantissa, 3)
    out.write_gamma(last)
    out.write_gamma(largest)
    return out


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ((7, 1, 0, 0), "head is impossible"),
        ((0, 0, 0, 0), "head is impossible"),
        ((8, 1, 1, 2), "head is impossible"),
        ((15, 1, MAX_SYMBOLS, 0), "head is impossible"),
        ((15, 1, 2**32 - 2, 0), "head is impossible"),
        ((15, 1, 0, 2**32 - 2), "head is impossible"),
        ((8, 1, 30, 0), "too early"),
    ],
)
def test_impossible_heads_are_refused(fields: tuple[int, int, int, int], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        read_table(head(*fields).to_bytes())


def test_classes_out_of_range_are_refused() -> None:
    for ones in (2, 17, 18, 19, 40):  # +1 above k = 8; −9; +9; and more ones than any class needs
        out = head(8, 1, 1, 0)
        out.write_unary(ones)
        with pytest.raises(FormatError, match="impossible"):
            read_table(out.to_bytes() + bytes(9))


def test_frequencies_that_leave_nothing_for_the_largest_are_refused() -> None:
    out = head(8, 1, 2, 0)
    for _ in range(2):  # 128 and 128 of 256
        out.write_unary(0)
        out.write(0, 1)
    with pytest.raises(FormatError, match="sum is too large"):
        read_table(out.to_bytes())


def test_stray_bits_are_refused() -> None:
    data = write_table(FrequencyTable(np.array([128, 128]), 8, 1, 0))
    with pytest.raises(FormatError, match="stray"):
        read_table(bytes([data[0], data[1] | 0x80]))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_give_a_table_or_a_format_error(data: bytes) -> None:
    try:
        table, used = read_table(data)
    except FormatError:
        return
    assert 0 < used <= len(data)
    assert table.frequencies.sum() == 1 << table.bits
    assert (table.frequencies >= 0).all()
    assert len(table.frequencies) <= MAX_SYMBOLS
