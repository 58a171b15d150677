"""Synthetic inputs: which kind fits which input, by names, types and shapes; that models run on them; refusals."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper

from enxuto.calibration.synthetic_inputs import synthetic_inputs
from enxuto.compression.arguments import named_samples
from enxuto.data import Preprocess
from enxuto.errors import UsageError
from enxuto.onnx_model import Model

FLOAT, INT64, BOOL, UINT8 = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL, TensorProto.UINT8


def summing(*inputs: tuple[str, int, list[int | str]]) -> Model:
    """A model that gives the sums of its inputs, each cast to floats."""
    nodes, outputs = [], []
    for number, (name, _, shape) in enumerate(inputs):
        axes = list(range(1, len(shape)))
        nodes.append(helper.make_node("Cast", [name], [f"f{number}"], to=FLOAT))
        kind = {"axes": axes, "keepdims": 0} if axes else {}
        nodes.append(
            helper.make_node("ReduceMean" if axes else "Identity", [f"f{number}"], [f"y{number}"], **kind)
        )
        outputs.append(helper.make_tensor_value_info(f"y{number}", FLOAT, ["N"] if shape else []))
    values = [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in inputs]
    graph = helper.make_graph(nodes, "sums", values, outputs)
    return Model.from_bytes(
        helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8
        ).SerializeToString()
    )


def gathering(rows: int) -> Model:
    """A model that gives rows of a table by the ids it is fed."""
    table = helper.make_tensor("table", FLOAT, [rows, 2], np.arange(2.0 * rows))
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "words"], ["y"])],
        "table",
        [helper.make_tensor_value_info("words", INT64, ["N", "T"])],
        [helper.make_tensor_value_info("y", FLOAT, ["N", "T", 2])],
        [table],
    )
    proto: ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return Model.from_bytes(proto.SerializeToString())


CASES = {
    "channels first": (("x", FLOAT, ["N", 3, 16, 16]), "images (3, 16, 16), −1 … 1", -1, 1),
    "channels last": (("x", FLOAT, [1, 12, 8, 1]), "images (1, 12, 8), −1 … 1", -1, 1),
    "free sizes": (("x", FLOAT, ["N", 3, "h", "w"]), "images (3, 128, 128), −1 … 1", -1, 1),
    "pixels": (("x", UINT8, ["N", 8, 8, 3]), "images (3, 8, 8), 0 … 255", 0, 255),
    "sound": (("x", FLOAT, ["N", 4000]), "sound (4000)", -3, 3),
    "sound, one channel": (("x", FLOAT, ["N", 1, 800]), "sound (1, 800)", -3, 3),
    "sound by name": (("audio", FLOAT, ["N", 100]), "sound (100)", -3, 3),
    "spectra": (("x", FLOAT, ["N", 20, 40]), "spectra (20, 40)", -9, 9),
    "spectra like images": (("mel_spectrogram", FLOAT, ["N", 1, 20, 40]), "spectra (1, 20, 40)", -9, 9),
    "features": (("x", FLOAT, ["N", 30]), "normalised features (30)", -9, 9),
    "mask": (("attention_mask", INT64, ["N", 6]), "ones (6)", 1, 1),
    "truth values": (("keep", BOOL, ["N", 6]), "ones (6)", 1, 1),
    "segments": (("token_type_ids", INT64, ["N", 6]), "zeros (6)", 0, 0),
    "positions": (("position_ids", INT64, ["N", 6]), "positions (6)", 0, 5),
    "bytes": (("x", INT64, ["N", 50]), "ids below 256 (50)", 0, 255),
}


@pytest.mark.parametrize("case", CASES)
def test_what_an_input_gets_follows_from_its_name_type_and_shape(case: str) -> None:
    item, told, least, most = CASES[case]
    # Some models give the same for all samples of ones: an input of features beside it varies.
    found = synthetic_inputs(summing(item, ("extra", FLOAT, ["N", 2])))
    column = np.stack([np.asarray(row, np.float64) for row in found.samples.columns[item[0]]])
    assert found.description.startswith(f"{item[0]!r}: {told}")
    assert column.min() >= least
    assert column.max() <= most
    assert len(found.samples) in (4, 8, 16)


def test_ids_stay_below_the_rows_of_their_table_and_some_are_frequent() -> None:
    found = synthetic_inputs(gathering(1000))
    ids = np.asarray(found.samples.columns["words"])
    assert ids.dtype == np.int64
    assert ids.min() >= 0
    assert 500 < ids.max() < 1000
    assert np.bincount(ids[0]).max() > 4  # uniform ids would hardly occur twice


def test_inputs_are_the_same_each_time_and_differ_from_sample_to_sample() -> None:
    model = summing(("x", FLOAT, ["N", 3, 8, 8]))
    one, other = (np.asarray(synthetic_inputs(model).samples.columns["x"]) for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert np.ptp(one, axis=0).max() > 0.1


def test_preprocessing_that_is_known_makes_the_input() -> None:
    preprocess = Preprocess(divide_by=1.0, mean=(100.0,), std=(2.0,), channels="L")
    found = synthetic_inputs(summing(("x", FLOAT, ["N", 1, 8, 8])), preprocess)
    column = np.asarray(found.samples.columns["x"])
    assert found.description == "'x': images (1, 8, 8), preprocessed"
    assert -50 <= column.min() < column.max() <= 77.5
    assert np.ptp(column) > 10


def test_images_are_wide_where_outputs_hardly_differ_between_narrow_ones() -> None:
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Add", ["m", "offset"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "offset",
        [helper.make_tensor_value_info("x", FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("y", FLOAT, ["N"])],
        [helper.make_tensor("offset", FLOAT, [1], [30.0])],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    assert "−127.5 … 127.5" in synthetic_inputs(Model.from_bytes(made.SerializeToString())).description


def test_a_model_that_runs_on_nothing_is_refused_with_the_reason() -> None:
    graph = helper.make_graph(
        [helper.make_node("Reshape", ["x", "shape"], ["y"])],
        "no shape fits",
        [helper.make_tensor_value_info("x", FLOAT, ["N", "T"])],
        [helper.make_tensor_value_info("y", FLOAT, None)],
        [helper.make_tensor("shape", INT64, [2], [7, 11])],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    with pytest.raises(UsageError, match="runs on no synthetic inputs"):
        synthetic_inputs(Model.from_bytes(made.SerializeToString()))


def stateful(kind: str) -> Model:
    """A recurrent model whose state is told by its use, or one whose state grows with every step."""
    node, value = helper.make_node, helper.make_tensor_value_info
    random = np.random.default_rng(6)
    if kind == "initial state of a GRU":
        held = {"w": (1, 24, 5), "r": (1, 24, 8)}
        nodes = [node("Unsqueeze", ["x", "axis"], ["step"]),
                 node("GRU", ["step", "w", "r", "", "", "begin"], ["all", "end"], hidden_size=8)]  # fmt: skip
        inputs = [value("x", FLOAT, ["n", 5]), value("begin", FLOAT, [1, "n", 8])]
        outputs = [value("end", FLOAT, [1, "n", 8])]
    else:
        held = {"table": (40, 8), "out": (8, 40)}
        nodes = [
            node("Gather", ["table", "input_ids"], ["e"]),
            node("Concat", ["past_key_values.0.key", "e"], ["present.0.key"], axis=1),
            node("ReduceMean", ["present.0.key"], ["m"], axes=[1], keepdims=1),
            node("MatMul", ["m", "out"], ["logits"]),
        ]
        inputs = [
            value("input_ids", INT64, ["n", "t"]),
            value("past_key_values.0.key", FLOAT, ["n", "past", 8]),
        ]
        outputs = [value("logits", FLOAT, ["n", 1, 40]), value("present.0.key", FLOAT, ["n", "all", 8])]
    tensors = [
        helper.make_tensor(name, FLOAT, shape, random.standard_normal(shape).ravel())
        for name, shape in held.items()
    ]
    tensors.append(helper.make_tensor("axis", INT64, [1], [0]))
    graph = helper.make_graph(nodes, "g", inputs, outputs, tensors)
    proto: ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return Model.from_bytes(proto.SerializeToString())


@pytest.mark.parametrize(
    ("kind", "name", "shape"),
    [
        ("initial state of a GRU", "begin", (1, 1, 8)),
        ("past keys", "past_key_values.0.key", (1, 0, 8)),
    ],
)
def test_states_are_those_that_data_may_leave_out(kind: str, name: str, shape: tuple[int, ...]) -> None:
    """They begin as zeros of the size that the state has then, and a file can be made by such inputs and by data."""
    model = stateful(kind)
    found = synthetic_inputs(model)
    assert found.samples.sample(0)[name].shape == shape
    assert f"{name!r}: states" in found.description
    other = next(item.name for item in model.proto.graph.input if item.name != name)
    rows = np.concatenate([found.samples.sample(index)[other] for index in range(8)])
    axis = 1 if shape[1] else 0  # of the batch, in the state
    begun = np.zeros((8, *shape), np.float32) if axis else np.zeros((8, *shape[1:]), np.float32)
    for data in ({other: rows}, {other: rows, name: begun}):
        fitted = named_samples(data, model)
        assert fitted is not None
        assert fitted.sample(1)[name].shape == shape
