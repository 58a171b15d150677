"""One name for one thing, everywhere in a model; initializers that are inputs too are defaults and stay so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper
from onnx_graphs import constant, floats, initializer, model_of, with_branches

import enxuto
from enxuto.errors import ModelError
from enxuto.onnx_model import Model, read_counts, reads_of

X = {"x": ["n", 4, 8, 8]}


def conv(weight: str = "w") -> onnx.NodeProto:
    return helper.make_node("Conv", ["x", weight], ["y"], pads=[1, 1, 1, 1])


def sparse(name: str) -> onnx.SparseTensorProto:
    values = helper.make_tensor(name, TensorProto.FLOAT, [1], [1.0])
    return helper.make_sparse_tensor(values, helper.make_tensor("places", TensorProto.INT64, [1], [0]), [4])


def twice() -> dict[str, ModelProto]:
    """Models in which one name is given twice."""
    w = floats(4, 4, 3, 3)
    relu = helper.make_node("Relu", ["x"], ["w"])
    found = {
        "initializers": model_of([conv()], [initializer("w", w), initializer("w", 2 * w)], inputs=X),
        "equal initializers": model_of([conv()], [initializer("w", w), initializer("w", w)], inputs=X),
        "initializer and Constant": model_of([constant("w", w), conv()], [initializer("w", w)], inputs=X),
        "Constants": model_of([constant("w", w), constant("w", 2 * w), conv()], inputs=X),
        "initializer and output of a node": model_of([relu, conv()], [initializer("w", w)], inputs=X),
        "outputs of nodes": model_of([conv(), conv()], [initializer("w", w)], inputs=X),
        "input and output of a node": model_of(
            [helper.make_node("Relu", ["y"], ["w"]), helper.make_node("Relu", ["w"], ["x"])], inputs=X
        ),
    }
    inputs = model_of([conv()], [initializer("w", w)], inputs=X)
    inputs.graph.input.append(inputs.graph.input[0])
    found["inputs"] = inputs
    for name in ("w", "z"):
        thin = model_of([conv()], [initializer("w", w)], inputs=X)
        thin.graph.sparse_initializer.append(sparse("z"))
        thin.graph.sparse_initializer.append(sparse(name))
        found[f"sparse initializers: {name}"] = thin
    branches = with_branches()
    branch = next(item.g for item in branches.graph.node[0].attribute if item.name == "else_branch")
    branch.initializer.append(initializer("w_", floats(4)))
    found["in a branch"] = branches
    body = [constant("a", w), constant("a", 2 * w), helper.make_node("Add", ["v", "a"], ["o"])]
    opset = [helper.make_opsetid("", 17)]
    called = helper.make_node("F", ["x"], ["y"], domain="my")
    inside = model_of([called], inputs=X)
    inside.functions.append(helper.make_function("my", "F", ["v"], ["o"], body, opset))
    found["in a function"] = inside
    both = model_of([called], inputs=X)
    for _ in range(2):
        both.functions.append(
            helper.make_function("my", "F", ["v"], ["o"], [helper.make_node("Relu", ["v"], ["o"])], opset)
        )
    found["functions"] = both
    return found  # fmt: skip


@pytest.mark.parametrize("case", twice())
def test_a_name_given_twice_is_refused_in_one_line(case: str, tmp_path: Path) -> None:
    proto = twice()[case]
    with pytest.raises(ModelError, match=r"'(w|y|x|z|w_|a|F)'") as refused:
        Model.from_proto(proto)
    assert "\n" not in str(refused.value)
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(ModelError, match=r"m\.onnx"):
        enxuto.compress(tmp_path / "m.onnx")


def test_names_that_may_be_the_same() -> None:
    """A default of an input; names in branches that do not see each other; outputs left out."""
    proto = with_branches()
    proto.graph.input.append(helper.make_tensor_value_info("w_main", TensorProto.FLOAT, [4]))
    proto.graph.node.append(helper.make_node("Dropout", ["x"], ["d", ""]))
    proto.graph.node.append(helper.make_node("Dropout", ["x"], ["e", ""]))
    model = Model.from_proto(proto)
    assert model.overridable == {"w_main"}
    proto.ir_version = 3
    assert not Model.from_proto(proto).overridable, "before version 4 all initializers are inputs"


def test_what_a_node_reads_through_its_subgraphs() -> None:
    proto = with_branches()
    assert sorted(set(reads_of(proto.graph.node[0]))) == ["x", "yes"]
    assert read_counts(proto)["x"] == 2
    assert read_counts(proto)["y"] == 1, "as an output"


@pytest.mark.parametrize("fold_bn", [False, True])
def test_a_default_stays_an_input_that_works(fold_bn: bool, tmp_path: Path) -> None:
    """Whatever is given instead of any of a layer's and a norm's parameters, both models answer alike."""
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["a", "s", "t", "m", "v"], ["y"]),
    ]
    arrays = {"w": floats(4, 4, 3, 3) / 5, "b": floats(4), "s": np.abs(floats(4)) + 1, "t": floats(4, seed=1)}
    arrays |= {"m": floats(4, seed=2), "v": np.abs(floats(4, seed=3)) + 1}
    x = floats(2, 4, 8, 8)
    for name, array in arrays.items():
        inputs = {**X, name: array.shape}
        proto = model_of(nodes, [initializer(n, a) for n, a in arrays.items()], inputs=inputs)
        enxuto.compress(Model.from_proto(proto), fold_bn=fold_bn).save(tmp_path / "m.enx")
        enxuto.load(tmp_path / "m.enx").write(tmp_path / "b.onnx")
        back = (tmp_path / "b.onnx").read_bytes()
        for feeds in ({"x": x}, {"x": x, name: array + 1}):
            want, got = (
                onnxruntime.InferenceSession(one).run(None, feeds)[0]
                for one in (proto.SerializeToString(), back)
            )
            assert np.sqrt(np.mean((got - want) ** 2) / np.mean(want**2)) < 0.05, name
