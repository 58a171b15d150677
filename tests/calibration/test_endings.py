"""One network with its logits, probabilities or their logarithms as outputs: the same files, the same losses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, load, numpy_helper
from scipy.special import log_softmax

from enxuto.calibration.answers import kind_of_scores
from enxuto.calibration.cache import cached_calibration
from enxuto.calibration.calibrate import calibrate
from enxuto.calibration.calibration import Calibration
from enxuto.compression.at_price import compress_at
from enxuto.compression.calibrated import compress_within
from enxuto.compression.judge import Bounds, Judge, Judgement
from enxuto.compression.split import ImageSplit, load_images, split_images
from enxuto.data import Dataset, Preprocess, open_dataset
from enxuto.demo import MODEL, TEST_IMAGES
from enxuto.enx.file import CompressedModel
from enxuto.errors import DataError
from enxuto.evaluation import evaluate
from enxuto.onnx_model import Model
from enxuto.runtime import Runner

GREY = Preprocess(channels="L")
PRICE = 3e-6


def ended(*operators: str, quantized: bool = False) -> Model:
    """The packaged network with operators after its last."""
    proto = load(MODEL)
    name = proto.graph.output[0].name
    for number, operator in enumerate(operators):
        about = {"axis": 1} if "Softmax" in operator else {}
        proto.graph.node.append(helper.make_node(operator, [name], [f"end {number}"], **about))
        name = f"end {number}"
    if quantized:
        proto.graph.initializer.append(numpy_helper.from_array(np.float32(1 / 256), "scale"))
        proto.graph.initializer.append(numpy_helper.from_array(np.uint8(0), "zero"))
        proto.graph.node.append(helper.make_node("QuantizeLinear", [name, "scale", "zero"], ["whole"]))
        proto.graph.node.append(helper.make_node("DequantizeLinear", ["whole", "scale", "zero"], ["parts"]))
        name = "parts"
    proto.graph.output[0].CopyFrom(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 10]))
    return Model.from_proto(proto)


FORMS: dict[str, Callable[[], Model]] = {
    "logits": ended,
    "Softmax": lambda: ended("Softmax"),
    "LogSoftmax": lambda: ended("LogSoftmax"),
}


@pytest.fixture(scope="module", autouse=True)
def fast() -> Iterator[None]:
    """Few paths and few trials: what is looked at does not depend on them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("enxuto.calibration.layer_rounding._MOST_PATHS", 2)
        patch.setattr("enxuto.calibration.layer_rounding._FEWEST_PATHS", 1)
        patch.setattr("enxuto.compression.search._TRIALS", 4)
        yield


@pytest.fixture(scope="module")
def parts() -> ImageSplit:
    return split_images(open_dataset(TEST_IMAGES), None, Bounds(max_kl=0.01), 48, 0)


@pytest.fixture(scope="module")
def plain(parts: ImageSplit) -> Calibration:
    return calibrated(ended(), parts)


def calibrated(model: Model, parts: ImageSplit) -> Calibration:
    assert parts.calibration is not None
    return calibrate(model, load_images(parts.calibration, GREY), threads=1)


def payloads(model: CompressedModel) -> list[bytes]:
    return [bytes(part.data) for part in model.payloads]


def judged(model: Model, small: CompressedModel, data: Dataset) -> Judgement:
    return Judge(model, data, GREY, threads=1)(small)


