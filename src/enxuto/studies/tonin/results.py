"""What came of a study of Tonin's kind: a network's rows on the images that chose, and on those that report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from enxuto.errors import DataError
from enxuto.studies.curve.modes import CALIBRATED_METHOD, DEFAULT_METHOD
from enxuto.studies.curve.tables import Curve, setting_name
from enxuto.studies.kinds import TONIN_MEASURE
from enxuto.studies.tonin.quantizers import SOURCE_METHODS
from enxuto.study.identity import content_hash
from enxuto.study.store_result import Result
from enxuto.weights.tonin_published import BEST, PublishedQuantization, find_published

__all__ = ["MAX_DROP", "NetworkResults", "best_settings", "collect", "is_grid", "within"]

MAX_DROP = 0.8
"""Points of both top-1 and top-5 that the source's best settings may lose (its section 4)."""


@dataclass(frozen=True)
class NetworkResults:
    """One network on one data set.

    use: `image`, `age` or `gender`. choosing, reporting: the curves of both parts, which are of the same images where
    all choose and report; reporting has the rows that were chosen. split: how images were divided, None where they
    were not.
    """

    name: str
    use: str
    published: PublishedQuantization | None
    choosing: Curve
    reporting: Curve | None
    max_drop: float
    split: Mapping[str, Any] | None
    results: tuple[Result, ...] = field(default=(), compare=False, repr=False)

    @property
    def reported(self) -> Curve:
        """The curve whose figures count; that of the choosing images while there is no other."""
        return self.choosing if self.reporting is None else self.reporting

    def best(self, methods: Sequence[str]) -> Mapping[str, Any] | None:
        """Return the row, on the images that report, of the best setting of some methods; None where there is none.

        Of the source's quantizers by entropy, of enxuto's own by the bytes of the file.
        """
        chosen = _best(self.choosing, methods, self.max_drop, self.use)
        if chosen is None:
            return None
        return next((row for row in self.reported.rows if row["setting"] == chosen["setting"]), None)


def is_grid(row: Mapping[str, Any]) -> bool:
    """Whether a row is of one of the source's quantizers."""
    return row["method"] in SOURCE_METHODS


def within(curve: Curve, row: Mapping[str, Any], max_drop: float, use: str) -> bool:
    """Whether a row loses at most so many points of top-1, and of top-5 where the network classifies images."""
    metrics = ["top1", *(["top5"] if use == "image" and "top5" in row else [])]
    return all(curve.points_lost(row, name) <= max_drop + 1e-9 for name in metrics)


def best_settings(choosing: Curve, max_drop: float, use: str) -> list[Mapping[str, Any]]:
    """Return what is reported on: the best of the source's quantizers, the best calibrated, and what is not chosen."""
    rows = [
        _best(choosing, SOURCE_METHODS, max_drop, use),
        _best(choosing, (CALIBRATED_METHOD,), max_drop, use),
        *(row for row in choosing.rows if not is_grid(row) and row["method"] != CALIBRATED_METHOD),
    ]
    return [row for row in rows if row is not None]


def _best(curve: Curve, methods: Sequence[str], max_drop: float, use: str) -> Mapping[str, Any] | None:
    rows = [row for row in curve.rows if row["method"] in methods and within(curve, row, max_drop, use)]
    own = any(name.startswith(DEFAULT_METHOD) for name in methods)
    return min(rows, key=lambda row: float(row["file_bytes" if own else "entropy_bits"]), default=None)


def collect(results: Iterable[Result]) -> list[NetworkResults]:
    """Group the results of points by network, in their order; points that failed are left out.

    Of several losses (`max_drop`) that chose settings the last counts. Raises `DataError` where an original is missing.
    """
    groups: dict[str, list[Result]] = {}
    for result in results:
        if result.kind == TONIN_MEASURE:
            apart = ("compress", "part", "max_drop")
            shared = {key: value for key, value in result.settings.items() if key not in apart}
            groups.setdefault(content_hash({**shared, "code": result.code}), []).append(result)
    found = []
    for group in groups.values():
        by_part: dict[tuple[str, float | None], list[Result]] = {}
        for result in group:
            part = result.settings.get("part") or {}
            key = content_hash(dict(part, part="")) if part else ""
            by_part.setdefault((key, result.settings.get("max_drop")), []).append(result)
        found += [
            _network({drop: one for (of, drop), one in by_part.items() if of == key})
            for key in dict.fromkeys(key for key, _ in by_part)
        ]
    return found


def _network(by_drop: Mapping[float | None, Sequence[Result]]) -> NetworkResults:
    """A network from the points that choose (no loss is known yet), and for each loss those that report."""
    losses = [drop for drop in by_drop if drop is not None]
    last = losses[-1] if losses else None
    choosing = by_drop.get(None) or by_drop[last]
    curve = _curve(choosing)
    reporting = None if last is None else _curve(by_drop[last])
    values = curve.original
    name = str(curve.model)
    key = str(values.get("published") or "")
    known = find_published(BEST, name) if not key else next((row for row in BEST if row.key == key), None)
    return NetworkResults(
        name, str(choosing[0].settings.get("use", "image")), known, curve, reporting,
        MAX_DROP if last is None else last, choosing[0].settings.get("part"),
        tuple(result for group in by_drop.values() for result in group),
    )  # fmt: skip


def _curve(results: Sequence[Result]) -> Curve:
    """The curve of the points of one part. Raises `DataError` where the original is missing."""
    done = [result for result in results if result.values is not None]
    original = next((r.values for r in done if r.settings["compress"]["mode"] == "original"), None)
    if original is None:
        why = next(
            (r.error for r in results if r.settings["compress"]["mode"] == "original"), "it was not run"
        )
        raise DataError(
            f"the original was not evaluated, and nothing can be compared with it: {why}", code="E081"
        )
    order = (*SOURCE_METHODS, DEFAULT_METHOD, CALIBRATED_METHOD)
    rows = [
        {**one.settings["compress"], "setting": setting_name(one.settings["compress"]), **(one.values or {})}
        for one in done
        if one.settings["compress"]["mode"] != "original"
    ]
    ranks = {name: place for place, name in enumerate(order)}
    rows.sort(key=lambda row: (ranks.get(row["method"], len(ranks)), row["i"]))
    return Curve(str(original["model"]), original, tuple(rows), results[0].data_hash, tuple(results))
