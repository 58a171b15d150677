"""What calibrated points of a curve share: images that calibrate and are not judged, and the calibration itself.

A calibration is a point of its own, which the calibrated points come after: it is measured once and lies in its folder,
where they find it. Where that folder is not at hand each process measures it again.

Images come from a data set of their own (labels unused), or are dealt from the one that judges; then no point of the
study is judged on them, calibrated or not.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from enxuto.calibration.cache import cached_calibration
from enxuto.calibration.calibrate import calibrate
from enxuto.calibration.calibration import Calibration
from enxuto.compression.judge import Bounds
from enxuto.compression.split import ImageSplit, load_images, split_images
from enxuto.data import Dataset, Preprocess, open_dataset
from enxuto.data.samples import Samples
from enxuto.errors import DataError
from enxuto.opening import load
from enxuto.study.point import Task

__all__ = ["CalibrationSplit", "calibrate_point", "load_calibration"]


@dataclass(frozen=True)
class CalibrationSplit:
    """Which images calibrate. own: whether they come from another data set than the one that judges.

    images: how many; a data set that also judges gives a third of its images at most.
    """

    images: int = 256
    seed: int = 0
    own: bool = False

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)

    def split(self, data: Dataset | Samples, calibration_data: Dataset | Samples | None) -> ImageSplit:
        """Split images into those that calibrate and those that judge (`reporting`).

        Args:
            data: the images that judge, and those that calibrate unless `own`.
            calibration_data: the images that calibrate where `own`.

        Raises:
            DataError: there are too few images.
        """
        return split_images(
            data, calibration_data if self.own else None, Bounds(max_bytes=1), self.images, self.seed
        )


def calibrate_point(task: Task) -> dict[str, Any]:
    """Measure the calibration of a model and keep it in the point's folder; what it was measured on.

    Raises `DataError` where the images are others than those that the point is known by.
    """
    calibration = _calibration_in(task, task.settings["calibration"], str(task.data_hash), task.folder)
    return {
        "images": len(calibration.images), "data": calibration.source, "hash": task.data_hash, "seed": calibration.seed,
        "layers": len(calibration.layers), "reason": calibration.reason,
    }  # fmt: skip


def load_calibration(task: Task) -> Calibration:
    """The calibration that a calibrated point comes after."""
    (before,) = task.predecessors
    return _calibration_in(
        task, task.settings["compress"]["calibration"], str(before.values["hash"]), before.folder
    )


def _calibration_in(task: Task, split: Mapping[str, Any], data_hash: str, folder: Path) -> Calibration:
    return _calibrate_once(
        task.paths["model"], task.paths["data"], task.paths.get("calibration"), json.dumps(task.settings["data"]),
        json.dumps(task.settings["preprocess"]), json.dumps(split), data_hash, folder, task.threads,
    )  # fmt: skip


@lru_cache(maxsize=1)
def _calibrate_once(
    model: str,
    data: str,
    calibration_data: str | None,
    data_json: str,
    preprocess_json: str,
    split_json: str,
    data_hash: str,
    folder: Path,
    threads: int,
) -> Calibration:
    """Read the calibration from the folder, once a process; measure it and write it there if it is missing.

    Files hold rounded numbers. A new calibration is read back, so that all processes use the same numbers.
    """
    split = CalibrationSplit(**json.loads(split_json))
    images = split.split(
        open_dataset(data, **json.loads(data_json)),
        None if calibration_data is None else open_dataset(calibration_data, require_labels=False),
    ).calibration
    if images is None or images.hash != data_hash:
        raise DataError(
            f"{calibration_data or data} does not hold the images that this study was calibrated on; "
            "use another folder for it",
            code="E080",
        )
    loaded, pictures = (
        load(model, threads=threads),
        load_images(images, Preprocess.from_dict(json.loads(preprocess_json))),
    )
    source = f"{images.hash} of {Path(images.path).name}"

    def measure() -> Calibration:
        return calibrate(loaded, pictures, source=source, seed=split.seed, threads=threads)

    def cache(make: Callable[[], Calibration]) -> Calibration:
        return cached_calibration(
            loaded, pictures, make, source=source, seed=split.seed, threads=threads, folder=folder
        )

    first = cache(measure)
    return cache(lambda: first)
