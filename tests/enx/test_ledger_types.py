"""The ledger of models whose weights are not float32: it counts the bytes that they really had."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from enxuto.compression.data_free import compress
from enxuto.enx.learned import parameters
from enxuto.enx.ledger import ledger_of
from enxuto.onnx_model import Model

RANDOM = np.random.default_rng(1)


def model_of_layer(weight: np.ndarray, kind: int) -> Model:
    """x · weight, the weight scaled to float32 first where it is of integers."""
    floats = kind in (1, 10, 16)
    given = [numpy_helper.from_array(weight, "w")] if kind != TensorProto.BFLOAT16 else []
    if kind == TensorProto.BFLOAT16:
        given.append(helper.make_tensor("w", kind, weight.shape, weight.tobytes(), raw=True))
    nodes = [helper.make_node("MatMul", ["x", "w" if floats else "d"], ["y"])]
    if not floats:
        given.append(numpy_helper.from_array(np.float32(0.1), "s"))
        nodes.insert(0, helper.make_node("DequantizeLinear", ["w", "s"], ["d"]))
    taken, out = (helper.make_tensor_value_info(name, kind if floats else 1, None) for name in "xy")
    graph = helper.make_graph(nodes, "g", [taken], [out], given)
    return Model.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]))


@pytest.mark.recent
@pytest.mark.parametrize(
    ("dtype", "kind", "each"),
    [
        (np.float16, TensorProto.FLOAT16, 2),
        (ml_dtypes.bfloat16, TensorProto.BFLOAT16, 2),
        (np.int8, TensorProto.INT8, 1),
        (np.uint8, TensorProto.UINT8, 1),
        (ml_dtypes.int4, TensorProto.INT4, 0.5),
    ],
)
def test_bytes_of_weights_are_those_they_had(dtype: Any, kind: int, each: float) -> None:
    values = RANDOM.integers(-7, 8, (40, 60)) if each <= 1 else RANDOM.standard_normal((40, 60))
    if kind == TensorProto.UINT8:
        values = values + 128
    model = model_of_layer(values.astype(dtype), kind)
    assert parameters(model) == 2400
    ledger = ledger_of(compress(model, threads=1))
    assert (ledger.rows[0].name, ledger.rows[0].bytes) == ("weights as they were", 2400 * each)
    assert ledger.bits(ledger.rows[0]) == 8 * each


def test_float32_weights_are_four_bytes_each() -> None:
    model = model_of_layer(RANDOM.standard_normal((40, 60)).astype(np.float32), TensorProto.FLOAT)
    compressed = compress(model, threads=1)
    assert ledger_of(compressed).rows[0].name == "float32 weights"
    assert "weight_bytes" not in compressed.metadata
