"""Which strategy a training takes to its bound, and what its file's levels lie on."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import enxuto
from enxuto.compression.judge import Bounds, Judgement
from enxuto.compression.retrainer import Retrained, RetrainingCheck
from enxuto.data import dataset_of_arrays
from enxuto.enx.file import CompressedModel
from enxuto.enx.table import LevelsRow
from enxuto.onnx_model import Model
from enxuto.quantize.grid import Grid
from enxuto.retraining import training
from enxuto.retraining.price import PriceOfBits
from enxuto.retraining.strategy import (
    BY_LABELS,
    DOWN,
    GROWING,
    ON_TRELLIS,
    Strategy,
    choose_strategy,
    comes_down_instead,
    strategy_named,
    strategy_of_long_training,
)
from enxuto.retraining.student import Student
from enxuto.runtime import Runner
from tiny_classifier import CLASSES, JUDGING, MODEL, TRAINING

SETTINGS = enxuto.Retraining(epochs=2, batch=16, checks=2, rate=0.01)


@pytest.fixture(autouse=True)
def few_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("enxuto.compression.search._TRIALS", 3)


def network_of_matrices() -> onnx.ModelProto:
    """Return x·W, a rectifier and x·W: layers that have no trellis."""
    generator = np.random.default_rng(0)
    shapes = {"one": (64, 48), "two": (48, 10)}
    weights = {name: generator.laplace(0, 0.15, shape).astype(np.float32) for name, shape in shapes.items()}
    nodes = [
        helper.make_node("Flatten", ["x"], ["a"]),
        helper.make_node("MatMul", ["a", "one"], ["b"]),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("MatMul", ["c", "two"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "matrices",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 10])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )  # fmt: skip
    made: onnx.ModelProto = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    return made


def retrain(
    cache: Path, settings: enxuto.Retraining, model: onnx.ModelProto = MODEL, **options: Any
) -> tuple[Retrained, CompressedModel]:
    bound = {"bits": 3.1} if "max_kl" not in options else {}
    result = enxuto.compress(
        model, data=JUDGING, calibration=TRAINING, images=64, outputs=CLASSES, retrain=settings, cache=cache,
        **{"threads": 1, **bound, **options},
    )  # fmt: skip
    assert result.calibrated is not None
    found = result.calibrated.retrained
    assert found is not None
    return found, result.compressed


def judged(loss: float) -> RetrainingCheck:
    return RetrainingCheck(0, 0.0, 1e-6, 999, Judgement(9, 90.0, 90.0, 0.0, 99.0, None, loss, ""), None)


def trellises(file: CompressedModel) -> set[int]:
    """Return the trellises that kernels and matrices of a file lie on."""
    quantizers = [
        payload.quantizer()
        for payload in file.payloads
        if isinstance(payload.row, LevelsRow) and len(payload.row.tensors[0].shape) > 1
    ]
    return {one.trellis for one in quantizers if isinstance(one, Grid)}


ON_IT, OFF_IT = (
    enxuto.compress(MODEL, bits=6, rounding=rounding).compressed for rounding in ("trellis", "nearest")
)


@pytest.mark.parametrize(
    ("bounds", "file", "loss", "prunes", "expected"),
    [
        (Bounds(max_kl=0.05), ON_IT, 0.05, False, ON_TRELLIS),
        (Bounds(min_agreement=95), ON_IT, 0.05, False, ON_TRELLIS),
        (Bounds(max_drop=0.5), ON_IT, 0.05, False, GROWING),
        (Bounds(max_judge_drop=0.5), ON_IT, 0.05, False, GROWING),
        (Bounds(max_bytes=1000), ON_IT, 0.05, False, ON_TRELLIS),
        (Bounds(max_bytes=1000), ON_IT, 0.2, False, ON_TRELLIS),
        (Bounds(max_bytes=1000), ON_IT, 0.5, False, GROWING),
        (Bounds(max_bytes=1000), ON_IT, 0.05, True, GROWING),
        (Bounds(max_bytes=1000), OFF_IT, 0.05, False, GROWING),
        (Bounds(max_kl=0.05), ON_IT, 0.5, False, GROWING),
    ],
)
def test_levels_stay_on_the_trellis_where_a_size_is_asked_for_and_little_is_lost(
    bounds: Bounds, file: CompressedModel, loss: float, prunes: bool, expected: Strategy
) -> None:
    assert choose_strategy(bounds, file, judged(loss), prunes=prunes) is expected


@pytest.mark.parametrize(
    ("loss", "steps", "down"),
    [(0.8, 999, False), (0.8, 1_000, True), (0.5, 1_000, False), (0.5, 3_000, True), (0.2, 100_000, False)],
)
def test_long_trainings_come_down_where_the_start_has_lost_much(loss: float, steps: int, down: bool) -> None:
    assert comes_down_instead(loss, steps) == down
    found = strategy_of_long_training(Bounds(max_bytes=100), loss, steps, by_labels=True)
    assert found == (DOWN if down else None)


@pytest.mark.parametrize("steps", [999, 1_000])
@pytest.mark.parametrize("by_labels", [False, True])
@pytest.mark.parametrize(
    ("bounds", "limits_drop"),
    [
        (Bounds(max_drop=0.5), True), (Bounds(max_drop=0.5, max_kl=0.1), True), (Bounds(max_kl=0.1), False),
        (Bounds(min_agreement=90), False), (Bounds(max_judge_drop=1), False), (Bounds(min_snr=30), False),
    ],
)  # fmt: skip
def test_long_trainings_by_labels_begin_at_a_far_smaller_file(
    bounds: Bounds, limits_drop: bool, by_labels: bool, steps: int
) -> None:
    """At 0.2 nats, or eight times the price; a start that has lost that much stays."""
    begins = limits_drop and by_labels and steps >= 1_000
    for loss, coarser in ((0.0, 16.0), (0.01, 16.0), (0.05, 8.0), (0.1, 4.0), (0.2, None)):
        found = strategy_of_long_training(bounds, loss, steps, by_labels=by_labels)
        assert (found is None) == (not begins or coarser is None)
        if found is not None:
            assert found.coarser == pytest.approx(coarser)
            assert found.name == BY_LABELS.name
            assert found.grows


def dropped(points: float) -> Judgement:
    return Judgement(9, 90.0, points, None, 99.0, None, 0.1, "")


def test_a_training_by_labels_begins_finer_where_points_do_not_come_back() -> None:
    bounds = Bounds(max_drop=0.5)
    begun = replace(BY_LABELS, coarser=10.0)
    for drop, progress, coarser in (
        (3.0, 0.2, None), (5.2, 0.2, None), (5.4, 0.2, 2.5), (60.0, 0.2, 2.5), (2.8, 0.6, None), (3.0, 0.6, 2.5),
    ):  # fmt: skip
        again = begun.again(bounds, dropped(drop), progress)
        assert (None if again is None else again.coarser) == coarser
    assert replace(begun, coarser=4.0).again(bounds, dropped(60.0)) == replace(begun, coarser=2.0)
    assert replace(begun, coarser=2.0).again(bounds, dropped(60.0)) is None


@pytest.mark.filterwarnings("ignore:the bound holds")
def test_a_training_by_labels_goes_on_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("enxuto.retraining.strategy._LABELS_FROM", 100)
    monkeypatch.setattr(training, "_SECONDS_BETWEEN", -1.0)
    monkeypatch.setattr(training, "_FEWEST_BETWEEN", 4)
    scores = Runner(Model.from_proto(MODEL)).scores
    judging, learning = (
        dataset_of_arrays(images, scores(images).reshape(len(images), -1).argmax(1))
        for images in (JUDGING, TRAINING)
    )
    settings = enxuto.Retraining(epochs=4, batch=16, checks=4, rate=0.01, label_weight=0.5)

    def within(progress: Any = None) -> Retrained:
        result = enxuto.compress(
            MODEL, data=judging, calibration=learning, images=64, max_drop=20.0, retrain=settings, cache=tmp_path,
            threads=1, progress=progress,
        )  # fmt: skip
        assert result.calibrated is not None
        assert result.calibrated.retrained is not None
        return result.calibrated.retrained

    found = within()
    assert found.strategy == "by labels"
    assert found.label_weight == 0.5
    assert found.checks[0].bytes < 0.8 * found.start.bytes

    def stop(stage: str, done: int, _: int) -> None:
        if stage == "retraining" and done == 101:
            raise KeyboardInterrupt

    assert within(stop).ended == "interrupted"
    again = within()
    assert [(one.bytes, one.loss) for one in again.checks] == [(one.bytes, one.loss) for one in found.checks]


def test_with_less_than_a_bit_a_weight_levels_leave_the_trellis(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = sum(
        math.prod(entry.shape) for payload in ON_IT.payloads if isinstance(payload.row, LevelsRow)
        for entry in payload.row.tensors
    )  # fmt: skip
    chosen = {}
    for size in (weights // 8 - 1, weights // 8 + 1):
        monkeypatch.setattr(CompressedModel, "file_bytes", size)
        chosen[8 * size > weights] = choose_strategy(Bounds(max_bytes=9999), ON_IT, judged(0.1), prunes=False)
    assert chosen == {False: GROWING, True: ON_TRELLIS}


@pytest.mark.parametrize("strategy", [ON_TRELLIS, GROWING, DOWN])
def test_checkpoints_name_strategies(strategy: Strategy) -> None:
    assert strategy_named(strategy.name) is strategy


def test_other_names_are_no_strategies() -> None:
    with pytest.raises(ValueError, match="no strategy 'up'"):
        strategy_named("up")


@pytest.mark.parametrize(
    ("settings", "options", "name", "levels"),
    [
        (SETTINGS, {}, "trellis", {32}),
        (replace(SETTINGS, also_prune=True), {}, "growing", {0}),
        (SETTINGS, {"model": network_of_matrices()}, "growing", {0}),
    ],
)
def test_files_have_the_levels_of_the_strategy(
    tmp_path: Path, settings: enxuto.Retraining, options: dict[str, Any], name: str, levels: set[int]
) -> None:
    found, file = retrain(tmp_path, settings, **options)
    assert found.improved, "what is looked at is what was trained"
    assert (found.strategy, found.to_dict()["strategy"]) == (name, name)
    assert trellises(file) == levels


def test_where_more_is_lost_steps_grow_to_the_size_and_it_goes_on_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("enxuto.retraining.strategy.ON_TRELLIS", replace(ON_TRELLIS, most_loss=-1.0))
    monkeypatch.setattr(training, "_SECONDS_BETWEEN", -1.0)
    owed = []

    def price_of(*given: Any) -> PriceOfBits:
        owed.append((made := PriceOfBits(*given)).owed)
        return made

    monkeypatch.setattr(training, "PriceOfBits", price_of)
    found, whole = retrain(tmp_path, SETTINGS)
    assert found.strategy == "growing"
    assert owed == [0.0], "steps grow by what the price rose, and it has not yet"
    assert found.best.bytes <= 3.1 / 8 * 3818

    def stop(stage: str, done: int, _: int) -> None:
        if stage == "retraining" and done == 40:
            raise KeyboardInterrupt

    stopped, _ = retrain(tmp_path, SETTINGS, progress=stop)
    assert stopped.ended == "interrupted"
    seen: list[int] = []
    _, again = retrain(
        tmp_path,
        SETTINGS,
        progress=lambda stage, done, _: seen.append(done) if stage == "retraining" else None,
    )
    assert seen[0] > 1
    assert again.to_bytes() == whole.to_bytes()


@pytest.mark.filterwarnings("ignore:the bound holds")
def test_with_a_bound_on_the_loss_training_begins_again_where_it_promises_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here it wants much room, so that it begins once more both times; and it goes on bit for bit."""
    monkeypatch.setattr(training, "_SECONDS_BETWEEN", -1.0)
    monkeypatch.setattr("enxuto.retraining.strategy._ROOM", 0.3)
    monkeypatch.setattr("enxuto.retraining.strategy._MOST_ROOM", -1.0)
    asked = replace(SETTINGS, epochs=6, checks=10)
    found, file = retrain(tmp_path, asked, max_kl=0.03)
    assert found.strategy == "trellis"
    assert found.best.judgement.kl <= 0.03
    sizes = [one.bytes for one in found.checks]
    jumps = [place for place in range(1, 10) if abs(sizes[place] / sizes[place - 1] - 1) > 0.01]
    assert jumps == [2], "after a fifth of the training; after three, as coarse as then"

    def stop(stage: str, done: int, _: int) -> None:
        if stage == "retraining" and done == 120:
            raise KeyboardInterrupt

    assert retrain(tmp_path, asked, max_kl=0.03, progress=stop)[0].ended == "interrupted"
    again, same = retrain(tmp_path, asked, max_kl=0.03)
    assert same.to_bytes() == file.to_bytes()
    assert [one.bytes for one in again.checks] == sizes


