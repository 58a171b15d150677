"""The search along a row: against trying everything, against itself with fewer paths, and its bookkeeping."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enxuto.calibration.curvature import Curvature
from enxuto.calibration.layers import LinearLayer
from enxuto.quantize.trellis import MACHINES, NEWEST, multiples
from enxuto.rounding.feedback import loss, round_matrix, round_on_trellis, upper_factor
from enxuto.rounding.row_search import Columns, allocate_search, search_row

OFF_TRELLIS = np.zeros((1, 2), np.int64)
ON_TRELLIS = MACHINES[NEWEST].following


def second_moment(size: int, seed: int = 0) -> np.ndarray:
    """Correlated inputs: neighbours share half of their variance."""
    generator = np.random.default_rng(seed)
    seen = generator.standard_normal((4 * size, size)) + generator.standard_normal((4 * size, 1))
    return seen.T @ seen / len(seen)


def searched(
    row: np.ndarray, second: np.ndarray, following: np.ndarray, paths: int, unit: float = 1.0
) -> tuple[np.ndarray, np.ndarray, int]:
    factor = upper_factor(second)
    own = np.diagonal(factor)
    levels, errors = np.zeros(len(row), np.int32), np.zeros(len(row))
    done, state = search_row(
        row.copy(),
        unit,
        Columns(np.ones(len(row)), 1 / own**2, (factor / own[:, None]).astype(np.float32)),
        following,
        0,
        allocate_search(paths, len(row)),
        levels,
        errors,
    )
    assert done
    return levels, errors, state


def values(levels: np.ndarray, following: np.ndarray) -> np.ndarray:
    return multiples(levels[None]).reshape(-1).astype(float) if len(following) > 1 else levels.astype(float)


def best_of_all(row: np.ndarray, second: np.ndarray, following: np.ndarray) -> float:
    """The least loss of all rows of levels −2…2, by trying each of them."""
    everything = np.array(list(itertools.product(range(-2, 3), repeat=len(row))), np.int32)
    found = multiples(everything).astype(float) if len(following) > 1 else everything.astype(float)
    errors = row - found
    return float(np.einsum("nc,cd,nd->n", errors, second, errors).min())


@pytest.mark.parametrize("following", [OFF_TRELLIS, ON_TRELLIS], ids=["plain", "trellis"])
@pytest.mark.parametrize("seed", range(6))
def test_enough_paths_find_the_best_levels_of_all(following: np.ndarray, seed: int) -> None:
    generator = np.random.default_rng(seed)
    row = generator.uniform(-1.4, 1.4, 7)
    second = second_moment(7, seed)
    levels, _, _ = searched(row, second, following, 256)
    error = row - values(levels, following)
    assert error @ second @ error == pytest.approx(best_of_all(row, second, following), rel=1e-6)


@pytest.mark.parametrize("following", [OFF_TRELLIS, ON_TRELLIS], ids=["plain", "trellis"])
@pytest.mark.parametrize("length", [1, 7, 8, 9, 127, 128, 129, 136, 256, 257, 400])
def test_what_errors_cost_is_what_the_loss_is(following: np.ndarray, length: int) -> None:
    """With H⁻¹ = UᵀU the loss is the sum of (e_j / U_jj)²: it fails if any weight is moved by a wrong error."""
    row = np.random.default_rng(length).standard_normal(length) * 3
    second = second_moment(length)
    levels, errors, state = searched(row, second, following, 24)
    error = row - values(levels, following)
    costs = np.sum((errors / np.diagonal(upper_factor(second))) ** 2)
    assert error @ second @ error == pytest.approx(costs, rel=1e-4)
    expected = 0
    for level in levels:
        expected = int(following[expected, level & 1])
    assert state == expected


def test_more_paths_cost_less() -> None:
    generator = np.random.default_rng(2)
    weights, second = generator.standard_normal((40, 300)), second_moment(300)
    factors = upper_factor(second), np.eye(40)
    steps = np.full(40, 0.8), np.ones(300)
    plain, trellis = [], []
    for paths in (1, 4, 32, 128):
        levels = np.zeros(weights.shape, np.int32)
        assert round_matrix(weights.copy(), *steps, *factors, levels, paths=paths)
        plain.append(loss(weights - levels * 0.8, second))
        assert round_on_trellis(
            weights.copy(), *(0.6 * steps[0], steps[1]), *factors, np.zeros(40, np.int64), levels, paths=paths
        )
        trellis.append(loss(weights - multiples(levels) * 0.48, second))
    assert plain == sorted(plain, reverse=True)
    assert plain[-1] < 0.94 * plain[0]
    assert trellis == sorted(trellis, reverse=True)
    assert trellis[-1] < 0.94 * trellis[0]


@settings(max_examples=40, deadline=None)
@given(
    row=st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=150),
    unit=st.sampled_from([1e-30, 0.01, 1.0, 1e25]),
    paths=st.integers(2, 40),
    trellis=st.booleans(),
)
def test_no_level_is_far_from_its_weight(row: list[float], unit: float, paths: int, trellis: bool) -> None:
    """Without correlation all that is asked of a level is to be near, whatever the unit; ties, zeros and all."""
    following = ON_TRELLIS if trellis else OFF_TRELLIS
    weights = np.array(row)
    levels, errors, _ = searched(weights * unit, np.eye(len(row)), following, paths, unit)
    missed = weights - values(levels, following)
    assert np.abs(missed).max() <= 4.0
    np.testing.assert_allclose(errors / unit, missed, atol=1e-3)


def test_equal_weights_keep_their_paths() -> None:
    """Zeros make all ways equally good: some path is still there at the end."""
    levels, errors, _ = searched(np.zeros(300), np.eye(300), ON_TRELLIS, 16)
    assert not levels.any()
    assert not errors.any()


def test_a_level_out_of_bounds_ends_the_search() -> None:
    levels, errors = np.zeros(3, np.int32), np.zeros(3)
    for weight in (1e12, np.nan, np.inf):
        row = np.array([0.0, weight, 0.0])
        given = (1.0, Columns(np.ones(3), np.ones(3), np.eye(3, dtype=np.float32)))
        assert not search_row(row, *given, ON_TRELLIS, 0, allocate_search(8, 3), levels, errors)[0]
        assert not search_row(row, *given, OFF_TRELLIS, 0, allocate_search(8, 3), levels, errors)[0]


def test_one_path_takes_the_nearest_level_of_each_weight_in_turn() -> None:
    """Beside the same sums in their plainest form."""
    generator = np.random.default_rng(5)
    for rows, columns in ((1, 1), (3, 9), (20, 300), (40, 520)):
        weights = generator.standard_normal((rows, columns))
        inner, outer = (
            upper_factor(second_moment(columns)),
            upper_factor(second_moment(rows, 1) + np.eye(rows)),
        )
        levels = np.zeros(weights.shape, np.int32)
        given = (np.full(rows, 0.7), np.ones(columns), inner, outer, levels)
        assert round_matrix(weights.copy(), *given)
        for r in range(rows):
            errors = np.zeros(columns)
            for j in range(columns):
                level = np.rint(weights[r, j] / 0.7)
                assert levels[r, j] == level
                errors[j] = (weights[r, j] - 0.7 * level) / inner[j, j]
                weights[r, j + 1 :] -= errors[j] * inner[j, j + 1 :]
            weights[r + 1 :] -= outer[r, r + 1 :, None] / outer[r, r] * (errors @ inner)


def test_blocks_of_outputs_are_rounded_in_any_order() -> None:
    generator = np.random.default_rng(6)
    weight = generator.standard_normal((37, 50)).astype(np.float32)
    layer = LinearLayer("w", None, "x", "y", "rows")
    inner = second_moment(50)[None].astype(np.float32)
    outer = [second_moment(size, size)[None].astype(np.float32) for size in (20, 17)]
    curvature = Curvature.of(layer, [inner], outer, True)
    given = (layer.matrix(weight), np.full((1, 37), 0.4), np.ones((1, 50)))
    whole = curvature.round(*given, trellis=True, paths=8)
    levels = np.zeros((1, 37, 50), np.int32)
    for number in (1, 0):
        assert curvature.round_piece(number, *given, levels, trellis=True, paths=8)
    np.testing.assert_array_equal(levels, whole)
