"""What `compress` takes and shows when rounding is calibrated."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from enxuto.cli.terminal import note, show_table
from enxuto.errors import UsageError

if TYPE_CHECKING:
    from enxuto.budget import Judgement, Trial
    from enxuto.data import Preprocess
    from enxuto.onnx_model import Model, Role
    from enxuto.within import Within

__all__ = ["CalibratedOptions", "byte_size", "calibrated_json", "calibrated_parts", "show_calibrated"]

_BAR = 8  # characters
_UNITS = {"": 1, "B": 1, "KB": 1000, "MB": 1000**2, "KIB": 1024, "MIB": 1024**2}


def byte_size(text: str) -> int:
    """Return the bytes that `300KB`, `1.5MB`, `64KiB` or `65536` mean."""
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([A-Za-z]*)\s*", text)
    if match is None or match[2].upper() not in _UNITS:
        raise UsageError(f"--target-size takes bytes such as 65536, 300KB or 1.5MB, not {text!r}")
    return int(min(2.0**62, float(match[1]) * _UNITS[match[2].upper()]))


@dataclass(frozen=True)
class CalibratedOptions:
    """The options as they were given."""

    data: str | None
    calibration: str | None
    synthetic: bool
    images: int
    max_drop: float | None
    min_agreement: float | None
    max_kl: float | None
    bits: float | None
    target_size: str | None
    seed: int

    def __post_init__(self) -> None:
        if self.bits is not None and self.target_size is not None:
            raise UsageError("--bits and --target-size both fix the size; give one of them")
        if self.bits is not None and not 0 < self.bits < math.inf:
            raise UsageError(f"bits per weight are a positive number, not {self.bits}")
        if self.synthetic and self.calibration is not None:
            raise UsageError("--synthetic and --calibration both say what calibrates; give one of them")
        if self._judged and self.data is None:
            raise UsageError("a bound on the answers needs labelled images to judge by; give --data")
        if self.target_size is not None:
            byte_size(self.target_size)

    @property
    def _judged(self) -> bool:
        return any(bound is not None for bound in (self.max_drop, self.min_agreement, self.max_kl))

    @property
    def wanted(self) -> bool:
        """Whether rounding is to be calibrated at all."""
        return self.synthetic or self.data is not None or self.calibration is not None

    def bits_of(self, model: Model) -> float | None:
        """Return the bits per parameter that the size asked for comes to, None where none was."""
        from enxuto.compression import parameters

        if self.target_size is None:
            return self.bits
        return 8 * byte_size(self.target_size) / max(1, parameters(model))

    def compress(
        self,
        model: Model,
        preprocess: Preprocess,
        metadata: Mapping[str, Any],
        roles: Collection[Role | str],
        keep_exact: Sequence[str],
        threads: int,
        progress: Callable[[str, int, int], None],
    ) -> Within:
        """Open the images, search, and say on stderr how it goes."""
        from enxuto.budget import Bounds
        from enxuto.compression import parameters
        from enxuto.data import open_dataset
        from enxuto.within import compress_within, deal

        bits = self.bits_of(model)
        most = None if bits is None else max(1, int(min(2.0**62, bits * parameters(model) / 8)))
        if most is None and not self._judged:
            raise UsageError(
                "calibrated rounding needs a bound: --max-drop, --min-agreement, --max-kl, --bits or --target-size"
            )
        bounds = Bounds(self.max_drop, self.min_agreement, self.max_kl, most)
        data = open_dataset(self.data) if self.data is not None else None
        other = open_dataset(self.calibration) if self.calibration is not None else None
        parts = deal(data, other, bounds, self.images, self.seed, synthetic=self.synthetic)
        return compress_within(
            model, bounds, parts, preprocess, images=self.images, metadata=metadata, roles=roles,
            keep_exact=keep_exact, seed=self.seed, threads=threads, progress=progress, tried=_say,
        )  # fmt: skip


def _say(trial: Trial) -> None:
    judged = "" if trial.judgement is None else "  " + _answers(trial.judgement)
    note(f"tried {trial.bytes:,} B{judged}  {'fits' if trial.fits else 'too far'}")


def _answers(judgement: Judgement) -> str:
    return f"{judgement.drop:+.2f} points lost, {judgement.agreement:.2f} % same, KL {judgement.kl:.3g}"


def calibrated_json(within: Within) -> dict[str, Any]:
    """Return what was found, for --json."""
    found = within.found
    return {
        "price": within.outcome.price,
        "fits": found.fits,
        "broken": found.broken,
        "calibration": within.calibration.provenance(within.outcome.price),
        "reported": None if within.reported is None else within.reported.to_dict(),
        "trials": [
            {
                "price": trial.price,
                "bytes": trial.bytes,
                "fits": trial.fits,
                "judged": None if trial.judgement is None else trial.judgement.to_dict(),
            }
            for trial in found.trials
        ],
        "layers": within.outcome.to_list(),
    }


def calibrated_parts(within: Within) -> dict[str, Any]:
    """Return which images did what: `samples` and `data` (hashes) by part, and the `seed` that dealt them."""
    judged = next((trial.judgement for trial in within.found.trials if trial.judgement is not None), None)
    parts = {"judging": judged, "reporting": within.reported}
    there = {name: one for name, one in parts.items() if one is not None}
    calibration = within.calibration
    return {
        "samples": {"calibration": len(calibration.images), **{k: one.samples for k, one in there.items()}},
        "data": {"calibration": calibration.source, **{k: one.data_hash for k, one in there.items()}},
        "seed": calibration.seed,
    }


def show_calibrated(within: Within, *, report: bool) -> None:
    """Write the answers on images that were not searched with and, if asked, every tensor."""
    judgement = within.reported
    if judgement is not None:
        low, high = judgement.drop_interval
        least, most = judgement.agreement_interval
        show_table(
            f"on {judgement.samples:,} images that nothing was chosen by",
            {"measure": "left", "value": "left"},
            [
                ("top-1", f"{judgement.top1:.2f} %"),
                ("lost", f"{judgement.drop:+.2f} points (95 % interval {low:+.2f} to {high:+.2f})"),
                ("same answers", f"{judgement.agreement:.2f} % (95 % interval {least:.2f} to {most:.2f})"),
                ("KL from the original", f"{judgement.kl:.3g} nats"),
            ],
            caption=f"data {judgement.data_hash}, seed {within.calibration.seed}",
        )
    if report:
        _show_tensors(within.outcome.to_list())
    if within.calibration.reason is not None:
        note(f"rounding took outputs as unrelated: {within.calibration.reason}")


def _show_tensors(rows: Sequence[Mapping[str, Any]]) -> None:
    """Write what every tensor got; sensitivities with bars as long as their logarithms."""
    known = [math.log(row["sensitivity"]) for row in rows if row["sensitivity"]]
    low, high = min(known, default=0.0), max(known, default=0.0)

    def sensitivity(value: float | None) -> str:
        if not value:
            return ""
        share = (math.log(value) - low) / (high - low) if high > low else 1.0
        return f"{value:>8.2g} {'█' * (1 + round((_BAR - 1) * share))}"

    show_table(
        "tensors",
        {
            "tensor": "left", "weights": "right", "step": "right", "bits": "right", "of the file": "right",
            "of the loss": "right", "sensitivity (bars: log)": "left", "rounding": "left",
        },
        [
            (
                row["name"], f"{row['elements']:,}", f"{row['step']:.3g}", f"{row['bits']:.2f}",
                f"{row['share_of_file']:.1%}",
                "" if row["share_of_loss"] is None else f"{row['share_of_loss']:.1%}",
                sensitivity(row["sensitivity"]), row["method"],
            )
            for row in rows
        ],
    )  # fmt: skip
