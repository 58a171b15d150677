"""Random changes of training images, done on whole batches: flips, padded crops, resized crops, rotation, colour.

An `Augment` says what may happen, `draw` decides it for a batch, `apply` does it and normalises in the same
pass. Drawing and doing are apart so that several processes can draw alike and each do its share.
A flip or a padded crop is one gather of bytes. A resized crop is two small matrix products an image (rows, then
columns) with Pillow's antialiased bilinear weights. Not here: hue, cut-out, mixing of images.

Sources: random flip, Souza 2020, section 4.2; padding 4, crop and flip, K. He et al., arXiv:1512.03385, section
4.2; resized crop, C. Szegedy et al., arXiv:1409.4842, section 6; shifts of colour, `enxuto.train.colours`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch
from torch import Tensor

from enxuto.errors import UsageError, did_you_mean
from enxuto.train.colours import principal_colours, rotate
from enxuto.train.config import TrainConfig

__all__ = ["AUGMENTS", "Augment", "AugmentDraw", "augmentation", "configured_augmentation"]

_TRIES = 10  # boxes drawn for an image before the largest centred one is taken, as in torchvision
_LUMA = (0.299, 0.587, 0.114)  # ITU-R 601


@dataclass(frozen=True)
class AugmentDraw:
    """What happens to each image of a batch of N; all tensors have N rows.

    flip: bool, mirrored left to right. box: int64 (N, 4), top, left, height, width of the part that is kept, in
    pixels of the padded image. colour: float32 (N, 3), factors of brightness, contrast and saturation. angle: float32
    (N,), radians; None without rotation. shift: float32 (N, C), added to pixels in 0…1; None without shifts of colour.
    """

    flip: Tensor
    box: Tensor
    colour: Tensor
    angle: Tensor | None = None
    shift: Tensor | None = None

    def rows(self, start: int, stop: int) -> AugmentDraw:
        """The part of the draw for images start … stop − 1."""
        angle = None if self.angle is None else self.angle[start:stop]
        shift = None if self.shift is None else self.shift[start:stop]
        return AugmentDraw(self.flip[start:stop], self.box[start:stop], self.colour[start:stop], angle, shift)


@dataclass(frozen=True)
class Augment:
    """Which random changes a training image undergoes; by default none.

    Args:
        flip: probability of mirroring left to right.
        pad: width in pixels of a black border that is added before a crop of the original size at a random position.
        area: smallest and largest share of the image's area that a resized crop keeps; None: no such crop.
        aspect: smallest and largest width over height of the resized crop.
        brightness, contrast, saturation: a factor each, uniform in 1 ± this, applied in this order and clipped to
            0…1 after each (a grey image has no saturation).
        rotation: largest angle in degrees, 0 to 180; an image turns by one that is uniform in ± this, after its crop.
        rgb_pca: standard deviation of the factors αᵢ of shifts along `axes`; AlexNet's is 0.1. They come last.
        axes: `colours.principal_colours` of the training images; needed where `rgb_pca` is above 0.

    Raises:
        UsageError: a value makes no sense.
    """

    flip: float = 0.0
    pad: int = 0
    area: tuple[float, float] | None = None
    aspect: tuple[float, float] = (3 / 4, 4 / 3)
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    rotation: float = 0.0
    rgb_pca: float = 0.0
    axes: tuple[tuple[float, ...], ...] = ()

    def __post_init__(self) -> None:
        for name in ("flip", "brightness", "contrast", "saturation"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"augmentation: {name} is {getattr(self, name)}; it must be in 0…1")
        if not 0 <= self.rotation <= 180:
            raise UsageError(f"augmentation: rotation is {self.rotation}; it must be in 0…180 degrees")
        if not 0 <= self.rgb_pca < math.inf:
            raise UsageError(f"augmentation: rgb_pca is {self.rgb_pca}; it must be 0 or more")
        if self.rgb_pca and not self.axes:
            raise UsageError("augmentation: rgb_pca needs axes=principal_colours(images)", code="E023")
        if self.pad < 0:
            raise UsageError(f"augmentation: pad is {self.pad}; it must be 0 or more pixels")
        if self.area is not None and (self.pad or not 0 < self.area[0] <= self.area[1] <= 1):
            raise UsageError(
                f"augmentation: area {self.area} must lie in 0…1 in order, and pad be 0 beside it"
            )
        if not 0 < self.aspect[0] <= self.aspect[1] < math.inf:
            raise UsageError(f"augmentation: aspect {self.aspect} must be positive and in order")

    @property
    def changes_colours(self) -> bool:
        """Whether colours change."""
        return bool(self.brightness or self.contrast or self.saturation)

    def draw(self, count: int, height: int, width: int, generator: torch.Generator) -> AugmentDraw:
        """Decide what happens to `count` images of this size; `generator` is on the CPU."""
        flip = torch.rand(count, generator=generator) < self.flip
        if self.area is not None:
            box = self._boxes(count, height, width, generator)
        else:
            offsets = torch.randint(2 * self.pad + 1, (count, 2), generator=generator)
            box = torch.cat((offsets, torch.tensor([height, width]).expand(count, 2)), dim=1)
        spread = torch.tensor([self.brightness, self.contrast, self.saturation])
        colour = 1 + spread * (2 * torch.rand(count, 3, generator=generator) - 1)
        # Drawn after all else, and only where wanted: runs without them draw as they always did.
        angle = shift = None
        if self.rotation:
            angle = math.radians(self.rotation) * (2 * torch.rand(count, generator=generator) - 1)
        if self.rgb_pca:
            axes = torch.tensor(self.axes, dtype=torch.float32)
            shift = self.rgb_pca * torch.randn(count, len(axes), generator=generator) @ axes
        return AugmentDraw(flip, box, colour, angle, shift)

    def _boxes(self, count: int, height: int, width: int, generator: torch.Generator) -> Tensor:
        """Boxes of random area and aspect, int64 (count, 4); the first of ten that fits, else a centred one."""
        assert self.area is not None
        low, high = self.area
        share = low + (high - low) * torch.rand(count, _TRIES, generator=generator)
        lower, upper = math.log(self.aspect[0]), math.log(self.aspect[1])
        aspect = torch.exp(lower + (upper - lower) * torch.rand(count, _TRIES, generator=generator))
        area = share * (height * width)
        tall, wide = (area / aspect).sqrt().round().long(), (area * aspect).sqrt().round().long()
        fits = (tall >= 1) & (wide >= 1) & (tall <= height) & (wide <= width)
        first = fits.int().argmax(dim=1, keepdim=True)  # of equal values the first
        largest = _largest_box(height, width, self.aspect)
        found = fits.any(dim=1)
        tall = torch.where(found, tall.gather(1, first)[:, 0], largest[0])
        wide = torch.where(found, wide.gather(1, first)[:, 0], largest[1])
        place = torch.rand(count, 2, generator=generator)
        place = torch.where(found[:, None], place, 0.5)
        top = (place[:, 0] * (height - tall + 1)).long()
        left = (place[:, 1] * (width - wide + 1)).long()
        return torch.stack((top, left, tall, wide), dim=1)

    def apply(self, images: Tensor, draw: AugmentDraw, mean: Tensor, std: Tensor) -> Tensor:
        """Change a batch as drawn and normalise it: uint8 (N, C, H, W) → float32 of the same shape.

        mean, std: float32 (C,) of pixels scaled to 0…1. Works on the device of `images`.
        """
        device = images.device
        flip, box = draw.flip.to(device), draw.box.to(device)
        if self.area is None and not self.flip and not self.pad:
            changed = images
        elif self.area is None:
            changed = _flip_and_crop(images, flip, box[:, :2] if self.pad else None, self.pad)
        else:
            changed = _crop_and_resize(images, flip, box)
        if draw.angle is not None:
            changed = rotate(changed, draw.angle.to(device))
        if self.changes_colours:
            changed = _change_colours(changed.to(torch.float32), draw.colour.to(device))
        if draw.shift is not None:
            changed = changed.to(torch.float32) + 255 * draw.shift.to(device)[:, :, None, None]
        return normalise(changed, mean, std)


AUGMENTS: Mapping[str, Augment] = MappingProxyType(
    {
        "none": Augment(),
        "flip": Augment(flip=0.5),
        "crop-flip": Augment(flip=0.5, pad=4),
        "imagenet": Augment(flip=0.5, area=(0.08, 1.0), brightness=0.4, contrast=0.4, saturation=0.4),
    }
)


def augmentation(name: str) -> Augment:
    """The augmentation called `name`: none, flip (Souza), crop-flip (He, lottery) or imagenet (AlexNet-style).

    Raises `UsageError` listing the names for any other.
    """
    if name not in AUGMENTS:
        names = ", ".join(AUGMENTS)
        raise UsageError(
            f"no augmentation is called {name!r}{did_you_mean(name, AUGMENTS)}; there are {names}",
            code="E021",
        )
    return AUGMENTS[name]


def configured_augmentation(config: TrainConfig, images: Tensor) -> Augment:
    """The augmentation of a configuration; shifts of colour are those of these training images, uint8 (N, C, H, W)."""
    known = augmentation(config.augment)
    if not config.rotation and not config.rgb_pca:
        return known
    axes = principal_colours(images) if config.rgb_pca else ()
    return replace(known, rotation=config.rotation, rgb_pca=config.rgb_pca, axes=axes)


def normalise(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """(pixel / 255 − mean) / std a channel, as one multiplication and one addition; float32 (N, C, H, W)."""
    scale = (1 / (255 * std.double())).float().to(images.device)[:, None, None]
    shift = (-mean.double() / std.double()).float().to(images.device)[:, None, None]
    # Into new memory first: a mixed-type product takes longer than conversion and product one by one.
    return images.to(torch.float32, copy=True).mul_(scale).add_(shift)


def _flip_and_crop(images: Tensor, flip: Tensor, offsets: Tensor | None, pad: int) -> Tensor:
    """Mirror some images and, with `offsets` int64 (N, 2), crop each at its offset in the padded image.

    All windows of all images, and of their mirror images, are views into one block of bytes, found by where
    they begin; so both changes together are one `index_select`, which copies rows and not single bytes.
    """
    count, channels, height, width = images.shape
    padded = torch.nn.functional.pad(images, (pad, pad, pad, pad)) if pad else images
    both = torch.cat((padded, padded.flip(3)))
    first = torch.arange(count, device=images.device) + count * flip
    if offsets is None:
        return both.index_select(0, first)
    left = torch.where(flip, 2 * pad - offsets[:, 1], offsets[:, 1])  # the mirror image's window
    image, plane, row = both.stride()[:3]
    start = first * image + offsets[:, 0] * row + left
    last = (channels - 1) * plane + (height - 1) * row + width - 1  # last byte of a window, from its start
    size, stride = (both.numel() - last, channels, height, width), (1, plane, row, 1)
    return both.as_strided(size, stride).index_select(0, start)


def _crop_and_resize(images: Tensor, flip: Tensor, box: Tensor) -> Tensor:
    """Each image's box, resized to the whole image's size: float32 (N, C, H, W) in 0…255, rounded to bytes."""
    height, width = images.shape[2:]
    count, channels = images.shape[:2]
    rows = _bilinear_weights(box[:, 0], box[:, 2], height)  # n out in
    columns = _bilinear_weights(box[:, 1], box[:, 3], width)
    columns = torch.where(flip[:, None, None], columns.flip(1), columns)
    flat = images.to(torch.float32).reshape(count, channels * height, width)  # n c h w -> n (c h) w
    across = torch.bmm(flat, columns.transpose(1, 2)).view(count, channels, height, width)
    return torch.matmul(rows[:, None], across).round_().clamp_(0, 255)


def _bilinear_weights(start: Tensor, length: Tensor, size: int) -> Tensor:
    """Bilinear weights (N, size, size) that stretch start … start + length − 1 of an axis over all of it.

    Pillow's: a triangle as wide as the step where one shrinks, and at least 1; only pixels of the box count.
    """
    step = (length / size)[:, None, None]
    support = step.clamp(min=1)
    centre = (torch.arange(size, device=start.device) + 0.5)[None, :, None] * step
    pixel = (torch.arange(size, device=start.device)[None, :] - start[:, None])[:, None, :]
    weight = (1 - ((pixel + 0.5 - centre) / support).abs()).clamp(min=0)
    weight = weight * ((pixel >= 0) & (pixel < length[:, None, None]))
    return weight / weight.sum(dim=2, keepdim=True)


def _change_colours(images: Tensor, factors: Tensor) -> Tensor:
    """Brightness, contrast, saturation of float32 images in 0…255, each followed by a cut to that range."""
    brightness, contrast, saturation = factors[:, :, None, None, None].unbind(dim=1)
    images = (images * brightness).clamp_(0, 255)
    middle = _grey(images).mean(dim=(1, 2, 3), keepdim=True)
    images = torch.lerp(middle, images, contrast).clamp_(0, 255)
    return images if images.shape[1] == 1 else torch.lerp(_grey(images), images, saturation).clamp_(0, 255)


def _grey(images: Tensor) -> Tensor:
    """Luma (N, 1, H, W) of RGB; any other number of channels is averaged."""
    if images.shape[1] != 3:
        return images.mean(dim=1, keepdim=True)
    luma = torch.tensor(_LUMA, device=images.device)
    return (images * luma[:, None, None]).sum(dim=1, keepdim=True)


def _largest_box(height: int, width: int, aspect: tuple[float, float]) -> tuple[int, int]:
    """(height, width) of the largest box whose aspect is allowed."""
    if width / height < aspect[0]:
        return max(1, round(width / aspect[0])), width
    if width / height > aspect[1]:
        return height, max(1, round(height * aspect[1]))
    return height, width
