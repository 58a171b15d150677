"""Rows of numbers without a softmax: scores of classes or quantities, by name and by how they respond."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from enxuto.calibration.output_kinds import class_axis, looks_like_values
from enxuto.calibration.outputs import find_losses
from enxuto.data.samples import Samples
from enxuto.errors import UsageError
from enxuto.onnx_model import Model

random = np.random.default_rng(0)
COUNT = 32


def classes(columns: int) -> np.ndarray:
    """Pulled apart: rows add up to a constant."""
    scores = 3 * random.standard_normal((COUNT, columns))
    return np.asarray(scores - scores.mean(axis=1, keepdims=True) + 0.5)


def together(columns: int, own: float = 0.3) -> np.ndarray:
    """Scores of quality: one opinion with shades."""
    return np.asarray(random.standard_normal((COUNT, 1)) + own * random.standard_normal((COUNT, columns)))


ROWS: dict[str, tuple[str, Callable[[], np.ndarray], bool]] = {
    "logits": ("Identity:0", lambda: classes(10), False),
    "logits of two": ("y", lambda: classes(2), False),
    "logits of which one wins": ("y", lambda: np.add(classes(3), [20, 0, 0]), False),
    "opinions": ("Identity:0", lambda: together(3), True),
    "quantities of sizes of their own": (
        "y",
        lambda: np.add(random.standard_normal((COUNT, 3)), [50, 0, -50]),
        True,
    ),
    "quantities of one size": ("y", lambda: random.standard_normal((COUNT, 3)), False),
    "one number several times": ("y", lambda: together(3, 1e-3), False),
    "many columns": ("y", lambda: together(1000), False),
    "too few samples": ("y", lambda: together(3)[:3], False),
    "a name of classes": ("logits", lambda: together(3), False),
    "a name of quantities": ("bbox", lambda: classes(4), True),
    "a name of fingerprints": ("fingerprint", lambda: classes(10), True),
    "a name of sound": ("waveform", lambda: classes(100), True),
    "a name of both": ("quality_scores", lambda: together(3), True),
}


@pytest.mark.parametrize("name", ROWS)
def test_rows_are_told_by_name_and_response(name: str) -> None:
    called, make, values = ROWS[name]
    assert looks_like_values(called, make()) == values


def regression(labels: str | None = None) -> Model:
    """Three columns that move together."""
    weights = np.ones((4, 3)) + 0.3 * np.random.default_rng(1).standard_normal((4, 3))
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [value("x", TensorProto.FLOAT, ["n", 4])],
        [value("y", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(weights.astype(np.float32), "w")],
    )
    proto: onnx.ModelProto = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    if labels is not None:
        proto.metadata_props.add(key="enxuto.labels", value=labels)
    return Model.from_proto(proto)


SAMPLES = Samples({"x": np.random.default_rng(2).standard_normal((COUNT, 4)).astype(np.float32)})


def test_quantities_are_said_with_the_way_out() -> None:
    found = find_losses(regression(), SAMPLES, threads=1)
    assert [loss.kind for loss in found.losses] == ["values"]
    (remark,) = found.remarks
    assert "'y' looks like quantities" in remark
    assert "outputs={'y': 'classes'} says otherwise" in remark
    asked = find_losses(regression(), SAMPLES, {"y": ("classes", 1.0)}, threads=1)
    assert ([loss.kind for loss in asked.losses], asked.remarks) == (["classes"], ())


@pytest.mark.parametrize("by", ["labels of the data", "class names of the model"])
def test_labels_make_classes_of_any_row(by: str) -> None:
    labelled = by == "labels of the data"
    model = regression(None if labelled else '["a", "b", "c"]')
    found = find_losses(model, SAMPLES, threads=1, labelled=labelled)
    assert [loss.kind for loss in found.losses] == ["classes"]
    assert found.remarks == ()


@pytest.mark.parametrize(("inner", "kind"), [("Sigmoid", "binary"), ("Tanh", "values")])
def test_a_sigmoid_within_an_if_is_yes_or_no(inner: str, kind: str) -> None:
    value, node = helper.make_tensor_value_info, helper.make_node
    branches = [
        helper.make_graph(
            [node(inner, ["z"], [f"{name} s"]), node("ReduceMean", [f"{name} s"], [f"{name} m"], axes=[2])],
            name,
            [],
            [value(f"{name} m", TensorProto.FLOAT, None)],
        )
        for name in ("one", "other")
    ]
    graph = helper.make_graph(
        [
            node("MatMul", ["x", "w"], ["z"]),
            node("If", ["yes"], ["y"], then_branch=branches[0], else_branch=branches[1]),
        ],
        "g",
        [value("x", TensorProto.FLOAT, ["n", 5, 4])],
        [value("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.random.default_rng(3).standard_normal((4, 3)).astype(np.float32), "w"),
         numpy_helper.from_array(np.array(True), "yes")],
    )  # fmt: skip
    model = Model.from_proto(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    )
    data = Samples({"x": np.random.default_rng(4).standard_normal((COUNT, 5, 4)).astype(np.float32)})
    assert [loss.kind for loss in find_losses(model, data, threads=1).losses] == [kind]


@pytest.mark.parametrize(
    ("ending", "shape", "axis"),
    [
        ([], (2, 3, 4, 5), 1),
        ([("Relu", {}), ("Resize", {})], (2, 3, 8, 10), 1),
        ([("Transpose", {"perm": [0, 2, 3, 1]})], (2, 4, 5, 3), 3),
        ([("Transpose", {"perm": [0, 2, 3, 1]}), ("Transpose", {"perm": [0, 2, 1, 3]})], (2, 5, 4, 3), 3),
        ([("Transpose", {"perm": [2, 3, 0, 1]})], (4, 5, 2, 3), 3),
        ([("Flatten", {"axis": 3})], (24, 5), 1),
    ],
)
def test_classes_lie_along_channels_or_the_last_axis(
    ending: list[tuple[str, dict[str, object]]], shape: tuple[int, ...], axis: int
) -> None:
    """By the layers behind a convolution (2, 3, 4, 5)."""
    nodes = [helper.make_node("Conv", ["x", "w"], ["v0"])]
    for number, (operator, settings) in enumerate(ending):
        given = [f"v{number}"] + ["", "", "sizes"] * (operator == "Resize")
        nodes.append(helper.make_node(operator, given, [f"v{number + 1}"], **settings))
    held = {"w": np.ones((3, 1, 1, 1), np.float32), "sizes": np.array([2, 3, 8, 10])}
    graph = helper.make_graph(
        nodes,
        "map",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 1, 4, 5])],
        [helper.make_tensor_value_info(f"v{len(ending)}", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(array, name) for name, array in held.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    onnx.checker.check_model(proto, full_check=True)
    assert class_axis(Model.from_proto(proto), f"v{len(ending)}", len(shape)) == axis


def test_an_output_whose_shape_follows_values_is_left_out() -> None:
    """Places of what is above 0, as many as there are, beside what each is worth."""
    value, node = helper.make_tensor_value_info, helper.make_node
    graph = helper.make_graph(
        [node("MatMul", ["x", "w"], ["y"]), node("NonZero", ["y"], ["z"]), node("Relu", ["y"], ["r"]),
         node("Reshape", ["r", "flat"], ["f"]), node("Greater", ["f", "zero"], ["g"]),
         node("NonZero", ["g"], ["p"]), node("Squeeze", ["p", "first"], ["q"]), node("Gather", ["f", "q"], ["kept"])],
        "g",
        [value("x", TensorProto.FLOAT, [1, 4])],
        [value("y", TensorProto.FLOAT, [1, 8]), value("kept", TensorProto.FLOAT, ["k"])],
        [numpy_helper.from_array(np.random.default_rng(5).standard_normal((4, 8)).astype(np.float32), "w"),
         numpy_helper.from_array(np.array([-1], np.int64), "flat"), numpy_helper.from_array(np.float32(0), "zero"),
         numpy_helper.from_array(np.array([0], np.int64), "first")],
    )  # fmt: skip
    model = Model.from_proto(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    )
    rows = np.random.default_rng(6).standard_normal((COUNT, 1, 4)).astype(np.float32)
    found = find_losses(model, Samples({"x": list(rows)}, stacked=False), threads=1)
    assert [loss.name for loss in found.losses] == ["y"]
    assert found.remarks[-1] == "output 'kept' is left out: its shape follows values"


@pytest.mark.parametrize(
    ("name", "shape", "kind"),
    [
        ("y", [8, 4], "values"),
        ("pred_boxes", [8, 4], "values"),
        ("scores", [8, 4], "binary"),
        ("y", [8, 3], "binary"),
        ("y", [4], "binary"),
        ("y", [8, 2, 4], "binary"),
    ],
    ids=["places of four", "boxes by name", "scores by name", "places of three", "four labels", "a map"],
)
def test_places_of_four_numbers_behind_a_sigmoid_are_boxes(name: str, shape: list[int], kind: str) -> None:
    value, node = helper.make_tensor_value_info, helper.make_node
    width = int(np.prod(shape))
    graph = helper.make_graph(
        [node("MatMul", ["x", "w"], ["z"]), node("Sigmoid", ["z"], ["s"]), node("Reshape", ["s", "to"], [name])],
        "g",
        [value("x", TensorProto.FLOAT, ["n", 4])],
        [value(name, TensorProto.FLOAT, ["n", *shape])],
        [numpy_helper.from_array(np.random.default_rng(1).standard_normal((4, width)).astype(np.float32), "w"),
         numpy_helper.from_array(np.array([-1, *shape]), "to")],
    )  # fmt: skip
    model = Model.from_proto(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    )
    found = find_losses(model, SAMPLES, threads=1)
    assert [loss.kind for loss in found.losses] == [kind]
    assert len(found.remarks) == (kind == "values")
    if kind == "values":
        assert f"outputs={{{name!r}: 'binary'}} says otherwise" in found.remarks[0]


@pytest.mark.parametrize(
    ("name", "shape", "kind", "axis"),
    [
        ("logits", (16, 7, 9), "classes", 2),
        ("cls_logits", (16, 7, 9), "classes", 2),
        ("logits", (16, 3, 4, 5), "classes", 3),
        ("logits", (16, 7, 5, 1), "values", None),
        ("box_logits", (16, 7, 4), "values", None),
        ("predictions", (16, 7, 9), "values", None),
        ("y", (16, 7, 9), "values", None),
    ],
)
def test_logits_of_every_token_are_classes(
    name: str, shape: tuple[int, ...], kind: str, axis: int | None
) -> None:
    random = np.random.default_rng(4)
    weight = random.standard_normal((6, shape[-1])).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], [name])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [*"nabcd"[: len(shape) - 1], 6])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [*"nabcd"[: len(shape) - 1], shape[-1]])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = Model.from_proto(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    )
    x = random.standard_normal((*shape[:-1], 6)).astype(np.float32)
    (loss,) = find_losses(model, Samples({"x": x}), threads=1).losses
    assert (loss.kind, loss.axis) == (kind, axis)
    if shape[-1] == 1:
        (asked,) = find_losses(model, Samples({"x": x[:, :, :1]}), {name: ("classes", 1.0)}, threads=1).losses
        assert (asked.kind, asked.axis) == ("classes", 1)  # (n, 7, 1, 1) is a list of seven
        with pytest.raises(UsageError, match="single number"):
            find_losses(model, Samples({"x": x}), {name: ("classes", 1.0)}, threads=1)


node = helper.make_node
ENDS: dict[str, tuple[list[onnx.NodeProto], str]] = {
    "scores": ([], "classes"),
    "what a matrix reads": ([node("Gemm", ["y", "v"], ["s"])], "values"),
    "what a matrix reads, moved": (
        [node("Transpose", ["y"], ["t"]), node("MatMul", ["u", "t"], ["s"])], "values",
    ),
    "what a softmax reads in front of a matrix": (
        [node("Mul", ["y", "half"], ["t"]), node("Softmax", ["t"], ["p"]), node("MatMul", ["p", "v"], ["s"])],
        "classes",
    ),
    "what is read by itself": (
        [node("Transpose", ["y"], ["t"]), node("MatMul", ["y", "t"], ["s"])], "classes",
    ),
}  # fmt: skip
MADE: dict[str, tuple[list[onnx.NodeProto], str]] = {
    "a matrix": ([node("MatMul", ["x", "w"], ["y"])], "classes"),
    "a normalisation": (
        [node("MatMul", ["x", "w"], ["h"]), node("LayerNormalization", ["h", "scale"], ["y"])], "values",
    ),
    "a normalisation, moved": (
        [node("MatMul", ["x", "w"], ["h"]), node("LayerNormalization", ["h", "scale"], ["n"]),
         node("Identity", ["n"], ["y"])], "values",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("made", "end"), [*((name, "scores") for name in MADE), *(("a matrix", end) for end in ENDS)]
)
def test_features_are_told_by_what_makes_and_reads_them(made: str, end: str) -> None:
    draw, value = np.random.default_rng(5), helper.make_tensor_value_info
    constants = {
        "w": draw.standard_normal((4, 40)), "v": draw.standard_normal((40, 1)), "u": draw.standard_normal((1, 40)),
        "scale": np.ones(40), "half": np.array(0.5),
    }  # fmt: skip
    nodes = [*MADE[made][0], *ENDS[end][0]]
    used = {name for one in nodes for name in one.input}
    outputs = [value("y", TensorProto.FLOAT, ["n", 40])]
    outputs += [value("s", TensorProto.FLOAT, None)] if ENDS[end][0] else []
    graph = helper.make_graph(
        nodes, "g", [value("x", TensorProto.FLOAT, ["n", 4])], outputs,
        [numpy_helper.from_array(one.astype(np.float32), name) for name, one in constants.items() if name in used],
    )  # fmt: skip
    model = Model.from_proto(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    )
    kinds = {loss.name: loss.kind for loss in find_losses(model, SAMPLES, threads=1).losses}
    assert kinds["y"] == ("values" if "values" in (MADE[made][1], ENDS[end][1]) else "classes")
