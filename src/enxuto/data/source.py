"""What every reader hands over: labels in memory, samples on demand.

A sample is kept as it is stored, either the bytes of an image file or uint8 pixels, so that a large set is
never decoded at once and its identity can be hashed without decoding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from enxuto.data.images import decode
from enxuto.errors import DataError

__all__ = ["UNLABELLED", "Source", "check_labels", "int64_labels", "no_labels"]

UNLABELLED = -1
"""The label of samples that have none: no output is meant by it, so nothing can count it as right by mistake."""


@dataclass(frozen=True)
class Source:
    """A whole data set as its reader sees it. `fetch` may be called from several threads at once.

    path: where it was opened. format: the reader's name. part: `train`, `test` … or None when it has no
    parts. labels: int64 (N,); all −1 where `labelled` is false, as the samples have none. classes: names by label, or
    None. numbered: the names are the labels' own numbers. needed: whether labels are needed; where not, those
    that make no sense (test sets on the hub have −1 for all) are none. notes: what the reader left out, a line each.
    fetch(i): encoded bytes, or uint8 (H, W, C) with C of 1 or 3. name(i): what to call sample i in a message.
    image_shape: (H, W, C) where the format fixes it for all samples, else None. prepared: samples are float32 arrays as
    a model takes them, to which no preprocessing is applied.
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
    numbered: bool = False
    needed: bool = True
    prepared: bool = False

    def __post_init__(self) -> None:
        if len(self.labels) == 0:
            raise DataError(f"{self.path} holds no samples; name a data set with at least one image")
        if not self.labelled:
            return
        try:
            check_labels(self.labels, self.classes, self.path)
        except DataError:
            if self.needed:
                raise
            for name, value in (
                ("labels", no_labels(len(self.labels))),
                ("classes", None),
                ("labelled", False),
            ):
                object.__setattr__(self, name, value)

    def pixels(self, stored: bytes | NDArray[np.uint8]) -> NDArray[np.uint8]:
        """What `fetch` gave as uint8 (H, W, C). Raises `DataError` when bytes are not an image."""
        return np.asarray(stored) if isinstance(stored, np.ndarray) else decode(stored)


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
            "name another label column or mend the labels"
        )