@pytest.mark.parametrize(
    ("strategy", "bounds", "kl", "expected"),
    [
        (ON_TRELLIS, Bounds(max_kl=0.1), 0.1, None),
        (ON_TRELLIS, Bounds(max_kl=0.1), 0.095, None),
        (ON_TRELLIS, Bounds(max_kl=0.1), 0.05, 1.2 * 2**0.96),
        (ON_TRELLIS, Bounds(max_kl=0.1), 0.4, 1.2 * 2**-1.04),
        (ON_TRELLIS, Bounds(max_bytes=99), 0.05, None),
        (ON_TRELLIS, Bounds(max_drop=1.0), 0.05, None),
        (GROWING, Bounds(max_kl=0.1), 0.05, None),
    ],
)
def test_it_begins_as_coarse_as_training_makes_up_for(
    strategy: Strategy, bounds: Bounds, kl: float, expected: float | None
) -> None:
    found = strategy.again(bounds, judged(kl).judgement)
    assert (found and found.coarser) == (expected and pytest.approx(expected))


def test_a_start_that_lost_too_much_leaves_the_trellis(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the calibrated file is larger than the size asked for, and has lost less than one of that size."""
    cautious = replace(ON_TRELLIS, most_loss=0.0)
    monkeypatch.setattr(training, "choose_strategy", lambda *_, **__: cautious)
    assert retrain(tmp_path, SETTINGS)[0].strategy == "growing"


def test_threads_change_no_level() -> None:
    model = Model.from_proto(MODEL)
    file = ON_IT.to_model()
    levels = {
        name: tensor
        for payload in ON_IT.payloads
        if isinstance(payload.row, LevelsRow)
        for name, tensor in payload.levels().items()
        if isinstance(tensor.quantizer, Grid)
    }
    student = Student(file, {name: model.load(name) for name in levels}, levels, {}, 0.1, shape=(1, 8, 8))
    assert len(student.weights) == 3
    with torch.no_grad():
        for weight in student.weights.values():
            weight.latent += torch.randn(weight.latent.shape, generator=torch.Generator().manual_seed(0))
    threads = torch.get_num_threads()
    try:
        found = []
        for count in (1, 3):
            torch.set_num_threads(count)
            found.append(student.levels())
    finally:
        torch.set_num_threads(threads)
    for name, one in found[0].items():
        assert torch.equal(one, found[1][name])
        assert torch.equal(one, student.weights[name].levels())
    assert student.refresh_rates() == student.bits_of_levels()
