"""Which filters go: units of channels that must go together, in an order, until a target is reached.

Everything here is a pure function of numbers. Units are put in one removal order, which no target changes; a target
only says how far along it to go. So whatever asks for more removes the same units and further ones, never fewer.

- global: by score, all layers in one order; scores of layers can be normalised before. local: by the rank among the
  units of the same layers, so that all layers lose the same share, until one reaches its floor.
- floor: a unit stays if a layer would have fewer filters than that left; the units after it still go.
- multiple: units of the same layers are put back, last removed first, until a multiple of them is left, so that
  counts suit the hardware. A number that was none from the start can stay as it is.

Left out: which channels go together (`channels`), what is removed then (`removal`), and measures (`targets`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import numpy as np

from enxuto.errors import UsageError, did_you_mean

__all__ = [
    "Normalise",
    "Scope",
    "Unit",
    "UnitChoice",
    "choose_units",
    "removal_order",
    "round_to_multiple",
    "unit_scores",
]

Scope = Literal["global", "local"]
Normalise = Literal["none", "l2", "mean", "max"]
_ROUNDING = 1e-9  # of a share, in float64
Measure = Callable[[Sequence[int]], float]
"""What is left (filters, parameters, MACs, seconds) when units of these numbers are removed."""


class Unit(Protocol):
    """Filters that must go together, as `channels` groups them: layer → positions of its filters."""

    @property
    def filters(self) -> Mapping[str, tuple[int, ...]]:
        """Filters of each layer that the unit holds."""


@dataclass(frozen=True)
class UnitChoice:
    """Which units to remove.

    removed: their numbers, ascending. requested, achieved: shares 0…1 of the measure to be removed, and removed by this
    choice; where they differ, no other cut of the order comes nearer, or none that is at most as large. exhausted:
    whether more was requested than may go.
    """

    removed: tuple[int, ...]
    requested: float
    achieved: float
    exhausted: bool = False


def choose_units(
    units: Sequence[Unit],
    scores: Mapping[str, np.ndarray],
    share: float,
    measure: Measure,
    *,
    scope: Scope = "global",
    normalise: Normalise = "none",
    floor: int = 1,
    multiple: int = 1,
    at_most: bool = False,
) -> UnitChoice:
    """Choose the units to remove so that a share of the measure goes, as nearly as the order allows.

    The measure is evaluated for logarithmically many choices. If it gives the same for the same choice, a larger share
    never leaves more units, even where the measure itself goes up and down.

    Args:
        units: filters that go together.
        scores: layer → a score for each filter; low ones go first.
        share: of `measure(())` to remove, at least 0 and below 1.
        measure: what is left when units of these numbers are removed.
        scope, normalise, floor, multiple: see the head of this file.
        at_most: rather remove a little more than leave more than wanted.

    Raises:
        UsageError: a setting or a score makes no sense.
    """
    if not 0 <= share < 1:
        raise UsageError(f"the share to remove must be 0 or more and below 1, not {share}")
    values = unit_scores(units, scores, normalise=normalise)
    sizes = {layer: len(score) for layer, score in scores.items()}
    order = removal_order(units, values, sizes, scope=scope, floor=floor)
    whole = measure(())
    if not (np.isfinite(whole) and whole > 0):
        raise UsageError(f"the measure of the unpruned network must be finite and above 0, not {whole}")
    wanted = (1 - share) * whole
    low, high = 0, len(order)
    while high - low > 1:
        middle = (low + high) // 2
        if measure(round_to_multiple(units, order, middle, multiple)) <= wanted:
            high = middle
        else:
            low = middle
    less, more = (round_to_multiple(units, order, count, multiple) for count in (low, high))
    left_less, left_more = measure(less), measure(more)
    # The nearer of the two, written so that it never turns back as `wanted` falls.
    further = left_less > wanted * (1 + _ROUNDING) if at_most else 2 * wanted < left_less + left_more
    removed, left = (more, left_more) if further else (less, left_less)
    exhausted = left > wanted * (1 + _ROUNDING) and removed == round_to_multiple(
        units, order, len(order), multiple
    )
    return UnitChoice(removed, share, 1 - left / whole, exhausted)


def unit_scores(
    units: Sequence[Unit], scores: Mapping[str, np.ndarray], *, normalise: Normalise = "none"
) -> np.ndarray:
    """Return each unit's score, float64: the mean of its filters' scores, each layer's divided by its norm.

    normalise: none (as in the source), l2, mean or max of the layer's scores' magnitudes. Layers without scores do
    not count. Raises `UsageError` for a unit without any score, and for scores that are not finite.
    """
    scaled = {}
    for layer, values in scores.items():
        if values.ndim != 1 or not np.isfinite(values).all():
            raise UsageError(f"scores of {layer} must be finite numbers, one for each filter")
        scaled[layer] = values / _norm(values, normalise)
    found = np.empty(len(units))
    for number, unit in enumerate(units):
        parts = [
            scaled[layer][list(positions)] for layer, positions in unit.filters.items() if layer in scaled
        ]
        if not sum(map(len, parts)):
            raise UsageError(
                f"no score for any of {', '.join(unit.filters) or 'no layers'}: score them or leave them",
                code="E023",
            )
        found[number] = np.concatenate(parts).mean()
    return found


def _norm(values: np.ndarray, normalise: Normalise) -> float:
    """What a layer's scores are divided by; 1 where they are all 0."""
    sizes = np.abs(np.asarray(values, dtype=np.float64))
    match normalise:
        case "none":
            return 1.0
        case "l2":
            norm = float(np.linalg.norm(sizes))
        case "mean":
            norm = float(sizes.mean()) if sizes.size else 0.0
        case "max":
            norm = float(sizes.max(initial=0.0))
        case _:
            raise UsageError(
                f"no normalisation {normalise!r}{did_you_mean(str(normalise), get_args(Normalise))}: "
                "choose none, l2, mean or max",
                code="E021",
            )
    return norm if norm > 0 else 1.0


