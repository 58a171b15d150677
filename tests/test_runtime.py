"""Running models: batches of any size, activations, latency, and errors in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from enxuto import runtime
from enxuto.errors import DataError, ModelError
from enxuto.latency import latency
from enxuto.onnx_model import Model
from enxuto.runtime import Runner, activations


def network(batch: object = "n", dtype: int = TensorProto.FLOAT, features: object = 3) -> ModelProto:
    """relu(x) · w with w = [[1, 0], [0, 1], [1, 1]]; the intermediate value is called `h`."""
    weight = np.array([[1, 0], [0, 1], [1, 1]], helper.tensor_dtype_to_np_dtype(dtype))
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["h"]), helper.make_node("MatMul", ["h", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", dtype, [batch, features])],
        [helper.make_tensor_value_info("y", dtype, [batch, 2])],
        [numpy_helper.from_array(weight, "w")],
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


def runner(**options: object) -> Runner:
    return Runner(Model.from_proto(network(**options)), threads=1)


def expected(x: np.ndarray) -> np.ndarray:
    h = np.maximum(x, 0)
    return np.stack([h[:, 0] + h[:, 2], h[:, 1] + h[:, 2]], axis=1)


@pytest.mark.parametrize("batch", ["n", 1, 4, 5, 7])
def test_scores_are_the_same_whatever_batch_size_the_model_is_fixed_to(batch: Any) -> None:
    x = np.arange(-6, 9, dtype=np.float32).reshape(5, 3)
    assert np.array_equal(runner(batch=batch).scores(x), expected(x))


def test_the_batch_is_converted_to_the_type_of_the_input() -> None:
    x = np.arange(6, dtype=np.float64).reshape(2, 3)
    for dtype in (TensorProto.FLOAT, TensorProto.DOUBLE):
        run = runner(dtype=dtype)
        assert run.scores(x).dtype == run.inputs[0].dtype == helper.tensor_dtype_to_np_dtype(dtype)
        assert np.array_equal(run.scores(x), expected(x))


def test_models_come_from_files_bytes_and_objects(tmp_path: Path) -> None:
    model = Model.from_proto(network())
    model.write(tmp_path / "m.onnx")
    x = np.ones((1, 3), np.float32)
    for given in (model, tmp_path / "m.onnx", str(tmp_path / "m.onnx"), model.to_bytes()):
        run = Runner(given, threads=1)
        assert run.scores(x).tolist() == [[2, 2]]
        assert (run.inputs[0].name, run.inputs[0].shape, run.output_names) == ("x", (None, 3), ["y"])


def test_models_too_large_for_memory_go_through_files(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.ones((1, 3), np.float32)
    monkeypatch.setattr(runtime, "_ONE_FILE", 10)
    assert runner().scores(x).tolist() == [[2, 2]]


@pytest.mark.parametrize("shape", [(2, 4), (2, 3, 1), (3,), (0, 3)])
def test_a_batch_of_another_shape_is_a_data_error_that_says_both(shape: Any) -> None:
    with pytest.raises(DataError) as caught:
        runner().scores(np.zeros(shape, np.float32))
    assert "(N, 3)" in str(caught.value)
    assert "(" + ", ".join(map(str, shape)) + ")" in str(caught.value)


def test_activations_by_name() -> None:
    x = np.array([[-1, 2, 3]], np.float32)
    found = activations(Model.from_proto(network()), ["h", "y"], x)
    assert found["h"].tolist() == [[0, 2, 3]]
    assert found["y"].tolist() == [[3, 5]]
    with pytest.raises(ModelError, match="no value called 'nothing'"):
        activations(Model.from_proto(network()), ["nothing"], x)


def test_extra_outputs_leave_the_scores_first() -> None:
    run = Runner(Model.from_proto(network()), threads=1, extra_outputs=["h", "h", "y"])
    assert run.output_names == ["y", "h"]
    assert run.scores(np.ones((2, 3), np.float32)).shape == (2, 2)


def test_what_onnx_runtime_refuses_is_one_line() -> None:
    proto = network()
    proto.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(ModelError, match="ONNX Runtime cannot run this model") as caught:
        Runner(Model.from_proto(proto))
    assert "NoSuchOperator" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_run_that_fails_is_one_line() -> None:
    words = r"cannot run on this input: .* \(fed x float32 \(1, 5\) for \(any, any\)\)"
    with pytest.raises(DataError, match=words) as caught:
        runner(features="f").run({"x": np.zeros((1, 5), np.float32)})
    assert "\n" not in str(caught.value)


def test_several_inputs_run_by_name_but_not_by_batch() -> None:
    proto = network()
    proto.graph.node.append(helper.make_node("Add", ["y", "z"], ["s"]))
    proto.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", 2]))
    proto.graph.output.append(helper.make_tensor_value_info("s", TensorProto.FLOAT, ["n", 2]))
    run = Runner(Model.from_proto(proto), threads=1)
    with pytest.raises(DataError, match=r"has 2 \(x, z\)"):
        run.scores(np.zeros((1, 3), np.float32))
    feeds = {"x": np.ones((1, 3), np.float32), "z": np.ones((1, 2), np.float32)}
    assert run.run(feeds, ["s"])[0].tolist() == [[3, 3]]


def test_random_inputs_fit_and_repeat_by_seed() -> None:
    run = runner()
    first, again = run.random_feeds(4, seed=1), run.random_feeds(4, seed=1)
    assert first["x"].shape == (4, 3)
    assert first["x"].dtype == np.float32
    assert np.array_equal(first["x"], again["x"])
    assert not np.array_equal(first["x"], run.random_feeds(4, seed=2)["x"])
    assert runner(features="f").random_feeds(2, shape={"x": [2, 3]})["x"].shape == (2, 3)


@pytest.mark.parametrize(
    ("options", "batch", "shape", "message"),
    [
        ({"batch": 4}, 2, None, "fixed to 4; it cannot run with 2"),
        ({"features": "f"}, 2, None, "input 'x' leaves sizes open .*; give shape=L"),
        ({}, 2, {"x": [2, 4]}, r"which cannot be \(2, 4\)"),
        ({}, 0, None, "at least 1"),
    ],
)
def test_inputs_that_cannot_be_made(options: Any, batch: Any, shape: Any, message: Any) -> None:
    with pytest.raises(DataError, match=message):
        runner(**options).random_feeds(batch, shape=shape)


def test_latency_takes_turns_and_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    runners = [runner(), runner()]
    order: list[int] = []
    clock = iter(range(0, 10**9, 2_000_000))
    for which, run in enumerate(runners):
        monkeypatch.setattr(run, "run", lambda feeds, which=which: order.append(which))
    monkeypatch.setattr("enxuto.latency.time.perf_counter_ns", lambda: next(clock))
    found = latency(runners, batch_sizes=[1, 3], repeats=4, warmup=2)
    assert order == [0, 1] * 2 * (4 + 2)
    assert [[item.batch for item in row] for row in found] == [[1, 3], [1, 3]]
    item = found[0][0]
    assert (item.repeats, item.mean, item.std, item.median, item.p95) == (4, 2.0, 0.0, 2.0, 2.0)


def test_latency_refuses_before_it_runs() -> None:
    with pytest.raises(DataError, match="fixed to 4"):
        latency([runner(), runner(batch=4)], batch_sizes=[1], repeats=1)
    with pytest.raises(DataError, match="at least one measured run"):
        latency([runner()], repeats=0)


def test_all_inputs_that_leave_sizes_open_are_named_at_once() -> None:
    values = [helper.make_tensor_value_info(name, 1, ["n", "t", 3]) for name in ("a", "b")]
    graph = helper.make_graph(
        [helper.make_node("Add", ["a", "b"], ["y"])],
        "g",
        values,
        [helper.make_tensor_value_info("y", 1, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    runner = Runner(model.SerializeToString(), threads=1)
    with pytest.raises(DataError, match=r"'a' \(any, any, 3\), 'b' .*shape= for each, such as 'a=C,3;b=C,3'"):
        runner.random_feeds(1)
    feeds = runner.random_feeds(1, shape={"a": (1, 4, 3), "b": (1, 4, 3)})
    assert feeds["b"].shape == (1, 4, 3)


@pytest.mark.parametrize("apart", [True, False])
def test_rows_of_several_inputs_run_in_batches_only_where_they_are_samples(apart: bool) -> None:
    """A running sum over rows would begin again in every batch."""
    nodes = [
        helper.make_node("CumSum", ["x", "axis"], ["s"]),
        helper.make_node("Add", ["s", "z"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, [4, size]) for n, size in (("x", 3), ("z", 1))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4, 3])],
        [numpy_helper.from_array(np.array(1 if apart else 0, np.int64), "axis")],
    )  # fmt: skip
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    runner = Runner(Model.from_proto(model), threads=1)
    feeds = {
        name: np.arange(10 * size, dtype=np.float32).reshape(10, size) for name, size in (("x", 3), ("z", 1))
    }
    if apart:
        (found,) = runner.values(feeds, ["y"])
        np.testing.assert_allclose(found, feeds["x"].cumsum(1) + feeds["z"])
    else:
        with pytest.raises(DataError, match="E044"):
            runner.values(feeds, ["y"])
