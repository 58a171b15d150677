"""The search for the smallest file within a bound, beside what a scan of all prices finds."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from enxuto.compression.figures import figure_beyond
from enxuto.compression.judge import Bounds, Judgement
from enxuto.compression.search import search
from enxuto.errors import UsageError


@dataclass
class Law:
    """Files of known size and loss: bits fall by half a bit as the price doubles, divergence grows with it."""

    parameters: int = 100_000
    made: list[float] = field(default_factory=list)

    def make(self, price: float) -> Any:
        self.made.append(price)
        bits = max(0.05, 3.0 - 0.5 * math.log2(price / 1e-6))
        model = SimpleNamespace(file_bytes=int(bits * self.parameters / 8))
        return SimpleNamespace(price=price, model=model)

    def judge(self, model: Any) -> Judgement:
        price = self.made[-1]
        kl = 0.03 * (price / 1e-6)
        return Judgement(1000, 80.0, 20 * kl, (0.0, 1.0), 100 - 100 * kl, (0.0, 100.0), kl, "data")


def found(bounds: Bounds, start: float = 1e-6) -> tuple[Any, Law]:
    law = Law()
    return search(cast(Any, law.make), bounds, start, judge=cast(Any, law.judge), weights=law.parameters), law


@pytest.mark.parametrize("start", [1e-9, 1e-6, 1e-4])
@pytest.mark.parametrize("bounds", [Bounds(max_kl=0.05), Bounds(max_drop=0.5), Bounds(min_agreement=99.5)])
def test_the_highest_price_that_keeps_the_bound(bounds: Bounds, start: float) -> None:
    limit = {0.05: 0.05, None: None}.get(bounds.max_kl) or (0.025 if bounds.max_drop else 0.005)
    result, law = found(bounds, start)
    assert result.fits
    price = result.outcome.price
    highest = limit / 0.03 * 1e-6
    assert highest / 1.1 < price <= highest
    assert len(law.made) <= 12
    assert [trial.price for trial in result.trials] == law.made


@dataclass
class RealLaw(Law):
    """Losses that grow with a power of the price, scatter, and come in stairs where few samples judge."""

    exponent: float = 1.0
    scatter: float = 0.0
    samples: int = 100_000

    def judge(self, model: Any) -> Judgement:
        price = self.made[-1]
        wave = math.exp(self.scatter * math.sin(1e4 * math.log(price)))
        kl = 0.03 * (price / 1e-6) ** self.exponent * wave
        same = 100 * round(self.samples * math.exp(-math.sqrt(kl) / 3)) / self.samples
        return Judgement(self.samples, 80.0, kl, (0.0, 1.0), same, (0.0, 100.0), kl, "data", values_loss=kl)

    def keeps(self, bounds: Bounds, price: float) -> bool:
        self.made.append(price)
        return bounds.violation(self.judge(None), None) is None


@pytest.mark.parametrize("start", [1e-9, 1e-6, 1e-4])
@pytest.mark.parametrize("exponent", [0.7, 1.0, 1.6])
@pytest.mark.parametrize(
    "bounds", [Bounds(max_kl=0.002), Bounds(max_kl=0.05), Bounds(min_snr=15), Bounds(min_snr=40)]
)
def test_a_loss_that_follows_the_price_takes_few_files(bounds: Bounds, exponent: float, start: float) -> None:
    law = RealLaw(exponent=exponent)
    result = search(cast(Any, law.make), bounds, start, judge=cast(Any, law.judge), weights=law.parameters)
    assert result.fits
    assert len(result.trials) <= 9
    price = result.outcome.price
    assert law.keeps(bounds, price)
    assert not law.keeps(bounds, 1.1 * price)


@pytest.mark.parametrize("samples", [20, 120, 5000])
@pytest.mark.parametrize("scatter", [0.0, 0.05, 0.3])
@pytest.mark.parametrize(
    "bounds",
    [Bounds(max_kl=0.03), Bounds(min_snr=20), Bounds(min_agreement=95), Bounds(min_agreement=100),
     Bounds(max_kl=0.03, min_agreement=96), Bounds(max_kl=0.03, max_drop=0.01), Bounds(max_drop=0.02)],
)  # fmt: skip
def test_stairs_and_scatter_end_at_the_bound(bounds: Bounds, scatter: float, samples: int) -> None:
    """What comes out keeps the bound, and nothing much coarser does, but for the scatter."""
    law = RealLaw(scatter=scatter, samples=samples)
    result = search(cast(Any, law.make), bounds, 1e-6, judge=cast(Any, law.judge), weights=law.parameters)
    assert result.fits
    assert len(result.trials) <= 14
    price = result.outcome.price
    assert law.keeps(bounds, price)
    assert not law.keeps(bounds, 1.12 * math.exp(4 * scatter) * price)


@pytest.mark.parametrize(
    ("scatter", "nearest", "farthest"), [(0.1, 0.1, 0.5), (0.3, 0.15, 1.0), (0.6, 0.25, 1.6)]
)
def test_losses_that_scatter_end_no_search_far_from_the_bound(
    scatter: float, nearest: float, farthest: float
) -> None:
    """In doublings of the price: the mean over many searches, and nearly the worst, which breaks by chance decide."""

    class Scattered(RealLaw):
        seed = 0

        def judge(self, model: Any) -> Judgement:
            found = super().judge(model)
            place = int(1e6 * math.log(self.made[-1])) & 0xFFFFFFFF
            luck = np.random.default_rng([self.seed, place]).normal()
            return replace(found, kl=found.kl * math.exp(scatter * luck))

    ends = []
    for seed in range(200):
        law = Scattered()
        law.seed = seed
        start = 1e-7 * 2.0 ** (seed % 5 - 2)
        result = search(
            cast(Any, law.make),
            Bounds(max_kl=0.02),
            start,
            judge=cast(Any, law.judge),
            weights=law.parameters,
        )
        assert result.fits
        assert len(result.trials) <= 13
        ends.append(math.log2(result.outcome.price / (0.02 / 0.03 * 1e-6)))
    assert abs(float(np.mean(ends))) < nearest
    assert float(np.percentile(ends, 3)) > -farthest


@pytest.mark.parametrize("start", [1e-9, 1e-6, 1e-3])
@pytest.mark.parametrize("size", [12_000, 25_000, 60_000])
def test_the_finest_within_a_size(start: float, size: int) -> None:
    result, law = found(Bounds(max_bytes=size), start)
    assert result.fits
    assert size * 0.998 <= result.outcome.model.file_bytes <= size
    assert len(law.made) <= 12


@pytest.mark.parametrize("start", [1e-60, 1e-20, 1e-9, 1e-3])
@pytest.mark.parametrize("size", [160_000, 400_000, 2**62])
def test_sizes_beyond_the_finest_file_give_it(start: float, size: int) -> None:
    """Below some price levels would take more than 31 bits; what is finest otherwise, within two bits a weight."""
    law = Law()

    def make(price: float) -> Any:
        if price < 2e-12:
            raise UsageError("a price asks for levels of more than 31 bits")
        return law.make(price)

    result = search(cast(Any, make), Bounds(max_bytes=size), start, weights=law.parameters)
    assert result.fits
    assert result.outcome.price < 2e-12 * 4**2
    assert len(result.trials) <= 12


def test_what_cannot_be_made_at_any_price_is_told() -> None:
    def make(price: float) -> Any:
        raise UsageError("no such thing")

    with pytest.raises(UsageError, match="no such thing"):
        search(cast(Any, make), Bounds(max_bytes=1000), 1e-12, weights=1000)


def test_bounds_that_cannot_be_met_give_the_nearest() -> None:
    result, _ = found(Bounds(max_kl=1e-12))
    assert not result.fits
    assert "divergence" in result.violation
    assert result.outcome.price == min(trial.price for trial in result.trials)
    small, _ = found(Bounds(max_bytes=100))
    assert not small.fits
    assert "bytes" in small.violation
    assert small.outcome.model.file_bytes == min(trial.bytes for trial in small.trials)


@pytest.mark.parametrize("weights", [1, 6, 40])
@pytest.mark.parametrize("size", [3, 2**40])
def test_few_weights_in_a_large_file_do_not_ask_for_infinite_prices(weights: int, size: int) -> None:
    def make(price: float) -> Any:
        return SimpleNamespace(
            price=price, model=SimpleNamespace(file_bytes=390 + round(weights / price * 1e-6))
        )

    result = search(cast(Any, make), Bounds(max_bytes=size), 1e-6, weights=weights)
    assert result.fits == (size > 390)


def test_bounds_that_always_hold_end() -> None:
    result, _ = found(Bounds(max_kl=1e9))
    assert result.fits


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "needs a bound"),
        ({"max_kl": 0.1, "max_bytes": 10}, "cannot both be searched"),
        ({"max_kl": 0.0}, "positive number of nats"),
        ({"min_agreement": 101.0}, "percent"),
        ({"max_drop": float("nan")}, "points of top-1"),
        ({"max_bytes": 0}, "less than a byte"),
    ],
)
def test_bounds_that_mean_nothing(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Bounds(**values)


def test_answers_cannot_be_bounded_without_images() -> None:
    with pytest.raises(UsageError, match="images to judge by"):
        search(cast(Any, Law().make), Bounds(max_kl=0.1), 1e-6, weights=100_000)


@pytest.mark.parametrize(
    ("value", "bound", "form", "digits", "text"),
    [
        (0.0312, 0.01, "g", 3, "0.0312"),
        (0.03000041, 0.03, "g", 3, "0.0300004"),
        (29.9996, 30.0, "f", 2, "29.9996"),
        (29.5, 30.0, "f", 2, "29.50"),
        (0.5000001, 0.5, "f", 2, "0.5000001"),
        (math.nextafter(1.0, 2.0), 1.0, "f", 2, "1.0000000000000002"),
        (-math.inf, 30.0, "f", 2, "-inf"),
    ],
)
def test_a_figure_beyond_a_bound_reads_beyond_it(
    value: float, bound: float, form: str, digits: int, text: str
) -> None:
    assert figure_beyond(value, bound, form, digits) == text
