"""Preprocess: what reaches the network, and how the object travels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from enxuto.data import PRESETS, Preprocess, preset
from enxuto.errors import DataError, UsageError


def gradient(height: int, width: int) -> np.ndarray:
    """An RGB image whose pixel (y, x) is (y, x, y + x)."""
    y, x = np.mgrid[:height, :width]
    return np.stack([y, x, y + x], axis=2).astype(np.uint8)


def test_values_and_axes_of_a_known_pixel() -> None:
    batch = Preprocess(mean=(0.5, 0.25, 0.0), std=(0.5, 1.0, 2.0)).apply([gradient(4, 6)])
    assert batch.shape == (1, 3, 4, 6)
    assert batch.dtype == np.float32
    assert batch.flags.c_contiguous
    expected = [(3 / 255 - 0.5) / 0.5, 5 / 255 - 0.25, 8 / 255 / 2]
    np.testing.assert_allclose(batch[0, :, 3, 5], expected, rtol=1e-6)


def test_nhwc_and_bgr_move_values_and_change_none() -> None:
    image = gradient(4, 6)
    plain = Preprocess().apply([image])
    np.testing.assert_array_equal(Preprocess(layout="NHWC").apply([image]), plain.transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(Preprocess(channels="BGR").apply([image]), plain[:, ::-1])


def test_mean_follows_the_order_that_channels_names() -> None:
    image = np.full((1, 1, 3), (10, 20, 30), np.uint8)
    batch = Preprocess(channels="BGR", divide_by=1, mean=(30.0, 20.0, 10.0)).apply([image])
    np.testing.assert_array_equal(batch.ravel(), [0, 0, 0])


def test_grey_from_rgb_is_pillows_luma_and_rgb_from_grey_repeats() -> None:
    image = np.full((2, 2, 3), (200, 100, 50), np.uint8)
    grey = Preprocess(channels="L", divide_by=1).apply([image])
    assert grey.shape == (1, 1, 2, 2)
    assert grey[0, 0, 0, 0] == 124  # 0.299·200 + 0.587·100 + 0.114·50 = 124.2
    spread = Preprocess(divide_by=1).apply([np.full((2, 2), 7, np.uint8)])
    np.testing.assert_array_equal(spread, np.full((1, 3, 2, 2), 7))


def test_centre_crop_rounds_its_offset_down() -> None:
    batch = Preprocess(crop=(2, 3), divide_by=1).apply([gradient(5, 6)])
    np.testing.assert_array_equal(batch[0, 0, :, 0], [1, 2])  # (5 − 2) // 2 = 1
    np.testing.assert_array_equal(batch[0, 1, 0, :], [1, 2, 3])  # (6 − 3) // 2 = 1


@pytest.mark.parametrize(
    ("size", "expected"), [((50, 75), (20, 30)), ((75, 50), (30, 20)), ((33, 50), (20, 30))]
)
def test_short_side_keeps_the_aspect_and_rounds_down(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert Preprocess(resize=20).apply([gradient(*size)]).shape == (1, 3, *expected)


@pytest.mark.parametrize(
    ("name", "flt"),
    [
        ("nearest", Image.Resampling.NEAREST),
        ("bilinear", Image.Resampling.BILINEAR),
        ("bicubic", Image.Resampling.BICUBIC),
        ("lanczos", Image.Resampling.LANCZOS),
    ],
)
def test_exact_resize_is_pillows(name: str, flt: Image.Resampling) -> None:
    image = np.random.default_rng(0).integers(0, 256, (13, 17, 3), np.uint8)
    batch = Preprocess(resize=(8, 9), interpolation=name, divide_by=1, layout="NHWC").apply([image])
    np.testing.assert_array_equal(batch[0], np.asarray(Image.fromarray(image).resize((9, 8), flt)))


def test_pillow_images_and_arrays_give_the_same() -> None:
    image = gradient(9, 9)
    pre = Preprocess(resize=8, crop=6)
    np.testing.assert_array_equal(pre.apply([Image.fromarray(image)]), pre.apply([image]))


def test_sixteen_bit_grey_keeps_its_high_byte() -> None:
    deep = Image.fromarray(np.full((2, 2), 0x80FF, np.uint16))
    batch = Preprocess(channels="L", divide_by=1).apply([deep])
    np.testing.assert_array_equal(batch, np.full((1, 1, 2, 2), 0x80))


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ([], "empty"),
        ([np.zeros((4, 4, 3), np.float32)], "image 0 of the batch is float32"),
        ([np.zeros((4, 4, 4), np.uint8)], r"uint8 \(4, 4, 4\)"),
        (
            [np.zeros((8, 8, 3), np.uint8), np.zeros((8, 3, 3), np.uint8)],
            "image 1 .* 8×3, smaller than the crop",
        ),
    ],
)
def test_images_that_do_not_fit_are_refused_by_position(images: list[np.ndarray], words: str) -> None:
    with pytest.raises(DataError, match=words):
        Preprocess(crop=4).apply(images)


def test_different_sizes_in_a_batch_are_refused() -> None:
    with pytest.raises(DataError, match="E044"):
        Preprocess().apply([np.zeros((4, 5, 3), np.uint8), np.zeros((4, 4, 3), np.uint8)])


def test_a_sliver_is_not_blown_up_to_gigabytes() -> None:
    with pytest.raises(DataError, match="1×9000"):
        Preprocess(resize=256).apply([np.zeros((1, 9000, 3), np.uint8)])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"resize": 0}, "resize is 0"),
        ({"resize": (1, 2, 3)}, "resize"),
        ({"resize": True}, "resize is True"),
        ({"crop": 10**9}, "crop"),
        ({"crop": 9, "resize": (8, 16)}, "larger than resize"),
        ({"interpolation": "cubic"}, "nearest, bilinear, bicubic, lanczos"),
        ({"layout": "CHWN"}, "NCHW, NHWC"),
        ({"channels": "rgb"}, "RGB, BGR, L"),
        ({"mean": (0.1, 0.2)}, "mean has 2 values; give 1 or 3"),
        ({"channels": "L", "mean": (0.1, 0.2, 0.3)}, "give 1 or 1"),
        ({"std": (1.0, 0.0, 1.0)}, "not be 0"),
        ({"divide_by": 1e-60}, "not be 0"),
        ({"divide_by": float("nan")}, "finite"),
        ({"mean": "0.5"}, "mean"),
    ],
)
def test_settings_without_sense_are_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Preprocess.from_dict(settings)


@pytest.mark.parametrize("pre", [Preprocess(), Preprocess(resize=(9, 8), crop=(3, 4)), *PRESETS.values()])
def test_round_trip_through_json(pre: Preprocess) -> None:
    again = Preprocess.from_dict(json.loads(json.dumps(pre.to_dict())))
    assert again == pre
    assert again.differences(pre) == []
    assert hash(again) == hash(pre)


def test_unknown_settings_are_refused_by_name() -> None:
    with pytest.raises(UsageError, match=r"unknown setting cropp .*'crop'.*; known are resize.*layout"):
        Preprocess.from_dict({"cropp": 3})


def test_toml_at_the_top_or_in_its_table(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(
        'resize = 256\ncrop = [224, 224]\ninterpolation = "bicubic"\ndivide_by = 1\nmean = 127\nstd = [128]\n'
    )
    assert Preprocess.from_toml(tmp_path / "a.toml") == preset("efficientnet-lite")
    (tmp_path / "b.toml").write_text("[preprocess]\ncrop = 5\n[other]\nx = 1\n")
    assert Preprocess.from_toml(tmp_path / "b.toml") == Preprocess(crop=(5, 5))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("crop = ", "is not TOML"),
        ("x = 1", "bad.toml.*unknown setting x"),
        ("preprocess = 3", "table"),
        ("", "holds no settings"),
    ],
)
def test_bad_toml_is_one_line_with_the_file(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "bad.toml").write_text(text)
    with pytest.raises(UsageError, match=words):
        Preprocess.from_toml(tmp_path / "bad.toml")
    with pytest.raises(UsageError, match="E010"):
        Preprocess.from_toml(tmp_path / "missing.toml")


def test_differences_name_each_setting_and_both_values() -> None:
    lines = preset("imagenet").differences(preset("resnet-cifar"))
    assert lines == ["resize: 256 here, None there", "crop: (224, 224) here, None there"]
    assert Preprocess(interpolation="nearest").differences(Preprocess()) == []
    assert Preprocess(mean=(0.5, 0.5, 0.5)).differences(Preprocess(mean=(0.5,))) == []


def test_describe_is_one_line_with_all_that_matters() -> None:
    text = preset("efficientnet-lite").describe()
    assert text == "RGB, short side 256 (bicubic), crop 224×224, (x − 127) / 128, NCHW"
    assert Preprocess().describe() == "RGB, x/255, NCHW"


def test_output_shape() -> None:
    assert preset("imagenet").output_shape() == (3, 224, 224)
    assert Preprocess(resize=(5, 6), layout="NHWC", channels="L").output_shape() == (5, 6, 1)
    assert Preprocess(resize=5).output_shape() == (3, None, None)


def test_unknown_preset_lists_the_known() -> None:
    with pytest.raises(UsageError, match="resnet-cifar, imagenet, efficientnet-lite"):
        preset("vgg")
