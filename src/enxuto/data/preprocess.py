"""The preprocessing that travels with a model: from stored pixels to the float32 batch it was trained on.

One frozen object. The order is fixed: colour, resize, centre crop, divide, subtract mean, divide by std,
layout. All sizes are (height, width). Resizing is Pillow's; sizes and crop offsets are rounded down.
What it leaves out: augmentation (training does that) and padding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from enxuto.data.images import to_pixels
from enxuto.errors import DataError, UsageError, did_you_mean
from enxuto.files import read_toml

__all__ = ["PRESETS", "Preprocess", "plain_preprocess", "preset"]

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_CHANNELS = {"RGB": 3, "BGR": 3, "L": 1}
_LAYOUTS = ("NCHW", "NHWC")
_LARGEST_VALUE = 1e30  # keeps every intermediate value finite in float32
_LARGEST_SIDE = 16384  # parameters may come out of a hostile file: no batch of terabytes on its word


@dataclass(frozen=True)
class Preprocess:
    """How pixels 0…255 become the input of one network: ((pixel / divide_by) − mean) / std.

    resize: None, N (short side becomes N, aspect kept) or (H, W) (exact, aspect ignored).
    interpolation: nearest, bilinear, bicubic or lanczos.
    crop: None, N or (H, W): the centre of the image after resizing.
    mean, std: one value for all channels, or one per channel in the order `channels` names them.
    channels: RGB, BGR or L (grey); images of another kind are converted. layout: NCHW or NHWC.
    Raises `UsageError` when a value makes no sense.
    """

    resize: int | tuple[int, int] | None = None
    interpolation: str = "bilinear"
    crop: int | tuple[int, int] | None = None
    divide_by: float = 255.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    channels: str = "RGB"
    layout: str = "NCHW"

    def __post_init__(self) -> None:
        _check_choice("interpolation", self.interpolation, tuple(_FILTERS))
        _check_choice("channels", self.channels, tuple(_CHANNELS))
        _check_choice("layout", self.layout, _LAYOUTS)
        checked = {
            "resize": _validate_size("resize", self.resize),
            "crop": _as_pair(_validate_size("crop", self.crop)),
            "divide_by": _validate_number("divide_by", self.divide_by),
            "mean": _validate_per_channel("mean", self.mean, _CHANNELS[self.channels]),
            "std": _validate_per_channel("std", self.std, _CHANNELS[self.channels]),
        }
        if any(np.float32(divisor) == 0 for divisor in (checked["divide_by"], *checked["std"])):
            raise UsageError("preprocessing: divide_by and std must not be 0")
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        if isinstance(self.resize, tuple) and self.crop is not None:
            _check_crop_fits(self.crop, self.resize)

    def apply(self, images: Sequence[NDArray[np.uint8] | Image.Image]) -> NDArray[np.float32]:
        """Turn images into a float32 batch of shape (N, C, H, W), or (N, H, W, C) for layout NHWC.

        An image is a Pillow image or a uint8 array (H, W), (H, W, 1) or (H, W, 3) in RGB order.
        Raises `DataError` when one is not an image, is smaller than the crop, or ends up of another size.
        """
        shaped = []
        for position, image in enumerate(images):
            try:
                shaped.append(self.prepare_image(image))
            except DataError as error:
                raise DataError(f"image {position} of the batch {error}", code=error.code) from error
        return self.to_batch(shaped)

    def prepare_image(self, image: NDArray[np.uint8] | Image.Image) -> NDArray[np.uint8]:
        """Colour, resize and crop one image: uint8 (H, W, C), channels in the order `channels` names.

        Raises `DataError`, worded to follow the image's name, when it is no image or smaller than the crop.
        """
        pixels = to_pixels(image) if isinstance(image, Image.Image) else _validate_pixels(image)
        pixels = _convert_channels(pixels, self.channels)
        target = self._resized_shape(*pixels.shape[:2])
        if target != pixels.shape[:2]:
            picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
            pixels = to_pixels(picture.resize((target[1], target[0]), _FILTERS[self.interpolation]))
        if self.crop is not None:
            pixels = _centre_crop(pixels, self.crop)
        return pixels[:, :, ::-1] if self.channels == "BGR" else pixels

    def to_batch(self, shaped: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Stack what `prepare_image` gave and scale it: float32 (N, C, H, W), or (N, H, W, C) for layout NHWC.

        Raises `DataError` when there is none or when sizes differ.
        """
        if not shaped:
            raise DataError("no image to preprocess: the batch is empty", code="E043")
        sizes = sorted({pixels.shape[:2] for pixels in shaped})
        if len(sizes) > 1:
            (low, high), both = (sizes[0], sizes[-1]), "images of different sizes meet in a batch"
            raise DataError(
                f"{both} ({_size_text(low)} and {_size_text(high)}); set resize or crop", code="E044"
            )
        batch = np.stack(shaped).astype(np.float32)  # n h w c
        batch /= np.float32(self.divide_by)
        batch -= np.asarray(self.mean, np.float32)
        batch /= np.asarray(self.std, np.float32)
        if self.layout == "NCHW":
            batch = batch.transpose(0, 3, 1, 2)  # n h w c -> n c h w
        return np.ascontiguousarray(batch)

    def _resized_shape(self, height: int, width: int) -> tuple[int, int]:
        """(H, W) after resizing; the long side is rounded down."""
        if self.resize is None:
            return height, width
        if isinstance(self.resize, tuple):
            return self.resize
        short = min(height, width)
        target = self.resize * height // short, self.resize * width // short
        if max(target) > _LARGEST_SIDE:
            raise DataError(
                f"is {height}×{width}, which with its short side at {self.resize} would become "
                f"{target[0]}×{target[1]}; leave it out or set resize to (height, width)",
                code="E044",
            )
        return target

    def output_shape(self) -> tuple[int | None, ...]:
        """Shape of one preprocessed image, (C, H, W) or (H, W, C); None where it follows the image's size."""
        size = self.crop if self.crop is not None else self.resize
        height, width = size if isinstance(size, tuple) else (None, None)
        channels = _CHANNELS[self.channels]
        return (channels, height, width) if self.layout == "NCHW" else (height, width, channels)

    def to_dict(self) -> dict[str, Any]:
        """All settings as JSON-safe values; `from_dict` gives an equal object back."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocess:
        """Build from `to_dict`'s output or a part of it.

        Raises `UsageError` that names the unknown key or the bad value.
        """
        known = [field.name for field in fields(cls)]
        unknown = sorted(str(key) for key in values if key not in known)
        if unknown:
            hint = did_you_mean(unknown[0], known)
            raise UsageError(
                f"preprocessing: unknown setting {', '.join(unknown)}{hint}; known are {', '.join(known)}",
                code="E021",
            )
        return cls(**dict(values))

    @classmethod
    def from_toml(cls, path: str | Path) -> Preprocess:
        """Read the settings at the top of a TOML file, or in its table `[preprocess]`.

        Raises `UsageError` when the file is missing, is no TOML, or holds no setting or an unknown one.
        """
        table = read_toml(path, "preprocess")
        if not table:
            raise UsageError(
                f"{path} holds no settings of a preprocessing, such as divide_by = 255", code="E046"
            )
        try:
            return cls.from_dict(table)
        except UsageError as error:
            raise UsageError(f"{path}: {error}", code=error.code) from error

    def describe(self) -> str:
        """One line, such as `RGB, short side 256 (bicubic), crop 224×224, (x − 127) / 128, NCHW`."""
        parts = [self.channels]
        if isinstance(self.resize, tuple):
            parts.append(f"resize {self.resize[0]}×{self.resize[1]} ({self.interpolation})")
        elif self.resize is not None:
            parts.append(f"short side {self.resize} ({self.interpolation})")
        if isinstance(self.crop, tuple):
            parts.append(f"crop {self.crop[0]}×{self.crop[1]}")
        value = "x" if self.divide_by == 1 else f"x/{self.divide_by:g}"
        if any(self.mean):
            value = f"({value} − {_values_text(self.mean)})"
        if self.std != (1.0,):
            value = f"{value} / {_values_text(self.std)}"
        return ", ".join([*parts, value, self.layout])

    def differences(self, other: Preprocess) -> list[str]:
        """What differs from `other`, a line a setting: `crop: (224, 224) here, None there`; empty when equal.

        A setting that changes nothing is not a difference: interpolation counts only where one of them resizes.
        """
        resizes = self.resize is not None or other.resize is not None
        names = [field.name for field in fields(self) if resizes or field.name != "interpolation"]
        pairs = ((name, getattr(self, name), getattr(other, name)) for name in names)
        return [f"{name}: {here} here, {there} there" for name, here, there in pairs if here != there]


def _check_choice(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        hint = did_you_mean(str(value), allowed)
        raise UsageError(
            f"preprocessing: {name} is {value!r}{hint}; it must be one of {', '.join(allowed)}", code="E021"
        )


def _validate_size(name: str, value: object) -> Any:
    """None, a positive int, or a pair of them; anything else is a `UsageError`."""
    sides = value if isinstance(value, (tuple, list)) else (value,)
    whole = all(isinstance(side, int) and not isinstance(side, bool) for side in sides)
    if value is None:
        return None
    if len(sides) > 2 or not sides or not whole or not all(1 <= side <= _LARGEST_SIDE for side in sides):
        raise UsageError(f"preprocessing: {name} is {value!r}; give N or (height, width), 1…{_LARGEST_SIDE}")
    return tuple(sides) if len(sides) == 2 else sides[0]


def _as_pair(size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    return (size, size) if isinstance(size, int) else size


def _validate_number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= _LARGEST_VALUE:
        raise UsageError(f"preprocessing: {name} is {value!r}; it must be a finite number")
    return float(value)


def _validate_per_channel(name: str, value: object, channels: int) -> tuple[float, ...]:
    values = value if isinstance(value, (tuple, list)) else (value,)
    if len(values) not in (1, channels):
        raise UsageError(
            f"preprocessing: {name} has {len(values)} values; give 1 or {channels} (one a channel)"
        )
    numbers = tuple(_validate_number(name, number) for number in values)
    return numbers[:1] if len(set(numbers)) == 1 else numbers  # one spelling for one meaning


def _check_crop_fits(crop: int | tuple[int, int], size: tuple[int, int]) -> None:
    height, width = (crop, crop) if isinstance(crop, int) else crop
    if height > size[0] or width > size[1]:
        raise UsageError(
            f"preprocessing: crop {height}×{width} is larger than resize {size[0]}×{size[1]}; "
            "make the crop smaller or leave it out",
            code="E022",
        )


def _validate_pixels(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The array as (H, W, 1) or (H, W, 3)."""
    pixels = np.asarray(image)
    pixels = pixels[:, :, np.newaxis] if pixels.ndim == 2 else pixels
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or pixels.size == 0:
        kind = f"{pixels.dtype} {pixels.shape}"
        raise DataError(f"is {kind}; uint8 of shape (H, W), (H, W, 1) or (H, W, 3) is needed", code="E041")
    return pixels


