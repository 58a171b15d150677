"""What `--json` of `enxuto curve` and of `enxuto study tonin` holds of a model: its original and its points."""

from __future__ import annotations

from typing import Generic, TypeVar

from enxuto.report.values import Checked, WithProvenance
from enxuto.studies.curve.tables import Curve

__all__ = ["PrintedCurve", "PrintedCurves", "PrintedPoints"]

Values = TypeVar("Values", bound=Checked)
Row = TypeVar("Row", bound=Checked)


class PrintedPoints(Checked, Generic[Values, Row]):
    """Values of an original and of its points. data: hash of the images."""

    data: str | None
    original: Values
    points: list[Row]

    def curve(self, name: str, *, exclude_none: bool = True) -> Curve:
        """Return the curve of a model called `name`; what is null is left out of rows, or stays as it is."""
        original, *rows = (one.model_dump(exclude_none=exclude_none) for one in (self.original, *self.points))
        return Curve(name, original, tuple(rows), self.data)


class PrintedCurve(PrintedPoints[Values, Row], Generic[Values, Row]):
    """The same with the model's name."""

    model: str


class PrintedCurves(WithProvenance, Generic[Values, Row]):
    """All models of one call."""

    models: list[PrintedCurve[Values, Row]]
