"""The reference accuracies of real networks on the shared data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from enxuto.data import open_dataset, preset
from enxuto.evaluation import Evaluation, evaluate

SHARED = Path(__file__).resolve().parents[3] / "shared"

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.skipif(not SHARED.is_dir(), reason=f"the shared networks are not at {SHARED}"),
]


def measure(model: str, data: str, preprocessing: str) -> Evaluation:
    session = onnxruntime.InferenceSession(SHARED / "models" / f"{model}.onnx")
    name = session.get_inputs()[0].name

    def predict(batch: np.ndarray) -> np.ndarray:
        return session.run(None, {name: batch})[0]

    images = open_dataset(SHARED / "data" / f"{data}.parquet")
    return evaluate(predict, images, preprocess=preset(preprocessing))


def test_efficientnet_lite0_reaches_its_reference() -> None:
    result = measure("efficientnet-lite0", "imagenet-sample", "efficientnet-lite")
    assert (result.metrics["correct"], result.samples) == (446, 500)
    assert result.metrics["top"]["5"] == pytest.approx(486 / 500)


@pytest.mark.parametrize(("model", "correct"), [("resnet20-cifar10", 4057), ("resnet56-cifar10", 4150)])
def test_cifar_networks_reach_their_reference(model: str, correct: int) -> None:
    result = measure(model, "cifar10-test", "resnet-cifar")
    assert result.samples == 5000
    # Two samples of slack: on another processor a near tie may fall the other way.
    assert result.metrics["correct"] == pytest.approx(correct, abs=2)
