"""Numbers from scores and labels, in streaming NumPy. Equations: Tonin 2021, section 2.4 (misprints
corrected).

scikit-learn is the oracle in the tests. Not here: running a model (`evaluate` does) and regression targets.
"""

from enxuto.metrics.agreement import AgreementMetrics, AgreementResult
from enxuto.metrics.classification import ClassificationMetrics, ClassificationResult
from enxuto.metrics.interval import wilson_interval
from enxuto.metrics.ranking import cumulative_gain, dcg, expected_ranks, ndcg, reciprocal_rank
from enxuto.metrics.signal import SignalMetrics, SignalResult

__all__ = [
    "AgreementMetrics",
    "AgreementResult",
    "ClassificationMetrics",
    "ClassificationResult",
    "SignalMetrics",
    "SignalResult",
    "cumulative_gain",
    "dcg",
    "expected_ranks",
    "ndcg",
    "reciprocal_rank",
    "wilson_interval",
]
