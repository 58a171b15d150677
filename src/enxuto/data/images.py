"""One encoded image (JPEG, PNG, BMP, WebP …) or Pillow image → uint8 pixels, grey or RGB.

Pillow finds a file's format by its content, whatever its name, and for some formats it starts other programs
(Ghostscript for EPS). So only the formats meant here are tried: `IMAGE_FORMATS`. Not here: EXIF rotation (the usual
evaluation pipelines do not apply it) and transparency (dropped).
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin

from enxuto.data.damage import READ_ERRORS
from enxuto.errors import DataError, error_reason

__all__ = ["IMAGE_FORMATS", "decode_image", "to_pixels"]

IMAGE_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
"""Pillow's names of the formats that are opened; MPO is a JPEG with a second picture, as telephones write it."""

Image.preinit()
# What `preinit` leaves out; Pillow need then not import all it has, to find these two.
_ALSO = (TiffImagePlugin, WebPImagePlugin)
_OPENED = [name for name in IMAGE_FORMATS if name in Image.OPEN]  # MPO is opened by way of JPEG
_KINDS = "JPEG, PNG, WebP, BMP, GIF, TIFF or PPM"

_GREY = ("1", "L", "LA", "La")
_DEEP = ("I", "I;16", "I;16L", "I;16B", "I;16N")


def decode_image(data: bytes) -> NDArray[np.uint8]:
    """Decode the bytes of an image file to uint8 (H, W, 1) when it is grey, else (H, W, 3) in RGB order.

    Raises `DataError` for anything that is not a whole image of reasonable size.
    """
    try:
        with Image.open(io.BytesIO(data), formats=_OPENED) as picture:
            return to_pixels(picture)
    except UnidentifiedImageError as error:
        raise DataError(f"is not an image that can be read: no {_KINDS}", code="E041") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"is too large ({error_reason(error)})", code="E041") from error
    except MemoryError as error:
        raise DataError(
            "is not an image that can be read (it needs more memory than there is)", code="E041"
        ) from error
    except UserWarning as error:  # where warnings are errors; Pillow warns of damaged TIFF and EXIF fields
        raise DataError(f"is damaged ({error_reason(error)})", code="E041") from error
    except READ_ERRORS as error:
        raise DataError(f"is not an image that can be read ({error_reason(error)})", code="E041") from error


def to_pixels(picture: Image.Image) -> NDArray[np.uint8]:
    """The pixels of a Pillow image: uint8 (H, W, 1) for grey modes, else (H, W, 3) in RGB order.

    16-bit grey is shifted to 8 bits. Raises `DataError` for floating-point images, whose range is unknown, and for
    files of a format that is not opened here, before they are decoded.
    """
    if picture.format is not None and picture.format not in IMAGE_FORMATS:
        raise DataError(f"is {picture.format}, which is not opened; save it as {_KINDS}", code="E041")
    if picture.mode in _DEEP:
        deep = np.asarray(picture)
        if deep.size and (deep.min() < 0 or deep.max() > 65535):
            raise DataError(
                f"has pixels beyond 16 bits (mode {picture.mode}); save it with 8 bits", code="E041"
            )
        return (deep.astype(np.uint16) >> 8).astype(np.uint8)[:, :, np.newaxis]
    if picture.mode.startswith("F"):
        raise DataError("holds floating-point pixels; save it with 8 bits", code="E041")
    mode = "L" if picture.mode in _GREY else "RGB"
    pixels = np.asarray(picture if picture.mode == mode else _convert(picture, mode))
    return pixels[:, :, np.newaxis] if pixels.ndim == 2 else pixels


def _convert(picture: Image.Image, mode: str) -> Image.Image:
    if picture.mode == "P" and "transparency" in picture.info:
        picture = picture.convert("RGBA")  # as Pillow advises; straight to RGB it warns
    return picture.convert(mode)
