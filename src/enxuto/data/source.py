"""What every reader returns: labels in memory, samples on demand.

A sample is kept as it is stored, either the bytes of an image file or uint8 pixels. So a large set is never decoded at
once, and its identity can be hashed without decoding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from enxuto.data.images import decode_image
from enxuto.errors import DataError

__all__ = ["UNLABELLED", "Source", "check_labels", "int64_labels", "no_labels", "read_sample"]

UNLABELLED = -1
"""The label of samples that have none: no output is meant by it, so nothing can count it as right by mistake."""


@dataclass(frozen=True)
class Source:
    """A whole data set as its reader sees it.

    Attributes:
        path: where it was opened.
        format: the reader's name.
        part: `train`, `test` …, or None where it has no parts.
        labels: int64 (N,); all −1 where `labelled` is False.
        classes: names by label, or None.
        fetch: sample number → encoded bytes, or uint8 (H, W, C) with C of 1 or 3; called from several threads at once.
        name: sample number → what messages call it.
        image_shape: (H, W, C) where the format fixes it for all samples, else None.
        notes: what the reader left out, a line each.
        labelled: whether the samples have labels.
        numeric_names: whether the class names are the labels' own numbers.
        labels_required: whether labels are needed. Where they are not, labels that make no sense (test sets on the hub
            have −1 for all) count as none.
        prepared: whether samples are float32 arrays as a model takes them, which get no preprocessing.
    """

    path: str
    format: str
    part: str | None
    labels: NDArray[np.int64]
    classes: tuple[str, ...] | None
    fetch: Callable[[int], bytes | NDArray[np.uint8]]
    name: Callable[[int], str]
    image_shape: tuple[int, int, int] | None = None
    notes: tuple[str, ...] = ()
    labelled: bool = True
    numeric_names: bool = False
    labels_required: bool = True
    prepared: bool = False

    def __post_init__(self) -> None:
        if len(self.labels) == 0:
            raise DataError(
                f"{self.path} holds no samples; name a data set with at least one image", code="E043"
            )
        if not self.labelled:
            return
        try:
            check_labels(self.labels, self.classes, self.path)
        except DataError:
            if self.labels_required:
                raise
            for name, value in (
                ("labels", no_labels(len(self.labels))),
                ("classes", None),
                ("labelled", False),
            ):
                object.__setattr__(self, name, value)

    def pixels(self, stored: bytes | NDArray[np.uint8]) -> NDArray[np.uint8]:
        """What `fetch` gave as uint8 (H, W, C). Raises `DataError` when bytes are not an image."""
        return np.asarray(stored) if isinstance(stored, np.ndarray) else decode_image(stored)


def read_sample(file: Path) -> bytes:
    """The bytes of an image file. Raises `DataError`, worded to follow the sample's name."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error})", code="E041") from error


def no_labels(count: int) -> NDArray[np.int64]:
    """The labels int64 (N,) of samples that have none."""
    return np.full(count, UNLABELLED, np.int64)


def int64_labels(labels: NDArray[Any]) -> NDArray[np.int64]:
    """Whole numbers as int64 (N,); those beyond it as its largest, which no output is either."""
    most = np.iinfo(np.int64).max
    return (
        np.minimum(labels, np.uint64(most)).astype(np.int64)
        if labels.dtype == np.uint64
        else labels.astype(np.int64)
    )


def check_labels(labels: NDArray[np.int64], classes: Sequence[str] | None, path: str) -> None:
    """Raise `DataError` naming the first label that is negative or beyond the class names."""
    limit = len(classes) if classes is not None else np.iinfo(np.int64).max
    wrong = np.flatnonzero((labels < 0) | (labels >= limit))
    if wrong.size:
        first = int(wrong[0])
        allowed = f"0…{limit - 1}, as {path} names {limit} classes" if classes is not None else "0 or more"
        raise DataError(
            f"{path}: label {labels[first]} at sample {first} is out of range ({allowed}); "
            "name another label column or mend the labels",
            code="E042",
        )
