"""Metrics against the worked examples of the source, scikit-learn, and properties."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import softmax
from scipy.stats import entropy
from sklearn import metrics as oracle

from enxuto.errors import DataError, UsageError
from enxuto.metrics import (
    AgreementMetrics,
    ClassificationMetrics,
    ClassificationResult,
    SignalMetrics,
    SignalResult,
    cumulative_gain,
    dcg,
    expected_ranks,
    ndcg,
    reciprocal_rank,
    wilson_interval,
)


def classify(scores: np.ndarray, labels: np.ndarray, top: tuple[int, ...] = (1, 5)) -> ClassificationResult:
    collected = ClassificationMetrics(scores.shape[1], top)
    collected.update(scores, labels)
    return collected.result()


def from_confusion(expected_by_predicted: list[list[int]]) -> ClassificationResult:
    """Result of one-hot scores that give this matrix, its rows expected and its columns predicted."""
    counts = np.array(expected_by_predicted)
    labels, predicted = (np.repeat(axis.ravel(), counts.ravel()) for axis in np.indices(counts.shape))
    return classify(np.eye(len(counts))[predicted], labels)


# --- worked examples


def test_two_class_example() -> None:
    result = from_confusion([[40, 10], [5, 45]])
    assert result.accuracy == 0.85
    assert result.precision == pytest.approx([40 / 45, 45 / 55])
    assert [round(value, 3) for value in result.precision] == [0.889, 0.818]
    assert result.recall == pytest.approx([0.8, 0.9])
    assert [round(value, 3) for value in result.f1] == [0.842, 0.857]
    assert result.confusion == [[40, 5], [10, 45]]  # rows predicted, columns expected
    assert (result.support, result.correct, result.samples) == ([50, 50], 85, 100)


def test_three_class_example() -> None:
    result = from_confusion([[40, 8, 2], [5, 35, 10], [5, 7, 48]])
    assert result.accuracy == 0.76875
    assert result.macro_accuracy == pytest.approx(0.7667, abs=5e-5)
    for values in (result.precision, result.recall, result.f1):
        assert values == pytest.approx([0.8, 0.7, 0.8])


def test_top_five_example() -> None:
    # Columns: tiger cat, lynx, tabby, Egyptian cat, tiger, Bengal cat.
    scores = np.array([[0.432, 0.281, 0.183, 0.0895, 0.011, 0.001]])
    first, fourth, sixth = (classify(scores, np.array([label])) for label in (0, 3, 5))
    assert (first.top, first.top_error, first.mrr) == ({1: 1.0, 5: 1.0}, {1: 0.0, 5: 0.0}, 1.0)
    assert (fourth.top, fourth.top_error, fourth.mrr) == ({1: 0.0, 5: 1.0}, {1: 1.0, 5: 0.0}, 0.25)
    assert (sixth.top, sixth.top_error) == ({1: 0.0, 5: 0.0}, {1: 1.0, 5: 1.0})


# --- classification against scikit-learn


@pytest.mark.parametrize("seed", range(5))
def test_scikit_learn_agrees(seed: int) -> None:
    random = np.random.default_rng(seed)
    classes = 7
    scores = random.normal(size=(90, classes)).astype(np.float32)
    labels = random.integers(0, classes - 2, 90)  # two classes are never expected, and are predicted
    result, predicted = classify(scores, labels, top=(1, 2, 5, 7)), scores.argmax(axis=1)
    present = np.unique(labels)
    assert result.accuracy == pytest.approx(oracle.accuracy_score(labels, predicted))
    every = range(classes)
    matrix = oracle.confusion_matrix(labels, predicted, labels=every)
    np.testing.assert_array_equal(result.confusion, matrix.T)
    each = oracle.precision_recall_fscore_support(labels, predicted, labels=every, zero_division=0)
    for mine, theirs in zip((result.precision, result.recall, result.f1, result.support), each, strict=True):
        assert mine == pytest.approx(list(theirs))
    macro = oracle.precision_recall_fscore_support(
        labels, predicted, labels=present, zero_division=0, average="macro"
    )
    mine_macro = (result.macro_precision, result.macro_recall, result.macro_f1)
    assert mine_macro == pytest.approx(macro[:3])
    assert result.macro_accuracy == pytest.approx(
        (np.diag(matrix) / matrix.sum(axis=1).clip(1))[present].mean()
    )
    for k in (1, 2, 5):
        assert result.top[k] == pytest.approx(oracle.top_k_accuracy_score(labels, scores, k=k, labels=every))
    assert result.top[7] == 1.0
    relevance = np.eye(classes)[labels]
    assert result.ndcg == pytest.approx(oracle.ndcg_score(relevance, scores))
    assert result.mrr == pytest.approx(oracle.label_ranking_average_precision_score(relevance, scores))


score_tables = st.tuples(st.integers(1, 20), st.integers(1, 6)).flatmap(
    lambda shape: st.tuples(
        hnp.arrays(np.float64, shape, elements=st.sampled_from([-1.0, 0.0, 0.5, 2.0, -np.inf])),
        hnp.arrays(np.int64, shape[0], elements=st.integers(0, shape[1] - 1)),
    )
)


@given(score_tables, st.integers(0, 20))
def test_in_pieces_equals_all_at_once(table: tuple[np.ndarray, np.ndarray], cut: int) -> None:
    scores, labels = table
    pieces = ClassificationMetrics(scores.shape[1])
    for part in (slice(None, cut), slice(cut, None)):
        pieces.update(scores[part], labels[part])
    assert pieces.result() == classify(scores, labels)


@given(score_tables)
def test_bounds_and_ties(table: tuple[np.ndarray, np.ndarray]) -> None:
    scores, labels = table
    result = classify(scores, labels, top=(1, 2, 3))
    assert all(0 <= value <= 1 for value in (*result.top.values(), *result.f1, result.macro_f1, result.mrr))
    assert list(result.top.values()) == sorted(result.top.values())
    # Of equal scores the lower index ranks first: the stable sort of the negated scores.
    order = np.argsort(-scores, axis=1, kind="stable")
    ranks = 1 + np.argmax(order == labels[:, np.newaxis], axis=1)
    np.testing.assert_array_equal(expected_ranks(scores, labels), ranks)
    assert result.top[1] == result.accuracy == (order[:, 0] == labels).mean()
    assert 1 / scores.shape[1] <= result.mrr + 1e-12
    assert result.mrr <= result.ndcg <= 1


@given(st.integers(0, 1000))
def test_renaming_classes_permutes_what_is_per_class_and_keeps_the_rest(seed: int) -> None:
    random = np.random.default_rng(seed)
    scores, labels = random.normal(size=(30, 4)), random.integers(0, 4, 30)
    renamed = random.permutation(4)  # class c is called renamed[c]
    before = classify(scores, labels)
    after = classify(scores[:, np.argsort(renamed)], renamed[labels])
    for name in ("precision", "recall", "f1", "support"):
        assert np.array(getattr(after, name))[renamed] == pytest.approx(np.array(getattr(before, name)))
    for name in ("accuracy", "macro_f1", "macro_accuracy", "mrr", "ndcg"):
        assert getattr(after, name) == pytest.approx(getattr(before, name))


def test_k_above_the_classes_is_left_out() -> None:
    assert classify(np.eye(3), np.arange(3)).top == {1: 1.0}


def test_result_is_plain_json() -> None:
    values = json.loads(json.dumps(from_confusion([[3, 1], [0, 2]]).to_dict(), allow_nan=False))
    assert values["top"] == {"1": 5 / 6}
    assert values["confusion"] == [[3, 0], [1, 2]]


@pytest.mark.parametrize(
    ("scores", "labels", "words"),
    [
        ([[0.0, 1.0], [np.nan, 0.0]], [0, 1], "scores of sample 4 hold NaN"),
        ([[0.0, 1.0]], [2], "label 2 at sample 3, but the model has 2 outputs"),
        ([[0.0, 1.0]], [-1], "label -1 at sample 3"),
        ([[0.0, 1.0]], [0.0], "labels are float64"),
        ([[0.0, 1.0]], [0, 1], r"shape \(1,\) are needed"),
        ([[0.0, 1.0, 2.0]], [0], r"shape \(1, 3\); \(samples, 2\)"),
    ],
)
def test_bad_batches_are_refused_and_leave_no_trace(scores: list, labels: list, words: str) -> None:
    collected = ClassificationMetrics(2)
    collected.update(np.eye(2)[[0, 1, 1]], np.array([0, 1, 0]))
    before = collected.result()
    with pytest.raises(DataError, match=words):
        collected.update(scores, labels)
    assert collected.result() == before


def test_nothing_to_measure_is_an_error() -> None:
    for collected in (ClassificationMetrics(3), AgreementMetrics(), SignalMetrics()):
        with pytest.raises(DataError, match="E043"):
            collected.result()
    with pytest.raises(UsageError, match="1 class or more"):
        ClassificationMetrics(0)
    with pytest.raises(UsageError, match="each k"):
        ClassificationMetrics(3, top=(0,))


# --- ranked lists


def test_gains_of_a_list_worked_by_hand() -> None:
    relevances = [3, 2, 0, 1]
    assert cumulative_gain(relevances) == 6
    assert cumulative_gain(relevances, 2) == 5
    assert dcg(relevances) == pytest.approx(3 / 1 + 2 / math.log2(3) + 0 + 1 / math.log2(5))
    assert dcg(relevances, 2, gain="exponential") == pytest.approx(7 / 1 + 3 / math.log2(3))
    ideal = 3 / 1 + 2 / math.log2(3) + 1 / math.log2(4)
    assert ndcg(relevances) == pytest.approx(dcg(relevances) / ideal)
    assert (ndcg([0, 0]), reciprocal_rank([0, 0]), reciprocal_rank([0, 0, 1, 1])) == (0.0, 0.0, 1 / 3)


@given(st.lists(st.integers(0, 5), min_size=2, max_size=9), st.integers(1, 10))
def test_ndcg_is_scikit_learns_and_bounded(relevances: list[int], k: int) -> None:
    scores = -np.arange(len(relevances))[np.newaxis]
    theirs = oracle.ndcg_score([relevances], scores, k=k) if any(relevances) else 0.0
    assert ndcg(relevances, k) == pytest.approx(theirs)
    assert dcg(relevances, k) == pytest.approx(oracle.dcg_score([relevances], scores, k=k))
    exponential = [2**value - 1 for value in relevances]
    assert dcg(relevances, k, gain="exponential") == pytest.approx(dcg(exponential, k))
    best = sorted(relevances, reverse=True)
    assert ndcg(best, k, gain="exponential") == (1.0 if any(relevances) else 0.0)


def test_relevances_without_sense_are_refused() -> None:
    for wrong in ([-1.0], [np.nan], [[1.0]]):
        with pytest.raises(DataError, match="relevances"):
            dcg(wrong)
    with pytest.raises(UsageError, match="k is 0"):
        cumulative_gain([1], 0)
    with pytest.raises(UsageError, match="E021"):
        dcg([1], gain="log")  # type: ignore[arg-type]


# --- agreement with a reference


def agree(scores: np.ndarray, reference: np.ndarray, scores_are: str = "auto") -> tuple[float, float]:
    collected = AgreementMetrics(scores_are)  # type: ignore[arg-type]
    for start in range(0, len(scores), 3):
        collected.update(scores[start : start + 3], reference[start : start + 3])
    result = collected.result()
    assert result.samples == len(scores)
    return result.agreement, result.kl


def test_divergence_is_scipys_whether_logits_or_probabilities_are_given() -> None:
    random = np.random.default_rng(0)
    model, reference = random.normal(0, 5, (20, 6)), random.normal(0, 5, (20, 6))
    p, q = softmax(reference, axis=1), softmax(model, axis=1)
    expected = (model.argmax(1) == reference.argmax(1)).mean(), entropy(p, q, axis=1).mean()
    assert agree(model, reference) == pytest.approx(expected)
    assert agree(model + 100, reference - 1000) == pytest.approx(expected)
    assert agree(q, p) == pytest.approx(expected)
    assert agree(q.astype(np.float16), p.astype(np.float32)) == pytest.approx(expected, rel=2e-2)
    assert agree(q, p, "logits")[1] < expected[1] / 2
    assert agree(2 * q, 3 * p, "probabilities") == pytest.approx(expected)


def test_divergence_from_itself_is_zero_and_never_negative() -> None:
    scores = np.random.default_rng(1).normal(0, 30, (50, 9)).astype(np.float32)
    assert agree(scores, scores) == (1.0, 0.0)
    assert agree(scores, np.nextafter(scores, np.float32(9)))[1] >= 0


def test_a_probability_that_underflowed_keeps_the_divergence_finite() -> None:
    kl = agree(np.array([[1.0, 0.0]]), np.array([[0.5, 0.5]]))[1]
    assert kl == pytest.approx(0.5 * math.log(0.5) + 0.5 * (math.log(0.5) - math.log(2**-126)))
    masked = np.array([[0.0, -np.inf, 1.0]])
    assert agree(masked, masked)[1] == 0


@pytest.mark.parametrize(
    ("scores", "reference", "kind", "words"),
    [
        ([[1.0, np.nan]], [[0.0, 1.0]], "auto", "NaN"),
        ([[1.0, np.inf]], [[0.0, 1.0]], "auto", "infinite"),
        ([[1.0, 2.0]], [[0.0, 1.0, 2.0]], "auto", "same classes"),
        ([[-1.0, 2.0]], [[0.0, 1.0]], "probabilities", "not probabilities"),
    ],
)
def test_scores_that_cannot_be_compared(scores: list, reference: list, kind: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        agree(np.array(scores), np.array(reference), kind)
    with pytest.raises(UsageError, match="E021"):
        AgreementMetrics("odds")  # type: ignore[arg-type]


# --- signals


def measure(signal: np.ndarray, reconstruction: np.ndarray, peak: float | None = None) -> SignalResult:
    collected = SignalMetrics(peak)
    for part in (slice(None, 2), slice(2, None)):
        collected.update(signal[part], reconstruction[part])
    return collected.result()


def test_signal_errors_worked_by_hand() -> None:
    result = measure(np.array([1.0, -2.0, 3.0, 4.0]), np.array([1.0, -1.0, 1.0, 4.0]))
    assert (result.sse, result.mse, result.rmse, result.sae, result.mae) == (
        5,
        1.25,
        math.sqrt(1.25),
        3,
        0.75,
    )
    assert result.sqnr_db == pytest.approx(10 * math.log10(30 / 5))
    assert result.psnr_db == pytest.approx(10 * math.log10(16 / 1.25))
    eight_bits = measure(np.array([1.0, -2.0, 3.0, 4.0]), np.array([1.0, -1.0, 1.0, 4.0]), peak=255)
    assert eight_bits.psnr_db == pytest.approx(20 * math.log10(255 / math.sqrt(1.25)))


def test_signal_without_error_or_without_power() -> None:
    exact = measure(np.ones(4), np.ones(4))
    assert exact.sqnr_db == exact.psnr_db == math.inf
    assert exact.to_dict()["sqnr_db"] is None
    assert measure(np.zeros(4), np.ones(4)).sqnr_db == -math.inf


def test_signals_that_cannot_be_compared() -> None:
    with pytest.raises(DataError, match=r"shapes \(2,\) and \(1, 2\)"):
        SignalMetrics().update(np.ones(2), np.ones((1, 2)))
    with pytest.raises(DataError, match="E045"):
        SignalMetrics().update(np.array([np.inf]), np.array([np.inf]))
    with pytest.raises(UsageError, match="peak is 0"):
        SignalMetrics(peak=0)


# --- intervals


def test_wilson_interval_of_a_published_example() -> None:
    # Newcombe 1998, table I: 81/263 and 0/20 at 95 %.
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)


@given(st.integers(1, 10_000), st.floats(0, 1), st.floats(0.5, 0.99))
def test_wilson_interval_holds_the_share_and_mirrors(n: int, share: float, confidence: float) -> None:
    k = round(share * n)
    low, high = wilson_interval(k, n, confidence)
    assert 0 <= low <= k / n <= high <= 1
    assert wilson_interval(n - k, n, confidence) == pytest.approx((1 - high, 1 - low))
    wide = wilson_interval(k, n, 0.999)
    assert wide[0] <= low
    assert wide[1] >= high


def test_wilson_interval_refuses_what_is_no_share() -> None:
    for successes, n, confidence in ((1, 0, 0.95), (3, 2, 0.95), (1, 2, 1.0)):
        with pytest.raises(UsageError):
            wilson_interval(successes, n, confidence)
