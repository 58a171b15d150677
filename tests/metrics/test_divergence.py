"""The one divergence: logits, probabilities and their logarithms say the same; NaN stays NaN."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from scipy.stats import entropy

from enxuto.errors import UsageError
from enxuto.metrics import AgreementMetrics, divergence, divergences, log_probabilities
from enxuto.metrics.score_kinds import ScoreKindDetector

LEAST = math.log(2.0**-126)
random = np.random.default_rng(0)


@pytest.mark.parametrize("spread", [1, 8, 40])
def test_three_forms_of_one_network_diverge_alike(spread: float) -> None:
    """SciPy's entropy of the probabilities, with those below float32's least normal number raised to it."""
    reference, model = random.normal(0, spread, (30, 7)), random.normal(0, spread, (30, 7))
    p, q = softmax(reference, axis=1), np.maximum(softmax(model, axis=1), np.finfo(np.float32).tiny)
    expected = np.mean(
        [(a * (np.log(np.maximum(a, 1e-300)) - np.log(b))).sum() for a, b in zip(p, q, strict=True)]
    )
    if spread == 1:
        assert expected == pytest.approx(entropy(p, q, axis=1).mean())
    forms = {
        "logits": (reference, model),
        "probabilities": (p, softmax(model, axis=1)),
        "log-probabilities": (log_softmax(reference, axis=1), log_softmax(model, axis=1)),
    }
    for one, (first, _) in forms.items():
        for other, (_, second) in forms.items():
            found = divergence(first, second, reference_are=one, scores_are=other)  # type: ignore[arg-type]
            assert found == pytest.approx(expected, rel=1e-9)
    # What ONNX Runtime gives is float32, where a softmax underflows.
    narrow = divergence(
        *(one.astype(np.float32) for one in forms["probabilities"]),
        reference_are="probabilities",
        scores_are="probabilities",
    )
    assert narrow == pytest.approx(expected, rel=1e-5)


def test_rows_of_rounded_probabilities_are_renormalised() -> None:
    p, q = np.array([[0.5, 0.25, 0.25]]), np.array([[0.50, 0.30, 0.19]])
    expected = entropy(p[0], q[0] / q.sum())
    assert divergence(p, q, reference_are="probabilities", scores_are="probabilities") == pytest.approx(
        expected
    )
    scaled = divergence(3 * p, 7 * q, reference_are="probabilities", scores_are="probabilities")
    assert scaled == pytest.approx(expected)


def test_a_probability_of_zero_is_float32s_least() -> None:
    found = log_probabilities([[1.0, 0.0], [0.0, 0.0]], "probabilities")
    assert found[0] == pytest.approx([0.0, LEAST])
    assert found[1] == pytest.approx([math.log(0.5)] * 2)  # nothing is said: all classes alike
    assert log_probabilities([[0.0, -np.inf, -500.0]])[0] == pytest.approx([0.0, LEAST, LEAST])


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ([np.nan, 1.0], "logits"),
        ([np.inf, 1.0], "logits"),
        ([-np.inf, -np.inf], "logits"),
        ([np.nan, 1.0], "probabilities"),
        ([np.inf, 1.0], "probabilities"),
        ([-0.5, 1.5], "probabilities"),
        ([np.nan, -1.0], "log-probabilities"),
    ],
)
def test_what_is_no_number_gives_none(row: list[float], kind: str) -> None:
    good = [[0.25, 0.75]]
    assert np.isnan(divergence([row], good, reference_are=kind, scores_are="probabilities"))  # type: ignore[arg-type]
    assert np.isnan(divergence(good, [row], reference_are="probabilities", scores_are=kind))  # type: ignore[arg-type]
    # One such image makes the mean unknown.
    assert np.isnan(divergence(good * 2, [row, *good], reference_are="probabilities", scores_are=kind))  # type: ignore[arg-type]
    each = divergences(log_probabilities(good * 2, "probabilities"), log_probabilities([row, good[0]], kind))  # type: ignore[arg-type]
    assert np.isnan(each).tolist() == [True, False]


def test_auto_is_not_a_kind_of_scores() -> None:
    for kind in ("auto", "odds"):
        with pytest.raises(UsageError, match="E021"):
            log_probabilities([[0.0, 1.0]], kind)  # type: ignore[arg-type]


def seen(*batches: np.ndarray) -> str:
    found = ScoreKindDetector()
    for batch in batches:
        found.add(batch)
    return found.kind()


def test_all_values_together_tell_probabilities_from_logits() -> None:
    p = softmax(random.normal(0, 3, (50, 10)), axis=1)
    for steps in (256, 255, 128, 127):
        assert seen(np.round(p * steps) / steps) == "probabilities"
    for kind in (np.float16, np.float32, np.float64):
        assert seen(p.astype(kind)) == "probabilities"
    many = softmax(random.normal(0, 3, (20, 1000)), axis=1)
    assert np.abs((np.round(many * 256) / 256).sum(1) - 1).max() > 0.1
    assert seen(np.round(many * 256) / 256) == "probabilities"
    # One row decides, wherever it lies.
    logits = random.normal(0, 3, (1, 10))
    assert seen(p, logits) == seen(logits, p) == "logits"
    assert seen(p[:1], *np.split(p[1:], 7)) == "probabilities"
    assert seen(2 * p) == seen(p - 0.01) == seen(np.where(p > 2, 0, np.nan)) == "logits"
    assert seen() == "logits"
    # Sigmoids lie between 0 and 1 too.
    assert seen(1 / (1 + np.exp(-random.normal(0, 2, (50, 10))))) == "logits"
    assert seen(np.round(200 / (1 + np.exp(-random.normal(0, 2, (50, 10))))) / 200) == "logits"


def test_batches_do_not_matter() -> None:
    """A batch that looks like probabilities by itself is none if a later one is not."""
    reference, model = random.normal(0, 3, (60, 4)), random.normal(0, 3, (60, 4))
    reference[:20], model[:20] = softmax(reference[:20], axis=1), softmax(model[:20], axis=1)
    expected = divergence(reference, model)
    for size in (1, 20, 60):
        found = AgreementMetrics()
        for start in range(0, 60, size):
            found.update(model[start : start + size], reference[start : start + size])
        assert found.result().kl == pytest.approx(expected)
        assert (found.result().scores_are, found.result().reference_are) == ("logits", "logits")


def test_a_model_of_logits_beside_one_of_probabilities() -> None:
    logits = random.normal(0, 3, (40, 5))
    found = AgreementMetrics()
    found.update(softmax(logits, axis=1), logits)
    assert found.result().kl == pytest.approx(0, abs=1e-12)
    assert (found.result().scores_are, found.result().reference_are) == ("probabilities", "logits")
    said = AgreementMetrics("log-probabilities", "logits")
    said.update(log_softmax(logits, axis=1), logits)
    assert said.result().kl == pytest.approx(0, abs=1e-12)
