"""`Result`: what is kept of a point, and its form as a line of JSON."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any

from enxuto.errors import FormatError
from enxuto.study.executor import Outcome
from enxuto.study.identity import content_hash
from enxuto.study.point import Point

__all__ = ["Result", "is_earlier_form", "is_id"]

# A point's folder is called so: `content_hash` writes sixteen hex digits, and what could be a path is no id.
_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,63}")
_LONGEST = 1e12  # seconds; thirty thousand years
_DEEPEST = 100  # lists and objects within each other: more than a result has, less than Python can bear
_KINDS: dict[str, type | tuple[type, ...]] = {
    "point": str, "function": str, "settings": dict, "seed": int, "data_hash": (str, type(None)), "code": str,
    "after": list, "values": (dict, type(None)), "error": (str, type(None)), "seconds": (int, float),
    "finished": str, "machine": dict, "versions": dict, "trace": (str, type(None)),
}  # fmt: skip


@dataclass(frozen=True)
class Result:
    """A computed point: what it was, its `values` or its one line of `error`, how long it took, on what and when."""

    point: str
    function: str
    settings: Mapping[str, Any]
    seed: int
    data_hash: str | None
    code: str
    after: tuple[str, ...]
    values: Mapping[str, Any] | None
    error: str | None
    seconds: float
    finished: str
    machine: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    trace: str | None = None

    @property
    def done(self) -> bool:
        """Whether there are values."""
        return self.values is not None

    def fits_its_id(self) -> bool:
        """Whether the point's id is the hash of what this says of the point: else somebody changed one of both."""
        identity = {
            name: getattr(self, name) for name in ("function", "settings", "seed", "data_hash", "code")
        }
        return content_hash({**identity, "after": list(self.after)}) == self.point

    @classmethod
    def of(cls, point: Point, outcome: Outcome) -> Result:
        """The result of a point that has just been computed."""
        return cls(
            point=point.id,
            **{**point.identity(), "after": tuple(before.id for before in point.after)},
            values=outcome.values,
            error=outcome.error,
            seconds=round(outcome.seconds, 6),
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
            machine=outcome.machine,
            versions=outcome.versions,
            trace=outcome.trace,
        )

    @classmethod
    def parse(cls, line: bytes) -> Result:
        """Read a line. Raises `FormatError` where it is no result; what it means to a later version is left out."""
        try:
            stored = json.loads(line, parse_constant=_refuse, parse_float=_finite)
            if _depth(stored, line) > _DEEPEST:
                raise FormatError(f"it is nested deeper than {_DEEPEST} levels")
            if b"\\ud" in line.lower():  # half of a pair, perhaps, which no text file can hold
                json.dumps(stored, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise FormatError("its text is damaged") from error
        except (ValueError, RecursionError) as error:
            raise FormatError("it is no JSON") from error
        if not isinstance(stored, dict):
            raise FormatError("it is no JSON object")
        if is_earlier_form(stored):
            raise FormatError(
                "it is of an earlier form of its study, which must be run again in another folder"
            )
        for name, kind in _KINDS.items():
            if name not in stored or not isinstance(stored[name], kind) or isinstance(stored[name], bool):
                raise FormatError(f"its {name} is missing or of a wrong kind")
        if (stored["values"] is None) == (stored["error"] is None):
            raise FormatError("it must have either values or an error")
        if not -(2**63) <= stored["seed"] < 2**63:
            raise FormatError("its seed has more than 64 bits")
        if not 0 <= stored["seconds"] <= _LONGEST:
            raise FormatError("its seconds are no time that a computation can take")
        if not is_id(stored["point"]):
            raise FormatError("its point is no name of letters and digits")
        if not all(isinstance(name, str) and is_id(name) for name in stored["after"]):
            raise FormatError("its after must be a list of points")
        if not all(isinstance(value, str) for value in stored["versions"].values()):
            raise FormatError("its versions must be texts")
        known = {one.name for one in fields(cls)}
        kept = {name: value for name, value in stored.items() if name in known}
        return cls(**{**kept, "after": tuple(stored["after"])})

    def line(self) -> bytes:
        """The result as one line of JSON, its end included."""
        stored = {
            one.name: getattr(self, one.name) for one in fields(self)
        }  # `asdict` takes longer than the rest
        return json.dumps(stored, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def is_id(text: str) -> bool:
    """Whether a text is what a point can be known by, and so the name of a folder and nothing else."""
    return _ID.fullmatch(text) is not None


def is_earlier_form(stored: object) -> bool:
    """Whether a line is of the time before records of all studies were points with a function."""
    return isinstance(stored, dict) and "study" in stored and "function" not in stored


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _finite(number: str) -> float:
    """A number as it stands; one like 1e999 would become infinite, which could not be written again."""
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(f"{number} is larger than a number can be")
    return value


def _depth(stored: object, line: bytes) -> int:
    """How many lists and objects lie within each other."""
    if line.count(b"[") + line.count(b"{") <= _DEEPEST:
        return 0  # whatever they are, they cannot be too many
    depth, level = 0, [stored]
    while level and depth <= _DEEPEST:
        depth += 1
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
    return depth
