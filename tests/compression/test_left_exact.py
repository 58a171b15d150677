"""Files in which many weights stay exact, since nothing tells what they are for, say so."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from onnx import helper, numpy_helper

from enxuto.compression.compress import compress
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
