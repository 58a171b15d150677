"""Models of a fixed batch size: every verb runs their samples, so many at a time, as ONNX Runtime itself does."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from typer.testing import Result

import enxuto
from enxuto.data.samples import Samples
from enxuto.onnx_model import Model
from enxuto.runtime import Runner

Invoke = Callable[..., Result]
Feeds = dict[str, np.ndarray]
node, value = helper.make_node, helper.make_tensor_value_info
FLOAT, UINT8 = TensorProto.FLOAT, TensorProto.UINT8
COUNT = 22  # no multiple of a batch size but 2


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng([3, *shape]).standard_normal(shape).astype(np.float32)


def proto_of(nodes: list[Any], inputs: list[Any], output: list[Any], weights: Feeds) -> ModelProto:
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "g", inputs, [value("y", FLOAT, output)], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def rows(batch: int) -> tuple[ModelProto, Feeds]:
    """One input of rows."""
    nodes = [node("MatMul", ["x", "u"], ["h"]), node("Relu", ["h"], ["r"]), node("MatMul", ["r", "v"], ["y"])]
    weights = {"u": noise(8, 20) / 3, "v": noise(20, 6) / 4}
    return proto_of(nodes, [value("x", FLOAT, [batch, 8])], [batch, 6], weights), {"x": noise(COUNT, 8)}


def two_inputs(batch: int) -> tuple[ModelProto, Feeds]:
    nodes = [
        node("MatMul", ["a", "u"], ["f"]),
        node("MatMul", ["b", "v"], ["g"]),
        node("Add", ["f", "g"], ["s"]),
        node("Relu", ["s"], ["r"]),
        node("MatMul", ["r", "w"], ["y"]),
    ]
    weights = {"u": noise(8, 20) / 3, "v": noise(5, 20) / 3, "w": noise(20, 6) / 4}
    inputs = [value("a", FLOAT, [batch, 8]), value("b", FLOAT, [batch, 5])]
    return proto_of(nodes, inputs, [batch, 6], weights), {"a": noise(COUNT, 8), "b": noise(COUNT, 5)}


def images(batch: int, *, sizes: tuple[int | str, int | str] = (9, 9), dtype: int = FLOAT) -> Any:
    """A map of an image; its sizes may be open."""
    nodes = [
        node("Cast", ["x"], ["f"], to=FLOAT),
        node("Conv", ["f", "u"], ["c"], pads=[1, 1, 1, 1]),
        node("Relu", ["c"], ["r"]),
        node("Conv", ["r", "v"], ["y"]),
    ]
    weights = {"u": noise(8, 3, 3, 3) / 3, "v": noise(2, 8, 1, 1) / 2}
    pixels = noise(COUNT, 3, 9, 9)
    fed = pixels if dtype == FLOAT else np.clip(pixels * 40 + 128, 0, 255).astype(np.uint8)
    return proto_of(nodes, [value("x", dtype, [batch, 3, *sizes])], [batch, 2, *sizes], weights), {"x": fed}


def reshaped(batch: int) -> tuple[ModelProto, Feeds]:
    """The shape of a Reshape begins with the batch size."""
    nodes = [
        node("Conv", ["x", "u"], ["c"]),
        node("Relu", ["c"], ["r"]),
        node("Reshape", ["r", "shape"], ["s"]),
        node("MatMul", ["s", "v"], ["y"]),
    ]
    weights = {"u": noise(8, 3, 3, 3) / 3, "v": noise(49, 6) / 6, "shape": np.array([batch, 8, 49])}
    inputs = [value("x", FLOAT, [batch, 3, 9, 9])]
    return proto_of(nodes, inputs, [batch, 8, 6], weights), {"x": noise(COUNT, 3, 9, 9)}


def written(batch: int) -> tuple[ModelProto, Feeds]:
    """The batch size is in the graph where nothing frees it: two Reshapes, of which one has it times four."""
    nodes = [
        node("MatMul", ["x", "u"], ["h"]),
        node("Reshape", ["h", "apart"], ["p"]),
        node("Relu", ["p"], ["r"]),
        node("Reshape", ["r", "back"], ["b"]),
        node("MatMul", ["b", "v"], ["y"]),
    ]
    weights = {
        "u": noise(8, 20) / 3,
        "v": noise(20, 6) / 4,
        "apart": np.array([4 * batch, 5]),
        "back": np.array([batch, 20]),
    }
    return proto_of(nodes, [value("x", FLOAT, [batch, 8])], [batch, 6], weights), {"x": noise(COUNT, 8)}


KINDS: dict[str, tuple[ModelProto, Feeds, int]] = {
    **{f"rows by {n}": (*rows(n), n) for n in (2, 4, 32)},
    **{f"two inputs by {n}": (*two_inputs(n), n) for n in (1, 3, 4)},
    "images by 4": (*images(4), 4),
    "one image of open sizes": (*images(1, sizes=("H", "W")), 1),
    "one image of bytes and open sizes": (*images(1, sizes=("H", "W"), dtype=UINT8), 1),
    "images of open sizes by 3": (*images(3, sizes=("H", "W")), 3),
    "in a Reshape, 4": (*reshaped(4), 4),
    "all over, 4": (*written(4), 4),
}


def outputs(proto: ModelProto, feeds: Feeds, batch: int) -> np.ndarray:
    """The output for all samples, by ONNX Runtime alone."""
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    found = []
    for start in range(0, COUNT, batch):
        taken = np.minimum(np.arange(start, start + batch), COUNT - 1)
        found.append(session.run(None, {name: array[taken] for name, array in feeds.items()})[0])
    return np.concatenate(found)[:COUNT].astype(np.float64)


@pytest.mark.parametrize("kind", KINDS)
def test_calibration_and_evaluation_run_them(kind: str) -> None:
    proto, feeds, batch = KINDS[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        made = enxuto.compress(proto, data=feeds, min_snr=25, outputs={"y": "values"}, threads=1)
        found = enxuto.evaluate(made.model, feeds, reference=proto, outputs={"y": "values"}, threads=1)
    before, after = (outputs(one, feeds, batch) for one in (proto, made.model.to_proto()))
    truth = 10 * np.log10(before.var() / np.square(after - before).mean())
    assert found.samples == COUNT
    assert found.snr_db == pytest.approx(truth, abs=1e-2)
    assert truth > 22


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("verb", ["evaluate", "compare", "verify", "verify data"])
def test_verbs_run_them(kind: str, verb: str, tmp_path: Path, invoke: Invoke) -> None:
    proto, feeds, batch = KINDS[kind]
    model, file, arrays = tmp_path / "m.onnx", tmp_path / "m.enx", tmp_path / "x.npz"
    model.write_bytes(proto.SerializeToString())
    np.savez(arrays, **feeds)  # type: ignore[arg-type]
    enxuto.compress(model, steps="balanced", threads=1).save(file)
    words: dict[str, list[Any]] = {
        "evaluate": ["evaluate", file, "--data", arrays, "--reference", model],
        "compare": ["compare", model, file, "--data", arrays],
        "verify": ["verify", file, model, "--run", "6"],
        "verify data": ["verify", file, model, "--run", "6", "--data", arrays],
    }
    found = invoke(*words[verb], "--json")
    assert found.exit_code == 0, found.output
    said = json.loads(found.stdout)
    if verb in ("evaluate", "compare"):
        assert said["samples"] == COUNT
    elif verb == "verify data":
        assert said["run"]["inputs"] == 6
    else:
        assert said["run"]["inputs"] == -(-6 // batch) * batch or said["run"]["inputs"] == 6


def test_open_sizes_get_as_many_inputs_as_asked_for(tmp_path: Path, invoke: Invoke) -> None:
    model, file = tmp_path / "m.onnx", tmp_path / "m.enx"
    model.write_bytes(KINDS["one image of open sizes"][0].SerializeToString())
    enxuto.compress(model, steps="balanced", threads=1).save(file)
    said = json.loads(invoke("verify", file, model, "--run", "19", "--json").stdout)
    assert said["run"]["inputs"] == 19


@pytest.mark.parametrize("count", [1, 3, 4, 9])
def test_several_inputs_run_in_batches_of_the_size_that_they_fix(count: int) -> None:
    proto, feeds, _ = KINDS["two inputs by 4"]
    (found,) = Runner(Model.from_proto(proto)).values(
        {name: array[:count] for name, array in feeds.items()}, ["y"]
    )
    assert np.allclose(found, outputs(proto, feeds, 4)[:count], atol=1e-5)


@pytest.mark.parametrize(
    ("count", "expected"),
    [(7, [[0, 1, 2], [3, 4, 5]]), (6, [[0, 1, 2], [3, 4, 5]]), (5, [[0, 1, 2], [3, 4, 4]]), (2, [[0, 1, 1]])],
)
def test_batches_of_samples_are_full(count: int, expected: list[list[int]]) -> None:
    """What fills a batch would count several times, so it does so only where there are hardly any others."""
    rows = {"a": np.arange(count)[:, None], "b": [np.full((1, 2), i) for i in range(count)]}
    whole = Samples(rows).in_batches(3)
    assert [group.count for group in whole.groups()] == [1] * len(expected)
    assert [whole.sample(i)["a"].ravel().tolist() for i in range(len(whole))] == expected
    assert whole.sample(0)["b"].shape == (3, 2)


def test_joined_samples_keep_their_shapes() -> None:
    one, other = Samples({"x": np.zeros((2, 3))}), Samples({"x": np.ones((1, 3))})
    assert one.joined([]) is one
    assert np.shape(one.joined([other]).columns["x"]) == (3, 3)
    longer = one.joined([Samples({"x": np.ones((2, 5))})])
    assert [longer.sample(i)["x"].shape for i in range(4)] == [(1, 3)] * 2 + [(1, 5)] * 2
