"""NumPy archives: `images` uint8 (N, H, W) or (N, H, W, C), `labels` (N,), perhaps `classes` (names).

Nothing is unpickled, and the arrays' claimed shapes are checked against the archive before they are read.
"""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from enxuto.data.damage import translate_archive_errors
from enxuto.data.source import Source, int64_labels, no_labels
from enxuto.errors import DataError, FormatError

__all__ = ["read_array", "read_npz"]

_LAST_CHARACTER = 0x10FFFF  # of Unicode
_MOST_DEFLATED = 1032  # deflate cannot shrink further, so a larger claim is false


def read_npz(path: Path, *, split: str | None, require_labels: bool = True) -> Source:
    """Open an archive written by `numpy.savez` or `savez_compressed`; the arrays are held in memory.

    require_labels: whether the array `labels` must be there. Raises `FormatError` where the bytes are not such an
    archive, `DataError` where arrays are missing or do not fit.
    """
    if split is not None:
        raise DataError(f"{path} is one archive, without parts; leave out split", code="E024")
    with translate_archive_errors(path), zipfile.ZipFile(path) as archive:
        names = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        needed = ("images", "labels") if require_labels else ("images",)
        missing = [name for name in needed if name not in names]
        if missing:
            there = ", ".join(list(names)[:10]) or "none"
            raise DataError(f"{path} has no array {' or '.join(missing)}; it has {there}")
        arrays = {
            name: read_array(path, archive, names[name])
            for name in ("images", "labels", "classes")
            if name in names
        }
    pixels = _validate_images(path, arrays["images"])
    labels, classes = no_labels(len(pixels)), None
    if "labels" in arrays:
        labels, classes = _validate_labels(path, arrays["labels"], arrays.get("classes"), len(pixels))
    return Source(
        path=str(path),
        format="npz",
        part=None,
        labels=labels,
        classes=classes,
        fetch=lambda index: pixels[index],
        name=lambda index: f"sample {index}",
        image_shape=(pixels.shape[1], pixels.shape[2], pixels.shape[3]),
        labelled="labels" in arrays,
        labels_required=require_labels,
    )


def read_array(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[np.generic]:
    """One array, after its header has been held against the archive's own lengths."""
    with archive.open(info) as member:
        shape, dtype, header_bytes = _read_header(member)
    if dtype.hasobject:
        raise FormatError(f"{path}: {info.filename} holds Python objects, which are not read; store numbers")
    if dtype.itemsize == 0 or not all(type(size) is int and size >= 0 for size in shape):
        raise FormatError(
            f"{path}: {info.filename} claims shape {shape} of {dtype}, which no array has; write it again"
        )
    claimed = math.prod(shape) * dtype.itemsize + header_bytes
    if claimed != info.file_size or info.file_size > _MOST_DEFLATED * max(info.compress_size, 1):
        raise FormatError(
            f"{path}: {info.filename} claims shape {shape}, which does not fit its length; write it again",
            code="E052",
        )
    with archive.open(info) as member:
        return npy.read_array(member, allow_pickle=False)


def _read_header(member: IO[bytes]) -> tuple[tuple[int, ...], np.dtype, int]:
    """Shape, type and the length of the header."""
    version = npy.read_magic(member)
    read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read_header(member)
    return shape, dtype, member.tell()


def _validate_images(path: Path, images: NDArray[np.generic]) -> NDArray[np.uint8]:
    pixels = images[:, :, :, np.newaxis] if images.ndim == 3 else images
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] not in (1, 3) or 0 in pixels.shape[1:]:
        found = f"{images.dtype} {images.shape}"
        raise DataError(f"{path}: images is {found}; uint8 (N, H, W) or (N, H, W, C), C = 1 or 3, is needed")
    return pixels.astype(np.uint8, copy=False)


def _validate_labels(
    path: Path, labels: NDArray[np.generic], classes: NDArray[np.generic] | None, count: int
) -> tuple[NDArray[np.int64], tuple[str, ...] | None]:
    if labels.dtype.kind not in "iu" or labels.shape != (count,):
        found = f"{labels.dtype} {labels.shape}"
        raise DataError(
            f"{path}: labels is {found}; whole numbers of shape ({count},) are needed", code="E042"
        )
    if classes is None:
        return int64_labels(labels), None
    if classes.ndim != 1 or classes.dtype.kind != "U":
        raise DataError(
            f"{path}: classes is {classes.dtype} {classes.shape}; a list of names is needed", code="E042"
        )
    codes = np.frombuffer(classes.tobytes(), np.dtype(np.uint32).newbyteorder(classes.dtype.byteorder))
    if codes.size and int(codes.max()) > _LAST_CHARACTER:
        raise FormatError(f"{path}: classes holds what is no text; write it again", code="E052")
    return int64_labels(labels), tuple(str(name) for name in classes)
