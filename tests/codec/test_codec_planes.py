"""Exact values ↔ bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enxuto.codec import decode_bytes, encode_bytes, encode_levels
from enxuto.codec.bits import varint
from enxuto.errors import FormatError


@pytest.mark.parametrize("item", [1, 2, 4, 8, 16])
@settings(max_examples=12, deadline=None)
@given(st.data())
def test_any_bytes_come_back_and_grow_by_an_item_at_most(item: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, 30))
    values = data.draw(st.binary(min_size=count * item, max_size=count * item))
    coded = encode_bytes(values, item)
    assert decode_bytes(coded, count, item) == values
    assert len(coded) <= len(values) + item


@pytest.mark.parametrize("dtype", ["<f4", "<f8", "<f2", "<i8", "<u2", "|i1", "<c8"])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 1000, 50_000])
def test_arrays_of_all_types_come_back(dtype: str, count: int) -> None:
    array = (np.random.default_rng(count).standard_normal(count) * 100).astype(dtype)
    coded = encode_bytes(array.tobytes(), array.itemsize)
    assert decode_bytes(coded, count, array.itemsize) == array.tobytes()
    assert len(coded) <= array.nbytes + array.itemsize


def test_special_values_keep_their_bits() -> None:
    patterns = np.array([0x7FC00001, 0xFFC00000, 0x80000000, 0x7F800000, 1, 0x80000001] * 50, "<u4")
    assert decode_bytes(encode_bytes(patterns.tobytes(), 4), 300, 4) == patterns.tobytes()


def test_trained_weights_shrink_and_constants_nearly_vanish() -> None:
    weights = np.random.default_rng(0).normal(0, 0.02, 100_000).astype("<f4").tobytes()
    assert len(encode_bytes(weights, 4)) < 0.9 * len(weights)
    assert encode_bytes(np.ones(1000, "<f4").tobytes(), 4) == bytes([1, 0, 1, 0, 1, 0x80, 1, 0x3F])


def test_layout_by_hand() -> None:
    """Two elements of two bytes, 0x0201 and 0x0203: low plane as it is, high plane constant."""
    assert encode_bytes(bytes([1, 2, 3, 2]), 2) == bytes([0, 1, 3, 1, 2])


@pytest.mark.parametrize("count", [0, 1, 7, 5000])
def test_cut_lengthened_and_miscounted_bytes_are_refused(count: int) -> None:
    values = (np.arange(count) % 7).astype("<f4").tobytes()
    coded = encode_bytes(values, 4)
    for cut in range(min(len(coded), 200)):
        with pytest.raises(FormatError):
            decode_bytes(coded[:cut], count, 4)
    with pytest.raises(FormatError, match="too long"):
        decode_bytes(coded + b"\0", count, 4)


def test_a_plane_that_holds_more_than_bytes_is_refused() -> None:
    for level in (256, -1, 2**31 - 1):
        piece = encode_levels(np.array([0, 1, 2, level], np.int32))
        with pytest.raises(FormatError, match="more than bytes"):
            decode_bytes(varint(len(piece)) + piece, 4, 1)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 50), st.sampled_from([1, 2, 4, 8, 16]))
def test_any_bytes_decode_or_are_refused(data: bytes, count: int, item: int) -> None:
    try:
        values = decode_bytes(data, count, item)
    except FormatError:
        return
    assert len(values) == count * item
