"""Bit strings, gamma codes and varints."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enxuto.codec.bits import BitReader, BitWriter, pack_fields, read_varint, varint
from enxuto.errors import FormatError


def test_fields_fill_bytes_from_the_low_end() -> None:
    out = BitWriter()
    out.write(0b101, 3)
    out.write(0x2A5, 11)
    assert out.to_bytes() == bytes([0b00101_101, 0b00_010101])


@pytest.mark.parametrize(
    ("value", "bits"),
    [(0, "0"), (1, "100"), (2, "101"), (3, "11000"), (6, "11011"), (7, "1110000")],
)
def test_gamma_code(value: int, bits: str) -> None:
    """w ones, a zero, and w bits (the least significant first), where value = 2^w − 1 + bits."""
    out = BitWriter()
    out.write_gamma(value)
    width = (len(bits) - 1) // 2
    low_first = bits[: width + 1] + bits[width + 1 :][::-1]
    assert out.to_bytes() == int(low_first[::-1], 2).to_bytes((len(bits) + 7) // 8, "little")


@given(st.lists(st.tuples(st.integers(0, 2**32 - 2), st.integers(0, 20))))
def test_what_is_written_is_read(fields: list[tuple[int, int]]) -> None:
    out = BitWriter()
    for value, count in fields:
        out.write_gamma(value)
        out.write_unary(count)
        out.write(value, 32)
    data = out.to_bytes()
    source = BitReader(data)
    for value, count in fields:
        assert (source.read_gamma(), source.read_unary(20), source.read(32)) == (value, count, value)
    assert source.finish() == len(data)


def test_a_field_that_does_not_fit_is_refused() -> None:
    out = BitWriter()
    with pytest.raises(ValueError, match="does not fit 3 bits"):
        out.write(8, 3)
    with pytest.raises(ValueError):
        out.write(-1, 3)


def test_reading_beyond_the_end_is_refused() -> None:
    source = BitReader(b"\xff")
    with pytest.raises(FormatError, match="E051"):
        source.read(9)
    with pytest.raises(FormatError, match="E051"):
        BitReader(b"\xff").read_unary(100)
    with pytest.raises(FormatError, match="impossible number"):
        BitReader(b"\xff" * 9).read_gamma()


def test_stray_bits_at_the_end_are_refused() -> None:
    source = BitReader(b"\x05")
    source.read(1)
    with pytest.raises(FormatError, match="stray"):
        source.finish()


@pytest.mark.parametrize(
    ("value", "data"), [(0, "00"), (127, "7f"), (128, "8001"), (300, "ac02"), (2**63 - 1, "ff" * 8 + "7f")]
)
def test_varint_bytes(value: int, data: str) -> None:
    assert varint(value).hex() == data
    assert read_varint(bytes.fromhex("aa" + data + "aa"), 1) == (value, 1 + len(data) // 2)


@pytest.mark.parametrize("data", ["", "80", "ffff", "ff" * 9 + "01", "80" * 20 + "00"])
def test_a_cut_or_long_varint_is_refused(data: str) -> None:
    with pytest.raises(FormatError, match="E052"):
        read_varint(bytes.fromhex(data), 0)


@settings(deadline=None)
@given(st.lists(st.integers(0, 32).flatmap(lambda w: st.tuples(st.integers(0, 2**w - 1), st.just(w)))))
def test_packing_agrees_with_the_small_writer(fields: list[tuple[int, int]]) -> None:
    out = BitWriter()
    for value, width in fields:
        out.write(value, width)
    expected = out.to_bytes()
    packed = np.zeros(len(expected), np.uint8)
    values = np.array([value for value, _ in fields], np.uint64)
    used = pack_fields(values, np.array([width for _, width in fields], np.uint8), packed)
    assert used == len(expected)
    assert packed.tobytes() == expected
