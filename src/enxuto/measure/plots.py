"""Plots of a training: loss and learning rate over the epochs on two axes, as in the source; losses of several runs.

Colours are Okabe and Ito's, told apart by every common form of colour vision; lines differ in dash and marker too.
The same history gives the same bytes. Source: Souza 2020, figures 30 to 35.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from enxuto.errors import UsageError, import_optional
from enxuto.escaping import legend_label, prepare_to_save
from enxuto.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_losses", "plot_training"]

_BLUE, _VERMILION, _GREEN = "#0072B2", "#D55E00", "#009E73"
_CYCLE = (_BLUE, _VERMILION, _GREEN, "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))
_SIZE = (7.0, 4.2)  # inches
_FORMATS = (".png", ".svg")
_MARKED = 30  # epochs up to which each is marked by a point

Record = Mapping[str, Any]


def plot_training(records: Sequence[Record], path: str | Path, *, title: str = "") -> Path:
    """Draw loss (left axis, linear) and learning rate (right axis, logarithmic) of one training; PNG or SVG by name.

    records: one an epoch with `epoch`, `loss`, `lr` and perhaps `validation_loss`, as in `history.jsonl`.
    Raises `UsageError` without records, for another ending, or without matplotlib.
    """
    target = _check_target(path, records)
    figure, axes = _new_figure(title)
    epochs = [record["epoch"] for record in records]
    marker = "o" if len(epochs) <= _MARKED else None
    losses = [record["loss"] for record in records]
    lines = axes.plot(epochs, losses, color=_BLUE, marker=marker, markersize=3.5, label="training loss")
    held_out = [record.get("validation_loss") for record in records]
    if any(loss is not None for loss in held_out):
        values = [float("nan") if loss is None else loss for loss in held_out]
        lines += axes.plot(epochs, values, color=_GREEN, linestyle=":", linewidth=2, label="validation loss")
    _start_at_zero(axes)
    axes.set_ylabel("mean cross-entropy per image (nats)", color=_BLUE)
    axes.tick_params(axis="y", colors=_BLUE)
    rate = axes.twinx()
    lines += rate.plot(
        epochs, [record["lr"] for record in records], color=_VERMILION, linestyle="--", drawstyle="steps-mid",
        label="learning rate",
    )  # fmt: skip
    rate.set_yscale("log")
    rate.set_ylim(*_decade_limits([record["lr"] for record in records]))
    rate.yaxis.set_minor_formatter("")  # powers of ten alone, however few there are
    rate.set_ylabel("learning rate at the start of the epoch", color=_VERMILION)
    rate.tick_params(axis="y", which="both", colors=_VERMILION)
    names = [str(line.get_label()) for line in lines]
    figure.legend(lines, names, frameon=False, loc="outside lower center", ncols=3)  # never over a curve
    return _save_figure(figure, target)


def plot_losses(runs: Mapping[str, Sequence[Record]], path: str | Path, *, title: str = "") -> Path:
    """Draw the training losses of several networks over their epochs; PNG or SVG by the name's ending.

    runs: name -> records as in `plot_training`. Raises `UsageError` as there.
    """
    target = _check_target(path, [record for records in runs.values() for record in records])
    figure, axes = _new_figure(title)
    for number, (name, records) in enumerate(runs.items()):
        axes.plot(
            [record["epoch"] for record in records], [record["loss"] for record in records], label=legend_label(name),
            color=_CYCLE[number % len(_CYCLE)], linestyle=_DASHES[number % len(_DASHES)],
            marker="o" if len(records) <= _MARKED else None, markersize=3.5,
        )  # fmt: skip
    _start_at_zero(axes)
    axes.set_ylabel("mean cross-entropy per image (nats)")
    figure.legend(frameon=False, loc="outside lower center", ncols=3)
    return _save_figure(figure, target)


def _start_at_zero(axes: Axes) -> None:
    """Losses from 0 to a little above the highest, however little they differ."""
    axes.set_ylim(0, 1.06 * axes.dataLim.ymax)


def _decade_limits(rates: Sequence[float]) -> tuple[float, float]:
    """Powers of ten that leave room on both sides of the rates."""
    return 10.0 ** (math.floor(math.log10(min(rates)) - 0.3)), 10.0 ** (
        math.ceil(math.log10(max(rates)) + 0.3)
    )


def _check_target(path: str | Path, records: Sequence[Record]) -> Path:
    target = Path(path)
    if target.suffix not in _FORMATS:
        raise UsageError(f"{target}: plots are written as {' or '.join(_FORMATS)}")
    if not records:
        raise UsageError(f"{target}: there is no epoch to draw")
    return target


def _new_figure(title: str) -> tuple[Figure, Axes]:
    """An empty figure with an axis of epochs; no window and no global state of matplotlib's is involved."""
    ticker = import_optional("matplotlib.ticker", "plots", "matplotlib", "report")
    figure: Figure = import_optional("matplotlib.figure", "plots", "matplotlib", "report").Figure(
        figsize=_SIZE, layout="constrained"
    )
    axes = figure.add_subplot()
    axes.set_title(title)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    axes.grid(visible=True, color="#dddddd", linewidth=0.6)
    return figure, axes


def _save_figure(figure: Figure, target: Path) -> Path:
    import matplotlib

    kind = target.suffix.removeprefix(".")
    # Without these an SVG holds the date and random identifiers.
    metadata: dict[str, Any] = {"Date": None} if kind == "svg" else {}
    with (
        matplotlib.rc_context({"svg.hashsalt": "enxuto", "svg.fonttype": "none"}),
        prepare_to_save(figure),
        atomic_write(target) as file,
    ):
        figure.savefig(file, format=kind, dpi=150, metadata=metadata)
    return target
