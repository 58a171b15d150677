"""How far a loss is from its bound: what a search steers by, and what is compared where two keep it, or neither."""

from __future__ import annotations

import math

from enxuto.compression.judge import Bounds, Judgement

__all__ = ["excess_of"]


def excess_of(bounds: Bounds, judgement: Judgement) -> float:
    """Return how far a loss is above its bound, in parts of the bound: −0.1 is a tenth below; the worst of several.

    Points of top-1 count in parts of the bound or of one point, whichever is more.
    """
    found: list[float] = []
    if bounds.max_kl is not None:
        found.append(judgement.kl / bounds.max_kl - 1)
    if bounds.min_agreement is not None:
        room = max(0.05, 100 - bounds.min_agreement)
        found.append((bounds.min_agreement - (judgement.agreement or 0.0)) / room)
    if bounds.max_drop is not None and judgement.drop is not None:
        found.append((judgement.drop - bounds.max_drop) / max(1.0, abs(bounds.max_drop)))
    if bounds.min_snr is not None:
        found.append((bounds.min_snr - (judgement.snr_db or 0.0)) / 3)
    return math.inf if any(math.isnan(one) for one in found) else max(found, default=0.0)
