"""The dead-zone quantizer: values worked by hand from the equations, and its properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from enxuto.errors import UsageError
from enxuto.quantize.scalar import DeadZone, Quantizer

DELTAS = [0.0, 0.1, 0.25, 0.4, 0.5, 0.7]

# Δ = 2. level = 0 if |x| < 2δ, else s·⌈|x|/2 − δ⌉; value = s·2·(|level| + δ − ½).
BY_HAND = {
    #       x → level, value
    0.0: {0.0: (0, 0.0), 0.01: (1, 1.0), 2.0: (1, 1.0), 2.01: (2, 3.0), -3.0: (-2, -3.0), 9.0: (5, 9.0)},
    0.1: {0.19: (0, 0.0), 0.21: (1, 1.2), 2.19: (1, 1.2), 2.21: (2, 3.2), -2.21: (-2, -3.2), 9.0: (5, 9.2)},
    0.25: {0.49: (0, 0.0), 0.51: (1, 1.5), 2.49: (1, 1.5), 2.51: (2, 3.5), -6.0: (-3, -5.5)},
    0.4: {0.79: (0, 0.0), 0.81: (1, 1.8), 2.79: (1, 1.8), 2.81: (2, 3.8), -0.81: (-1, -1.8)},
    0.5: {0.99: (0, 0.0), 1.01: (1, 2.0), 2.99: (1, 2.0), 3.01: (2, 4.0), -3.01: (-2, -4.0), 10.0: (5, 10.0)},
    0.7: {1.39: (0, 0.0), 1.41: (1, 2.4), 3.39: (1, 2.4), 3.41: (2, 4.4), -1.41: (-1, -2.4)},
}  # fmt: skip

WEIGHTS = hnp.arrays(np.float32, st.integers(1, 40), elements=st.floats(-50, 50, width=32))
STEPS = st.floats(2.0**-10, 4.0, width=32)


@pytest.mark.parametrize("delta", DELTAS)
def test_by_hand(delta: float) -> None:
    quantizer = DeadZone(2.0, delta)
    x = np.array(list(BY_HAND[delta]), np.float32)
    levels = quantizer.quantize(x)
    assert levels.dtype == np.int32
    assert levels.tolist() == [level for level, _ in BY_HAND[delta].values()]
    values = quantizer.reconstruct(levels)
    assert values.dtype == np.float32
    assert values == pytest.approx([value for _, value in BY_HAND[delta].values()], rel=1e-6)


@pytest.mark.parametrize("delta", [0.25, 0.5])
def test_on_the_edges_of_bins(delta: float) -> None:
    """x = δΔ leaves the zero bin for level ⌈0⌉ = 0; a bin's upper edge belongs to it."""
    edges = np.array([delta, delta + 1, delta + 2], np.float32)
    assert DeadZone(1.0, delta).quantize(edges).tolist() == [0, 1, 2]
    assert DeadZone(1.0, delta).quantize(np.nextafter(edges, np.float32(9))).tolist() == [1, 2, 3]


def test_midrise_has_level_zero_for_zero_alone() -> None:
    x = np.array([0.0, -0.0, 1e-45, -1e-45, 1.0, 1.5], np.float32)
    assert DeadZone(1.0, 0.0).quantize(x).tolist() == [0, 0, 1, -1, 1, 2]
    assert DeadZone(1.0, 0.0).reconstruct(np.array([0, 1, -1, 2], np.int32)).tolist() == [0, 0.5, -0.5, 1.5]


def test_midtread_rounds_to_nearest() -> None:
    x = np.random.default_rng(0).normal(0, 3, 1000).astype(np.float32)
    quantizer = DeadZone(0.25, 0.5)
    assert quantizer.quantize(x).tolist() == np.rint(x.astype(np.float64) / 0.25).tolist()
    levels = np.arange(-20, 21, dtype=np.int32)
    assert quantizer.reconstruct(levels).tolist() == (levels * 0.25).tolist()


@settings(max_examples=120, deadline=None)
@given(WEIGHTS, STEPS, st.one_of(st.sampled_from(DELTAS), st.floats(0, 1)))
def test_properties(x: np.ndarray, step: float, delta: float) -> None:
    quantizer = DeadZone(step, delta)
    levels = quantizer.quantize(x)
    values = quantizer.reconstruct(levels)
    exact = x.astype(np.float64)
    # Distance: half a step, or the half-width of the zero bin; plus rounding of the result to float32.
    slack = 4 * np.spacing(np.abs(values).max(initial=step)).astype(np.float64)
    assert (np.abs(values - exact) <= step * max(delta, 0.5) * (1 + 1e-12) + slack).all()
    # Odd, and monotone.
    assert quantizer.quantize(-x).tolist() == (-levels).tolist()
    assert (
        quantizer.reconstruct(-levels).tobytes() == np.where(levels == 0, 0, -values).astype("f4").tobytes()
    )
    order = np.argsort(x, kind="stable")
    assert (np.diff(levels[order]) >= 0).all()
    assert (np.diff(values[order]) >= 0).all()
    # A value of a bin lies in the bin, well away from its edges: quantizing it again changes nothing.
    assert quantizer.quantize(values).tolist() == levels.tolist()


@settings(max_examples=60, deadline=None)
@given(st.integers(-(2**22), 2**22), STEPS, st.sampled_from(DELTAS))
def test_levels_survive_the_way_through_values(level: int, step: float, delta: float) -> None:
    quantizer = DeadZone(step, delta)
    levels = np.array([level], np.int32)
    assert quantizer.quantize(quantizer.reconstruct(levels)).tolist() == [level]


