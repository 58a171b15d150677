"""CIFAR-10 and CIFAR-100 in their binary edition (https://www.cs.toronto.edu/~kriz/cifar.html).

A record is the label byte (CIFAR-100: coarse, then fine) and 32×32 pixels as three planes, R, G, B. Files are
mapped, not read. Not here: the "python" edition, which is pickled and would run code when read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from enxuto.data.selection import choose_part
from enxuto.data.source import Source
from enxuto.errors import DataError, FormatError

__all__ = ["CIFAR_FILES", "read_cifar"]

_PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class _Edition:
    """label_bytes: before the pixels. labels: name -> (byte, count, file with the class names)."""

    label_bytes: int
    labels: dict[str, tuple[int, int, str]]
    parts: dict[str, tuple[str, ...]]

    @property
    def record(self) -> int:
        return self.label_bytes + _PIXELS


_CIFAR10 = _Edition(
    label_bytes=1,
    labels={"label": (0, 10, "batches.meta.txt")},
    parts={
        "train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
        "test": ("test_batch.bin",),
    },
)
_CIFAR100 = _Edition(
    label_bytes=2,
    labels={"fine": (1, 100, "fine_label_names.txt"), "coarse": (0, 20, "coarse_label_names.txt")},
    parts={"train": ("train.bin",), "test": ("test.bin",)},
)
_EDITIONS = (_CIFAR10, _CIFAR100)
CIFAR_FILES = frozenset(name for edition in _EDITIONS for names in edition.parts.values() for name in names)


def read_cifar(path: Path, *, split: str | None, label: str | None) -> Source:
    """Open a folder with the usual file names (`cifar-10-batches-bin`, `cifar-100-binary`) or one such file.

    split: `train` or `test`. label: of CIFAR-100 `fine` (the default) or `coarse`. Raises `DataError` when
    files are missing, `FormatError` when a length or a label is not what the format says.
    """
    edition, files, part = _find_files(path, split)
    chosen = label or next(iter(edition.labels))
    if chosen not in edition.labels:
        raise DataError(
            f"{path} has no label {chosen!r}; there is {' and '.join(edition.labels)}", code="E021"
        )
    position, count, names_file = edition.labels[chosen]
    records = [_records(file, edition) for file in files]
    labels = np.concatenate([block[:, position] for block in records]).astype(np.int64)
    if labels.size and labels.max() >= count:
        first = int(np.argmax(labels >= count))
        raise FormatError(
            f"{path}: label {labels[first]} at sample {first}, but there are {count} classes", code="E042"
        )
    starts = np.cumsum([0, *(len(block) for block in records)])

    def fetch(index: int) -> NDArray[np.uint8]:
        block = int(np.searchsorted(starts, index, side="right")) - 1
        planes = records[block][index - int(starts[block]), edition.label_bytes :].reshape(3, 32, 32)
        return np.ascontiguousarray(planes.transpose(1, 2, 0))  # c h w -> h w c

    return Source(
        path=str(path),
        format="cifar",
        part=part,
        labels=labels,
        classes=_class_names(files[0].parent / names_file, count),
        fetch=fetch,
        name=lambda index: f"sample {index}",
        image_shape=(32, 32, 3),
    )


def _find_files(path: Path, split: str | None) -> tuple[_Edition, Sequence[Path], str | None]:
    """Which edition it is, the files of the part, and the part's name."""
    if path.is_file():
        part = next((p for e in _EDITIONS for p, names in e.parts.items() if path.name in names), None)
        if split is not None and split != part:
            raise DataError(
                f"{path} is not the {split} part; leave out split=, or name the folder", code="E022"
            )
        return _edition_of_file(path), [path], part
    for edition in _EDITIONS:
        there = [part for part, names in edition.parts.items() if any((path / n).is_file() for n in names)]
        if there:
            part = choose_part(path, there, split)
            files = [path / name for name in edition.parts[part]]
            missing = [file.name for file in files if not file.is_file()]
            if missing:
                raise DataError(f"{path} lacks {', '.join(missing)}; fetch the data set again", code="E010")
            return edition, files, part
    raise DataError(f"{path} has no CIFAR files such as {', '.join(sorted(CIFAR_FILES)[-3:])}", code="E010")


def _edition_of_file(path: Path) -> _Edition:
    """By name where it is a usual one, else by which record length divides the file."""
    for edition in _EDITIONS:
        if any(path.name in names for names in edition.parts.values()):
            return edition
    size = path.stat().st_size
    fitting = [edition for edition in _EDITIONS if size and size % edition.record == 0]
    if len(fitting) != 1:
        raise FormatError(
            f"{path} has {size} bytes, not a whole number of CIFAR-10 ({_CIFAR10.record}) or CIFAR-100 "
            f"({_CIFAR100.record}) records; fetch it again, or give it its usual name",
            code="E051",
        )
    return fitting[0]


def _records(file: Path, edition: _Edition) -> NDArray[np.uint8]:
    """The records of one file, uint8 (N, record), mapped."""
    size = file.stat().st_size
    if size == 0 or size % edition.record:
        raise FormatError(
            f"{file} has {size} bytes, not a whole number of records of {edition.record}; fetch it again",
            code="E051",
        )
    return np.memmap(file, np.uint8, "r", 0, (size // edition.record, edition.record))


def _class_names(file: Path, count: int) -> tuple[str, ...] | None:
    """Names from the text file beside the data, or None when it is missing or has another number of lines."""
    if not file.is_file():
        return None
    names = tuple(file.read_text(encoding="utf-8", errors="replace").split())
    return names if len(names) == count else None
