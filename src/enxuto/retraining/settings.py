"""`Retraining`: how long and how `enxuto.compress` retrains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from enxuto.errors import UsageError, import_optional

if TYPE_CHECKING:
    from collections.abc import Sequence

    from enxuto.compression.retrainer import Retrained, RetrainingTask
    from enxuto.onnx_model import Model

__all__ = ["Retraining"]

_MOST = 1e6  # minutes or epochs: two years


@dataclass(frozen=True)
class Retraining:
    """Retrain with rounded weights; the original is the teacher, and labels are not needed.

        enxuto.compress("model.onnx", data="photos/", max_kl=0.05, retrain=enxuto.Retraining(minutes=30))

    Args:
        minutes: about how long; how many epochs these are is measured at the start. Default 10, without `epochs`.
        epochs: how many times every training image is seen, such as 2.5; repeats byte for byte on the same machine.
        batch: images a step.
        rate: how far a weight moves at most in a step, in steps of its grid; falls to 0 along a cosine, and is halved
            whenever files on the way are worse than what training began with and do not recover. Half of it where
            steps are finer: on a trellis, and where training comes down from a larger file.
        mix: the share of batches whose images are mixed in pairs.
        features: how much it counts, beside the loss, that what layers read stays what it was: the share of its power
            that is off, averaged over layers. 0 leaves it out.
        label_weight: the share of the loss that is of the images' labels, 0 to 1; the rest is the original's answers.
            Where it has not learned the labels, right answers may take the place of its own, as `max_drop` allows.
        checks: how often a file is made and judged on the way.
        also_prune: also price the multiplications of filters, so that whole filters become zero and leave the network.
        control: also train as long without rounding, to tell how much of the change is the training itself.
        device: `cpu`, `cuda`, or `auto`, which takes a GPU where torch finds one.
        precision: `float32`; `bfloat16`, in which both networks then compute, while what is learned, the loss and the
            price stay float32; or `auto`, which takes bfloat16 where the device multiplies in it.
    """

    minutes: float | None = None
    epochs: float | None = None
    batch: int = 64
    rate: float = 0.012
    mix: float = 0.5
    features: float = 2.0
    label_weight: float = 0.0
    checks: int = 16
    also_prune: bool = False
    control: bool = False
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"

    def __post_init__(self) -> None:
        if self.minutes is not None and self.epochs is not None:
            raise UsageError("minutes= and epochs= both say how long; give one of them", code="E022")
        if not 0 <= self.features <= _MOST:
            raise UsageError(f"features= is a number from 0 to {_MOST:,.0f}, not {self.features:g}")
        for name in ("minutes", "epochs", "rate"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= _MOST:
                raise UsageError(f"{name}= is a positive number of at most {_MOST:,.0f}, not {value:g}")
        for name in ("mix", "label_weight"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise UsageError(f"{name}= is a share from 0 to 1, not {value}")
        for name, choices in (
            ("device", ("auto", "cpu", "cuda")),
            ("precision", ("auto", "float32", "bfloat16")),
        ):
            if (value := getattr(self, name)) not in choices:
                raise UsageError(
                    f"{name}= is {', '.join(choices[:-1])} or {choices[-1]}, not {value!r}", code="E021"
                )
        for name, least in (("batch", 2), ("checks", 1)):
            if getattr(self, name) < least:
                raise UsageError(f"{name}= is a whole number from {least} up, not {getattr(self, name)}")

    def check_packages(self) -> None:
        """Raise `UsageError` where PyTorch or the GPU asked for is missing: before hours of calibration, not behind."""
        import_optional("torch", "retrain", "PyTorch", "train")
        from enxuto.retraining.placement import placement_of

        placement_of(self)

    def check_model(self, model: Model, shape: Sequence[int]) -> None:
        """Raise `ModelError` where the graph has no module, or one not of float32: before calibration, too."""
        from enxuto.importing.check import check_learnable
        from enxuto.importing.load import network_of

        check_learnable(network_of(model, shape))

    def __call__(self, task: RetrainingTask) -> Retrained:
        """Retrain; `ModelError` where the graph has no module."""
        from enxuto.retraining.training import retrain

        return retrain(task, self)
