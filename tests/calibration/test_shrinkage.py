"""Second moments that hold on images not seen: spectra, powers, and what stays invertible."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enxuto.calibration.shrinkage import (
    fit_floor,
    fit_isotonic,
    noise_share,
    raise_floor,
    shrink,
    shrink_correlations,
)
from enxuto.rounding.feedback import upper_factor


def folds(vectors: np.ndarray, count: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Sums of outer products (F, 1, c, c) of vectors (n, c), and counts (F,)."""
    parts = [vectors[i::count] for i in range(count)]
    sums = np.stack([(part.T @ part)[None] for part in parts]).astype(np.float32)
    return sums, np.array([len(part) for part in parts], np.float64)


@given(values=st.lists(st.floats(-100, 100), max_size=30))
@settings(max_examples=100, deadline=None)
def test_rising_values_are_the_nearest_that_never_fall(values: list[float]) -> None:
    given_ = np.array(values)
    found = fit_isotonic(given_)
    assert (np.diff(found) >= -1e-9).all()
    # Against the definition: max over beginnings of the min over ends of means (Barlow et al. 1972).
    for i in range(len(given_)):
        means = [[given_[a : b + 1].mean() for b in range(i, len(given_))] for a in range(i + 1)]
        assert found[i] == pytest.approx(max(min(row) for row in means), abs=1e-9)


def test_by_hand() -> None:
    np.testing.assert_allclose(fit_isotonic(np.array([1.0, 3.0, 2.0, 5.0, 4.0, 0.0])), [1, 2.5, 2.5, 3, 3, 3])
    second = np.array([[[2.0, 1.0], [1.0, 0.0]]])
    # 0.9·0 + 0.1·1; 0.9·2 + 0.1·1 would be less than 2.
    np.testing.assert_allclose(raise_floor(second, 0.1), [[[2.0, 1.0], [1.0, 0.1]]])


@pytest.mark.parametrize("vectors", [60, 120, 400])
def test_it_is_nearer_to_the_truth_than_the_mean_of_what_was_seen(vectors: int) -> None:
    """By Stein's loss, which punishes small eigenvalues that are too small; eigenvalues fall as a power law."""
    generator = np.random.default_rng(vectors)
    size = 40
    axes = np.linalg.qr(generator.standard_normal((size, size)))[0]
    truth = axes / np.arange(1, size + 1) ** 1.5 @ axes.T
    drawn = generator.standard_normal((vectors, size)) @ np.linalg.cholesky(truth).T
    found = shrink(*folds(drawn))[0]
    seen = drawn.T @ drawn / vectors

    def stein(guess: np.ndarray) -> float:
        ratio = np.linalg.solve(guess, truth)
        return float(np.trace(ratio) - np.linalg.slogdet(ratio)[1] - size)

    assert stein(found) < 0.8 * stein(seen)


def test_many_vectors_leave_the_moment_as_it_is() -> None:
    generator = np.random.default_rng(1)
    drawn = generator.standard_normal((60_000, 12)) @ generator.standard_normal((12, 12))
    np.testing.assert_allclose(shrink(*folds(drawn))[0], drawn.T @ drawn / len(drawn), rtol=0.05, atol=0.05)


def test_what_was_silent_may_speak() -> None:
    """Inputs that one image in a hundred wakes are taken for weak, not dead; steady ones stay as they are."""
    generator = np.random.default_rng(2)
    rare = generator.standard_normal((300, 200)) * 10 * (generator.random((300, 200)) < 0.01)
    steady = generator.standard_normal((300, 200)) * np.linspace(0.5, 2, 200)

    def lift(vectors: np.ndarray) -> float:
        parts = [vectors[i::3] for i in range(3)]
        return fit_floor(np.stack([np.mean(part**2, axis=0) for part in parts]), np.full(3, 100.0))

    assert lift(rare) >= 0.1
    assert lift(steady) <= 0.02


@pytest.mark.parametrize("kind", ["zeros", "dead", "equal", "one fold", "empty", "one input", "huge", "tiny"])
def test_degenerate_moments_stay_invertible(kind: str) -> None:
    generator = np.random.default_rng(3)
    vectors = generator.standard_normal((90, 1 if kind == "one input" else 6))
    if kind == "zeros":
        vectors[:] = 0
    if kind == "dead":
        vectors[:, 2] = 0
    if kind == "equal":
        vectors[:, 1:] = vectors[:, :1]
    vectors *= {"huge": 1e15, "tiny": 1e-15}.get(kind, 1.0)
    sums, counts = folds(vectors)
    if kind == "one fold":
        counts[1:] = 0
    if kind == "empty":
        counts[:] = 0
    for found in (shrink(sums, counts), shrink_correlations(sums, counts, 0.5), shrink(sums, counts, 0.1)):
        assert np.isfinite(upper_factor(found[0].astype(np.float32).astype(np.float64))).all()
        assert (np.diagonal(found[0]) > 0).all()


def test_noise_is_told_from_what_folds_agree_about() -> None:
    generator = np.random.default_rng(0)
    signal = generator.standard_normal((40, 40))
    signal = (signal @ signal.T)[None, None]
    assert noise_share(np.repeat(signal, 3, 0), signal[0]) == 0.0
    chance = generator.standard_normal((3, 1, 40, 40))
    assert noise_share(chance, chance.mean(0)) == pytest.approx(1.0, abs=0.15)
    little = signal + 0.01 * chance
    assert noise_share(little, little.mean(0)) < 0.01


def test_no_direction_is_free_that_folds_agree_is_silent() -> None:
    """Gradients along one direction alone: the others keep half of the powers they have on the diagonal."""
    along = np.where(np.arange(300)[:, None] % 2, 1.0, -1.0) @ np.ones((1, 8))
    sums, counts = folds(along)
    assert np.linalg.eigvalsh(shrink(sums, counts)[0])[0] < 0.01
    found = np.linalg.eigvalsh(shrink_correlations(sums, counts, 0.5)[0])
    assert found[0] > 0.45
    assert found[-1] > 4


def test_few_images_leave_no_channel_silent() -> None:
    vectors = np.random.default_rng(2).standard_normal((300, 6)) * [1, 1, 1, 1, 1, 0]
    found = shrink(*folds(vectors), 0.06)[0]
    assert found[5, 5] == pytest.approx(0.06 * np.mean(vectors**2), rel=0.01)
    assert not found[5, :5].any()
