"""Latency and speed-up of models that took turns, from `enxuto bench --json`; all beside the first model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from enxuto.report.documents import Document
from enxuto.report.exhibit import Chart, Exhibit, Frame, Measure, Series, origin
from enxuto.report.values import Checked, Count, Positive, WithProvenance, file_name, shell_command
from enxuto.tables import Table

__all__ = ["matches", "read"]


class _Times(Checked):
    batch: Annotated[int, Field(ge=1)]
    repeats: Count
    mean: Positive
    std: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    median: Positive
    p95: Positive


class _Model(Checked):
    model: str
    latency: list[_Times]


class _Speeds(WithProvenance):
    models: Annotated[list[_Model], Field(min_length=1)]
    threads: Count | None = None
    seed: int | None = None


def matches(values: Mapping[str, Any]) -> bool:
    """Whether models come with latencies."""
    models = values.get("models")
    return isinstance(models, list) and any(isinstance(one, dict) and "latency" in one for one in models)


def read(document: Document) -> list[Exhibit]:
    """One exhibit."""
    speeds = _Speeds.model_validate(document.values)
    title = speeds.title or f"Latency, {file_name(document.name)}"
    batches = list(dict.fromkeys(row.batch for one in speeds.models for row in one.latency))
    repeats = max((row.repeats for one in speeds.models for row in one.latency), default=0)
    paths = [one.model for one in speeds.models]
    batch = ("--batch", ",".join(map(str, batches)))
    threads = () if speeds.threads is None else ("--threads", speeds.threads)
    command = shell_command(
        "enxuto bench", *paths, *batch, *threads, "--repeats", repeats, "--seed", speeds.seed or 0
    )
    return [
        Exhibit(
            "speed-up",
            title,
            (_chart(speeds, title, batches),),
            (_table(speeds, title),),
            origin(
                document.name,
                speeds.provenance,
                command=command,
                samples=f"{repeats} runs of each",
                seed=speeds.seed,
                threads=speeds.threads,
            ),
        )
    ]


def _chart(speeds: _Speeds, title: str, batches: list[int]) -> Chart:
    first = {row.batch: row.median for row in speeds.models[0].latency}
    names = _names(speeds)
    series = [
        Series(
            f"batch {batch}",
            tuple(
                (name, first[batch] / row.median if batch in first else None, row.median, row.mean, row.p95)
                for name, one in zip(names, speeds.models, strict=True)
                for row in one.latency
                if row.batch == batch
            ),
            "bars",
            style,
        )
        for style, batch in enumerate(batches)
    ]
    return Chart(
        title=title,
        columns=("model", "speedup", "median", "mean", "p95"),
        x=(Measure("model", "model"),),
        y=(
            Measure("speedup", f"times faster than {names[0]} (medians)", start=0),
            Measure("median", "median, ms a run", start=0),
            Measure("mean", "mean, ms a run", start=0),
            Measure("p95", "95th percentile, ms a run", start=0),
        ),
        frames=(Frame(title, tuple(series)),),
        bars="across",
    )


def _table(speeds: _Speeds, title: str) -> Table:
    first = {row.batch: row.median for row in speeds.models[0].latency}
    rows = tuple(
        (
            name, str(row.batch), f"{row.mean:.3f} ± {row.std:.3f}", f"{row.median:.3f}", f"{row.p95:.3f}",
            f"{first[row.batch] / row.median:.2f}" if row.batch in first else "–", str(row.repeats),
        )
        for name, one in zip(_names(speeds), speeds.models, strict=True)
        for row in one.latency
    )  # fmt: skip
    columns = ("model", "batch", "mean ± std, ms", "median, ms", "95 %, ms", "times faster", "runs")
    return Table(
        title, columns, rows, "Times faster: of the medians, beside the first model at the same batch"
    )


def _names(speeds: _Speeds) -> list[str]:
    """File names, or whole paths where those are equal."""
    short = [file_name(one.model) for one in speeds.models]
    return short if len(set(short)) == len(short) else [one.model for one in speeds.models]
