"""What outputs were judged as stays with the file, where the graph does not tell, and is gone by afterwards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

import enxuto
from enxuto.cli import app
from enxuto.onnx_model import Model
from enxuto.opening import output_kinds_of

made = helper.make_node
X = np.random.default_rng(0).standard_normal((64, 16)).astype(np.float32)
ALL = {"vals": "values", "sig": "binary", "pr": "classes"}


def network(names: tuple[str, ...] = ("vals", "sig", "pr")) -> Model:
    """A row of numbers that looks like scores, yes or no, and classes."""
    rng, value = np.random.default_rng(1), helper.make_tensor_value_info
    held = {"w": rng.standard_normal((16, 32)) * 0.3}
    held |= {name: rng.standard_normal((32, size)) * 0.3 for name, size in (("wv", 9), ("ws", 7), ("wc", 6))}
    nodes = [
        made("MatMul", ["x", "w"], ["a"]), made("Relu", ["a"], ["b"]), made("MatMul", ["b", "wv"], ["vals"]),
        made("MatMul", ["b", "ws"], ["s"]), made("Sigmoid", ["s"], ["sig"]),
        made("MatMul", ["b", "wc"], ["c"]), made("Softmax", ["c"], ["pr"]),
    ]  # fmt: skip
    sizes = {"vals": 9, "sig": 7, "pr": 6, "c": 6}
    graph = helper.make_graph(
        nodes,
        "g",
        [value("x", TensorProto.FLOAT, ["n", 16])],
        [value(name, TensorProto.FLOAT, ["n", sizes[name]]) for name in names],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in held.items()],
    )
    return Model.from_proto(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    )


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("names", "asked", "kept", "kinds"),
    [
        (("vals", "sig", "pr"), {"outputs": {"vals": "values"}}, {"vals": "values"}, ALL),
        (("vals", "sig", "pr"), {}, {"vals": "values"}, ALL),
        (("vals", "c"), {}, {"vals": "classes", "c": "classes"}, {"vals": "classes", "c": "classes"}),
        (("vals", "pr"), {"outputs": {"vals": "ignore"}}, {"vals": "ignore"}, {"pr": "classes"}),
        (("vals",), {"min_snr": 20, "bits": None}, {"vals": "values"}, {"vals": "values"}),
        (("pr",), {}, {}, {}),
        (("vals",), {}, {}, {}),
    ],
    ids=["asked for", "none", "two rows", "ignored", "by a bound", "a classifier", "logits"],
)
def test_kinds_that_the_graph_does_not_tell_are_kept(
    names: tuple[str, ...], asked: dict[str, Any], kept: dict[str, str], kinds: dict[str, str], tmp_path: Path
) -> None:
    model = network(names)
    found = enxuto.compress(model, data={"x": X}, threads=1, **{"bits": 6, **asked})
    assert found.compressed.metadata.get("outputs_are", {}) == kept
    judged = enxuto.evaluate(found, {"x": X}, reference=model)
    if kinds:
        assert {one.name: one.kind for one in judged.outputs} == kinds  # type: ignore[union-attr]
    other = enxuto.evaluate(found, {"x": X}, reference=model, outputs={names[0]: "values"})
    assert {one.kind for one in other.outputs if one.name == names[0]} == {"values"}  # type: ignore[union-attr]


@pytest.mark.parametrize("verb", ["evaluate", "compare"])
def test_verbs_go_by_the_kinds_that_a_file_keeps(verb: str, tmp_path: Path) -> None:
    model, runner = network(), CliRunner()
    model.write(tmp_path / "m.onnx")
    np.savez(tmp_path / "x.npz", x=X)
    small = enxuto.compress(model, data={"x": X}, bits=6, threads=1, outputs={"vals": "values"})
    small.save(tmp_path / "m.enx")
    places = [str(tmp_path / name) for name in ("m.enx", "m.onnx", "x.npz")]
    words = {
        "evaluate": [places[0], "--reference", places[1]],
        "compare": [places[1], places[0]],
    }[verb]
    for more, kind in (([], "values"), (["--outputs", "vals=classes"], "classes")):
        said = runner.invoke(app, [verb, *words, "--data", places[2], "--json", *more])
        assert said.exit_code == 0, said.output
        kinds = {one["name"]: one["kind"] for one in json.loads(said.stdout)["outputs"]}
        assert kinds == ALL | {"vals": kind}


@pytest.mark.parametrize("stored", [None, [], "values", {"y": 3}, {"y": "pixels"}, {"y": []}])
def test_kinds_of_damaged_metadata_are_none(stored: Any) -> None:
    assert output_kinds_of({"outputs_are": stored}) == {}


def test_kinds_of_other_outputs_are_passed_over() -> None:
    model = network(("pr",))
    found = enxuto.compress(model, data={"x": X}, bits=6, threads=1)
    strange = found.compressed
    strange.metadata["outputs_are"] = {"gone": "values"}
    judged = enxuto.evaluate(strange, {"x": X}, reference=model)
    assert [one.kind for one in judged.outputs] == ["classes"]  # type: ignore[union-attr]
