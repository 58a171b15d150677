"""Detectors whose outputs are picked by values: what they are picked from is judged, calibrated and promised."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import enxuto
from enxuto.calibration.output_kinds import before_picking
from enxuto.compression.judge import Bounds, Judgement
from enxuto.compression.output_result import OutputResult
from enxuto.compression.response import find_response
from enxuto.onnx_model import Model

PICKERS = ("NonMaxSuppression", "Compress")


def _node(op: str, inputs: str, outputs: str, **attributes: object) -> object:
    return helper.make_node(op, inputs.split(), outputs.split(), **attributes)


def _detector(picker: str, made_by: str = "Abs") -> Model:
    """A convolution gives 16 places a box and a score each; the outputs are what is picked of them."""
    numbers = np.random.default_rng(0)
    nodes = [
        _node("Conv", "image kernel", "map", strides=[4, 4]),
        _node("Reshape", "map rows", "flat"),
        _node("Split", "flat parts", "corners raw", axis=1),
        _node(made_by, "corners", "boxes"),
        _node("Sigmoid", "raw", "scores"),
    ]
    if picker == "NonMaxSuppression":
        nodes += [
            _node("Transpose", "boxes", "by_place", perm=[0, 2, 1]),
            _node("NonMaxSuppression", "by_place scores most overlap least", "picked"),
        ]
        outputs = [("picked", TensorProto.INT64)]
    else:
        nodes += [
            _node("Greater", "scores half", "sure"),
            _node("Reshape", "sure line", "which"),
            _node("Compress", "boxes which", "picked", axis=2),
        ]
        outputs = [("picked", TensorProto.FLOAT)]
    held = {
        "kernel": numbers.laplace(0, 0.2, (5, 3, 4, 4)).astype(np.float32),
        "rows": np.array([1, 5, 16]),
        "parts": np.array([4, 1]),
        "most": np.array([4]),
        "overlap": np.array([0.5], np.float32),
        "least": np.array([0.3], np.float32),
        "half": np.array(0.5, np.float32),
        "line": np.array([-1]),
    }
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 16, 16])],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs],
        [numpy_helper.from_array(array, name) for name, array in held.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return Model.from_proto(proto)


def _images(count: int = 40) -> np.ndarray:
    return np.random.default_rng(1).normal(0, 1, (count, 3, 16, 16)).astype(np.float32)


def _values(model: Model, images: np.ndarray) -> np.ndarray:
    """The boxes of all places, by ONNX Runtime."""
    proto = model.to_proto()
    proto.graph.output.add(name="boxes")
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(["boxes"], {"image": image[None]})[0] for image in images])


@pytest.mark.parametrize("picker", PICKERS)
def test_what_outputs_are_picked_from_is_judged(picker: str) -> None:
    model, images = _detector(picker), _images()
    assert set(before_picking(model)) == {"boxes", "scores"}
    result = enxuto.compress(model, calibration={"image": images}, target_size=1500)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = enxuto.evaluate(result, {"image": images}, reference=model)
    assert any("they are picked from are judged: 'boxes', 'scores'" in str(one.message) for one in said)
    assert {one.name: one.kind for one in found.outputs} == {"boxes": "values", "scores": "binary"}
    before, after = (_values(one, images).astype(float) for one in (model, result.model))
    error = np.mean((after - before) ** 2) / np.mean((before - before.mean(axis=0)) ** 2)
    boxes = next(one for one in found.outputs if one.name == "boxes")
    assert boxes.loss == pytest.approx(
        error, rel=0.2
    )  # in units of a variance taken from some of the samples
    assert error < 0.01


def test_boxes_that_a_sigmoid_makes_are_values() -> None:
    """What a NonMaxSuppression takes as boxes is bounded by an SNR, though each of them lies between 0 and 1."""
    model = _detector("NonMaxSuppression", "Sigmoid")
    found = enxuto.compress(model, data={"image": _images()}, min_snr=20, threads=1)
    assert found.calibrated is not None
    kinds = {loss.name: loss.kind for loss in found.calibrated.calibration.judged_outputs.losses}
    assert kinds == {"boxes": "values", "scores": "binary"}


def test_the_default_keeps_its_promise_before_the_picking() -> None:
    result = enxuto.compress(_detector("NonMaxSuppression"))
    assert result.steps is not None
    assert result.steps.fits
    before, after = (_values(one, _images()) for one in (_detector("NonMaxSuppression"), result.model))
    assert np.mean((after - before) ** 2) < 3e-4 * before.var()


@pytest.mark.parametrize(("rounds", "runs"), [(4, True), (1 << 40, False)])
def test_a_loop_of_few_rounds_is_tried(rounds: int, runs: bool) -> None:
    state = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 8]) for name in ("before", "after")]
    flags = [helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("go", "on")]
    body = helper.make_graph(
        [
            _node("MatMul", "before inner", "product"),
            _node("Tanh", "product", "after"),
            _node("Identity", "go", "on"),
        ],
        "body",
        [helper.make_tensor_value_info("round", TensorProto.INT64, []), flags[0], state[0]],
        [flags[1], state[1]],
    )
    inner = np.random.default_rng(0).normal(0, 0.4, (8, 8)).astype(np.float32)
    graph = helper.make_graph(
        [_node("Loop", "rounds yes x", "y", body=body)],
        "loop",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 8])],
        [numpy_helper.from_array(np.asarray(array), name)
         for name, array in (("rounds", np.int64(rounds)), ("yes", np.bool_(True)), ("inner", inner))],
    )  # fmt: skip
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    response, reason = find_response(Model.from_proto(proto), {})
    assert (response is not None) is runs
    assert runs or "Loop" in reason


@pytest.mark.parametrize(
    ("bounds", "said"),
    [
        ({"max_kl": 0.1}, "the values of 'boxes': they keep 10.0 dB; min_snr="),
        ({"max_kl": 0.1, "min_snr": 5.0}, None),
        ({"min_snr": 5.0}, "of which 80.0 % stay"),
        ({"max_bytes": 1000}, None),
        ({"max_judge_drop": 1.0}, None),
    ],
)
def test_outputs_that_no_bound_is_of_are_named(bounds: dict[str, float], said: str | None) -> None:
    judged = Judgement(
        samples=10, top1=None, drop=None, drop_interval=None, agreement=80.0, agreement_interval=None, kl=0.01,
        data_hash="", values_loss=0.1,
        outputs=(OutputResult("boxes", "values", 0.1), OutputResult("names", "classes", 0.01)),
    )  # fmt: skip
    found = Bounds(**bounds).unbounded(judged)  # type: ignore[arg-type]
    assert (said is None and found is None) or (said is not None and said in str(found))


@pytest.mark.parametrize(
    ("bounds", "agreement", "said"),
    [
        (
            {"max_kl": 0.1},
            40.0,
            "(KL 0.01 nats), and yet 60.0 % of the answers changed; min_agreement= bounds them",
        ),
        ({"max_drop": 1.0}, 89.9, "(+0.50 points lost), and yet 10.1 % of the answers changed"),
        ({"max_kl": 0.1}, 90.0, None),
        ({"max_kl": 0.1, "min_agreement": 30.0}, 40.0, None),
        ({"max_bytes": 1000}, 40.0, None),
        ({"max_kl": 0.1}, None, None),
    ],
)
def test_answers_that_change_though_the_bound_holds_are_named(
    bounds: dict[str, float], agreement: float | None, said: str | None
) -> None:
    """Of a model whose answers are close calls, a small divergence changes most."""
    judged = Judgement(
        samples=10, top1=70.0, drop=0.5, drop_interval=None, agreement=agreement, agreement_interval=None, kl=0.01,
        data_hash="", original_top1=70.5,
    )  # fmt: skip
    found = Bounds(**bounds).changed_answers(judged)  # type: ignore[arg-type]
    assert (said is None and found is None) or (said is not None and said in str(found))


def test_a_model_of_nearly_flat_answers_says_how_many_changed(tmp_path: Path) -> None:
    proto = helper.make_model(
        helper.make_graph(
            [_node("MatMul", "x w", "logits")], "flat",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 10])],
            [numpy_helper.from_array(np.random.default_rng(0).normal(0, 0.01, (8, 10)).astype(np.float32), "w")],
        ), opset_imports=[helper.make_opsetid("", 17)], ir_version=9,
    )  # fmt: skip
    x = np.random.default_rng(1).standard_normal((60, 8)).astype(np.float32)
    with pytest.warns(
        UserWarning, match=r"the bound holds .* % of the answers changed; min_agreement= bounds"
    ):
        enxuto.compress(proto, data={"x": x}, max_kl=0.01, cache=tmp_path, threads=1)
