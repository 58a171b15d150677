"""Levels ↔ bytes: round trips over the whole of int32, chunk edges, threads, damage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from enxuto.codec import decode_levels, encode_levels, entropy
from enxuto.codec.order0 import CHUNK
from enxuto.errors import FormatError

INT32 = st.integers(-(2**31), 2**31 - 1)
EXTREMES = st.sampled_from([-(2**31), 2**31 - 1, 0, 1, -1, 2**15, 2**24])
LEVELS = hnp.arrays(
    np.int32,
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=12),
    elements=st.one_of(INT32, EXTREMES, st.integers(-4, 4)),
)


def come_back(levels: np.ndarray) -> bytes:
    data = encode_levels(levels)
    assert decode_levels(data, levels.size).tolist() == levels.reshape(-1).tolist()
    return data


@settings(max_examples=80, deadline=None)
@given(LEVELS)
def test_any_levels_come_back(levels: np.ndarray) -> None:
    come_back(levels)


@pytest.mark.parametrize(
    "levels",
    [
        np.zeros(0, np.int32),
        np.zeros(1, np.int32),
        np.array([-(2**31)], np.int32),
        np.array([2**31 - 1], np.int32),
        np.array([-(2**31), 2**31 - 1] * 100, np.int32),
        np.full(70_000, 2**31 - 1, np.int32),
        np.full(70_000, -12345, np.int32),
        np.arange(-(2**31), 2**31 - 1, 2**20, dtype=np.int64).astype(np.int32),
        np.arange(5000, dtype=np.int32),
        np.random.default_rng(1).integers(-(2**31), 2**31, 40_000, dtype=np.int64).astype(np.int32),
        np.arange(64, dtype=np.int32) * 33_000_000,
        np.arange(65, dtype=np.int32) * 33_000_000,
    ],
    ids=[
        "none", "one zero", "lowest", "highest", "both ends", "constant high", "constant low", "int32 ladder",
        "ladder", "int32 noise", "64 distinct", "65 distinct",
    ],
)  # fmt: skip
def test_extreme_levels_come_back(levels: np.ndarray) -> None:
    come_back(levels)


@pytest.mark.parametrize(
    ("size", "scale"),
    [
        *((2**15 + more, 3.0) for more in (-1, 0, 1, 2, 3)),
        *((CHUNK + more, 3.0) for more in (-1, 0, 1, 2**15 - 1, 2**15, CHUNK)),
        *((size, scale) for size in (2**15, CHUNK + 3) for scale in (0.3, 300.0)),  # few bits, raw bits
    ],
)
def test_sizes_around_chunk_and_state_limits_and_any_threads(size: int, scale: float) -> None:
    levels = np.rint(np.random.default_rng(size).laplace(0, scale, size)).astype(np.int32)
    data = encode_levels(levels)
    assert encode_levels(levels, threads=3) == data
    assert np.array_equal(decode_levels(data, size), levels)
    assert np.array_equal(decode_levels(data, size, threads=3), levels)


def test_a_constant_tensor_costs_a_few_bytes() -> None:
    assert len(come_back(np.full(10 * CHUNK, 3, np.int32))) <= 16 + 10 * (20 + 2)


def test_shape_and_memory_order_do_not_matter() -> None:
    levels = np.random.default_rng(0).integers(-5, 5, (30, 40)).astype(np.int32)
    assert (
        encode_levels(np.asfortranarray(levels)) == encode_levels(levels) == encode_levels(levels.reshape(-1))
    )
    assert encode_levels(levels[:, ::2]) == encode_levels(np.ascontiguousarray(levels[:, ::2]))


def test_entropy_of_known_distributions() -> None:
    assert entropy(np.zeros(0, np.int32)) == 0
    assert entropy(np.full(1000, -7, np.int32)) == pytest.approx(0, abs=1e-12)
    assert entropy(np.arange(256, dtype=np.int32)) == pytest.approx(8)
    assert entropy(np.array([0, 0, 1, 2], np.int32)) == pytest.approx(1.5)
    assert entropy(np.array([-(2**31), 2**31 - 1], np.int32)) == pytest.approx(1)


@pytest.mark.parametrize("size", [1, 50, 2**15 + 5, CHUNK + 77])
@pytest.mark.parametrize("scale", [2.0, 400.0])
def test_cut_lengthened_and_miscounted_payloads_are_refused(size: int, scale: float) -> None:
    levels = np.rint(np.random.default_rng(0).laplace(0, scale, size)).astype(np.int32)
    data = encode_levels(levels)
    cuts = {0, 1, 2, 3, len(data) // 2, len(data) - 1}
    for wrong in [*(data[:cut] for cut in cuts if cut < len(data)), data + b"\0", data + b"\x01\x02"]:
        with pytest.raises(FormatError):
            decode_levels(wrong, size)
    # (A constant tensor's levels cost nothing: for it any small count decodes, and the table's shapes must tell.)
    for count in (0, size + 1, 2 * size, size + CHUNK) if size > 1 else (0, CHUNK + 1):
        with pytest.raises(FormatError):
            decode_levels(data, count)


def test_levels_for_no_count_and_the_reverse_are_refused() -> None:
    assert decode_levels(b"", 0).size == 0
    with pytest.raises(FormatError, match="not empty"):
        decode_levels(b"\0", 0)
    with pytest.raises(FormatError):
        decode_levels(b"", 5)


@pytest.mark.parametrize("shift", [0, 25, 31])
@pytest.mark.parametrize("direct", [0, 2047])
def test_tokenizers_that_no_encoder_uses_do_no_harm(shift: int, direct: int) -> None:
    """Bytes of a real payload behind another first field."""
    data = encode_levels(np.arange(-500, 500, dtype=np.int32) ** 3)
    wrong = (shift | direct << 5).to_bytes(2, "little") + data[2:]
    try:
        decoded = decode_levels(wrong, 1000)
    except FormatError:
        return
    assert decoded.dtype == np.int32


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80), st.integers(0, 200))
def test_any_bytes_decode_or_are_refused(data: bytes, count: int) -> None:
    try:
        levels = decode_levels(data, count)
    except FormatError:
        return
    assert levels.shape == (count,)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [0.5, 4.0, 3000.0])
def test_damaged_payloads_decode_or_are_refused(scale: float) -> None:
    """Without checksums in front: the decoder itself must hold against every byte."""
    rng = np.random.default_rng(5)
    levels = np.rint(rng.laplace(0, scale, 3000)).astype(np.int32)
    data = encode_levels(levels)
    refused = 0
    for _ in range(1500):
        wrong = bytearray(data)
        for place in rng.integers(
            0, min(len(data), 300 if rng.random() < 0.5 else len(data)), rng.integers(1, 4)
        ):
            wrong[place] = rng.integers(0, 256)
        try:
            assert decode_levels(bytes(wrong), levels.size).shape == levels.shape
        except FormatError:
            refused += 1
    assert refused > 500
