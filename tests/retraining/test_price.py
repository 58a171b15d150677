"""The price of a bit follows the size or the loss that was asked for."""

from __future__ import annotations

import math
from typing import Any

import pytest

from enxuto.compression.excess import excess_of
from enxuto.compression.judge import Bounds, Judgement
from enxuto.retraining.price import PriceOfBits
from enxuto.retraining.schedule import Schedule, planned_schedule
from enxuto.retraining.settings import Retraining


def judged(**figures: Any) -> Judgement:
    known: dict[str, Any] = {
        "samples": 100, "top1": 80.0, "drop": 0.0, "drop_interval": None, "agreement": 95.0,
        "agreement_interval": None, "kl": 0.05, "data_hash": "",
    }  # fmt: skip
    return Judgement(**{**known, **figures})


@pytest.mark.parametrize(
    ("bounds", "room", "excess"),
    [
        (Bounds(max_kl=0.1), {"kl": 0.05}, {"kl": 0.2}),
        (Bounds(min_agreement=90), {"agreement": 95.0}, {"agreement": 85.0}),
        (Bounds(max_drop=0.5), {"drop": 0.0}, {"drop": 2.0}),
        (Bounds(max_drop=-0.5), {"drop": -1.0}, {"drop": 0.0}),
        (Bounds(min_snr=30), {"values_loss": 1e-4}, {"values_loss": 1e-2}),
        (Bounds(max_kl=0.1, min_agreement=90), {"kl": 0.01}, {"kl": 0.01, "agreement": 80.0}),
        (Bounds(max_kl=0.1), {"kl": 0.0}, {"kl": math.nan}),
    ],
)
def test_the_price_rises_where_there_is_room_and_falls_where_a_bound_is_passed(
    bounds: Bounds, room: dict[str, float], excess: dict[str, float]
) -> None:
    for figures, rises in ((room, True), (excess, False)):
        judgement = judged(**figures)
        assert (excess_of(bounds, judgement) < 0) == rises
        assert (excess_of(bounds, judgement) <= 0) == (bounds.violation(judgement) is None)
        price = PriceOfBits(1e-6, bounds, 1000.0)
        price.follow_loss(judgement, 0.5)
        assert (price.price > 1e-6) == rises
        price.follow_size(1e9, 0.0, 0.5)  # no size is bounded
        assert 1e-7 < price.price < 1e-5


def test_the_size_aimed_at_comes_down_and_the_price_follows() -> None:
    price = PriceOfBits(1e-6, Bounds(max_bytes=500), 1000.0)
    aims = [price.aim(share) or 0.0 for share in (0.0, 0.1, 0.2, 0.5, 1.0)]
    assert aims[0] == 1000
    assert aims == sorted(aims, reverse=True)
    assert aims[-1] == aims[-2] < 500
    price.follow_size(1000.0, 100.0, 1.0)
    assert price.price > 1e-6
    price.follow_size(10.0, 100.0, 1.0)
    price.follow_size(10.0, 100.0, 1.0)
    assert price.price < 1e-6
    before = price.price
    price.follow_loss(judged(kl=9.0), 1.0)
    assert price.price == before


def test_steps_grow_a_little_at_a_time_until_they_are_what_the_price_asks_for() -> None:
    price = PriceOfBits(1e-6, Bounds(max_bytes=500), 1000.0)
    assert price.growth(1.0) == 1
    price.follow_size(1000.0, 100.0, 1.0)
    asked = math.sqrt(price.price / 1e-6)
    grown = [price.growth(1.0) for _ in range(40)]
    assert 1 < max(grown) < 1.02
    assert math.prod(grown) == pytest.approx(asked)
    assert grown[-1] == 1
    price.follow_size(1000.0, 100.0, 1.0)
    assert 1 < price.growth(0.1) < 1.002, "weights that hardly move cannot make up for more"


