"""The choice of filters: nested, monotone, as near to the target as its order allows, never below a floor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from enxuto import zoo
from enxuto.errors import UsageError
from enxuto.prune.channels.tracing import trace
from enxuto.prune.criteria.scores import scores
from enxuto.prune.ranking import choose_units, removal_order, round_to_multiple, unit_scores
from enxuto.prune.removal.remove import remove
from enxuto.prune.target_network import macs_left, macs_per_weight, parameters_left
from enxuto.prune.targets import FiltersLeft, SizeLeft
from enxuto.summary import summarize_module


@dataclass(frozen=True)
class Unit:
    filters: Mapping[str, tuple[int, ...]]
    slices: tuple[tuple[str, int, tuple[int, ...]], ...] = field(default=())


def layers(**counts: int) -> list[Unit]:
    """Layers one after the other, each filter a unit of its own; a weight is (filters, inputs)."""
    names = list(counts)
    found = []
    for place, name in enumerate(names):
        for i in range(counts[name]):
            after = ((names[place + 1], 1, (i,)),) if place + 1 < len(names) else ()
            found.append(Unit({name: (i,)}, ((name, 0, (i,)), *after)))
    return found


NAMES = ("a", "b", "c")


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[Unit], dict[str, np.ndarray]]:
    """Chains with residual units across layers, units of two filters, filters in no unit, and ties."""
    units, sizes = [], dict.fromkeys(NAMES, 0)
    for kind in draw(st.lists(st.sampled_from(["a", "b", "c", "ab", "abc", "cc"]), min_size=1, max_size=40)):
        filters: dict[str, tuple[int, ...]] = {}
        for layer in kind:
            filters[layer] = (*filters.get(layer, ()), sizes[layer])
            sizes[layer] += 1
        units.append(Unit(filters, tuple((layer, 0, places) for layer, places in filters.items())))
    found = {}
    for layer in NAMES:
        sizes[layer] += draw(st.integers(0, 2))
        found[layer] = np.array(
            draw(st.lists(st.integers(0, 9), min_size=sizes[layer], max_size=sizes[layer])), float
        )
    return units, found


SETTINGS = {
    "scope": st.sampled_from(["global", "local"]),
    "normalise": st.sampled_from(["none", "l2", "mean", "max"]),
    "floor": st.integers(1, 4),
    "multiple": st.sampled_from([1, 2, 3, 8]),
}


@settings(max_examples=200, deadline=None)
@given(
    problem=problems(),
    options=st.fixed_dictionaries(SETTINGS),
    shares=st.tuples(st.floats(0, 0.999), st.floats(0, 0.999)).map(sorted),
    bumps=st.lists(st.floats(0, 5), min_size=1, max_size=7),
)
def test_asking_for_more_never_leaves_more(
    problem: tuple[list[Unit], dict[str, np.ndarray]],
    options: dict[str, object],
    shares: list[float],
    bumps: list[float],
) -> None:
    """Also by a measure that goes up and down, as latency does."""
    units, found = problem
    count = FiltersLeft(units, found)
    for measure in (count, lambda removed: count(removed) + bumps[len(removed) % len(bumps)] + 1):
        if measure(()) == 0:
            continue
        less, more = (choose_units(units, found, share, measure, **options) for share in shares)
        assert set(less.removed) <= set(more.removed)
        for choice in (less, more):
            assert choice.achieved == pytest.approx(1 - measure(choice.removed) / measure(()))
            for layer, values in found.items():
                gone = sum(len(units[number].filters.get(layer, ())) for number in choice.removed)
                assert len(values) - gone >= min(len(values), options["floor"]) or not gone


@settings(max_examples=100, deadline=None)
@given(problem=problems(), options=st.fixed_dictionaries(SETTINGS), share=st.floats(0, 0.999))
def test_no_place_of_the_order_comes_nearer(
    problem: tuple[list[Unit], dict[str, np.ndarray]], options: dict[str, object], share: float
) -> None:
    units, found = problem
    measure = FiltersLeft(units, found)
    choice = choose_units(units, found, share, measure, **options)
    values = unit_scores(units, found, normalise=options["normalise"])
    sizes = {layer: len(score) for layer, score in found.items()}
    order = removal_order(units, values, sizes, scope=options["scope"], floor=options["floor"])
    possible = [
        1 - measure(round_to_multiple(units, order, n, options["multiple"])) / measure(())
        for n in range(len(order) + 1)
    ]
    assert abs(choice.achieved - share) <= min(abs(reached - share) for reached in possible) + 1e-12
    bound = choose_units(units, found, share, measure, **options, at_most=True)
    enough = [reached for reached in possible if reached >= share - 1e-9]
    assert bound.achieved == pytest.approx(min(enough, default=max(possible)), abs=1e-12)
    assert bound.exhausted == (not enough)
    assert choice.exhausted == (choice.achieved == max(possible) < share - 1e-9)


def test_global_is_by_score_and_exact() -> None:
    units = layers(a=4, b=6)
    found = {"a": np.array([5.0, 1.0, 9.0, 8.0]), "b": np.array([0.0, 2.0, 7.0, 3.0, 4.0, 6.0])}
    choice = choose_units(units, found, 0.3, FiltersLeft(units, found))
    assert choice.removed == (1, 4, 5)
    assert (choice.requested, choice.achieved) == (0.3, pytest.approx(0.3))
    assert choose_units(units, found, 0.0, FiltersLeft(units, found)).removed == ()
    # 0.93 of 10: two must stay, one in each layer; 0.8 is the most.
    assert choose_units(units, found, 0.93, FiltersLeft(units, found)).achieved == pytest.approx(0.8)


def test_local_takes_the_same_share_of_each_layer() -> None:
    units = layers(a=4, b=8, c=16)
    found = {"a": np.arange(4.0) + 100, "b": np.arange(8.0), "c": np.arange(16.0)[::-1]}
    choice = choose_units(units, found, 0.25, FiltersLeft(units, found), scope="local")
    assert choice.removed == (0, 4, 5, 24, 25, 26, 27)


@settings(max_examples=50, deadline=None)
@given(counts=st.lists(st.integers(1, 60), min_size=3, max_size=3), share=st.floats(0, 0.9))
def test_local_shares_differ_by_less_than_a_filter(counts: list[int], share: float) -> None:
    units = layers(**dict(zip(NAMES, counts, strict=True)))
    found = {name: np.ones(count) for name, count in zip(NAMES, counts, strict=True)}
    choice = choose_units(units, found, share, FiltersLeft(units, found), scope="local")
    gone = [sum(name in units[number].filters for number in choice.removed) for name in NAMES]
    if all(count - number > 1 for count, number in zip(counts, gone, strict=True)):  # no floor was met
        # One share, near the one asked for, of which every layer lost the nearest whole number of filters.
        pairs = list(zip(counts, gone, strict=True))
        least = max((number - 0.5) / count for count, number in pairs)
        most = min((number + 0.5) / count for count, number in pairs)
        assert least <= most + 1e-9


@pytest.mark.parametrize(
    ("how", "values"),
    [
        ("none", [3, 4, 0, 9]),
        ("l2", [0.6, 0.8, 0, 1]),
        ("mean", [6 / 7, 8 / 7, 0, 2]),
        ("max", [0.75, 1, 0, 1]),
    ],
)
def test_normalisation_by_hand(how: str, values: list[float]) -> None:
    units = layers(a=2, b=2)
    found = {"a": np.array([3.0, 4.0]), "b": np.array([0.0, 9.0])}
    np.testing.assert_allclose(unit_scores(units, found, normalise=how), values)


def test_a_units_score_is_the_mean_of_its_filters() -> None:
    units = [Unit({"a": (0, 2), "b": (1,)}), Unit({"a": (1,), "unscored": (0,)})]
    assert unit_scores(units, {"a": np.array([1.0, 5.0, 3.0]), "b": np.array([0.0, 8.0])}).tolist() == [
        4.0,
        5.0,
    ]
    normalised = unit_scores(units, {"a": np.zeros(3), "b": np.array([0.0, 8.0])}, normalise="max")
    assert normalised.tolist() == [pytest.approx(1 / 3), 0.0]


def test_floor_keeps_the_best_and_lets_others_go() -> None:
    units = layers(a=3, b=3)
    order = removal_order(units, np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), {"a": 3, "b": 3}, floor=2)
    assert order == (0, 3)
    # Filters in no unit stay anyway, and count.
    assert removal_order(units, np.arange(6.0), {"a": 4, "b": 3}, floor=2) == (0, 1, 3)
    assert removal_order(units, np.arange(6.0), {"a": 3, "b": 3}, floor=9) == ()


def test_multiples_are_left() -> None:
    units = layers(a=20, b=16)
    order = removal_order(units, np.arange(36.0), {"a": 20, "b": 16})
    for count in range(len(order) + 1):
        removed = round_to_multiple(units, order, count, 8)
        assert set(removed) <= set(order[:count])
        left = 20 - sum(number < 20 for number in removed), 16 - sum(number >= 20 for number in removed)
        assert left[0] in (20, 16, 8)
        assert left[1] in (16, 8)
    assert round_to_multiple(units, order, 4, 8) == (0, 1, 2, 3)
    assert round_to_multiple(units, order, 3, 8) == ()
    # Two filters of c in each unit: four units make 8.
    pairs = [Unit({"c": (2 * i, 2 * i + 1)}) for i in range(8)]
    assert round_to_multiple(pairs, range(7), 7, 8) == (0, 1, 2, 3)


def test_parameters_and_macs_count_what_neighbours_lose_once() -> None:
    units = layers(a=4, b=6)
    shapes = {"a": (4, 3), "b": (6, 4)}
    assert SizeLeft(units, shapes, {"a": 1, "b": 1})(()) == 36
    assert SizeLeft(units, shapes, {"a": 1, "b": 1})((0, 4, 5)) == 3 * 3 + 4 * 3
    assert SizeLeft(units, shapes, {"a": 100, "b": 10})((0, 4, 5)) == 900 + 120
    size = SizeLeft(units, shapes, {"a": 100, "b": 10})
    for gone in ((), (0,), (4, 5)):
        assert size.savings(gone) == {
            number: size(gone) - size((*gone, number)) for number in range(len(units)) if number not in gone
        }
    found = {"a": np.ones(4), "b": np.ones(6)}
    choice = choose_units(units, found, 0.5, SizeLeft(units, shapes, {"b": 1}), scope="local")
    assert abs(choice.achieved - 0.5) < 0.1


@pytest.mark.parametrize("name", ["lenet5-cifar", "resnet20-cifar", "shufflenet-cifar", "mobilenet-v2-cifar"])
def test_parameters_predicted_are_those_of_the_pruned_network(name: str) -> None:
    network = zoo.build(name, seed=0).eval()
    example = torch.zeros(1, *zoo.input_shape(name))
    channels = trace(network, example)
    found = scores(network, [(example, torch.tensor([0]))], "l1")
    measure = parameters_left(channels.groups, network)
    choice = choose_units(channels.groups, found, 0.5, measure, floor=2)
    smaller = remove(network, channels, channels.without_groups(choice.removed))
    assert sum(value.numel() for value in smaller.parameters()) == measure(choice.removed)
    assert abs(choice.achieved - 0.5) < 0.02


def test_what_makes_no_sense_is_refused() -> None:
    units = layers(a=3)
    found = {"a": np.ones(3)}
    measure = FiltersLeft(units, found)
    for share in (-0.1, 1.0, float("nan")):
        with pytest.raises(UsageError, match="share"):
            choose_units(units, found, share, measure)
    with pytest.raises(UsageError, match="floor"):
        choose_units(units, found, 0.5, measure, floor=-1)
    with pytest.raises(UsageError, match="multiples"):
        choose_units(units, found, 0.5, measure, multiple=0)
    with pytest.raises(UsageError, match="E021"):
        choose_units(units, found, 0.5, measure, scope="regional")
    with pytest.raises(UsageError, match="E021"):
        choose_units(units, found, 0.5, measure, normalise="l3")
    with pytest.raises(UsageError, match="no score for any of a"):
        choose_units(units, {"b": np.ones(3)}, 0.5, measure)
    with pytest.raises(UsageError, match="scores of a must be finite"):
        choose_units(units, {"a": np.array([1.0, np.nan, 2.0])}, 0.5, measure)
    with pytest.raises(UsageError, match="unpruned"):
        choose_units(units, found, 0.5, lambda removed: 0.0)


@pytest.mark.parametrize("name", ["lenet5-cifar", "shufflenet-cifar"])
def test_macs_are_the_summarys_before_and_after(name: str) -> None:
    network = zoo.build(name, seed=0).eval()
    example = torch.zeros(1, *zoo.input_shape(name))
    channels = trace(network, example)
    measure = macs_left(channels.groups, network, example)
    assert measure(()) == summarize_module(network, tuple(example.shape[1:])).macs
    found = scores(network, [(example, torch.tensor([0]))], "l2")
    choice = choose_units(channels.groups, found, 0.3, measure, scope="local")
    smaller = remove(network, channels, channels.without_groups(choice.removed))
    assert summarize_module(smaller, tuple(example.shape[1:])).macs == measure(choice.removed)
    assert abs(choice.achieved - 0.3) < 0.05


def test_macs_of_transposed_and_grouped_layers_by_hand() -> None:
    network = nn.Sequential(
        nn.ConvTranspose2d(2, 4, 3, groups=2),
        nn.Conv2d(4, 6, 1, groups=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    found = macs_per_weight(network, torch.zeros(1, 2, 5, 5))
    assert found == {"0.weight": 25.0, "1.weight": 49.0}
