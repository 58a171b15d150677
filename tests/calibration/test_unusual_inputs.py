"""Synthetic inputs where the usual ones do not run or give no finite numbers, and where the graph tells what fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from enxuto.calibration.synthetic_inputs import synthetic_inputs
from enxuto.data.samples import Samples
from enxuto.errors import UsageError
from enxuto.onnx_model import Model

node = helper.make_node
FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL

CONSTANTS: dict[str, Any] = {
    "table": np.linspace(-1, 1, 160, dtype=np.float32).reshape(40, 4),
    "large": np.linspace(-1, 1, 4000, dtype=np.float32).reshape(1000, 4),
    "v": np.linspace(-1, 1, 32, dtype=np.float32).reshape(8, 4),
    "first": np.int64(0), "second": np.int64(1), "rows": np.int64(40), "axis": np.array([2]),
    "one": np.float32(1), "lowest": np.float32(-3.4e38), "three": np.int64(3), "begin": np.array([0]),
    "end": np.array([1]), "zero": np.zeros((1, 30), np.float32),
}  # fmt: skip
SPLIT = [
    node("Gather", ["i", "first"], ["u"], axis=1),
    node("Gather", ["i", "second"], ["v2"], axis=1),
    node("Gather", ["table", "u"], ["a"]),
    node("Gather", ["large", "v2"], ["b"]),
    node("Add", ["a", "b"], ["y"]),
]
MASKED = [
    node("Gather", ["large", "i"], ["e"]),
    node("Cast", ["m"], ["f"], to=FLOAT),
    node("Sub", ["one", "f"], ["n"]),
    node("Mul", ["n", "lowest"], ["p"]),
    node("Unsqueeze", ["p", "axis"], ["q"]),
    node("Add", ["e", "q"], ["s"]),
    node("Softmax", ["s"], ["y"], axis=1),
]
DEEP = [node("MatMul", ["x", "v"], ["h"]), node("Tanh", ["h"], ["t"])]
GRAPH = [*DEEP, node("Gather", ["edges", "first"], ["u"]), node("Gather", ["t", "u"], ["y"])]
TRICKY = [  # ids are squares of those given
    node("Mul", ["i", "i"], ["u"]),
    node("Gather", ["table", "u"], ["y"]),
]

Shape = Sequence[int | str]
Case = tuple[list[NodeProto], Mapping[str, tuple[int, Shape]], str]
CASES: dict[str, Case] = {
    "columns of ids": (SPLIT, {"i": (INT64, [1, 2, "T"])}, "'i': ids below 40 (2, 64)"),
    "a mask without a name": (
        MASKED, {"i": (INT64, ["N", "T"]), "m": (INT64, ["N", "T"])}, "'i': ids below 1,000 (64); 'm': ones (64)",
    ),
    "ids as real numbers": (
        [node("Cast", ["i"], ["u"], to=INT64), node("Gather", ["large", "u"], ["y"])],
        {"i": (FLOAT, ["N", 21])}, "'i': ids below 1,000 (21)",
    ),
    "squares of ids": (TRICKY, {"i": (INT64, ["N", 8])}, "'i': ids below 4 (8)"),
    "edges of nodes": (
        GRAPH, {"x": (FLOAT, ["nodes", 8]), "edges": (INT64, [2, "pairs"])},
        "'x': numbers from 0 to 1 (64, 8); 'edges': ids below 32 (2, 64)",
    ),
    "a table of one row": (
        [node("Add", ["i", "three"], ["u"]), node("Clip", ["u", "three"], ["c"]), node("MatMul", ["x", "v"], ["h"]),
         node("Slice", ["h", "begin", "end", "begin"], ["s"]), node("Sub", ["c", "three"], ["d"]),
         node("Gather", ["s", "d"], ["y"])],
        {"x": (FLOAT, ["N", 8]), "i": (INT64, [1])}, "'x': normalised features (8); 'i': zeros",
    ),
    "a scale behind a logarithm": (
        [*DEEP, node("Log", ["sigma"], ["l"]), node("Unsqueeze", ["l", "end"], ["k"]), node("Mul", ["t", "k"], ["y"])],
        {"x": (FLOAT, ["N", 8]), "sigma": (FLOAT, ["N"])},
        "'x': normalised features (8); 'sigma': numbers from 0 to 1",
    ),
    "all behind a logarithm": (
        [node("Log", ["x"], ["y"])], {"x": (FLOAT, ["N", 30])}, "'x': numbers from 0 to 1 (30)",
    ),
    "a mask of what is left out": (
        [node("Not", ["m"], ["n"]), node("Cast", ["n"], ["f"], to=FLOAT), node("Mul", ["x", "f"], ["y"])],
        {"x": (FLOAT, ["N", 30]), "m": (BOOL, ["N", 30])}, "'x': normalised features (30); 'm': zeros (30)",
    ),
    "a mask of what is kept": (
        [node("Cast", ["m"], ["f"], to=FLOAT), node("Mul", ["x", "f"], ["y"])],
        {"x": (FLOAT, ["N", 30]), "m": (BOOL, ["N", 30])}, "'x': normalised features (30); 'm': ones (30)",
    ),
    "a mask that divides": (
        [node("Not", ["m"], ["n"]), node("Cast", ["n"], ["f"], to=FLOAT), node("Neg", ["f"], ["g"]),
         node("Div", ["one", "g"], ["d"]), node("Add", ["x", "d"], ["a"]), node("Neg", ["d"], ["e"]),
         node("Add", ["a", "e"], ["y"])],
        {"x": (FLOAT, ["N", 30]), "m": (BOOL, ["N", 30])}, "'x': normalised features (30); 'm': zeros (30)",
    ),
    "what an encoder gives, beside its mask": (
        [node("Cast", ["m"], ["f"], to=FLOAT), node("Unsqueeze", ["f", "end"], ["u"]),
         node("MatMul", ["u", "memory"], ["a"]), node("MatMul", ["x", "v"], ["h"]),
         node("Unsqueeze", ["h", "end"], ["g"]), node("Add", ["a", "g"], ["y"])],
        {"x": (FLOAT, ["N", 8]), "memory": (FLOAT, ["N", "S", 4]), "m": (BOOL, ["N", "S"])},
        "'x': normalised features (8); 'memory': spectra (64, 4); 'm': ones (64)",
    ),
    "features that a matrix takes": (
        [node("MatMul", ["x", "v"], ["y"])], {"x": (FLOAT, ["T", "F"])}, "'x': normalised features (8)",
    ),
    "several steps of one sample": (
        [node("MatMul", ["x", "v"], ["h"]), node("Unsqueeze", ["h", "begin"], ["u"]),
         node("Unsqueeze", ["u", "begin"], ["w"]), node("MaxPool", ["w"], ["y"], kernel_shape=[5, 1])],
        {"x": (FLOAT, ["T", "F"])}, "'x': normalised features (64, 8)",
    ),
    "two channels of sound": (
        [node("Unsqueeze", ["x", "end"], ["u"]), node("MaxPool", ["u"], ["y"], kernel_shape=[200])],
        {"x": (FLOAT, [2, "T"])}, "'x': spectra (576)",
    ),
    "images behind a root": (
        [node("Sqrt", ["x"], ["y"])], {"x": (FLOAT, ["N", 3, 8, 8])}, "'x': images (3, 8, 8), 0 … 1",
    ),
}  # fmt: skip


def made(nodes: Sequence[NodeProto], inputs: Mapping[str, tuple[int, Shape]]) -> Model:
    """A model of these nodes, that gives `y`."""
    used = {name for one in nodes for name in one.input}
    graph = helper.make_graph(
        list(nodes),
        "unusual",
        [helper.make_tensor_value_info(name, kind, list(shape)) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info("y", FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in CONSTANTS.items() if name in used],
    )
    return Model.from_proto(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    )


@pytest.mark.parametrize("case", CASES)
def test_what_is_fed_runs_and_is_told(case: str) -> None:
    nodes, inputs, told = CASES[case]
    model = made(nodes, inputs)
    found, again = synthetic_inputs(model, threads=1), synthetic_inputs(model, threads=1)
    assert found.description == told
    for name, (kind, _) in inputs.items():
        column = [np.asarray(row) for row in found.samples.columns[name]]
        assert column[0].dtype == {FLOAT: np.float32, INT64: np.int64, BOOL: np.bool_}[kind]
        for one, other in zip(column, again.samples.columns[name], strict=True):
            np.testing.assert_array_equal(one, other)


def test_ids_given_as_real_numbers_are_whole() -> None:
    nodes, inputs, _ = CASES["ids as real numbers"]
    ids = np.asarray(synthetic_inputs(made(nodes, inputs), threads=1).samples.columns["i"])
    np.testing.assert_array_equal(ids, np.floor(ids))
    assert ids.min() >= 0
    assert 500 < ids.max() < 1000


def test_what_usual_inputs_run_on_stays() -> None:
    """A table of many rows bounds no ids that were followed to it in parts: those of today fit it."""
    nodes = [node("Gather", ["i", "second"], ["u"], axis=1), node("Gather", ["large", "u"], ["y"])]
    found = synthetic_inputs(made(nodes, {"i": (INT64, [1, 2, "T"])}), threads=1)
    assert found.description == "'i': ids below 256 (2, 64)"


def test_others_are_tried_where_samples_are_not_accepted() -> None:
    seen: list[Samples] = []

    def accept(samples: Samples) -> bool:
        seen.append(samples)
        return len(seen) == 2

    model = made([node("Exp", ["x"], ["y"])], {"x": (FLOAT, ["N", 30])})
    found = synthetic_inputs(model, threads=1, accept=accept)
    assert found.samples is seen[1]
    assert found.description == "'x': numbers from 0 to 1 (30)"
    with pytest.raises(UsageError, match="not finite"):
        synthetic_inputs(model, threads=1, accept=lambda samples: False)


NEVER: dict[str, Case] = {
    "a logarithm of ones less than none": (
        [node("Neg", ["x"], ["n"]), node("Exp", ["n"], ["e"]), node("Neg", ["e"], ["m"]), node("Log", ["m"], ["y"])],
        {"x": (FLOAT, ["N", 30])}, "its outputs are not finite numbers",
    ),
    "a table without any row that fits": (
        [node("Add", ["i", "rows"], ["u"]), node("Neg", ["u"], ["n"]), node("Sub", ["n", "three"], ["m"]),
         node("Gather", ["table", "m"], ["y"])],
        {"i": (INT64, ["N", 8])}, "out of data bounds",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", NEVER)
def test_a_model_that_no_inputs_fit_is_refused_with_the_first_reason(case: str) -> None:
    nodes, inputs, told = NEVER[case]
    with pytest.raises(UsageError, match=f"runs on no synthetic inputs that were tried: .*{told}"):
        synthetic_inputs(made(nodes, inputs), threads=1)


def test_nan_beside_minus_infinity_is_not_finite() -> None:
    """Scores of what is left out are −∞, which is no reason to take NaN beside them."""
    nodes = [
        node("Log", ["x"], ["l"]),
        node("Log", ["zero"], ["low"]),
        node("Concat", ["l", "low"], ["y"], axis=0),
    ]
    assert "from 0 to 1" in synthetic_inputs(made(nodes, {"x": (FLOAT, ["N", 30])}), threads=1).description
