"""Rate against every metric: a model compressed in many ways, each decoded and evaluated, as points of a study.

Rates: the order-0 entropy of all levels in bits per weight (the source's measure; of one histogram where one quantizer
serves the whole network, else of one a tensor), and the bytes of the file. Distortion: top-1, top-5, macro precision,
recall and F1, MRR, agreement with the original and divergence from it.

Images are read once a process (`prepared`). Where some of them calibrate, no point is judged on those (`calibration`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from enxuto._version import __version__
from enxuto.codec import entropy
from enxuto.data import Preprocess, open_dataset
from enxuto.enx.file import CompressedModel
from enxuto.enx.learned import parameters
from enxuto.enx.table import LevelsRow
from enxuto.errors import DataError
from enxuto.evaluation import Evaluation, evaluate
from enxuto.metrics import wilson_interval
from enxuto.onnx_model import Model, Role
from enxuto.runtime import Runner
from enxuto.studies.curve.calibration import CalibrationSplit, load_calibration
from enxuto.studies.curve.modes import ModeInput, compress_by_mode
from enxuto.studies.curve.prepared import (
    BATCH,
    FiniteScores,
    Prepared,
    facts_of_task,
    hash_model,
    prepare_task,
)
from enxuto.studies.kinds import CURVE_CALIBRATE, CURVE_MEASURE, make_point
from enxuto.study.identity import content_hash
from enxuto.study.point import Point, Task

__all__ = [
    "ORIGINAL",
    "Subject",
    "entropy_bits",
    "exact_tensors",
    "judge",
    "measure_point",
    "measure_rate",
    "original_entropy",
    "points",
    "resolve",
]

ORIGINAL: dict[str, Any] = {"mode": "original", "method": "original", "i": 32}
_CODE = f"enxuto {__version__}, curve 2"


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


def points(
    subject: Subject,
    settings: Iterable[Mapping[str, Any]],
    *,
    kind: str = CURVE_MEASURE,
    code: str = _CODE,
    further: Mapping[str, Any] | None = None,
    paths: Mapping[str, str] | None = None,
) -> list[Point]:
    """A point for the original, then one for each setting; those that are calibrated come after the calibration's.

    Args:
        subject: what is measured.
        settings: how it is compressed.
        kind, code: of the points, another study's where one says so.
        further: settings that determine its points too.
        paths: that their functions need besides.
    """
    shared: dict[str, Any] = {
        "model_hash": subject.model_hash,
        "labels": None if subject.labels is None else content_hash({"labels": subject.labels}),
        "preprocess": subject.preprocess.to_dict(),
        "data": dict(subject.data),
    }
    # What the model is called is no part of what a point is: renamed it is the same.
    places = {"model": str(subject.model), "data": subject.images, "name": subject.name, **(paths or {})}
    if subject.calibration is not None:
        places["calibration"] = subject.calibration
    before: list[Point] = []
    if subject.calibration_split is not None:
        chosen = subject.calibration_split.to_dict()
        before = [
            make_point(CURVE_CALIBRATE, {**shared, "calibration": chosen}, subject.calibration_split.seed,
                       subject.calibration_hash, code=code, paths=places)
        ]  # fmt: skip
        if not subject.calibration_split.own:
            shared["held_out"] = chosen
    shared |= further or {}
    return [
        make_point(kind, {**shared, "compress": one}, subject.data.get("seed", 0), subject.data_hash,
                   before if one["mode"] == "calibrated" else (), code=code, paths=places)
        for one in (ORIGINAL, *settings)
    ]  # fmt: skip


def measure_point(task: Task) -> dict[str, Any]:
    """Compress, decode, evaluate: the values of one point, shares 0…1."""
    prepared = prepare_task(task)
    mode = task.settings["compress"]["mode"]
    source = ModeInput(prepared.model, task.threads, lambda: load_calibration(task), facts_of_task(task))
    compressed = compress_by_mode(task.settings["compress"], source)
    return {
        "model": task.paths["name"],
        **measure_rate(prepared.model, compressed),
        **({"exact": exact_tensors(prepared.model, compressed)} if mode == "grid" else {}),
        **judge(prepared, compressed.to_model(threads=task.threads), task.threads)[0],
        **({"calibrated": compressed.metadata["calibrated"]} if "calibrated" in compressed.metadata else {}),
    }


def judge(prepared: Prepared, model: Model, threads: int) -> tuple[dict[str, Any], Evaluation]:
    """Evaluate a decoded model on the images beside the original: the values of its point, shares 0…1, and all."""
    finite = FiniteScores(Runner(model, threads=threads))
    reference = iter(prepared.reference)
    result = evaluate(
        finite.scores, prepared.images, preprocess=prepared.preprocess, batch_size=BATCH,
        reference=lambda batch: next(reference),  # `evaluate` asks once a batch, in order
        scores_are=prepared.kind, reference_are=prepared.kind,
    )  # fmt: skip
    return {"broken": finite.broken, **_metrics(result)}, result


def measure_rate(model: Model, compressed: CompressedModel) -> dict[str, Any]:
    """Return the rates of a compressed model, as the values of its point.

    The entropy is of the levels, in bits each; where no weight is quantized, of the original's distinct values.
    """
    weights = parameters(model)
    bound, quantized = entropy_bits(compressed)
    return {
        "weights": weights,
        "quantized": quantized,
        "entropy_bits": bound if quantized else original_entropy(model),
        "file_bytes": compressed.file_bytes,
        "file_bits": 8 * compressed.file_bytes / max(1, weights),
    }


def exact_tensors(model: Model, compressed: CompressedModel) -> dict[str, Any]:
    """Return the learned tensors of a model that have no levels in its file: their names, and how many weights."""
    coded = {
        entry.name
        for payload in compressed.payloads
        if isinstance(payload.row, LevelsRow)
        for entry in payload.row.tensors
    }
    exact = [info for info in model.infos() if info.role is not Role.OTHER and info.name not in coded]
    return {"weights": sum(info.elements for info in exact), "names": [info.name for info in exact]}


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


def original_entropy(model: Model) -> float:
    """Return the entropy of the distinct float32 values of all learned weights, in bits per weight."""
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


def resolve(path: str) -> str:
    """A path that any process finds; the name of a published set as it is."""
    return str(Path(path).resolve()) if Path(path).exists() else path
