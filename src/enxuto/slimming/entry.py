"""`enxuto.slim`: prune, refit, perhaps distil, calibrate, quantize and code, within one bound; measured at the end."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from enxuto.compression.arguments import (
    DataLike,
    PreprocessLike,
    check_count,
    check_number,
    to_dataset,
    to_preprocess,
)
from enxuto.compression.judge import Bounds
from enxuto.compression.search import Trial
from enxuto.compression.split import ImageSplit, load_images, split_images
from enxuto.data import Dataset, Preprocess
from enxuto.errors import BudgetError, DataError, ModelError, UsageError, import_optional
from enxuto.files import to_path
from enxuto.machine.processors import processors
from enxuto.onnx_model import Model, fix_sizes, takes_channels_last
from enxuto.opening import (
    class_count,
    labels_of,
    load_with_metadata,
    onnx_metadata,
    plain_preprocess_of,
    preprocess_of,
)
from enxuto.progress import Progress, offers_bar
from enxuto.slimming.aims import Aim, parse_aim
from enxuto.slimming.result import SlimResult, Tried

__all__ = ["SlimWork", "open_model", "slim", "slim_bounds"]

_VECTOR = 4  # filters that processors compute at once, at the least
_BLOCK = 8  # that ONNX Runtime computes at once with AVX2


@offers_bar
def slim(
    model: str | PathLike[str] | Model,
    *,
    data: DataLike,
    calibration: DataLike | None = None,
    preprocess: PreprocessLike | None = None,
    max_drop: float | None = None,
    min_agreement: float | None = None,
    max_kl: float | None = None,
    macs: float | str | None = None,
    target_latency: float | str | None = None,
    minutes: float | None = None,
    multiple: int | None = None,
    images: int = 512,
    folder: str | PathLike[str] = "slim",
    seed: int = 0,
    threads: int = 0,
    progress: Progress | bool | None = None,
) -> SlimResult:
    """Prune and compress a classifier of images within one bound on what it loses. Needs PyTorch.

    >>> import enxuto
    >>> small = enxuto.slim("model.onnx", data="photos/", max_drop=1)      # doctest: +SKIP
    >>> small.save("model.enx"), small.rows                                # doctest: +SKIP

    Args:
        model: path of an ONNX or `.enx` file, or a `Model`.
        data: images that judge and that the result is measured on, in the forms that `enxuto.compress` takes; without
            `calibration` a third at most calibrates. Only `max_drop` needs labels.
        calibration: images that refit, calibrate and teach; their labels are not used.
        preprocess: how images become the model's input; by default the model's own.
        max_drop, min_agreement, max_kl: the bound, as in `enxuto.compress`; pruning and rounding share it.
        macs: the share of the multiplications to be left, such as 0.5 or "50%".
        target_latency: the share of the latency to be left. Without either the smallest file is searched.
        minutes: how long each pruned network may learn the original's answers; by default nothing is trained.
        multiple: layers keep a multiple of so many filters, as far as they had: processors compute 4 to 16 at once,
            and 11 filters are no faster than 12 or 16. By default 4, and 8 with `target_latency`.
        images: how many images refit and calibrate.
        folder: where pruned networks are kept, so that an interrupted call goes on.
        seed: of all draws.
        threads: 0 takes one per processor.
        progress: True shows a bar on stderr; a function is called with (stage, done, total).

    Returns:
        A `SlimResult`: `save(path)`, `model`, `pruned`, `rows`, `tried`.

    Raises:
        UsageError: arguments have wrong types or contradict each other, or PyTorch is missing.
        ModelError: the model cannot be read, has no module, or is no classifier of images.
        DataError: images cannot be read, do not fit the model, or are too few.
        BudgetError: nothing found keeps the bound; `error.result` is the nearest.
    """
    assert not isinstance(progress, bool), "`offers_bar` has taken it"
    opened, metadata = open_model(model)
    bounds = slim_bounds(
        check_number("max_drop", max_drop),
        check_number("min_agreement", min_agreement),
        check_number("max_kl", max_kl),
    )
    work = SlimWork(
        opened, metadata, bounds, parse_aim(macs, target_latency), check_number("minutes", minutes),
        check_count("images", images, 2), to_path(folder, "folder= is a folder: a path"),
        check_count("seed", seed), check_count("threads", threads), progress,
        multiple=None if multiple is None else check_count("multiple", multiple, 1),
        name="model" if isinstance(model, Model) else Path(model).stem,
    )  # fmt: skip
    judging = to_dataset("data", data, labelled=max_drop is not None, seed=work.seed)
    other = (
        None
        if calibration is None
        else to_dataset("calibration", calibration, labelled=False, seed=work.seed)
    )
    result = work.run(_fit_labels(judging, opened, metadata, bounds), other, to_preprocess(preprocess))
    if result.violation is not None:
        raise BudgetError(
            f"the bound cannot be met: {result.violation}; the nearest that was found is the error's `result`",
            result=result,
        )
    return result


def slim_bounds(max_drop: float | None, min_agreement: float | None, max_kl: float | None) -> Bounds:
    """Return what bounds a slimming. Raises `UsageError` where nothing does."""
    if max_drop is None and min_agreement is None and max_kl is None:
        raise UsageError("slimming needs a bound: max_drop=, min_agreement= or max_kl=", code="E023")
    return Bounds(max_drop, min_agreement, max_kl)


def open_model(model: str | PathLike[str] | Model) -> tuple[Model, dict[str, Any]]:
    """Return a model and what is known of it."""
    if isinstance(model, Model):
        return model, onnx_metadata(model)
    if not isinstance(model, (str, PathLike)):
        raise UsageError(f"model= takes a path or an enxuto.Model, not {type(model).__name__}")
    return load_with_metadata(to_path(model, "the path of a model"))


def _fit_labels(data: Dataset, model: Model, metadata: dict[str, Any], bounds: Bounds) -> Dataset:
    """The data set with labels that count the model's outputs, or without where they do not and need not."""
    if not data.labelled:
        return data
    try:
        fitted, matching = data.match_classes(labels_of(model, metadata), class_count(model))
    except DataError:
        if bounds.max_drop is not None:
            raise
        return data.without_labels()
    for warning in matching.warnings:
        warnings.warn(warning, stacklevel=4)
    return fitted


