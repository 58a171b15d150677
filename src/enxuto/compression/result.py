"""`CompressionResult`: what `enxuto.compress` returns, plain or calibrated, and the `Report` in it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import cached_property
from os import PathLike
from typing import Any

from enxuto.compression.at_price import LayerReport
from enxuto.compression.calibrated import CalibratedResult
from enxuto.compression.judge import Judgement, JudgeScore
from enxuto.compression.output_result import OutputResult
from enxuto.compression.promise import StepsReport
from enxuto.compression.search import Trial
from enxuto.enx.file import CompressedModel
from enxuto.enx.ledger import Ledger, ledger_of
from enxuto.files import to_path
from enxuto.metrics.losses import decibels
from enxuto.onnx_model import Model

__all__ = ["CompressionResult", "Report"]


@dataclass(frozen=True, repr=False)
class Report:
    """What a compressed model keeps, measured on held-out images, which neither calibrated nor judged the search.

    Attributes:
        samples: how many held-out images there are; 0 without data, where only a judge's figures are known.
        original_top1, top1: percent of right answers; None without labels.
        drop, drop_interval: points of top-1 lost, and their paired 95 % interval (Tango's); None without labels.
        agreement, agreement_interval: percent of answers that are the original's, and their 95 % interval (Wilson's).
        kl: mean divergence from the original's answers in nats; NaN where scores are no numbers.
        judge_original, judge_compressed: what `judge=` gives the original and the compressed model; None without it.
            The caller's judge is the one that the search used.
        violation: the bound that does not hold on the held-out images, though the search kept it; None if all hold.
        better_than_chance: whether the original's top-1 is better than chance; None without labels. Where it is not,
            labels or preprocessing are hardly those of the model.
        data_hash: identifies the held-out images; None without data.
        values_loss: mean squared error of outputs of values, in units of their variance; None without any.
        outputs: what was lost of each output, where not one output of classes is all there is.
    """

    samples: int = 0
    original_top1: float | None = None
    top1: float | None = None
    drop: float | None = None
    drop_interval: tuple[float, float] | None = None
    agreement: float | None = None
    agreement_interval: tuple[float, float] | None = None
    kl: float | None = None
    judge_original: float | None = None
    judge_compressed: float | None = None
    violation: str | None = None
    better_than_chance: bool | None = None
    data_hash: str | None = None
    values_loss: float | None = None
    outputs: tuple[OutputResult, ...] = ()

    @property
    def snr_db(self) -> float | None:
        """The signal-to-noise ratio of outputs of values, in dB; None without any."""
        return None if self.values_loss is None else decibels(self.values_loss)

    @classmethod
    def of(cls, found: CalibratedResult | None, score: JudgeScore | None) -> Report | None:
        """Return the report on a search's outcome; None where nothing was measured."""
        held_out = None if found is None else found.held_out
        if held_out is None and score is None:
            return None
        figures: dict[str, Any] = {}
        if isinstance(held_out, Judgement):
            figures = {name: getattr(held_out, name) for name in vars(held_out)}
        if found is not None:
            figures["violation"] = found.held_out_violation
            figures["better_than_chance"] = None if found.by_chance is None else found.by_chance.better
        if score is not None:
            figures |= {"judge_original": score.original, "judge_compressed": score.compressed}
        return cls(**figures)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-safe values; a divergence that is not known is None."""
        values = {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self).items()}
        return {**values, "kl": None if self.kl is None or math.isnan(self.kl) else self.kl}

    def __repr__(self) -> str:
        facts = [f"{self.samples} held-out samples"] if self.samples else []
        if self.drop is not None:
            facts.append(
                f"top-1 {self.top1:.2f} % of {self.original_top1:.2f} %, {self.drop:+.2f} points lost"
            )
        if self.agreement is not None:
            facts.append(f"{self.agreement:.2f} % same answers, KL {self.kl:.3g} nats")
        if self.snr_db is not None:
            facts.append(f"SNR {self.snr_db:.2f} dB")
        if self.judge_compressed is not None and self.judge_original is not None:
            facts.append(f"judge {self.judge_compressed + 0.0:.6g} of {self.judge_original + 0.0:.6g}")
        if self.violation is not None:
            facts.append(f"violated: {self.violation}")
        return f"<Report: {'; '.join(facts)}>"


@dataclass(frozen=True, eq=False, repr=False)
class CompressionResult:
    """A compressed model and what is known of it.

    Attributes:
        compressed: the `CompressedModel`, whose file `save` writes.
        parameters: how many learned values the original has.
        report: figures measured on held-out images or by a judge; None where there are neither.
        trials: the files that a search tried, in order; empty where there was none.
        layers: how each tensor was coded; empty without calibration.
        calibrated: the whole outcome of calibration and search; None without calibration.
        steps: how steps were chosen by synthetic inputs, and what outputs keep on those; None where that was not tried.
    """

    compressed: CompressedModel
    parameters: int
    report: Report | None = None
    trials: tuple[Trial, ...] = ()
    layers: tuple[LayerReport, ...] = ()
    calibrated: CalibratedResult | None = None
    steps: StepsReport | None = None

    @cached_property
    def model(self) -> Model:
        """The decoded model, whose `write` makes plain ONNX of it."""
        return self.compressed.to_model()

    @cached_property
    def file_bytes(self) -> int:
        """Bytes of the file that `save` writes."""
        return self.compressed.file_bytes

    @property
    def bits_per_weight(self) -> float:
        """Bits of the whole file for each learned value; 0 where there is none."""
        return 8 * self.file_bytes / self.parameters if self.parameters else 0.0

    @property
    def ratio(self) -> float:
        """How many times smaller the file is than the weights as float32."""
        return 4 * self.parameters / self.file_bytes

    @property
    def metadata(self) -> dict[str, Any]:
        """What the file says of the model."""
        return self.compressed.metadata

    @property
    def ledger(self) -> Ledger:
        """Sizes of the model in each form."""
        return ledger_of(self.compressed)

    def save(self, path: str | PathLike[str]) -> int:
        """Write the `.enx` file, whole or not at all; return its length in bytes."""
        return self.compressed.save(to_path(path))

    def to_bytes(self) -> bytes:
        """Return the bytes of the `.enx` file."""
        return self.compressed.to_bytes()

    def write_onnx(self, path: str | PathLike[str], *, threads: int = 0) -> None:
        """Decode to a plain ONNX file."""
        self.compressed.write_onnx(to_path(path), threads=threads)

    def __repr__(self) -> str:
        text = f"<CompressionResult: {self.file_bytes:,} B"
        if self.parameters:
            text += (
                f", {self.ratio:.1f} times smaller than float32, {self.bits_per_weight:.2f} bits per weight"
            )
        if self.trials:
            text += f", {len(self.trials)} trials"
        return f"{text}>" if self.report is None else f"{text};\n {self.report!r}>"
