"""Files in which many weights stay exact, since nothing tells what they are for, say so."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from onnx import helper, numpy_helper

from enxuto.compression.compress import compress
from enxuto.enx.inspect import inspect
from enxuto.onnx_model import Model

node = helper.make_node


def network(share: float) -> Model:
    """A matrix of 40 × 30, of which nobody knows that it is one behind a CumSum, and a usual one of the rest."""
    random = np.random.default_rng(1)
    columns = round(40 * 30 * (1 / share - 1) / 30)
    weights = {"w": random.standard_normal((40, 30)), "v": random.standard_normal((30, columns))}
    nodes = [
        node("CumSum", ["w", "axis"], ["c"]),
        node("MatMul", ["x", "c"], ["h"]),
        node("MatMul", ["h", "v"], ["y"]),
    ]
    held = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", 1, ["n", 40])],
        [helper.make_tensor_value_info("y", 1, ["n", columns])],
        [*held, numpy_helper.from_array(np.array(0), "axis")],
    )
    return Model.from_proto(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    )


@pytest.mark.parametrize("calibrated", [False, True])
@pytest.mark.parametrize(
    ("share", "options", "says"),
    [
        (0.5, {}, "50% of the weights stay exact, .* 'w'; roles="),
        (0.05, {}, None),
        (0.5, {"keep_exact": ["w"]}, None),
        (0.5, {"roles": ["kernel", "depthwise", "matrix", "other"]}, None),
    ],
)
def test_what_is_said(
    share: float, options: dict[str, list[str]], says: str | None, calibrated: bool
) -> None:
    x = np.random.default_rng(2).standard_normal((32, 40)).astype(np.float32)
    data = {"calibration": {"x": x}, "bits": 25} if calibrated else {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        compress(network(share), threads=1, **data, **options)  # type: ignore[arg-type]
    told = [str(one.message) for one in caught if "stay exact" in str(one.message)]
    assert len(told) == (says is not None)
    if says is not None:
        assert says.split(", .*")[0] in told[0]
        assert "'w'" in told[0]


def trees(count: int, columns: int) -> Model:
    """A matrix to so many columns in front of an ensemble whose nodes hold so many numbers as attributes."""
    weight = np.random.default_rng(1).standard_normal((8, columns)).astype(np.float32)
    places = list(range(count))
    ensemble = node(
        "TreeEnsembleRegressor", ["h"], ["y"], domain="ai.onnx.ml", n_targets=1, nodes_treeids=places,
        nodes_nodeids=[0] * count, nodes_featureids=[0] * count, nodes_values=[0.0] * count,
        nodes_modes=["LEAF"] * count, nodes_truenodeids=[0] * count, nodes_falsenodeids=[0] * count,
        target_treeids=places, target_nodeids=[0] * count, target_ids=[0] * count, target_weights=[0.5] * count,
    )  # fmt: skip
    before = [node("MatMul", ["x", "w"], ["h"])] if columns else [node("Identity", ["x"], ["h"])]
    graph = helper.make_graph(
        [*before, ensemble],
        "g",
        [helper.make_tensor_value_info("x", 1, ["n", 8])],
        [helper.make_tensor_value_info("y", 1, ["n", 1])],
        [numpy_helper.from_array(weight, "w")] if columns else [],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 1)]
    return Model.from_proto(helper.make_model(graph, opset_imports=opsets, ir_version=8))


@pytest.mark.parametrize(("count", "columns", "says"), [(200, 0, True), (200, 100, True), (200, 5000, False)])
def test_many_numbers_in_attributes_are_told(count: int, columns: int, says: bool) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        compress(trees(count, columns), threads=1, steps="balanced")
    told = [str(one.message) for one in caught if "attributes" in str(one.message)]
    assert len(told) == says
    assert all(f"{10 * count:,} numbers are attributes" in one for one in told)
    assert all("(TreeEnsembleRegressor)" in one for one in told)


def test_figures_by_weight_are_left_out_where_there_are_none() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = compress(trees(200, 0), threads=1, steps="balanced")
    assert "per weight" not in repr(made)
    assert "times smaller" not in repr(made)
    assert "per weight" not in repr(inspect(made.compressed))
    assert made.bits_per_weight == inspect(made.compressed).bits_per_weight == 0
