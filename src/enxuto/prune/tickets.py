"""Which pruned networks are winning tickets, and how much that says: claims per seed, by medians, beside controls.

A winning ticket is a pruned network that is at least as accurate as the unpruned one. On one seed that is a coin flip:
unpruned runs differ among themselves. So each claim says how many seeds hold it, whether the median does, whether even
the worst seed lies above the best unpruned run (`beyond_spread`), and how far the median lies above the controls: fresh
weights in the very same architecture, filters chosen by chance at the same sizes and retrained in the same way, and the
unpruned network trained on in the same way. Pure numbers: no torch, no files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from enxuto.errors import DataError

__all__ = ["Claim", "SeedAccuracies", "compare_with_controls"]


@dataclass(frozen=True)
class SeedAccuracies:
    """Seed → accuracy (0…1) of one experiment, repeated with several seeds. Raises `DataError` without any."""

    top1: Mapping[int, float] = field(hash=False)

    def __post_init__(self) -> None:
        if not self.top1:
            raise DataError(
                "no run to compare with; the unpruned networks must be trained first", code="E043"
            )

    @property
    def median(self) -> float:
        """The median accuracy."""
        return float(median(self.top1.values()))

    @property
    def low(self) -> float:
        """The lowest accuracy."""
        return min(self.top1.values())

    @property
    def high(self) -> float:
        """The highest accuracy."""
        return max(self.top1.values())

    def is_above(self, other: SeedAccuracies) -> bool:
        """Whether every one of these lies above all of the others."""
        return self.low > other.high

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "median": self.median, "min": self.low, "max": self.high,
            "seeds": {str(seed): value for seed, value in sorted(self.top1.items())},
        }  # fmt: skip


@dataclass(frozen=True)
class Claim:
    """How one pruned network compares with the unpruned ones and the controls.

    Differences are between medians, in accuracy (0.01 is a percentage point).

    seeds: those whose pruned network is at least as accurate as their own unpruned one. of: number of all seeds.
    by_median: the median is at least the unpruned median. beyond_spread: the lowest accuracy is above the highest
    unpruned one. over_fresh, over_random, over_longer: differences to the controls, None without that control.
    beats_fresh, beats_random: the lowest accuracy is above the highest one of that control.
    """

    seeds: tuple[int, ...]
    of: int
    by_median: bool
    beyond_spread: bool
    over_unpruned: float
    over_fresh: float | None
    over_random: float | None
    over_longer: float | None
    beats_fresh: bool | None
    beats_random: bool | None

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {**vars(self), "seeds": list(self.seeds)}


def compare_with_controls(
    runs: SeedAccuracies,
    unpruned: SeedAccuracies,
    *,
    fresh: SeedAccuracies | None = None,
    random: SeedAccuracies | None = None,
    longer: SeedAccuracies | None = None,
) -> Claim:
    """Compare one pruned network's runs with the unpruned ones and with the controls.

    Raises `DataError` for a seed whose unpruned run is missing.
    """
    missing = sorted(set(runs.top1) - set(unpruned.top1))
    if missing:
        raise DataError(f"seed {missing[0]} has no unpruned run to be compared with", code="E043")

    def above_control(control: SeedAccuracies | None) -> float | None:
        return None if control is None else runs.median - control.median

    return Claim(
        seeds=tuple(sorted(seed for seed, value in runs.top1.items() if value >= unpruned.top1[seed])),
        of=len(runs.top1),
        by_median=runs.median >= unpruned.median,
        beyond_spread=runs.is_above(unpruned),
        over_unpruned=runs.median - unpruned.median,
        over_fresh=above_control(fresh),
        over_random=above_control(random),
        over_longer=above_control(longer),
        beats_fresh=None if fresh is None else runs.is_above(fresh),
        beats_random=None if random is None else runs.is_above(random),
    )
