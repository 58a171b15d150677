"""IDX files, the format of MNIST, Fashion-MNIST and EMNIST, gzipped or not.

Source: http://yann.lecun.com/exdb/mnist (as archived).
Header: two zero bytes, the type (8: unsigned byte), the number of axes, each axis as a big-endian uint32;
then the values. Every header is held against the file's length before memory is taken. Names looked for in a
folder (and its `raw`): `train-images-idx3-ubyte`, `t10k-labels.idx1-ubyte.gz` and the like, perhaps with
something in front.
"""

from __future__ import annotations

import gzip
import math
import re
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from enxuto.data.selection import choose_part
from enxuto.data.source import Source, no_labels
from enxuto.errors import DataError, FormatError, error_reason

__all__ = ["IDX_FILE", "read_idx"]

IDX_FILE = re.compile(r"(.*?)(train|t10k|test)([-_])(images|labels)([-._])idx\d([-_]ubyte)?(\.gz)?")
_MOST_DEFLATED = 1032  # deflate cannot shrink further, so a larger claim is false
_UNSIGNED_BYTE = 8


def read_idx(path: Path, *, split: str | None, require_labels: bool = True) -> Source:
    """Open the pair of IDX files in a folder, or the pair that one images file belongs to.

    split: `train` or `test`. require_labels: where labels are not needed, an images file alone will do. Raises
    `DataError` where a file of the pair is missing or their counts differ, `FormatError` where the bytes are not IDX.
    """
    images_file, labels_file, part = _find_pair(path, split, require_labels)
    images = _read_idx_file(images_file, axes=(3,))
    labels = no_labels(len(images))
    if labels_file is not None:
        labels = _read_idx_file(labels_file, axes=(1,)).astype(np.int64)
        if len(images) != len(labels):
            counts = f"{len(images)} images and {len(labels)} labels"
            raise DataError(
                f"{images_file} and {labels_file.name} hold {counts}; fetch both again", code="E042"
            )
    return Source(
        path=str(path),
        format="idx",
        part=part,
        labels=labels,
        classes=None,
        fetch=lambda index: images[index, :, :, np.newaxis],
        name=lambda index: f"sample {index}",
        image_shape=(images.shape[1], images.shape[2], 1),
        labelled=labels_file is not None,
    )


def _find_pair(path: Path, split: str | None, require_labels: bool) -> tuple[Path, Path | None, str | None]:
    """The images file, the labels file (None where there is none and none is needed), and the part they are."""
    if path.is_file():
        return _pair_of_file(path, split, require_labels)
    found = [file for place in (path, path / "raw") if place.is_dir() for file in sorted(place.iterdir())]
    images: dict[str, list[Path]] = {}
    for file in found:
        match = IDX_FILE.fullmatch(file.name)
        if match and match[4] == "images":
            images.setdefault("train" if match[2] == "train" else "test", []).append(file)
    if not images:
        raise DataError(
            f"{path} has no IDX images such as train-images-idx3-ubyte.gz; name the folder that does",
            code="E010",
        )
    part = choose_part(path, sorted(images), split)
    # The same file is often there twice, gzipped and not: take the one that need not be unpacked.
    names = {file.name.removesuffix(".gz") for file in images[part]}
    if len(names) > 1:
        raise DataError(
            f"{path} holds several {part} sets ({', '.join(sorted(names))}); name one images file",
            code="E023",
        )
    file = min(images[part], key=lambda candidate: len(candidate.name))
    return file, _find_labels(file, require_labels), part


def _pair_of_file(
    path: Path, split: str | None, require_labels: bool
) -> tuple[Path, Path | None, str | None]:
    match = IDX_FILE.fullmatch(path.name)
    part = None if match is None else "train" if match[2] == "train" else "test"
    if split is not None and split != part:
        raise DataError(f"{path} is not the {split} part; leave out split=, or name the folder", code="E022")
    if "images" not in path.name:
        raise DataError(
            f"{path} is not named as IDX images are (train-images-idx3-ubyte); name the images file"
        )
    return path, _find_labels(path, require_labels), part


def _find_labels(images: Path, require_labels: bool) -> Path | None:
    """The labels file beside an images file, gzipped or not; None where there is none and none is needed."""
    name = images.name.replace("images", "labels").replace("idx3", "idx1")
    unzipped = name.removesuffix(".gz")
    for candidate in (name, unzipped, unzipped + ".gz"):
        if images.with_name(candidate).is_file():
            return images.with_name(candidate)
    if not require_labels:
        return None
    raise DataError(f"{images} has no labels beside it; put {name} into the same folder", code="E042")


def _read_idx_file(path: Path, axes: tuple[int, ...]) -> NDArray[np.uint8]:
    """The uint8 array of one IDX file; mapped, not read, when it is not gzipped."""
    try:
        size = path.stat().st_size
        if not path.name.endswith(".gz"):
            with path.open("rb") as file:
                shape = _read_header(path, file, axes)
            start = 4 + 4 * len(shape)
            if start + math.prod(shape) != size:
                raise _wrong_length(path, shape, f"the file has {size} bytes")
            return np.memmap(path, np.uint8, "r", start, shape)
        with gzip.open(path, "rb") as packed:
            shape = _read_header(path, cast(BinaryIO, packed), axes)
            if math.prod(shape) > _MOST_DEFLATED * size:
                raise _wrong_length(path, shape, f"{size} gzipped bytes cannot hold as much")
            data = packed.read(math.prod(shape) + 1)
    except (OSError, EOFError, ValueError, OverflowError, struct.error, zlib.error) as error:
        raise FormatError(
            f"{path} cannot be read ({error_reason(error)}); fetch it again", code="E052"
        ) from error
    if len(data) != math.prod(shape):
        raise _wrong_length(path, shape, "the gzipped bytes hold another number")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _read_header(path: Path, file: BinaryIO, axes: tuple[int, ...]) -> tuple[int, ...]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise FormatError(f"{path} does not begin as IDX files do (00 00 08 …); fetch it again")
    if magic[2] != _UNSIGNED_BYTE or magic[3] not in axes:
        wanted = f"unsigned bytes (8) with {axes[0]} axes"
        raise FormatError(f"{path} holds IDX type {magic[2]} with {magic[3]} axes; {wanted} are read")
    sizes = file.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise FormatError(f"{path} ends within its header; fetch it again", code="E051")
    shape = cast(tuple[int, ...], struct.unpack(f">{magic[3]}I", sizes))
    if 0 in shape:  # the other axes may then claim more than any array can have
        raise FormatError(f"{path} claims {'×'.join(map(str, shape))} values, which is none; fetch it again")
    return shape


def _wrong_length(path: Path, shape: tuple[int, ...], problem: str) -> FormatError:
    claimed = "×".join(map(str, shape))
    return FormatError(f"{path} claims {claimed} values, but {problem}; fetch it again", code="E051")
