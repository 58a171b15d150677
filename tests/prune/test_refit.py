"""Pruning without training: what reads removed filters is refitted, and filters go by what that costs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from enxuto import zoo
from enxuto.prune.channels.tracing import trace
from enxuto.prune.refit.in_order import refit_in_order
from enxuto.prune.refit.moments import RIDGE, ReaderMoments, collect_moments
from enxuto.prune.refit.plan import choose_by_cost
from enxuto.prune.refit.readers import find_readers, is_costly, sample_inputs
from enxuto.prune.refit.solve import best_ridge, column_costs, column_groups, refit_matrix
from enxuto.prune.removal.remove import remove


class Twins(nn.Module):
    """Its first layer computes filter 5 as half of filter 0, and filter 4 as the sum of filters 1 and 2."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.second = nn.Conv2d(6, 5, 3, padding=1)
        self.head = nn.Linear(5, 4)
        with torch.no_grad():
            for tensor in (self.first.weight, self.first.bias):
                tensor[5] = tensor[0] / 2
                tensor[4] = tensor[1] + tensor[2]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled: torch.Tensor = self.second(self.first(x)).relu().mean((2, 3))
        scores: torch.Tensor = self.head(pooled)
        return scores


def pictures(count: int = 48) -> torch.Tensor:
    return torch.randn(count, 3, 6, 6, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return Twins().eval()


def moments_of(rows: np.ndarray) -> ReaderMoments:
    whole = torch.from_numpy(np.concatenate([rows, np.ones((len(rows), 1))], 1))
    folds = torch.stack([whole[fold::3].T @ whole[fold::3] for fold in range(3)])
    counts = torch.tensor([float(len(whole[fold::3])) for fold in range(3)], dtype=torch.float64)
    return ReaderMoments(folds, counts, torch.eye(2, dtype=torch.float64))


def test_the_matrix_is_that_of_least_squares() -> None:
    random = np.random.default_rng(0)
    rows = random.standard_normal((300, 6)) @ random.standard_normal((6, 6)) + 1
    matrix = random.standard_normal((2, 7))
    kept = torch.tensor([True, True, False, True, True, False, True])
    found = refit_matrix(torch.from_numpy(matrix), moments_of(rows), kept, ridge=1e-12).numpy()
    whole = np.concatenate([rows, np.ones((300, 1))], 1)
    expected = np.linalg.lstsq(whole[:, kept.numpy()], whole @ matrix.T, rcond=None)[0].T
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


def test_noise_is_not_fitted() -> None:
    """Of few images with inputs that are independent, the best is to leave the other weights nearly as they were."""
    random = np.random.default_rng(1)
    rows, matrix = random.standard_normal((45, 30)), random.standard_normal((2, 31))
    kept = torch.tensor([True] * 20 + [False] * 10 + [True])
    chosen = refit_matrix(torch.from_numpy(matrix), moments_of(rows), kept).numpy()
    free = refit_matrix(torch.from_numpy(matrix), moments_of(rows), kept, ridge=1e-9).numpy()
    plain = matrix[:, kept.numpy()]
    assert np.abs(chosen - plain)[:, :-1].max() < 0.5 * np.abs(free - plain)[:, :-1].max()


@pytest.mark.parametrize("alive", [0, 1])
def test_inputs_that_are_always_zero_cost_nothing_and_stop_nothing(alive: int) -> None:
    """A reader without a bias, of channels that a rectifier keeps at 0 on all images."""
    rows = np.zeros((300, 4))
    rows[:, :alive] = np.random.default_rng(0).standard_normal((300, alive))
    seen = moments_of(rows)
    seen = ReaderMoments(seen.inputs[:, :4, :4], seen.counts, seen.gradients)
    matrix = torch.ones(2, 4, dtype=torch.float64)
    kept = torch.tensor([True, True, False, True])
    for ridge in (None, 1e-3):
        torch.testing.assert_close(refit_matrix(matrix, seen, kept, ridge), matrix[:, kept])
    costs = column_costs(matrix, seen, torch.arange(4)[:, None])
    assert costs[alive:].abs().max() < 1e-9
    assert bool((costs[:alive] > 0.5).all())


def test_the_cost_of_a_group_is_the_error_that_is_left() -> None:
    random = np.random.default_rng(2)
    rows = random.standard_normal((400, 6)) @ random.standard_normal((6, 6))
    matrix, seen = random.standard_normal((2, 7)), moments_of(rows)
    groups = torch.tensor([[0, 1], [2, 3], [4, 5]])
    costs = column_costs(torch.from_numpy(matrix), seen, groups)
    second = (seen.inputs.sum(0) / seen.counts.sum()).numpy()
    for group, cost in zip(groups.tolist(), costs.tolist(), strict=True):
        kept = torch.tensor([column not in group for column in range(7)])
        found = np.zeros((2, 7))
        found[:, kept.numpy()] = refit_matrix(torch.from_numpy(matrix), seen, kept, ridge=1e-9).numpy()
        gap = found - matrix
        assert cost == pytest.approx(0.5 * np.trace(gap @ second @ gap.T), rel=0.05)


@pytest.mark.parametrize("together", [1, 4])
@pytest.mark.parametrize("images", [30, 60, 5000])
def test_few_images_do_not_make_independent_columns_free(images: int, together: int) -> None:
    """Of as few images as columns each column seems to follow from the others: all filters before it look free."""
    random = np.random.default_rng(3)
    channels = np.repeat(np.arange(48 // together), together)
    scales = np.where(channels % 2 == 0, 0.5, 1.5)
    rows, matrix = random.standard_normal((images, 48)) * scales, torch.from_numpy(np.ones((2, 49)))
    seen, groups = moments_of(rows), column_groups(channels)
    seen = replace(seen, ridge=best_ridge(matrix, seen, groups))
    costs = column_costs(matrix, seen, groups[0]).numpy()
    true = together * scales[::together] ** 2  # half of two outputs
    assert np.median(costs / true) == pytest.approx(1.0, rel=0.5)
    assert costs[true > true.mean()].min() > costs[true < true.mean()].max()


def test_what_channels_share_within_does_not_make_them_free() -> None:
    """The columns of a channel, a kernel's positions, are nearly alike: they make each other, but go together."""
    random = np.random.default_rng(5)
    channels = np.repeat(np.arange(12), 4)
    rows = np.repeat(random.standard_normal((45, 12)), 4, axis=1) + 0.01 * random.standard_normal((45, 48))
    matrix, seen = torch.ones(2, 49, dtype=torch.float64), moments_of(rows)
    seen = replace(seen, ridge=best_ridge(matrix, seen, column_groups(channels)))
    costs = column_costs(matrix, seen, column_groups(channels)[0])
    assert float(costs.median()) == pytest.approx(4.0**2, rel=0.5)


def test_columns_that_others_make_stay_free_with_few_images() -> None:
    random = np.random.default_rng(4)
    rows = random.standard_normal((60, 4)) @ random.standard_normal((4, 40))
    matrix, seen = torch.ones(2, 41, dtype=torch.float64), moments_of(rows)
    groups = column_groups(np.arange(40))
    seen = replace(seen, ridge=best_ridge(matrix, seen, groups))
    powers = torch.from_numpy((rows**2).mean(0))
    assert bool((column_costs(matrix, seen, groups[0]) < 0.02 * powers).all())


def test_many_images_need_no_other_ridge() -> None:
    rows = np.random.default_rng(4).standard_normal((5000, 40))
    matrix = torch.ones(2, 41, dtype=torch.float64)
    assert best_ridge(matrix, moments_of(rows), column_groups(np.arange(40))) == RIDGE


@pytest.mark.parametrize(
    ("name", "costly"),
    [("resnet18", False), ("resnet56-cifar", False), ("vgg16-cifar", True), ("lenet5", False)],
)
def test_networks_whose_costs_take_long(name: str, costly: bool) -> None:
    with torch.device("meta"):
        network = zoo.build(name)
    assert is_costly(network) == costly


@pytest.mark.parametrize("options", [{}, {"padding": 1, "stride": 2}, {"dilation": 2}, {"padding": "same"}])
def test_sampled_inputs_give_the_layers_outputs(options: dict[str, object]) -> None:
    layer = nn.Conv2d(3, 4, 3, **options)  # type: ignore[arg-type]
    x = pictures(2)
    read = sample_inputs(layer, x, [0, 3])
    expected = layer(x).flatten(2).transpose(1, 2)[:, [0, 3]]
    torch.testing.assert_close(read @ layer.weight.flatten(1).T + layer.bias, expected)


def test_filters_that_others_can_stand_for_cost_nothing(network: nn.Module) -> None:
    channels = trace(network, torch.zeros(1, 3, 6, 6))
    readers = find_readers(network, channels)
    assert [reader.layer for reader in readers] == ["second", "head"]
    moments = collect_moments(network, readers, [pictures()])
    filters = {group.number: group.filters for group in channels.groups}

    def left(gone: frozenset[int]) -> float:
        return 1 - len(gone) / len(channels.groups)

    gone = choose_by_cost(network, channels, readers, moments, left, 1 - 2 / len(channels.groups))
    chosen = [filters[number] for number in gone]
    assert len(chosen) == 2
    assert all("first" in one for one in chosen)
    kept = channels.without_groups(gone)
    smaller = remove(network, channels, kept)  # equals the original with these filters zero
    with torch.no_grad():
        plain = float((smaller(pictures()) - network(pictures())).abs().max())
        refit_in_order(network, smaller, kept, pictures())
        refitted = float((smaller(pictures()) - network(pictures())).abs().max())
    assert refitted < 0.02 * plain
    one_of_each = [set(one["first"]) & {0, 5} for one in chosen]
    assert sum(map(bool, one_of_each)) <= 1  # of the two that say the same only one goes


@pytest.mark.parametrize("multiple", [1, 2, 3])
def test_layers_keep_multiples(network: nn.Module, multiple: int) -> None:
    channels = trace(network, torch.zeros(1, 3, 6, 6))
    readers = find_readers(network, channels)
    moments = collect_moments(network, readers, [pictures()])

    def left(gone: frozenset[int]) -> float:
        return 1 - len(gone) / len(channels.groups)

    gone = choose_by_cost(network, channels, readers, moments, left, 0.6, multiple=multiple)
    kept = channels.without_groups(gone).layers
    assert left(gone) <= 0.6
    assert all(
        len(kept[layer]) % multiple == 0 or len(kept[layer]) == width
        for layer, width in channels.widths.items()
    )
