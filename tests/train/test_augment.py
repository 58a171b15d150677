"""Augmentations against a loop over the images that does each change the plain way."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import affine_transform

from enxuto.errors import UsageError
from enxuto.train.augment import AUGMENTS, Augment, AugmentDraw, augmentation, configured_augmentation
from enxuto.train.colours import principal_colours, rotate
from enxuto.train.config import TrainConfig

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


@pytest.mark.parametrize("size", [(12, 10), (9, 16), (1, 1)])
def test_rotation_is_scipys_about_the_centre(size: tuple[int, int]) -> None:
    images = pictures(12, 3, *size)
    augment = Augment(flip=0.5, pad=1, rotation=75)
    draw = augment.draw(12, *size, generator(4))
    assert draw.angle is not None
    assert 0.5 < float(draw.angle.abs().max()) <= np.radians(75)
    assert 0 < int((draw.angle > 0).sum()) < 12
    found = augment.apply(images, draw, *PLAIN) * 255
    before = Augment(flip=0.5, pad=1).apply(images, draw_without(draw), *PLAIN) * 255
    centre = (np.array(size) - 1) / 2
    for image, result, angle in zip(before.numpy(), found.numpy(), draw.angle.tolist(), strict=True):
        cosine, sine = np.cos(angle), np.sin(angle)
        matrix = np.array(
            [[cosine, sine], [-sine, cosine]]
        )  # of (row, column), from the result to its source
        for plane, got in zip(image, result, strict=True):
            expected = affine_transform(
                plane, matrix, centre - matrix @ centre, order=1, mode="grid-constant", prefilter=False
            )
            np.testing.assert_allclose(got, expected, atol=2e-2)


def draw_without(draw: AugmentDraw) -> AugmentDraw:
    return AugmentDraw(draw.flip, draw.box, draw.colour)


def test_a_quarter_turn_is_exact_and_counter_clockwise() -> None:
    image = pictures(1, 3, 7, 7)
    turned = rotate(image, torch.tensor([np.pi / 2], dtype=torch.float32))
    torch.testing.assert_close(turned, image.rot90(1, (2, 3)).float(), atol=1e-2, rtol=0)


@pytest.mark.parametrize("channels", [1, 3])
def test_colours_shift_along_the_axes_of_the_training_images(channels: int) -> None:
    images = pictures(9000, channels, 3, 2)  # more than are counted at once
    images[:, -1] = images[:, 0] // 2 + 30
    axes = np.array(principal_colours(images))
    pixels_ = images.numpy().transpose(1, 0, 2, 3).reshape(channels, -1) / 255
    covariance = np.atleast_2d(np.cov(pixels_, bias=True))
    lengths = np.linalg.norm(axes, axis=1)
    np.testing.assert_allclose(lengths, np.sort(np.linalg.eigvalsh(covariance))[::-1], atol=1e-12)
    for length, axis in zip(lengths, axes, strict=True):
        np.testing.assert_allclose(covariance @ axis, length * axis, atol=1e-12)
        assert axis[np.abs(axis).argmax()] >= 0
    assert principal_colours(images.flip(0)) == principal_colours(images)
    augment = Augment(rgb_pca=0.1, axes=tuple(map(tuple, axes)))
    draw = augment.draw(8000, 3, 2, generator())
    assert draw.shift is not None
    changed = augment.apply(images[:8000], draw, *(value[:channels] for value in PLAIN))
    added = changed - images[:8000].float() / 255
    torch.testing.assert_close(added, draw.shift[:, :, None, None].expand_as(added), atol=1e-6, rtol=0)
    # Σ pᵢαᵢλᵢ has the covariance 0.1² Σ λᵢ² pᵢpᵢᵀ.
    spread = np.atleast_2d(np.cov(draw.shift.numpy().T))
    np.testing.assert_allclose(spread, 0.01 * axes.T @ axes, atol=0.05 * 0.01 * lengths[0] ** 2)


def test_other_draws_stay_as_they_were_and_parts_are_of_the_whole() -> None:
    plain, more = AUGMENTS["imagenet"], Augment(
        flip=0.5, area=(0.08, 1.0), brightness=0.4, contrast=0.4, saturation=0.4, rotation=15, rgb_pca=0.1,
        axes=((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    )  # fmt: skip
    first, second = plain.draw(20, 12, 10, generator()), more.draw(20, 12, 10, generator())
    assert (first.angle, first.shift) == (None, None)
    for name in ("flip", "box", "colour"):
        assert torch.equal(getattr(first, name), getattr(second, name))
    images = pictures(20)
    whole = more.apply(images, second, MEAN, STD)
    parts = [more.apply(images[low : low + 10], second.rows(low, low + 10), MEAN, STD) for low in (0, 10)]
    torch.testing.assert_close(whole, torch.cat(parts))
    assert torch.equal(whole, more.apply(images, more.draw(20, 12, 10, generator()), MEAN, STD))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rotation": -1}, "rotation is -1; it must be in 0…180 degrees"),
        ({"rotation": 181}, "rotation is 181"),
        ({"rgb_pca": -0.1}, "rgb_pca is -0.1; it must be 0 or more"),
        ({"rgb_pca": float("inf")}, "rgb_pca is inf"),
        ({"rgb_pca": 0.1}, "rgb_pca needs axes="),
    ],
)
def test_wrong_angles_and_shifts_are_named(values: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        Augment(**values)  # type: ignore[arg-type]
    assert message in str(caught.value)


def test_a_configuration_takes_its_colours_from_the_training_images() -> None:
    images = pictures(50)
    config = TrainConfig.from_recipe("souza", {"rotation": 10.0, "rgb_pca": 0.1})
    assert configured_augmentation(config, images) == Augment(
        flip=0.5, rotation=10.0, rgb_pca=0.1, axes=principal_colours(images)
    )
    assert configured_augmentation(TrainConfig.from_recipe("souza"), images) is AUGMENTS["flip"]
    assert not {"rotation", "rgb_pca"} & TrainConfig.from_recipe("souza").to_dict().keys()
    assert TrainConfig.from_recipe(None, config.to_dict()) == config
