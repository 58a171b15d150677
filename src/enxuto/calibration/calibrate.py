"""`calibrate`: measure how a model's outputs depend on its weights, from a few unlabelled samples.

Second moments, curvatures and sensitivities of all layers are measured once. Batch normalisation is folded first. What
follows from them at a price is told by the `Calibration` that is returned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from enxuto.calibration.allocation import choose_spacing
from enxuto.calibration.answers import check_scores_vary, scores_of_noise
from enxuto.calibration.bias_correction import channel_means, correcting_samples
from enxuto.calibration.calibration import Calibration
from enxuto.calibration.curvature import Curvature, estimate_curvatures
from enxuto.calibration.layers import LinearLayer, calibrated_layers, without_outputs
from enxuto.calibration.other_weights import measure_others, other_weights
from enxuto.calibration.outputs import JudgedOutputs, OutputChoices, find_losses
from enxuto.calibration.running import run_freely, samples_of, watch_layers
from enxuto.calibration.saturation import check_classes_vary
from enxuto.calibration.sensitivity import BITS, BITS_OF_VALUES, References, measure_sensitivities, run_groups
from enxuto.calibration.straight_model import straighten
from enxuto.data.samples import Group, Samples
from enxuto.errors import DataError, UsageError
from enxuto.machine.blas import one_blas_thread
from enxuto.machine.processors import processors
from enxuto.metrics.losses import OutputLoss
from enxuto.onnx_model import Model, fold_batch_norm, settle
from enxuto.progress import Progress
from enxuto.runtime import advise_on_failure

__all__ = ["calibrate"]

_SENSITIVITY_VALUES = 1 << 23  # numbers in the images used for sensitivities: 55 of 224×224, 256 of 32×32
_FEWEST_SENSITIVE = 48
_FEWEST_PLACES = 16  # of samples whose outputs are no list of classes: they may be large, and tell more each


@advise_on_failure("compress it without images")
@one_blas_thread()
def calibrate(
    model: Model,
    data: Samples | npt.NDArray[np.float32],
    *,
    choices: OutputChoices | None = None,
    labelled: bool = False,
    rows: str = "",
    source: str = "",
    seed: int = 0,
    threads: int = 0,
    progress: Progress | None = None,
) -> Calibration:
    """Measure everything that calibrated rounding needs.

    Cost: one run forwards and one backwards for all samples, one of 48 to 256 samples from each layer on, and per layer
    about 50·C³ + O·C² operations for its matrix (O, C), C at most 2,304 at a time.

    Args:
        model: with float weights.
        data: what the model is fed, or images (N, …), float32 as its one input takes them, best some hundreds.
        choices: by output what it is judged as; found out by default.
        labelled: whether labels of the data count the model's outputs.
        rows: what rows of numbers are taken for where neither graph nor name tells (`calibration.outputs`).
        source: what the data are, for the record.
        seed: of all that is sampled.
        threads: 0 for one per processor.
        progress: called with (what is done, work done, work in all).

    Raises:
        DataError: for fewer than 2 samples.
        ModelError: for weights that are not finite, and a model that does not run.
        UsageError: where no output can be judged (`calibration.outputs`).
    """
    if len(data) < 2:
        raise DataError(
            f"calibration needs at least 2 samples, got {len(data)}; some hundreds are best", code="E043"
        )
    settled, computed = settle(model)
    folded_model, folded = fold_batch_norm(settled)
    samples = samples_of(folded_model, data)
    straight = straighten(folded_model, samples.groups(), threads=threads)
    _check_something_to_calibrate(straight)
    judged_outputs = find_losses(
        folded_model, samples, choices, threads=threads, labelled=labelled, rows=rows
    )
    measured = judged_outputs.measured(straight)
    layers = _measured_layers(measured, judged_outputs, straight)
    runs, samples = run_freely(measured, model, samples, judged_outputs, threads)
    report = progress or _ignore_progress
    moments, references, reason = watch_layers(
        runs, layers, samples, judged_outputs.losses, seed, threads, report
    )
    if judged_outputs.answers is not None:
        check_scores_vary(
            references[0][0].reshape(len(samples), -1),
            partial(scores_of_noise, runs, next(iter(samples.groups()[0].feeds.values())), threads),
        )
    else:
        judged_outputs = check_classes_vary(judged_outputs, references)
    curvatures = estimate_curvatures(straight, layers, moments, len(samples), threads, report)
    meter = _Meter.of(runs, samples, references, judged_outputs, threads)
    few = samples.head(correcting_samples(samples)).groups()
    return Calibration(
        model=folded_model,
        layers=layers,
        curvatures=meter.with_sensitivities(curvatures, report),
        samples=samples,
        references=references,
        means=channel_means(runs, layers, few, threads=threads, progress=partial(report, "measuring means")),
        reason=reason,
        folded=folded,
        threads=threads or processors(),
        source=source,
        seed=seed,
        judged_outputs=judged_outputs,
        others=meter.others(folded_model, layers, report),
        straight=straight,
        computed=computed,
        given=model if computed or model.proto.functions else None,
    )


def _check_something_to_calibrate(model: Model) -> None:
    if not calibrated_layers(model, [item.name for item in model.proto.graph.output]) and not other_weights(
        model, ()
    ):
        raise UsageError(
            "the model has no float kernel or matrix to calibrate; compress it without data", code="E036"
        )


def _measured_layers(measured: Model, judged_outputs: JudgedOutputs, model: Model) -> list[LinearLayer]:
    """Return the layers that what is measured depends on, without weights that the model gives out."""
    values = [loss.value for loss in judged_outputs.losses] if len(judged_outputs.losses) > 1 else None
    return without_outputs(calibrated_layers(measured, values), model)


def _few_groups(
    runs: Model, samples: Samples, references: References, judged_outputs: JudgedOutputs, threads: int
) -> tuple[list[Group], References]:
    """Return the samples that measure sensitivities, and the original's outputs for them."""
    fewest = _FEWEST_SENSITIVE if judged_outputs.answers is not None else _FEWEST_PLACES
    groups = samples.head(min(256, max(fewest, _SENSITIVITY_VALUES // samples.values))).groups()
    if len(references) == 1:
        return groups, [[found[: group.count] for found in references[0]] for group in groups]
    return groups, run_groups(runs, groups, threads=threads)


@dataclass(frozen=True)
class _Meter:
    """Measures on some of the samples what errors in a weight cost."""

    runs: Model
    groups: list[Group]
    references: References
    losses: Sequence[OutputLoss]
    bits: Sequence[float]
    threads: int

    @classmethod
    def of(
        cls,
        runs: Model,
        samples: Samples,
        references: References,
        judged_outputs: JudgedOutputs,
        threads: int,
    ) -> _Meter:
        """Return what measures on some of these samples, values and answers of yes or no at two sizes."""
        groups, found = _few_groups(runs, samples, references, judged_outputs, threads)
        losses = judged_outputs.losses
        bits = BITS if all(loss.kind == "classes" for loss in losses) else BITS_OF_VALUES
        return cls(runs, groups, found, losses, bits, threads)

    def with_sensitivities(self, curvatures: dict[str, Curvature], report: Progress) -> dict[str, Curvature]:
        """Return the curvatures with the sensitivities of their layers."""
        curves = measure_sensitivities(
            self.runs,
            [choose_spacing(one) for one in curvatures.values()],
            self.groups,
            self.references,
            losses=self.losses,
            bits=self.bits,
            threads=self.threads,
            progress=partial(report, "measuring sensitivities"),
        )
        # A layer that nothing seems to depend on counts as if losing it whole cost a millionth of losing another. (The
        # sensitivities themselves do not compare: they are in units of what layers hand on, which others scale back.)
        whole = {name: _cost_of_all(one, self.runs.load(name)) for name, one in curvatures.items()}
        least = [
            1e-6 * max(values, default=0.0)
            for values in zip(
                *([value * whole[name] for value in one.values] for name, one in curves.items()), strict=True
            )
        ]
        return {
            name: one.with_curve(
                curves[name].at_least([lowest / whole[name] if whole[name] else 0.0 for lowest in least])
            )
            for name, one in curvatures.items()
        }

    def others(self, model: Model, layers: Sequence[LinearLayer], report: Progress) -> dict[str, float]:
        """Return the losses of a model's other weights at default steps, 0 for those that are not run."""
        held = [layer.weight for layer in layers]
        measured = measure_others(
            self.runs,
            held,
            self.groups,
            self.references,
            self.losses,
            threads=self.threads,
            progress=report,
        )
        return {name: measured.get(name, 0.0) for name in other_weights(model, held)}


def _cost_of_all(curvature: Curvature, weight: np.ndarray) -> float:
    """Return what a curvature says of a weight that is lost whole."""
    matrix = curvature.layer.matrix(weight)
    return curvature.cost(matrix, np.broadcast_to(np.zeros((), matrix.dtype), matrix.shape))


def _ignore_progress(what: str, done: int, total: int) -> None:
    """Show no progress."""
