"""Intervals and tests of shares against published examples, and likelihoods maximised by brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from enxuto.errors import UsageError
from enxuto.metrics import binomial_tail, compare_confusion_with_chance, compare_with_chance, paired_interval

# Published, or printed by other people's programs: (only first, only second, n, confidence, low, high).
EXAMPLES = [
    # Fagerland, Lydersen & Laake 2014, "Recommended tests and confidence intervals for paired binomial proportions":
    # airway responsiveness of 21 children before and after a transplantation, 1, 1, 7 and 12 of them.
    (1, 7, 21, 0.95, -0.517, -0.026),
    # R's PropCIs, scoreci.mp(25, 28, 618, 0.9), as others print it; its difference is the second share less the first.
    (28, 25, 618, 0.90, -0.0148, 0.0247),
]


@pytest.mark.parametrize(("first", "second", "n", "confidence", "low", "high"), EXAMPLES)
def test_published_examples(
    first: int, second: int, n: int, confidence: float, low: float, high: float
) -> None:
    digits = 3 if n < 100 else 4
    found = paired_interval(first, second, n, confidence)
    assert [round(end, digits) for end in found] == [low, high]
    mirrored = paired_interval(second, first, n, confidence)
    assert mirrored == pytest.approx((-high, -low), abs=10.0**-digits)


@pytest.mark.parametrize("n", [1, 5, 44, 148, 360, 5000])
def test_no_pair_that_differs_still_leaves_a_width(n: int) -> None:
    """±z²/(n + z²) in closed form: none of 360 that differ can still be a point. Wald's interval is 0 to 0."""
    z = stats.norm.ppf(0.975)
    low, high = paired_interval(0, 0, n)
    assert (low, high) == pytest.approx((-(z**2) / (n + z**2), z**2 / (n + z**2)))


def score_statistic(first: int, second: int, n: int, difference: float) -> float:
    """Tango's statistic, by its definition: the likeliest shares of this difference by brute force."""

    def unlikely(share: float) -> float:
        # share: of the pairs that count for the second alone.
        one, rest = share + difference, 1 - 2 * share - difference
        terms = ((first, one), (second, share), (n - first - second, rest))
        return -sum(count * math.log(max(value, 1e-300)) for count, value in terms if count)

    low, high = max(0.0, -difference), (1 - difference) / 2
    best = optimize.minimize_scalar(unlikely, bounds=(low, high), method="bounded", options={"xatol": 1e-12})
    variance = n * (2 * best.x + difference * (1 - difference))
    return (first - second - n * difference) / math.sqrt(variance)


@given(st.integers(1, 80), st.integers(0, 80), st.integers(0, 80))
@settings(max_examples=60, deadline=None)
def test_the_ends_are_where_the_score_test_turns(n: int, first: int, second: int) -> None:
    first, second = min(first, n), min(second, n)
    second = min(second, n - first)
    low, high = paired_interval(first, second, n)
    found = (first - second) / n
    assert -1 <= low <= found <= high <= 1
    assert low < high
    z = stats.norm.ppf(0.975)
    for end, wanted in ((low, z), (high, -z)):
        if -1 < end < 1:
            assert score_statistic(first, second, n, end) == pytest.approx(wanted, rel=1e-3)
    wider = paired_interval(first, second, n, 0.99)
    assert wider[0] <= low + 1e-12
    assert wider[1] >= high - 1e-12


def test_the_interval_covers_as_it_says_where_few_pairs_differ() -> None:
    """Coverage by all tables of 100 pairs: about 95 % where Wald's falls to a few percent."""
    n = 100
    tables = [(a, b) for a in range(12) for b in range(12)]
    held = {table: paired_interval(*table, n) for table in tables}
    for one, other in ((0.005, 0.005), (0.02, 0.005), (0.01, 0.02)):
        chances = stats.multinomial.pmf(
            [(a, b, n - a - b) for a, b in tables], n, [one, other, 1 - one - other]
        )
        covered = wald = 0.0
        for (a, b), chance in zip(tables, chances, strict=True):
            covered += chance * (held[a, b][0] <= one - other <= held[a, b][1])
            half = 1.96 * math.sqrt(max(0.0, a + b - (a - b) ** 2 / n)) / n
            wald += chance * (abs((a - b) / n - (one - other)) <= half)
        assert covered > 0.93
        assert covered >= wald - 0.01


