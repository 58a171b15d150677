"""`enxuto.compress(…, retrain=…)` on a tiny network: bounds kept, bytes repeated, interrupted and resumed."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper

import enxuto
from enxuto.compression.at_price import PricedModel
from enxuto.compression.judge import Bounds, Judgement
from enxuto.compression.retrainer import (
    RemovedFilters,
    Retrained,
    RetrainingCheck,
    RetrainingTask,
    TaskSettings,
    array_of,
)
from enxuto.compression.split import split_for_training
from enxuto.data import dataset_of_arrays
from enxuto.data.samples import Samples
from enxuto.errors import UsageError
from enxuto.machine.signals import Terminated
from enxuto.onnx_model import Model
from enxuto.quantize.grid import Grid
from enxuto.quantize.tensor import QuantizedTensor
from enxuto.retraining import removal, strategy, training
from enxuto.retraining.checkpoint import RetrainingCheckpoint
from enxuto.retraining.divergence import divergence_from
from enxuto.retraining.levels import LearnedLevels
from enxuto.retraining.student import Student
from enxuto.runtime import Runner
from tiny_classifier import CLASSES, JUDGING, MODEL, TRAINING

FEW = enxuto.Retraining(epochs=1.5, batch=16, checks=3, rate=0.03)


@pytest.fixture(autouse=True)
def few_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("enxuto.compression.search._TRIALS", 3)


@pytest.fixture(scope="module")
def calibrations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("calibrations")


def compress(cache: Path, retrain: Any = FEW, **options: Any) -> enxuto.CompressionResult:
    bound = {"bits": 3.1} if not options.keys() & {"bits", "max_kl", "min_agreement"} else {}
    return enxuto.compress(
        MODEL, data=JUDGING, calibration=TRAINING, images=64, outputs=CLASSES, retrain=retrain, cache=cache, threads=1,
        **{**bound, **options},
    )  # fmt: skip


def retrained_of(result: enxuto.CompressionResult) -> Any:
    assert result.calibrated is not None
    assert result.calibrated.retrained is not None
    return result.calibrated.retrained


@pytest.fixture(scope="module")
def trained(calibrations: Path) -> enxuto.CompressionResult:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("enxuto.compression.search._TRIALS", 3)
        return compress(
            calibrations, enxuto.Retraining(epochs=3, batch=16, checks=3, rate=0.03, control=True)
        )


def test_training_finds_a_better_file_of_the_size(trained: enxuto.CompressionResult) -> None:
    found = retrained_of(trained)
    assert found.improved
    assert found.best.loss < found.start.loss
    assert trained.file_bytes == found.best.bytes == len(trained.to_bytes())
    assert 8 * trained.file_bytes <= 3.1 * trained.parameters
    assert found.images == 3 * 512
    assert len(found.checks) == 3
    assert found.removed is not None
    assert found.removed.of == 8 + 16 + 10
    assert found.removed.reason == ""
    before = trained.calibrated.before_retraining if trained.calibrated is not None else None
    assert before is not None
    assert trained.report is not None
    assert trained.report.kl is not None
    assert trained.report.kl < before.kl
    assert found.control is not None
    assert 0 <= found.control.kl < before.kl


def test_the_file_is_an_ordinary_one(trained: enxuto.CompressionResult, tmp_path: Path) -> None:
    trained.save(tmp_path / "model.enx")
    assert enxuto.verify(tmp_path / "model.enx", enxuto.Model.from_proto(MODEL)).ok
    assert set(trained.model.weight_names) == {item.name for item in MODEL.graph.initializer}


@pytest.fixture(scope="module")
def whole(calibrations: Path) -> enxuto.CompressionResult:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("enxuto.compression.search._TRIALS", 3)
        return compress(calibrations)


def test_the_same_seed_gives_the_same_bytes(calibrations: Path, whole: enxuto.CompressionResult) -> None:
    assert compress(calibrations).to_bytes() == whole.to_bytes()


def test_steps_that_were_taken_to_time_them_leave_nothing_behind(
    calibrations: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Minutes are epochs that are measured, and so many epochs repeat them."""
    monkeypatch.setattr("enxuto.retraining.schedule._FEWEST", 48)
    by_minutes = compress(calibrations, replace(FEW, epochs=None, minutes=1e-3))
    found = retrained_of(by_minutes)
    assert found.planned_epochs == 1.5
    again = compress(calibrations, FEW)
    assert [row.to_dict()["judged"] for row in retrained_of(again).checks] == [
        row.to_dict()["judged"] for row in found.checks
    ]
    assert again.to_bytes() == by_minutes.to_bytes()


