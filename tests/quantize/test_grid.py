"""The quantizer whose step is a product of a row's and a column's factor."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enxuto.errors import UsageError
from enxuto.quantize.grid import MOST_EXPONENT, Grid, quarter_octaves


def test_factors_are_these_bits() -> None:
    found = quarter_octaves(np.arange(-4, 5))
    words = [0x3F000000, 0x3F1837F0, 0x3F3504F3, 0x3F5744FD, 0x3F800000, 0x3F9837F0, 0x3FB504F3, 0x3FD744FD]
    assert found.view(np.uint32).tolist() == [*words, 0x40000000]


def test_a_value_by_hand() -> None:
    """Level 3 in row 1 (factor 2) and column 2 (factor 2^¼) of step 0.1: (3 · (0.1 · 2)) · 1.1892071 in float32."""
    grid = Grid(0.1, (0, 4), (0, 0, 1))
    levels = np.zeros((2, 3, 1, 1), np.int32)
    levels[1, 2] = 3
    expected = np.float32(np.float32(3) * np.float32(np.float32(0.1) * np.float32(2))) * np.float32(1.1892071)
    assert grid.reconstruct(levels)[1, 2, 0, 0] == expected
    assert grid.reconstruct(levels).dtype == np.float32


@given(seed=st.integers(0, 1000), rows=st.booleans(), columns=st.booleans())
@settings(max_examples=30, deadline=None)
def test_nearest_levels(seed: int, rows: bool, columns: bool) -> None:
    generator = np.random.default_rng(seed)
    grid = Grid(
        0.07,
        tuple(generator.integers(-8, 9, 5).tolist()) if rows else (),
        tuple(generator.integers(-8, 9, 4).tolist()) if columns else (),
    )
    x = generator.standard_normal((5, 4, 3)).astype(np.float32)
    levels = grid.quantize(x)
    row_steps, column_steps = grid.steps(x.shape)
    assert (np.abs(grid.reconstruct(levels) - x) <= 0.5 * row_steps * column_steps * 1.00001).all()
    np.testing.assert_array_equal(grid.quantize(grid.reconstruct(levels)), levels)


@pytest.mark.parametrize("step", [0.0, -1.0, float("nan"), float("inf"), 1e-60, 1e60])
def test_steps_that_are_none(step: float) -> None:
    with pytest.raises(UsageError, match="positive float32"):
        Grid(step)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match="within"):
        Grid(1.0, (MOST_EXPONENT + 1,))
    with pytest.raises(UsageError, match="3 factors along axis 0 do not fit"):
        Grid(1.0, (1, 1, 1)).quantize(np.zeros((2, 2), np.float32))
    with pytest.raises(UsageError, match="1 factors along axis 1"):
        Grid(1.0, (), (1,)).reconstruct(np.zeros(3, np.int32))
    with pytest.raises(UsageError, match="31 bits"):
        Grid(1e-30).quantize(np.ones(2, np.float32))
