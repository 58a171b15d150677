"""`OutputResult`: what was lost of one output of a model."""

from __future__ import annotations

from dataclasses import dataclass

from enxuto.metrics.losses import decibels
from enxuto.metrics.signal import OutputSignal

__all__ = ["OutputResult"]


@dataclass(frozen=True)
class OutputResult:
    """What was lost of one output: nats for classes and binary ones, in units of the variance for values.

    same: percent of answers that stay; None for values. iou: of binary ones, the intersection over union of the places
    that are yes, in percent; None where none is. Where nearly all places are no, nearly all of them stay whatever
    happens. signal: errors of values and images, where they are measured.
    """

    name: str
    kind: str
    loss: float
    same: float | None = None
    signal: OutputSignal | None = None
    iou: float | None = None

    @property
    def snr_db(self) -> float | None:
        """The signal-to-noise ratio of values; None for others."""
        return decibels(self.loss) if self.kind == "values" else None

    def describe(self) -> str:
        """Return the figure in a few words."""
        if self.kind == "values":
            return f"SNR {decibels(self.loss):.2f} dB"
        yes = "" if self.iou is None else f", IoU {self.iou:.1f} %"
        return f"KL {self.loss:.3g} nats, {self.same:.2f} % same{yes}"
