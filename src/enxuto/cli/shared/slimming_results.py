"""What `enxuto slim` shows: each candidate, and the table of original, pruned network and file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from enxuto.cli.shared.terminal import note, show_table, warn

if TYPE_CHECKING:
    from enxuto.compression.judge import Judgement
    from enxuto.slimming.result import Measured, SlimResult, Tried

__all__ = ["say_candidate", "show_slim"]


def say_candidate(tried: Tried) -> None:
    """Write on stderr what a share of the multiplications came to."""
    alone = "" if tried.pruned is None else f", pruned alone {_lost(tried.pruned)}"
    file = "" if tried.judged is None else f", file {_lost(tried.judged)}"
    size = "" if tried.file_bytes is None else f", {tried.file_bytes:,} B"
    end = "fits" if tried.violation is None else tried.violation
    note(f"{100 * tried.achieved:.1f} % of the multiplications{alone}{file}{size}: {end}")


def _lost(answers: Judgement) -> str:
    top = "" if answers.drop is None else f"{answers.drop:+.2f} points lost, "
    return f"{top}{answers.agreement:.2f} % same, KL {answers.kl:.3g}"


def show_slim(result: SlimResult, folder: Path) -> None:
    """Write the table, and what a reader must know."""
    original = result.rows[0]
    samples = result.facts["samples"]["reporting"]
    columns = (
        "",
        "bytes",
        "MACs",
        "ms, batch 1",
        "latency %",
        "top-1 %",
        "points lost",
        "same answers %",
        "KL, nats",
    )
    show_table(
        result.facts["model"],
        {name: "left" if not name else "right" for name in columns},
        [_row(row, original, result) for row in result.rows],
        give_way=_give_way(result),
        caption=f"Answers on {samples:,} held-out images, which chose nothing; 95 % intervals. Latency: ONNX Runtime, "
        "one thread, models taking turns",
    )
    for remark in result.remarks:
        note(remark)
    if result.missed is not None:
        warn(
            f"on these images {result.missed}. The bound holds on the images that chose, perhaps by luck; give more "
            "images, or a tighter bound"
        )
    note(f"{folder / 'model.enx'} and {folder / 'pruned.onnx'} are written, and {folder / 'report.html'}")


def _give_way(result: SlimResult) -> tuple[str, ...]:
    """Columns that a narrow terminal leaves out, one after another; what was bounded stays."""
    if "max_drop" in result.facts["bounds"]:
        return ("KL, nats", "ms, batch 1", "same answers %", "top-1 %")
    if "max_kl" in result.facts["bounds"]:
        return ("ms, batch 1", "top-1 %", "points lost", "same answers %")
    return ("KL, nats", "ms, batch 1", "top-1 %", "points lost")


def _row(row: Measured, original: Measured, result: SlimResult) -> tuple[str, ...]:
    answers = row.answers
    macs = f"{row.macs:,}" if row is original else f"{100 * row.macs / original.macs:.0f} %"
    share = f"{100 * row.latency.value:.0f} ({100 * row.latency.low:.0f} – {100 * row.latency.high:.0f})"
    head = (row.name, f"{row.bytes:,}", macs, f"{row.milliseconds:.3g}", "100" if row is original else share)
    if answers is None:
        held = result.rows[-1].answers
        top = "–" if held is None or held.original_top1 is None else f"{held.original_top1:.2f}"
        return (*head, top, "–", "–", "–")
    lost = "–"
    if answers.drop is not None and answers.drop_interval is not None:
        lost = f"{answers.drop:+.2f} ({answers.drop_interval[0]:+.2f} – {answers.drop_interval[1]:+.2f})"
    same = "–"
    if answers.agreement is not None and answers.agreement_interval is not None:
        low, high = answers.agreement_interval
        same = f"{answers.agreement:.2f} ({low:.2f} – {high:.2f})"
    return (*head, "–" if answers.top1 is None else f"{answers.top1:.2f}", lost, same, f"{answers.kl:.3g}")
