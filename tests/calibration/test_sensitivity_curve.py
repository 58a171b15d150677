"""Sensitivities at several sizes: between them, beyond them, and steps that still grow with the price."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from enxuto.calibration.allocation import choose_spacing
from enxuto.calibration.cache import cached_calibration
from enxuto.calibration.calibrate import calibrate
from enxuto.calibration.calibration import Calibration
from enxuto.calibration.sensitivity_curve import SensitivityCurve
from enxuto.onnx_model import Model

SAMPLES = np.random.default_rng(3).standard_normal((48, 12)).astype(np.float32)


def network(ending: str) -> Model:
    """Two matrices with a tanh between them, which large errors saturate; ending: the last operator."""
    generator = np.random.default_rng(0)
    weights = {"a": generator.laplace(0, 1.5, (24, 12)), "b": generator.laplace(0, 0.3, (6, 24))}
    nodes = [
        helper.make_node("Gemm", ["x", "a"], ["h"], transB=1),
        helper.make_node("Tanh", ["h"], ["t"]),
        helper.make_node("Gemm", ["t", "b"], ["s" if ending else "y"], transB=1),
        *([helper.make_node(ending, ["s"], ["y"])] if ending else []),
    ]
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 12])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 6])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )  # fmt: skip
    return Model.from_proto(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    )


def calibrated(ending: str, kind: str) -> Calibration:
    return calibrate(network(ending), SAMPLES, choices={"y": (kind, 1.0)}, threads=1)


@pytest.mark.parametrize(
    ("price", "wanted"),
    [(1e-9, 4.0), (1e-4, 4.0), (1e-3, 2.0), (1e-2, 1.0), (0.1, 3.0**0.5), (1.0, 3.0), (1e9, 3.0)],
)
def test_between_two_prices_logarithms_lie_on_a_line(price: float, wanted: float) -> None:
    assert SensitivityCurve((1e-4, 1e-2, 1.0), (4.0, 1.0, 3.0)).at(price) == pytest.approx(wanted)


def test_a_line_is_no_steeper_than_steps_bear() -> None:
    """At a step of √(price / sensitivity) a higher price is a coarser step."""
    curve = SensitivityCurve((1e-4, 1e-2), (1.0, 1e6))
    steps = [(price / curve.at(price)) ** 0.5 for price in np.geomspace(1e-5, 1e-2, 50)]
    assert all(one < other for one, other in pairwise(steps))


def test_a_layer_that_nothing_depends_on_at_one_size_counts_as_measured() -> None:
    curve = SensitivityCurve((1e-4, 1e-2), (0.0, 1.0))
    assert [curve.at(price) for price in (1e-5, 1e-4, 1e-3, 1.0)] == [0.0, 0.0, 1.0, 1.0]
    assert curve.at_least([0.5, 0.5]).values == (0.5, 1.0)


@pytest.mark.parametrize(
    ("prices", "values"),
    [
        ((), ()), ((1.0,), (1.0, 2.0)), ((2.0, 1.0), (1.0, 1.0)), ((1.0, 1.0), (1.0, 1.0)),
        ((0.0,), (1.0,)), ((1.0,), (-1.0,)), ((1.0,), (float("nan"),)), ((float("inf"),), (1.0,)),
    ],
)  # fmt: skip
def test_what_is_no_curve_is_refused(prices: tuple[float, ...], values: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="no curve"):
        SensitivityCurve(prices, values)


@pytest.mark.parametrize(
    ("ending", "kind", "sizes"),
    [("", "values", 2), ("Sigmoid", "binary", 2), ("", "classes", 1), ("Softmax", "classes", 1)],
)
def test_all_but_classes_are_measured_at_two_sizes(ending: str, kind: str, sizes: int) -> None:
    calibration = calibrated(ending, kind)
    curves = [one.curve for one in calibration.curvatures.values()]
    assert [len(curve.prices) for curve in curves if curve is not None] == [sizes] * 2


def test_the_steps_of_a_size_are_those_it_was_measured_at() -> None:
    """At each price of a curve the layers' steps are as far apart as sensitivities measured there say."""
    calibration = calibrated("", "values")
    for place in (0, 1):
        for one in calibration.curvatures.values():
            assert one.curve is not None
            price, value = one.curve.prices[place], one.curve.values[place]
            alone = choose_spacing(one.with_sensitivity(value))
            assert choose_spacing(one).step(price) == alone.step(price)


def test_what_saturates_counts_less_where_it_is_rounded_coarsely() -> None:
    """Errors in front of a tanh that is far out change little more when they are larger."""
    first = calibrated("", "values").curvatures["a"].curve
    assert first is not None
    fine, coarse = first.values
    assert coarse < fine


def test_a_cached_calibration_has_the_same_curves(tmp_path: Path) -> None:
    model = network("")

    def measure() -> Calibration:
        return calibrate(model, SAMPLES, choices={"y": ("values", 1.0)}, threads=1)

    found = [
        cached_calibration(
            model,
            SAMPLES,
            measure,
            source="s",
            seed=0,
            threads=1,
            choices={"y": ("values", 1.0)},
            folder=tmp_path,
        )
        for _ in range(2)
    ]
    curves = [[one.curve for one in calibration.curvatures.values()] for calibration in found]
    assert curves[0] == curves[1]
    assert found[0] is not found[1]