@dataclass(frozen=True)
class SlimWork:
    """What is asked for, and the model; `run` does it with images."""

    model: Model
    metadata: Mapping[str, Any]
    bounds: Bounds
    aim: Aim
    minutes: float | None
    images: int
    folder: Path
    seed: int = 0
    threads: int = 0
    progress: Progress | None = None
    on_candidate: Callable[[Tried], None] | None = None
    on_trial: Callable[[Trial], None] | None = None
    multiple: int | None = None
    name: str = "model"

    def __post_init__(self) -> None:
        if self.minutes is not None and not self.minutes > 0:
            raise UsageError(f"minutes= is a positive number, not {self.minutes:g}")

    @property
    def _widths(self) -> int:
        """What the filters of layers are multiples of: for speed, what a runtime's blocks are."""
        return self.multiple or (_BLOCK if self.aim.latency is not None else _VECTOR)

    def run(self, data: Dataset, calibration: Dataset | None, preprocess: Preprocess | None) -> SlimResult:
        """Split the images, search, measure.

        data: with labels that count the model's outputs, or without. preprocess: None for the model's own.
        """
        import_optional("torch", "slimming", "PyTorch", "train")
        import_optional("onnxscript", "slimming", "onnxscript", "train")
        chosen = self._choose(preprocess)
        parts = split_images(data, calibration, self.bounds, self.images, self.seed)
        images = load_images(parts.calibration, chosen)
        return replace(self, model=self._of_one_size(images))._search(parts, calibration, chosen, images)

    def _search(
        self,
        parts: ImageSplit,
        calibration: Dataset | None,
        chosen: Preprocess,
        images: npt.NDArray[np.float32],
    ) -> SlimResult:
        from enxuto.compression.judge import Judge
        from enxuto.slimming.measuring import measure_rows
        from enxuto.slimming.search import SlimSearch

        metadata = {**self.metadata, "preprocess": chosen.to_dict()}
        work = self._work(parts, calibration, chosen, images)
        search = SlimSearch(
            work, self.bounds, parts, chosen, metadata, self.seed, self.threads, None, self.progress,
            self.on_candidate, self.on_trial,
        )  # fmt: skip
        best, tried, remarks = search.run(self.aim)
        remarks += work.notes
        if self.progress is not None:
            self.progress("measuring", 0, 1)
        judge = Judge(self.model, parts.held_out, chosen, threads=self.threads)
        size = int(dict(metadata.get("original", {})).get("bytes", len(self.model.to_bytes())))
        rows = measure_rows(
            [("original", self.model, size), ("pruned", best.pruned, len(best.pruned.to_bytes())),
             (".enx", best.file.to_model(threads=self.threads), best.file.file_bytes)],
            judge, threads=1,
        )  # fmt: skip
        answers = rows[-1].answers
        missed = None
        if best.tried.violation is None and answers is not None:
            missed = self.bounds.violation(answers)
        if best.pruned is self.model:
            remarks.append(
                "nothing was pruned: the smallest file is that of the whole network; for a faster one name the share "
                "of the multiplications or of the latency to be left"
            )
        elif rows[-1].latency.high >= 1:
            remarks.append("the pruned network is not measurably faster than the original on this machine")
        if self.aim.latency is not None and rows[-1].latency.low > self.aim.latency:
            remarks.append(
                f"the file takes {100 * rows[-1].latency.value:.3g} % of the latency, more than the "
                f"{100 * self.aim.latency:.3g} % asked for"
            )
        facts = {
            "model": self.name, "bounds": {key: value for key, value in vars(self.bounds).items() if value is not None},
            "aim": vars(self.aim), "minutes": self.minutes, "multiple": self._widths, "seed": self.seed,
            "samples": {"calibration": len(parts.calibration), "judging": len(parts.judging),
                        "reporting": len(parts.held_out)},
            "data": {"calibration": parts.calibration.hash, "judging": parts.judging.hash,
                     "reporting": parts.held_out.hash},
        }  # fmt: skip
        return SlimResult(
            best.file, best.pruned, rows, tried, best.tried.violation, missed, facts, remarks, best.calibrated
        )

    def _of_one_size(self, images: npt.NDArray[np.float32]) -> Model:
        """The model for images of this size, with a warning where it takes others too."""
        fixed = fix_sizes(self.model, images.shape[1:])
        if fixed is not self.model:
            size = "×".join(map(str, images.shape[2:]))
            warnings.warn(
                f"{self.name} takes images of any size; what is made of it takes those of {size} only",
                stacklevel=4,
            )
        return fixed

    def _work(
        self,
        parts: ImageSplit,
        calibration: Dataset | None,
        preprocess: Preprocess,
        loaded: npt.NDArray[np.float32],
    ) -> Any:
        import torch

        from enxuto.slimming.networks import PruningWork, training_data
        from enxuto.studies.pruning import StartingNetwork

        threads = self.threads or processors()
        torch.set_num_threads(threads)
        start = StartingNetwork.of_model(self.model, self.metadata, self.name)
        last = takes_channels_last(self.model)
        shape = start.architecture.input_shape
        taken = (*shape[1:], shape[0]) if last else shape
        if loaded.shape[1:] != taken:
            raise DataError(
                f"images are {loaded.shape[1:]} after preprocessing, the model takes {taken}; say how they are "
                "prepared",
                code="E044",
            )
        images = torch.from_numpy(np.ascontiguousarray(loaded.transpose(0, 3, 1, 2)) if last else loaded)
        learning = None
        with torch.no_grad():
            classes = start.network(images[:1]).shape[1]
        if classes < 2:
            raise ModelError(
                f"{self.name} gives one number, no scores of classes; slim takes classifiers", code="E035"
            )
        if self.minutes is not None:
            source = parts.calibration if calibration is None else calibration
            learning = training_data(source, preprocess, classes, load_images)
        return PruningWork(
            start, self.model, images, parts.calibration.hash, self.folder, learning, self.minutes, self.seed, threads,
            self._widths, self.progress,
        )  # fmt: skip

    def _choose(self, preprocess: Preprocess | None) -> Preprocess:
        chosen = preprocess or preprocess_of(dict(self.metadata))
        if chosen is not None:
            return chosen
        plain = plain_preprocess_of(self.model)
        fed = "fed as they are, 0 to 255" if plain.divide_by == 1 else "divided by 255 and nothing else"
        warnings.warn(
            f"no preprocessing is known for this model: pixels are {fed}; give preprocess=", stacklevel=4
        )
        return replace(plain)
