"""Calibrated points of a curve: one calibration for all, on images that judge nothing, in any process the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from enxuto.calibration.calibrate import calibrate
from enxuto.compression.at_price import compress_at
from enxuto.data import Dataset, open_dataset
from enxuto.demo import MODEL, TEST_IMAGES
from enxuto.enx.learned import parameters
from enxuto.evaluation import evaluate
from enxuto.onnx_model import Model
from enxuto.opening import load_with_metadata, preprocess_of
from enxuto.runtime import Runner
from enxuto.studies.curve import calibration as curve_calibration
from enxuto.studies.curve.calibration import CalibrationSplit
from enxuto.studies.curve.modes import calibrated_settings, default_settings, grid_settings
from enxuto.studies.curve.points import Subject, points
from enxuto.studies.curve.tables import curves_of
from enxuto.study import Local, Serial, Study

DRAW = {"limit": 90, "seed": 3}
DEALT = CalibrationSplit(24, 3)


@pytest.fixture(autouse=True)
def nothing_remembered() -> None:
    """Calibrations are read again from where they lie."""
    curve_calibration._calibrate_once.cache_clear()


def subject(calibrating: CalibrationSplit | None = DEALT, calibration: str | None = None) -> Subject:
    preprocess = preprocess_of(load_with_metadata(MODEL)[1])
    assert preprocess is not None
    return Subject.open("digits", MODEL, str(TEST_IMAGES), DRAW, preprocess, calibrating, calibration)


def pixels(data: Dataset) -> set[bytes]:
    return {image.tobytes() for images, _ in data.batches(32, subject().preprocess) for image in images}


def test_a_point_is_what_the_same_calls_give_on_images_that_did_not_calibrate(tmp_path: Path) -> None:
    settings = calibrated_settings([3, 4], DEALT.to_dict())
    made = points(subject(), settings)
    results = Study(made, tmp_path).run(Serial())
    assert results.exit_code == 0, results.failed
    (curve,) = curves_of(results)
    assert [row["setting"] for row in curve.rows] == [
        "enxuto calibrated, about 3 bits", "enxuto calibrated, about 4 bits",
    ]  # fmt: skip

    parts = DEALT.split(open_dataset(TEST_IMAGES, **DRAW), None)
    assert parts.calibration is not None
    assert parts.held_out is not None
    assert (len(parts.calibration), len(parts.held_out)) == (24, 66)
    assert not pixels(parts.calibration) & pixels(parts.held_out)
    model, preprocess = Model.read(MODEL), subject().preprocess
    images = np.concatenate([batch for batch, _ in parts.calibration.batches(32, preprocess)])
    source = f"{parts.calibration.hash} of {TEST_IMAGES.name}"
    calibration = calibrate(model, images, source=source, seed=3, threads=1)
    row = curve.rows[1]
    small = compress_at(calibration, row["calibrated"]["price"]).model
    said = evaluate(Runner(small.to_model()).scores, parts.held_out, preprocess=preprocess,
                    reference=Runner(model).scores)  # fmt: skip
    assert row["file_bytes"] == small.file_bytes
    assert row["file_bits"] == 8 * small.file_bytes / parameters(model)
    assert [row["file_bits"] for row in curve.rows] == pytest.approx([3, 4], abs=0.25)
    assert (row["samples"], row["top1"], row["kl"]) == (66, said.top1, pytest.approx(said.kl))
    assert row["calibrated"] == calibration.provenance(row["calibrated"]["price"])
    assert row["calibrated"]["price"] < curve.rows[0]["calibrated"]["price"]
    assert row["entropy_bits"] == pytest.approx(4, abs=1)  # of order 0; the coder can do with less
    assert curve.original["samples"] == 66
    assert curve.data_hash == parts.held_out.hash


def test_one_calibration_serves_all_points_and_other_processes_find_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = points(subject(), calibrated_settings([4], DEALT.to_dict()))
    assert Study(first, tmp_path).run(Serial()).exit_code == 0
    monkeypatch.setattr(curve_calibration, "calibrate", None)  # it is not measured again here
    curve_calibration._calibrate_once.cache_clear()
    settings = [*default_settings([4]), *grid_settings([5], ["midtread"])]
    more = points(subject(), [*calibrated_settings([3, 4], DEALT.to_dict()), *settings])
    reports: list[Any] = []
    results = Study(more, tmp_path).run(Serial(), reports.append)
    assert results.exit_code == 0, results.failed
    assert reports[0].known == 3  # the original, the calibration and one point
    (calibration,) = {point.after for point in more if point.after}
    assert len({point.id for point in more if point.after == calibration}) == 2


def test_processes_that_share_a_calibration_find_what_one_finds(tmp_path: Path) -> None:
    made = points(subject(), calibrated_settings([3, 4], DEALT.to_dict()))
    found = []
    for workers in (1, 2):
        results = Study(made, tmp_path / str(workers)).run(Local(workers, 1))
        assert results.exit_code == 0, results.failed
        found.append(curves_of(results)[0].rows)
    assert found[0] == found[1]


def test_images_of_their_own_leave_all_of_the_others_to_judge(tmp_path: Path) -> None:
    own_images = CalibrationSplit(20, 3, own=True)
    data = tmp_path / "unlabelled.npz"
    with np.load(TEST_IMAGES) as held:
        arrays = {name: held[name] for name in held.files}
    count = len(arrays["labels"])
    np.savez(data, **{key: value[-50:] if len(value) == count else value for key, value in arrays.items()})
    made = points(subject(own_images, str(data)), calibrated_settings([4], own_images.to_dict()))
    results = Study(made, tmp_path / "study").run(Serial())
    assert results.exit_code == 0, results.failed
    (curve,) = curves_of(results)
    assert curve.original["samples"] == 90
    assert curve.rows[0]["calibrated"]["images"] == 20
    assert "unlabelled.npz" in curve.rows[0]["calibrated"]["data"]
    # The original and the grid do not depend on what calibrates: their points are those of any other study.
    assert made[0] in points(subject(None), [])
    assert made[0] not in points(subject(), [])


def test_images_that_change_meanwhile_are_named(tmp_path: Path) -> None:
    made = points(subject(), calibrated_settings([4], DEALT.to_dict()))
    (calibration,) = made[1].after
    other = tmp_path / "other.npz"
    with np.load(TEST_IMAGES) as held:
        np.savez(
            other, **{name: held[name][::-1] if held[name].ndim > 2 else held[name] for name in held.files}
        )
    calibration.paths["data"] = str(other)  # type: ignore[index]
    results = Study([calibration], tmp_path / "study").run(Serial())
    error = results[calibration].error
    assert error is not None
    assert "other.npz does not hold the images that this study was calibrated on" in error
