"""The options of `compress` that say whether the model is retrained, and how long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from enxuto.errors import UsageError

if TYPE_CHECKING:
    from enxuto.cli.shared.calibration_options import CalibrationOptions
    from enxuto.compression.retrainer import Retrainer

__all__ = ["RetrainingOptions"]

_PANEL = "Retraining"


@dataclass(frozen=True, kw_only=True)
class RetrainingOptions:
    """Whether weights are trained to be levels, how long, and whether a control is trained too."""

    retrain: Annotated[
        bool,
        typer.Option(
            "--retrain",
            rich_help_panel=_PANEL,
            help="Go on from the calibrated file: train with rounded weights towards fewer bits, the original being "
            "the teacher. Images of --calibration train, or most of --data; no labels are needed. Needs PyTorch.",
        ),
    ] = False
    minutes: Annotated[
        float | None,
        typer.Option(rich_help_panel=_PANEL, metavar="X", help="Retrain for about X minutes; 10 by default."),
    ] = None
    epochs: Annotated[
        float | None,
        typer.Option(
            rich_help_panel=_PANEL,
            metavar="X",
            help="See every training image X times, such as 2.5. The same number gives the same bytes.",
        ),
    ] = None
    label_weight: Annotated[
        float,
        typer.Option(
            rich_help_panel=_PANEL,
            metavar="X",
            help="Share of the loss, 0 to 1, that labels of the images that train have; the original's answers have "
            "the rest. Within --max-drop, right answers may then take their place.",
        ),
    ] = 0.0
    also_prune: Annotated[
        bool,
        typer.Option(
            "--also-prune",
            rich_help_panel=_PANEL,
            help="Also price the multiplications of filters while training, so that whole filters leave the network.",
        ),
    ] = False
    control: Annotated[
        bool,
        typer.Option(
            "--control",
            rich_help_panel=_PANEL,
            help="Train as long without rounding, to show what the training alone changes.",
        ),
    ] = False

    def __post_init__(self) -> None:
        given = {
            "--minutes": self.minutes is not None,
            "--epochs": self.epochs is not None,
            "--label-weight": self.label_weight != 0,
            "--also-prune": self.also_prune,
            "--control": self.control,
        }
        stray = next((name for name, value in given.items() if value), None)
        if not self.retrain and stray is not None:
            raise UsageError(f"{stray} is of retraining; give --retrain", code="E023")
        if self.retrain:
            self.retrainer()  # refuses values that make no sense

    def check_fits(self, calibration: CalibrationOptions, *, sized: bool) -> None:
        """Raise `UsageError` where images or a bound that retraining needs are missing. sized: a size is given."""
        if self.retrain and (calibration.data is None or calibration.synthetic):
            raise UsageError("--retrain needs images to train on and to judge by; give --data", code="E023")
        if self.retrain and calibration.judge is not None:
            raise UsageError(
                "--retrain is bounded by --max-kl, --min-agreement or --max-drop; leave out --judge",
                code="E022",
            )
        if self.retrain and not (sized or calibration.is_bounded):
            raise UsageError(
                "--retrain trains towards a bound; give --bits, --target-size, --max-kl, --min-agreement or --max-drop",
                code="E023",
            )
        retrainer = self.retrainer()
        if retrainer is not None:
            retrainer.check_packages()

    def retrainer(self) -> Retrainer | None:
        """Return what retrains; None where nothing is to."""
        from enxuto.retraining import Retraining

        return (
            Retraining(
                minutes=self.minutes,
                epochs=self.epochs,
                label_weight=self.label_weight,
                also_prune=self.also_prune,
                control=self.control,
            )
            if self.retrain
            else None
        )
