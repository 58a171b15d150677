"""`is_lower`: whether losses of the same samples lie below others by more than chance."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from enxuto.metrics.paired import is_lower


@pytest.mark.parametrize("count", [4, 10, 125, 2_500])
def test_as_often_by_chance_as_students_distribution_says(count: int) -> None:
    """Two standard errors, one-sided, of the normal distribution: 2.3 % of all trials, whatever their number."""
    generator = np.random.default_rng(count)
    hits = sum(
        is_lower(generator.standard_normal(count), generator.standard_normal(count)) for _ in range(3_000)
    )
    assert hits / 3_000 == pytest.approx(stats.norm.sf(2.0), abs=0.01)


def test_what_is_below_on_every_sample_is_lower() -> None:
    losses = np.random.default_rng(0).exponential(1, 50)
    assert is_lower(0.9 * losses, losses)
    assert not is_lower(losses, 0.9 * losses)
    assert not is_lower(losses, losses)


def test_of_samples_whose_losses_scatter_far_more_than_they_differ_the_differences_decide() -> None:
    generator = np.random.default_rng(1)
    losses = generator.exponential(100, 200)
    assert is_lower(losses - 0.1 + generator.normal(0, 0.1, 200), losses)


@pytest.mark.parametrize(
    "losses", [[], [1.0], [1.0, 1.1, 0.9], [1.0, 1.0, 1.1, np.nan], [1.0, 1.0, 1.1, -np.inf]]
)
def test_too_few_and_no_numbers_are_never_lower(losses: list[float]) -> None:
    assert not is_lower(losses, [2.0] * len(losses))
