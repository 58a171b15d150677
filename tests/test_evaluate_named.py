"""`enxuto.evaluate` on named arrays: dicts, dicts of samples and files judge alike; what does not fit is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import enxuto
from enxuto.compression.judge import Judgement
from enxuto.errors import EnxutoError
from enxuto.onnx_model import Model

RNG = np.random.default_rng(3)
X = RNG.standard_normal((24, 6)).astype(np.float32)
WEIGHT = RNG.standard_normal((6, 4)).astype(np.float32)


def network(weight: np.ndarray, ending: str = "Softmax") -> Model:
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["v", "w"], ["s"]), helper.make_node(ending, ["s"], ["y"])],
        "g",
        [helper.make_tensor_value_info("v", TensorProto.FLOAT, ["n", 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(weight, "w")],
    )
    return Model.from_proto(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    )


ORIGINAL, OTHER = network(WEIGHT), network(WEIGHT + np.float32(0.3) * RNG.standard_normal((6, 4), np.float32))
SAME = 100 * float(np.mean((X @ WEIGHT).argmax(1) == (X @ OTHER.load("w")).argmax(1)))

FORMS: dict[str, Callable[[Path], Any]] = {
    "a dict": lambda folder: {"v": X},
    "dicts of samples": lambda folder: [{"v": row} for row in X],
    "an iterator": lambda folder: ({"v": row} for row in X),
    "a file": lambda folder: np.savez(folder / "a.npz", v=X) or folder / "a.npz",  # type: ignore[func-returns-value]
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_judgement(form: str, tmp_path: Path) -> None:
    found: Any = enxuto.evaluate(OTHER, FORMS[form](tmp_path), reference=ORIGINAL, threads=1)
    assert isinstance(found, Judgement)
    assert found.samples == len(X)
    assert found.agreement == pytest.approx(SAME)
    assert found.kl > 0


def test_outputs_may_be_judged_as_values() -> None:
    found = enxuto.evaluate(OTHER, {"v": X}, reference=ORIGINAL, outputs={"y": "values"}, threads=1)
    assert found.agreement is None
    assert found.snr_db is not None


def test_labels_alone_tell_top1_and_nothing_else() -> None:
    labels = (X @ WEIGHT).argmax(1)
    labels[:6] = (labels[:6] + 1) % 4
    found = enxuto.evaluate(ORIGINAL, {"v": X, "labels": labels}, threads=1)
    assert found.top1 == 75
    assert repr(found) == f"<Judgement: {len(X)} samples, top-1 75.00 %>"
    assert (found.agreement, found.drop, found.original_top1, found.outputs) == (None, None, None, ())
    both = enxuto.evaluate(OTHER, {"v": X, "labels": labels}, reference=ORIGINAL, threads=1)
    assert both.original_top1 == 75
    assert f"top-1 {both.top1:.2f} of 75.00 %, {SAME:.2f} % same answers, KL " in repr(both)
    assert both.agreement == pytest.approx(SAME)


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "no reference": (lambda: enxuto.evaluate(ORIGINAL, {"v": X}), "no labels: give reference="),
    "a function": (lambda: enxuto.evaluate(lambda batch: batch, {"v": X}), "give predict="),
    "a function as reference": (
        lambda: enxuto.evaluate(ORIGINAL, {"v": X}, reference=lambda batch: batch),
        "give reference= as a path or a model",
    ),
    "another name": (lambda: enxuto.evaluate(OTHER, {"z": X}, reference=ORIGINAL), "'v'"),
    "preprocessing": (
        lambda: enxuto.evaluate(OTHER, {"v": X}, reference=ORIGINAL, preprocess="imagenet"),  # type: ignore[call-overload]
        "fed as they are",
    ),
    "outputs of images": (
        lambda: enxuto.evaluate(
            ORIGINAL, (np.zeros((4, 6), np.float32), np.zeros(4, int)), outputs={"y": "values"}
        ),
        "outputs= is of named arrays",
    ),
    "labels of values": (
        lambda: enxuto.evaluate(network(WEIGHT, "Tanh"), {"v": X, "labels": np.zeros(24, int)}),
        "no output that is a single list of classes",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_said(case: str) -> None:
    call, message = REFUSED[case]
    with pytest.raises(EnxutoError, match=message):
        call()
