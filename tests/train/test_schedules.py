"""Schedules against sequences worked by hand, and against torch's own."""

from __future__ import annotations

import math
import warnings

import pytest
import torch

from enxuto.train.config import TrainConfig
from enxuto.train.schedules import Cosine, Milestones, OneCycle, Plateau, Schedule, Souza, schedule_of


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


def test_one_cycle_is_torchs() -> None:
    steps = 50
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 1.0, total_steps=steps + 1, pct_start=(0.3 * steps + 1) / (steps + 1), cycle_momentum=False
    )
    ours = OneCycle(10, 0.3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch wants optimizer.step() in between
        for step in range(steps + 1):
            assert ours.factor(10 * step / steps) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-9)
            if step < steps:
                theirs.step()


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
    config = TrainConfig.of(None, settings)
    losses = [1.0, 0.9, 0.9, 0.895, 0.9, 0.4, 0.4, 0.4, 0.4]
    expected = follow(schedule_of(config), losses)
    for cut in range(len(losses)):
        first, second = schedule_of(config), schedule_of(config)
        before = follow(first, losses[:cut])
        second.load_state_dict(first.state_dict())
        rest = [
            (second.factor(cut + place), second.observe(loss, None))
            for place, loss in enumerate(losses[cut:])
        ]
        assert before[0] + [factor for factor, _ in rest] == expected[0]
        assert before[1] + [stop for _, stop in rest] == expected[1]