def test_a_price_that_is_followed_step_by_step_brings_the_size_to_what_is_aimed_at() -> None:
    """A plant that answers as weights do: a price has a size, to which levels go in some steps, and more at the end."""
    steps, levels = 2000, 1000.0
    schedule = Schedule(steps)
    price = PriceOfBits(1e-6, Bounds(max_bytes=500), 1000.0)
    sizes = []
    for step in range(steps):
        rate = schedule.rate(step)
        price.follow_step(levels, 0.0, step / steps, steps, rate)
        wanted = 1000 * (1e-6 / price.price) ** 0.25
        levels *= (wanted / levels) ** (0.03 * rate)  # half of the way in 23 steps at the highest rate
        sizes.append(levels)
    aims = [price.aim(step / steps) or 0.0 for step in range(steps)]
    assert max(abs(math.log(one / other)) for one, other in zip(sizes, aims, strict=True)) < 0.2
    assert sizes[-1] == pytest.approx(aims[-1], rel=0.03)
    assert price.price < 64 * 1e-6, "what keeps this size is sixteenfold"
    assert min(sizes) > 0.97 * aims[-1], "a size that fell too far does not come back"


def test_points_that_training_gives_back_hold_no_price_down() -> None:
    bounds, found = Bounds(max_drop=0.5), []
    for lenient, progress in ((0.0, 0.1), (4.0, 0.1), (4.0, 0.9)):
        price = PriceOfBits(1e-6, bounds, 1000.0, lenient)
        price.follow_loss(judged(drop=2.0), progress)
        found.append(price.price > 1e-6)
    assert found == [False, True, False]


def test_a_price_is_not_followed_step_by_step_where_no_size_is_bounded() -> None:
    price = PriceOfBits(1e-6, Bounds(max_kl=0.1), 1000.0)
    price.follow_step(1e9, 0.0, 0.5, 100, 1.0)
    assert price.price == 1e-6


def test_a_file_that_is_small_enough_already_keeps_its_size_aimed_at() -> None:
    assert PriceOfBits(1e-6, Bounds(max_bytes=5000), 1000.0).aim(0.0) == pytest.approx(4925)


def test_the_schedule_has_the_steps_asked_for() -> None:
    assert planned_schedule(Retraining(epochs=2.5), 40, lambda: 1.0, lambda _: math.nan).steps == 100
    timed = planned_schedule(Retraining(minutes=1), 40, lambda: 30.0, lambda _: 0.5)
    assert timed.steps == 60  # half of the minute is gone
    assert planned_schedule(Retraining(), 40, lambda: 0.0, lambda _: 1.0).steps == 600
    assert planned_schedule(Retraining(minutes=0.01), 40, lambda: 9.0, lambda _: 1.0).steps == 20


def test_the_time_that_timing_took_is_of_the_minutes() -> None:
    gone = [10.0]

    def slow(_: float) -> float:
        gone[0] += 50
        return 10.0

    assert planned_schedule(Retraining(minutes=10), 40, lambda: gone[0], slow).steps == 54


def test_steps_are_timed_for_a_hundredth_of_the_minutes_and_not_for_long() -> None:
    asked: list[float] = []
    for minutes in (1, 10, 1000):
        planned_schedule(
            Retraining(minutes=minutes), 40, lambda: 0.0, lambda seconds: asked.append(seconds) or 1.0
        )
    assert asked == pytest.approx([0.6, 6, 15])


def test_halving_the_rate_does_not_slow_what_is_to_reach_a_size() -> None:
    schedule, halved = Schedule(200), Schedule(200).halve_from(50).halve_from(80)
    assert [halved.fall(step) for step in range(200)] == [schedule.rate(step) for step in range(200)]
    assert [halved.rate(step) / halved.fall(step) for step in (49, 50, 80)] == [1, 0.5, 0.25]


def test_learning_rates_rise_shortly_and_end_near_nothing() -> None:
    schedule = Schedule(200)
    rates = [schedule.rate(step) for step in range(200)]
    assert max(rates) <= 1
    assert rates[0] < 0.2 < 0.95 < max(rates)
    assert rates[-1] < 1e-3
    assert all(rate > 0 for rate in rates)


def test_a_halved_schedule_has_half_the_rate_from_there_down_to_a_sixteenth() -> None:
    schedule = Schedule(200)
    halved = schedule.halve_from(50)
    assert halved.steps == 200
    assert [halved.rate(step) / schedule.rate(step) for step in (0, 49, 50, 199)] == [1, 1, 0.5, 0.5]
    for step in range(60, 160, 10):
        halved = halved.halve_from(step)
    assert [halved.rate(step) / schedule.rate(step) for step in (0, 59, 60, 70, 80, 199)] == [
        1, 1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 16,
    ]  # fmt: skip
