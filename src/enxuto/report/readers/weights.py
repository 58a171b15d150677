"""Histograms with fitted distributions, from `enxuto weights --json`; the source's tables 3.2 and 3.3 beside them.

Dependence of neighbouring weights, where it was measured, is charted by `dependence`.

Layers have coarser histograms than the model, so that a page with two hundred of them stays small.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from enxuto.errors import DataError
from enxuto.report.documents import Document, provenance_of
from enxuto.report.exhibit import Chart, Exhibit, Frame, Measure, Series, origin
from enxuto.report.readers.dependence import DependentLayer, dependence_charts, rebuild
from enxuto.report.values import Checked, Count, Number, Positive, shell_command
from enxuto.tables import Table
from enxuto.weights.distribution import Similarity, WeightDistribution
from enxuto.weights.families import FAMILIES, FittedFamily
from enxuto.weights.tables import dependency_table, layer_table, similar_table

__all__ = ["families_chart", "histogram_chart", "matches", "read"]

_FITS = 3
_FITS_OF_LAYERS = 2
_COARSE = 3  # bins of a model's histogram in one of a layer's
# The same family looks the same in all charts, and those that come out best differ most.
_STYLES = (
    "Laplace", "generalised Gaussian", "Student t", "Cauchy", "logistic", "Gaussian", "weights", "alpha", "gamma",
    "uniform", "exponential",
)  # fmt: skip
_BY_NAME = {family.name: family for family in FAMILIES}


class _Fit(Checked):
    name: str
    parameters: dict[str, Number]
    sse: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    kl: Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Shape(Checked):
    name: str
    role: str | None
    count: Count
    mean: Number
    std: Positive
    least: Number
    most: Number
    kurtosis: Number
    inside: Number
    shape: tuple[int, ...] | None
    edges: tuple[Number, Number]
    density: Annotated[list[Number], Field(min_length=1, max_length=10_000)]
    fits: list[_Fit]

    def rebuild(self) -> WeightDistribution:
        """As it was when it was printed. Raises `DataError` for families that are not known."""
        by_name = {fit.name: fit for fit in self.fits}
        strange = set(by_name) ^ set(_BY_NAME)
        if strange or self.edges[0] >= self.edges[1]:
            raise DataError(
                f"{self.name}: no histogram with fits of the ten families ({', '.join(sorted(strange))})"
            )
        similar = tuple(
            Similarity(
                FittedFamily(family, tuple(by_name[name].parameters[key] for key in family.parameters)),
                by_name[name].sse,
                by_name[name].kl,
            )
            for name, family in _BY_NAME.items()
        )
        moments = {
            name: getattr(self, name)
            for name in (
                "name",
                "role",
                "count",
                "mean",
                "std",
                "least",
                "most",
                "kurtosis",
                "inside",
                "shape",
            )
        }
        edges = np.linspace(self.edges[0], self.edges[1], len(self.density) + 1)
        return WeightDistribution(**moments, edges=edges, density=np.asarray(self.density), similar=similar)


class _Model(_Shape):
    layers: tuple[_Shape, ...] = ()
    dependence: tuple[DependentLayer, ...] = ()
    seed: int | None = None


def matches(values: Mapping[str, Any]) -> bool:
    """Whether there is a list of models, any of them with a histogram."""
    models = values.get("models")
    return isinstance(models, list) and any(_is_histogram(one) for one in models)


def _is_histogram(value: object) -> bool:
    return isinstance(value, dict) and "density" in value and "fits" in value


def read(document: Document) -> list[Exhibit]:
    """One exhibit a model. Raises `DataError` for distributions that are not known here."""
    models = [_Model.model_validate(value) for value in document.values["models"] if _is_histogram(value)]
    exhibits = []
    for model in models:
        name, shape = model.name, model.rebuild()
        layers = [layer.rebuild() for layer in model.layers]
        tables: list[Table] = [similar_table([shape], "sse"), similar_table([shape], "kl")]
        charts = [histogram_chart(name, shape, layers)]
        if layers:
            tables.append(layer_table(name, layers, "kl"))
            charts.append(families_chart(name, layers))
        dependent = rebuild(model.dependence)
        if dependent:
            charts += dependence_charts(name, dependent)
            tables.append(dependency_table(name, dependent))
        asked = [*(["--layers"] if layers else []), *(["--dependence"] if dependent else [])]
        command = shell_command("enxuto weights", f"{name}.onnx", *asked, "--json")
        exhibits.append(
            Exhibit(
                "histograms",
                f"{name}: distribution of {shape.count:,} weights",
                tuple(charts),
                tuple(tables),
                origin(
                    document.name,
                    provenance_of(document),
                    command=command,
                    samples=f"{shape.count:,} weights",
                    seed=model.seed if dependent else None,
                ),
            )
        )
    return exhibits


def histogram_chart(name: str, shape: WeightDistribution, layers: Sequence[WeightDistribution]) -> Chart:
    """A histogram with its closest distributions: a frame for all weights, then one for each layer."""
    frames = [_frame("all weights", shape, 1, _FITS)]
    frames += [_frame(layer.name, layer, _COARSE, _FITS_OF_LAYERS) for layer in layers]
    return Chart(
        title=f"{name}: histogram and closest distributions by SSE",
        columns=("weight", "density"),
        x=(Measure("weight", "weight"),),
        y=(Measure("density", "density", start=0),),
        frames=tuple(frames),
        note="The tails show on a logarithmic axis.",
    )


def _frame(name: str, shape: WeightDistribution, coarse: int, fits: int) -> Frame:
    """The histogram as steps, and the best fits at the middle of the bins."""
    density, edges = shape.density, shape.edges
    if len(density) % coarse == 0:
        density, edges = density.reshape(-1, coarse).mean(axis=1), edges[::coarse]
    steps = [*zip(edges[:-1].tolist(), density.tolist(), strict=True), (float(edges[-1]), float(density[-1]))]
    series = [Series("weights", tuple(steps), "steps", _STYLES.index("weights"))]
    middles = (edges[1:] + edges[:-1]) / 2
    for fit in shape.rank_fits("sse")[:fits]:
        curve = fit.fitted.density(middles)
        rows = tuple(zip(middles.tolist(), np.where(np.isfinite(curve), curve, np.nan).tolist(), strict=True))
        series.append(Series(fit.name, rows, "line", _STYLES.index(fit.name)))
    return Frame(name, tuple(series))


def families_chart(name: str, layers: Sequence[WeightDistribution]) -> Chart:
    """How far each family is from each layer."""
    series = [
        Series(
            family.name,
            tuple(
                (place, max(layer.similar[number].kl, 1e-6), layer.name)
                for place, layer in enumerate(layers, 1)
            ),
            "points",
            _STYLES.index(family.name),
        )
        for number, family in enumerate(FAMILIES)
    ]
    return Chart(
        title=f"{name}: distance of families of distributions from {len(layers)} layers",
        columns=("place", "kl", "layer"),
        x=(Measure("place", "layer, in the order of the file", whole=True),),
        y=(Measure("kl", "D(P‖Q), nats", log=10),),
        frames=(Frame(name, tuple(series)),),
        hover=(("layer", "layer"),),
    )
