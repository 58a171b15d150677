"""Levels ↔ tokens and raw bits: three implementations of one definition agree."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enxuto.codec.bits import pack_fields
from enxuto.codec.tokens import MARK, Tokenizer, histogram, join, split

INT32 = st.integers(-(2**31), 2**31 - 1)
EDGES = [
    0,
    1,
    -1,
    2,
    -2,
    7,
    -8,
    2**15,
    -(2**15),
    2**31 - 1,
    -(2**31),
    -(2**31) + 1,
    MARK + 65535,
    MARK + 65536,
]


def slow(level: int, shift: int, direct: int) -> tuple[int, int, int]:
    """(token, raw bits' value, their number) as `docs/format.md` defines them."""
    q, low = level >> shift, level % 2**shift
    if abs(q) <= direct:
        return (0 if q == 0 else 2 * q - 1 if q > 0 else -2 * q), low, shift
    rest = abs(q) - direct
    order = rest.bit_length() - 1
    return 2 * direct + 1 + 2 * order + (q < 0), low + ((rest - 2**order) << shift), shift + order


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.one_of(INT32, st.integers(-300, 300)), min_size=1, max_size=60),
    st.integers(0, 24),
    st.sampled_from([0, 1, 2, 3, 8, 100, 2047]),
)
def test_tokenizer_split_and_join_agree(numbers: list[int], shift: int, direct: int) -> None:
    levels = np.array(numbers + EDGES, np.int32)
    tokenizer = Tokenizer(shift, direct)
    expected = [slow(int(level), shift, direct) for level in levels]

    tokens, widths = tokenizer.tokens(levels.astype(np.int64))
    assert tokens.tolist() == [token for token, _, _ in expected]
    assert widths.tolist() == [width for _, _, width in expected]

    split_tokens = np.empty(levels.size, np.uint16)
    raw = np.empty(levels.size, np.uint64)
    split_widths = np.empty(levels.size, np.uint8)
    total = split(levels, shift, direct, split_tokens, raw, split_widths)
    assert split_tokens.tolist() == tokens.tolist()
    assert raw.tolist() == [bits for _, bits, _ in expected]
    assert split_widths.tolist() == widths.tolist()
    assert total == widths.sum()
    assert split_widths.max() <= 32

    packed = np.zeros((total + 7) // 8, np.uint8)
    pack_fields(raw, split_widths, packed)
    starts, orders = tokenizer.values(int(tokens.max()) + 1)
    per_token = (orders + shift).astype(np.uint8)
    decoded = np.where(per_token[tokens] > 0, MARK + tokens, starts[tokens] << shift).astype(np.int32)
    assert join(decoded, shift, starts, per_token, packed)
    assert decoded.tolist() == levels.tolist()


def test_join_refuses_missing_extra_and_overflowing_bits() -> None:
    starts, orders = Tokenizer(0, 0).values(70)
    widths = orders.astype(np.uint8)

    def run(token: int, packed: bytes) -> bool:
        levels = np.array([MARK + token], np.int32)
        return bool(join(levels, 0, starts, widths, np.frombuffer(packed, np.uint8)))

    assert run(1 + 2 * 9, b"\xff\x01")  # 9 raw bits
    assert not run(1 + 2 * 9, b"\xff")
    assert not run(1 + 2 * 9, b"\xff\x01\x00")
    assert not run(1 + 2 * 9, b"\xff\x03")  # a bit where the last byte is to be filled up with zeros
    assert run(1 + 2 * 31 + 1, bytes(4))  # −2^31
    assert not run(1 + 2 * 31 + 1, b"\x01\x00\x00\x00")  # −2^31 − 1
    assert not run(1 + 2 * 31, bytes(4))  # +2^31


@pytest.mark.parametrize(
    "levels",
    [
        np.array(EDGES * 3, np.int32),
        np.arange(-40_000, 40_000, dtype=np.int32),
        np.zeros(5, np.int32),
        np.array([2**15, 2**15 + 1, -(2**15), -(2**15) - 1], np.int32),
    ],
    ids=["edges", "range", "zeros", "dense edge"],
)
def test_histogram_agrees_with_unique(levels: np.ndarray) -> None:
    values, counts = histogram(levels)
    expected_values, expected_counts = np.unique(levels, return_counts=True)
    assert values.tolist() == expected_values.tolist()
    assert counts.tolist() == expected_counts.tolist()
