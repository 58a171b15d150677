"""Augmentations against a loop over the images that does each change the plain way."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from enxuto.errors import UsageError
from enxuto.train.augment import AUGMENTS, Augment, augmentation

MEAN, STD = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.25, 0.3])
PLAIN = torch.zeros(3), torch.ones(3)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int, channels: int = 3, height: int = 12, width: int = 10) -> torch.Tensor:
    size = (count, channels, height, width)
    return torch.randint(0, 256, size, dtype=torch.uint8, generator=generator(1))


def pixels(augment: Augment, images: torch.Tensor, seed: int = 0) -> tuple[np.ndarray, list[tuple[int, ...]]]:
    """The changed images in 0…255, and what was drawn: flip, top, left, height, width a row."""
    count, _, height, width = images.shape
    draw = augment.draw(count, height, width, generator(seed))
    mean, std = torch.zeros(images.shape[1]), torch.ones(images.shape[1])
    changed = augment.apply(images, draw, mean, std) * 255
    rows = [(int(flip), *box) for flip, box in zip(draw.flip.tolist(), draw.box.tolist(), strict=True)]
    return changed.numpy(), rows


@pytest.mark.parametrize("pad", [0, 1, 4])
@pytest.mark.parametrize("channels", [1, 3])
def test_crop_and_flip_equal_a_loop_over_the_images(pad: int, channels: int) -> None:
    images = pictures(40, channels)
    found, rows = pixels(Augment(flip=0.5, pad=pad), images)
    for image, result, (flip, top, left, height, width) in zip(images.numpy(), found, rows, strict=True):
        padded = np.pad(image, ((0, 0), (pad, pad), (pad, pad)))
        expected = padded[:, top : top + height, left : left + width]
        expected = expected[:, :, ::-1] if flip else expected
        np.testing.assert_allclose(result, expected, atol=1e-4)
    assert {row[0] for row in rows} == {0, 1}


def test_resized_crop_is_pillows_bilinear_of_the_box() -> None:
    images = pictures(30)
    found, rows = pixels(Augment(flip=0.5, area=(0.1, 1.0)), images)
    for image, result, (flip, top, left, height, width) in zip(images.numpy(), found, rows, strict=True):
        for plane, got in zip(image, result, strict=True):
            box = plane[top : top + height, left : left + width].astype(np.float32)
            size = (plane.shape[1], plane.shape[0])
            expected = np.asarray(Image.fromarray(box).resize(size, Image.Resampling.BILINEAR))
            expected = expected[:, ::-1] if flip else expected
            np.testing.assert_allclose(got, expected, atol=0.501)  # ours is rounded to bytes


def test_the_whole_image_as_a_box_changes_nothing() -> None:
    images = pictures(5, height=12, width=12)
    found, _ = pixels(Augment(area=(1.0, 1.0), aspect=(1.0, 1.0)), images)
    np.testing.assert_allclose(found, images, atol=1e-4)


def test_colour_equals_a_loop_over_the_images() -> None:
    images = pictures(20)
    augment = Augment(brightness=0.4, contrast=0.4, saturation=0.4)
    draw = augment.draw(20, 12, 10, generator())
    found = augment.apply(images, draw, *PLAIN).numpy()
    luma = np.array([0.299, 0.587, 0.114])
    for image, result, (bright, contrast, saturated) in zip(
        images.numpy() / 255, found, draw.colour.double().numpy(), strict=True
    ):
        x = np.clip(image * bright, 0, 1)
        x = np.clip(contrast * x + (1 - contrast) * np.tensordot(luma, x, 1).mean(), 0, 1)
        x = np.clip(saturated * x + (1 - saturated) * np.tensordot(luma, x, 1), 0, 1)
        np.testing.assert_allclose(result, x, atol=1e-5)
    assert ((draw.colour >= 0.6) & (draw.colour <= 1.4)).all()


def test_grey_images_have_no_saturation() -> None:
    images = pictures(6, channels=1)
    augment = Augment(saturation=1.0)
    found, _ = pixels(augment, images)
    np.testing.assert_allclose(found, images, atol=1e-3)


def test_normalisation_is_the_textbooks() -> None:
    images = pictures(7)
    found = Augment().apply(images, Augment().draw(7, 12, 10, generator()), MEAN, STD)
    expected = (images.double() / 255 - MEAN[:, None, None]) / STD[:, None, None]
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_draws_have_the_stated_distributions() -> None:
    draw = AUGMENTS["crop-flip"].draw(40_000, 32, 32, generator())
    assert draw.flip.float().mean().item() == pytest.approx(0.5, abs=0.01)  # 4 standard errors
    places = torch.bincount(draw.box[:, 0] * 9 + draw.box[:, 1], minlength=81)
    assert len(places) == 81
    chi_square = ((places - 40_000 / 81) ** 2 / (40_000 / 81)).sum().item()
    assert chi_square < 133  # 99.98 % quantile with 80 degrees of freedom
    assert draw.box[:, 2:].eq(32).all()
    assert draw.colour.eq(1).all()


def test_boxes_have_the_stated_area_and_aspect_and_lie_inside() -> None:
    draw = AUGMENTS["imagenet"].draw(20_000, 64, 48, generator())
    top, left, height, width = draw.box.unbind(1)
    assert ((top >= 0) & (left >= 0) & (top + height <= 64) & (left + width <= 48)).all()
    share, aspect = height * width / (64 * 48), width / height
    assert share.min() > 0.06  # 0.08 up to rounding
    assert share.max() <= 1
    assert aspect.min() > 0.65
    assert aspect.max() < 1.5
    assert len(torch.unique(top)) > 30
    half = share[share < 0.5]  # small boxes always fit: their areas are uniform
    assert half.mean().item() == pytest.approx(0.29, abs=0.02)


def test_a_box_that_never_fits_becomes_the_largest_centred_one() -> None:
    draw = Augment(area=(1.0, 1.0), aspect=(1.0, 1.0)).draw(9, 20, 10, generator())
    assert draw.box.tolist() == [[5, 0, 10, 10]] * 9
    draw = Augment(area=(1.0, 1.0), aspect=(1.0, 1.0)).draw(9, 10, 20, generator())
    assert draw.box.tolist() == [[0, 5, 10, 10]] * 9


@pytest.mark.parametrize("name", list(AUGMENTS))
def test_the_generators_state_decides_everything_and_the_input_stays(name: str) -> None:
    images = pictures(16)
    before = images.clone()
    first, again, other = (pixels(augmentation(name), images, seed)[0] for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert (name == "none") == np.array_equal(first, other)
    assert torch.equal(images, before)


def test_global_random_state_is_neither_read_nor_set() -> None:
    state = torch.random.get_rng_state()
    pixels(AUGMENTS["imagenet"], pictures(4))
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    "values",
    [
        {"flip": 1.5},
        {"flip": float("nan")},
        {"pad": -1},
        {"area": (0.0, 1.0)},
        {"area": (0.5, 0.1)},
        {"area": (0.1, 1.0), "pad": 4},
        {"aspect": (2.0, 1.0)},
        {"brightness": -0.1},
    ],
)
def test_senseless_settings_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="augmentation"):
        Augment(**values)


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(UsageError, match="none, flip, crop-flip, imagenet"):
        augmentation("mixup")
