"""What all charts share: an empty figure, colours and dashes, PNG or SVG by the name.

Colours are Okabe and Ito's, told apart by every common form of colour vision; lines differ in dash and marker too. The
same values give the same bytes. Needs matplotlib (extra `[report]`); no window and no global state of it is involved.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from enxuto.errors import UsageError, import_optional
from enxuto.escaping import prepare_to_save
from enxuto.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import Locator

__all__ = ["COLOURS", "DASHES", "FORMATS", "MARKERS", "new_figure", "save", "whole_numbers"]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
FORMATS = (".png", ".svg")


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure of so many inches, and its axes row by row, with a light grid.

    Raises `UsageError` without matplotlib.
    """
    figure: Figure = import_optional("matplotlib.figure", "charts", "matplotlib", "report").Figure(
        figsize=(width, height), layout="constrained"
    )
    axes = list(figure.subplots(rows, columns, squeeze=False).reshape(-1))
    for one in axes:
        one.grid(visible=True, color="#dddddd", linewidth=0.6)
        one.set_axisbelow(True)
        for side in ("top", "right"):
            one.spines[side].set_visible(False)
    return figure, axes


def whole_numbers() -> Locator:
    """Ticks at whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(integer=True)


def save(figure: Figure, path: str | Path) -> Path:
    """Write the figure, whole or not at all. Raises `UsageError` for another ending than .png and .svg."""
    import matplotlib
    from matplotlib.ticker import ScalarFormatter

    target = Path(path)
    if target.suffix not in FORMATS:
        raise UsageError(f"{target}: charts are written as {' or '.join(FORMATS)}")
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            if isinstance(axis.get_major_formatter(), ScalarFormatter):
                # `prepare_to_save` calls formatters for one number at a time: then a `ScalarFormatter` gives no text.
                axis.set_major_formatter("{x:g}")
    kind = target.suffix.removeprefix(".")
    # Without these an SVG holds the date and random identifiers.
    metadata: dict[str, Any] = {"Date": None} if kind == "svg" else {}
    settings: Any = {"svg.hashsalt": "enxuto", "svg.fonttype": "none"}
    with matplotlib.rc_context(settings), prepare_to_save(figure), atomic_write(target) as file:
        figure.savefig(file, format=kind, dpi=150, metadata=metadata)
    return target
