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
from enxuto.calibration.calibrate import Calibration, calibrate
from enxuto.compression.calibrated import Parts, deal, pictures_of
from enxuto.compression.search import Bounds
from enxuto.data import Dataset, Preprocess, open_dataset
from enxuto.errors import DataError
from enxuto.opening import load
from enxuto.study.point import Work

__all__ = ["Calibrating", "calibrate_point", "calibration_before"]


@dataclass(frozen=True)
class Calibrating:
    """Which images calibrate. own: whether they come from another data set than the one that judges.

    images: how many; a data set that also judges gives a third of its images at most.
    """

    images: int = 256
    seed: int = 0
    own: bool = False

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)

    def parts(self, data: Dataset, other: Dataset | None) -> Parts:
        """Deal `data`, or take images of `other`: `reporting` judges. Raises `DataError` where there are too few."""
        return deal(data, other if self.own else None, Bounds(max_bytes=1), self.images, self.seed)


def calibrate_point(work: Work) -> dict[str, Any]:
    """Measure the calibration of a model and keep it in the point's folder; what it was measured on.

    Raises `DataError` where the images are others than those that the point is known by.
    """
    found = _of(work, work.settings["calibration"], str(work.data_hash), work.folder)
    return {
        "images": len(found.images), "data": found.source, "hash": work.data_hash, "seed": found.seed,
        "layers": len(found.layers), "reason": found.reason,
    }  # fmt: skip


def calibration_before(work: Work) -> Calibration:
    """The calibration that a calibrated point comes after."""
    (before,) = work.before
    return _of(work, work.settings["compress"]["calibration"], str(before.values["hash"]), before.folder)


def _of(work: Work, calibrating: Mapping[str, Any], data_hash: str, folder: Path) -> Calibration:
    return _measured(
        work.places["model"], work.places["data"], work.places.get("calibration"), json.dumps(work.settings["data"]),
        json.dumps(work.settings["preprocess"]), json.dumps(calibrating), data_hash, folder, work.threads,
    )  # fmt: skip


@lru_cache(maxsize=1)
def _measured(
    model: str,
    data: str,
    other: str | None,
    how: str,
    preprocess: str,
    calibrating: str,
    data_hash: str,
    folder: Path,
    threads: int,
) -> Calibration:
    """Read from the folder where it lies there, once a process; else measured, and kept there.

    What is kept is rounded, so it is read back: all processes go on from the same numbers.
    """
    wanted = Calibrating(**json.loads(calibrating))
    images = wanted.parts(
        open_dataset(data, **json.loads(how)), None if other is None else open_dataset(other, labelled=False)
    ).calibrating
    if images is None or images.hash != data_hash:
        raise DataError(
            f"{other or data} does not hold the images that this study was calibrated on; use another folder for it"
        )
    loaded, pictures = (
        load(model, threads=threads),
        pictures_of(images, Preprocess.from_dict(json.loads(preprocess))),
    )
    source = f"{images.hash} of {Path(images.path).name}"

    def measure() -> Calibration:
        return calibrate(loaded, pictures, source=source, seed=wanted.seed, threads=threads)

    def kept(make: Callable[[], Calibration]) -> Calibration:
        return cached_calibration(
            loaded, pictures, make, source=source, seed=wanted.seed, threads=threads, folder=folder
        )

    first = kept(measure)
    return kept(lambda: first)
