"""`compress_within`: the smallest file within a bound, from a model and images (or none) to the figures reported.

With `data`, some images calibrate, others judge during the search, and the rest are held out for the report: no image
has two parts. Labels are used only where top-1 is reported or bounded. Where `calibration` is given too, that data set
calibrates. With neither, synthetic images calibrate, and no answers can be bounded.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from enxuto.calibration.answers import check_scores_vary
from enxuto.calibration.cache import cached_calibration, calibration_folder, calibration_key
from enxuto.calibration.calibrate import calibrate
from enxuto.calibration.calibration import Calibration
from enxuto.calibration.kept_kinds import kinds_to_keep
from enxuto.calibration.outputs import JudgedOutputs, OutputChoices, find_losses, run_together
from enxuto.calibration.running import samples_of
from enxuto.calibration.sequences import single_steps
from enxuto.compression.at_price import PricedModel, compress_at
from enxuto.compression.excess import worse_than_mean
from enxuto.compression.images import calibrating_images, images_of, with_preparation
from enxuto.compression.judge import Bounds, Judge, Judgement, ScoreJudge
from enxuto.compression.output_judge import OutputJudge, check_bounds_fit, rows_by_bounds
from enxuto.compression.retrainer import (
    Retrained,
    Retrainer,
    RetrainingCheck,
    RetrainingTask,
    TaskSettings,
    after_retraining,
    array_of,
    retraining_task,
)
from enxuto.compression.search import SearchResult, Trial, search
from enxuto.compression.selection import DEFAULT_ROLES
from enxuto.compression.split import ImageSplit
from enxuto.compression.trial_log import TrialLog
from enxuto.data import Dataset, Preprocess
from enxuto.data.samples import Samples
from enxuto.enx.file import FORMAT_VERSION
from enxuto.enx.learned import learned_facts, parameters
from enxuto.errors import DataError, UsageError
from enxuto.machine.processors import processors
from enxuto.metrics import ChanceComparison
from enxuto.onnx_model import Model, Role
from enxuto.progress import Progress
from enxuto.runtime import advise_on_failure

__all__ = ["CalibratedResult", "compress_within"]

_FIRST_BITS = 3.0  # a weight, where a loss is bounded; coarser at first where the bound allows it
_MOST_BITS = 14.0  # a weight: nothing finer is tried first, however large the size allowed
_FEWEST_BITS = 0.1  # a weight: nothing coarser is tried first, however large the loss allowed
_CAREFUL = 0.3  # of the price by the law: errors that act together, and layers with few bits, lose more
_FAR = 1.02  # times the size asked for: training makes up for less
_BATCH = 64  # as the verbs that compare: sums in another order differ in the last digit


@dataclass(frozen=True)
class CalibratedResult:
    """What a search found, and how its outcome does on the held-out images (None without data).

    by_chance: how the original's top-1 on the held-out images compares with chance. held_out_violation: the bound that
    does not hold on these images, though it holds on those that judged the search. retrained: what retraining found,
    whose best file is then the outcome. before_retraining: how the calibrated file does on the held-out images.
    unbounded: what to say of outputs that lose much there and that no bound is of, or of answers that change though the
    bound holds. trained_on: how many images trained, and the hash of those they are of.
    """

    search: SearchResult
    held_out: Judgement | None
    calibration: Calibration
    by_chance: ChanceComparison | None = None
    held_out_violation: str | None = None
    retrained: Retrained | None = None
    before_retraining: Judgement | None = None
    unbounded: str | None = None
    trained_on: tuple[int, str] | None = None

    @property
    def outcome(self) -> PricedModel:
        """The compressed model that was found."""
        return self.search.outcome

    def after_training_on(self, images: Dataset | Samples, count: int) -> CalibratedResult:
        """Return the result with how many of these images trained, and the hash of all of them."""
        return replace(self, trained_on=(count, images.hash))


@advise_on_failure("compress it without images")
def compress_within(
    model: Model,
    bounds: Bounds,
    parts: ImageSplit,
    preprocess: Preprocess,
    *,
    images: int = 256,
    metadata: Mapping[str, Any] | None = None,
    roles: Collection[Role | str] = DEFAULT_ROLES,
    keep_exact: Sequence[str] = (),
    seed: int = 0,
    threads: int = 0,
    cache: Path | None = None,
    progress: Progress | None = None,
    on_trial: Callable[[Trial], None] | None = None,
    score: ScoreJudge | None = None,
    outputs: OutputChoices | None = None,
    reference: Model | None = None,
    first_price: float | None = None,
    retrain: Retrainer | None = None,
    on_check: Callable[[RetrainingCheck], None] | None = None,
) -> CalibratedResult:
    """Calibrate, search, retrain if asked to, and report.

    Args:
        model: the original.
        bounds: what must hold.
        parts: which images calibrate, judge and are held out.
        preprocess: how stored images become the model's input.
        images: how many synthetic images are made where `parts` has none to calibrate by.
        metadata, roles, keep_exact: as for `compress_at`.
        seed: of synthetic images and of the calibration.
        threads: 0 takes one per processor.
        cache: the folder where calibrations and trials are kept (by default `calibration_folder()`). An interrupted
            search resumes there after its last trial, and one with another bound tries no price again.
        progress: called with stage, amount done, total.
        on_trial: called after every trial, remembered ones too.
        score: a caller's judge, for `max_judge_drop`; its searches remember no trials.
        outputs: by output what it is judged as; found out by default.
        reference: whose answers the bounds are about, where `model` was made from another one; by default `model`.
        first_price: that is tried first, such as that of a like model.
        retrain: makes a better file of the one found; `parts` then has images for training (`split_for_training`).
        on_check: called with every file that retraining makes on its way.

    Raises:
        DataError: images do not fit the model, or top-1 is bounded but the original's is no better than chance.
        UsageError: no output can be judged, or not by what is bounded.
    """
    samples, source = calibrating_images(model, parts.calibration, preprocess, images, seed)
    # What would make all the work below useless is reported before it is done.
    if isinstance(samples, Samples):
        samples = run_together(model, samples, threads=threads)
        samples = single_steps(model, samples, images, seed=seed, threads=threads)
    labelled = parts.held_out is not None and parts.held_out.labelled
    fed = samples_of(model, samples)
    judged_outputs = find_losses(model, fed, outputs, threads=threads, labelled=labelled)
    if rows := rows_by_bounds(bounds, judged_outputs):
        judged_outputs = find_losses(model, fed, outputs, threads=threads, labelled=labelled, rows=rows)
    if bounds.limits_answers:
        check_bounds_fit(bounds, judged_outputs)
    metadata = learned_facts(model) | with_preparation(metadata or {}, parts, preprocess)  # of what is given
    if kept := kinds_to_keep(model, judged_outputs, outputs, rows):
        metadata["outputs_are"] = kept
    if retrain is not None:
        given = array_of(parts.training if isinstance(parts.training, Samples) else samples)
        retrain.check_model(judged_outputs.measured(model), given.shape[1:])
    opened = _Opened(reference or model, preprocess, outputs, threads, judged_outputs)
    judge = opened.judge(parts.judging, bounds) if bounds.limits_answers else None

    def measure() -> Calibration:
        return calibrate(
            model, samples, choices=outputs, labelled=labelled, rows=rows, source=source, seed=seed,
            threads=threads, progress=progress,
        )  # fmt: skip

    calibration = cached_calibration(
        model, samples, measure, source=source, seed=seed, threads=threads or processors(), choices=outputs,
        labelled=labelled, rows=rows, folder=cache,
    )  # fmt: skip

    if calibration.judged_outputs.answers is not None:
        check_scores_vary(calibration.scores)  # of one that ignores its input a search would keep nothing

    def make(price: float) -> PricedModel:
        outcome = compress_at(
            calibration, price, metadata=metadata, roles=roles, keep_exact=keep_exact, progress=progress
        )
        if progress is not None and judge is not None:
            progress("judging", 0, 1)
        return outcome

    origin = [source, *([] if reference is None else [calibration_key(reference, samples, seed, outputs)])]
    log = TrialLog(
        cache or calibration_folder(),
        calibration_key(model, samples, seed, outputs, labelled=labelled, rows=rows),
        parts.judging.hash if judge is not None and parts.judging is not None else None,
        [repr(preprocess), metadata, sorted(str(role) for role in roles), list(keep_exact), *origin],
        FORMAT_VERSION,  # files of another one have other bytes at the same price
    )
    found = search(
        make,
        bounds,
        _first_price(calibration, bounds, parameters(model)) if first_price is None else first_price,
        fine=calibration.price_of_bits(_FIRST_BITS),
        judge=judge,
        score=score,
        weights=parameters(calibration.model),
        store=log,
        on_trial=on_trial,
    )
    kept_exact = calibration.patterns_of(keep_exact)
    how = TaskSettings(metadata, roles, tuple(kept_exact), seed, threads, log.path, progress, on_check)
    reporter = opened.judge(parts.held_out)
    if retrain is None:
        return _report(found, None, calibration, bounds, reporter)
    task = _task(calibration, found, parts, opened, judge, bounds, how)
    report = _report(found, retrain(task), calibration, bounds, reporter)
    return report.after_training_on(parts.training, len(task.images))


def _first_price(calibration: Calibration, bounds: Bounds, weights: int) -> float:
    """Return the price that is tried first: of the size asked for, or where the bound on the loss should be.

    A loss D that falls by a factor of four with each bit of n weights has the slope D · 2 ln 2 / n, as at equal slope.
    """
    if bounds.max_bytes is not None:
        return calibration.price_of_bits(min(_MOST_BITS, 8 * bounds.max_bytes / max(1, weights)))
    losses = [] if bounds.max_kl is None else [bounds.max_kl]
    losses += [] if bounds.min_snr is None else [10 ** (-bounds.min_snr / 10)]
    if not losses:
        return calibration.price_of_bits(_FIRST_BITS)
    price = _CAREFUL * min(losses) * 2 * math.log(2) / max(1, weights)
    return min(calibration.price_of_bits(_FEWEST_BITS), max(calibration.price_of_bits(_FIRST_BITS), price))


def _task(
    calibration: Calibration,
    found: SearchResult,
    parts: ImageSplit,
    opened: _Opened,
    judge: Judge | OutputJudge | None,
    bounds: Bounds,
    how: TaskSettings,
) -> RetrainingTask:
    """Return what is to be retrained, from the images that train and those that choose."""
    if bounds.max_bytes is not None and found.outcome.model.file_bytes > _FAR * bounds.max_bytes:
        warnings.warn(
            f"training starts at a calibrated file that is not enough: {found.violation}", stacklevel=1
        )
    chooser = judge or opened.judge(parts.judging)
    assert chooser is not None, "images that train go with images that choose"
    data, preprocess = parts.training, opened.preprocess
    images = images_of(opened.model, data, preprocess) if isinstance(data, Dataset) else data
    labels = data.labels if data.labelled else None
    return retraining_task(calibration, found.outcome, images, preprocess, bounds, chooser, how, labels)


def _report(
    searched: SearchResult,
    retrained: Retrained | None,
    calibration: Calibration,
    bounds: Bounds,
    reporter: Judge | OutputJudge | None,
) -> CalibratedResult:
    """Return the result, with figures of the held-out images where there are any."""
    found = searched if retrained is None else after_retraining(searched, retrained)
    if reporter is None:
        return CalibratedResult(found, None, calibration, retrained=retrained)
    held_out = reporter(found.outcome.model)
    missed = bounds.violation(held_out) if found.fits else None
    changed = bounds.changed_answers(held_out) if found.fits and missed is None else None
    alone = worse_than_mean(bounds, held_out) if found.fits and missed is None else None
    return CalibratedResult(
        found,
        held_out,
        calibration,
        reporter.by_chance if held_out.top1 is not None else None,
        missed,
        retrained,
        None if retrained is None else reporter(searched.outcome.model),
        "; ".join(remark for remark in (bounds.unbounded(held_out), changed, alone) if remark) or None,
    )


@dataclass(frozen=True)
class _Opened:
    """Makes judges of samples: of a classifier of images with labels, or of all outputs, of kinds as in `outputs`."""

    model: Model
    preprocess: Preprocess
    choices: OutputChoices | None
    threads: int
    outputs: JudgedOutputs

    def judge(
        self, data: Dataset | Samples | None, bounds: Bounds | None = None
    ) -> Judge | OutputJudge | None:
        if data is None:
            return None
        if isinstance(data, Dataset) and self.outputs.answers is not None:
            if bounds is not None:
                return _judge(self.model, data, self.preprocess, self.threads, bounds)
            return Judge(self.model, data, self.preprocess, threads=self.threads, batch=_BATCH)
        found = data if isinstance(data, Samples) else images_of(self.model, data, self.preprocess)
        samples = run_together(self.model, samples_of(self.model, found), threads=self.threads)
        if isinstance(data, Dataset) and data.labelled:
            samples = replace(samples, labels=data.labels)
        known = {loss.name: loss.kind for loss in self.outputs.losses}
        judge = OutputJudge(self.model, samples, self.choices, threads=self.threads, known=known)
        if bounds is not None and bounds.max_drop is not None:
            if judge.by_chance is None:
                raise UsageError(
                    "max_drop= counts right answers, and these outputs are no single list of classes with labels; "
                    "bound max_kl=, min_agreement= or min_snr=",
                    code="E035",
                )
            _require_better(judge.by_chance, samples.path)
        return judge


def _judge(
    model: Model, judging: Dataset | None, preprocess: Preprocess, threads: int, bounds: Bounds
) -> Judge | None:
    """Return what judges trials, None without images.

    Raises `DataError` where points of top-1 are bounded while the original's answers have nothing to do with the
    labels: then none can be lost.
    """
    if judging is None:
        return None
    judge = Judge(model, judging, preprocess, threads=threads, batch=_BATCH)
    if bounds.max_drop is not None:
        _require_better(judge.by_chance, judging.path)
    return judge


def _require_better(chance: ChanceComparison, path: str) -> None:
    """Raise `DataError` where the original's top-1 is no better than chance."""
    if not chance.better:
        raise DataError(
            f"{path}: the original's top-1 is {chance.right} of {chance.samples} images that judge "
            f"({chance.right / chance.samples:.1%}), no better than chance ({chance.expected:.1%}), so that no points "
            "of top-1 can be lost; are the labels those of the model, in its order, the preprocessing the model's, and "
            "are there enough images? min_agreement= and max_kl= need no labels",
            code="E061",
        )
