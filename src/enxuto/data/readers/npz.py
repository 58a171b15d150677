"""NumPy archives: `images` uint8 (N, H, W) or (N, H, W, C), `labels` (N,), perhaps `classes` (names).

Nothing is unpickled, and the arrays' claimed shapes are checked against the archive before they are read.
"""

from __future__ import annotations

import math
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from enxuto.data.source import Source
from enxuto.errors import DataError, FormatError

__all__ = ["read_npz"]

_MOST_DEFLATED = 1032  # deflate cannot shrink further, so a larger claim is false


def read_npz(path: Path, *, split: str | None) -> Source:
    """Open an archive written by `numpy.savez` or `savez_compressed`; the arrays are held in memory.

    Raises `FormatError` when the bytes are not such an archive, `DataError` when arrays are missing or do not
    fit.
    """
    if split is not None:
        raise DataError(f"{path} is one archive, without parts; leave out split")
    try:
        with zipfile.ZipFile(path) as archive:
            names = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            missing = [name for name in ("images", "labels") if name not in names]
            if missing:
                raise DataError(f"{path} has no array {' or '.join(missing)}; it has {', '.join(names)}")
            arrays = {
                name: _array(path, archive, names[name])
                for name in ("images", "labels", "classes")
                if name in names
            }
    except (
        OSError,
        EOFError,
        ValueError,
        KeyError,
        NotImplementedError,
        RuntimeError,
        struct.error,
    ) as error:
        raise FormatError(f"{path} is not a readable .npz archive ({error}); write it again") from error
    except (zipfile.BadZipFile, zlib.error) as error:
        raise FormatError(f"{path} is not a whole .npz archive ({error}); write it again") from error
    images, labels, classes = _checked(path, arrays["images"], arrays["labels"], arrays.get("classes"))
    return Source(
        path=str(path),
        format="npz",
        part=None,
        labels=labels,
        classes=classes,
        fetch=lambda index: images[index],
        name=lambda index: f"sample {index}",
        image_shape=(images.shape[1], images.shape[2], images.shape[3]),
    )


def _array(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[np.generic]:
    """One array, after its header has been held against the archive's own lengths."""
    with archive.open(info) as member:
        version = npy.read_magic(member)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read_header(member)
        header_bytes = member.tell()
    claimed = math.prod(shape) * dtype.itemsize + header_bytes
    if dtype.hasobject:
        raise FormatError(f"{path}: {info.filename} holds Python objects, which are not read; store numbers")
    if claimed != info.file_size or info.file_size > _MOST_DEFLATED * max(info.compress_size, 1):
        raise FormatError(
            f"{path}: {info.filename} claims shape {shape}, which does not fit its length; write it again"
        )
    with archive.open(info) as member:
        return npy.read_array(member, allow_pickle=False)


def _checked(
    path: Path, images: NDArray[np.generic], labels: NDArray[np.generic], classes: NDArray[np.generic] | None
) -> tuple[NDArray[np.uint8], NDArray[np.int64], tuple[str, ...] | None]:
    pixels = images[:, :, :, np.newaxis] if images.ndim == 3 else images
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] not in (1, 3) or 0 in pixels.shape[1:]:
        found = f"{images.dtype} {images.shape}"
        raise DataError(f"{path}: images is {found}; uint8 (N, H, W) or (N, H, W, C), C = 1 or 3, is needed")
    if labels.dtype.kind not in "iu" or labels.shape != pixels.shape[:1]:
        found = f"{labels.dtype} {labels.shape}"
        raise DataError(f"{path}: labels is {found}; whole numbers of shape ({len(pixels)},) are needed")
    if classes is not None and (classes.ndim != 1 or classes.dtype.kind != "U"):
        raise DataError(f"{path}: classes is {classes.dtype} {classes.shape}; a list of names is needed")
    names = None if classes is None else tuple(str(name) for name in classes)
    return pixels.astype(np.uint8), labels.astype(np.int64), names