@pytest.mark.parametrize("form", FORMS)
def test_the_same_levels_and_losses_whatever_the_network_ends_in(
    form: str, parts: ImageSplit, plain: Calibration
) -> None:
    """Files have the same payloads, and keep the whole graph; the loss is what `evaluate` and SciPy make of it."""
    model = FORMS[form]()
    calibration = calibrated(model, parts)
    assert calibration.reason is None  # gradients are known: a softmax does not hide them
    small, other = compress_at(calibration, PRICE).model, compress_at(plain, PRICE).model
    assert payloads(small) == payloads(other)
    restored = small.to_model()
    assert [node.op_type for node in restored.proto.graph.node] == [
        node.op_type for node in calibration.model.proto.graph.node
    ]
    assert restored.proto.graph.output[0].name == model.proto.graph.output[0].name
    assert parts.judging is not None
    found = judged(model, small, parts.judging)
    x = load_images(parts.judging, GREY)
    # The network's logits, by ONNX Runtime and the network as it was and as it is in the other file.
    p, q = (
        log_softmax(
            onnxruntime.InferenceSession(one.to_bytes()).run(None, {"image": x})[0].astype(float), axis=1
        )
        for one in (ended(), other.to_model())
    )
    assert found.kl == pytest.approx((np.exp(p) * (p - q)).sum(1).mean(), rel=1e-4, abs=1e-7)
    kind = kind_of_scores(model, Runner(model).scores(x))
    evaluation = evaluate(
        Runner(restored).scores, parts.judging, preprocess=GREY, reference=Runner(model).scores, scores_are=kind,
        reference_are=kind,
    )  # fmt: skip
    assert evaluation.kl == pytest.approx(found.kl, rel=1e-9, abs=1e-12)
    assert 100 * evaluation.agreement == found.agreement
    assert (evaluation.reference_top1, evaluation.top1) == pytest.approx(
        (found.original_top1 / 100, found.top1 / 100)
    )
    assert evaluation.lost_interval == pytest.approx([end / 100 for end in found.drop_interval])
    # Without a graph, too: all values together tell probabilities from logits.
    blind = evaluate(Runner(restored).scores, parts.judging, preprocess=GREY, reference=Runner(model).scores)
    assert blind.kl == pytest.approx(found.kl, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("form", ["LogSoftmax"])
def test_a_kept_calibration_knows_what_the_scores_are(form: str, parts: ImageSplit, tmp_path: Path) -> None:
    model = FORMS[form]()
    made = calibrated(model, parts)
    again = [
        cached_calibration(model, made.images, lambda: made, source="", seed=0, threads=1, folder=tmp_path)
        for _ in range(2)
    ]
    assert again[0] is made
    assert again[1] is not made
    assert again[1].answers == made.answers
    assert again[1].answers.before is not None
    found = [payloads(compress_at(one, PRICE).model) for one in again]
    assert found[0] == found[1]


def test_the_search_finds_the_same_file(parts: ImageSplit, tmp_path: Path) -> None:
    """`max_kl` means the divergence of the answers, with and without a softmax at the end."""
    found = [
        compress_within(FORMS[form](), Bounds(max_kl=0.01), parts, GREY, threads=1, cache=tmp_path / form)
        for form in ("logits", "Softmax")
    ]
    for one in found[1:]:
        assert payloads(one.outcome.model) == payloads(found[0].outcome.model)
        assert [trial.fits for trial in one.search.trials] == [trial.fits for trial in found[0].search.trials]
        assert one.held_out is not None
        assert found[0].held_out is not None
        assert one.held_out.kl == pytest.approx(found[0].held_out.kl, rel=1e-3)


def test_quantized_probabilities_are_probabilities() -> None:
    """What quantizers of ONNX Runtime write: rows in steps of 1/256 add up to 0.996 to 1.004. Oracle: NumPy."""
    data = open_dataset(TEST_IMAGES)
    model, small = ended("Softmax"), ended("Softmax", quantized=True)
    x = load_images(data, GREY)
    p, q = (np.asarray(Runner(one).scores(x), float) for one in (model, small))
    assert np.abs(q.sum(1) - 1).max() > 1e-3
    p, q = (np.maximum(one / one.sum(1, keepdims=True), 2.0**-126) for one in (p, q))
    expected = (p * np.log(p / q)).sum(1).mean()
    assert 0.03 < expected < 0.04
    for kind in ("auto", "probabilities"):
        for batch in (1, 64, 360):
            found = evaluate(
                Runner(small).scores, data, preprocess=GREY, reference=Runner(model).scores, scores_are=kind,
                reference_are=kind, batch_size=batch,
            )  # fmt: skip
            assert found.kl == pytest.approx(expected, rel=1e-6)
            assert (found.scores_are, found.reference_are) == ("probabilities", "probabilities")
    assert kind_of_scores(small, Runner(small).scores(x)) == "probabilities"


class Broken:
    """A compressed model whose network is another one."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def to_model(self) -> Model:
        return self._model


def test_nan_keeps_no_bound() -> None:
    """Scores that are no numbers are wrong, agree with none, and diverge by what is no number."""
    data = open_dataset(TEST_IMAGES, limit=40)
    judge = Judge(ended(), data, GREY, threads=1)
    nan = ended().replace_weights(
        {name: np.full(ended().info(name).shape, np.nan, np.float32) for name in ended().weight_names[:1]}
    )
    found = judge(Broken(nan))  # type: ignore[arg-type]
    assert np.isnan(Runner(nan).scores(load_images(data, GREY))).all()
    assert (found.top1, found.agreement) == (0.0, 0.0)
    assert np.isnan(found.kl)
    assert found.to_dict()["kl"] is None
    for bounds in (Bounds(max_kl=1e9), Bounds(max_drop=90), Bounds(min_agreement=1e-9)):
        assert bounds.violation(found) is not None
    for lost, same, kl in ((np.nan, 100.0, 0.0), (0.0, np.nan, 0.0), (0.0, 100.0, np.nan)):
        one = Judgement(40, 90.0, lost, (0.0, 1.0), same, (0.0, 100.0), kl, "")
        assert Bounds(max_drop=1, min_agreement=1, max_kl=1).violation(one) is not None
    with pytest.raises(DataError, match="the original gives NaN"):
        Judge(nan, data, GREY, threads=1)


def shifted(data: Dataset, by: int) -> Dataset:
    """The same images under the next classes' labels."""
    other = Dataset.__new__(Dataset)
    vars(other).update(vars(data))
    vars(other)["labels"] = (np.asarray(data.labels) + by) % 10
    return other


def test_labels_of_another_order_stop_a_search_by_top1(parts: ImageSplit, tmp_path: Path) -> None:
    assert parts.judging is not None
    wrong = ImageSplit(parts.calibration, shifted(parts.judging, 1), None)
    with pytest.raises(DataError, match="no better than chance") as caught:
        compress_within(ended(), Bounds(max_drop=0.5), wrong, GREY, threads=1, cache=tmp_path)
    assert "labels" in str(caught.value)
    assert not list(tmp_path.iterdir())  # nothing was measured for it
