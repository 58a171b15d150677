"""`enxuto.compress`: one call for a model without images, within a size, within a loss, and by a caller's judge."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import enxuto
from enxuto.compression import data_free
from enxuto.data import preset
from enxuto.demo import MODEL, TEST_IMAGES
from enxuto.errors import BudgetError, DataError, UsageError
from enxuto.opening import onnx_metadata, preprocess_of
from tiny_classifier import tiny_network

GREY = enxuto.Preprocess(channels="L")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Calibrations and trials that the tests of this file share."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def few_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("enxuto.compression.search._TRIALS", 5)


@pytest.fixture(scope="module")
def arrays() -> tuple[Any, Any]:
    with np.load(TEST_IMAGES) as archive:
        return archive["images"], archive["labels"]


def distance(original: Any, compressed: Any) -> float:
    """A judge: minus the mean distance of the outputs on some noise."""
    name = original.get_inputs()[0].name
    noise = {name: np.random.default_rng(0).standard_normal((16, 1, 8, 8)).astype(np.float32)}
    return -float(np.abs(original.run(None, noise)[0] - compressed.run(None, noise)[0]).mean())


@pytest.mark.parametrize(
    "options", [{}, {"bits": 3}, {"steps": "measured"}, {"fold_bn": True, "keep_exact": ["*"]}]
)
def test_without_images_the_file_is_that_of_data_free_compression(options: dict[str, Any]) -> None:
    small = enxuto.compress(MODEL, **options)
    assert small.to_bytes() == data_free.compress(MODEL, **{"steps": "checked", **options}).to_bytes()
    assert small.report is None
    assert small.trials == ()
    assert small.file_bytes == len(small.to_bytes())


def test_models_may_be_given_in_every_form() -> None:
    expected = enxuto.compress(MODEL).to_bytes()
    for model in (str(MODEL), enxuto.Model.read(MODEL), onnx.load(MODEL), MODEL.read_bytes()):
        assert enxuto.compress(model).to_bytes() == expected


def test_sizes_and_the_decoded_model(tmp_path: Path) -> None:
    small = enxuto.compress(MODEL, target_size="20KB")
    assert 19_900 <= small.save(tmp_path / "a.enx") <= 20_000
    assert enxuto.compress(MODEL, target_size=20_000).to_bytes() == (tmp_path / "a.enx").read_bytes()
    assert small.model.weight_names == enxuto.Model.read(MODEL).weight_names
    small.write_onnx(tmp_path / "a.onnx")
    assert enxuto.Model.read(tmp_path / "a.onnx").weight_names == small.model.weight_names
    assert small.ratio == pytest.approx(32 / small.bits_per_weight)


def test_a_scheme_or_a_quantizer_of_the_package() -> None:
    quantizer = enxuto.quantize.DeadZone(0.02, 0.5)
    one = enxuto.compress(MODEL, quantizer)  # of all tensors
    assert one.to_bytes() == enxuto.compress(MODEL, enxuto.quantize.SameQuantizer(quantizer)).to_bytes()
    name = (
        "conv1.weight"
        if "conv1.weight" in enxuto.Model.read(MODEL)
        else enxuto.Model.read(MODEL).weight_names[0]
    )
    assert (
        enxuto.compress(MODEL, keep_exact=name).to_bytes()
        == enxuto.compress(MODEL, keep_exact=[name]).to_bytes()
    )


def test_within_a_loss_from_a_path_or_arrays(cache: Path, arrays: tuple[Any, Any], tmp_path: Path) -> None:
    small = enxuto.compress(MODEL, data=TEST_IMAGES, max_kl=0.05, images=48, cache=cache)
    assert small.report is not None
    assert small.report.samples > 100
    assert small.report.drop is not None
    assert small.file_bytes < enxuto.compress(MODEL).file_bytes / 3
    assert small.trials[-1].judgement is not None
    assert any(trial.fits and trial.bytes == small.file_bytes for trial in small.trials)
    # The same images as arrays, stored or as the model takes them; trials of the first search are remembered.
    images, labels = arrays
    for given in ((images, labels), (GREY.apply(list(images)), labels)):
        other = enxuto.compress(MODEL, data=given, max_kl=0.05, images=48, cache=cache)
        assert abs(other.file_bytes - small.file_bytes) < 32  # the file names the images that calibrated
        assert other.report is not None
        assert other.report.kl == pytest.approx(small.report.kl, rel=1e-6)
    blind = enxuto.compress(MODEL, data=images, max_kl=0.05, images=48, cache=cache)
    assert blind.report is not None
    assert (blind.report.top1, blind.report.better_than_chance) == (None, None)
    with pytest.raises(DataError, match="E042"):
        enxuto.compress(MODEL, data=images, max_drop=1, cache=cache)
    with pytest.raises(BudgetError, match="cannot be met") as caught:
        enxuto.compress(MODEL, data=TEST_IMAGES, max_kl=1e-13, images=48, cache=cache)
    nearest = caught.value.result
    assert isinstance(nearest, enxuto.CompressionResult)
    assert nearest.save(tmp_path / "a.enx") == nearest.file_bytes


def test_a_judge_bounds_the_search_for_any_model() -> None:
    small = enxuto.compress(MODEL, judge=distance, max_judge_drop=0.2)
    assert small.report is not None
    assert small.report.judge_original == 0
    assert small.report.judge_compressed is not None
    assert -0.2 <= small.report.judge_compressed < -0.1
    assert small.report.judge_compressed == distance(
        enxuto.Runner(MODEL)._session, enxuto.Runner(small.model)._session
    )
    tried = [trial.score.compressed for trial in small.trials if trial.score is not None]
    assert len(tried) == len(small.trials)
    assert [trial.fits for trial in small.trials] == [value >= -0.2 for value in tried]
    assert small.file_bytes == min(trial.bytes for trial in small.trials if trial.fits)


def test_a_judge_bounds_calibrated_rounding_and_is_reported_beside_a_size(
    cache: Path, arrays: tuple[Any, Any]
) -> None:
    plain_one = enxuto.compress(MODEL, judge=distance, max_judge_drop=0.5)
    small = enxuto.compress(
        MODEL, calibration=arrays[0], judge=distance, max_judge_drop=0.5, images=48, cache=cache
    )
    assert small.file_bytes < plain_one.file_bytes
    assert small.report is not None
    assert small.report.judge_compressed is not None
    assert small.report.judge_compressed >= -0.5
    sized = enxuto.compress(MODEL, bits=2, judge=distance)
    assert sized.report is not None
    assert sized.report.samples == 0
    assert sized.report.judge_compressed is not None
    assert sized.to_bytes() == enxuto.compress(MODEL, bits=2).to_bytes()


def test_preprocessing_is_stored_and_unknown_preprocessing_warned_of(cache: Path) -> None:
    small = enxuto.compress(MODEL, preprocess="imagenet")
    assert preprocess_of(small.metadata) == preset("imagenet")
    assert enxuto.compress(MODEL, preprocess={"divide_by": 16}).metadata["preprocess"]["divide_by"] == 16
    proto = onnx.load(MODEL)
    del proto.metadata_props[:]
    assert onnx_metadata(enxuto.Model.from_proto(proto)) == {}
    with pytest.warns(UserWarning, match="preprocess="), pytest.raises(DataError):  # RGB for a grey network
        enxuto.compress(proto, data=TEST_IMAGES, max_kl=0.1, images=48, cache=cache)


PIXELS = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3), np.uint8)
INPUTS = enxuto.Preprocess().apply(list(PIXELS))
PREPARED: dict[str, tuple[dict[str, Any], Any, bool]] = {
    "images": ({"data": PIXELS}, enxuto.Preprocess(), True),
    "images that calibrate": ({"calibration": PIXELS}, enxuto.Preprocess(), True),
    "synthetic images": ({"synthetic": True}, None, True),
    "images, as the caller says": (
        {"data": PIXELS, "preprocess": {"divide_by": 128.0}}, enxuto.Preprocess(divide_by=128.0), False
    ),
    "inputs": ({"data": INPUTS}, None, False),
    "inputs by name": ({"data": {"x": INPUTS}}, None, False),
}  # fmt: skip


@pytest.mark.parametrize(("given", "stored", "warned"), PREPARED.values(), ids=PREPARED)
def test_files_say_how_the_images_that_calibrated_were_prepared(
    given: dict[str, Any], stored: enxuto.Preprocess | None, warned: bool, cache: Path
) -> None:
    """Also where it was assumed; what is no image, or made up, tells of no preprocessing."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        small = enxuto.compress(tiny_network(channels=3), **given, bits=6, images=20, cache=cache)
    assert preprocess_of(small.metadata) == stored
    assert any("no preprocessing is known" in str(one.message) for one in caught) == warned


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ({"threads": -1}, "E020", "threads= takes a whole number from 0"),
        ({"seed": 1.5}, "E020", "seed="),
        ({"bits": "3"}, "E020", "bits= takes a number"),
        ({"bits": float("nan")}, "E020", "bits= takes a number"),
        ({"bits": -1}, "E020", "positive"),
        ({"target_size": "3 apples"}, "E020", "target_size="),
        ({"target_size": 2.5}, "E020", "target_size="),
        ({"bits": 3, "target_size": 9}, "E022", "both fix the size"),
        ({"scheme": 3}, "E020", "scheme= takes"),
        ({"keep_exact": 3}, "E020", "keep_exact= takes names"),
        ({"roles": "kernels"}, "E021", "did you mean 'kernel'"),
        ({"keep_exact": "nothing"}, "E021", "no weight is named"),
        ({"preprocess": 3}, "E020", "preprocess= takes"),
        ({"data": 3, "max_kl": 0.1}, "E020", "data= takes"),
        ({"data": TEST_IMAGES}, "E023", "max_drop="),
        ({"data": TEST_IMAGES, "max_kl": True}, "E020", "max_kl= takes a number"),
        ({"data": TEST_IMAGES, "max_kl": -1}, "E020", "max_kl= is a positive"),
        ({"data": TEST_IMAGES, "max_kl": 0.1, "fold_bn": True}, "E022", "leave out scheme="),
        ({"data": TEST_IMAGES, "max_kl": 0.1, "bits": 3}, "E022", "cannot both"),
        ({"data": TEST_IMAGES, "max_kl": 0.1, "images": 1}, "E020", "images="),
        ({"max_kl": 0.1}, "E023", "give data="),
        ({"max_judge_drop": 1}, "E023", "judge="),
        ({"judge": 3}, "E020", "judge= takes a function"),
        ({"judge": lambda a, b: "good"}, "E020", "judge= must give one number"),
        ({"judge": lambda a, b: float("nan")}, "E020", "judge= gives the original nan"),
    ],
)  # fmt: skip
def test_arguments_that_make_no_sense(options: dict[str, Any], code: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        enxuto.compress(MODEL, **options)
    assert caught.value.code == code


def test_a_model_of_a_wrong_type() -> None:
    with pytest.raises(UsageError, match="model= takes a path"):
        enxuto.compress(3)  # type: ignore[arg-type]


def test_compress_stays_a_function_whatever_is_imported() -> None:
    code = (
        "import enxuto, enxuto.compression, enxuto.compression.compress, enxuto.enx.verify, enxuto.enx.inspect;"
        "assert callable(enxuto.compress) and callable(enxuto.verify) and callable(enxuto.inspect);"
        "assert enxuto.quantize.BalancedSteps"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_everything_public_is_shown_in_a_line_or_two(cache: Path, tmp_path: Path) -> None:
    small = enxuto.compress(MODEL, data=TEST_IMAGES, max_kl=0.05, images=48, cache=cache)
    small.save(tmp_path / "a.enx")
    data = enxuto.open_dataset(TEST_IMAGES)
    result = enxuto.evaluate(enxuto.Runner(MODEL).scores, data, preprocess=GREY)
    shown = {
        "small": (small, f"{small.file_bytes:,} B"),
        "report": (small.report, "held-out samples"),
        "trial": (small.trials[0], "KL"),
        "compressed": (small.compressed, "tensors"),
        "model": (small.model, "weights"),
        "ledger": (small.ledger, "float32 weights"),
        "runner": (enxuto.Runner(MODEL), "→"),
        "data": (data, "360"),
        "evaluation": (result, "top-1"),
        "verification": (enxuto.verify(tmp_path / "a.enx", MODEL), "ok"),
        "inspection": (enxuto.inspect(tmp_path / "a.enx"), "bits per weight"),
        "onnx": (enxuto.inspect(MODEL), "ONNX model"),
        "preprocess": (GREY, "channels='L'"),
    }
    for name, (value, part) in shown.items():
        text = repr(value)
        assert part in text, name
        assert len(text) <= 400, text
        assert text.count("\n") <= 1, text


def test_progress_is_a_function_or_a_bar_on_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    told: list[str] = []
    exact = {"keep_exact": "*", "threads": 1}
    plain = enxuto.compress(MODEL, progress=lambda stage, done, total: told.append(stage), **exact)
    assert capfd.readouterr() == ("", "")
    shown = enxuto.compress(MODEL, progress=True, **exact)
    assert capfd.readouterr().out == ""
    assert enxuto.compress(MODEL, progress=False, **exact).to_bytes() == shown.to_bytes() == plain.to_bytes()
