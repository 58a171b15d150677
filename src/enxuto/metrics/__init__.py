"""Numbers from scores and labels, in streaming NumPy. Equations: Tonin 2021, section 2.4 (misprints
corrected).

scikit-learn is the oracle in the tests. Not here: running a model (`evaluate` does) and regression targets.
"""

from enxuto.metrics.agreement import AgreementMetrics, AgreementResult
from enxuto.metrics.chance import ByChance, by_chance, by_chance_of
from enxuto.metrics.classification import ClassificationMetrics, ClassificationResult
from enxuto.metrics.divergence import ScoresAre, divergence, divergences, log_probabilities
from enxuto.metrics.interval import binomial_tail, paired_interval, wilson_interval
from enxuto.metrics.ranking import cumulative_gain, dcg, expected_ranks, ndcg, reciprocal_rank
from enxuto.metrics.signal import SignalMetrics, SignalResult

__all__ = [
    "AgreementMetrics",
    "AgreementResult",
    "ByChance",
    "ClassificationMetrics",
    "ClassificationResult",
    "ScoresAre",
    "SignalMetrics",
    "SignalResult",
    "binomial_tail",
    "by_chance",
    "by_chance_of",
    "cumulative_gain",
    "dcg",
    "divergence",
    "divergences",
    "expected_ranks",
    "log_probabilities",
    "ndcg",
    "paired_interval",
    "reciprocal_rank",
    "wilson_interval",
]
