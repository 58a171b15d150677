"""Rounds of pruning: plans in original places, exact sizes, states that spread and shrink, starts of retraining."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from enxuto import prune
from enxuto.errors import UsageError
from enxuto.prune.criteria.scores import scores
from enxuto.prune.removal.kept import Architecture
from enxuto.prune.removal.remove import slice_state
from enxuto.prune.retrain import build_unpruned, reinitialise, retraining_config, slice_epochs
from enxuto.prune.rounds import UnprunedNetwork, _measure_size, shares_left
from enxuto.prune.selection import Selection
from enxuto.summary.torch_module import summarize_module
from enxuto.train.config import TrainConfig
from enxuto.train.schedules import make_schedule

LENET = Architecture("lenet5", (1, 32, 32), 10)
SHUFFLE = Architecture("shufflenet-cifar", (3, 32, 32), 10)


@pytest.fixture(scope="module")
def lenet() -> UnprunedNetwork:
    return UnprunedNetwork.from_architecture(LENET)


def l1_of(unpruned: UnprunedNetwork, network: torch.nn.Module) -> dict[str, np.ndarray]:
    image = torch.zeros(1, *unpruned.architecture.input_shape)
    return scores(network, [(image, torch.tensor([0]))], "l1")


def test_a_fifth_each_round() -> None:
    assert shares_left(0.2, 3) == pytest.approx((0.8, 0.64, 0.512))
    for amount, rounds in ((0.0, 1), (1.0, 1), (0.2, 0), (math.nan, 1)):
        with pytest.raises(UsageError, match="round"):
            shares_left(amount, rounds)


def test_sizes_of_lenet_by_hand(lenet: UnprunedNetwork) -> None:
    assert (lenet.size.filters, lenet.size.parameters, lenet.size.macs) == (
        6 + 16 + 120 + 84,
        61_706,
        416_520,
    )
    assert set(lenet.hidden_layers) == {"features.c1", "features.c3", "classifier.c5", "classifier.f6"}


@pytest.mark.parametrize("target", ["filters", "parameters", "macs"])
def test_rounds_follow_the_share_of_the_unpruned_network(lenet: UnprunedNetwork, target: str) -> None:
    state = build_unpruned(LENET, 0).state_dict()
    kept, network = lenet.channels.keep_all(), lenet.prune(state, lenet.channels.keep_all(), verify=False)
    how = Selection(target, normalise="mean")
    for left in shares_left(0.2, 4):
        step = lenet.plan_round(kept, l1_of(lenet, network), left, how)
        for layer, places in step.kept.layers.items():
            assert set(places) <= set(kept.layers[layer])  # in original places, and never back
        network = lenet.prune(lenet.expand_state(network.state_dict(), kept), step.kept)
        kept = step.kept
        size = lenet.size_of(network, kept)
        counted = {
            "filters": size.filters, "parameters": sum(p.numel() for p in network.parameters()),
            "macs": summarize_module(network, (1, 32, 32)).macs,
        }[target]  # fmt: skip
        # What a round says it reached is what the network that it leaves has.
        assert step.achieved == pytest.approx(counted / getattr(lenet.size, target), rel=1e-12)
        assert abs(step.achieved - left) < 0.06  # a filter of c3 is a tenth of the MACs


def test_rounds_by_the_names_of_the_package() -> None:
    """The loop of `enxuto.prune`'s docstring."""
    unpruned = prune.UnprunedNetwork.from_architecture(prune.Architecture("vgg16-slim-cifar", (3, 32, 32)))
    network = unpruned.architecture.build()
    batches = [(torch.zeros(1, 3, 32, 32), torch.tensor([0]))]
    state, kept = network.state_dict(), unpruned.channels.keep_all()
    for left in prune.shares_left(0.5, rounds=2):
        kept = unpruned.plan_round(kept, scores(network, batches, "l1"), left, prune.Selection()).kept
        network = unpruned.prune(state, kept)
    assert unpruned.size_of(network, kept).filters == unpruned.size.filters // 4 == 528 // 4


