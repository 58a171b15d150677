"""The tables of `enxuto weights`: most similar distributions as in the source's tables 3.2 and 3.3, dependence, CSV."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from enxuto.escaping import csv_text
from enxuto.tables import Table
from enxuto.weights.dependency import LayerDependency
from enxuto.weights.distribution import Measure, Similarity, WeightDistribution
from enxuto.weights.tonin_published import SIMILAR, find_published

__all__ = [
    "dependency_csv",
    "dependency_table",
    "distributions_csv",
    "layer_table",
    "similar_table",
    "strongest_axes",
]

_NAMES: Mapping[Measure, str] = {"sse": "SSE", "kl": "D(P‖Q)"}
_NUMBERS: Mapping[Measure, str] = {"sse": "3.2", "kl": "3.3"}


def similar_table(shapes: Sequence[WeightDistribution], measure: Measure) -> Table:
    """The three most similar of the source's eight families for each model, and the best of all ten.

    Beside them what the source found for a network of the same family.
    """
    rows = []
    for shape in shapes:
        known = find_published(SIMILAR, shape.name)
        published = "–" if known is None else f"{', '.join(getattr(known, measure))} ({known.network})"
        three = shape.rank_fits(measure, source_only=True)[:3]
        best = shape.rank_fits(measure)[0]
        rows.append(
            (
                shape.name,
                f"{shape.count:,}",
                *(_similarity_text(one, measure) for one in three),
                _similarity_text(best, measure),
                published,
            )
        )
    columns = ("network", "weights", "1st of eight", "2nd", "3rd", "1st of ten", "published 1st, 2nd, 3rd")
    return Table(
        f"Most similar distributions by {_NAMES[measure]}", columns, tuple(rows),
        f"{_laplace_ranks(shapes, measure)}. As table {_NUMBERS[measure]} of Tonin 2021, whose eight families "
        f"are compared, then with generalised Gaussian and Student t as well; {_UNITS[measure]}", texts=1,
    )  # fmt: skip


_UNITS: Mapping[Measure, str] = {
    "sse": "SSE between densities over 201 bins",
    "kl": "divergence in nats over 201 bins and the two ends",
}


def layer_table(name: str, layers: Sequence[WeightDistribution], measure: Measure) -> Table:
    """Moments and the three most similar of all ten families for each layer."""
    rows = [
        (
            shape.name, str(shape.role), "×".join(map(str, shape.shape or ())), f"{shape.std:.4g}",
            f"{shape.kurtosis:.1f}", *(_similarity_text(one, measure) for one in shape.rank_fits(measure)[:3]),
        )
        for shape in layers
    ]  # fmt: skip
    columns = ("layer", "role", "shape", "std", "excess kurtosis", "1st", "2nd", "3rd")
    caption = f"{_NAMES[measure]} of the ten families; layers of fewer than 256 values are left out"
    return Table(f"{name}: layers", columns, tuple(rows), caption, texts=3)


def dependency_table(name: str, layers: Sequence[LayerDependency]) -> Table:
    """Correlation, mutual information and share of scale along each axis of each layer."""
    rows = []
    for layer in layers:
        for one in layer.axes:
            mark = "" if one.significant else " (chance)"
            rows.append(
                (
                    layer.name, "×".join(map(str, layer.shape)), one.axis,
                    ", ".join(f"{value:+.3f}" for value in one.correlation),
                    f"{one.information:.4f}{mark}", f"{one.chance:.4f} ± {one.chance_std:.4f}",
                    f"{one.scale_share:.1%}", f"{one.pairs:,}",
                )
            )  # fmt: skip
    columns = (
        "layer", "shape", "along", "correlation at 1, 2, 3", "information, bits", "of chance", "scale", "pairs",
    )  # fmt: skip
    caption = (
        "Information: what a weight tells of its neighbour beyond chance; scale: share of the variance of log |w| "
        "that the position along the axis explains"
    )
    return Table(f"{name}: dependence of neighbouring weights", columns, tuple(rows), caption, texts=3)


def strongest_axes(layers: Iterable[LayerDependency]) -> dict[str, float]:
    """Mean information in bits along each axis, every layer counting by its pairs of neighbours."""
    totals: dict[str, tuple[float, float]] = {}
    for layer in layers:
        for one in layer.axes:
            elements = 1.0
            for size in layer.shape:
                elements *= size
            weight = elements * (one.length - 1) / one.length
            bits, counted = totals.get(one.axis, (0.0, 0.0))
            totals[one.axis] = (bits + weight * one.information, counted + weight)
    return {axis: bits / counted for axis, (bits, counted) in totals.items()}


def distributions_csv(models: Mapping[str, Sequence[WeightDistribution]]) -> str:
    """A line for each model or layer and family, in full precision."""
    rows: list[dict[str, Any]] = [
        {
            "model": model, "layer": "" if shape.role is None else shape.name, "role": shape.role or "",
            "values": shape.count, "mean": shape.mean, "std": shape.std, "least": shape.least, "most": shape.most,
            "kurtosis": shape.kurtosis, "inside": shape.inside, "family": one.name,
            "parameters": " ".join(f"{key}={value!r}" for key, value in one.fitted.named_parameters().items()),
            "sse": one.sse, "kl": one.kl,
        }
        for model, shapes in models.items() for shape in shapes for one in shape.similar
    ]  # fmt: skip
    return rows_to_csv(rows)


def dependency_csv(models: Mapping[str, Sequence[LayerDependency]]) -> str:
    """A line for each layer and axis."""
    rows: list[dict[str, Any]] = [
        {
            "model": model, "layer": layer.name, "role": layer.role, "shape": "x".join(map(str, layer.shape)),
            "axis": one.axis, "length": one.length, "pairs": one.pairs,
            **{f"correlation_{lag}": dict(enumerate(one.correlation, 1)).get(lag, "") for lag in (1, 2, 3)},
            "information": one.information, "chance": one.chance, "chance_std": one.chance_std,
            "significant": one.significant, "scale_share": one.scale_share,
        }
        for model, layers in models.items() for layer in layers for one in layer.axes
    ]  # fmt: skip
    return rows_to_csv(rows)


def rows_to_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of the same keys as CSV with a header; nothing for no rows."""
    return csv_text(list(rows[0]), [[row[key] for key in rows[0]] for row in rows]) if rows else ""


def _similarity_text(similarity: Similarity, measure: Measure) -> str:
    return f"{similarity.name} {similarity.sse if measure == 'sse' else similarity.kl:.3g}"


def _laplace_ranks(shapes: Sequence[WeightDistribution], measure: Measure) -> str:
    """How often Laplace comes first and second, and how often it does in the source."""
    ranks = [
        [one.name for one in shape.rank_fits(measure, source_only=True)].index("Laplace") for shape in shapes
    ]
    published = [
        getattr(row, measure).index("Laplace") if "Laplace" in getattr(row, measure) else 9 for row in SIMILAR
    ]
    return (
        f"Laplace is first for {ranks.count(0)} and second for {ranks.count(1)} of {len(ranks)} "
        f"(published: {published.count(0)} and {published.count(1)} of {len(published)})"
    )
