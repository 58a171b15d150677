"""Rate against every metric: a model compressed in many ways, each decoded and evaluated, as points of a study.

Rates: the order-0 entropy of all levels in bits per weight (the source's measure; of one histogram where one quantizer
serves the whole network, else of one a tensor), and the bytes of the file. Distortion: top-1, top-5, macro precision,
recall and F1, MRR, agreement with the original and divergence from it.

The images are decoded once a process, and kept where they take less than a gigabyte. Where some of them calibrate, no
point is judged on those (`calibration`).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from enxuto._version import __version__
from enxuto.calibration.answers import kind_of_scores
from enxuto.codec import entropy
from enxuto.data import Dataset, Preprocess, open_dataset
from enxuto.enx.file import CompressedModel
from enxuto.enx.learned import parameters
from enxuto.enx.signature import is_enx
from enxuto.enx.table import LevelsRow
from enxuto.errors import DataError
from enxuto.evaluation import Evaluation, evaluate, predict_batches
from enxuto.metrics import ScoreKind, wilson_interval
from enxuto.onnx_model import Model, files
from enxuto.opening import load
from enxuto.runtime import Runner
from enxuto.studies.curve.calibration import CalibrationSplit, load_calibration
from enxuto.studies.curve.modes import ModeInput, compress_by_mode
from enxuto.studies.kinds import CURVE_CALIBRATE, CURVE_MEASURE, make_point
from enxuto.study.identity import content_hash
from enxuto.study.point import Point, Task

__all__ = [
    "ORIGINAL",
    "Subject",
    "entropy_bits",
    "hash_model",
    "measure_point",
    "measure_rate",
    "points",
    "resolve",
]

ORIGINAL: dict[str, Any] = {"mode": "original", "method": "original", "i": 32}
_CODE = f"enxuto {__version__}, curve 2"
_KEPT = 1 << 30  # bytes of preprocessed images
_BATCH = 64

_Labelled = tuple[NDArray[np.float32], NDArray[np.int64]]


@dataclass(frozen=True)
class Subject:
    """A model and the images it is measured on.

    Attributes:
        name: of the model, for people.
        model, images: paths; `images` may be the name of a published set.
        data: what `open_dataset` is given besides the path.
        preprocess: of the images.
        model_hash, data_hash: of the model's bytes, and of the images that judge.
        calibration_split: which images calibrate, None for no calibrated points.
        calibration, calibration_hash: path and hash of their own data set; the path is None where they are of `images`.
        labels: names of the classes, which may decide which output an image is of.
    """

    name: str
    model: Path
    images: str
    data: Mapping[str, Any]
    preprocess: Preprocess
    model_hash: str
    data_hash: str
    calibration_split: CalibrationSplit | None = None
    calibration: str | None = None
    calibration_hash: str | None = None
    labels: tuple[str, ...] | None = None

    @classmethod
    def open(
        cls,
        name: str,
        model: Path,
        images: str,
        data: Mapping[str, Any],
        preprocess: Preprocess,
        calibration_split: CalibrationSplit | None = None,
        calibration: str | None = None,
    ) -> Subject:
        """Open the model and the images, and hash them. Raises `DataError` and `ModelError` for what cannot be read."""
        dataset = open_dataset(images, **data)
        known = (name, model.resolve(), resolve(images), dict(data), preprocess, hash_model(model))
        labels = None if dataset.classes is None else tuple(map(str, dataset.classes))
        if calibration_split is None:
            return cls(*known, dataset.hash, labels=labels)
        parts = calibration_split.split(
            dataset, None if calibration is None else open_dataset(calibration, require_labels=False)
        )
        if parts.calibration is None or parts.held_out is None:
            raise DataError(f"{images}: no images to calibrate by and to judge by", code="E043")
        other = None if calibration is None else resolve(calibration)
        return cls(*known, parts.held_out.hash, calibration_split, other, parts.calibration.hash, labels)


def points(subject: Subject, settings: Iterable[Mapping[str, Any]]) -> list[Point]:
    """A point for the original, then one for each setting; those that are calibrated come after the calibration's."""
    shared: dict[str, Any] = {
        "model_hash": subject.model_hash,
        "labels": None if subject.labels is None else content_hash({"labels": subject.labels}),
        "preprocess": subject.preprocess.to_dict(),
        "data": dict(subject.data),
    }
    # What the model is called is no part of what a point is: renamed it is the same.
    paths = {"model": str(subject.model), "data": subject.images, "name": subject.name}
    if subject.calibration is not None:
        paths["calibration"] = subject.calibration
    before: list[Point] = []
    if subject.calibration_split is not None:
        chosen = subject.calibration_split.to_dict()
        before = [
            make_point(CURVE_CALIBRATE, {**shared, "calibration": chosen}, subject.calibration_split.seed,
                       subject.calibration_hash, code=_CODE, paths=paths)
        ]  # fmt: skip
        if not subject.calibration_split.own:
            shared["held_out"] = chosen
    return [
        make_point(CURVE_MEASURE, {**shared, "compress": one}, subject.data.get("seed", 0), subject.data_hash,
                   before if one["mode"] == "calibrated" else (), code=_CODE, paths=paths)
        for one in (ORIGINAL, *settings)
    ]  # fmt: skip


