"""A training, epoch by epoch: the folder that `enxuto train` leaves (`history.jsonl`), or what it prints as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from enxuto.report.documents import Document
from enxuto.report.exhibit import Chart, Exhibit, Frame, Measure, Series, origin
from enxuto.report.values import Checked, Count, Number, Share, WithProvenance, percent
from enxuto.tables import Table

__all__ = ["Epoch", "matches", "read", "training_chart"]

_NONE = "–"


class Epoch(Checked):
    """An epoch as `history.jsonl` keeps it."""

    epoch: Count
    loss: Number
    lr: Number
    seconds: Number
    images_per_s: Number
    validation_loss: Number | None = None
    validation_top1: Share | None = None
    validation_top5: Share | None = None


_Epochs = Annotated[list[Epoch], Field(min_length=1)]


class _Folder(WithProvenance):
    epochs: _Epochs


class _History(Checked):
    records: _Epochs
    best_epoch: Count | None = None
    seed: int | None = None
    samples: Count | None = None


class _Printed(WithProvenance):
    network: str
    data: str
    history: _History


def matches(values: Mapping[str, Any]) -> bool:
    """Whether these are the epochs of a training."""
    history = values.get("history")
    return isinstance(values.get("epochs"), list) or (isinstance(history, dict) and "records" in history)


def read(document: Document) -> list[Exhibit]:
    """One exhibit."""
    if "history" in document.values:
        found = _Printed.model_validate(document.values)
        history = found.history
        title = found.title or f"{found.network}: training"
        origin_pairs = origin(document.name, found.provenance, samples=history.samples, seed=history.seed)
        return [_exhibit(title, history.records, history.best_epoch, origin_pairs)]
    folder = _Folder.model_validate(document.values)
    title = f"{folder.title}: training" if folder.title else document.name
    return [_exhibit(title, folder.epochs, None, origin(document.name, folder.provenance))]


def _exhibit(
    title: str, epochs: Sequence[Epoch], best: int | None, origin_pairs: tuple[tuple[str, str], ...]
) -> Exhibit:
    return Exhibit(
        "training", title, (training_chart(title, epochs),), (_table(title, epochs, best),), origin_pairs
    )


def training_chart(title: str, epochs: Sequence[Epoch]) -> Chart:
    """Losses over the epochs; for y also accuracies on held-out images, where there are any, and the learning rate."""

    def share(value: float | None) -> float | None:
        return None if value is None else 100 * value

    series = [
        Series("training", tuple((one.epoch, one.loss, None, None, one.lr) for one in epochs), "line", 0)
    ]
    held = [one for one in epochs if one.validation_loss is not None]
    y = [Measure("loss", "mean loss an image, nats", start=0)]
    if held:
        rows = tuple(
            (one.epoch, one.validation_loss, share(one.validation_top1), share(one.validation_top5), None)
            for one in held
        )
        series.append(Series("validation", rows, "line", 1))
        y += (
            [Measure("top1", "top-1 %", start=0)]
            if any(one.validation_top1 is not None for one in held)
            else []
        )
        y += (
            [Measure("top5", "top-5 %", start=0)]
            if any(one.validation_top5 is not None for one in held)
            else []
        )
    y.append(Measure("lr", "learning rate at the start of the epoch", log=10 if _positive(epochs) else None))
    return Chart(
        title=f"{title}: loss",
        columns=("epoch", "loss", "top1", "top5", "lr"),
        x=(Measure("epoch", "epoch", whole=True),),
        y=tuple(y),
        frames=(Frame(title, tuple(series)),),
    )


def _positive(epochs: Sequence[Epoch]) -> bool:
    return all(one.lr > 0 for one in epochs)


def _table(title: str, epochs: Sequence[Epoch], best: int | None) -> Table:
    def loss(value: float | None) -> str:
        return _NONE if value is None else f"{value:.4f}"

    rows = tuple(
        (
            str(one.epoch), loss(one.loss), loss(one.validation_loss), percent(one.validation_top1),
            percent(one.validation_top5), f"{one.lr:.3g}", f"{one.seconds:.1f}", f"{one.images_per_s:,.0f}",
        )
        for one in epochs
    )  # fmt: skip
    columns = (
        "epoch", "training loss", "validation loss", "validation top-1 %", "validation top-5 %", "learning rate",
        "seconds", "images/s",
    )  # fmt: skip
    kept = "" if best is None else f". Epoch {best} was kept"
    return Table(
        f"{title}: epochs",
        columns,
        rows,
        f"Training loss: while the weights moved, smoothing and all{kept}",
        0,
    )
