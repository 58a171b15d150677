"""Weights rounded in the forward pass, and what their levels are said to cost."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from enxuto.codec import encode, encoded_size
from enxuto.errors import UsageError
from enxuto.quantize.grid import Grid
from enxuto.quantize.scalar import DeadZone
from enxuto.quantize.tensor import QuantizedTensor
from enxuto.quantize.trellis import multiples
from enxuto.retraining.descent import Descent
from enxuto.retraining.levels import LearnedLevels, RoundedBias, round_through
from enxuto.retraining.rate import RateModel, _costs_of_steps
from enxuto.rounding.viterbi import nearest_path

GRIDS = {
    "one step": ((6, 5, 3, 3), Grid(0.07)),
    "rows": ((6, 5, 3, 3), Grid(0.07, (0, 1, -2, 0, 0, 3))),
    "rows and columns": ((6, 5, 3, 3), Grid(0.07, (0, 1, -2, 0, 0, 3), (1, 0, 0, -4, 2))),
    "columns of a matrix": ((6, 5), Grid(0.07, (), (1, 0, 0, -4, 2))),
    "trellis": ((6, 5, 3, 3), Grid(0.05, trellis=32)),
    "trellis of eight states": ((6, 40), Grid(0.05, trellis=8)),
    "rows and columns on a trellis": ((6, 5, 3, 3), Grid(0.05, (0, 1, -2, 0, 0, 3), (1, 0, 0, -4, 2), 32)),
}
TRELLIS = [case for case, (_, grid) in GRIDS.items() if grid.trellis]
PLAIN = [case for case in GRIDS if case not in TRELLIS]


def started(case: str) -> tuple[np.ndarray, QuantizedTensor, LearnedLevels]:
    shape, grid = GRIDS[case]
    weight = np.random.default_rng(0).laplace(0, 0.1, shape).astype(np.float32)
    if grid.trellis:
        rows, columns = grid.steps(shape)
        numbers = (weight / (rows * columns)).astype(np.float64).reshape(len(weight), -1)
        numbers[:, ::7] += 1
        levels = nearest_path(numbers, grid.trellis).reshape(shape)
    else:
        levels = grid.quantize(weight)
        levels.reshape(-1)[::7] += 1  # as feedback moves some away from the nearest
    start = QuantizedTensor(levels, grid)
    return weight, start, LearnedLevels(weight, start)


@pytest.mark.parametrize("case", GRIDS)
def test_training_starts_at_the_given_levels_on_the_given_grid(case: str) -> None:
    _, start, weight = started(case)
    np.testing.assert_allclose(weight().detach().numpy(), start.reconstruct(), rtol=2e-6)
    np.testing.assert_array_equal(weight.quantized().levels, start.levels)


@pytest.mark.parametrize("case", GRIDS)
def test_the_forward_pass_gives_what_the_file_will_give(case: str) -> None:
    _, _, weight = started(case)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        weight.latent += torch.randn(weight.latent.shape, generator=generator)
        weight.rows += 3 * torch.randn(weight.rows.shape, generator=generator)
        weight.log_step += 0.3
        weight.coarser += 0.6
    np.testing.assert_allclose(weight().detach().numpy(), weight.quantized().reconstruct(), rtol=2e-6)


@pytest.mark.parametrize("case", PLAIN)
def test_coarser_levels_are_fewer_and_leave_the_weight_where_it_is(case: str) -> None:
    _, _, weight = started(case)
    fine, latent = weight.quantized(), weight.latent.detach().clone()
    with torch.no_grad():
        weight.coarser += 1.0
    coarse = weight.quantized()
    assert torch.equal(weight.latent, latent)
    np.testing.assert_array_equal(coarse.levels, np.rint(latent.numpy() / 2))
    np.testing.assert_allclose(coarse.reconstruct(), weight().detach().numpy(), rtol=2e-6)
    steps = [np.multiply(*cast(Grid, found.quantizer).steps(fine.levels.shape)) for found in (fine, coarse)]
    np.testing.assert_allclose(steps[1], 2 * steps[0], rtol=1e-6)


def test_how_coarse_levels_are_is_learned_from_what_rounding_loses_and_from_bits() -> None:
    _, start, weight = started("rows")
    weight().sum().backward()
    numbers = weight.numbers().detach()
    rows = torch.exp2(torch.round(weight.rows.detach()) / 4).reshape(-1, 1, 1, 1)
    slope = (
        ((torch.round(numbers) - numbers) * rows).sum() * 0.07 * np.log(2)
    )  # Esser et al. 2020, equation 3
    assert weight.coarser.grad is not None
    assert float(weight.coarser.grad) == pytest.approx(float(slope), rel=1e-3)
    weight.zero_grad()
    model = RateModel()
    model.refresh(start.levels)
    model.bits(weight.numbers()).backward()
    assert float(weight.coarser.grad) < 0, "coarser levels cost fewer bits"


def test_a_control_starts_at_the_weight_itself() -> None:
    weight, start, _ = started("rows and columns")
    free = LearnedLevels(weight, start, rounded=False)
    np.testing.assert_allclose(free().detach().numpy(), weight, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("case", TRELLIS)
def test_gradients_pass_through_the_path_on_a_trellis(case: str) -> None:
    _, start, weight = started(case)
    factors = torch.from_numpy(np.multiply(*cast(Grid, start.quantizer).steps(start.levels.shape)))
    weight().sum().backward()
    assert weight.latent.grad is not None
    np.testing.assert_allclose(
        weight.latent.grad.numpy(), np.broadcast_to(factors, start.levels.shape), rtol=1e-5
    )
    steps = (weight().detach() / factors).numpy()
    np.testing.assert_allclose(steps, multiples(start.levels, weight.trellis), rtol=1e-4, atol=1e-4)


def test_a_path_on_a_trellis_that_needs_too_large_levels_is_an_error() -> None:
    start = QuantizedTensor(np.zeros((2, 2), np.int32), Grid(1.0, trellis=32))
    weight = LearnedLevels(np.zeros((2, 2), np.float32), start)
    with torch.no_grad():
        weight.latent += 1e12
    with pytest.raises(UsageError, match="2\\*\\*30"):
        weight.levels()


def test_only_levels_on_a_grid_are_learned() -> None:
    with pytest.raises(TypeError, match="grid"):
        LearnedLevels(
            np.ones((2, 2), np.float32), QuantizedTensor(np.ones((2, 2), np.int32), DeadZone(1.0, 0.5))
        )


def test_gradients_pass_through_rounding() -> None:
    x = torch.tensor([-1.6, -0.2, 0.5, 1.5, 2.5], requires_grad=True)
    rounded = round_through(x)
    assert rounded.tolist() == [-2.0, 0.0, 0.0, 2.0, 2.0]
    (rounded * torch.arange(5.0)).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_biases_are_multiples_of_their_step_as_the_file_gives_them() -> None:
    bias = RoundedBias(np.array([0.3, -0.11, 0.0, 5.02], np.float32), 0.25)
    np.testing.assert_array_equal(bias.values(), np.array([0.25, 0.0, 0.0, 5.0], np.float32))
    np.testing.assert_array_equal(bias().detach().numpy(), bias.values())


@pytest.mark.parametrize("spread", [0.15, 0.3, 0.6, 1.5])
@pytest.mark.parametrize("uneven", [False, True])
def test_the_rate_is_near_what_the_coder_spends(spread: float, uneven: bool) -> None:
    generator = np.random.default_rng(3)
    scales = np.exp(generator.normal(0, 0.7, (48, 1, 1, 1))) if uneven else 1.0
    latent = (generator.laplace(0, spread, (48, 32, 3, 3)) * scales).astype(np.float32)
    levels = np.rint(latent).astype(np.int32)
    model = RateModel()
    model.refresh(levels)
    spent = 8 * encoded_size(levels, [levels.shape])
    assert float(model.bits_of_levels(torch.from_numpy(levels))) == pytest.approx(
        spent, rel=0.08
    )  # scales are written too


@pytest.mark.parametrize("spread", [0.6, 1.0, 2.5])
@pytest.mark.parametrize("states", [8, 32])
def test_the_rate_on_a_trellis_is_near_what_the_coder_spends(spread: float, states: int) -> None:
    generator = np.random.default_rng(3)
    latent = (generator.laplace(0, spread, (48, 288)) * np.exp(generator.normal(0, 0.7, (48, 1)))).astype(
        np.float32
    )
    levels = cast(np.ndarray, nearest_path(latent.astype(np.float64), states)).reshape(48, 32, 3, 3)
    model = RateModel(states)
    model.refresh(levels)
    spent = 8 * len(encode(levels, [levels.shape], trellis=states)[1])
    assert float(model.bits_of_levels(torch.from_numpy(levels))) == pytest.approx(spent, rel=0.08)
    on_steps = torch.from_numpy(multiples(levels, states).astype(np.float32))
    assert float(model.bits(on_steps)) == pytest.approx(spent, rel=0.25), (
        "a mean over states, which paths choose among"
    )


def test_the_rate_on_a_trellis_is_the_mean_over_states() -> None:
    """By hand: in even states level k is 2k steps, in odd ones 2k − 1, and one step lies between levels 0 and 1."""
    even, odd = np.array([9.0, 5.0, 1.0, 5.0, 9.0]), np.array([8.0, 4.0, 2.0, 4.0, 8.0])
    costs = _costs_of_steps(np.array([[even], [odd]]), np.array([[0.75], [0.25]]))
    expected = [0.75 * 5 + 0.25 * 6, 0.75 * 3 + 0.25 * 4, 0.75 * 1 + 0.25 * 2]
    assert costs.tolist() == [[*expected, *expected[-2::-1]]]


def test_the_slope_of_the_rate_is_what_the_next_level_costs() -> None:
    levels = np.random.default_rng(4).laplace(0, 0.8, (16, 16, 3, 3)).round().astype(np.int32)
    model = RateModel()
    model.refresh(levels)
    latent = torch.from_numpy(levels.astype(np.float32)) + 0.25
    latent.requires_grad_(True)
    model.bits(latent).backward()
    assert latent.grad is not None
    with torch.no_grad():
        one = latent[:1, :1, :1, :1]
        both = []
        for move in (0.0, 1.0):
            moved = latent.detach().clone()
            moved[0, 0, 0, 0] = torch.floor(one).item() + move
            both.append(float(model.bits(moved)))
    assert float(latent.grad[0, 0, 0, 0]) == pytest.approx(both[1] - both[0], abs=0.05)
    assert bool((latent.grad[torch.from_numpy(levels) >= 1] > 0).all())  # smaller is cheaper
    assert bool((latent.grad[torch.from_numpy(levels) <= -2] < 0).all())


@pytest.mark.parametrize("case", PLAIN)
def test_growing_steps_changes_nothing_until_a_level_does_and_then_makes_up_for_it(case: str) -> None:
    _, _, weight = started(case)
    averages = [parameter.detach().clone() for parameter in weight.parameters()]
    student = SimpleNamespace(weights={"w": weight}, parameters=weight.parameters)
    descent: Any = SimpleNamespace(student=student, averages=SimpleNamespace(values=averages))
    before, levels = weight().detach().numpy().copy(), weight.quantized().levels
    Descent.grow_steps(descent, 1.001)
    np.testing.assert_allclose(weight().detach().numpy(), before, rtol=1e-5)
    Descent.grow_steps(descent, 1.5)
    after = weight().detach().numpy()
    assert np.abs(weight.quantized().levels).sum() < 0.8 * np.abs(levels).sum()
    assert float(((before - after) * after).sum()) == pytest.approx(
        0, abs=1e-3 * float((after * after).sum())
    )
    for average, parameter in zip(averages, weight.parameters(), strict=True):
        np.testing.assert_allclose(average.numpy(), parameter.detach().numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("factor", [1.01, 0.99])
def test_a_layer_of_zeros_keeps_its_step(factor: float) -> None:
    """Its step halved each time, so that no weight of it could count again."""
    shape = (4, 3, 3, 3)
    start = QuantizedTensor(np.zeros(shape, np.int32), Grid(0.125))
    weight = LearnedLevels(np.full(shape, 0.01, np.float32), start)
    values = [parameter.detach().clone() for parameter in weight.parameters()]
    student = SimpleNamespace(weights={"w": weight}, parameters=weight.parameters)
    descent: Any = SimpleNamespace(student=student, averages=SimpleNamespace(values=values))
    for _ in range(10):
        Descent.grow_steps(descent, factor)
    assert not weight.quantized().levels.any()
    assert weight.quantized().quantizer == Grid(0.125)
