"""Without options, the decoded networks give the answers of the originals on at least 99 % of the images."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest

from enxuto.compression.data_free import compress
from enxuto.data import open_dataset, preset
from enxuto.enx.learned import parameters
from enxuto.evaluation import Predict, evaluate
from enxuto.onnx_model import Model

SHARED = Path(__file__).resolve().parents[3] / "shared"

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.skipif(not SHARED.is_dir(), reason=f"the shared networks are not at {SHARED}"),
]


def predictor(model: Model) -> Predict:
    session = onnxruntime.InferenceSession(model.to_bytes(), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda batch: session.run(None, {name: batch})[0]


@pytest.mark.parametrize(
    ("name", "data", "preprocessing", "samples"),
    [
        ("efficientnet-lite0", "imagenet-sample", "efficientnet-lite", 500),
        ("resnet20-cifar10", "cifar10-test", "resnet-cifar", 5000),
        ("resnet56-cifar10", "cifar10-test", "resnet-cifar", 5000),
    ],
)
def test_default_options_keep_the_answers(
    name: str, data: str, preprocessing: str, samples: int, tmp_path: Path
) -> None:
    path = SHARED / "models" / f"{name}.onnx"
    original = Model.read(path)
    made = compress(original)
    length = made.save(tmp_path / "m.enx")
    assert length < path.stat().st_size / 3
    assert 8 * length / parameters(original) < 10
    result = evaluate(
        predictor(made.to_model()),
        open_dataset(SHARED / "data" / f"{data}.parquet"),
        preprocess=preset(preprocessing),
        reference=predictor(original),
    )
    assert result.samples == samples
    assert result.agreement is not None
    assert result.agreement >= 0.99, f"{name}: {result.agreement:.4f} at {length:,} bytes"
