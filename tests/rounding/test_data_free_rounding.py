"""Levels without images: each way against brute force, its bounds, and what a file of it keeps."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from enx_samples import DEMO
from enxuto.codec import entropy, fit
from enxuto.compression.data_free import compress
from enxuto.enx.file import CompressedModel
from enxuto.enx.verify import verify
from enxuto.errors import UsageError
from enxuto.onnx_model import Model
from enxuto.quantize.grid import Grid
from enxuto.quantize.scalar import DeadZone, Half
from enxuto.quantize.trellis import multiples
from enxuto.rounding.data_free import ROUNDINGS, round_weight
from enxuto.rounding.viterbi import nearest_path

WEIGHTS = np.random.default_rng(0).laplace(0, 1, (40, 30, 3, 3)).astype(np.float32)


@settings(deadline=None)
@given(hnp.arrays(np.float64, (2, 4), elements=st.floats(-3, 3)))
def test_no_path_is_nearer(scaled: np.ndarray) -> None:
    found = nearest_path(scaled)
    assert found is not None
    every = np.array(list(itertools.product(range(-2, 3), repeat=4)), np.int32)
    for row, levels in zip(scaled, found, strict=True):
        least = np.square(multiples(every) - row).sum(axis=1).min()
        assert np.square(multiples(levels[None])[0] - row).sum() == pytest.approx(least, abs=1e-9)


@settings(deadline=None)
@given(hnp.arrays(np.float64, (3, 9), elements=st.floats(-1e6, 1e6)))
def test_no_weight_on_a_path_is_off_by_more_than_two_steps(scaled: np.ndarray) -> None:
    found = nearest_path(scaled)
    assert found is not None
    assert np.abs(multiples(found) - scaled).max() <= 2 + 1e-6


@pytest.mark.parametrize("value", [2e9, np.inf, np.nan])
def test_a_path_needs_levels_of_thirty_bits(value: float) -> None:
    assert nearest_path(np.array([[0.0, value]])) is None


def test_what_no_grid_on_a_trellis_fits_is_rounded_to_nearest() -> None:
    fine = DeadZone(1e-9)
    quantizer, levels = round_weight(np.array([[0, 1.5]], np.float32), fine, "trellis")  # levels of 31 bits
    assert quantizer == fine
    assert levels.tolist() == fine.quantize(np.array([[0, 1.5]], np.float32)).tolist()
    with pytest.raises(UsageError, match="too small for values"):
        round_weight(np.array([[0, 5]], np.float32), fine, "trellis")
    tiny = DeadZone(1e-31)
    assert round_weight(WEIGHTS * np.float32(1e-30), tiny, "trellis")[0] == tiny
    dead = DeadZone((0.1, *[1e-20] * 39), axis=0)
    assert round_weight(WEIGHTS * np.float32(1e-12), dead, "trellis")[0] == dead
    positions = DeadZone((0.1, 0.2, 0.1), axis=2)
    assert round_weight(WEIGHTS, positions, "trellis")[0] == positions


def test_pieces_of_a_weight_are_rounded_as_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = DeadZone(tuple(np.geomspace(0.5, 2, 40).tolist()), axis=0)
    whole = round_weight(WEIGHTS, steps, "trellis")[1]
    monkeypatch.setattr("enxuto.rounding.data_free._AT_ONCE", 1000)
    np.testing.assert_array_equal(round_weight(WEIGHTS, steps, "trellis")[1], whole)


def test_a_trellis_has_less_error_at_equal_entropy() -> None:
    plain = DeadZone(1.0)
    nearest = plain.quantize(WEIGHTS)
    quantizer, levels = round_weight(WEIGHTS, plain, "trellis")
    assert quantizer == Grid(0.57, trellis=32)
    errors = [np.mean(np.square(values - WEIGHTS))
              for values in (plain.reconstruct(nearest), quantizer.reconstruct(levels))]  # fmt: skip
    # At 6.02 dB a bit, so many bits would make up for the difference.
    worth = np.log2(errors[0] / errors[1]) / 2 + entropy(nearest) - fit(levels).fitted.bits / levels.size
    assert 0.1 < worth < 0.25


def test_channels_keep_their_steps_in_quarters_of_an_octave() -> None:
    steps = tuple(float(step) for step in np.geomspace(0.1, 3, 40))
    quantizer, levels = round_weight(WEIGHTS, DeadZone(steps, axis=0), "trellis")
    assert isinstance(quantizer, Grid)
    ratios = quantizer.steps(WEIGHTS.shape)[0].reshape(-1) / (0.57 * np.array(steps))
    assert np.abs(np.log2(ratios)).max() < 0.13
    assert len(quantizer.rows) == 40
    assert not quantizer.columns
    assert np.abs(quantizer.reconstruct(levels) - WEIGHTS).max() <= 2 * 0.57 * 3 * 1.1
    columns, _ = round_weight(WEIGHTS, DeadZone(steps[:30], axis=1), "trellis")
    assert isinstance(columns, Grid)
    assert len(columns.columns) == 30


@pytest.mark.parametrize("shape", [(0,), (5,), (5, 1), (0, 4)])
def test_without_rows_a_trellis_rounds_to_nearest(shape: tuple[int, ...]) -> None:
    weight = np.linspace(-1, 1, max(1, int(np.prod(shape))), dtype=np.float32)[: int(np.prod(shape))].reshape(
        shape
    )
    quantizer, levels = round_weight(weight, DeadZone(0.25), "trellis")
    assert quantizer == DeadZone(0.25)
    np.testing.assert_array_equal(levels, DeadZone(0.25).quantize(weight))


def test_by_rate_a_level_is_one_of_two_and_saves_bits() -> None:
    plain = DeadZone(1.0)
    quantizer, levels = round_weight(WEIGHTS, plain, "rate")
    assert quantizer == plain
    assert np.abs(levels - WEIGHTS).max() < 1
    nearest = plain.quantize(WEIGHTS)
    moved = levels != nearest
    assert moved.any()
    assert (np.abs(levels) < np.abs(nearest))[moved].mean() > 0.99
    saved = entropy(nearest) - entropy(levels)
    errors = [np.mean(np.square(one - WEIGHTS)) for one in (nearest, levels)]
    assert errors[1] - errors[0] < np.log(2) / 6 * saved, "what is saved is worth its price"


def test_by_rate_clips_and_leaves_wide_levels_alone() -> None:
    _, clipped = round_weight(WEIGHTS, DeadZone(0.5, clip=(-1.0, 1.0)), "rate")
    assert np.abs(clipped).max() <= 2
    fine = DeadZone(1e-4)
    np.testing.assert_array_equal(round_weight(WEIGHTS, fine, "rate")[1], fine.quantize(WEIGHTS))


@pytest.mark.parametrize("rounding", ["rate", "trellis"])
@pytest.mark.parametrize("quantizer", [Half(), DeadZone(0.1, 0.4)])
def test_other_quantizers_round_to_nearest_only(quantizer: Half | DeadZone, rounding: str) -> None:
    with pytest.raises(UsageError, match="E022"):
        round_weight(WEIGHTS, quantizer, rounding)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_a_file_of_each_way(rounding: str, tmp_path: Path) -> None:
    model = Model.read(DEMO)
    made = compress(model, bits=4, rounding=rounding)  # type: ignore[arg-type]
    assert 8 * made.file_bytes <= 4 * 69_622
    made.save(tmp_path / "m.enx")
    read = CompressedModel.read(tmp_path / "m.enx")
    assert read.metadata.get("rounding") == ("rate" if rounding == "rate" else None)
    checked = verify(read, model)
    assert checked.ok
    assert all(check.bound is not None for check in checked.checks)
    once = compress(model, rounding=rounding, threads=1)  # type: ignore[arg-type]
    assert compress(model, rounding=rounding, threads=3).to_bytes() == once.to_bytes()  # type: ignore[arg-type]


def test_a_weight_off_by_more_than_its_trellis_allows_is_a_problem() -> None:
    model = Model.read(DEMO)
    made = compress(model)
    name = next(entry.name for part in made.payloads for entry in part.row.tensors if len(entry.shape) == 4)
    weight = model.load(name).copy()
    weight.flat[3] += 1
    problems = verify(made, model.replace_weights({name: weight})).problems
    assert [name in problem and "more than its step allows" in problem for problem in problems] == [True]


def test_unknown_words_are_named() -> None:
    with pytest.raises(UsageError, match="E021"):
        compress(DEMO, rounding="up")  # type: ignore[arg-type]
