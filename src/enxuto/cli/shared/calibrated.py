"""What `compress` takes and shows when rounding is calibrated."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from enxuto.cli.shared.data_options import DataOptions, fitted
from enxuto.cli.shared.terminal import note, show_table, warn
from enxuto.errors import DataError, UsageError

if TYPE_CHECKING:
    from enxuto.compression.calibrated import CalibratedResult
    from enxuto.compression.judge import Judgement
    from enxuto.compression.search import Trial
    from enxuto.data import Dataset, Preprocess
    from enxuto.onnx_model import Model, Role

__all__ = [
    "CALIBRATED_STAGES",
    "CalibratedOptions",
    "calibrated_json",
    "calibrated_parts",
    "show_calibrated",
]

CALIBRATED_STAGES = (
    "measuring the original", "watching layers", "factoring", "measuring sensitivities", "rounding",
    "correcting biases", "coding", "judging",
)  # fmt: skip
"""What a search does, in its order; from rounding on once for every trial."""

_BAR = 8  # characters


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
    how: DataOptions = field(default_factory=DataOptions)
    calibration_split: str | None = None

    def __post_init__(self) -> None:
        self._check_images()
        if self.bits is not None and self.target_size is not None:
            raise UsageError("--bits and --target-size both fix the size; give one of them")
        if self.bits is not None and not 0 < self.bits < math.inf:
            raise UsageError(f"bits per weight are a positive number, not {self.bits}")
        if self.synthetic and self.calibration is not None:
            raise UsageError("--synthetic and --calibration both say what calibrates; give one of them")
        if self._judged and self.data is None:
            raise UsageError("a bound on the answers needs images to judge by; give --data")
        if self.target_size is not None:
            from enxuto.compression.arguments import byte_size

            byte_size(self.target_size)

    def _check_images(self) -> None:
        """Options that say how to open images need some to open."""
        given = {
            "--split": self.how.split, "--limit": self.how.limit, "--image-column": self.how.image_column,
            "--label-column": self.how.label_column, "--labels": self.how.labels,
        }  # fmt: skip
        stray = next((name for name, value in given.items() if value is not None), None)
        if stray is not None and self.data is None and self.calibration is None:
            raise UsageError(f"{stray} is of images; give --data or --calibration")
        if self.how.labels is not None and self.data is None:
            raise UsageError("--labels names classes of --data; images that calibrate need none")
        if self.calibration_split is not None and self.calibration is None:
            raise UsageError("--calibration-split is of --calibration; give that too")
        if self.calibration_split is not None and self.data is None and self.how.split is not None:
            raise UsageError("--split and --calibration-split say the same; leave one out")

    @property
    def _judged(self) -> bool:
        return any(bound is not None for bound in (self.max_drop, self.min_agreement, self.max_kl))

    @property
    def wanted(self) -> bool:
        """Whether rounding is to be calibrated at all."""
        return self.synthetic or self.data is not None or self.calibration is not None

    def bits_of(self, model: Model) -> float | None:
        """Return the bits per parameter that the size asked for comes to, None where none was."""
        from enxuto.compression.arguments import byte_size
        from enxuto.compression.plain import parameters

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
    ) -> CalibratedResult:
        """Open the images, search, and say on stderr how it goes."""
        from enxuto.compression.calibrated import compress_within
        from enxuto.compression.judge import Bounds
        from enxuto.compression.plain import parameters
        from enxuto.compression.split import split_images

        bits = self.bits_of(model)
        most = None if bits is None else max(1, int(min(2.0**62, bits * parameters(model) / 8)))
        if most is None and not self._judged:
            raise UsageError(
                "calibrated rounding needs a bound: --max-drop, --min-agreement, --max-kl, --bits or --target-size"
            )
        bounds = Bounds(self.max_drop, self.min_agreement, self.max_kl, most)
        data = self._labelled(model, metadata)
        other = self._calibrating()
        parts = split_images(data, other, bounds, self.images, self.seed, synthetic=self.synthetic)
        return compress_within(
            model, bounds, parts, preprocess, images=self.images, metadata=metadata, roles=roles,
            keep_exact=keep_exact, seed=self.seed, threads=threads, progress=progress, on_trial=_say,
        )  # fmt: skip

    def _labelled(self, model: Model, metadata: Mapping[str, Any]) -> Dataset | None:
        """The images of --data; labels, which only a bound on top-1 needs, count the model's outputs."""
        if self.data is None:
            return None
        data = self.how.open(self.data, labelled=self.max_drop is not None)
        why = "has no labels"
        if data.labelled:
            try:
                return fitted(data, model, dict(metadata), self.how.labels)[0]
            except DataError as error:  # folders of images need not be classes where nothing counts them
                if self.max_drop is not None or self.how.labels is not None:
                    raise
                why, data = f"has no labels for this model ({error})", data.without_labels()
        note(f"{self.data} {why}: answers are compared with the original's, and no top-1 is told")
        return data

    def _calibrating(self) -> Dataset | None:
        """The images of --calibration; what is said of how to open images is of --data where both are given."""
        if self.calibration is None:
            return None
        how = self.how if self.data is None else DataOptions(seed=self.seed)
        if self.calibration_split is not None:
            how = replace(how, split=self.calibration_split)
        return how.open(self.calibration, labelled=False)


