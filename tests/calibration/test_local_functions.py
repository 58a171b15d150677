"""Layers inside of local functions are calibrated as the same layers outside of them."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from onnx import FunctionProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

import enxuto
from enxuto.enx.verify import verify
from enxuto.onnx_model import Model, inline_functions
from enxuto.runtime import Runner

node, value = helper.make_node, helper.make_tensor_value_info
OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
X = np.random.default_rng(0).standard_normal((64, 16)).astype(np.float32)


def weight(name: str, *shape: int) -> TensorProto:
    generator = np.random.default_rng(len(name) + shape[0])
    return numpy_helper.from_array((generator.standard_normal(shape) / 4).astype(np.float32), name)


def function(name: str, inputs: list[str], nodes: list[NodeProto], domain: str = "own") -> FunctionProto:
    return helper.make_function(domain, name, inputs, ["b"], nodes, OPSETS)


DENSE = function("Dense", ["a", "w"], [node("MatMul", ["a", "w"], ["m"]), node("Relu", ["m"], ["b"])])
OUTER = function(
    "Outer", ["a", "w"], [node("Dense", ["a", "w"], ["m"], domain="own"), node("Identity", ["m"], ["b"])]
)
OWN = function(
    "Own",
    ["a"],
    [node("Constant", [], ["w"], value=weight("w", 32, 32)), node("MatMul", ["a", "w"], ["m"]),
     node("Relu", ["m"], ["b"])],
)  # fmt: skip


def model(kind: str) -> ModelProto:
    """x → 32 features → 32 features → 5 scores; by functions of this kind."""
    first = {"nested": "Outer"}.get(kind, "Dense")
    nodes = [node(first, ["x", "u"], ["h"], domain="own")]
    if kind in ("own", "own twice"):
        nodes.append(node("Own", ["h"], ["i"], domain="own"))
    else:
        nodes.append(node("Dense", ["h", "w"], ["i"], domain="own"))
    if kind == "own twice":
        nodes.append(node("Own", ["i"], ["j"], domain="own"))
    nodes.append(node("MatMul", ["j" if kind == "own twice" else "i", "v"], ["y"]))
    used = [weight("u", 16, 32), weight("v", 32, 5)]
    graph = helper.make_graph(
        nodes,
        "g",
        [value("x", TensorProto.FLOAT, ["n", 16])],
        [value("y", TensorProto.FLOAT, ["n", 5])],
        used if kind.startswith("own") else [*used, weight("w", 32, 32)],
    )
    functions = [DENSE, *([OUTER] if kind == "nested" else []), *([OWN] if kind.startswith("own") else [])]
    return helper.make_model(graph, opset_imports=OPSETS, ir_version=8, functions=functions)


def plain() -> ModelProto:
    """The same without functions."""
    graph = helper.make_graph(
        [node("MatMul", ["x", "u"], ["g"]), node("Relu", ["g"], ["h"]), node("MatMul", ["h", "w"], ["e"]),
         node("Relu", ["e"], ["i"]), node("MatMul", ["i", "v"], ["y"])],
        "g",
        [value("x", TensorProto.FLOAT, ["n", 16])],
        [value("y", TensorProto.FLOAT, ["n", 5])],
        [weight("u", 16, 32), weight("v", 32, 5), weight("w", 32, 32)],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=OPSETS[:1], ir_version=8)


def compressed(proto: ModelProto, bits: float = 6) -> enxuto.CompressionResult:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return enxuto.compress(
            Model.from_proto(proto), data={"x": X}, outputs={"y": "classes"}, bits=bits, threads=1
        )


@pytest.mark.parametrize("kind", ["twice", "nested", "own"])
def test_a_file_of_functions_loses_what_the_same_without_them_loses(kind: str, tmp_path: Path) -> None:
    given = Model.from_proto(model(kind))
    result, other = compressed(model(kind)), compressed(plain())
    one, two = (found.report for found in (result, other))
    assert one.kl == pytest.approx(two.kl, rel=0.5)
    assert [layer.method for layer in result.layers] == [layer.method for layer in other.layers]
    assert abs(result.file_bytes - other.file_bytes) < 100
    assert result.metadata["functions_inlined"]
    assert "functions_inlined" not in other.metadata
    assert verify(result.compressed, given).ok
    back = result.model
    assert not back.proto.functions
    outputs = [Runner(each).run({"x": X})[0] for each in (back, given)]
    assert np.abs(outputs[0] - outputs[1]).max() < np.abs(outputs[1]).max()
    result.save(tmp_path / "a.enx")
    assert verify(tmp_path / "a.enx", given).ok
    assert not verify(result.compressed, Model.from_proto(model("own twice"))).ok


def test_weights_of_a_function_that_is_called_twice_are_not_written_twice() -> None:
    given = Model.from_proto(model("own twice"))
    assert inline_functions(given) == (given, {})
    result = compressed(model("own twice"), bits=9)
    assert "functions_inlined" not in result.metadata
    assert verify(result.compressed, given).ok


def test_small_constants_of_a_function_do_not_keep_it_from_being_written_out() -> None:
    scaled = function(
        "Dense", ["a", "w"],
        [node("Constant", [], ["s"], value=numpy_helper.from_array(np.float32(0.5))), node("MatMul", ["a", "w"], ["m"]),
         node("Mul", ["m", "s"], ["n"]), node("Relu", ["n"], ["b"])],
    )  # fmt: skip
    proto = model("twice")
    del proto.functions[:]
    proto.functions.append(scaled)
    found, names = inline_functions(Model.from_proto(proto))
    assert not found.proto.functions
    assert {name for name in found.weight_names if found.info(name).elements > 1} == {"u", "v", "w"}
    assert all(sources == ["own:Dense/s"] for sources in names.values())
    result = compressed(proto)
    assert verify(result.compressed, Model.from_proto(proto)).ok


def test_functions_of_another_version_stay() -> None:
    proto = model("own")
    proto.functions[1].opset_import[0].version = 13
    given = Model.from_proto(proto)
    assert inline_functions(given) == (given, {})
    assert verify(compressed(proto).compressed, given).ok


def test_a_model_without_functions_is_itself() -> None:
    given = Model.from_proto(plain())
    assert inline_functions(given) == (given, {})


def test_names_to_keep_exact_are_those_of_the_given_model() -> None:
    given = Model.from_proto(model("own"))
    name = next(name for name in given.weight_names if name not in ("u", "v"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        result = enxuto.compress(
            given, data={"x": X}, outputs={"y": "classes"}, bits=20, keep_exact=[name], threads=1
        )
    inside = {array.shape: array for array in map(result.model.load, result.model.weight_names)}
    assert np.array_equal(inside[(32, 32)], given.load(name))


@pytest.mark.parametrize("kind", ["twice", "nested", "own"])
def test_a_model_of_functions_becomes_a_module(kind: str) -> None:
    torch = pytest.importorskip("torch")
    given = Model.from_proto(model(kind))
    found = enxuto.load_module(given)(torch.from_numpy(X)).detach().numpy()
    assert np.allclose(found, Runner(given).run({"x": X})[0], atol=1e-5)
