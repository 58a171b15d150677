"""What the head of coder `contexts` is made of: hazards, numbers, layouts, neighbours, worked by hand."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enxuto.codec.bits import BitReader, BitWriter
from enxuto.codec.layout import Layout, Pictures
from enxuto.codec.neighbours import CLIP, EIGHTHS, class_table, look_around, sign_table, step_table
from enxuto.codec.stop_odds import HAZARD, LOWEST, frequencies, hazard_of, mean_magnitudes, nearest_odds
from enxuto.errors import FormatError


def test_hazards_are_odds_in_quarter_octaves() -> None:
    assert [hazard_of(e) for e in (-64, -4, 0, 4, 8)] == [1, 21845, 32768, 43690, 52428]  # 1/3, 1/2, 2/3, 4/5
    for index, hazard in enumerate(HAZARD.tolist()):
        odds = 2 ** ((index + LOWEST) / 4)
        assert hazard == pytest.approx(65536 * odds / (1 + odds), abs=1.5)
    assert (np.diff(HAZARD) >= 0).all()
    assert 1 <= HAZARD.min() < HAZARD.max() < 65536
    assert [nearest_odds(share) for share in (0.0, 0.5, 2 / 3, 1.0)] == [-64, 0, 4, 63]


def test_frequencies_of_a_worked_class() -> None:
    """h_0 = 1/2, then 1/3 for ever: 1/2, 1/6, 1/9, and shared tokens 2/27 (for 3) and what is left."""
    table = frequencies(np.array([[0, -4]]), 2, 2)[0]
    shares = [Fraction(1, 2), Fraction(1, 6), Fraction(1, 9), Fraction(2, 27), Fraction(4, 27)]
    assert np.allclose(table, [4096 * float(share) for share in shares], atol=4)
    assert table.sum() == 4096
    assert mean_magnitudes(table[None], 2)[0] == int(sum(table * [0, 1, 2, 3, 4])) // 64


@given(
    st.lists(st.lists(st.integers(-64, 63), min_size=3, max_size=3), min_size=1, max_size=4),
    st.integers(0, 33), st.integers(0, 30),
)  # fmt: skip
def test_frequencies_always_sum_and_leave_nothing_out(
    exponents: list[list[int]], direct: int, groups: int
) -> None:
    table = frequencies(np.array(exponents), direct, groups)
    assert table.shape == (len(exponents), direct + 1 + groups)
    assert (table.sum(axis=1) == 4096).all()
    assert table.min() >= 1


@given(st.lists(st.integers(-127, 127)), st.lists(st.integers(-2, 2)))
def test_numbers_come_back(first: list[int], second: list[int]) -> None:
    out = BitWriter()
    out.write(1, 1)
    out.write_numbers(first)
    out.write_numbers(second)
    source = BitReader(out.to_bytes())
    assert source.read(1) == 1
    assert source.read_numbers(len(first)).tolist() == first
    assert source.read_numbers(len(second)).tolist() == second
    assert source.finish() == len(out.to_bytes())


def test_numbers_in_bits() -> None:
    """low = 0: 0 → 0, 1 → 10, −1 → 110; 7 → u = 13, so twelve ones and 13 in eight bits."""
    out = BitWriter()
    out.write_numbers([*[0] * 20, 1, -1, 7])
    bits = f"{int.from_bytes(out.to_bytes(), 'little'):b}"[::-1]
    assert bits.ljust(47, "0") == "00" + "0" * 20 + "10" + "110" + "1" * 12 + "10110000"
    with pytest.raises(ValueError, match="fit"):
        BitWriter().write_numbers([129])
    with pytest.raises(FormatError, match="E051"):
        BitReader(b"\xff").read_numbers(3)
    with pytest.raises(FormatError, match="E051"):
        BitReader(b"\0\0").read_numbers(2**40)


@pytest.mark.parametrize(
    ("shapes", "sizes", "width"),
    [
        ([()], (1, 1, 1), 1),
        ([(5,)], (5, 1, 1), 1),
        ([(5, 3)], (5, 3, 1), 1),
        ([(5, 3, 7)], (5, 3, 7), 7),
        ([(5, 3, 2, 4)], (5, 3, 8), 4),
        ([(5, 3, 2, 4, 6)], (5, 3, 48), 6),
        ([(2, 2), (7,), ()], (3, 1, 1), 1),
    ],
)
def test_layouts_of_shapes(shapes: list[tuple[int, ...]], sizes: tuple[int, int, int], width: int) -> None:
    layout = Layout.of(shapes)
    assert (layout.sizes, layout.width) == (sizes, width)
    assert layout.kernels * layout.positions == sum(int(np.prod(shape)) for shape in shapes)


def test_sums_of_rows_and_columns() -> None:
    matrix = Layout.of([(2, 3, 1, 2)])
    rows, columns = np.array([10, 20], np.int16), np.array([1, 2, 3], np.int16)
    assert matrix.sums(rows, columns, 0, 6).tolist() == [11, 12, 13, 21, 22, 23]
    assert matrix.sums(rows, columns, 2, 5).tolist() == [13, 21, 22]
    several = Layout.of([(2,), (0, 3), (3,)])
    numbers = np.array([5, 6, 7], np.int16)
    assert several.sums(numbers, np.zeros(1, np.int16), 1, 5).tolist() == [5, 7, 7, 7]


def test_neighbours_of_a_worked_kernel() -> None:
    layout = Layout.of([(1, 1, 2, 3)])
    pictures = Pictures.of(layout)
    assert (pictures.around // 256).tolist() == [0, 2, 2, 3, 6, 5]
    around, sums = np.empty(6, np.uint8), np.empty(6, np.int16)
    levels = np.array([[1, -2, 3, 4, -99, 0]], np.int32)
    look_around(levels, pictures.cells, pictures.stride, pictures.size, np.array(EIGHTHS), around, sums)
    assert around.tolist() == [0, 2, 4, 2 * 1 + 2, 2 * (4 + 2) + 1 + 3, 2 * (CLIP + 3) + 2]
    assert sums.tolist() == [0, 3, -6, 3, 3 * (4 - 2) - 1, 3 * (-CLIP + 3) + 2]


def test_steps_and_certainty_by_hand() -> None:
    """Mean 1 (64/64), all six weights around: expected 9 with three counted in; 27/16 of it is 15.2, less 3 is 12.2."""
    steps = step_table(np.array([64])).reshape(7, 256)
    assert [int(step) for step in steps[6, [0, 2, 3, 4, 5, 7, 8, 12, 13]]] == [0, 0, 1, 1, 2, 2, 3, 3, 4]
    assert steps[0, 0] == 2
    moved = class_table(np.tile(steps.reshape(-1), 3), np.array([-1, 0, 0, 1, 5]), 3).reshape(3, 7, 256)
    assert moved[:, 6, [0, 5, 8, 13]].tolist() == [[0, 0, 1, 2], [0, 1, 2, 2], [1, 2, 2, 2]]
    sure = sign_table(np.array([64])).reshape(-1)
    assert [int(one) for one in sure[1024 + np.array([0, 1, 2, 4, 8, -8, 1000])]] == [0, 1, 2, 3, 4, 4, 4]