def removal_order(
    units: Sequence[Unit],
    values: np.ndarray,
    sizes: Mapping[str, int],
    *,
    scope: Scope = "global",
    floor: int = 1,
) -> tuple[int, ...]:
    """Return the numbers of all units that may go, first to go first; equal ones in the order given.

    values: a score for each unit. sizes: layer → its filters, those in no unit too; a layer that is not there has
    those of the units. Units that would leave a layer fewer than `floor` filters are not in it.
    """
    if floor < 0:
        raise UsageError(f"the floor must be 0 filters or more, not {floor}")
    if scope not in ("global", "local"):
        raise UsageError(
            f"no scope {scope!r}{did_you_mean(scope, get_args(Scope))}: choose global or local", code="E021"
        )
    keys = _local_ranks(units, values) if scope == "local" else np.asarray(values, dtype=np.float64)
    left = dict(sizes)
    for layer in {layer for unit in units for layer in unit.filters} - left.keys():
        left[layer] = sum(len(unit.filters.get(layer, ())) for unit in units)
    order = []
    for number in np.argsort(keys, kind="stable").tolist():
        taken = {layer: len(positions) for layer, positions in units[number].filters.items() if positions}
        if all(left[layer] - count >= floor for layer, count in taken.items()):
            order.append(number)
            for layer, count in taken.items():
                left[layer] -= count
    return tuple(order)


def round_to_multiple(
    units: Sequence[Unit], order: Sequence[int], count: int, multiple: int = 1
) -> tuple[int, ...]:
    """Return the first `count` units of a removal order, ascending, fewer where multiples are to be left.

    Of the units of the same layers, those removed last are put back until the filters left in each of the layers
    are a multiple, or all are back. A larger count never removes less.
    """
    if multiple < 1:
        raise UsageError(f"channel counts must be multiples of 1 or more, not {multiple}")
    removed = [int(number) for number in order[:count]]
    if multiple == 1:
        return tuple(sorted(removed))
    families = _families(units)
    gone: dict[int, list[int]] = {}
    for number in removed:
        gone.setdefault(families[number], []).append(number)
    totals = np.bincount(families, minlength=1) if families else np.zeros(1, dtype=np.int64)
    kept = []
    for family, numbers in gone.items():
        step = _family_step(units[numbers[0]], multiple)
        left = int(totals[family]) - len(numbers)
        kept += numbers[: max(0, int(totals[family]) - -(-left // step) * step)]
    return tuple(sorted(kept))


def _family_step(unit: Unit, multiple: int) -> int:
    """Units such that each of their layers changes by a multiple."""
    return int(
        np.lcm.reduce(
            [multiple // np.gcd(multiple, len(positions)) for positions in unit.filters.values() if positions]
        )
    )


def _families(units: Sequence[Unit]) -> list[int]:
    """Number the sets of units that lie in the same layers with equally many filters."""
    numbers: dict[tuple[tuple[str, int], ...], int] = {}
    return [
        numbers.setdefault(tuple(sorted((k, len(v)) for k, v in unit.filters.items())), len(numbers))
        for unit in units
    ]


def _local_ranks(units: Sequence[Unit], values: np.ndarray) -> np.ndarray:
    """The share of its family that has gone when half of a unit has: (rank + ½)/size."""
    families = np.asarray(_families(units), dtype=np.int64)
    keys = np.empty(len(units))
    for family in np.unique(families):
        members = np.flatnonzero(families == family)
        ranked = members[np.argsort(values[members], kind="stable")]
        keys[ranked] = (np.arange(len(members)) + 0.5) / len(members)
    return keys