def measure_point(task: Task) -> dict[str, Any]:
    """Compress, decode, evaluate: the values of one point, shares 0…1."""
    settings = task.settings
    prepared = _prepare(
        task.paths["model"], task.paths["data"], json.dumps(settings["data"]), json.dumps(settings["preprocess"]),
        json.dumps(settings.get("held_out")), settings["model_hash"], str(task.data_hash), task.threads,
    )  # fmt: skip
    source = ModeInput(prepared.model, task.threads, lambda: load_calibration(task))
    compressed = compress_by_mode(settings["compress"], source)
    decoded = Runner(compressed.to_model(threads=task.threads), threads=task.threads)
    finite = _FiniteScores(decoded)
    reference = iter(prepared.reference)
    result = evaluate(
        finite.scores, prepared.images, preprocess=prepared.preprocess, batch_size=_BATCH,
        reference=lambda batch: next(reference),  # `evaluate` asks once a batch, in order
        scores_are=prepared.kind, reference_are=prepared.kind,
    )  # fmt: skip
    return {
        "model": task.paths["name"],
        **measure_rate(prepared.model, compressed),
        "broken": finite.broken,
        **_metrics(result),
        **({"calibrated": compressed.metadata["calibrated"]} if "calibrated" in compressed.metadata else {}),
    }


def measure_rate(model: Model, compressed: CompressedModel) -> dict[str, Any]:
    """Return the rates of a compressed model, as the values of its point.

    The entropy is of the levels, in bits each; where no weight is quantized, of the original's distinct values.
    """
    weights = parameters(model)
    bound, quantized = entropy_bits(compressed)
    return {
        "weights": weights,
        "quantized": quantized,
        "entropy_bits": bound if quantized else _original_entropy(model),
        "file_bytes": compressed.file_bytes,
        "file_bits": 8 * compressed.file_bytes / max(1, weights),
    }


def entropy_bits(compressed: CompressedModel) -> tuple[float, int]:
    """Entropy in bits per level, and how many levels there are: one histogram for one quantizer, else one a tensor."""
    tensors = [
        tensor
        for payload in compressed.payloads
        if isinstance(payload.row, LevelsRow)
        for tensor in payload.levels().values()
    ]
    count = sum(tensor.levels.size for tensor in tensors)
    if not count:
        return 0.0, 0
    if len({tensor.quantizer for tensor in tensors}) == 1:
        return float(entropy(np.concatenate([tensor.levels.reshape(-1) for tensor in tensors]))), count
    return sum(float(entropy(tensor.levels)) * tensor.levels.size for tensor in tensors) / count, count


def _original_entropy(model: Model) -> float:
    """Entropy of the distinct float32 values of all learned weights, in bits per weight."""
    values = [
        np.asarray(model.load(i.name), np.float32).reshape(-1) for i in model.infos() if i.role != "other"
    ]
    counts = np.unique(np.concatenate(values), return_counts=True)[1].astype(np.float64)
    shares = counts / counts.sum()
    return float(-np.sum(shares * np.log2(shares)))


