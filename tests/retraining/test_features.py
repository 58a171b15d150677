"""What layers read stays near to what it was: which values these are, what networks give of them, and their error."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

import enxuto
from enxuto.errors import UsageError
from enxuto.importing.load import network_of
from enxuto.onnx_model import Model
from enxuto.retraining.features import features_of, give_features, share_off
from enxuto.runtime import Runner
from tiny_classifier import MODEL, TRAINING

pytestmark = pytest.mark.torch


def layers(*inputs: str) -> Any:
    return [SimpleNamespace(input=name) for name in inputs]


def made_by(network: Any) -> list[str]:
    return [name for step in network.steps for name in step.outputs]


def test_features_are_what_layers_read_and_all_networks_make() -> None:
    network = network_of(Model.from_proto(MODEL), TRAINING.shape[1:])
    first, second, *_ = made_by(network)
    given = network.signature.inputs[0]
    assert features_of(layers(given, second, first, second, "elsewhere"), network) == (second, first)
    other = cast(Any, SimpleNamespace(steps=[SimpleNamespace(outputs=(first,))]))
    assert features_of(layers(second, first), network, other) == (first,)


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
    assert float(share_off([torch.zeros(3)], [torch.zeros(3)])) == 0


@pytest.mark.parametrize("features", [-1, float("nan"), float("inf")])
def test_what_features_count_is_a_number(features: float) -> None:
    with pytest.raises(UsageError, match="features="):
        enxuto.Retraining(features=features)
