"""The kinds of points that the studies here have: the names that ids and records carry, and the function of each.

A kind stays as it is for good, so that results are found again. A function may move to another module: then its line
in `FUNCTIONS` changes, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from enxuto.study.point import Point

__all__ = [
    "CURVE_CALIBRATE",
    "CURVE_MEASURE",
    "CURVE_OUTPUTS",
    "FUNCTIONS",
    "LOTTERY_ROUND",
    "LOTTERY_SPEED",
    "LOTTERY_START",
    "LOTTERY_UNPRUNED",
    "SOUZA_NETWORK",
    "TONIN_MEASURE",
    "make_point",
]

CURVE_MEASURE = "curve.measure"
CURVE_CALIBRATE = "curve.calibrate"
CURVE_OUTPUTS = "curve.outputs"
LOTTERY_UNPRUNED = "lottery.unpruned"
LOTTERY_START = "lottery.start"
LOTTERY_ROUND = "lottery.round"
LOTTERY_SPEED = "lottery.speed"
SOUZA_NETWORK = "souza.network"
TONIN_MEASURE = "tonin.measure"

FUNCTIONS: Mapping[str, str] = MappingProxyType(
    {
        CURVE_MEASURE: "enxuto.studies.curve.points:measure_point",
        CURVE_CALIBRATE: "enxuto.studies.curve.calibration:calibrate_point",
        CURVE_OUTPUTS: "enxuto.studies.curve.outputs:measure_outputs",
        LOTTERY_UNPRUNED: "enxuto.studies.lottery.round:train_unpruned",
        LOTTERY_START: "enxuto.studies.lottery.round:load_start",
        LOTTERY_ROUND: "enxuto.studies.lottery.round:prune_round",
        LOTTERY_SPEED: "enxuto.studies.lottery.speed:time_arm",
        SOUZA_NETWORK: "enxuto.studies.souza.network:train_network",
        TONIN_MEASURE: "enxuto.studies.tonin.points:measure_network",
    }
)
"""Kind → the function that computes such points, which any process imports by this name."""


def make_point(
    kind: str,
    settings: Mapping[str, Any],
    seed: int,
    data_hash: str | None,
    after: Sequence[Point] = (),
    *,
    code: str,
    paths: Mapping[str, str] | None = None,
) -> Point:
    """A point of one of the kinds above. The arguments are those of `Point`."""
    return Point(FUNCTIONS[kind], settings, seed, data_hash, after, code, paths or {}, kind)