@pytest.mark.parametrize("counts", [(0, 0, 0), (-1, 0, 5), (3, 3, 5)])
def test_counts_that_make_no_sense(counts: tuple[int, int, int]) -> None:
    with pytest.raises(UsageError, match="no paired counts"):
        paired_interval(*counts)
    with pytest.raises(UsageError, match="confidence"):
        paired_interval(1, 1, 5, 1.0)


@given(st.integers(1, 3000), st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=100, deadline=None)
def test_the_binomial_tail_is_scipys(n: int, share: float, chance: float) -> None:
    count = round(share * n)
    assert binomial_tail(count, n, chance) == pytest.approx(
        stats.binom.sf(count - 1, n, chance), rel=1e-7, abs=1e-12
    )


def test_large_counts_neither_underflow_nor_overflow() -> None:
    assert binomial_tail(0, 50_000, 0.5) == 1
    assert binomial_tail(25_100, 50_000, 0.5) == pytest.approx(stats.binom.sf(25_099, 50_000, 0.5), rel=1e-7)
    assert binomial_tail(50_000, 50_000, 0.5) == 0
    with pytest.raises(UsageError, match="no sense"):
        binomial_tail(3, 2, 0.5)


# --- chance


def answers(right: int, n: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Answers to n images of all classes in turn, the first `right` of which are right, others by one class off."""
    labels = np.arange(n) % classes
    return np.where(np.arange(n) < right, labels, (labels + 1) % classes), labels


@pytest.mark.parametrize(("right", "better"), [(0, False), (10, False), (15, False), (17, True), (100, True)])
def test_one_in_ten_is_chance(right: int, better: bool) -> None:
    """SciPy's exact test, one-sided: 15 of 100 have p = 0.07, 17 have 0.02."""
    found = compare_with_chance(*answers(right, 100, 10), 10)
    assert found.expected == pytest.approx(0.1, abs=2e-3)
    wanted = stats.binomtest(right, 100, found.expected, alternative="greater").pvalue
    assert found.p_value == pytest.approx(wanted)
    assert found.better is better


def test_saying_the_commonest_class_is_no_better_than_chance() -> None:
    labels = np.array([0] * 95 + [1] * 5)
    assert not compare_with_chance(np.zeros(100, int), labels, 2).better
    # 98 % with three of five rare ones found has to do with the labels, though 95 % are so frequent.
    found = np.where(np.arange(100) < 98, labels, 0)
    assert compare_with_chance(found, labels, 2).better
    # Labels in another order: right by chance alone, or never.
    turned = (np.arange(100) % 10, (np.arange(100) + 3) % 10)
    assert not compare_with_chance(*turned, 10).better
    for said, expected in (
        (np.zeros(100, int), labels),
        (found, labels),
        turned,
        (labels, np.zeros(100, int)),
    ):
        matrix = np.zeros((10, 10), int)
        np.add.at(matrix, (said, expected), 1)
        assert compare_confusion_with_chance(matrix) == compare_with_chance(said, expected, 10)


@pytest.mark.parametrize(
    ("answered", "doubted"),
    [
        ([0, 1, 2, 3], False),
        ([0, 2, 1, 3], True),  # two are swapped
        ([1, 2, 3, 0], True),
        ([0, 0, 0, 3], False),  # two labels of one answer: a poor model
        ([0, 1, 2, 0], False),  # one label alone can have no other place
    ],
)
def test_labels_in_another_order_are_doubted(answered: list[int], doubted: bool) -> None:
    labels = np.repeat(np.arange(4), 6)
    said = np.array(answered)[labels]
    said[::6] = 0  # one of each is answered otherwise
    matrix = np.zeros((4, 4), int)
    np.add.at(matrix, (said, labels), 1)
    for found in (compare_with_chance(said, labels, 4), compare_confusion_with_chance(matrix)):
        assert (found.order_doubt is not None) is doubted
        assert not doubted or f"1 as class {answered[1]}" in str(found.order_doubt)
    few = compare_with_chance(said[::2], labels[::2], 4)  # three of each tell nothing
    assert few.order_doubt is None


def test_labels_of_one_class_say_as_much_as_they_can() -> None:
    """A folder of one class: all right is better than one in ten, none right is not."""
    assert compare_with_chance(np.full(20, 7), np.full(20, 7), 10).better
    assert not compare_with_chance(np.full(20, 3), np.full(20, 7), 10).better
    assert not compare_with_chance([3], [3], 2).better  # a single image tells nothing
