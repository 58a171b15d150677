"""`Result`: what is kept of a point, and its form as a line of JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any

from enxuto.errors import FormatError
from enxuto.study.executor import Outcome
from enxuto.study.point import Point

__all__ = ["Result", "is_earlier_form"]

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
            stored = json.loads(line, parse_constant=_refuse)
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
            if name not in stored or not isinstance(stored[name], kind):
                raise FormatError(f"its {name} is missing or of a wrong kind")
        if (stored["values"] is None) == (stored["error"] is None):
            raise FormatError("it must have either values or an error")
        if not -(2**63) <= stored["seed"] < 2**63:
            raise FormatError("its seed has more than 64 bits")
        if not all(isinstance(name, str) for name in stored["after"]):
            raise FormatError("its after must be a list of points")
        known = {one.name for one in fields(cls)}
        kept = {name: value for name, value in stored.items() if name in known}
        return cls(**{**kept, "after": tuple(stored["after"])})

    def line(self) -> bytes:
        """The result as one line of JSON, its end included."""
        stored = {
            one.name: getattr(self, one.name) for one in fields(self)
        }  # `asdict` takes longer than the rest
        return json.dumps(stored, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def is_earlier_form(stored: object) -> bool:
    """Whether a line is of the time before records of all studies were points with a function."""
    return isinstance(stored, dict) and "study" in stored and "function" not in stored


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
