"""Weights that are no layer's: of every kind the loss is measured, and steps follow the price."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from enxuto.calibration.calibrate import calibrate
from enxuto.calibration.calibration import Calibration
from enxuto.compression.at_price import compress_at
from enxuto.data.samples import Samples
from enxuto.onnx_model import Model
from enxuto.runtime import Runner

node = helper.make_node
RANDOM = np.random.default_rng(3)
ROWS = RANDOM.standard_normal((24, 3, 6)).astype(np.float32)
IDS = RANDOM.integers(0, 40, (24, 7))


def floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(list(shape)).standard_normal(shape).astype(np.float32)


Kind = tuple[list[NodeProto], dict[str, np.ndarray], np.ndarray]
KINDS: dict[str, Kind] = {
    "embedding": (
        [node("Gather", ["w", "x"], ["e"]), node("MatMul", ["e", "m"], ["y"])],
        {"w": floats(40, 5), "m": floats(5, 16)},
        IDS,
    ),
    "read twice": (
        [node("MatMul", ["x", "w"], ["m"]), node("Tanh", ["m"], ["t"]), node("MatMul", ["t", "w"], ["y"])],
        {"w": floats(6, 6)},
        ROWS,
    ),
    "first factor": ([node("MatMul", ["w", "x"], ["y"])], {"w": floats(12, 3)}, ROWS),
    "a matrix for each row": (
        [node("Unsqueeze", ["x", "axis"], ["u"]), node("MatMul", ["u", "w"], ["y"])],
        {"w": floats(3, 6, 4), "axis": np.array([2])},
        ROWS,
    ),
    "einsum": ([node("Einsum", ["x", "w"], ["y"], equation="nti,io->nto")], {"w": floats(6, 8)}, ROWS),
}  # fmt: skip


def calibrated(kind: Kind) -> tuple[Model, Calibration]:
    nodes, held, x = kind
    given = TensorProto.INT64 if x.dtype.kind == "i" else TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", given, ["n", *x.shape[1:]])],
        [helper.make_tensor_value_info("y", 1, None)],
        [numpy_helper.from_array(array, name) for name, array in held.items()],
    )
    model = Model.from_proto(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    )
    return model, calibrate(model, Samples({"x": x}), threads=1)


@pytest.mark.parametrize("kind", KINDS)
def test_steps_follow_the_price(kind: str) -> None:
    model, calibration = calibrated(KINDS[kind])
    assert [layer.weight for layer in calibration.layers] == (["m"] if kind == "embedding" else [])
    assert set(calibration.others) == {"w"}
    weights = sum(model.info(name).elements for name in ("w", "m") if name in model)
    x, sizes = KINDS[kind][2], []
    (want,) = Runner(model, threads=1).run({"x": x}, ["y"])
    for price in (1e-6, 1e-4):
        outcome = compress_at(calibration, price)
        (found,) = Runner(outcome.model.to_model(), threads=1).run({"x": x}, ["y"])
        lost = float(np.mean((found - want) ** 2) / want.var())
        # At equal slope a weight costs 1/(2 ln 2) of the price.
        expected = price * weights / (2 * np.log(2))
        assert expected / 4 < lost < 4 * expected
        (row,) = (one for one in outcome.layers if one.name == "w")
        assert row.method == "measured"
        sizes.append(row.bytes)
    assert sizes[1] < sizes[0]


def test_weights_that_the_samples_tell_nothing_of_follow_the_others() -> None:
    """A table whose rows are multiplied by zero: its loss is not known, and its steps grow with those that are."""
    _, held, x = KINDS["embedding"]
    nodes = [
        node("Gather", ["w", "x"], ["e"]),
        node("Gather", ["unread", "x"], ["f"]),
        node("Mul", ["f", "nothing"], ["z"]),
        node("Add", ["e", "z"], ["s"]),
        node("MatMul", ["s", "m"], ["y"]),
    ]
    more: dict[str, Any] = {**held, "unread": floats(40, 5) + 1, "nothing": np.zeros(1, np.float32)}
    _, calibration = calibrated((nodes, more, x))
    assert calibration.others["unread"] == 0
    sizes = []
    for price in (1e-6, 1e-3):
        rows = {row.name: row for row in compress_at(calibration, price).layers}
        assert (rows["w"].method, rows["unread"].method) == ("measured", "default")
        sizes.append(rows["unread"].bytes)
    assert sizes[1] < sizes[0]
