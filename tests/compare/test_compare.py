"""Two models compared: answers counted by hand, errors planted in one layer, the sheet of changed answers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.stats import binomtest

from enxuto.compare import AnswerComparison, compare_answers, compare_layers, contact_sheet
from enxuto.compare.answers import AnswerChange, Confusion
from enxuto.compression.data_free import compress
from enxuto.data import Dataset, Preprocess, open_dataset
from enxuto.demo import MODEL, TEST_IMAGES
from enxuto.errors import ModelError, UsageError
from enxuto.onnx_model import Model, Role
from enxuto.opening import load_with_metadata, preprocess_of
from enxuto.runtime import Runner, activations


def answers(
    expected: list[int], first: list[int], second: list[int], names: tuple[str, ...] | None = None
) -> AnswerComparison:
    arrays = [np.asarray(values, np.int64) for values in (expected, first, second)]
    return AnswerComparison(*arrays, agreement=float(np.mean(arrays[1] == arrays[2])), kl=0.1, data_hash="feed", seed=1,
                   class_names=names)  # fmt: skip


def images() -> tuple[Dataset, Preprocess]:
    preprocess = preprocess_of(load_with_metadata(MODEL)[1])
    assert preprocess is not None
    return open_dataset(TEST_IMAGES, limit=40), preprocess


def test_changed_answers_are_counted() -> None:
    found = answers([0, 0, 1, 1, 2, 2, 0], [0, 0, 1, 2, 2, 1, 1], [0, 1, 1, 1, 0, 0, 1], ("cat", "dog"))
    assert found.counts == {"both": 2, "only first": 2, "only second": 1, "neither": 2}
    assert found.changed_images().tolist() == [1, 4, 3, 5]  # lost, lost, won, wrong in both
    assert found.changes() == [
        AnswerChange(0, 0, 1, 1),
        AnswerChange(1, 2, 1, 1),
        AnswerChange(2, 1, 0, 1),
        AnswerChange(2, 2, 0, 1),
    ]
    assert found.confusions()[0] == Confusion(2, 0, 0, 2)
    assert Confusion(0, 1, 1, 2) in found.confusions()
    assert sum(cell.second - cell.first for cell in found.confusions()) == 0
    assert [found.name(label) for label in (0, 1, 2)] == ["cat", "dog", "2"]
    assert found.to_dict()["top1"] == [4 / 7, 3 / 7]


@pytest.mark.parametrize(("lost", "won"), [(0, 0), (5, 5), (12, 3), (66, 23), (1, 0), (0, 900)])
def test_the_chance_of_a_difference_is_mcnemars(lost: int, won: int) -> None:
    """SciPy's exact binomial test of `lost` out of `lost + won` is the oracle."""
    found = answers([0] * (lost + won + 1), [0] * lost + [1] * won + [0], [1] * lost + [0] * won + [0])
    oracle = binomtest(lost, lost + won).pvalue if lost + won else 1.0
    assert found.p_value == pytest.approx(oracle)


def test_answers_are_those_of_the_models() -> None:
    dataset, preprocess = images()
    small = compress(MODEL, bits=2).to_model()
    one, other = Runner(MODEL), Runner(small)
    found = compare_answers(one.scores, other.scores, dataset, preprocess=preprocess, batch_size=16)
    batch = np.concatenate([pixels for pixels, _ in dataset.batches(16, preprocess)])
    assert found.first.tolist() == one.scores(batch).argmax(axis=1).tolist()
    assert found.second.tolist() == other.scores(batch).argmax(axis=1).tolist()
    assert found.expected.tolist() == dataset.labels.tolist()
    assert found.agreement == np.mean(found.first == found.second)


