"""What a model scores on labelled images, from `enxuto evaluate --json`: measures, and bars over the classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from enxuto.report.documents import Document
from enxuto.report.exhibit import Chart, Exhibit, Frame, Measure, Series, origin
from enxuto.report.values import (
    Checked,
    Count,
    Interval,
    Number,
    Share,
    Told,
    across,
    label,
    percent,
    points,
    shell,
)
from enxuto.tables import Table

__all__ = ["knows", "read"]

_NONE = "–"


class _Metrics(Checked):
    accuracy: Share
    top: dict[str, Share] = Field(default_factory=dict)
    macro_precision: Share
    macro_recall: Share
    macro_f1: Share
    mrr: Share
    ndcg: Share
    precision: tuple[Share, ...] = ()
    recall: tuple[Share, ...] = ()
    f1: tuple[Share, ...] = ()
    support: tuple[Count, ...] = ()


class _Evaluation(Told):
    model: str
    data: str
    metrics: _Metrics
    samples: Count
    data_hash: str
    seed: int
    top1_interval: Interval
    agreement: Share | None = None
    kl: Number | None = None
    reference_top1: Share | None = None
    lost: Number | None = None
    lost_interval: tuple[Number, Number] | None = None
    class_names: list[str] | None = None


def knows(values: Mapping[str, Any]) -> bool:
    """Whether this is an evaluation."""
    return {"metrics", "samples", "data_hash", "top1_interval"} <= set(values)


def read(document: Document) -> list[Exhibit]:
    """One exhibit."""
    found = _Evaluation.model_validate(document.values)
    title = f"{label(found.model)} on {label(found.data)}"
    classes = _classes(found, title)
    return [
        Exhibit(
            "evaluation",
            title,
            () if classes is None else (classes,),
            (_table(found, title),),
            origin(
                document.name,
                found.provenance,
                command=shell("enxuto evaluate", found.model, "--data", found.data, "--limit", found.samples,
                              "--seed", found.seed, "--json"),
                samples=found.samples,
                seed=found.seed,
                data=found.data_hash,
            ),
        )
    ]  # fmt: skip


def _table(found: _Evaluation, title: str) -> Table:
    metrics = found.metrics
    row = (
        label(found.model), percent(metrics.accuracy), across(found.top1_interval), percent(metrics.top.get("5")),
        percent(metrics.macro_precision), percent(metrics.macro_recall), percent(metrics.macro_f1),
        f"{metrics.mrr:.4f}", f"{metrics.ndcg:.4f}", percent(found.reference_top1),
        points(found.lost, found.lost_interval), percent(found.agreement),
        _NONE if found.kl is None else f"{found.kl:.3g}", f"{found.samples:,}",
    )  # fmt: skip
    columns = (
        "model", "top-1 %", "95 % interval", "top-5 %", "precision %", "recall %", "F1 %", "MRR", "NDCG",
        "reference's top-1 %", "points lost, 95 %", "equal answers %", "KL, nats", "images",
    )  # fmt: skip
    return Table(
        title, columns, (row,), "Precision, recall, F1: macro averages; equal answers: with the reference"
    )


def _classes(found: _Evaluation, title: str) -> Chart | None:
    metrics = found.metrics
    names = found.class_names or [str(place) for place in range(len(metrics.support))]
    rows = tuple(
        (name, 100 * f1, 100 * precision, 100 * recall, images)
        for name, f1, precision, recall, images in zip(
            names, metrics.f1, metrics.precision, metrics.recall, metrics.support, strict=False
        )
        if images
    )
    if not rows:
        return None
    return Chart(
        title=f"{title}: by class",
        columns=("class", "f1", "precision", "recall", "images"),
        x=(Measure("class", "class"),),
        y=(
            Measure("f1", "F1 %", start=0),
            Measure("precision", "precision %", start=0),
            Measure("recall", "recall %", start=0),
            Measure("images", "images", start=0),
        ),
        frames=(Frame(title, (Series("classes", rows, "bars"),)),),
        bars="up",
    )