def test_reconstruction_is_the_sequence_of_float32_operations() -> None:
    """`docs/format.md`: s·((float32(a) + float32(δ − 0.5))·float32(step)), no operation fused."""
    rng = np.random.default_rng(0)
    levels = np.concatenate(
        [rng.integers(-(2**31), 2**31 - 1, 20_000), rng.integers(-99, 99, 20_000), [-(2**31), 2**31 - 1, 0]]
    ).astype(np.int32)
    for step, delta in ((0.1, 0.4), (1e-3, 0.7), (0.3333, 0.1), (3e-39, 0.5)):
        size = np.abs(levels.astype(np.int64)).astype(np.float32)
        total = size + np.float32(delta - 0.5)
        product = total * np.float32(step)
        assert total.dtype == product.dtype == np.float32
        expected = np.where(levels == 0, np.float32(0), np.where(levels < 0, -product, product))
        assert DeadZone(step, delta).reconstruct(levels).tobytes() == expected.astype(np.float32).tobytes()


@pytest.mark.parametrize("shape", [(4, 3, 5), (4, 3), (2, 4, 1, 3)])
def test_steps_per_channel_on_every_axis(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(0, 1, shape).astype(np.float32)
    for axis, length in enumerate(shape):
        steps = tuple(float(step) for step in rng.uniform(0.05, 0.5, length).astype(np.float32))
        quantizer = DeadZone(steps, 0.4, axis)
        levels = quantizer.quantize(x)
        values = quantizer.reconstruct(levels)
        for index, step in enumerate(steps):
            place = (slice(None),) * axis + (index,)
            alone = DeadZone(step, 0.4)
            assert levels[place].tolist() == alone.quantize(np.ascontiguousarray(x[place])).tolist()
            assert values[place].tolist() == alone.reconstruct(np.ascontiguousarray(levels[place])).tolist()


def test_any_memory_order_and_empty_and_scalar_arrays() -> None:
    x = np.random.default_rng(0).normal(0, 1, (6, 7)).astype(np.float32)
    quantizer = DeadZone((0.1,) * 3 + (0.5,) * 4, 0.5, 1)
    assert quantizer.quantize(np.asfortranarray(x)).tolist() == quantizer.quantize(x).tolist()
    levels = quantizer.quantize(x)
    assert quantizer.reconstruct(np.asfortranarray(levels)).tolist() == quantizer.reconstruct(levels).tolist()
    assert DeadZone(1.0).quantize(np.zeros((0, 3), np.float32)).shape == (0, 3)
    assert DeadZone(1.0).reconstruct(np.zeros((), np.int32)).shape == ()


def test_clipping() -> None:
    x = np.array([-5, -1, -0.9, 0, 0.9, 1, 5], np.float32)
    assert DeadZone(0.5).quantize(x).tolist() == [-10, -2, -2, 0, 2, 2, 10]
    assert DeadZone(0.5, clip=(-1, 1)).quantize(x).tolist() == [-2, -2, -2, 0, 2, 2, 2]
    assert DeadZone(0.5, clip=(-1, 2)).quantize(x).tolist() == [-2, -2, -2, 0, 2, 2, 4]


def test_levels_at_the_edge_of_31_bits() -> None:
    top = np.array([2.0**31 - 128], np.float32)
    assert DeadZone(1.0).quantize(top).tolist() == [2**31 - 128]
    for value in (2.0**31, -(2.0**31), 3e38, np.inf, -np.inf):
        with pytest.raises(UsageError, match="too small for values up to"):
            DeadZone(1.0).quantize(np.array([1.0, value], np.float32))


@pytest.mark.parametrize("step", [2, np.float32(0.25), np.float64(0.25), np.int64(2)])
def test_any_number_is_a_step(step: float) -> None:
    assert DeadZone(step) == DeadZone(float(step))
    assert type(DeadZone(step).step) is float


@pytest.mark.parametrize("step", [0.0, -1.0, float("nan"), float("inf"), 1e-50, 1e39, (1.0, -1.0), ()])
def test_steps_that_make_no_sense(step: float | tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match="step"):
        DeadZone(step, 0.5, 0 if isinstance(step, tuple) else None)


def test_a_message_about_many_steps_is_short() -> None:
    with pytest.raises(UsageError, match="step") as caught:
        DeadZone((1.0,) * 10_000 + (-1.0,), 0.5, 0)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("delta", [-0.1, 1.1, float("nan")])
def test_delta_that_makes_no_sense(delta: float) -> None:
    with pytest.raises(UsageError, match="delta"):
        DeadZone(1.0, delta)


def test_other_contradictions() -> None:
    with pytest.raises(UsageError, match="E022"):
        DeadZone((1.0, 2.0))
    with pytest.raises(UsageError, match="E022"):
        DeadZone(1.0, axis=0)
    with pytest.raises(UsageError, match="range"):
        DeadZone(1.0, clip=(1.0, -1.0))
    with pytest.raises(UsageError, match="E022"):
        DeadZone((1.0, 2.0), axis=0).quantize(np.zeros((3, 2), np.float32))
    with pytest.raises(UsageError, match="E022"):
        DeadZone((1.0, 2.0), axis=2).reconstruct(np.zeros((2, 2), np.int32))
    assert isinstance(DeadZone(1.0), Quantizer)