def _convert_channels(pixels: NDArray[np.uint8], channels: str) -> NDArray[np.uint8]:
    """Grey from RGB by Pillow's luma (ITU-R 601), RGB from grey by repetition."""
    if pixels.shape[2] == _CHANNELS[channels]:
        return pixels
    if channels == "L":
        return to_pixels(Image.fromarray(pixels).convert("L"))
    return np.repeat(pixels, 3, axis=2)


def _centre_crop(pixels: NDArray[np.uint8], crop: int | tuple[int, int]) -> NDArray[np.uint8]:
    """The middle (H, W) of an image (h, w, c); offsets are rounded down."""
    height, width = (crop, crop) if isinstance(crop, int) else crop
    if pixels.shape[0] < height or pixels.shape[1] < width:
        raise DataError(
            f"is {_size_text(pixels.shape)}, smaller than the crop {height}×{width}; "
            "set resize so that the crop fits",
            code="E044",
        )
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return pixels[top : top + height, left : left + width]


def _size_text(shape: tuple[int, ...]) -> str:
    return f"{shape[0]}×{shape[1]}"


def _values_text(values: tuple[float, ...]) -> str:
    texts = [f"{value:g}" for value in values]
    return texts[0] if len(texts) == 1 else f"({', '.join(texts)})"


