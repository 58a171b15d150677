"""evaluate: a model that reads its answer off the image, so that every figure is known beforehand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import enxuto
from enxuto.data import Dataset, Preprocess, open_dataset
from enxuto.demo import MODEL as DIGITS
from enxuto.demo import TEST_IMAGES
from enxuto.errors import DataError, ModelError, UsageError
from enxuto.evaluation import Evaluation, evaluate

RAW = Preprocess(divide_by=1, channels="L")
CLASSES = 4


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    """100 images of one pixel: its value is the label, but for images 0…9, where it is one more."""
    labels = np.arange(100) % CLASSES
    seen = np.where(np.arange(100) < 10, (labels + 1) % CLASSES, labels)
    np.savez(
        tmp_path / "d.npz",
        images=seen.astype(np.uint8).reshape(100, 1, 1),
        labels=labels,
        classes=list("abcd"),
    )
    return open_dataset(tmp_path / "d.npz", limit=100, seed=7)


def reads(batch: np.ndarray) -> np.ndarray:
    """Scores (N, 4): one for the class that the pixel names."""
    return np.eye(CLASSES, dtype=np.float32)[batch[:, 0, 0, 0].astype(int)]


def lowers(batch: np.ndarray) -> np.ndarray:
    """As `reads`, but always class 0 first."""
    return reads(batch) + np.array([2, 0, 0, 0], np.float32)


def test_known_figures(data: Dataset) -> None:
    result = evaluate(reads, data, preprocess=RAW, batch_size=7, top=(1, 2))
    assert result.top1 == result.metrics["accuracy"] == 0.9
    assert (result.samples, result.classes, result.seed) == (100, CLASSES, 7)
    assert result.data_hash == data.hash
    assert result.top1_interval == pytest.approx((0.8256, 0.9448), abs=5e-5)
    assert (result.agreement, result.kl) == (None, None)
    assert result.metrics["support"] == [25] * 4
    assert result.metrics["confusion"][1][0] == 3  # images 0, 4 and 8 of class 0 answered as 1


def test_batch_size_changes_nothing(data: Dataset) -> None:
    assert evaluate(reads, data, preprocess=RAW, batch_size=1) == evaluate(reads, data, preprocess=RAW)


def test_reference_on_the_same_batches(data: Dataset) -> None:
    same = evaluate(reads, data, preprocess=RAW, reference=reads)
    assert (same.agreement, same.kl) == (1.0, 0.0)
    other = evaluate(lowers, data, preprocess=RAW, reference=reads)
    answers_zero = sum(int(data.image(i)[0, 0, 0]) == 0 for i in range(100))
    assert other.agreement == answers_zero / 100
    assert other.kl is not None
    assert other.kl > 0.1


@pytest.mark.parametrize("axes", [(1, 1), (1,), ()])
def test_axes_of_length_one_are_dropped(data: Dataset, axes: tuple[int, ...]) -> None:
    plain = evaluate(reads, data, preprocess=RAW)
    assert evaluate(lambda b: reads(b).reshape(len(b), CLASSES, *axes), data, preprocess=RAW) == plain
    assert evaluate(lambda b: reads(b).reshape(len(b), *axes, CLASSES), data, preprocess=RAW) == plain


@pytest.mark.parametrize(
    "output",
    [
        lambda b: reads(b)[:-1],
        lambda b: reads(b)[:, :1],
        lambda b: np.zeros((len(b), CLASSES, 2, 2)),
        lambda b: np.zeros(len(b)),
        lambda b: np.float32(3),
    ],
)
def test_outputs_that_are_no_scores_are_a_model_error(data: Dataset, output: Any) -> None:
    with pytest.raises(ModelError, match=r"the model gives an output of shape \(.*one score per class"):
        evaluate(output, data, preprocess=RAW)
    with pytest.raises(ModelError, match="the reference model gives"):
        evaluate(reads, data, preprocess=RAW, reference=output)


def test_label_beyond_the_outputs_is_told_after_the_first_batch(data: Dataset) -> None:
    calls = []

    def three(batch: np.ndarray) -> np.ndarray:
        calls.append(len(batch))
        return reads(batch)[:, :3]

    with pytest.raises(DataError, match="label 3 at sample 3, but the model has 3 outputs"):
        evaluate(three, data, preprocess=RAW, batch_size=2)
    assert calls == [2]


def test_nan_scores_are_a_data_error(data: Dataset) -> None:
    with pytest.raises(DataError, match="scores of sample 0 hold NaN"):
        evaluate(lambda b: reads(b) * np.nan, data, preprocess=RAW)


def test_progress_counts_samples(data: Dataset) -> None:
    seen: list[tuple[int, int]] = []
    evaluate(
        reads, data, preprocess=RAW, batch_size=40, progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(40, 100), (80, 100), (100, 100)]


def test_to_dict_is_plain_json_and_summary_is_small(data: Dataset) -> None:
    result = evaluate(reads, data, preprocess=RAW, reference=lowers)
    values = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert values["metrics"]["top"] == {"1": 0.9}
    assert values["class_names"] == ["a", "b", "c", "d"]
    assert values["data_hash"] == data.hash
    summary = result.summary()
    assert summary["metrics"]["macro_f1"] == pytest.approx(values["metrics"]["macro_f1"])
    assert not {"confusion", "precision", "support"} & summary["metrics"].keys()
    assert len(json.dumps(summary)) < 700


def test_rows_for_people(data: Dataset) -> None:
    result: Evaluation = evaluate(reads, data, preprocess=RAW, reference=reads)
    rows = dict(result.rows())
    assert rows["samples"] == f"100 (seed 7, data {data.hash})"
    assert rows["top-1"] == "90.00 % (95 % interval 82.56 to 94.48)"
    assert rows["same answers"] == "100.00 % (95 % interval 96.30 to 100.00)"
    assert "KL from the reference" not in dict(evaluate(reads, data, preprocess=RAW).rows())
    name, support, _, recall, _ = result.class_rows()[0]
    assert (name, support, recall) == ("a", 25, 22 / 25)


def test_class_rows_leave_out_classes_without_samples(data: Dataset) -> None:
    wider = evaluate(lambda b: np.pad(reads(b), ((0, 0), (0, 3))), data, preprocess=RAW)
    assert wider.classes == CLASSES + 3
    assert [row[0] for row in wider.class_rows()] == ["a", "b", "c", "d"]


FORMS: dict[str, Any] = {
    "path": str,
    "Path": Path,
    "loaded": enxuto.load,
    "model": enxuto.Model.read,
    "compressed": lambda path: enxuto.compress(path, keep_exact="*").compressed,
}


@pytest.mark.parametrize("form", FORMS)
def test_a_model_in_any_form_brings_its_preprocessing(form: str) -> None:
    expected = enxuto.evaluate(
        enxuto.Runner(DIGITS).scores,
        open_dataset(TEST_IMAGES),
        preprocess=Preprocess(channels="L"),
        reference=enxuto.Runner(DIGITS),
        scores_are="logits",
        reference_are="logits",
    )
    found = enxuto.evaluate(FORMS[form](DIGITS), TEST_IMAGES, reference=DIGITS)
    assert found.metrics == expected.metrics
    assert (found.samples, found.agreement, found.data_hash) == (expected.samples, 1, expected.data_hash)


def test_labels_are_matched_by_name(data: Dataset) -> None:
    swapped = enxuto.evaluate(
        predict=lambda batch: reads(batch)[:, ::-1],
        dataset=data,
        preprocess={"divide_by": 1, "channels": "L"},
        labels=list("dcba"),
    )
    assert swapped.top1 == evaluate(reads, data, preprocess=RAW).top1
    with pytest.raises(UsageError, match="one name each"):
        enxuto.evaluate(DIGITS, TEST_IMAGES, labels=["a", "b"])


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"predict": 3}, "E020"),
        ({"dataset": 3}, "E020"),
        ({"reference": 3}, "E020"),
        ({"preprocess": 3}, "E020"),
        ({"progress": 3}, "E020"),
        ({"batch_size": 0}, "E020"),
        ({"predict": reads}, "E046"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(given: dict[str, Any], code: str) -> None:
    with pytest.raises(UsageError) as caught:
        enxuto.evaluate(**{"predict": DIGITS, "dataset": TEST_IMAGES, **given})
    assert caught.value.code == code
    assert "\n" not in str(caught.value)
