"""Models in bfloat16, for which ONNX Runtime has few kernels on CPUs, work in every verb and stay bfloat16 in files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from typer.testing import Result

from enxuto.data.feeding import fit_samples
from enxuto.errors import InFloat32Warning
from enxuto.onnx_model import Model
from enxuto.opening import load
from enxuto.runtime import Runner

Invoke = Callable[..., Result]
node = helper.make_node
FLOAT, BFLOAT16 = TensorProto.FLOAT, TensorProto.BFLOAT16
REMARK = "the model runs in float32"
X = np.random.default_rng(4).standard_normal((48, 16)).astype(ml_dtypes.bfloat16).astype(np.float32)


def bfloat16_model(form: str) -> ModelProto:
    """Return two layers in bfloat16, or in float32 behind casts of the weights, or of inputs and outputs too."""
    random = np.random.default_rng(5)
    shapes = {"w1": (16, 64), "b1": (64,), "w2": (64, 8)}
    arrays = {
        name: (0.4 * random.standard_normal(shape)).astype(ml_dtypes.bfloat16)
        for name, shape in shapes.items()
    }
    layers = [
        node("MatMul", ["x", "w1"], ["a"]),
        node("Add", ["a", "b1"], ["b"]),
        node("Relu", ["b"], ["c"]),
        node("MatMul", ["c", "w2"], ["d"]),
        node("Softmax", ["d"], ["y"], axis=-1),
    ]
    kind = FLOAT if form == "weights behind casts" else BFLOAT16
    if form != "pure":
        for item in layers:
            item.input[:] = [f"{name} wide" if name in ("x", *shapes) else name for name in item.input]
        layers = [node("Cast", [name], [f"{name} wide"], to=FLOAT) for name in ("x", *shapes)] + layers
    if form == "inputs and outputs":
        layers[-1].output[0] = "y wide"
        layers.append(node("Cast", ["y wide"], ["y"], to=BFLOAT16))
    graph = helper.make_graph(
        layers,
        "g",
        [helper.make_tensor_value_info("x", kind, ["n", 16])],
        [helper.make_tensor_value_info("y", kind, ["n", 8])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


FORMS = ("pure", "weights behind casts", "inputs and outputs")
VERBS: dict[str, tuple[Any, ...]] = {
    "compress": ("compress", "MODEL", "-o", "OTHER", "--force", "--bits", 5, "--data", "DATA"),
    "compress without data": ("compress", "MODEL", "-o", "OTHER", "--force"),
    "evaluate": ("evaluate", "SMALL", "--reference", "MODEL", "--data", "DATA"),
    "compare": ("compare", "MODEL", "SMALL", "--data", "DATA"),
    "bench": ("bench", "MODEL", "SMALL", "--repeats", 2),
    "verify": ("verify", "SMALL", "MODEL", "--run", 2),
    "curve": (
        "curve",
        "MODEL",
        "--data",
        "DATA",
        "-o",
        "FOLDER",
        "--methods",
        "enxuto",
        "--bits",
        6,
        "--images",
        0,
    ),
}


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_runs_models_of_bfloat16(invoke: Invoke, tmp_path: Path, form: str, verb: str) -> None:
    places = {name: tmp_path / file for name, file in (("MODEL", "m.onnx"), ("SMALL", "m.enx"), ("OTHER", "o.enx"),
                                                       ("DATA", "x.npz"), ("FOLDER", "curve"))}  # fmt: skip
    Model.from_proto(bfloat16_model(form)).write(places["MODEL"])
    np.savez(places["DATA"], x=X)
    assert invoke("compress", places["MODEL"], "-o", places["SMALL"], "--steps", "balanced").exit_code == 0
    result = invoke(*(places.get(word, word) for word in VERBS[verb]))
    assert result.exit_code == 0, result.output
    assert " ".join(result.stderr.split()).count(REMARK) == (form != "weights behind casts")
    if places["OTHER"].exists():
        made = load(places["OTHER"])
        kinds = {made.info(name).data_type for name in ("w1", "b1", "w2")}
        kinds |= {
            item.type.tensor_type.elem_type for item in (*made.proto.graph.input, *made.proto.graph.output)
        }
        assert kinds == ({BFLOAT16, FLOAT} if form == "weights behind casts" else {BFLOAT16})


@pytest.mark.filterwarnings("ignore::enxuto.errors.InFloat32Warning")
def test_it_gives_what_float32_gives_with_the_same_weights(form: str) -> None:
    model = Model.from_proto(bfloat16_model(form))
    w1, b1, w2 = (model.load(name).astype(np.float32) for name in ("w1", "b1", "w2"))
    scores = np.exp(np.maximum(X @ w1 + b1, 0) @ w2)
    expected = scores / scores.sum(axis=1, keepdims=True)
    runner = Runner(model, threads=1)
    for x in (X, X.astype(ml_dtypes.bfloat16)):
        samples = fit_samples({"x": x}, runner.inputs)
        (found,) = runner.run(next(iter(samples.groups())).feeds, ["y"])
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_python_is_told_by_a_warning_of_its_own_kind() -> None:
    with pytest.warns(InFloat32Warning, match=REMARK):
        Runner(Model.from_proto(bfloat16_model("pure")), threads=1)


@pytest.mark.filterwarnings("ignore::enxuto.errors.InFloat32Warning")
def test_types_named_anywhere_become_float32() -> None:
    """In attributes, in branches, in tensors that are no weights, in what values are declared to be."""
    branches = [
        helper.make_graph(
            [node("Constant", [], [f"{name} k"], value=numpy_helper.from_array(np.array([size], ml_dtypes.bfloat16))),
             node("MatMul", ["b", "w"], [f"{name} m"]), node("Add", [f"{name} m", f"{name} k"], [name])],
            name, [], [helper.make_tensor_value_info(name, BFLOAT16, None)],
        )
        for name, size in (("one", 1.0), ("two", 2.0))
    ]  # fmt: skip
    filled = helper.make_tensor("value", BFLOAT16, [1], [0.5])
    nodes = [
        node("Cast", ["x"], ["a"], to=BFLOAT16),
        node("ConstantOfShape", ["size"], ["h"], value=filled),
        node("MatMul", ["a", "w"], ["p"]),
        node("Mul", ["p", "h"], ["b"]),
        node("If", ["yes"], ["c"], then_branch=branches[0], else_branch=branches[1]),
        node("Cast", ["c"], ["y"], to=FLOAT),
    ]
    w = (np.eye(4) * 2).astype(ml_dtypes.bfloat16)
    held = {"w": w, "size": np.array([4], np.int64), "yes": np.array(False)}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", FLOAT, ["n", 4])],
        [numpy_helper.from_array(array, name) for name, array in held.items()],
        value_info=[helper.make_tensor_value_info("p", BFLOAT16, ["n", 4])],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (found,) = Runner(Model.from_proto(proto, keep_value_info=True), threads=1).run({"x": X[:3, :4]})
    np.testing.assert_allclose(found, 2 * X[:3, :4] + 2, rtol=1e-6)
