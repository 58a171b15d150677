"""Metrics from scores and labels, in streaming NumPy. Equations: Tonin 2021, section 2.4 (misprints corrected).

The tests compare with scikit-learn. Not here: running a model (`evaluate` does) and regression targets.
"""

from enxuto.metrics.agreement import AgreementMetrics, AgreementResult
from enxuto.metrics.chance import ChanceComparison, compare_confusion_with_chance, compare_with_chance
from enxuto.metrics.classification import ClassificationMetrics, ClassificationResult
from enxuto.metrics.divergence import divergence, divergences, log_probabilities, mean_divergence
from enxuto.metrics.interval import binomial_tail, paired_interval, wilson_interval
from enxuto.metrics.ranking import cumulative_gain, dcg, expected_ranks, ndcg, reciprocal_rank
from enxuto.metrics.score_kinds import ScoreKind
from enxuto.metrics.signal import SignalMetrics, SignalResult

__all__ = [
    "AgreementMetrics",
    "AgreementResult",
    "ChanceComparison",
    "ClassificationMetrics",
    "ClassificationResult",
    "ScoreKind",
    "SignalMetrics",
    "SignalResult",
    "binomial_tail",
    "compare_confusion_with_chance",
    "compare_with_chance",
    "cumulative_gain",
    "dcg",
    "divergence",
    "divergences",
    "expected_ranks",
    "log_probabilities",
    "mean_divergence",
    "ndcg",
    "paired_interval",
    "reciprocal_rank",
    "wilson_interval",
]
