"""The charts of `enxuto curve`: rate against every metric, as the source's figures 3.6 to 3.11, and against bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from enxuto.report.exhibit import Chart
from enxuto.report.pictures import Panel, draw_panels, make_panels
from enxuto.report.readers.output_rates import outputs_chart
from enxuto.report.readers.rates import rate_chart
from enxuto.studies.curve.modes import CALIBRATED_METHOD, DEFAULT_METHOD
from enxuto.studies.curve.tables import Curve

__all__ = ["draw_curve", "draw_outputs"]

_METRICS = ("top1", "top5", "macro_precision", "macro_recall", "macro_f1", "mrr")
_ZONE = "dead-zone"
_BESIDE_ZONES = (
    "midrise",
    "midtread",
    DEFAULT_METHOD,
    CALIBRATED_METHOD,
)  # the first two are dead zones of 0 and 0.5
_NO_FILES = ("midrise", "half", "dead-zone 0.1", "dead-zone 0.25")  # of which the files are much larger


def draw_curve(curve: Curve, folder: str | Path, ending: str) -> list[Path]:
    """Draw a curve's charts, called by its model: `-methods`, `-dead-zones` and `-bytes`; those without points are not.

    ending: `.png` or `.svg`. Returns the files written. Raises `UsageError` without matplotlib, or where a file cannot
    be written.
    """
    title = f"{curve.model}: {curve.about}"
    written = []
    for name, is_shown in (("methods", _is_no_zone), ("dead-zones", _is_by_zones)):
        chart = _select(rate_chart(curve), is_shown)
        if chart is not None:
            keys = [key for key in _METRICS if key in {measure.key for measure in chart.y}]
            entropy = [measure.key for measure in chart.x].index("entropy_bits")
            path = Path(folder) / f"{curve.model}-{name}{ending}"
            written.append(draw_panels(make_panels(chart, x=entropy, y=keys), path, title=title, columns=3))
    chart = _select(rate_chart(curve), lambda method: method not in _NO_FILES)
    if chart is not None:
        whole = Panel(chart, chart.frames[0], chart.x[0], chart.y[0])
        close = replace(
            whole, y=replace(whole.y, near=True), title="close to the original; grey: its 95 % interval"
        )
        path = Path(folder) / f"{curve.model}-bytes{ending}"
        written.append(draw_panels([whole, close], path, title=title, columns=2))
    return written


def draw_outputs(curve: Curve, folder: str | Path, ending: str) -> Path | None:
    """Draw rate against what is kept of outputs, `MODEL-outputs`; None where no point has a finite figure.

    ending: `.png` or `.svg`. Raises `UsageError` without matplotlib, or where a file cannot be written.
    """
    chart = outputs_chart(curve)
    if chart is None:
        return None
    path = Path(folder) / f"{curve.model}-outputs{ending}"
    panels = [Panel(chart, chart.frames[0], chart.x[0], measure, measure.label) for measure in chart.y]
    draw_panels(panels, path, title=f"{curve.model}: {curve.about}", columns=len(panels))
    return path


def _is_no_zone(method: str) -> bool:
    return not method.startswith(_ZONE)


def _is_by_zones(method: str) -> bool:
    return method.startswith(_ZONE) or method in _BESIDE_ZONES


def _select(chart: Chart, is_shown: Callable[[str], bool]) -> Chart | None:
    """The chart with the lines of some methods and the original's; None where none of them has a point."""
    series = [one for one in chart.frames[0].series if is_shown(one.name) or one.form == "rule"]
    if all(one.form == "rule" for one in series):
        return None
    return replace(chart, frames=(replace(chart.frames[0], series=tuple(series)),))
