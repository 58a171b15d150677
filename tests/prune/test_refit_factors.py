"""What a layer's loss is measured to cost, costs of channels without a refitted reader, and bends of activations."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn import functional as F

from enxuto.errors import ModelError
from enxuto.onnx_model import Model
from enxuto.prune.channels.tracing import trace
from enxuto.prune.refit.equations import Equations, Goal
from enxuto.prune.refit.factors import measured_factors
from enxuto.prune.refit.in_order import refit_in_order
from enxuto.prune.refit.moments import collect_moments
from enxuto.prune.refit.readers import find_readers
from enxuto.prune.refit.structure import layer_uses
from enxuto.prune.refit.unread import with_unread
from enxuto.prune.removal.remove import remove
from enxuto.prune.rounds import UnprunedNetwork
from enxuto.runtime import Runner
from enxuto.slimming.networks import as_onnx
from enxuto.studies.pruning import StartingNetwork

SIDE = 6


class Averaged(nn.Module):
    """Two layers and an average over all positions."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 8, 1)
        self.second = nn.Conv2d(8, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.second(self.first(x).relu()).mean((2, 3))
        return scores


def draw(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def factor_of(images: torch.Tensor) -> float:
    network = Averaged().eval()
    before = copy.deepcopy(network.state_dict())
    channels = trace(network, images[:1])
    readers = find_readers(network, channels)
    moments = collect_moments(network, readers, images.split(64))
    gone = [channels.group_of[channels.layers["first"][0]]]
    found = measured_factors(network, channels, readers, moments, [frozenset(gone)], images)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, before[name])
    return found["second"]


def test_errors_that_are_alike_at_all_positions_cost_as_often_as_there_are_positions() -> None:
    same = draw(400, 3, 1, 1).expand(-1, -1, SIDE, SIDE).contiguous()
    assert SIDE**2 / 2 < factor_of(same) < SIDE**2 * 2


def test_independent_errors_cost_what_moments_say() -> None:
    assert 0.4 < factor_of(draw(400, 3, SIDE, SIDE)) < 2.5


def test_a_layer_that_is_ruined_is_measured_where_it_loses_less() -> None:
    network, images = Averaged().eval(), draw(120, 3, SIDE, SIDE)
    with torch.no_grad():
        network.second.weight.mul_(400)  # sure answers: without seven of eight channels they are others
    channels = trace(network, images[:1])
    readers = find_readers(network, channels)
    moments = collect_moments(network, readers, images.split(64))
    groups = [channels.group_of[atom] for atom in channels.layers["first"]]

    def factor(*plans: list[int]) -> float:
        found = measured_factors(network, channels, readers, moments, map(frozenset, plans), images)
        return found["second"]

    ruined, gentle = factor(groups[1:]), factor(groups[7:])
    assert ruined != pytest.approx(gentle, rel=0.1)
    assert factor(groups[1:], groups[7:]) == gentle
    assert factor(groups[7:], groups[1:]) == gentle  # what can be measured at first is not measured again


def test_losses_are_measured_on_images_that_the_weights_are_not_fitted_to() -> None:
    """Every third image is of its own kind: what the others teach is wrong there, and that is what counts."""
    network, images = Averaged().eval(), draw(120, 3, SIDE, SIDE)
    images[2::3, 1] = images[2::3, 0]
    images[0::3, 1], images[1::3, 1] = -images[0::3, 0], -images[1::3, 0]
    with torch.no_grad():
        network.first.weight.copy_(torch.eye(8, 3)[:, :, None, None])
        network.first.bias.copy_(torch.full((8,), 4.0))  # no bend is reached
    channels = trace(network, images[:1])
    readers = find_readers(network, channels)
    moments = collect_moments(network, readers, images.split(64))
    gone = frozenset({channels.group_of[channels.layers["first"][1]]})
    misled = measured_factors(network, channels, readers, moments, [gone], images)["second"]
    turned = torch.cat((images[2:], images[:2]))  # now the last third is of the others' kind
    moments = collect_moments(network, readers, turned.split(64))
    told = measured_factors(network, channels, readers, moments, [gone], turned)["second"]
    assert misled > 2 * told


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_images_to_leave_some_out_tell_nothing(count: int) -> None:
    assert factor_of(draw(count, 3, SIDE, SIDE)) == 1.0


class Grouped(nn.Module):
    """The first layer's channels are read by a grouped convolution alone."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 1)
        self.second = nn.Conv2d(4, 4, 1, groups=2, bias=False)
        self.head = nn.Linear(4, 2)
        with (
            torch.no_grad()
        ):  # (4, 2): channels 0 and 1 go to outputs 0 and 1, channels 2 and 3 to the others
            self.second.weight.copy_(torch.tensor([[1.0, 2], [0, 2], [3, 0], [0, 4]]).reshape(4, 2, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.head(self.second(self.first(x)).relu().mean((2, 3)))
        return scores


def test_channels_of_a_grouped_reader_are_not_free() -> None:
    network = Grouped().eval()
    channels = trace(network, torch.zeros(1, 3, 4, 4))
    known = dict(zip(channels.layers["second"], (5.0, 1.0, 2.0, 4.0), strict=True))
    costs = with_unread(network, channels, known, ())
    powers = torch.tensor([1.0, 8, 9, 16])
    expected = 3.0 * powers / powers.mean()
    assert [costs[atom] for atom in channels.layers["first"]] == pytest.approx(expected.tolist())
    assert {atom: costs[atom] for atom in known} == known


@pytest.mark.parametrize(
    ("activation", "low", "high"),
    [
        (F.relu, 0.0, math.inf), (F.relu6, 0.0, 6.0), (lambda x: torch.clamp(x, -1, 2), -1.0, 2.0),
        (F.hardtanh, -1.0, 1.0), (F.silu, -math.inf, math.inf),
    ],
)  # fmt: skip
def test_where_outputs_make_no_difference(activation: object, low: float, high: float) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 4, 1)
            self.norm = nn.BatchNorm2d(4)
            self.second = nn.Conv2d(4, 4, 1)
            self.head = nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = activation(self.norm(self.first(x)))  # type: ignore[operator]
            x = activation(self.second(x) + x)  # type: ignore[operator]
            scores: torch.Tensor = self.head(x.mean((2, 3)))
            return scores

    uses = layer_uses(Net().eval(), torch.zeros(1, 3, 4, 4))
    for layer in ("first", "second"):
        assert (uses[layer].low, uses[layer].high) == (low, high)
    assert (uses["head"].low, uses["head"].high) == (-math.inf, math.inf)


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("bounds", [(0.0, None), (0.0, 1.0), (None, 0.5)])
def test_fitting_behind_the_bend_is_better_there(
    bounds: tuple[float | None, float | None], depthwise: bool
) -> None:
    """Against plain least squares, on the images that were fitted: the error behind the activation."""
    torch.manual_seed(0)
    module = nn.Conv2d(6, 6, 3, padding=1, groups=6 if depthwise else 1)
    x = draw(60, 6, SIDE, SIDE)
    wanted = (draw(60, 36, 6, seed=2) + x.flatten(2).transpose(1, 2)) * 0.7

    def error(low: float | None, high: float | None) -> float:
        fitted = copy.deepcopy(module)
        equations = Equations(fitted, constant=True)
        bends = (None if one is None else torch.tensor(one) for one in (low, high))
        equations.add(x, None, Goal(wanted, *bends), 0)
        change, offset = equations.solve()
        assert offset is not None
        with torch.no_grad():
            fitted.weight += change.reshape(fitted.weight.shape)
            assert fitted.bias is not None
            fitted.bias += offset
            found = fitted(x).flatten(2).transpose(1, 2)
        return float((found.clamp(*bounds) - wanted.clamp(*bounds)).square().mean())

    assert error(*bounds) < 0.97 * error(None, None)


@pytest.mark.parametrize(
    "images", [draw(1, 3, SIDE, SIDE), torch.ones(5, 3, SIDE, SIDE)], ids=["one", "alike"]
)
def test_few_or_equal_images_leave_finite_weights(images: torch.Tensor) -> None:
    network = Averaged().eval()
    channels = trace(network, images[:1])
    kept = channels.without_filters({"first": (0, 3)})
    smaller = remove(network, channels, kept)
    refit_in_order(network, smaller, kept, images)
    assert all(bool(value.isfinite().all()) for value in smaller.state_dict().values())
    with torch.no_grad():
        torch.testing.assert_close(smaller(images), network(images), rtol=0.05, atol=0.05)


def test_what_is_fitted_on_one_image_is_better_on_others() -> None:
    """Nothing tells there how much of the image is noise: the least ridge made layers worse than before."""
    true = 0.3 * draw(6, 6, 3, 3)

    def smooth(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        x = F.avg_pool2d(draw(count, 6, 14, 14, seed=seed), 3, 1)
        wanted = F.conv2d(x, true, padding=1).flatten(2).transpose(1, 2)
        return x, wanted + 0.3 * draw(*wanted.shape, seed=seed + 1)

    module = nn.Conv2d(6, 6, 3, padding=1)
    module.load_state_dict({"weight": true + 0.1 * draw(6, 6, 3, 3, seed=9), "bias": torch.zeros(6)})
    others, wanted = smooth(40, 2)

    def error() -> float:
        return float((module(others).flatten(2).transpose(1, 2) - wanted).square().mean())

    with torch.no_grad():
        before = error()
        x, goal = smooth(1, 4)
        equations = Equations(module, constant=True)
        equations.add(x, None, Goal(goal), 0)
        change, offset = equations.solve()
        assert module.bias is not None
        assert offset is not None
        module.weight += change.reshape(module.weight.shape)
        module.bias += offset
        assert error() < 0.9 * before


@pytest.mark.parametrize("where", ["weights", "images"])
def test_what_is_not_finite_is_refused_in_one_line(where: str) -> None:
    network, images = Averaged().eval(), draw(4, 3, SIDE, SIDE)
    channels = trace(network, images[:1])
    kept = channels.without_filters({"first": (0,)})
    smaller = remove(network, channels, kept)
    if where == "weights":
        network.second.weight.data[0, 0] = math.nan
    else:
        images[2, 1] = math.inf
    with pytest.raises(ModelError, match="not finite"):
        refit_in_order(network, smaller, kept, images)
    with pytest.raises(ModelError, match="not finite"):
        collect_moments(network, find_readers(network, channels), [images])


def test_scores_with_axes_of_one_are_a_classifiers() -> None:
    """(batch, classes, 1, 1), as SqueezeNet's exports give them: the pruned model gives the same shape."""
    random = np.random.default_rng(0)
    held = {"a.weight": random.normal(size=(6, 3, 1, 1)), "b.weight": random.normal(size=(4, 6, 1, 1))}
    nodes = [
        helper.make_node("Conv", ["x", "a.weight"], ["a"]), helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("Conv", ["r", "b.weight"], ["b"]), helper.make_node("GlobalAveragePool", ["b"], ["y"]),
    ]  # fmt: skip
    infos = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *sizes])
        for name, sizes in (("x", (3, SIDE, SIDE)), ("y", (4, 1, 1)))
    ]
    tensors = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in held.items()]
    graph = helper.make_graph(nodes, "g", infos[:1], infos[1:], tensors)
    model = Model.from_proto(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
    )
    start = StartingNetwork.of_model(model, {}, "net")
    unpruned = UnprunedNetwork.from_architecture(start.architecture)
    state = {key: value.clone() for key, value in start.network.state_dict().items()}
    whole = as_onnx(unpruned.prune(state, start.kept), start, model)
    images = draw(2, 3, SIDE, SIDE).numpy()
    expected = Runner(model, threads=1).scores(images)
    found = Runner(whole, threads=1).scores(images)
    assert found.shape == (2, 4, 1, 1)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
