"""Transposed convolutions as layers: their matrix, and rounding that goes by the statistics of their inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper, numpy_helper

from enxuto.calibration.calibrate import calibrate
from enxuto.calibration.layers import linear_layers
from enxuto.compression.at_price import compress_at
from enxuto.data.samples import Samples
from enxuto.onnx_model import Model
from enxuto.quantize.grid import Grid
from enxuto.runtime import Runner

FORMS: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "plain": ((6, 5, 3, 3), {"strides": [2, 2]}),
    "grouped": ((6, 2, 2, 2), {"group": 3, "strides": [2, 2]}),
    "line": ((6, 4, 3), {}),
}


def model_of(form: str) -> tuple[Model, np.ndarray]:
    shape, attributes = FORMS[form]
    generator = np.random.default_rng(4)
    # Channels that go together, so that their errors can make up for each other.
    x = generator.standard_normal((30, 1, *[7] * (len(shape) - 2)))
    x = (x + 0.1 * generator.standard_normal((30, 6, *x.shape[2:]))).astype(np.float32)
    weight = generator.standard_normal(shape).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("ConvTranspose", ["x", "w"], ["y"], **attributes)],
        "g",
        [helper.make_tensor_value_info("x", 1, ["n", *x.shape[1:]])],
        [helper.make_tensor_value_info("y", 1, None)],
        [numpy_helper.from_array(weight, "w")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return Model.from_proto(proto), x


@pytest.mark.parametrize("form", FORMS)
def test_the_matrix_gives_the_kernel_positions_of_an_input_position(form: str) -> None:
    model, x = model_of(form)
    (layer,) = linear_layers(model)
    weight = model.load("w")
    np.testing.assert_array_equal(layer.restore(layer.matrix(weight), weight.shape), weight)
    vectors = layer.vectors(x[:1], 10**6, np.random.default_rng(0))
    products = np.einsum("gsc,goc->gso", vectors, layer.matrix(weight))
    # Summed over all, what arrives in all outputs is what leaves all inputs.
    (y,) = Runner(model, threads=1).run({"x": x[:1]}, ["y"])
    np.testing.assert_allclose(products.sum(), y.sum(), rtol=1e-4)
    alone = np.zeros_like(x[:1])
    place = (0, slice(None), *[3] * (x.ndim - 2))
    alone[place] = x[place]
    (y,) = Runner(model, threads=1).run({"x": alone}, ["y"])
    one = np.einsum("gc,goc->go", x[place].reshape(layer.groups, -1), layer.matrix(weight))
    np.testing.assert_allclose(np.sort(one.reshape(-1)), np.sort(y[y != 0]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_feedback_loses_less_than_nearest_levels_of_the_same_steps(form: str) -> None:
    model, x = model_of(form)
    calibration = calibrate(model, Samples({"x": x}), threads=1)
    assert not calibration.others
    outcome = compress_at(calibration, 1e-5)
    (row,) = outcome.layers
    assert row.method == "calibrated"
    restored = outcome.model.to_model()
    grid = calibration.round_at(1e-5)["w"].quantizer
    assert isinstance(grid, Grid)
    rows, columns = grid.steps(model.load("w").shape)
    nearest = grid.reconstruct(np.rint(model.load("w") / (rows * columns)).astype(np.int32))
    (want,) = Runner(model, threads=1).run({"x": x}, ["y"])
    lost = [
        float(np.mean((Runner(one, threads=1).run({"x": x}, ["y"])[0] - want) ** 2))
        for one in (restored, model.replace_weights({"w": nearest.astype(np.float32)}))
    ]
    assert lost[0] < 0.6 * lost[1]