def _say(trial: Trial) -> None:
    judged = "" if trial.judgement is None else "  " + _answers(trial.judgement)
    note(f"tried {trial.bytes:,} B{judged}  {'fits' if trial.fits else 'too far'}")


def _answers(judgement: Judgement) -> str:
    top = ""
    if judgement.drop is not None:
        top = f"top-1 {judgement.top1:.2f} % of {judgement.original_top1:.2f} %, {judgement.drop:+.2f} points lost, "
    return f"{top}{judgement.agreement:.2f} % same, KL {judgement.kl:.3g}"


def calibrated_json(within: CalibratedResult) -> dict[str, Any]:
    """Return what was found, for --json."""
    found = within.search
    return {
        "price": within.outcome.price,
        "fits": found.fits,
        "broken": found.violation,
        "calibration": within.calibration.provenance(within.outcome.price),
        "scores_are": within.calibration.answers.kind,
        "reported": None if within.held_out is None else within.held_out.to_dict(),
        "missed": within.held_out_violation,
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


def calibrated_parts(within: CalibratedResult) -> dict[str, Any]:
    """Return which images did what: `samples` and `data` (hashes) by part, and the `seed` that dealt them."""
    judged = next((trial.judgement for trial in within.search.trials if trial.judgement is not None), None)
    parts = {"judging": judged, "reporting": within.held_out}
    there = {name: one for name, one in parts.items() if one is not None}
    calibration = within.calibration
    return {
        "samples": {"calibration": len(calibration.images), **{k: one.samples for k, one in there.items()}},
        "data": {"calibration": calibration.source, **{k: one.data_hash for k, one in there.items()}},
        "seed": calibration.seed,
    }


def show_calibrated(within: CalibratedResult, *, report: bool) -> None:
    """Write the answers on images that were not searched with and, if asked, every tensor."""
    judgement = within.held_out
    if judgement is not None:
        least, most = judgement.agreement_interval
        show_table(
            f"on {judgement.samples:,} images that nothing was chosen by",
            {"measure": "left", "value": "left"},
            [
                *_right_answers(judgement),
                ("same answers", f"{judgement.agreement:.2f} % (95 % interval {least:.2f} to {most:.2f})"),
                ("KL from the original", f"{judgement.kl:.3g} nats"),
            ],
            caption=f"data {judgement.data_hash}, seed {within.calibration.seed}",
        )
    if report:
        _show_tensors(within.outcome.to_list())
    answers = within.calibration.answers
    told = f"the model's outputs were taken for {answers.describe()}"
    if judgement is None and not answers.operator and answers.kind == "logits":
        told += "; where they are other values, compress it without images"
    note(told)
    if within.held_out_violation is not None:
        warn(
            f"on these images {within.held_out_violation}: the bound holds on those that judged the search, by luck "
            "perhaps; give more images, or a tighter bound"
        )
    if within.by_chance is not None and not within.by_chance.better:
        chance = within.by_chance
        warn(
            f"the original's top-1, {chance.right} of {chance.samples}, is no better than chance "
            f"({chance.expected:.1%}): are the labels those of the model, in its order, and the preprocessing its own?"
        )
    if within.calibration.reason is not None:
        note(f"rounding took outputs as unrelated: {within.calibration.reason}")


def _right_answers(judgement: Judgement) -> list[tuple[str, str]]:
    """Top-1 and what was lost of it; nothing where images have no labels."""
    if judgement.top1 is None or judgement.drop is None or judgement.drop_interval is None:
        return []
    low, high = judgement.drop_interval
    return [
        ("original's top-1", f"{judgement.original_top1:.2f} %"),
        ("top-1", f"{judgement.top1:.2f} %"),
        ("lost", f"{judgement.drop:+.2f} points (95 % interval {low:+.2f} to {high:+.2f})"),
    ]


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
        give_way=("rounding", "sensitivity (bars: log)", "weights", "of the loss", "step"),
    )  # fmt: skip