_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

PRESETS: Mapping[str, Preprocess] = MappingProxyType(
    {
        "resnet-cifar": Preprocess(mean=_IMAGENET_MEAN, std=_IMAGENET_STD),
        "imagenet": Preprocess(resize=256, crop=224, mean=_IMAGENET_MEAN, std=_IMAGENET_STD),
        "efficientnet-lite": Preprocess(
            resize=256, interpolation="bicubic", crop=224, divide_by=1.0, mean=(127.0,), std=(128.0,)
        ),
    }
)


def preset(name: str) -> Preprocess:
    """The ready preprocessing of a known family of models. Raises `UsageError` listing the names."""
    if name not in PRESETS:
        names = ", ".join(PRESETS)
        raise UsageError(
            f"no preprocessing is called {name!r}{did_you_mean(name, PRESETS)}; there are {names}",
            code="E021",
        )
    return PRESETS[name]


def plain_preprocess(shape: Sequence[int | None], whole: bool) -> Preprocess:
    """Return what images need at least to fit an input: its layout, and values of its kind.

    Args:
        shape: of the input, None where a size is not fixed.
        whole: whether it takes whole numbers: then pixels, 0 to 255, as they are, else divided by 255.
    """
    last = len(shape) == 4 and shape[3] in (1, 3) and shape[1] not in (1, 3)
    return Preprocess(divide_by=1.0 if whole else 255.0, layout="NHWC" if last else "NCHW")
