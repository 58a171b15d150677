"""What layers read stays near to what it was: which values these are, what networks give of them, and their error."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

import enxuto
from enxuto.errors import UsageError
from enxuto.importing.load import network_of
from enxuto.metrics.losses import OutputLoss
from enxuto.onnx_model import Model
from enxuto.quantize.grid import Grid
from enxuto.quantize.tensor import QuantizedTensor
from enxuto.retraining import control, training
from enxuto.retraining.descent import Descent
from enxuto.retraining.features import features_of, give_features, share_off
from enxuto.retraining.images import TrainingImages
from enxuto.retraining.placement import placement_of
from enxuto.retraining.student import Student, teacher_of
from enxuto.runtime import Runner
from tiny_classifier import CLASSES, JUDGING, MODEL, TRAINING

pytestmark = pytest.mark.torch


def made_by(network: Any) -> list[str]:
    return [name for step in network.steps for name in step.outputs]


def test_features_are_what_layers_read_and_all_networks_make() -> None:
    network = network_of(Model.from_proto(MODEL), TRAINING.shape[1:])
    first, second, *_ = made_by(network)
    given = network.signature.inputs[0]
    assert features_of([given, second, first, second, "elsewhere"], network) == (second, first)
    other = cast(Any, SimpleNamespace(steps=[SimpleNamespace(outputs=(first,))]))
    assert features_of([second, first], network, other) == (first,)


def test_networks_give_features_behind_their_outputs_and_others_in_their_place() -> None:
    model = Model.from_proto(MODEL)
    network = network_of(model, TRAINING.shape[1:])
    names = [name for name in made_by(network)[:-1] if name]
    images = torch.from_numpy(TRAINING[:8])
    alone = network(images)
    for chosen in (names, names[1:3], []):
        give_features(network, 1, chosen)
        found = network(images)
        found = found if isinstance(found, tuple) else (found,)
        assert torch.equal(found[0], alone)
        given = {network.signature.inputs[0]: TRAINING[:8]}
        want = Runner(model, threads=1, extra_outputs=chosen).values(given, chosen) if chosen else []
        for one, other in zip(found[1:], want, strict=True):
            np.testing.assert_allclose(one.detach().numpy(), other, rtol=1e-4, atol=1e-4)


def test_the_error_is_a_share_of_power_and_layers_count_the_same() -> None:
    reference = [torch.tensor([3.0, 4.0]), torch.tensor([[100.0]])]
    found = [torch.tensor([3.0, 5.0], requires_grad=True), torch.tensor([[90.0]])]
    off = share_off(reference, found)
    assert float(off.detach()) == pytest.approx((1 / 25 + 100 / 10_000) / 2)
    off.backward()  # type: ignore[no-untyped-call]
    assert found[0].grad is not None
    assert found[0].grad.tolist() == pytest.approx([0.0, 2 / 25 / 2])
    assert float(share_off([], [])) == 0
    assert float(share_off([torch.zeros(3)], [torch.full((3,), 1e-3)])) == 0, "what is zero has no share"


@pytest.mark.parametrize("features", [-1, float("nan"), float("inf")])
def test_what_features_count_is_a_number(features: float) -> None:
    with pytest.raises(UsageError, match="features="):
        enxuto.Retraining(features=features)


def descent(features: tuple[Any, float], kind: str = "classes") -> Descent:
    model = Model.from_proto(MODEL)
    arrays = {name: model.load(name) for name in ("c1", "c2", "f")}
    grid = Grid(0.05)
    levels = {
        name: QuantizedTensor(np.rint(array / 0.05).astype(np.int32), grid) for name, array in arrays.items()
    }
    decoded = model.replace_weights({name: tensor.reconstruct() for name, tensor in levels.items()})
    shape = TRAINING.shape[1:]
    images = TrainingImages(TRAINING, 16, 0, pictures=True)
    loss = OutputLoss("y", cast(Any, kind), "y", scale=2.0)
    placement = placement_of(enxuto.Retraining(device="cpu", precision="float32"))
    return Descent(
        Student(decoded, arrays, levels, {}, 0.1, shape=shape), teacher_of(model, shape), images, (loss,), 0.01,
        placement, features=features,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["classes", "values"])
def test_the_loss_is_that_of_the_answers_and_so_many_times_the_error_of_features(kind: str) -> None:
    alone, pulled = descent(((), 0.0), kind), descent((("b", "e"), 5.0), kind)
    images = pulled.images.batch_at(3).images
    with torch.no_grad():
        reference, found = pulled._teacher(images), pulled.student(images)
    assert [len(outputs) for outputs in (reference, found)] == [3, 3]
    share = sum(
        float(((y - x) ** 2).sum() / (x**2).sum()) for x, y in zip(reference[1:], found[1:], strict=True)
    )
    assert share > 0.001
    want = float(alone.loss(3).detach()) + 5 * share / 2
    assert float(pulled.loss(3).detach()) == pytest.approx(want, rel=1e-5)
    assert alone.student.network.signature.outputs == ("y",)


def test_the_training_and_its_control_hold_the_same_features(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given: list[Any] = []

    class Recorder(Descent):
        def __init__(self, *args: Any, features: Any = None, **more: Any) -> None:
            given.append(features)
            super().__init__(*args, features=features, **more)

    monkeypatch.setattr("enxuto.compression.search._TRIALS", 3)
    for room in (training, control):
        monkeypatch.setattr(room, "Descent", Recorder)
    asked = enxuto.Retraining(epochs=0.1, batch=16, checks=1, features=3, control=True)
    enxuto.compress(
        MODEL, data=JUDGING, calibration=TRAINING, images=64, outputs=CLASSES, retrain=asked, bits=3.1,
        cache=tmp_path, threads=1,
    )  # fmt: skip
    assert given == [(("b", "e"), 3)] * 2
