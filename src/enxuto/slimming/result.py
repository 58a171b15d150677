"""What slimming found: the file, the pruned network as ONNX, and a table of both beside the original."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from enxuto.compression.calibrated import CalibratedResult
from enxuto.compression.judge import Judgement
from enxuto.enx.file import CompressedModel
from enxuto.onnx_model import Model

__all__ = ["Measured", "Share", "SlimResult", "Tried"]


@dataclass(frozen=True)
class Share:
    """A share 0…1 of the original's, with the ends of its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Measured:
    """A row of the table.

    name: `original`, `pruned` or `.enx`. bytes: of the file. macs: for one image. milliseconds: the median time of one
    image by ONNX Runtime. latency: beside the original's, taking turns. answers: on the held-out images, beside the
    original's; None for the original itself.
    """

    name: str
    bytes: int
    macs: int
    milliseconds: float
    latency: Share
    answers: Judgement | None

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe values."""
        return {
            "name": self.name, "bytes": self.bytes, "macs": self.macs, "milliseconds": self.milliseconds,
            "latency": vars(self.latency),
            "answers": None if self.answers is None else self.answers.to_dict(),
        }  # fmt: skip


@dataclass(frozen=True)
class Tried:
    """A share of the multiplications that was tried.

    asked, achieved: the share. pruned: what pruning alone loses, on the images that chose. file_bytes, judged: of the
    smallest file within the bound, None where there is none, or where it was not looked for.
    """

    asked: float
    achieved: float
    pruned: Judgement | None
    file_bytes: int | None
    judged: Judgement | None
    violation: str | None

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe values."""
        return {
            "asked": self.asked, "achieved": self.achieved, "file_bytes": self.file_bytes,
            "violation": self.violation,
            "pruned": None if self.pruned is None else self.pruned.to_dict(),
            "judged": None if self.judged is None else self.judged.to_dict(),
        }  # fmt: skip


@dataclass(frozen=True, repr=False)
class SlimResult:
    """What was found.

    model: the file. pruned: the network before rounding, as ONNX. rows: original, pruned and file, measured on held-out
    images. tried: all candidates. violation: the bound that does not hold on the images that chose, None where all do.
    missed: the bound that holds on them and not on the held-out ones. remarks: what a reader must know, a line each.
    """

    model: CompressedModel
    pruned: Model
    rows: Sequence[Measured]
    tried: Sequence[Tried]
    violation: str | None
    missed: str | None
    facts: Mapping[str, Any] = field(default_factory=dict)
    remarks: Sequence[str] = ()
    calibrated: CalibratedResult | None = None

    def __repr__(self) -> str:
        original, _, file = self.rows
        return (
            f"<SlimResult: {file.bytes:,} B of {original.bytes:,}, {file.macs / original.macs:.0%} of the MACs, "
            f"{file.latency.value:.0%} of the latency>"
        )

    def save(self, path: str | Path) -> int:
        """Write the `.enx` file, whole or not at all; returns its bytes."""
        return self.model.save(path)

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe values: what `enxuto report` reads."""
        return {
            "slim": [row.to_dict() for row in self.rows],
            "tried": [one.to_dict() for one in self.tried],
            "violation": self.violation,
            "missed": self.missed,
            "remarks": list(self.remarks),
            **self.facts,
        }
