"""`enxuto.compress`: one call for compression without data, within a size, within a loss, or by a caller's judge."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from enxuto.compression.arguments import (
    DataLike,
    ModelLike,
    PreprocessLike,
    SizeAsked,
    check_count,
    check_metadata_type,
    check_number,
    to_data,
    to_feedback,
    to_model,
    to_names,
    to_outputs,
    to_preprocess,
    to_scheme,
    to_size,
)
from enxuto.compression.calibrated import CalibratedResult, compress_within
from enxuto.compression.data_free import Steps, check_steps
from enxuto.compression.data_free_prices import START_PRICE, DataFreePrices
from enxuto.compression.judge import Bounds, JudgeScore, Measure, ScoreJudge
from enxuto.compression.left_exact import describe_left_exact, describe_without_feedback
from enxuto.compression.result import CompressionResult, Report
from enxuto.compression.retrainer import Retrainer
from enxuto.compression.search import SearchResult, search
from enxuto.compression.selection import DEFAULT_ROLES
from enxuto.compression.split import split_for_training, split_images
from enxuto.data import Dataset, Preprocess
from enxuto.data.samples import Samples
from enxuto.enx.learned import parameters
from enxuto.errors import BudgetError, DataError, UsageError
from enxuto.files import to_path
from enxuto.onnx_model import Model, Role
from enxuto.opening import class_count, labels_of, onnx_metadata, plain_preprocess_of, preprocess_of
from enxuto.progress import Progress, offers_bar
from enxuto.quantize.scalar import Quantizer
from enxuto.quantize.schemes import Scheme
from enxuto.rounding.data_free import Rounding

__all__ = ["compress"]


@offers_bar
def compress(
    model: ModelLike,
    scheme: Scheme | Quantizer | None = None,
    *,
    data: DataLike | None = None,
    calibration: DataLike | None = None,
    preprocess: PreprocessLike | None = None,
    max_drop: float | None = None,
    min_agreement: float | None = None,
    max_kl: float | None = None,
    judge: Measure | None = None,
    max_judge_drop: float | None = None,
    min_snr: float | None = None,
    outputs: Mapping[str, Any] | None = None,
    feedback: Mapping[str, str] | None = None,
    bits: float | None = None,
    target_size: int | str | None = None,
    retrain: Retrainer | None = None,
    synthetic: bool = False,
    images: int = 256,
    rounding: Rounding | None = None,
    roles: Collection[Role | str] | str = DEFAULT_ROLES,
    keep_exact: Sequence[str] | str = (),
    fold_bn: bool | None = None,
    steps: Steps = "checked",
    metadata: Mapping[str, Any] | None = None,
    seed: int = 0,
    threads: int = 0,
    cache: str | Path | None = None,
    progress: Progress | bool | None = None,
) -> CompressionResult:
    """Make an ONNX model several times smaller; with a few images, within a stated loss; with many, by retraining.

    Without images, steps are chosen so that nearly all answers stay as they are, which synthetic inputs check:

    >>> import enxuto
    >>> enxuto.compress("model.onnx").save("model.enx")                 # doctest: +SKIP

    With images, rounding is calibrated and the smallest file within a bound is searched. Of `data`, a third at most
    calibrates, half of the rest judges the search, and the other half is held out for `report`:

    >>> small = enxuto.compress("model.onnx", data="photos/", preprocess="imagenet", max_kl=0.02)  # doctest: +SKIP
    >>> small.report, small.file_bytes                                                             # doctest: +SKIP

    Args:
        model: path of an ONNX file, `Model`, `onnx.ModelProto`, or the bytes of an ONNX file.
        scheme: which quantizer each tensor gets, from `enxuto.quantize`; a single quantizer is that of all tensors. By
            default steps that keep answers as they are. Not with images.
        data: images that judge and that the report is measured on; a bound or a size goes with them. They are a path,
            a `Dataset`, an array of images, or (images, labels). Arrays (N, H, W, C) of uint8 are preprocessed. Arrays
            (N, C, H, W) of floats are the model's input as they are. Only `max_drop` needs labels. A model of other
            inputs takes named arrays: a dict of arrays (N, …), a dict for each sample, or files of them (`.npz`, a
            folder of `.npz` or `.npy`, `.jsonl`, Parquet). Lists and iterators have a sample an entry: an array for a
            model's one input, or a list of arrays in the inputs' order.
        calibration: images that calibrate, in the same forms; their labels are not used. By default a part of `data`.
        preprocess: how images become the model's input: a preset (`imagenet`, `resnet-cifar`, …), a `Preprocess`, or a
            dict of its settings. By default the model's own, as far as it carries one. Stored in the file.
        max_drop: bound: points of top-1 that may be lost on `data`, such as 0.5.
        min_agreement: bound: percent of the original's answers on `data` that must stay, such as 99.
        max_kl: bound: mean divergence from the original's answers on `data`, in nats, such as 0.02.
        judge: function of two `onnxruntime.InferenceSession`, the original's and a compressed model's. It returns a
            number; a higher one is better. One call gets the original twice and so gives the original's own score.
        max_judge_drop: bound: how far the score of `judge` may fall below the original's. It suits models of any kind
            (detectors, embeddings). Without images the scheme's steps are searched, with images calibrated rounding.
        min_snr: bound: decibels that outputs of values must stay above their error on `data`, such as 30.
        outputs: by output name what it is judged as: `values`, `binary`, `classes` or `ignore`, or (kind, weight). By
            default found from the graph.
        feedback: for recurrent models: the name of an output, and of the input that takes its value at the next step,
            such as `{"stateN": "state"}`. Samples are then sequences, (N, steps, …). Other states are zeros.
        bits: bits per learned value that the whole file may take; excludes bounds on a loss.
        target_size: bytes that the file may take, such as `65536`, `"300KB"` or `"1.5MB"`; excludes them too.
        retrain: `enxuto.Retraining(minutes=30)`, which needs PyTorch: the calibrated file is trained further, with the
            original as its teacher, towards fewer bits. Images of `calibration` train, or most of `data`.
        synthetic: calibrate by synthetic images, without any of your own.
        images: how many images calibrate.
        rounding: `trellis` (smallest, the default), `nearest` (default with a scheme) or `rate`. Not with images.
        roles: which weights are quantized: kernel, depthwise, matrix, bias, norm, other.
        keep_exact: names of weights (with * and ?) that are not quantized.
        fold_bn: fold batch normalisation into the convolutions before it; calibrated rounding, measured steps, and
            checked ones to a size do.
        steps: how steps are chosen without images and scheme. `checked` takes those that fit most networks, and makes
            all of them finer or coarser where the model's outputs on synthetic inputs keep less than 40 dB or 99 % of
            the answers, or far more; to a size it spreads them by these outputs. `balanced` does not run the model.
            `measured` does so some thirty times, and gives each tensor a factor.
        metadata: JSON values to store in the file.
        seed: of the draw of images that calibrate, that judge, and that are held out.
        threads: 0 takes one per processor; the result does not depend on it.
        cache: folder where calibrations and trials are kept, so that another bound does not measure again; by
            default the user's cache.
        progress: True shows a bar on stderr; a function is called with (stage, done, total). By default nothing is
            shown.

    Returns:
        A `CompressionResult`: `save(path)`, `model`, `report`, `steps`, `trials`, `file_bytes`, `bits_per_weight`. What
        `save` writes, `enxuto.load`, `enxuto.evaluate` and `enxuto.verify` read.

    Raises:
        UsageError: arguments have wrong types or contradict each other; no output of the model can be judged.
        ModelError: the model cannot be read or run, or its weights are not finite.
        DataError: images cannot be read, do not fit the model, or are too few.
        BudgetError: no file keeps the bound; `error.result` is the nearest that was found, if any.
    """
    if judge is not None and not callable(judge):
        raise UsageError(f"judge= takes a function of two sessions, not {judge!r:.80}")
    if judge is None and max_judge_drop is not None:
        raise UsageError("max_judge_drop= is a bound on what judge= gives; give that too", code="E023")
    assert not isinstance(progress, bool), "`offers_bar` has taken it"
    check_metadata_type(metadata)
    folder = None if cache is None else to_path(cache, "cache= is a folder: a path")
    threads, seed = check_count("threads", threads), check_count("seed", seed)
    roles, keep_exact = to_names("roles", roles), to_names("keep_exact", keep_exact)
    scheme = to_scheme(scheme)
    chosen = to_preprocess(preprocess)
    calibrates = data is not None or calibration is not None or synthetic
    if calibrates and (scheme is not None or rounding is not None or fold_bn):
        raise UsageError(
            "calibrated rounding chooses quantizers and levels itself, and folds; leave out scheme=, rounding= and "
            "fold_bn=",
            code="E022",
        )
    _check_retrainer(retrain, calibrates=calibrates and not synthetic, judge=judge)
    original = to_model(model)
    size = to_size(bits, target_size, original)
    bounds = _bounds(
        check_number("max_drop", max_drop),
        check_number("min_agreement", min_agreement),
        check_number("max_kl", max_kl),
        check_number("max_judge_drop", max_judge_drop),
        check_number("min_snr", min_snr),
        size,
        needed=calibrates,
    )
    score = None if judge is None else ScoreJudge(judge, original, threads=threads)
    facts = {**(metadata or {}), **({} if chosen is None else {"preprocess": chosen.to_dict()})}
    if calibrates:
        assert bounds is not None, "calibration needs a bound"
        images = check_count("images", images, 2)
        known = onnx_metadata(original)
        source = _Images(original, known, bounds, images, seed)
        found = source.compress(
            data, calibration, chosen, synthetic=synthetic, metadata=known | facts, roles=roles,
            keep_exact=keep_exact, threads=threads, cache=folder, progress=progress, score=score,
            outputs=to_outputs(outputs), feedback=to_feedback(feedback), retrain=retrain,
        )  # fmt: skip
        if remark := describe_without_feedback(original, found.search.outcome):
            warnings.warn(remark, stacklevel=3)
        if remark := describe_left_exact(original, found.search.outcome.model, keep_exact):
            warnings.warn(remark, stacklevel=3)
        return _result(found.search, parameters(original), found, _final_score(score, found.search))
    for name, given in (("outputs", outputs), ("feedback", feedback)):
        if given is not None:
            raise UsageError(f"{name}= says how data are judged; give data= or calibration=", code="E023")
    if bounds is not None and bounds.limits_answers:
        raise UsageError("a bound on the answers needs images to judge by; give data=", code="E023")
    work = DataFreePrices(
        original, scheme, rounding, roles, keep_exact, fold_bn, facts, threads, progress, check_steps(steps)
    )
    if bounds is not None and bounds.limits_loss:
        assert score is not None, "a bound on a judge has a judge"
        searched = search(work.at_price, bounds, START_PRICE, weights=parameters(original), score=score)
        return _result(searched, parameters(original), None, searched.score)
    compressed = work.compress(scheme, bits=None if size is None else size.bits)
    if remark := describe_left_exact(original, compressed, keep_exact):
        warnings.warn(remark, stacklevel=3)
    measured = None if score is None else score(compressed)
    return CompressionResult(
        compressed, parameters(original), Report.of(None, measured), steps=next(iter(work.reports), None)
    )


def _check_retrainer(retrain: Retrainer | None, *, calibrates: bool, judge: Measure | None) -> None:
    if retrain is None:
        return
    if not (callable(retrain) and hasattr(retrain, "check_packages")):
        raise UsageError(f"retrain= takes enxuto.Retraining(minutes=30) and the like, not {retrain!r:.80}")
    if not calibrates:
        raise UsageError("retraining needs images to train on and to judge by; give data=", code="E023")
    retrain.check_packages()
    if judge is not None:
        raise UsageError(
            "retraining is bounded by max_kl=, min_agreement= or max_drop=; leave out judge=", code="E022"
        )


def _bounds(
    max_drop: float | None,
    min_agreement: float | None,
    max_kl: float | None,
    max_judge_drop: float | None,
    min_snr: float | None,
    size: SizeAsked | None,
    *,
    needed: bool,
) -> Bounds | None:
    """Return the bounds, None where none is given and none is needed."""
    given = (max_drop, min_agreement, max_kl, max_judge_drop, min_snr, size)
    if not needed and all(bound is None for bound in given):
        return None
    return Bounds(
        max_drop, min_agreement, max_kl, None if size is None else size.bytes, max_judge_drop, min_snr
    )


@dataclass(frozen=True)
class _Images:
    """Calibrated compression of a model, from what the caller gives as images."""

    model: Model
    known: dict[str, Any]
    bounds: Bounds
    count: int
    seed: int

    def compress(
        self,
        data: DataLike | None,
        calibration: DataLike | None,
        preprocess: Preprocess | None,
        *,
        synthetic: bool,
        feedback: Mapping[str, str] | None,
        retrain: Retrainer | None,
        **how: Any,
    ) -> CalibratedResult:
        """Open, split, search. how: further arguments of `compress_within`."""

        def open_data(name: str, given: DataLike | None, labelled: bool) -> Dataset | Samples | None:
            if given is None:
                return None
            return to_data(name, given, self.model, labelled=labelled, seed=self.seed, feedback=feedback)

        judging = open_data("data", data, self.bounds.max_drop is not None)
        judging = None if judging is None else self._fit_labels(judging)
        other = open_data("calibration", calibration, False)
        if synthetic and other is not None:
            raise UsageError(
                "synthetic= and calibration= both say what calibrates; give one of them", code="E022"
            )
        if retrain is not None:
            parts = split_for_training(judging, other, self.bounds, self.count, self.seed)
        else:
            parts = split_images(judging, other, self.bounds, self.count, self.seed, synthetic=synthetic)
        opened = [dataset for dataset in (judging, other) if dataset is not None]
        for one in opened:
            for remark in one.remarks if isinstance(one, Samples) else ():
                warnings.warn(remark, stacklevel=4)
        chosen = preprocess or preprocess_of(self.known)
        if chosen is None and (parts.prepares_images or parts.calibration is None):
            chosen = plain_preprocess_of(self.model)
            fed = "fed as they are, 0 to 255" if chosen.divide_by == 1 else "divided by 255 and nothing else"
            warnings.warn(
                f"no preprocessing is known for this model: pixels are {fed}; give preprocess=", stacklevel=3
            )
        return compress_within(
            self.model, self.bounds, parts, chosen or Preprocess(), images=self.count, seed=self.seed,
            retrain=retrain, **how,
        )  # fmt: skip

    def _fit_labels(self, dataset: Dataset | Samples) -> Dataset | Samples:
        """Return the data set with labels that count the model's outputs, or without where they do not and need not."""
        if isinstance(dataset, Samples):
            return dataset
        try:
            fitted, matching = dataset.match_classes(
                labels_of(self.model, self.known), class_count(self.model)
            )
        except DataError:
            if self.bounds.max_drop is not None:
                raise
            return dataset.without_labels()
        for warning in matching.warnings:
            warnings.warn(warning, stacklevel=4)
        return fitted


def _final_score(score: ScoreJudge | None, found: SearchResult) -> JudgeScore | None:
    """Return what the judge gives the outcome, which a search that it does not bound has not asked for."""
    return None if score is None else found.score or score(found.outcome.model)


def _result(
    found: SearchResult, weights: int, calibrated: CalibratedResult | None, score: JudgeScore | None
) -> CompressionResult:
    """Return what a search found; `BudgetError` with it where it keeps no bound."""
    report = Report.of(calibrated, score)
    if calibrated is not None:
        for doubt in filter(None, (*calibrated.calibration.doubts, calibrated.unbounded)):
            warnings.warn(doubt, stacklevel=4)
    result = CompressionResult(
        found.outcome.model, weights, report, found.trials, found.outcome.layers, calibrated
    )
    if not found.fits:
        raise BudgetError(
            f"the bound cannot be met: {found.violation}; the nearest that was found is the error's `result`",
            result=result,
        )
    return result