def _metrics(result: Evaluation) -> dict[str, Any]:
    """The measures of an evaluation by short names; 95 % intervals (Wilson) of those that are shares of images."""
    found = result.metrics
    values: dict[str, Any] = {"top1": result.top1, "top1_interval": list(result.top1_interval)}
    if result.classes > 5:
        values["top5"] = found["top"]["5"]
        values["top5_interval"] = list(
            wilson_interval(round(found["top"]["5"] * result.samples), result.samples)
        )
    for name in ("macro_precision", "macro_recall", "macro_f1", "mrr"):
        values[name] = found[name]
    return {
        **values, "lost": result.lost, "lost_interval": list(result.lost_interval or (0.0, 0.0)),
        "agreement": result.agreement, "kl": result.kl, "scores_are": result.scores_are, "samples": result.samples,
        "classes": result.classes, "seed": result.seed,
    }  # fmt: skip


@dataclass(frozen=True)
class _Prepared:
    model: Model
    images: Dataset
    preprocess: Preprocess
    reference: Sequence[NDArray[Any]]
    kind: ScoreKind


@lru_cache(maxsize=1)
def _prepare(
    model: str,
    images: str,
    data: str,
    preprocess: str,
    held_out: str,
    model_hash: str,
    data_hash: str,
    threads: int,
) -> _Prepared:
    """What all points of a model and data set share, once a process. Raises `DataError` where files have changed."""
    if hash_model(Path(model)) != model_hash:
        raise DataError(
            f"{model} is not the file that this study began with; use another folder for it", code="E080"
        )
    how = Preprocess.from_dict(json.loads(preprocess))
    dataset = _keep_in_memory(
        _judged_images(open_dataset(images, **json.loads(data)), json.loads(held_out)), how
    )
    loaded = load(model, threads=threads)
    runner = _FiniteScores(Runner(loaded, threads=threads))
    reference = [scores for (scores,), _ in predict_batches([runner.scores], dataset, how, _BATCH)]
    if dataset.hash != data_hash:
        raise DataError(
            f"{images} does not hold the images that this study began with; use another folder for it",
            code="E080",
        )
    kind = kind_of_scores(loaded, np.concatenate([part.reshape(len(part), -1) for part in reference]))
    return _Prepared(loaded, dataset, how, reference, kind)


def _judged_images(dataset: Dataset, held_out: Mapping[str, Any] | None) -> Dataset:
    """The images that points are judged on: those that do not calibrate."""
    if held_out is None:
        return dataset
    return CalibrationSplit(**held_out).split(dataset, None).held_out or dataset


def resolve(path: str) -> str:
    """A path that any process finds; the name of a published set as it is."""
    return str(Path(path).resolve()) if Path(path).exists() else path


def _keep_in_memory(dataset: Dataset, preprocess: Preprocess) -> Dataset:
    """The data set with its batches in memory, or as it is where they are too large."""
    with closing(dataset.batches(1, preprocess)) as batches:
        size = next(batches)[0].nbytes
    return (
        dataset
        if size * len(dataset) > _KEPT
        else _InMemory(dataset, list(dataset.batches(_BATCH, preprocess)))
    )


class _InMemory(Dataset):
    """A data set whose batches stay in memory: every point meets the same ones."""

    def __init__(self, dataset: Dataset, batches: Sequence[_Labelled]) -> None:
        vars(self).update(vars(dataset))
        self._kept = batches

    def batches(self, batch_size: int, preprocess: Preprocess) -> Generator[_Labelled, None, None]:
        """Yield the kept batches, whatever size is asked for."""
        yield from self._kept


class _FiniteScores:
    """Scores of a model; those of an image with NaN among them are all equal, as coarse steps may break a network."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self.broken = 0

    def scores(self, batch: NDArray[np.float32]) -> NDArray[Any]:
        scores = np.array(self._runner.scores(batch))
        wrong = ~np.isfinite(scores.reshape(len(scores), -1)).all(axis=1)
        # Of logits as of probabilities: all classes alike.
        scores[wrong] = 1 / max(1, math.prod(scores.shape[1:]))
        self.broken += int(wrong.sum())
        return scores


def hash_model(model: Path) -> str:
    """Sixteen hex digits of a model's bytes, those of its external data included."""
    digest = hashlib.sha256()
    for place in [model] if is_enx(model) else files(model):
        with place.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]
