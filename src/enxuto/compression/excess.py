"""How far a loss is from its bound: what searches steer by, and what is compared where two keep it, or neither."""

from __future__ import annotations

import math

from enxuto.compression.judge import Bounds, Judgement

__all__ = ["excess_of", "room_below", "worse_than_mean"]

_NOTABLE, _NOTABLE_DB = 1.25, 1.0  # beyond a bound, that an output alone is worth a remark
MOST_ROOM = 8.0  # doublings: what hardly loses anything says no more than that there is much room


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


def room_below(bounds: Bounds, judgement: Judgement) -> float | None:
    """Return how many times the price of a bit may about double until the first bound is reached; negative beyond it.

    Errors of weights have a power in proportion to the price: so have the divergence and the noise of values, and the
    share of other answers grows with its root. None where a bound does not follow the price so: a difference of top-1,
    which may be negative, and what a caller's judge says.
    """
    if bounds.max_drop is not None or bounds.max_judge_drop is not None:
        return None
    found: list[float] = []
    if bounds.max_kl is not None:
        found.append(_doublings(bounds.max_kl, judgement.kl))
    if bounds.min_agreement is not None and judgement.agreement is not None:
        found.append(2 * _doublings(100 - bounds.min_agreement, 100 - judgement.agreement))
    if bounds.min_snr is not None and judgement.snr_db is not None:
        found.append((judgement.snr_db - bounds.min_snr) / (10 * math.log10(2)))
    if not found or any(math.isnan(one) for one in found):
        return None
    return min(MOST_ROOM, max(-MOST_ROOM, min(found)))


def worse_than_mean(bounds: Bounds, judgement: Judgement) -> str | None:
    """Return what to say where the bound holds in the mean over outputs, and one of them alone is well beyond it."""
    found = []
    for one in judgement.outputs:
        if (
            bounds.min_snr is not None
            and one.snr_db is not None
            and one.snr_db < bounds.min_snr - _NOTABLE_DB
        ):
            found.append((one.snr_db - bounds.min_snr, f"{one.name!r} alone keeps {one.snr_db:.1f} dB"))
        if bounds.max_kl is not None and one.kind != "values" and one.loss > _NOTABLE * bounds.max_kl:
            found.append((1 - one.loss / bounds.max_kl, f"{one.name!r} alone loses {one.loss:.3g} nats"))
    return None if not found else f"the bound is of the mean over outputs: {min(found)[1]}"


def _doublings(bound: float, loss: float) -> float:
    """Return log2 of a bound over a loss; neither is negative, and no loss leaves room, whatever the bound."""
    if loss <= 0:
        return math.inf
    return math.log2(bound / loss) if bound > 0 else -math.inf
