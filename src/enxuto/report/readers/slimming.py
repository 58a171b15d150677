"""Original, pruned network and file of `enxuto slim`: one table, and the candidates that were tried."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from enxuto.report.documents import Document
from enxuto.report.exhibit import Exhibit, origin
from enxuto.report.values import Checked, Count, Number, WithProvenance, file_name
from enxuto.tables import Table

__all__ = ["matches", "read"]


class _Answers(Checked):
    samples: Count
    top1: Number | None = None
    original_top1: Number | None = None
    drop: Number | None = None
    drop_interval: tuple[Number, Number] | None = None
    agreement: Number | None = None
    agreement_interval: tuple[Number, Number] | None = None
    kl: Number | None = None


class _Share(Checked):
    value: Number
    low: Number
    high: Number


class _Row(Checked):
    name: str
    bytes: Count
    macs: Count
    milliseconds: Number
    latency: _Share
    answers: _Answers | None = None


class _Tried(Checked):
    asked: Number
    achieved: Number
    file_bytes: Count | None = None
    violation: str | None = None
    pruned: _Answers | None = None
    judged: _Answers | None = None


class _Slim(WithProvenance):
    slim: list[_Row]
    tried: list[_Tried]
    model: str
    seed: int
    remarks: tuple[str, ...] = ()
    violation: str | None = None
    missed: str | None = None

    def warnings(self) -> list[str]:
        """Where the bound is not kept, and on which images."""
        found = []
        if self.violation is not None:
            found.append(f"Nothing that was tried keeps the bound: {self.violation}")
        if self.missed is not None:
            found.append(
                f"On these images the bound is not kept: {self.missed}. It holds on the images that chose, perhaps by "
                "luck"
            )
        return found


def matches(values: Mapping[str, Any]) -> bool:
    """Whether this is what `enxuto slim` wrote."""
    return {"slim", "tried", "samples"} <= set(values)


def read(document: Document) -> list[Exhibit]:
    """One exhibit of two tables."""
    found = _Slim.model_validate(document.values)
    title = f"{file_name(found.model)}: pruned and compressed"
    held = next((row.answers for row in found.slim if row.answers is not None), None)
    samples = None if held is None else held.samples
    return [
        Exhibit(
            "comparison", title, (), (_rows(found, title), _tried(found, f"{title}, what was tried")),
            origin(document.name, found.provenance, samples=samples, seed=found.seed),
        )
    ]  # fmt: skip


def _rows(found: _Slim, title: str) -> Table:
    columns = ("network", "bytes", "MACs", "ms, batch 1", "of the latency %", "95 % interval", "top-1 %", "points lost",
               "95 % interval of points", "same answers %", "95 % interval of same", "KL, nats")  # fmt: skip
    last = found.slim[-1].answers
    rows = []
    for row in found.slim:
        answers = row.answers or _Answers(samples=0, top1=None if last is None else last.original_top1)
        rows.append((
            row.name, f"{row.bytes:,}", f"{row.macs:,}", f"{row.milliseconds:.3g}", f"{100 * row.latency.value:.1f}",
            f"{100 * row.latency.low:.1f} – {100 * row.latency.high:.1f}", _number(answers.top1),
            _number(answers.drop), _ends(answers.drop_interval), _number(answers.agreement),
            _ends(answers.agreement_interval), _number(answers.kl, 4),
        ))  # fmt: skip
    note = (
        "Answers on held-out images, which chose nothing; latency by ONNX Runtime, one thread, taking turns"
    )
    sentences = [one[:1].upper() + one[1:] for one in (note, *found.warnings(), *found.remarks)]
    return Table(title, columns, tuple(rows), ". ".join(sentences))


def _tried(found: _Slim, title: str) -> Table:
    columns = ("MACs asked %", "MACs %", "pruned alone, points lost", "pruned alone, same %",
               "pruned alone, KL", "file, bytes", "file, points lost", "file, same %", "file, KL",
               "outcome")  # fmt: skip
    rows = tuple(
        (
            f"{100 * one.asked:.1f}", f"{100 * one.achieved:.1f}",
            _number(None if one.pruned is None else one.pruned.drop),
            _number(None if one.pruned is None else one.pruned.agreement),
            _number(None if one.pruned is None else one.pruned.kl, 4),
            "–" if one.file_bytes is None else f"{one.file_bytes:,}",
            _number(None if one.judged is None else one.judged.drop),
            _number(None if one.judged is None else one.judged.agreement),
            _number(None if one.judged is None else one.judged.kl, 4), one.violation or "fits",
        )
        for one in found.tried
    )  # fmt: skip
    return Table(title, columns, rows, "On the images that chose")


def _number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _ends(values: tuple[float, float] | None) -> str:
    return "–" if values is None else f"{values[0]:.2f} – {values[1]:.2f}"
