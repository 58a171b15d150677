"""The options of `compress` that say how large the file may be, and how rounding is calibrated."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enxuto.cli.shared.array_options import refuse_options_of_images
from enxuto.cli.shared.calibration_results import say_trial
from enxuto.cli.shared.data_options import DataOptions, match_labels
from enxuto.cli.shared.judging import Feedback, Outputs, load_judge, named_arrays, parse_outputs
from enxuto.cli.shared.retraining_results import say_check
from enxuto.cli.shared.terminal import note
from enxuto.errors import DataError, UsageError

if TYPE_CHECKING:
    from enxuto.cli.shared.preprocess_options import PreprocessOptions
    from enxuto.compression.calibrated import CalibratedResult
    from enxuto.compression.retrainer import Retrainer
    from enxuto.data import Dataset, Preprocess
    from enxuto.data.samples import Samples
    from enxuto.onnx_model import Model, Role

__all__ = [
    "CALIBRATED_STAGES",
    "PLAIN_STAGES",
    "SEARCH_STAGES",
    "CalibrationImages",
    "CalibrationOptions",
    "SizeOptions",
]

CALIBRATED_STAGES = (
    "measuring the original", "watching layers", "factoring", "measuring sensitivities", "measuring means",
    "measuring other weights", "trying refits", "rounding", "correcting biases", "trying corrected biases", "coding",
    "judging", "retraining", "training the control",
)  # fmt: skip
"""What a search does, in its order; from rounding on once for every trial."""

PLAIN_STAGES = ("measuring the original", "measuring the response", "coding")
"""What compression without images does; where a size was given, `SEARCH_STAGES`."""

SEARCH_STAGES = ("measuring the original", "measuring the response", "searching steps", "coding")
"""What compression without images to a given size does."""

_PANEL = "Calibration"

CalibrationImages = Annotated[
    str | None,
    typer.Option(
        rich_help_panel=_PANEL,
        metavar="DATA",
        help="Images to calibrate with: any folder of images, or a data set. No labels are needed. By default some "
        "of --data.",
    ),
]


@dataclass(frozen=True, kw_only=True)
class SizeOptions:
    """How large the file may be."""

    bits: Annotated[
        float | None,
        typer.Option(
            metavar="X", help="Make the best file of at most X bits per parameter, every byte counted."
        ),
    ] = None
    target_size: Annotated[
        str | None,
        typer.Option(
            metavar="BYTES", help="Make the best file of at most so many bytes: 300KB, 1.5MB, 65536."
        ),
    ] = None

    def __post_init__(self) -> None:
        if self.bits is not None and self.target_size is not None:
            raise UsageError("--bits and --target-size both fix the size; give one of them", code="E022")
        if self.bits is not None and not 0 < self.bits < math.inf:
            raise UsageError(f"bits per weight are a positive number, not {self.bits}")
        if self.target_size is not None:
            from enxuto.compression.arguments import byte_size

            byte_size(self.target_size)

    def bits_per_parameter(self, model: Model) -> float | None:
        """Return the bits per parameter that the size given comes to, None where none was given."""
        from enxuto.compression.arguments import byte_size
        from enxuto.enx.learned import parameters

        if self.target_size is None:
            return self.bits
        return 8 * byte_size(self.target_size) / max(1, parameters(model))


@dataclass(frozen=True, kw_only=True)
class CalibrationOptions(DataOptions):
    """Which images calibrate and judge, and which loss is allowed."""

    data: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=_PANEL,
            metavar="DATA",
            help="Images: some calibrate, some judge the search, and the rest report the result. Only --max-drop "
            "needs labels. Or arrays by input name: .npz, a folder of .npz or .npy, .jsonl, Parquet.",
        ),
    ] = None
    calibration: CalibrationImages = None
    calibration_split: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=_PANEL, metavar="NAME", help="The part of --calibration to use: train, test, …."
        ),
    ] = None
    synthetic: Annotated[
        bool,
        typer.Option("--synthetic", rich_help_panel=_PANEL, help="Calibrate with synthetic images instead."),
    ] = False
    images: Annotated[
        int, typer.Option(min=2, rich_help_panel=_PANEL, metavar="N", help="Calibrate with N images.")
    ] = 256
    max_drop: Annotated[
        float | None,
        typer.Option(
            rich_help_panel=_PANEL,
            metavar="X",
            help="Find the smallest file that loses at most X points of top-1.",
        ),
    ] = None
    min_agreement: Annotated[
        float | None,
        typer.Option(
            rich_help_panel=_PANEL,
            metavar="X",
            help="Find the smallest file that keeps at least X percent of the answers.",
        ),
    ] = None
    max_kl: Annotated[
        float | None,
        typer.Option(
            rich_help_panel=_PANEL,
            metavar="X",
            help="Find the smallest file whose answers diverge by at most X nats.",
        ),
    ] = None
    min_snr: Annotated[
        float | None,
        typer.Option(
            rich_help_panel=_PANEL,
            metavar="DB",
            help="Find the smallest file whose outputs of values stay DB decibels above their error, in the mean.",
        ),
    ] = None
    outputs: Outputs = ()
    feedback: Feedback = ()
    judge: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=_PANEL,
            metavar="MODULE:FUNCTION",
            help="Judge by a Python function of two ONNX Runtime sessions, the original's and a compressed model's. It "
            "returns a number; a higher one is better. Without --data, --calibration and --synthetic, steps are "
            "searched.",
        ),
    ] = None
    max_judge_drop: Annotated[
        float | None,
        typer.Option(
            rich_help_panel=_PANEL,
            metavar="X",
            help="Find the smallest file that --judge gives at most X less than the original.",
        ),
    ] = None
    report: Annotated[
        bool,
        typer.Option("--report", rich_help_panel=_PANEL, help="Show what every tensor got."),
    ] = False

    def __post_init__(self) -> None:
        self._refuse_options_without_images()
        if self.synthetic and self.calibration is not None:
            raise UsageError(
                "--synthetic and --calibration both say what calibrates; give one of them", code="E022"
            )
        if (self.judge is None) != (self.max_judge_drop is None):
            raise UsageError("--judge and --max-judge-drop go together; give both", code="E023")
        for name, given in (("--outputs", self.outputs), ("--feedback", self.feedback)):
            if given and not self.is_calibrated:
                raise UsageError(
                    f"{name} says how data are judged; give --data or --calibration", code="E023"
                )
        if self.report and not self.is_calibrated:
            raise UsageError(
                "--report is of calibrated rounding; give --data, --calibration or --synthetic", code="E024"
            )

    def _refuse_options_without_images(self) -> None:
        """Options that say how to open images need some to open."""
        values = {
            "--format": self.format, "--split": self.split, "--limit": self.limit,
            "--image-column": self.image_column, "--label-column": self.label_column, "--labels": self.labels,
        }  # fmt: skip
        stray = next((name for name, value in values.items() if value is not None), None)
        if stray is not None and self.data is None and self.calibration is None:
            raise UsageError(f"{stray} is of images; give --data or --calibration", code="E023")
        if self.labels is not None and self.data is None:
            raise UsageError("--labels names classes of --data; images that calibrate need none", code="E024")
        if self.calibration_split is not None and self.calibration is None:
            raise UsageError("--calibration-split is of --calibration; give that too", code="E023")
        if self.calibration_split is not None and self.data is None and self.split is not None:
            raise UsageError("--split and --calibration-split say the same; leave one out", code="E022")

    @property
    def is_bounded(self) -> bool:
        """Whether what the answers may lose is bounded."""
        return any(
            bound is not None for bound in (self.max_drop, self.min_agreement, self.max_kl, self.min_snr)
        )

    @property
    def is_calibrated(self) -> bool:
        """Whether rounding is to be calibrated at all."""
        return self.synthetic or self.data is not None or self.calibration is not None

    def compress(
        self,
        model: Model,
        size: SizeOptions,
        preprocess: Preprocess,
        *,
        metadata: Mapping[str, Any],
        roles: Collection[Role | str],
        keep_exact: Sequence[str],
        threads: int,
        progress: Callable[[str, int, int], None],
        retrain: Retrainer | None = None,
    ) -> CalibratedResult:
        """Open the images, search the file, and write every trial on stderr.

        Args:
            model: the original.
            size: how large the file may be.
            preprocess: how images become inputs.
            metadata: what the file shall say of the model.
            roles: of the tensors to quantize.
            keep_exact: names of tensors not to quantize, with `*` and `?`.
            threads: 0 takes one per processor.
            progress: is given the stage, and how much of how much of it is done.
            retrain: goes on from the file that is found.
        """
        from enxuto.compression.calibrated import compress_within
        from enxuto.compression.judge import Bounds
        from enxuto.compression.split import split_for_training, split_images
        from enxuto.enx.learned import parameters

        bits = size.bits_per_parameter(model)
        most = None if bits is None else max(1, int(min(2.0**62, bits * parameters(model) / 8)))
        if most is None and not self.is_bounded and self.judge is None:
            raise UsageError(
                "calibrated rounding needs a bound: --max-drop, --min-agreement, --max-kl, --min-snr, "
                "--max-judge-drop, --bits or --target-size",
                code="E023",
            )
        bounds = Bounds(
            self.max_drop, self.min_agreement, self.max_kl, most, self.max_judge_drop, self.min_snr
        )
        score = None if self.judge is None else load_judge(self.judge, model, threads=threads)
        data, calibration = self._open_data(model, metadata), self._open_calibration(model)
        if retrain is None:
            split = split_images(data, calibration, bounds, self.images, self.seed, synthetic=self.synthetic)
        else:
            split = split_for_training(data, calibration, bounds, self.images, self.seed)
        return compress_within(
            model, bounds, split, preprocess, images=self.images, metadata=metadata, roles=roles,
            keep_exact=keep_exact, seed=self.seed, threads=threads, progress=progress,
            on_trial=partial(say_trial, most=most), outputs=parse_outputs(self.outputs), score=score, retrain=retrain,
            on_check=say_check,
        )  # fmt: skip

    def inputs_of_images(
        self, preprocess: PreprocessOptions, stored: Preprocess | None, model: Model
    ) -> Preprocess:
        """Return how images become inputs; where only named arrays are given, nothing is said of preprocessing."""
        from enxuto.data import Preprocess
        from enxuto.data.feeding import holds_named_arrays

        names = [item.name for item in model.proto.graph.input if item.name not in model]
        given = [path for path in (self.data, self.calibration) if path is not None]
        if given and all(holds_named_arrays(path, names) for path in given):
            return preprocess.build(stored, model) or Preprocess()
        return preprocess.choose(stored, model)

    def _open_data(self, model: Model, metadata: Mapping[str, Any]) -> Dataset | Samples | None:
        """The images of --data; labels, which only a bound on top-1 needs, count the model's outputs."""
        if self.data is None:
            return None
        arrays = named_arrays(self.data, model, self.feedback, self.label_column, options=self)
        if arrays is not None:
            return arrays
        data = self.open(self.data, labelled=self.max_drop is not None)
        why = "has no labels"
        if data.labelled:
            try:
                return match_labels(data, model, dict(metadata), self.labels)[0]
            except DataError as error:  # folders of images need not be classes where nothing counts them
                if self.max_drop is not None or self.labels is not None:
                    raise
                why, data = f"has no labels for this model ({error})", data.without_labels()
        note(f"{self.data} {why}: answers are compared with the original's, and no top-1 is shown")
        return data

    def _open_calibration(self, model: Model) -> Dataset | Samples | None:
        """The images of --calibration; options of images are of --data where both are given."""
        if self.calibration is None:
            return None
        arrays = named_arrays(
            self.calibration, model, self.feedback, options=self if self.data is None else None
        )
        if arrays is not None:
            refuse_options_of_images({"calibration_split": self.calibration_split}, self.calibration)
            return arrays
        options = DataOptions(
            format=self.format, split=self.split, limit=self.limit, image_column=self.image_column,
            label_column=self.label_column, seed=self.seed,
        ) if self.data is None else DataOptions(seed=self.seed)  # fmt: skip
        if self.calibration_split is not None:
            options = replace(options, split=self.calibration_split)
        return options.open(self.calibration, labelled=False)
