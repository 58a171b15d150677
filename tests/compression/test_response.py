"""Steps by a network's response to synthetic inputs: the promise, what follows from it, and where there is none."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

import enxuto
from enxuto.compression import data_free
from enxuto.compression.judge import Judgement
from enxuto.compression.response import Response, find_response, loss_of
from enxuto.demo import MODEL, TEST_IMAGES
from enxuto.enx.learned import parameters
from enxuto.onnx_model import Model
from enxuto.runtime import Runner
from response_networks import FLOAT, network, noise, normalised, steps_of, two_branches


def test_the_default_keeps_answers_and_measures_how() -> None:
    small = data_free.compress(Model.read(MODEL), steps="measured")
    with np.load(TEST_IMAGES) as archive:
        images = archive["images"].astype(np.float32).reshape(-1, 1, 8, 8)
    images /= 255  # as the model's own preprocessing says, which makes the synthetic images too
    before, after = (Runner(one).scores(images).argmax(1) for one in (Model.read(MODEL), small.to_model()))
    assert np.mean(before == after) >= 0.99
    assert small.metadata["steps"]["inputs"] == "'image': images (1, 8, 8), preprocessed"
    assert small.to_bytes() == data_free.compress(Model.read(MODEL), steps="measured", threads=1).to_bytes()


def test_a_layer_whose_errors_count_more_gets_finer_steps() -> None:
    small = data_free.compress(two_branches(30.0), steps="measured")
    balanced = data_free.compress(two_branches(30.0))
    measured, usual = steps_of(small), steps_of(balanced)
    assert measured["one"] / usual["one"] < 0.5 * measured["other"] / usual["other"]
    x = noise(3, 256, 16)
    reference = Runner(two_branches(30.0)).scores(x)
    errors = [np.square(Runner(made.to_model()).scores(x) - reference).mean() for made in (small, balanced)]
    assert 10 * math.log10(reference.var() / errors[0]) > 40


def test_equal_layers_keep_equal_steps() -> None:
    steps = steps_of(data_free.compress(two_branches(1.0), steps="measured"))
    assert steps["one"] == pytest.approx(steps["other"], rel=0.5)


def test_a_model_that_cannot_be_run_gets_balanced_steps_and_says_why() -> None:
    model = network({"w": noise(0, 16, 64)}, [("MatMul", ["x", "w"], "a"), ("NoSuch", ["a"], "y")], 64)
    small, balanced = data_free.compress(model, steps="measured"), data_free.compress(model)
    assert "ONNX Runtime cannot run this model" in small.metadata["steps"]["balanced"]
    assert steps_of(small) == steps_of(balanced)


def test_a_model_with_a_loop_is_not_run() -> None:
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Identity", ["in"], ["out"])],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("in", FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("out", FLOAT, None),
        ],
    )
    model = network({"w": noise(0, 16, 64)}, [("MatMul", ["x", "w"], "a"), ("Relu", ["a"], "y")], 64)
    model.proto.graph.node[1].CopyFrom(helper.make_node("Loop", ["", "", "a"], ["y"], body=body))
    assert find_response(model, {}) == (None, "it has a Loop, which may run without end")


def test_a_size_that_ruins_the_model_is_told_with_the_figure_and_the_way_out() -> None:
    model = two_branches(1.0, 256)
    with pytest.warns(UserWarning, match=r"may ruin .* KL .* nats; .*calibration= or data="):
        data_free.compress(model, bits=3, steps="measured")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data_free.compress(model, bits=16, steps="measured")


def test_normalisation_is_folded_and_biases_are_rounded_too() -> None:
    small = data_free.compress(normalised(), steps="measured")
    assert "BatchNormalization" not in {node.op_type for node in small.to_model().proto.graph.node}
    assert set(steps_of(small)) == {"first", "second", "bias"}
    assert enxuto.verify(small, normalised()).ok
    assert small.file_bytes < data_free.compress(normalised()).file_bytes
    assert small.metadata["parameters"] == 16 * 64 + 64 + 64 * 8 + 4 * 64


@pytest.mark.parametrize(
    "options",
    [{"keep_exact": ["bias"]}, {"fold_bn": False}, {"roles": ("kernel", "depthwise", "matrix", "norm")}],
)
def test_normalisation_stays_where_that_is_asked_for_or_needed(options: dict[str, object]) -> None:
    small = data_free.compress(normalised(), steps="measured", **options)  # type: ignore[arg-type]
    assert "BatchNormalization" in {node.op_type for node in small.to_model().proto.graph.node}
    assert enxuto.verify(small, normalised()).ok


def test_a_size_is_counted_by_the_values_of_the_model_that_is_given() -> None:
    model = normalised()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        small = data_free.compress(model, bits=6, steps="measured")
    assert 0.97 < 8 * small.file_bytes / (6 * small.metadata["parameters"]) <= 1


@pytest.mark.parametrize(
    ("kl", "agreement", "values_loss", "expected"),
    [
        (5e-4, 99.0, None, 1.0),
        (5e-4, 99.0, 1.6e-4, 2.0),
        (math.nan, None, 0.8e-4, 1.0),
        (math.nan, 50.0, None, math.inf),
    ],
)
def test_the_worst_of_answers_and_values_counts(
    kl: float, agreement: float | None, values_loss: float | None, expected: float
) -> None:
    judged = Judgement(8, None, None, None, agreement, None, kl, "", values_loss=values_loss)
    assert loss_of(judged) == pytest.approx(expected)


def test_few_scores_without_a_softmax_are_held_to_the_values_promise() -> None:
    few = network({"w": noise(0, 16, 3)}, [("MatMul", ["x", "w"], "y")], 3)
    many = network({"w": noise(0, 16, 12)}, [("MatMul", ["x", "w"], "y")], 12)
    assert Response(few).judge(few).values_loss == 0
    assert Response(many).judge(many).values_loss is None


@pytest.mark.parametrize(
    "options",
    [{"fold_bn": True}, {"bits": 6}, {"bits": 6, "fold_bn": True, "steps": "balanced"}, {"steps": "measured"},
     {"bits": 4, "data": True}, {"max_kl": 0.05, "data": True}],
    ids=str,
)  # fmt: skip
def test_bits_are_of_the_model_that_is_given_wherever_it_is_folded(options: dict[str, Any]) -> None:
    """What a size asked for was counted by, the ledger counts by too."""
    model = normalised()
    if "data" in options:
        options = {**options, "data": {"x": noise(7, 200, 16)}, "images": 32}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        small = enxuto.compress(model, **options)
    assert "BatchNormalization" not in {node.op_type for node in small.model.proto.graph.node}
    assert small.parameters == small.ledger.parameters == parameters(model)