def test_sizes_are_exact_where_convolutions_are_grouped() -> None:
    unpruned = UnprunedNetwork.from_architecture(SHUFFLE)
    state, kept = build_unpruned(SHUFFLE, 0).state_dict(), unpruned.channels.keep_all()
    network = unpruned.prune(state, kept, verify=False)
    found = l1_of(unpruned, network)
    for target in ("parameters", "macs"):
        step = unpruned.plan_round(kept, found, 0.6, Selection(target))
        size = unpruned.size_of(unpruned.prune(state, step.kept, verify=False), step.kept)
        assert step.achieved == pytest.approx(
            getattr(size, target) / getattr(unpruned.size, target), rel=1e-12
        )
        assert step.achieved == pytest.approx(0.6, abs=0.01)


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_a_state_spread_and_cut_again_is_the_same(lenet: UnprunedNetwork, data: st.DataObject) -> None:
    numbers = data.draw(st.sets(st.integers(0, len(lenet.channels.groups) - 1), max_size=5))
    kept = lenet.channels.without_groups(numbers)
    small = slice_state(build_unpruned(LENET, 3).state_dict(), lenet.channels, kept)
    whole = lenet.expand_state(small, kept)
    again = slice_state(whole, lenet.channels, kept)
    assert all(torch.equal(again[name], value) for name, value in small.items())
    assert sum(int((value != 0).sum()) for value in whole.values()) == sum(
        int((value != 0).sum()) for value in small.values()
    )
    assert {name: value.shape for name, value in whole.items()} == {
        name: value.shape for name, value in lenet.network.state_dict().items()
    }


def test_a_state_of_another_network_is_refused(lenet: UnprunedNetwork) -> None:
    with pytest.raises(UsageError, match="E071"):
        lenet.expand_state(build_unpruned(LENET, 0).state_dict(), lenet.channels.without_groups([0]))


def test_what_is_reached_already_removes_nothing(lenet: UnprunedNetwork) -> None:
    kept = lenet.channels.without_filters({"classifier.c5": range(40)})
    network = lenet.prune(build_unpruned(LENET, 0).state_dict(), kept, verify=False)
    step = lenet.plan_round(kept, l1_of(lenet, network), 0.95, Selection())
    assert step.kept == kept
    assert step.requested == 0.95
    assert step.achieved == pytest.approx(186 / 226)


@pytest.mark.parametrize(
    "architecture",
    [LENET, SHUFFLE, Architecture("resnet20-cifar", (3, 32, 32), 10)],
    ids=lambda one: one.name,
)
def test_random_filters_leave_as_many_of_each_layer(architecture: Architecture) -> None:
    unpruned = UnprunedNetwork.from_architecture(architecture)
    network = build_unpruned(architecture, 0)
    whole = unpruned.channels.keep_all()
    first = unpruned.plan_round(whole, l1_of(unpruned, network), 0.8, Selection()).kept
    second = unpruned.plan_round(
        first, l1_of(unpruned, unpruned.prune(network.state_dict(), first, verify=False)), 0.6, Selection()
    ).kept
    plan = unpruned.plan_alike(whole, first, 1)
    later = unpruned.plan_alike(plan, second, 2)
    for chosen, like in ((plan, first), (later, second)):
        assert {k: len(v) for k, v in chosen.layers.items()} == {k: len(v) for k, v in like.layers.items()}
        assert chosen != like
    assert all(set(places) <= set(plan.layers[layer]) for layer, places in later.layers.items())
    assert unpruned.plan_alike(whole, first, 1) == plan != unpruned.plan_alike(whole, first, 3)
    unpruned.prune(network.state_dict(), later)  # a removal that holds
    with pytest.raises(UsageError, match="fewer filters are left"):
        unpruned.plan_alike(second, first, 0)


def test_convolutions_alone_are_pruned_and_counted(lenet: UnprunedNetwork) -> None:
    network = build_unpruned(LENET, 0)
    found = l1_of(lenet, network)
    step = lenet.plan_round(lenet.channels.keep_all(), found, 0.5, Selection(layers="convolutions"))
    left = {layer: len(places) for layer, places in step.kept.layers.items()}
    assert left["features.c1"] + left["features.c3"] == 11  # half of 22
    assert (left["classifier.c5"], left["classifier.f6"]) == (120, 84)
    assert step.achieved == 0.5


