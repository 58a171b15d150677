"""Models of halves are calibrated as others are: weights behind a Cast, and recurrent cells of float16."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

import enxuto
from enxuto.calibration.cells import cell_weights
from enxuto.calibration.gradients.backward import Backward
from enxuto.calibration.partial_runs import PartialRuns
from enxuto.data.samples import Group
from enxuto.onnx_model import Model, id_limits, reads_of, static_values
from enxuto.runtime import Runner

HIDDEN, INPUTS = 20, 12
GATES = {"GRU": 3, "LSTM": 4, "RNN": 1}


def cell_model(kind: str, form: str) -> Model:
    """A cell of both directions and a layer behind it: float32, halves, or float32 with halves behind Casts."""
    random = np.random.default_rng(0)
    rows = GATES[kind] * HIDDEN
    weights = {
        "w": random.normal(0, 0.4, (2, rows, INPUTS)),
        "r": random.normal(0, 0.2, (2, rows, HIDDEN)),
        "b": random.normal(0, 0.2, (2, 2 * rows)),
        "v": random.normal(0, 0.5, (HIDDEN, 5)),
    }
    halves = ml_dtypes.bfloat16 if form == "cast from bfloat16" else np.float16
    nodes, initializers = [], []
    for name, array in weights.items():
        array = array.astype(np.float16)
        if form.startswith("cast"):
            initializers.append(numpy_helper.from_array(array.astype(halves), f"{name}_half"))
            nodes.append(helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT))
        else:
            initializers.append(
                numpy_helper.from_array(array.astype(np.float16 if form == "halves" else np.float32), name)
            )
    nodes += [
        helper.make_node(
            kind, ["x", "w", "r", "b"], ["states"], "cell", hidden_size=HIDDEN, direction="bidirectional"
        ),
        helper.make_node("ReduceMean", ["states"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["mean", "v"], ["y"]),
    ]
    type_ = TensorProto.FLOAT16 if form == "halves" else TensorProto.FLOAT
    graph = helper.make_graph(
        nodes, "cell",
        [helper.make_tensor_value_info("x", type_, [7, "n", INPUTS])],
        [helper.make_tensor_value_info("y", type_, [7, "n", 5])],
        initializers,
    )  # fmt: skip
    return Model.from_proto(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    )


FORMS = ("float32", "halves", "cast", "cast from bfloat16")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", GATES)
def test_weights_of_cells_are_found_in_every_type(kind: str, form: str) -> None:
    """More elements than halves can count."""
    model = cell_model(kind, form)
    nodes = model.proto.graph.node
    cell = next(node for node in nodes if node.op_type == kind)
    made_by = {name: node for node in nodes for name in node.output}
    reads = Counter(name for node in nodes for name in reads_of(node))
    for place in (1, 2):
        (found,) = cell_weights(model, cell.input[place], made_by, reads)
        assert found.direction is None
        assert found.order == ()


def sequence(form: str) -> Group:
    x = np.random.default_rng(1).standard_normal((7, 3, INPUTS))
    return Group({"x": x.astype(np.float16 if form == "halves" else np.float32)}, 1)


@pytest.mark.parametrize("form", ["halves", "cast"])
@pytest.mark.parametrize("kind", GATES)
def test_gradients_of_cells_of_halves_are_those_of_float32(kind: str, form: str) -> None:
    """Both models hold the same numbers."""
    found = {}
    for one in ("float32", form):
        group = sequence(one)
        backward = Backward(cell_model(kind, one), ["gates of states"], group)
        outputs, values = backward.values(group.feeds)
        assert outputs[0].dtype == (np.float16 if one == "halves" else np.float32)
        found[one] = backward.gradients(values, np.ones(outputs[0].shape, np.float32))["gates of states"]
    assert found["float32"].std() > 0.01
    assert found[form] == pytest.approx(found["float32"], abs=5e-3)


@pytest.mark.parametrize("kind", GATES)
def test_a_cell_of_halves_whose_sizes_are_not_known_runs(kind: str) -> None:
    """With all of its optimisations ONNX Runtime 1.31 ends the process."""
    proto = ModelProto()
    proto.CopyFrom(cell_model(kind, "halves").to_proto())
    del proto.graph.input[0].type.tensor_type.shape.dim[:]
    proto.graph.input[0].type.tensor_type.ClearField("shape")
    model = Model.from_proto(proto)
    (found,) = Runner(model, threads=1).values(sequence("halves").feeds, ["y"])
    assert found.shape == (7, 3, 5)


@pytest.mark.parametrize("width", [8, 24])
def test_stages_do_not_take_weights_behind_a_cast_for_rows_of_samples(width: int) -> None:
    """24 samples are run 8 at a time: a bias of 24 or of 8 values is the same for all of them."""
    random = np.random.default_rng(2)
    weights = {"w": (6, width), "b": (width,), "v": (width, 4)}
    names = [f"{name}_half" for name in weights]
    nodes = [helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT) for name in weights]
    nodes += [
        helper.make_node("Add", ["b", "zero"], ["moved"]),
        helper.make_node("MatMul", ["x", "w"], ["xw"]),
        helper.make_node("Add", ["xw", "moved"], ["h"]),
        helper.make_node("Mul", ["h", "moved"], ["g"]),
        helper.make_node("MatMul", ["g", "v"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "stages",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [
            *(numpy_helper.from_array(random.standard_normal(shape).astype(np.float16), name)
              for name, shape in zip(names, weights.values(), strict=True)),
            numpy_helper.from_array(np.zeros((), np.float32), "zero"),
        ],
    )  # fmt: skip
    model = Model.from_proto(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    )
    assert static_values(model) == {*weights, "moved"}
    x = random.standard_normal((24, 6)).astype(np.float32)
    expected = Runner(model, threads=1, extra_outputs=["moved", "h"]).values({"x": x}, ["moved", "h", "y"])
    found = list(PartialRuns(model, ["moved", "h"]).run(x, {}, threads=1))
    for value, wanted in zip(found, expected, strict=True):
        assert value == pytest.approx(wanted, rel=1e-5, abs=1e-5)


def test_a_tagger_of_halves_is_calibrated_better_than_without_data(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    model = cell_model("GRU", "halves")
    path = tmp_path / "tagger.onnx"
    onnx.save(model.to_proto(), path)
    x = random.standard_normal((48, 7, 1, INPUTS)).astype(np.float16)
    kept = []
    for how in (
        {"steps": "balanced"},
        {"calibration": {"x": x[:32]}, "outputs": {"y": "values"}, "cache": tmp_path},
    ):
        made = enxuto.compress(path, bits=4, threads=1, **how)  # type: ignore[arg-type]
        judged = enxuto.evaluate(made, {"x": x[32:]}, reference=str(path), outputs={"y": "values"}, threads=1)
        kept.append(judged.snr_db)  # type: ignore[union-attr]
    assert "measured" not in {layer.method for layer in made.layers if layer.name in ("w", "r", "v")}
    assert kept[1] > kept[0] + 2


@pytest.mark.parametrize("form", ["plain", "Cast", "DequantizeLinear"])
def test_ids_are_known_to_be_rows_of_a_table_in_any_form(form: str) -> None:
    """Else they are tried up to 255, and the model is said not to run."""
    table = np.random.default_rng(4).normal(0, 1, (50, 8))
    stored = {"plain": table.astype(np.float32), "Cast": table.astype(np.float16)}.get(
        form, table.astype(np.int8)
    )
    nodes = [helper.make_node("Gather", ["stored" if form == "plain" else "table", "ids"], ["e"])]
    if form != "plain":
        inputs = ["stored"] if form == "Cast" else ["stored", "scale"]
        nodes.insert(0, helper.make_node(form, inputs, ["table"], **({"to": 1} if form == "Cast" else {})))
    graph = helper.make_graph(
        nodes, "table",
        [helper.make_tensor_value_info("ids", TensorProto.INT32, ["n", 6])],
        [helper.make_tensor_value_info("e", TensorProto.FLOAT, ["n", 6, 8])],
        [numpy_helper.from_array(stored, "stored"), numpy_helper.from_array(np.float32(0.1), "scale")],
    )  # fmt: skip
    assert id_limits(Model.from_proto(helper.make_model(graph, ir_version=9))) == {"ids": 50}
