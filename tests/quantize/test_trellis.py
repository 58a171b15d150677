"""Dependent quantization: the state machine by hand, the search beside all paths there are, what it gains."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enxuto.calibration.shrinkage import raise_floor
from enxuto.codec import CODERS
from enxuto.enx.file import CompressedModel
from enxuto.enx.payload import Payload
from enxuto.enx.table import TensorEntry, parse_header
from enxuto.errors import FormatError, UsageError
from enxuto.onnx_model import Model, skeleton
from enxuto.quantize.grid import Grid
from enxuto.quantize.trellis import MACHINES, NEWEST, multiples, states_before
from enxuto.rounding.feedback import loss, round_matrix, round_on_trellis, upper_factor
from make_golden import model

RNG = np.random.default_rng


def searched(
    weights: np.ndarray, step: float, inputs: np.ndarray | None = None, outputs: np.ndarray | None = None
) -> np.ndarray:
    rows, columns = weights.shape
    levels = np.zeros(weights.shape, np.int32)
    assert round_on_trellis(
        weights.copy(), np.full(rows, step), np.ones(columns),
        np.eye(columns) if inputs is None else inputs, np.eye(rows) if outputs is None else outputs,
        np.zeros(rows, np.int64), levels,
    )  # fmt: skip
    return levels


def test_a_row_by_hand_of_eight_states() -> None:
    """States 0, 2, 3, 6, 3: behind 1, 1, 0 and −2. In the odd ones 0 stays 0, and 3 stands for 5."""
    levels = np.array([[1, 1, 0, -2, 3], [-1, 0, -1, 1, -1]], np.int32)
    assert states_before(levels, 8).tolist() == [[0, 2, 3, 6, 3], [0, 2, 1, 7, 5]]
    assert multiples(levels, 8).tolist() == [[2, 2, 0, -4, 5], [-2, 0, -1, 1, -1]]
    grid = Grid(0.5, (0, 4), (), trellis=8)
    assert grid.reconstruct(levels).tolist() == [[1, 1, 0, -2, 2.5], [-2, 0, -1, 1, -1]]


def test_a_row_by_hand_of_32_states() -> None:
    """Behind an even level i becomes i/2, rounded down, if i is odd exclusive-or 30; behind an odd one that by 11."""
    levels = np.array([[1, 1, 0, -2, 3], [-1, 0, -1, 1, -1]], np.int32)
    assert states_before(levels).tolist() == [[0, 11, 16, 8, 4], [0, 11, 27, 24, 7]]
    assert multiples(levels).tolist() == [[2, 1, 0, -4, 6], [-2, 0, -1, 2, -1]]
    grid = Grid(0.5, (0, 4), (), trellis=32)
    assert grid.reconstruct(levels).tolist() == [[1, 0.5, 0, -2, 3], [-2, 0, -1, 2, -1]]


@pytest.mark.parametrize("states", MACHINES)
def test_every_state_is_left_to_two_and_reached_from_two(states: int) -> None:
    following = MACHINES[states].following
    assert following.shape == (states, 2)
    assert (following[:, 0] != following[:, 1]).all()
    assert sorted(following.reshape(-1).tolist()) == sorted([*range(states), *range(states)])


def test_there_are_no_other_machines() -> None:
    with pytest.raises(UsageError, match="8 or 32 states, not 16"):
        Grid(0.5, trellis=16)


@given(st.integers(0, 10_000), st.floats(0.2, 3.0))
@settings(max_examples=25, deadline=None)
def test_the_search_finds_the_best_of_all_paths(seed: int, step: float) -> None:
    weights = RNG(seed).laplace(0, 1.0, (1, 5))
    found = searched(weights, step)
    choices = []
    for value in weights[0]:
        middle = round(value / step / 2)
        choices.append(range(middle - 2, middle + 3))
    paths = np.array(list(itertools.product(*choices)), np.int32)
    losses = np.square(multiples(paths) * step - weights).sum(axis=1)
    assert math.isclose(float(np.square(multiples(found) * step - weights).sum()), float(losses.min()))


def test_the_error_is_a_decibel_below_that_of_rounding() -> None:
    """At high rates, where both take as many bits: 1.22 dB for 32 states, less what ends of blocks cost."""
    weights = RNG(0).uniform(-500, 500, (20, 1000))
    error = np.square(multiples(searched(weights, 1.0)) - weights).mean()
    gain = 10 * math.log10((2.0**2 / 12) / error)
    assert 1.16 < gain < 1.23


def test_with_feedback_too() -> None:
    """Correlated inputs and outputs: the loss falls beside rounding's at the step that takes as many bits."""
    rng = RNG(1)
    mixed = rng.standard_normal((400, 150)) @ rng.standard_normal((150, 150))
    inputs, outputs = (
        raise_floor((mixed.T @ mixed / 400)[None], 0.1)[0],
        raise_floor(np.cov(rng.standard_normal((12, 30)))[None], 0.3)[0],
    )
    weights = rng.standard_normal((12, 150))
    factors = upper_factor(inputs), upper_factor(outputs)
    levels = np.zeros(weights.shape, np.int32)
    round_matrix(weights.copy(), np.full(12, 0.2), np.ones(150), *factors, levels)
    plain = loss(weights - 0.2 * levels, inputs, outputs)
    found = loss(weights - 0.1 * multiples(searched(weights, 0.1, *factors)), inputs, outputs)
    assert found < 0.88 * plain
    alone = loss(weights - 0.1 * multiples(searched(weights, 0.1)), inputs, outputs)
    assert found < 0.7 * alone