def test_latency_is_asked_of_the_timer_once_for_each_plan(lenet: UnprunedNetwork) -> None:
    asked: list[int] = []

    def timer(plan: object) -> float:
        asked.append(sum(map(len, plan.layers.values())))  # type: ignore[attr-defined]
        return asked[-1] / 236  # as if time were the filters, outputs and all

    network = build_unpruned(LENET, 0)
    kept = lenet.channels.keep_all()
    step = lenet.plan_round(
        kept, l1_of(lenet, network), 0.75, Selection("latency", normalise="mean"), timer=timer
    )
    assert step.achieved == pytest.approx(0.75, abs=0.003)
    assert len(set(asked)) == len(asked) <= 10
    with pytest.raises(UsageError, match="E023"):
        lenet.plan_round(kept, l1_of(lenet, network), 0.75, Selection("latency"))


def test_reinitialised_weights_have_the_spread_of_their_own_size(lenet: UnprunedNetwork) -> None:
    kept = lenet.channels.without_filters({"features.c3": range(4, 16)})
    network = reinitialise(lenet, kept, 7)
    weight = network.get_submodule("classifier.c5").weight.detach()
    assert weight.shape == (120, 4 * 25)
    # LeCun's uniform weights: variance 1/fan-in, nothing beyond ±√(3/fan-in).
    assert float(weight.abs().max()) <= math.sqrt(3 / 100) < 1.05 * float(weight.abs().max())
    assert float(weight.var()) == pytest.approx(1 / 100, rel=0.05)
    other = reinitialise(lenet, kept, 8)
    assert not torch.equal(weight, other.get_submodule("classifier.c5").weight)


CONFIG = TrainConfig.from_recipe("lottery", {"epochs": 10, "milestones": (4, 8), "keep_epochs": (0, 2)})


@pytest.mark.parametrize("start", [0, 2, 4, 5, 8, 9])
def test_the_rest_of_a_schedule_has_the_same_rates(start: int) -> None:
    rest = slice_epochs(CONFIG, start, 10)
    whole, part = make_schedule(CONFIG), make_schedule(rest)
    for epoch in range(start, 10):
        assert rest.lr * part.factor(epoch - start) == pytest.approx(CONFIG.lr * whole.factor(epoch))


def test_each_way_of_retraining_has_its_schedule() -> None:
    def of(mode: str, **changes: int) -> TrainConfig:
        return retraining_config(
            mode, CONFIG, **{"rewind_epoch": 2, "last_lr": 0.001, "epochs": None, "seed": 5, **changes}
        )

    assert (of("lr-rewind").lr, of("lr-rewind").milestones, of("lr-rewind").epochs) == (0.1, (4, 8), 10)
    assert of("reinit") == of("lr-rewind")
    assert (of("rewind").milestones, of("rewind").epochs) == ((2, 6), 8)
    assert (of("fine-tune").lr, of("fine-tune").schedule, of("fine-tune", epochs=3).epochs) == (
        0.001,
        "constant",
        3,
    )
    assert {of(mode).seed for mode in ("rewind", "lr-rewind", "fine-tune")} == {5}
    with pytest.raises(UsageError, match="without retraining"):
        of("none")
    with pytest.raises(UsageError, match="nothing to train"):
        of("rewind", rewind_epoch=10)
    curve = TrainConfig.from_recipe("quick")
    assert (
        retraining_config("rewind", curve, rewind_epoch=2, last_lr=1, epochs=None, seed=0).epochs
        == curve.epochs
    )
    with pytest.raises(UsageError, match="E022"):
        slice_epochs(curve, 1, 5)


@pytest.mark.parametrize("frozen", [False, True])
def test_a_size_counts_frozen_parameters(frozen: bool) -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.Flatten(), nn.Linear(64, 2))
    network[0].requires_grad_(not frozen)
    assert _measure_size(network, (3, 8, 8), 12).parameters == 224 + 292 + 130