def test_an_error_in_one_layer_shows_there_and_behind() -> None:
    dataset, preprocess = images()
    model = Model.read(MODEL)
    kernels = [info.name for info in model.infos() if info.role in (Role.KERNEL, Role.MATRIX)]
    second = kernels[1]
    changed = model.replace_weights({second: model.load(second) * np.float32(1.1)})  # a tenth: 20 dB
    found = {layer.name: layer for layer in compare_layers(model, changed, dataset, preprocess, images=10)}
    assert found[second].weight_snr == pytest.approx(20, abs=1e-4)
    assert found[second].changed > 0.99
    assert found[second].largest == pytest.approx(0.1 * np.abs(model.load(second)).max(), rel=1e-4)
    assert math.isinf(found[kernels[0]].weight_snr)
    assert found[kernels[0]].output_snr == math.inf
    assert found[kernels[0]].to_dict()["output_snr"] is None
    for name in kernels[1:]:
        assert found[name].output_snr is not None
        assert 10 < found[name].output_snr < 40
    # The ratio of the last layer, once more from its values.
    last = found[kernels[-1]]
    batch = np.concatenate([pixels for pixels, _ in dataset.subset(range(10)).batches(10, preprocess)])
    assert last.output is not None
    one, other = (
        activations(net, [last.output], batch)[last.output].astype(float) for net in (model, changed)
    )
    assert last.output_snr == pytest.approx(
        10 * np.log10(np.sum(one**2) / np.sum((one - other) ** 2)), abs=1e-3
    )


def test_weights_alone_need_no_images() -> None:
    model = Model.read(MODEL)
    found = compare_layers(model, model)
    assert {layer.output_snr for layer in found} == {None}
    assert {layer.changed for layer in found} == {0.0}
    empty = {
        info.name: np.zeros_like(model.load(info.name))
        for info in model.infos()
        if info.role is not Role.OTHER
    }
    silent = model.replace_weights(empty)
    assert compare_layers(silent, model)[0].weight_snr == -math.inf
    dataset, preprocess = images()
    with pytest.raises(UsageError, match="E023"):
        compare_layers(model, silent, dataset)
    with pytest.raises(UsageError, match="at least 1 image"):
        compare_layers(model, silent, dataset, preprocess, images=0)


def test_models_without_a_common_weight_are_named() -> None:
    model = Model.read(MODEL)
    proto = model.to_proto()
    for tensor in proto.graph.initializer:
        for node in proto.graph.node:
            node.input[:] = [f"x_{name}" if name == tensor.name else name for name in node.input]
        tensor.name = f"x_{tensor.name}"
    with pytest.raises(ModelError, match="E037"):
        compare_layers(model, Model.from_proto(proto))


@pytest.mark.parametrize("shape", [(8, 8, 1), (32, 32, 3), (200, 90, 3)])
def test_the_sheet_shows_every_changed_image(tmp_path: Path, shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (7, *shape), dtype=np.uint8)
    np.savez(tmp_path / "data.npz", images=pixels, labels=np.array([0, 0, 1, 1, 2, 2, 0]))
    dataset = open_dataset(tmp_path / "data.npz")
    found = answers([0, 0, 1, 1, 2, 2, 0], [0, 0, 1, 2, 2, 1, 1], [0, 1, 1, 1, 0, 0, 1], ("a" * 90, "dög"))
    path = tmp_path / "sheet.png"
    assert contact_sheet(dataset, found, path, columns=3) == 4
    with Image.open(path) as sheet:
        drawn = np.asarray(sheet.convert("RGB")).astype(int)
    assert drawn.shape[1] == 3 * 140 + 12
    blue = (drawn[:, :, 2] - drawn[:, :, 0] > 100).sum()
    assert blue > 50  # right answers and their marks
    assert contact_sheet(dataset, found, path, max_images=2) == 2
    nothing = answers([0], [0], [0])
    assert contact_sheet(dataset, nothing, path) == 0
    for wrong in ({"max_images": 0}, {"columns": 0}):
        with pytest.raises(UsageError, match="contact sheet"):
            contact_sheet(dataset, found, path, **wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="contact sheet"):
        contact_sheet(dataset, found, tmp_path / "sheet.jpg")


def test_values_are_safe_for_json() -> None:
    import json

    values: dict[str, Any] = answers([0, 1], [0, 0], [1, 0]).to_dict()
    assert json.loads(json.dumps(values, allow_nan=False)) == values
