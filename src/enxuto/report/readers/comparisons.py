"""Two models beside each other, from `enxuto compare --json`: answers, and the error of every layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from enxuto.report.documents import Document
from enxuto.report.exhibit import Chart, Exhibit, Frame, Measure, Series, origin
from enxuto.report.values import (
    Checked,
    Count,
    Number,
    Share,
    WithProvenance,
    file_name,
    loss_text,
    percent,
    shell_command,
)
from enxuto.tables import Table

__all__ = ["matches", "read"]


class _Layer(Checked):
    name: str
    weight_snr: Number | None = None
    output_snr: Number | None = None


class _Comparison(WithProvenance):
    first: str
    second: str
    samples: Count
    seed: int
    data_hash: str
    top1: tuple[Share, Share]
    agreement: Share
    kl: Number | None
    lost: Number | None = None
    lost_interval: tuple[Number, Number] | None = None
    p_value: Share
    counts: dict[str, Count]
    layers: tuple[_Layer, ...] = ()


def matches(values: Mapping[str, Any]) -> bool:
    """Whether this compares two models."""
    return {"first", "second", "agreement", "p_value"} <= set(values)


def read(document: Document) -> list[Exhibit]:
    """One exhibit."""
    comparison = _Comparison.model_validate(document.values)
    title = f"{file_name(comparison.first)} and {file_name(comparison.second)}"
    chart = _chart(comparison, title)
    command = shell_command("enxuto compare", comparison.first, comparison.second, "--data", "DATA", "--limit",
                            comparison.samples, "--seed",
                    comparison.seed, "--json")  # fmt: skip
    return [
        Exhibit(
            "comparison",
            title,
            () if chart is None else (chart,),
            (_table(comparison, title),),
            origin(
                document.name,
                comparison.provenance,
                command=command,
                samples=comparison.samples,
                seed=comparison.seed,
                data=comparison.data_hash,
            ),
        )
    ]


def _chart(comparison: _Comparison, title: str) -> Chart | None:
    kinds = (
        ("weights", [one.weight_snr for one in comparison.layers]),
        ("outputs", [one.output_snr for one in comparison.layers]),
    )
    series = []
    for style, (name, ratios) in enumerate(kinds):
        rows = tuple(
            (place, ratio, comparison.layers[place - 1].name)
            for place, ratio in enumerate(ratios, 1)
            if ratio is not None
        )
        if rows:
            series.append(Series(name, rows, "points", style))
    if not series:
        return None
    return Chart(
        title=f"{title}: signal to noise of each layer",
        columns=("place", "snr", "layer"),
        x=(Measure("place", "weight, in the order of the model", whole=True),),
        y=(Measure("snr", "signal to noise, dB"),),
        frames=(Frame(title, tuple(series)),),
        hover=(("layer", "weight"),),
        note="20 dB: an error of a tenth; 60 dB: of a thousandth. Weights that are equal are not shown.",
    )


def _table(comparison: _Comparison, title: str) -> Table:
    rows = (
        (f"top-1 % of {file_name(comparison.first)}", percent(comparison.top1[0])),
        (f"top-1 % of {file_name(comparison.second)}", percent(comparison.top1[1])),
        *((f"right in {name}" if name != "neither" else "wrong in both", f"{count:,}")
          for name, count in comparison.counts.items()),
        ("equal answers %", percent(comparison.agreement)),
        ("KL, nats", "–" if comparison.kl is None else f"{comparison.kl:.3g}"),
        ("points of top-1 lost, 95 %", loss_text(comparison.lost, comparison.lost_interval)),
        ("chance of such a difference", f"{comparison.p_value:.3g}"),
    )  # fmt: skip
    caption = f"{comparison.samples:,} images; chance: McNemar's exact test"
    return Table(f"{title}: answers", ("measure", "value"), rows, caption)
