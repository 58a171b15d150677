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
    WithProvenance,
    file_name,
    interval_text,
    loss_text,
    percent,
    shell_command,
)
from enxuto.tables import Table

__all__ = ["matches", "read"]

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


class _Evaluation(WithProvenance):
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


def matches(values: Mapping[str, Any]) -> bool:
    """Whether this is an evaluation."""
    return {"metrics", "samples", "data_hash", "top1_interval"} <= set(values)


def read(document: Document) -> list[Exhibit]:
    """One exhibit."""
    evaluation = _Evaluation.model_validate(document.values)
    title = f"{file_name(evaluation.model)} on {file_name(evaluation.data)}"
    classes = _classes(evaluation, title)
    return [
        Exhibit(
            "evaluation",
            title,
            () if classes is None else (classes,),
            (_table(evaluation, title),),
            origin(
                document.name,
                evaluation.provenance,
                command=shell_command("enxuto evaluate", evaluation.model, "--data", evaluation.data, "--limit",
                                      evaluation.samples,
                              "--seed", evaluation.seed, "--json"),
                samples=evaluation.samples,
                seed=evaluation.seed,
                data=evaluation.data_hash,
            ),
        )
    ]  # fmt: skip


def _table(evaluation: _Evaluation, title: str) -> Table:
    metrics = evaluation.metrics
    row = (
        file_name(evaluation.model), percent(metrics.accuracy), interval_text(evaluation.top1_interval),
        percent(metrics.top.get("5")),
        percent(metrics.macro_precision), percent(metrics.macro_recall), percent(metrics.macro_f1),
        f"{metrics.mrr:.4f}", f"{metrics.ndcg:.4f}", percent(evaluation.reference_top1),
        loss_text(evaluation.lost, evaluation.lost_interval), percent(evaluation.agreement),
        _NONE if evaluation.kl is None else f"{evaluation.kl:.3g}", f"{evaluation.samples:,}",
    )  # fmt: skip
    columns = (
        "model", "top-1 %", "95 % interval", "top-5 %", "precision %", "recall %", "F1 %", "MRR", "NDCG",
        "reference's top-1 %", "points lost, 95 %", "equal answers %", "KL, nats", "images",
    )  # fmt: skip
    return Table(
        title, columns, (row,), "Precision, recall, F1: macro averages; equal answers: with the reference"
    )


def _classes(evaluation: _Evaluation, title: str) -> Chart | None:
    metrics = evaluation.metrics
    names = evaluation.class_names or [str(place) for place in range(len(metrics.support))]
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
