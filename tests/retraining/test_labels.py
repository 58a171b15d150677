"""Learning from labels, where points of top-1 alone are bounded, and where labels are those of the model."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import enxuto
from enxuto.compression.judge import Bounds
from enxuto.data import dataset_of_arrays
from enxuto.importing.load import network_of
from enxuto.metrics.losses import OutputLoss
from enxuto.onnx_model import Model
from enxuto.retraining.divergence import cross_entropy_of
from enxuto.retraining.images import TrainingImages
from enxuto.retraining.labels import Labels, labels_of
from enxuto.runtime import Runner
from tiny_classifier import JUDGING, MODEL, TRAINING

LOSSES = (OutputLoss("y", "classes", "y"),)


def answers(images: np.ndarray) -> np.ndarray:
    return Runner(Model.from_proto(MODEL)).scores(images).reshape(len(images), -1).argmax(1)


def task(labels: np.ndarray | None, losses: tuple[OutputLoss, ...] = LOSSES) -> Any:
    outputs = SimpleNamespace(losses=losses)
    return SimpleNamespace(
        images=TRAINING, labels=labels, calibration=SimpleNamespace(judged_outputs=outputs)
    )


def found(labels: np.ndarray | None, losses: tuple[OutputLoss, ...] = LOSSES) -> Labels | None:
    return labels_of(task(labels, losses), network_of(Model.from_proto(MODEL), TRAINING.shape[1:]), 0.5)


@pytest.mark.parametrize(
    ("bounds", "share"),
    [
        (Bounds(max_drop=0.5), 0.5), (Bounds(max_drop=0.5, max_kl=0.1), 0.0),
        (Bounds(max_drop=0.5, min_agreement=90), 0.0), (Bounds(max_kl=0.1), 0.0),
        (Bounds(min_agreement=90), 0.0), (Bounds(max_bytes=100), 0.0),
    ],
)  # fmt: skip
def test_labels_count_where_points_of_top1_alone_are_bounded(bounds: Bounds, share: float) -> None:
    assert enxuto.Retraining().share_of_labels(bounds) == share
    assert enxuto.Retraining(labels=0.0).share_of_labels(bounds) == 0
    assert enxuto.Retraining(labels=1.0).share_of_labels(bounds) == 1


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan])
def test_no_share_is_refused(share: float) -> None:
    with pytest.raises(enxuto.errors.UsageError, match="labels= is a share from 0 to 1"):
        enxuto.Retraining(labels=share)


def test_labels_of_the_model_are_taken() -> None:
    labels = answers(TRAINING)
    taken = found(labels)
    assert taken is not None
    assert taken.classes == 10
    assert taken.share == 0.5
    np.testing.assert_array_equal(taken.numbers, labels)


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (np.random.default_rng(0).integers(0, 10, 512), "chance"),
        ((answers(TRAINING) + 1) % 10, "order of the model's outputs"),
        (answers(TRAINING) + 1, "and the model has 10 outputs"),
        (answers(TRAINING) - 1, "and the model has 10 outputs"),
    ],
)
def test_labels_of_something_else_are_left_out_with_the_reason(labels: np.ndarray, reason: str) -> None:
    if reason.startswith("and") and labels.max() < 10 and labels.min() >= 0:
        pytest.fail("the network gives the first and the last class")
    with pytest.warns(UserWarning, match=f"are not learned from: .*{reason}"):
        assert found(labels) is None


@pytest.mark.parametrize(
    ("labels", "losses"),
    [
        (None, LOSSES),
        (answers(TRAINING), (OutputLoss("y", "values", "y"),)),
        (answers(TRAINING), (OutputLoss("y", "classes", "y", axis=1),)),
    ],
)
def test_without_labels_or_one_list_of_classes_nothing_is_learned_from(
    labels: np.ndarray | None, losses: tuple[OutputLoss, ...]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert found(labels, losses) is None


def test_images_and_labels_are_mixed_alike() -> None:
    """An image that holds its label's number is mixed to the mean of what its targets say."""
    numbers = np.random.default_rng(0).integers(0, 10, 100)
    images = np.repeat(numbers[:, None], 5, axis=1).astype(np.float32)
    made = TrainingImages(images, 16, 0, pictures=False, mix=0.5, labels=Labels(numbers, 10, 0.5))
    mixed = 0
    for step in range(20):
        batch = made.batch_at(step)
        assert batch.targets is not None
        np.testing.assert_allclose(batch.targets.sum(1), np.ones(16), rtol=1e-6)
        means = batch.targets @ torch.arange(10.0)
        np.testing.assert_allclose(batch.images[:, 0], means, rtol=1e-5, atol=1e-5)
        mixed += bool((batch.targets.max(1).values < 0.999).any())
    assert 4 < mixed < 16


def test_labels_change_no_image() -> None:
    one, other = (
        TrainingImages(TRAINING, 16, 0, pictures=True, mix=0.5, labels=labels)
        for labels in (None, Labels(answers(TRAINING), 10, 0.5))
    )
    for step in (0, 5, 40):
        assert torch.equal(one.batch_at(step).images, other.batch_at(step).images)


@pytest.mark.parametrize("least", [False, True])
@pytest.mark.parametrize("scores_are", ["logits", "probabilities", "log-probabilities"])
def test_the_cross_entropy_is_pytorchs(scores_are: Any, least: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(7, 10, generator=generator)
    labels = torch.randint(10, (7,), generator=generator)
    scores = {
        "logits": logits, "probabilities": logits.softmax(1), "log-probabilities": logits.log_softmax(1),
    }[scores_are]  # fmt: skip
    if least:
        scores = -scores if scores_are != "probabilities" else scores
    loss = OutputLoss("y", "classes", "y", scores_are=scores_are, least=least)
    wanted = F.cross_entropy(-logits if least and scores_are == "probabilities" else logits, labels)
    found = cross_entropy_of(F.one_hot(labels, 10).float(), [torch.zeros(7, 3), scores],
        [OutputLoss("v", "values", "v"), loss])  # fmt: skip
    assert float(found) == pytest.approx(float(wanted), rel=1e-5)


@pytest.mark.filterwarnings("ignore:the bound holds")
def test_where_top1_is_bounded_the_network_learns_what_the_original_never_knew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Labels favour the last three classes where the original hesitates, which a few biases can learn."""
    monkeypatch.setattr("enxuto.compression.search._TRIALS", 3)

    def labelled(images: np.ndarray) -> Any:
        scores = Runner(Model.from_proto(MODEL)).scores(images).reshape(len(images), -1)
        favour = np.where(np.arange(10) >= 7, scores.std(), 0)
        return dataset_of_arrays(images, (scores + favour).argmax(1))

    def top1(share: float) -> float:
        result = enxuto.compress(
            MODEL, data=labelled(JUDGING), calibration=labelled(TRAINING), images=64, max_drop=30.0, cache=tmp_path,
            threads=1, retrain=enxuto.Retraining(epochs=6, batch=16, checks=3, rate=0.03, labels=share),
        )  # fmt: skip
        assert result.calibrated is not None
        assert result.calibrated.retrained is not None
        return max(check.judgement.top1 or 0.0 for check in result.calibrated.retrained.checks)

    assert top1(1.0) > top1(0.0) + 5