@pytest.mark.filterwarnings(
    "ignore:the bound holds"
)  # many answers change, as this network has nearly flat ones
@pytest.mark.parametrize("bound", [{"max_kl": 0.05}, {"min_agreement": 85.0}])
def test_a_bound_on_the_loss_is_kept_and_the_file_is_no_larger(
    bound: dict[str, float], calibrations: Path
) -> None:
    result = compress(calibrations, **bound)
    found = retrained_of(result)
    assert found.best.fits
    assert found.best.bytes <= found.start.bytes
    assert Bounds(**bound).violation(found.best.judgement) is None


@pytest.mark.parametrize("bits", [3.1, 4.0])
def test_training_starts_at_the_size_asked_for(
    bits: float, calibrations: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[tuple[float, int | None]] = []
    monkeypatch.setattr("enxuto.compression.search._TRIALS", 12)  # until one fits, on any machine

    def ended(run: Any) -> str:
        size = run._file_of(run.descent.averages.values, run.start.price).model.file_bytes
        sizes.append((size, run.task.bounds.max_bytes))
        return "looked at"

    monkeypatch.setattr(training._Run, "train", ended)
    compress(calibrations, bits=bits)
    [(size, most)] = sizes
    assert most is not None
    assert 0.93 * most < size <= 1.02 * most


class Stops:
    """Progress that raises at one step of a training."""

    def __init__(self, step: int) -> None:
        self.step = step

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage == "retraining" and done == self.step:
            raise KeyboardInterrupt


def test_an_interrupted_training_keeps_the_best_file_and_goes_on_bit_for_bit(
    calibrations: Path, whole: enxuto.CompressionResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "_SECONDS_BETWEEN", -1.0)
    stopped = compress(calibrations, progress=Stops(30))
    found = retrained_of(stopped)
    assert found.ended == "interrupted"
    assert found.images == 30 * 16
    assert found.best.fits
    seen: list[int] = []
    again = compress(
        calibrations, progress=lambda stage, done, _: seen.append(done) if stage == "retraining" else None
    )
    assert seen[0] == 21  # it went on from the checkpoint
    assert again.to_bytes() == whole.to_bytes()
    assert [one.bytes for one in retrained_of(again).checks] == [
        one.bytes for one in retrained_of(whole).checks
    ]
    assert not list(calibrations.glob("*.retraining.pt"))


def test_a_training_that_starts_ruined_comes_down_from_a_larger_file(
    calibrations: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It loses size at every check, no rate, and goes on bit for bit where it was interrupted."""
    monkeypatch.setattr("enxuto.compression.search._TRIALS", 12)  # until one fits, on any machine
    monkeypatch.setattr(strategy, "_DOWN_FROM", ((200, -1.0),))
    monkeypatch.setattr(training, "_SECONDS_BETWEEN", -1.0)
    monkeypatch.setattr(training, "_FEWEST_BETWEEN", 4)
    asked = enxuto.Retraining(epochs=7, batch=16, checks=4, rate=0.1)
    whole = compress(calibrations, asked)
    found, most = retrained_of(whole), 3.1 * whole.parameters / 8
    sizes = [check.bytes for check in found.checks]
    assert sizes[0] > 1.2 * most
    assert [check.coming_down for check in found.checks] == [True, False, False, False]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < 0.7 * sizes[0]
    assert found.halvings == 0
    assert len({check.price for check in found.checks}) == 1, (
        "a controller's price is no price of what is not learned"
    )
    stopped = retrained_of(compress(calibrations, asked, progress=Stops(101)))
    assert stopped.ended == "interrupted"
    again = retrained_of(compress(calibrations, asked))
    assert [(one.bytes, one.loss, one.price) for one in again.checks] == [
        (one.bytes, one.loss, one.price) for one in found.checks
    ]


@pytest.mark.parametrize(("rate", "ruinous"), [(1.0, True), (0.001, False)])
def test_training_that_makes_worse_goes_on_more_gently(
    rate: float, ruinous: bool, calibrations: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rate halves as long as files are worse than the start and do not recover; resuming knows it."""
    monkeypatch.setattr(training, "_SECONDS_BETWEEN", -1.0)
    monkeypatch.setattr(training, "_FEWEST_BETWEEN", 4)
    monkeypatch.setattr("enxuto.compression.search._TRIALS", 12)  # until one fits, on any machine
    halved: list[int] = []
    check = training._Run._check

    def seen(run: Any) -> None:
        check(run)
        halved.append(len(run.schedule.halved))

    monkeypatch.setattr(training._Run, "_check", seen)
    asked = enxuto.Retraining(epochs=1.5, batch=16, checks=6, rate=rate)
    whole = compress(calibrations, asked, bits=4.0)
    assert len(halved) == 6
    assert (halved[0] == 1) == ruinous
    assert halved == sorted(halved)
    assert retrained_of(whole).halvings == halved[-1] <= 4
    first, halved[:] = list(halved), []
    compress(calibrations, asked, bits=4.0, progress=Stops(30))
    assert compress(calibrations, asked, bits=4.0).to_bytes() == whole.to_bytes()
    assert halved == first


@pytest.mark.parametrize("signal", [KeyboardInterrupt, Terminated])
def test_an_interrupted_control_does_not_cost_the_finished_file(
    signal: type[KeyboardInterrupt], calibrations: Path, whole: enxuto.CompressionResult
) -> None:
    def stop(stage: str, *_: int) -> None:
        if stage == "training the control":
            raise signal

    asked = replace(FEW, control=True)
    if signal is Terminated:  # which ends at once: the next call need not train again
        with pytest.raises(Terminated):
            compress(calibrations, asked, progress=stop)
        (kept,) = calibrations.glob("*.retraining.pt")
        kept.unlink()
        return
    with pytest.warns(UserWarning, match="no control"):
        found = compress(calibrations, asked, progress=stop)
    assert (retrained_of(found).ended, retrained_of(found).control) == ("", None)
    assert found.to_bytes() == whole.to_bytes()


@pytest.mark.parametrize("contents", [b"", b"PK\x03\x04 torn", b"not an archive"])
def test_a_damaged_checkpoint_is_left_alone_with_a_warning(contents: bytes, tmp_path: Path) -> None:
    settings = TaskSettings({}, (), (), 0, 1, tmp_path / "search.trials.jsonl")
    task: Any = SimpleNamespace(settings=settings, bounds=Bounds(max_bytes=9), images=TRAINING, labels=None)
    checkpoint = RetrainingCheckpoint(task, FEW, "images")
    assert checkpoint.read() is None
    assert RetrainingCheckpoint(task, FEW, "others that choose").path != checkpoint.path
    checkpoint.write({"step": 3})
    assert (checkpoint.read() or {})["step"] == 3
    other = RetrainingCheckpoint(task, replace(FEW, rate=0.5), "images")
    assert other.path != checkpoint.path
    checkpoint.path.replace(other.path)
    assert other.read() is None  # of other settings
    checkpoint.path.write_bytes(contents)
    with pytest.warns(UserWarning, match="starts anew"):
        assert checkpoint.read() is None


@pytest.mark.filterwarnings("ignore:the bound holds")
@pytest.mark.parametrize("on_trellis", [True, False])
def test_weights_beyond_all_levels_end_training_with_the_best_file(
    calibrations: Path, monkeypatch: pytest.MonkeyPatch, on_trellis: bool
) -> None:
    calls: list[int] = []
    levels_of = LearnedLevels.levels_of

    def growing(weight: LearnedLevels, numbers: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return levels_of(weight, numbers * (1e12 if len(calls) > 60 else 1.0))

    monkeypatch.setattr(LearnedLevels, "levels_of", growing)
    found = retrained_of(compress(calibrations, replace(FEW, also_prune=not on_trellis), max_kl=0.05))
    assert (found.strategy == "trellis") == on_trellis
    assert "levels stay below 2**30" in found.ended
    assert found.best.fits


def test_a_loss_that_is_no_number_ends_training_with_the_best_file(
    calibrations: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def diverging(*args: Any) -> torch.Tensor:
        calls.append(1)
        return divergence_from(*args) * (torch.nan if len(calls) > 30 else 1.0)

    monkeypatch.setattr("enxuto.retraining.descent.divergence_from", diverging)
    result = compress(calibrations)
    found = retrained_of(result)
    assert found.ended == "the loss became NaN or infinite"
    assert found.best.fits
    assert result.report is not None
    assert result.report.kl is not None
    assert np.isfinite(result.report.kl)


@pytest.mark.filterwarnings(
    "ignore:the bound holds"
)  # many answers change, as this network has nearly flat ones
def test_what_training_makes_worse_is_not_handed_back(calibrations: Path) -> None:
    ruinous = enxuto.Retraining(epochs=1, batch=16, checks=1, rate=30.0)
    result = compress(calibrations, ruinous, max_kl=0.15)
    assert not retrained_of(result).improved
    plain = enxuto.compress(
        MODEL, data=JUDGING, calibration=TRAINING, images=64, outputs=CLASSES, max_kl=0.15, cache=calibrations,
        threads=1,
    )  # fmt: skip
    assert result.to_bytes() == plain.to_bytes()


@pytest.mark.parametrize(
    ("size", "violation"), [(90, None), (110, "the file takes 110 bytes, more than 100")]
)
def test_a_bound_is_said_of_the_file_without_dead_filters(
    size: int, violation: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What leaves it may bring it below the size asked for."""
    judgement = Judgement(9, None, None, None, 99.0, None, 0.1, "")
    start, best = (
        RetrainingCheck(0, 0.0, 1.0, bytes, judgement, f"the file takes {bytes} bytes")
        for bytes in (130, 120)
    )
    unused: Any = None
    found = Retrained(PricedModel(unused, 1.0, ()), best, start, (best,), 0, 0.0, 0.0, 0.0)
    smaller = SimpleNamespace(file_bytes=size)
    monkeypatch.setattr(removal, "remove_dead_filters", lambda *_, **__: (smaller, RemovedFilters(1, 2)))
    task = RetrainingTask(
        unused, unused, np.zeros((1, 1, 8, 8), np.float32), True, Bounds(max_bytes=100), unused, unused
    )
    assert (told := removal.without_dead_filters(found, task).best).violation == violation
    assert told.bytes == size


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("bounds", [Bounds(max_bytes=100), Bounds(max_kl=0.1)])
def test_images_that_train_choose_and_report_are_different_ones(bounds: Bounds, labelled: bool) -> None:
    every = np.arange(3000, dtype=np.float32).reshape(-1, 1, 1, 1)
    data = dataset_of_arrays(every, np.zeros(3000, np.int64)) if labelled else dataset_of_arrays(every)
    parts = split_for_training(data, None, bounds, 64, 0)
    found = [
        {float(part.image(i).reshape(-1)[0]) for i in range(len(part))}
        for part in (parts.training, parts.judging, parts.held_out)
    ]
    assert sum(map(len, found)) == len(set().union(*found)) == 3000
    assert len(parts.training) == 2000
    calibrating = {float(parts.calibration.image(i).reshape(-1)[0]) for i in range(len(parts.calibration))}
    assert calibrating <= found[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "needs images"),
        ({"synthetic": True, "bits": 2}, "needs images"),
        ({"calibration": TRAINING, "bits": 2}, "to judge by"),
        ({"data": JUDGING, "judge": lambda a, b: 0.0, "max_judge_drop": 1}, "leave out judge="),
        ({"data": JUDGING, "bits": 2, "retrain": "yes"}, "retrain= takes"),
    ],
)
def test_what_retraining_cannot_do_is_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        enxuto.compress(MODEL, **{"retrain": FEW, **options})


@pytest.mark.parametrize(
    "settings",
    [
        {"minutes": 1, "epochs": 1},
        {"minutes": 0},
        {"epochs": float("nan")},
        {"epochs": 1e308},
        {"minutes": float("inf")},
        {"mix": 2},
        {"batch": 1},
        {"checks": 0},
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        enxuto.Retraining(**settings)


def fixed_batch(size: int) -> onnx.ModelProto:
    model = onnx.ModelProto()
    model.CopyFrom(MODEL)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = size
    return model


def test_samples_of_a_model_that_takes_one_at_a_time_are_trained_on(calibrations: Path) -> None:
    """Fixed batch 1: arrays are kept one by one, and trained on together."""
    arrays = {"x": TRAINING}, {"x": JUDGING}
    result = enxuto.compress(
        fixed_batch(1), calibration=arrays[0], data=arrays[1], images=64, outputs=CLASSES, retrain=FEW, bits=3.3,
        cache=calibrations, threads=1,
    )  # fmt: skip
    assert retrained_of(result).images == 1.5 * 512
    assert result.calibrated is not None
    assert result.calibrated.trained_on is not None
    assert result.calibrated.trained_on[0] == 512


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"x": [np.zeros((1, 1, 8, 8)), np.zeros((1, 1, 9, 8))]}, r"of one size; those of 'x' have"),
        ({"x": [np.zeros((4, 1, 8, 8))] * 2}, r"batch size is fixed"),
        ({"x": [np.zeros(())] * 2}, r"first axis"),
        ({"x": np.zeros((2, 3), np.int64)}, r"floating-point numbers; 'x' takes int64"),
        ({"x": np.zeros((2, 3)), "y": np.zeros((2, 3))}, r"a model of one input; here are x, y"),
    ],
)
def test_samples_that_cannot_train_are_told_apart(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        array_of(Samples(columns, "a.npz"))


def test_a_matrix_that_is_its_own_transpose_is_trained_the_right_way_round() -> None:
    """Its numbers say nothing of how a network holds it; levels that are learned are not symmetric any more."""
    generator = np.random.default_rng(0)
    half = generator.standard_normal((64, 64)).astype(np.float32)
    arrays = {"s": half + half.T, "last": generator.standard_normal((64, 10)).astype(np.float32)}
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["x"], ["a"]), helper.make_node("MatMul", ["a", "s"], ["b"]),
         helper.make_node("Relu", ["b"], ["c"]), helper.make_node("MatMul", ["c", "last"], ["y"])],
        "symmetric",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 1, 8, 8])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 10])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )  # fmt: skip
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    model = Model.from_proto(proto)
    grid = Grid(0.5)
    levels = {
        name: QuantizedTensor(np.rint(array / 0.5).astype(np.int32), grid) for name, array in arrays.items()
    }
    decoded = model.replace_weights(
        {name: tensor.reconstruct().astype(np.float32) for name, tensor in levels.items()}
    )
    student = Student(decoded, arrays, levels, {}, 0.1, shape=(1, 8, 8))
    with torch.no_grad():
        for weight in student.weights.values():
            weight.latent += torch.from_numpy(generator.normal(0, 2, weight.latent.shape).astype(np.float32))
        found = student(torch.from_numpy(TRAINING[:8])).numpy()
    want = Runner(decoded.replace_weights(student.values()), threads=1).scores(TRAINING[:8])
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-3)


def test_without_pytorch_the_error_names_the_extra(
    calibrations: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UsageError, match=r"\[train\]"):
        compress(calibrations)


@pytest.mark.parametrize(
    ("gains", "bounds", "taken"),
    [
        ((0.01, 0.0), Bounds(max_bytes=100), True),
        ((0.01, 0.2), Bounds(max_bytes=100), False),
        ((0.01, 0.2), Bounds(max_kl=0.5), True),
    ],
)
def test_a_file_that_is_better_by_chance_is_not_taken(
    gains: tuple[float, float], bounds: Bounds, taken: bool
) -> None:
    """gains: mean and spread over images that choose of what the best file loses less. A bounded loss is none of it."""
    generator = np.random.default_rng(0)
    before = generator.exponential(0.1, 100)
    after = before - gains[0] - gains[1] * generator.standard_normal(100)
    judgement = Judgement(100, None, None, None, 99.0, None, 0.1, "")
    start, best = (
        RetrainingCheck(0, 0.0, 1.0, 90, replace(judgement, kl=float(losses.mean())), None)
        for losses in (before, after)
    )
    files: Any = [PricedModel(cast(Any, number), 1.0, ()) for number in (0, 1)]
    found = Retrained(files[1], best, start, (best,), 0, 0.0, 0.0, 0.0)
    judge: Any = SimpleNamespace(losses=lambda number: (before, after)[number])
    unused: Any = None
    task = RetrainingTask(unused, files[0], np.zeros((1, 1)), True, bounds, judge, unused)
    result = task.without_luck(found)
    assert result.improved == taken
    assert (result.outcome is files[1]) == taken
    assert result.not_taken == (None if taken else best)
    assert (result.to_dict()["not_taken"] is None) == taken
