"""Dependence of neighbouring weights: planted, absent, and hidden from correlation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

from enxuto.demo import MODEL
from enxuto.onnx_model import Model, Role, WeightInfo
from enxuto.weights.dependency import (
    AxisDependency,
    layer_dependencies,
    measure_dependency,
    mutual_information,
)

GENERATOR = np.random.default_rng(5)


def info(shape: tuple[int, ...], role: Role = Role.KERNEL, axis: int | None = 0) -> WeightInfo:
    some = next(iter(Model.read(MODEL).infos()))
    return replace(some, name="w", shape=shape, role=role, axis=axis)


def measured(values: np.ndarray[Any, Any], **said: Any) -> dict[str, AxisDependency]:
    found = measure_dependency(values.astype(np.float32), info(values.shape, **said))
    return {one.axis: one for one in found.axes}


def test_information_is_that_of_scikit_learn() -> None:
    left = GENERATOR.standard_normal(3000)
    right = left + GENERATOR.standard_normal(3000)
    inner = np.arange(1, 16) / 16
    bins = [np.searchsorted(np.quantile(side, inner), side, side="right") for side in (left, right)]
    assert mutual_information(left, right) == pytest.approx(mutual_info_score(*bins) / np.log(2))
    assert mutual_information(left, left) == pytest.approx(4, abs=0.01)  # 16 equal bins: all four bits
    assert mutual_information(np.zeros(50), np.zeros(50)) == 0


def test_independent_weights_show_none() -> None:
    for name, one in measured(GENERATOR.laplace(size=(64, 32, 3, 3))).items():
        assert abs(one.information) < 5 * one.chance_std, name
        assert one.chance > 0
        assert max(map(abs, one.correlation)) < 0.03
        assert one.scale_share < 0.01
        assert 2 * one.chance < 0.03


def test_a_smooth_kernel_shows_along_its_rows_and_columns() -> None:
    """x(c) = ρ·x(c−1) + √(1−ρ²)·e along columns: correlation ρ, ρ²; Gaussian information −½·log2(1−ρ²)."""
    rho, values = 0.8, GENERATOR.standard_normal((128, 64, 3, 5))
    for column in range(1, 5):
        values[..., column] = rho * values[..., column - 1] + np.sqrt(1 - rho**2) * values[..., column]
    found = measured(values)
    columns = found["kernel columns"]
    assert columns.correlation == pytest.approx((rho, rho**2, rho**3), abs=0.02)
    assert columns.information == pytest.approx(-0.5 * np.log2(1 - rho**2), rel=0.1)
    assert columns.significant
    assert columns.pairs == 50_000
    for axis in ("outputs", "inputs", "kernel rows"):
        assert abs(found[axis].correlation[0]) < 0.03
        assert found[axis].information < 0.01


def test_channels_of_different_scale_inform_without_correlating() -> None:
    scale = np.exp(GENERATOR.normal(0, 1.5, size=(48, 1, 1, 1)))
    found = measured(GENERATOR.standard_normal((48, 48, 3, 3)) * scale)
    assert abs(found["inputs"].correlation[0]) < 0.05
    assert found["inputs"].information > 0.1  # a large weight has large neighbours in its own channel
    assert found["outputs"].information < 0.3 * found["inputs"].information
    # Variance of log|w|: 1.5² between channels, that of log|N(0,1)| (π²/8) within.
    assert found["outputs"].scale_share == pytest.approx(1.5**2 / (1.5**2 + np.pi**2 / 8), abs=0.12)
    assert found["inputs"].scale_share < 0.01


def test_axes_are_named_by_what_they_are() -> None:
    assert list(measured(GENERATOR.standard_normal((40, 50)), role=Role.MATRIX, axis=1)) == [
        "inputs",
        "outputs",
    ]
    assert list(measured(GENERATOR.standard_normal((40, 50)), role=Role.MATRIX, axis=0)) == [
        "outputs",
        "inputs",
    ]
    depthwise = measured(GENERATOR.standard_normal((512, 1, 3, 3)), role=Role.DEPTHWISE)
    assert list(depthwise) == ["outputs", "kernel rows", "kernel columns"]
    assert len(depthwise["kernel rows"].correlation) == 2  # lag 3 does not fit
    assert list(measured(GENERATOR.standard_normal((32, 32, 9)))) == ["outputs", "inputs", "kernel axis 0"]


def test_tensors_that_are_small_constant_or_sparse_do_no_harm() -> None:
    assert measured(np.ones((4, 4, 3, 3))) == {}
    assert measured(np.ones((64, 64, 3, 3))) == {}
    sparse = GENERATOR.standard_normal((64, 64, 3, 3)) * (GENERATOR.random((64, 64, 3, 3)) < 0.02)
    for one in measured(sparse).values():
        assert np.isfinite([one.information, one.scale_share, *one.correlation]).all()
        assert abs(one.information) < 0.01


def test_the_same_seed_draws_the_same_pairs() -> None:
    model = Model.read(MODEL)
    assert layer_dependencies(model, seed=4) == layer_dependencies(model, seed=4)
    assert {type(one.name) for one in layer_dependencies(model)} == {str}
