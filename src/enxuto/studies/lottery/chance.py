"""Whether a lottery study's unpruned networks learnt anything: beside ones that did not, every network is a ticket."""

from __future__ import annotations

from collections.abc import Sequence

from enxuto.metrics import binomial_tail
from enxuto.study.store_result import Result

__all__ = ["explain_void"]

_LIKELY = 0.05


def explain_void(unpruned: Sequence[Result]) -> str | None:
    """Say that half or more of the unpruned networks are no better than chance; None where they are, or may be."""
    lost = [result for result in unpruned if not _is_above_chance(result)]
    if not unpruned or 2 * len(lost) < len(unpruned):
        return None
    return (
        f"{len(lost)} of {len(unpruned)} unpruned networks are no better than chance, so that nothing is a ticket: "
        "their training failed"
    )


def _is_above_chance(result: Result) -> bool:
    """Whether it is right more often than a network that always names one class, at the 5 % level."""
    values, classes = result.values or {}, result.settings["network"].get("classes")
    # Records from before `constant_top1` know the number of classes at best.
    chance = values.get("constant_top1", 1 / classes if classes else 0.0)
    right = round(values["top1"] * values["samples"])
    return binomial_tail(right, values["samples"], chance) < _LIKELY
