"""Schedules against sequences worked by hand, and against torch's own."""

from __future__ import annotations

import math

import pytest
import torch

from enxuto.train.config import TrainConfig
from enxuto.train.optimizers import change_momentum, make_optimizer, set_rate
from enxuto.train.schedules import Cosine, Milestones, Plateau, Schedule, Souza, make_schedule


def follow(schedule: Schedule, losses: list[float]) -> tuple[list[float], list[bool]]:
    """The factor during each epoch and whether the run should stop after it."""
    factors, stops = [], []
    for epoch, loss in enumerate(losses):
        factors.append(schedule.factor(epoch))
        stops.append(schedule.observe(loss, None))
    return factors, stops


def test_souza_by_hand() -> None:
    rule = Souza(0.1, 0.01, patience=1, stabilisations=4)
    #         first  falls  stable  falls  stable  rises  stable  stable: the fourth
    losses = [2.000, 1.500, 1.495, 1.300, 1.2901, 1.400, 1.409, 1.408]
    factors, stops = follow(rule, losses)
    assert factors == pytest.approx([1, 1, 1, 0.1, 0.1, 0.01, 0.01, 0.001])
    assert stops == [False] * 7 + [True]


def test_souza_less_than_a_hundredth_is_stable_and_a_hundredth_is_not() -> None:
    rule = Souza(0.1, 0.25, patience=1, stabilisations=4)  # 0.25: exact in binary
    assert follow(rule, [1.0, 0.75, 0.5, 0.2500001, 0.0])[0] == pytest.approx([1, 1, 1, 1, 0.1])


def test_souza_patience_counts_stable_epochs_in_a_row() -> None:
    rule = Souza(0.1, 0.01, patience=2, stabilisations=2)
    losses = [1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]
    factors, stops = follow(rule, losses)
    assert factors == pytest.approx([1, 1, 1, 1, 1, 0.1, 0.1, 0.01])
    assert stops.index(True) == 6


@pytest.mark.parametrize(("rise_is_stable", "factor"), [(False, 1), (True, 0.1)])
def test_a_rise_may_count_as_stable(rise_is_stable: bool, factor: float) -> None:
    rule = Souza(0.1, 0.01, 2, 4, rise_is_stable)
    assert follow(rule, [1.0, 3.0, 5.0, 4.0])[0] == pytest.approx([1, 1, 1, factor])


def test_plateau_by_hand() -> None:
    rule = Plateau(0.1, patience=2)
    losses = [1.0, 0.9, 0.95, 0.92, 0.91, 0.8, 0.8, 0.8]
    factors, stops = follow(rule, losses)
    assert factors == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.1, 0.1])
    assert rule.factor(8) == pytest.approx(0.01)
    assert not any(stops)


def test_plateau_is_torchs_with_one_epoch_less() -> None:
    losses = torch.rand(40, generator=torch.Generator().manual_seed(3)).tolist()
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], 1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=2, eps=0)
    ours = Plateau(0.5, patience=3)
    for loss in losses:
        ours.observe(loss, None)
        theirs.step(loss)
        assert ours.factor(0) == optimizer.param_groups[0]["lr"]


def test_plateau_watches_validation_where_there_is_one() -> None:
    rule = Plateau(0.1, patience=1)
    rule.observe(1.0, 2.0)
    rule.observe(0.5, 2.0)
    assert rule.factor(2) == pytest.approx(0.1)


def test_milestones_of_the_lottery() -> None:
    schedule = Milestones((80, 120), 0.1)
    assert [schedule.factor(at) for at in (0, 79.99, 80, 119.99, 120, 159)] == pytest.approx(
        [1, 1, 0.1, 0.1, 0.01, 0.01]
    )


def test_cosine_by_hand() -> None:
    schedule = Cosine(8)
    assert [schedule.factor(at) for at in (0, 2, 4, 6, 8)] == pytest.approx(
        [1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2, 0], abs=1e-15
    )


@pytest.mark.parametrize("optimizer", ["momentum", "nesterov", "adam", "adamax", "nadam"])
def test_one_cycle_is_torchs(optimizer: str) -> None:
    """Rate and momentum of every step, of optimizers that our loop's calls and torch's own schedule drive."""
    steps = 50
    config = TrainConfig.from_recipe(
        None, {"optimizer": optimizer, "schedule": "onecycle", "lr": 1.0, "epochs": 10, "warmup": 0.3}
    )
    mine, other = (make_optimizer(config, [torch.nn.Parameter(torch.zeros(1))]) for _ in range(2))
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        other, 1.0, total_steps=steps + 1, pct_start=(0.3 * steps + 1) / (steps + 1)
    )
    ours = make_schedule(config)
    for step in range(steps + 1):
        set_rate(mine, ours.factor(10 * step / steps))
        change_momentum(mine, ours.momentum_change(10 * step / steps))
        for name in ("lr", "momentum", "betas"):
            found, wanted = (of.param_groups[0].get(name) for of in (mine, other))
            assert found == wanted if wanted is None else found == pytest.approx(wanted, abs=1e-9)
        if step < steps:
            other.step()
            theirs.step()


@pytest.mark.parametrize("name", ["sgd", "rmsprop", "adagrad", "adadelta"])
def test_an_optimizer_without_momentum_gets_none(name: str) -> None:
    config = TrainConfig.from_recipe(None, {"optimizer": name, "schedule": "onecycle"})
    optimizer = make_optimizer(config, [torch.nn.Parameter(torch.zeros(1))])
    before = [dict(group) for group in optimizer.param_groups]
    change_momentum(optimizer, 0.05)
    assert [dict(group) for group in optimizer.param_groups] == before


def test_only_one_cycle_changes_the_momentum() -> None:
    others = [
        TrainConfig.from_recipe(None, {"schedule": name, "milestones": [2] if name == "milestones" else []})
        for name in ("constant", "milestones", "plateau", "souza", "cosine")
    ]
    assert {make_schedule(config).momentum_change(at) for config in others for at in (0, 1.5, 9)} == {0.0}
    still = TrainConfig.from_recipe(None, {"schedule": "onecycle", "momentum_swing": 0.0})
    assert {make_schedule(still).momentum_change(at) for at in (0, 1.5, 9)} == {0.0}


@pytest.mark.parametrize(
    "settings",
    [
        {"schedule": "souza", "patience": 2},
        {"schedule": "plateau", "patience": 2},
        {"schedule": "cosine"},
        {"schedule": "onecycle", "warmup": 0.0},
        {"schedule": "milestones", "milestones": [2, 4]},
        {"schedule": "constant"},
    ],
    ids=lambda settings: str(settings["schedule"]),
)
def test_state_goes_on_where_it_was(settings: dict[str, object]) -> None:
    config = TrainConfig.from_recipe(None, settings)
    losses = [1.0, 0.9, 0.9, 0.895, 0.9, 0.4, 0.4, 0.4, 0.4]
    expected = follow(make_schedule(config), losses)
    for cut in range(len(losses)):
        first, second = make_schedule(config), make_schedule(config)
        before = follow(first, losses[:cut])
        second.load_state_dict(first.state_dict())
        rest = [
            (second.factor(cut + place), second.observe(loss, None))
            for place, loss in enumerate(losses[cut:])
        ]
        assert before[0] + [factor for factor, _ in rest] == expected[0]
        assert before[1] + [stop for _, stop in rest] == expected[1]