def test_pieces_of_a_row_go_on_where_the_last_one_ended() -> None:
    weights, states = RNG(2).standard_normal((3, 40)), np.zeros(3, np.int64)
    pieces = []
    for part in (weights[:, :17], weights[:, 17:]):
        levels = np.zeros(part.shape, np.int32)
        size = part.shape[1]
        assert round_on_trellis(
            part.copy(), np.full(3, 0.3), np.ones(size), np.eye(size), np.eye(3), states, levels
        )
        pieces.append(levels)
    whole = np.concatenate(pieces, axis=1)
    assert np.abs(0.3 * multiples(whole) - weights).max() < 0.6
    for row in range(3):
        state = 0
        for level in whole[row]:
            state = int(MACHINES[NEWEST].following[state, level & 1])
        assert state == states[row]


@pytest.mark.parametrize("value", [1e9, np.nan, np.inf])
def test_levels_of_31_bits_are_refused(value: float) -> None:
    assert not round_on_trellis(
        np.full((1, 2), value), np.full(1, 1e-9), np.ones(2), np.eye(2), np.eye(1), np.zeros(1, np.int64),
        np.zeros((1, 2), np.int32),
    )  # fmt: skip
    with pytest.raises(UsageError, match="below 2\\*\\*30"):
        multiples(np.array([[1 << 30]], np.int32))


def test_a_grid_on_a_trellis_does_not_round() -> None:
    with pytest.raises(UsageError, match="E022"):
        Grid(0.1, trellis=32).quantize(np.ones((2, 2), np.float32))
    with pytest.raises(UsageError, match="E022"):
        Grid(0.1, trellis=32).reconstruct(np.array(1, np.int32))
    for shape in ((0, 3), (3, 0), (0,)):
        assert Grid(0.1, trellis=32).reconstruct(np.zeros(shape, np.int32)).shape == shape


def row(**changes: object) -> bytes:
    tensor = {"name": "w", "shape": [2, 3], "type": 1}
    fields = {"tensors": [tensor], "bytes": 9, "crc32": "00000000", "coder": "trellis"}
    fields["quantizer"] = {"kind": "grid", "step": 0.5, "trellis": True}
    return json.dumps({"metadata": {}, "parts": [fields | changes]}).encode()


def test_tables_say_what_is_on_a_trellis() -> None:
    parse_header(row())
    parse_header(row(coder="order0"))
    parse_header(row(quantizer={"kind": "dead-zone", "step": 0.5, "delta": 0.5}))
    other = {"name": "v", "shape": [2], "type": 1}
    single = {"name": "w", "shape": [], "type": 1}
    parse_header(row(coder="trellis-32", quantizer={"kind": "grid", "step": 0.5, "trellis": 32}))
    parse_header(row(quantizer={"kind": "grid", "step": 0.5, "trellis": 32}))
    for tensors in ([{"name": "w", "shape": [2, 3], "type": 1}, other], [single]):
        for coder in CODERS:
            with pytest.raises(FormatError, match="trellis"):
                parse_header(row(tensors=tensors, coder=coder))
    for states in (0, 1, 8, 16, 32.0, "32", None):
        with pytest.raises(FormatError):
            parse_header(row(quantizer={"kind": "grid", "step": 0.5, "trellis": states}))


@pytest.mark.parametrize(("trellis", "version"), [(0, 2), (8, 3), (32, 4)])
def test_a_file_says_the_least_version_that_reads_it(trellis: int, version: int) -> None:
    levels = np.arange(12, dtype=np.int32).reshape(3, 4)
    graph = skeleton(Model.from_proto(model({"w": np.zeros((3, 4), np.float32)})), ["w"])
    part = Payload.levels_of(
        [TensorEntry(name="w", shape=(3, 4), type=1)], Grid(0.5, trellis=trellis), levels
    )
    data = CompressedModel(graph, (part,), {}).to_bytes()
    assert data[8] == version
    assert part.levels()["w"].levels.tolist() == levels.tolist()
    assert ("trellis" in part.row.model_dump_json(exclude_defaults=True)) == bool(trellis)
