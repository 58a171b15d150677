"""One encoded image (JPEG, PNG, BMP, WebP …) or Pillow image -> uint8 pixels, grey or RGB.

Not here: EXIF rotation (the usual evaluation pipelines do not apply it) and transparency (dropped).
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from enxuto.errors import DataError

__all__ = ["decode", "pixels_of"]

_GREY = ("1", "L", "LA", "La")
_DEEP = ("I", "I;16", "I;16L", "I;16B", "I;16N")


def decode(data: bytes) -> NDArray[np.uint8]:
    """Decode the bytes of an image file to uint8 (H, W, 1) when it is grey, else (H, W, 3) in RGB order.

    Raises `DataError` for anything that is not a whole image of reasonable size.
    """
    try:
        with Image.open(io.BytesIO(data)) as picture:
            return pixels_of(picture)
    # Pillow's decoders raise these for damaged bytes: SyntaxError for PNG chunks, struct.error and IndexError
    # (through ValueError, OSError or directly) for cut headers.
    except (
        OSError,
        SyntaxError,
        ValueError,
        IndexError,
        KeyError,
        TypeError,
        EOFError,
        ArithmeticError,
    ) as error:
        raise DataError(f"is not an image that can be read ({_first_line(error)})") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"is too large ({_first_line(error)})") from error
    except UserWarning as error:  # where warnings are errors; Pillow warns of damaged TIFF and EXIF fields
        raise DataError(f"is damaged ({_first_line(error)})") from error


def pixels_of(picture: Image.Image) -> NDArray[np.uint8]:
    """The pixels of a Pillow image: uint8 (H, W, 1) for grey modes, else (H, W, 3) in RGB order.

    16-bit grey is shifted to 8 bits. Raises `DataError` for floating-point images, whose range is unknown.
    """
    if picture.mode in _DEEP:
        deep = np.asarray(picture)
        if deep.size and (deep.min() < 0 or deep.max() > 65535):
            raise DataError(f"has pixels beyond 16 bits (mode {picture.mode}); save it with 8 bits")
        return (deep.astype(np.uint16) >> 8).astype(np.uint8)[:, :, np.newaxis]
    if picture.mode.startswith("F"):
        raise DataError("holds floating-point pixels; save it with 8 bits")
    mode = "L" if picture.mode in _GREY else "RGB"
    pixels = np.asarray(picture if picture.mode == mode else _converted(picture, mode))
    return pixels[:, :, np.newaxis] if pixels.ndim == 2 else pixels


def _converted(picture: Image.Image, mode: str) -> Image.Image:
    if picture.mode == "P" and "transparency" in picture.info:
        picture = picture.convert("RGBA")  # as Pillow advises; straight to RGB it warns
    return picture.convert(mode)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
