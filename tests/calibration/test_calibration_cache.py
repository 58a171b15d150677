"""Calibrations on disk: the same bytes as fresh ones, made anew when damaged or when anything differs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from enxuto.calibration.cache import cached_calibration, calibration_key
from enxuto.calibration.calibrate import calibrate
from enxuto.calibration.calibration import Calibration
from enxuto.compression.at_price import compress_at
from enxuto.demo import MODEL
from enxuto.onnx_model import Model
from enxuto.runtime import Runner


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.read(MODEL)


@pytest.fixture(scope="module")
def images(model: Model) -> np.ndarray:
    shape = [int(size or 8) for size in Runner(model).inputs[0].shape[1:]]
    return np.random.default_rng(0).standard_normal((24, *shape)).astype(np.float32)


def test_kept_is_as_good_as_fresh(model: Model, images: np.ndarray, tmp_path: Path) -> None:
    made: list[Calibration] = []

    def make() -> Calibration:
        made.append(calibrate(model, images, source="here", threads=1))
        return made[-1]

    def ask() -> Calibration:
        return cached_calibration(model, images, make, source="here", seed=0, threads=1, folder=tmp_path)

    fresh, again = ask(), ask()
    assert len(made) == 1
    price = fresh.price_of_bits(3)
    assert again.price_of_bits(3) == price
    expected = compress_at(fresh, price).model.to_bytes()
    assert compress_at(again, price).model.to_bytes() == expected
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(kept.read_bytes()[:-400])
    assert compress_at(ask(), price).model.to_bytes() == expected
    assert len(made) == 2
    kept.write_bytes(b"no archive")
    ask()
    assert len(made) == 3


def test_the_key_knows_everything(model: Model, images: np.ndarray) -> None:
    name = model.weight_names[0]
    moved = model.replace_weights({name: model.load(name) * np.float32(1.0001)})
    keys = {
        calibration_key(model, images, 0),
        calibration_key(model, images, 1),
        calibration_key(model, images[:-1], 0),
        calibration_key(model, images + np.float32(1e-6), 0),
        calibration_key(moved, images, 0),
    }
    assert len(keys) == 5
    assert calibration_key(Model.read(MODEL), images.copy(), 0) in keys


def test_a_place_that_cannot_be_written_is_no_error(model: Model, images: np.ndarray, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    found = cached_calibration(
        model,
        images,
        lambda: calibrate(model, images, threads=1),
        source="",
        seed=0,
        threads=1,
        folder=blocked,
    )
    assert found.layers
