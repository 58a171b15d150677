"""What all points of a study share that judge one model on one set of images, read once a process.

The images are decoded once, and kept where they take less than a gigabyte. Where some of them calibrate, no point is
judged on those (`calibration`). Where some choose a setting, others report on it (`ChoosingSplit`).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from enxuto.calibration.answers import kind_of_scores
from enxuto.data import Dataset, Preprocess, open_dataset
from enxuto.enx.ledger import original_sizes
from enxuto.enx.signature import is_enx
from enxuto.errors import DataError
from enxuto.evaluation import predict_batches
from enxuto.metrics import ScoreKind
from enxuto.onnx_model import Model, files
from enxuto.opening import load, load_with_metadata, onnx_metadata, plain_preprocess_of, preprocess_of
from enxuto.runtime import Runner
from enxuto.studies.curve.calibration import CalibrationSplit
from enxuto.study.point import Task

__all__ = [
    "BATCH",
    "ChoosingSplit",
    "FiniteScores",
    "Prepared",
    "facts_of_task",
    "hash_model",
    "prepare",
    "prepare_task",
]

BATCH = 64
"""Images that a model is given at a time."""
_KEPT = 1 << 30  # bytes of preprocessed images

_Labelled = tuple[NDArray[np.float32], NDArray[np.int64]]


@dataclass(frozen=True)
class ChoosingSplit:
    """Some of the images choose a setting, the others report on it. share: of those that choose, 0 < share < 1."""

    part: Literal["choosing", "reporting"]
    share: float = 0.5
    seed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)

    def select(self, data: Dataset) -> Dataset:
        """Return the images of this part, every class spread evenly. Raises `DataError` where there are too few."""
        choosing, reporting = data.split((self.share, 1 - self.share), self.seed)
        return choosing if self.part == "choosing" else reporting


@dataclass(frozen=True)
class Prepared:
    """A model, the images that judge it, how they are fed, the model's scores of them by batch, and what these are."""

    model: Model
    images: Dataset
    preprocess: Preprocess
    reference: Sequence[NDArray[Any]]
    kind: ScoreKind


def prepare_task(task: Task) -> Prepared:
    """What a point needs that is known by its settings: model, data, preprocessing, and which images judge."""
    settings = task.settings
    return prepare(
        task.paths["model"], task.paths["data"], json.dumps(settings["data"]), json.dumps(settings["preprocess"]),
        json.dumps(settings.get("held_out")), json.dumps(settings.get("part")), settings["model_hash"],
        str(task.data_hash), task.threads,
    )  # fmt: skip


@lru_cache(maxsize=1)
def prepare(
    model: str,
    images: str,
    data: str,
    preprocess: str,
    held_out: str,
    part: str,
    model_hash: str,
    data_hash: str,
    threads: int,
) -> Prepared:
    """What all points of a model and data set share, once a process.

    Args:
        model, images: paths.
        data, preprocess: JSON of what `open_dataset` and `Preprocess` are given.
        held_out, part: JSON of the splits that leave out images that calibrate, and those of another part; or null.
        model_hash, data_hash: of what the study began with.
        threads: of ONNX Runtime.

    Raises:
        DataError: files have changed.
    """
    if hash_model(Path(model)) != model_hash:
        raise DataError(
            f"{model} is not the file that this study began with; use another folder for it", code="E080"
        )
    how = Preprocess.from_dict(json.loads(preprocess))
    dataset = _keep_in_memory(
        _judged_images(open_dataset(images, **json.loads(data)), json.loads(held_out), json.loads(part)),
        how,
    )
    loaded = load(model, threads=threads)
    runner = FiniteScores(Runner(loaded, threads=threads))
    reference = [scores for (scores,), _ in predict_batches([runner.scores], dataset, how, BATCH)]
    if dataset.hash != data_hash:
        raise DataError(
            f"{images} does not hold the images that this study began with; use another folder for it",
            code="E080",
        )
    kind = kind_of_scores(loaded, np.concatenate([part.reshape(len(part), -1) for part in reference]))
    return Prepared(loaded, dataset, how, reference, kind)


def _judged_images(
    dataset: Dataset, held_out: Mapping[str, Any] | None, part: Mapping[str, Any] | None
) -> Dataset:
    """The images that points are judged on: those that do not calibrate, and of these perhaps a part."""
    if held_out is not None:
        dataset = CalibrationSplit(**held_out).split(dataset, None).held_out or dataset
    return dataset if part is None else ChoosingSplit(**part).select(dataset)


def _keep_in_memory(dataset: Dataset, preprocess: Preprocess) -> Dataset:
    """The data set with its batches in memory, or as it is where they are too large."""
    with closing(dataset.batches(1, preprocess)) as batches:
        size = next(batches)[0].nbytes
    return (
        dataset
        if size * len(dataset) > _KEPT
        else _InMemory(dataset, list(dataset.batches(BATCH, preprocess)))
    )


class _InMemory(Dataset):
    """A data set whose batches stay in memory: every point meets the same ones."""

    def __init__(self, dataset: Dataset, batches: Sequence[_Labelled]) -> None:
        vars(self).update(vars(dataset))
        self._kept = batches

    def batches(self, batch_size: int, preprocess: Preprocess) -> Generator[_Labelled, None, None]:
        """Yield the kept batches, whatever size is asked for."""
        yield from self._kept


class FiniteScores:
    """Scores of a model; those of an image with NaN among them are all equal, as coarse steps may break a network."""

    def __init__(self, runner: Runner) -> None:
        """runner: of the model. `broken` counts the images whose scores were not finite."""
        self._runner = runner
        self.broken = 0

    def scores(self, batch: NDArray[np.float32]) -> NDArray[Any]:
        """Return the scores of a batch, all finite."""
        scores = np.array(self._runner.scores(batch))
        wrong = ~np.isfinite(scores.reshape(len(scores), -1)).all(axis=1)
        # Of logits as of probabilities: all classes alike.
        scores[wrong] = 1 / max(1, math.prod(scores.shape[1:]))
        self.broken += int(wrong.sum())
        return scores


def facts_of_task(task: Task) -> dict[str, Any]:
    """Return the metadata that `enxuto compress` gives the file that it makes of a point's model."""
    settings = task.settings
    return dict(
        _facts_of_file(task.paths["model"], settings["model_hash"], json.dumps(settings["preprocess"]))
    )


@lru_cache(maxsize=8)
def _facts_of_file(path: str, model_hash: str, preprocess: str) -> dict[str, Any]:
    """The same for a model at a path, with the hash of its bytes; measuring xz takes a while.

    preprocess: JSON of that of the images, null for arrays that have none. One that is known nowhere, and assumed to be
    division by 255, is told by no file; one that the user asked for in these very words cannot be told from it.
    """
    model, metadata = load_with_metadata(path)
    known, facts = json.loads(preprocess), dict(onnx_metadata(model))
    how = None if known is None else Preprocess.from_dict(known)
    if how is not None and (preprocess_of(metadata) is not None or how != plain_preprocess_of(model)):
        facts["preprocess"] = how.to_dict()
    return facts if is_enx(path) else facts | {"original": original_sizes(path)}


def hash_model(model: Path) -> str:
    """Sixteen hex digits of a model's bytes, those of its external data included."""
    digest = hashlib.sha256()
    for place in [model] if is_enx(model) else files(model):
        with place.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]
