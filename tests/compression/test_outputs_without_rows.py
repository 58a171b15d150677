"""Outputs without a row for each sample, single numbers or empty ones: every verb judges them or says why not."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from typer.testing import CliRunner

import enxuto
from enxuto.calibration.outputs import find_losses
from enxuto.cli import app
from enxuto.compare.trial_run import compare_outputs
from enxuto.compression.response import find_response
from enxuto.data.samples import Samples
from enxuto.errors import UsageError
from enxuto.metrics.losses import OutputLoss, output_variance
from enxuto.metrics.signal import measure_output
from enxuto.onnx_model import Model

node, value = helper.make_node, helper.make_tensor_value_info
FLOAT, INT64, BOOL, HALF = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL, TensorProto.FLOAT16
COUNT = 48


def data() -> np.ndarray:
    return np.random.default_rng(7).standard_normal((COUNT, 16)).astype(np.float32)


def network(nodes: Sequence[NodeProto], outputs: Sequence[tuple[str, int, Any]], first: Any) -> ModelProto:
    random = np.random.default_rng(1)
    weights = {
        "a": random.standard_normal((16, 24)) / 4,
        "b": random.standard_normal((24, 5)) / 5,
        "none": np.zeros((0, 3)),
        "never": np.full(1, 1e9),
        "half": np.full(1, 0.5),
    }
    body = [
        node("MatMul", ["x", "a"], ["h"]), node("Relu", ["h"], ["r"]), node("MatMul", ["r", "b"], ["l"]),
        node("ReduceMax", ["l"], ["most"], axes=[1], keepdims=0), *nodes,
    ]  # fmt: skip
    graph = helper.make_graph(
        body,
        "g",
        [value("x", FLOAT, [first, 16])],
        [value(name, kind, shape) for name, kind, shape in outputs],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def picked(bar: str) -> list[NodeProto]:
    """Rows whose largest score is above a bar."""
    return [
        node("Greater", ["most", bar], ["keep"]),
        node("NonZero", ["keep"], ["places"]),
        node("Transpose", ["places"], ["turned"]),
        node("GatherND", ["l", "turned"], ["odd"]),
    ]


# By kind: the nodes that make `odd`, its type and shape, and why it is left out (None: it is judged).
ODD: dict[str, tuple[list[NodeProto], int, Any, str | None]] = {
    "one number": ([node("ReduceMean", ["l"], ["odd"], keepdims=0)], FLOAT, [], None),
    "one half": (
        [node("ReduceMean", ["l"], ["m"], keepdims=0), node("Cast", ["m"], ["odd"], to=HALF)],
        HALF,
        [],
        None,
    ),
    "one whole number": (
        [node("ReduceMean", ["l"], ["m"], keepdims=0), node("Cast", ["m"], ["odd"], to=INT64)],
        INT64,
        [],
        "int64, not real numbers",
    ),
    "nothing": ([node("Identity", ["none"], ["odd"])], FLOAT, [0, 3], "empty for all"),
    "no columns": (
        [
            node("Constant", [], ["zero"], value_ints=[0]),
            node("Constant", [], ["one"], value_ints=[1]),
            node("Slice", ["l", "zero", "zero", "one"], ["odd"]),
        ],
        FLOAT,
        ["N", 0],
        "empty for all",
    ),
    "no whole numbers": (
        [node("Identity", ["none"], ["n"]), node("Cast", ["n"], ["odd"], to=INT64)],
        INT64,
        [0, 3],
        "empty for all",
    ),
    "never picked": (picked("never"), FLOAT, ["K", 5], "empty for all"),
    "sometimes picked": (picked("half"), FLOAT, ["K", 5], "shape follows values"),
    "compressed away": (
        [node("Greater", ["most", "never"], ["keep"]), node("Compress", ["l", "keep"], ["odd"], axis=0)],
        FLOAT,
        ["K", 5],
        "empty for all",
    ),
}
BESIDE: list[bool] = [True, False]


def odd_model(kind: str, beside: bool = True, first: Any = "N") -> ModelProto:
    nodes, dtype, shape, _ = ODD[kind]
    shape = [first if size == "N" else size for size in shape]
    outputs: list[tuple[str, int, Any]] = [("odd", dtype, shape)]
    return network(nodes, [("l", FLOAT, [first, 5]), *outputs] if beside else outputs, first)


@pytest.fixture(autouse=True)
def _no_raw_warnings() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        yield


@pytest.mark.parametrize("first", ["N", 1])
@pytest.mark.parametrize("kind", ODD)
def test_an_output_is_judged_or_left_out_with_a_remark(kind: str, first: Any) -> None:
    model = Model.from_proto(odd_model(kind, first=first))
    found = find_losses(model, Samples({"x": data()}), threads=1)
    reason = ODD[kind][3]
    assert [loss.name for loss in found.losses] == (["l", "odd"] if reason is None else ["l"])
    assert reason is None or any("'odd' is left out" in one and reason in one for one in found.remarks)


@pytest.mark.parametrize("kind", [kind for kind, facts in ODD.items() if facts[3] is None])
@pytest.mark.parametrize("beside", BESIDE)
def test_a_single_number_is_that_of_one_sample(kind: str, beside: bool) -> None:
    """Run together it would be one number of all: the SNR is that of runs one by one, by ONNX Runtime."""
    proto = odd_model(kind, beside)
    warnings.simplefilter("ignore", UserWarning)
    made = enxuto.compress(proto, data={"x": data()}, min_snr=30, outputs={"odd": "values"}, threads=1)
    found = enxuto.evaluate(made.model, {"x": data()}, reference=proto, outputs={"odd": "values"}, threads=1)
    both = []
    for one in (proto, made.model.to_proto()):
        session = onnxruntime.InferenceSession(one.SerializeToString(), providers=["CPUExecutionProvider"])
        both.append(np.array([session.run(["odd"], {"x": row[None]})[0] for row in data()], np.float64))
    truth = 10 * np.log10(both[0].var() / np.square(both[1] - both[0]).mean())
    assert found.samples == COUNT
    assert found.snr_db == pytest.approx(truth, abs=1e-2)


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("beside", BESIDE)
def test_the_default_tries_what_can_be_judged(kind: str, beside: bool) -> None:
    response, reason = find_response(Model.from_proto(odd_model(kind, beside)), {}, threads=1)
    assert (response is not None) == (not reason)
    assert response is not None or not beside
    if ODD[kind][3] is None:
        assert response is not None, reason


@pytest.mark.parametrize("kind", ["nothing", "no columns"])
def test_what_is_empty_cannot_be_asked_for(kind: str) -> None:
    model = Model.from_proto(odd_model(kind))
    with pytest.raises(UsageError, match="'odd' cannot be judged as values: it is empty"):
        find_losses(model, Samples({"x": data()}), {"odd": ("values", 1.0)}, threads=1)


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("verb", ["evaluate", "compare", "verify", "verify data"])
def test_verbs_run_such_models(
    kind: str, verb: str, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    """No verb ends with an internal error or NaN; the file is one made without data."""
    model, file, arrays = tmp_path / "m.onnx", tmp_path / "m.enx", tmp_path / "x.npz"
    model.write_bytes(odd_model(kind).SerializeToString())
    np.savez(arrays, x=data())
    enxuto.compress(model, steps="balanced", threads=1).save(file)
    words: dict[str, list[Any]] = {
        "evaluate": ["evaluate", file, "--data", arrays, "--reference", model],
        "compare": ["compare", model, file, "--data", arrays],
        "verify": ["verify", file, model, "--run", "8"],
        "verify data": ["verify", file, model, "--run", "8", "--data", arrays],
    }
    found = CliRunner().invoke(app, [*map(str, words[verb]), "--json"])
    assert found.exit_code == 0, found.output
    assert not [one for one in recwarn if issubclass(one.category, RuntimeWarning)]
    text = found.stdout
    assert "NaN" not in text
    assert json.loads(text)


@pytest.mark.parametrize("kind", ["nothing", "no columns", "no whole numbers", "never picked"])
def test_what_is_empty_has_no_figures(kind: str) -> None:
    model = Model.from_proto(odd_model(kind))
    (_, odd) = compare_outputs(model, model, 20).outputs
    assert (odd.largest_error, odd.relative_error, odd.agreement, odd.problem) == (None, None, None, None)


LOSSES: dict[str, Callable[[], OutputLoss]] = {
    "values": lambda: OutputLoss("y", "values", "y"),
    "binary": lambda: OutputLoss("y", "binary", "y"),
    "classes": lambda: OutputLoss("y", "classes", "y"),
    "classes at places": lambda: OutputLoss("y", "classes", "y", axis=1),
}


@pytest.mark.parametrize("shape", [(0, 3), (1, 0), (0,)])
@pytest.mark.parametrize("kind", LOSSES)
def test_a_sample_without_values_has_lost_nothing(kind: str, shape: tuple[int, ...]) -> None:
    loss, empty = LOSSES[kind](), np.zeros(shape, np.float32)
    assert loss.each(empty, empty, 1).tolist() == [0.0]
    assert loss.same(empty, empty, 1) is None or loss.same(empty, empty, 1) == 1
    assert loss.uncertainty(empty, 1).tolist() == [0.0]
    assert loss.direction(empty, 1, np.random.default_rng(0)).shape == shape


def test_pieces_without_values_count_for_nothing() -> None:
    full, empty = np.array([[1.0, 3.0]]), np.zeros((0, 2))
    assert output_variance([(full, 1), (empty, 1)]) == output_variance([(full, 1)])
    assert output_variance([(empty, 1)]) == 0
    both = measure_output([(full, full), (empty, empty)])
    assert both is not None
    assert measure_output([(empty, empty)]) is None
    assert measure_output([(empty, full)]) is None
