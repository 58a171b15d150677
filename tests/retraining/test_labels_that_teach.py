"""Learning from labels, where it is asked for and labels are those of the model."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

import enxuto
from enxuto.compression.judge import Bounds
from enxuto.compression.split import split_for_training
from enxuto.data import dataset_of_arrays, open_dataset
from enxuto.importing.load import network_of
from enxuto.metrics.losses import OutputLoss
from enxuto.onnx_model import Model
from enxuto.retraining.divergence import cross_entropy_of, divergence_from, with_labels
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


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan])
def test_no_share_is_refused(share: float) -> None:
    with pytest.raises(enxuto.errors.UsageError, match="label_weight= is a share from 0 to 1"):
        enxuto.Retraining(label_weight=share)


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
        (answers(TRAINING) - 1, "one is -1, and the model has 10 outputs"),
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
    ],
)
def test_without_labels_or_classes_nothing_is_learned_from(
    labels: np.ndarray | None, losses: tuple[OutputLoss, ...]
) -> None:
    with pytest.warns(UserWarning, match="labels are not learned from: (the images|no output)"):
        assert found(labels, losses) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert labels_of(task(labels, losses), cast(Any, None), 0.0) is None


@pytest.mark.parametrize("shape", [(10,), (10, 1, 1), (1, 10)])
def test_one_list_of_classes_may_have_axes_of_length_one(shape: tuple[int, ...]) -> None:
    """As in front of an ArgMax, whose loss is along an axis."""
    plain = network_of(Model.from_proto(MODEL), TRAINING.shape[1:])
    losses = (OutputLoss("y", "classes", "y", axis=shape.index(10) + 1),)
    labels = answers(TRAINING)
    teacher: Any = lambda images: plain(images).reshape(-1, *shape)  # noqa: E731
    taken = labels_of(task(labels, losses), teacher, 0.5)
    assert taken is not None
    assert taken.classes == 10
    images = torch.from_numpy(TRAINING[:9])
    wanted = F.cross_entropy(plain(images), torch.from_numpy(labels[:9]))
    targets = F.one_hot(torch.from_numpy(labels[:9]), 10).float()
    found = cross_entropy_of(targets, [teacher(images)], losses)
    assert float(found.detach()) == pytest.approx(float(wanted.detach()))


def test_several_lists_of_classes_are_told() -> None:
    teacher: Any = lambda images: torch.zeros(len(images), 10, 4)  # noqa: E731
    losses = (OutputLoss("y", "classes", "y", axis=1),)
    with pytest.warns(UserWarning, match="the model gives several lists of classes"):
        assert labels_of(task(answers(TRAINING), losses), teacher, 0.5) is None


def test_labels_take_a_share_of_what_the_output_of_classes_counts_and_none_of_others() -> None:
    generator = torch.Generator().manual_seed(0)
    reference, found = ([torch.randn(6, n, generator=generator) for n in (4, 10)] for _ in range(2))
    losses = (OutputLoss("v", "values", "v", weight=1.0), OutputLoss("y", "classes", "y", weight=3.0))
    labels = torch.randint(10, (6,), generator=generator)
    whole = with_labels(
        divergence_from(reference, found, losses),
        F.one_hot(labels, 10).float(),
        reference,
        found,
        losses,
        1.0,
    )
    values = divergence_from(reference[:1], found[:1], losses[:1])
    assert float(whole) == pytest.approx((float(values) + 3 * float(F.cross_entropy(found[1], labels))) / 4)


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
            threads=1, retrain=enxuto.Retraining(epochs=6, batch=16, checks=3, rate=0.03, label_weight=share),
        )  # fmt: skip
        assert result.calibrated is not None
        assert result.calibrated.retrained is not None
        return max(check.judgement.top1 or 0.0 for check in result.calibrated.retrained.checks)

    assert top1(1.0) > top1(0.0) + 5


def folders(root: Path, names: str, images: np.ndarray, labels: np.ndarray) -> Path:
    """Write images of one channel as PNG into folders by class."""
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        folder = root / names[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{number}.png")
    return root


@pytest.mark.parametrize(
    ("train", "expected"),
    [("abcdefghij", True), ("abcdefghj", True), ("jihgfedcba", True), ("abcdefghi?", False)],
)
def test_labels_of_images_that_train_are_numbers_of_those_that_judge(
    train: str, expected: bool, tmp_path: Path
) -> None:
    """Folders that lack a class, or come in any order, are matched by name; unknown ones are left out."""
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 255, (60, 8, 8), np.uint8)
    numbers = np.arange(60) % 10
    judging = open_dataset(folders(tmp_path / "data", "abcdefghij", pixels, numbers))
    kept = numbers < len(train)
    training = open_dataset(folders(tmp_path / "train", train, pixels[kept], numbers[kept]))
    if not expected:
        assert not split_for_training(judging, training, Bounds(max_drop=1.0), 8, 0).training.labelled
        return
    parts = split_for_training(judging, training, Bounds(max_drop=1.0), 8, 0)
    wanted = sorted("abcdefghij".index(train[number]) for number in numbers[kept])
    assert sorted(parts.training.labels.tolist()) == wanted
