"""`Result`: what is kept of a point, its form as a line of JSON, and all results of a file of such lines."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from enxuto.errors import FormatError
from enxuto.study.executor import Outcome
from enxuto.study.identity import content_hash
from enxuto.study.point import Point

__all__ = ["EARLIER_FORM", "Records", "Result", "is_earlier_form", "is_id"]

EARLIER_FORM = (
    "written by an earlier enxuto, which named no kind of point; run the study again in another folder"
)
"""Why a line without `kind` is refused, and what to do."""

# A point's folder is called so: `content_hash` writes sixteen hex digits, and what could be a path is no id.
_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,63}")
_LONGEST = 1e12  # seconds; thirty thousand years
_DEEPEST = 100  # lists and objects within each other: more than a result has, less than Python can bear
_TYPES: dict[str, type | tuple[type, ...]] = {
    "point": str, "kind": str, "settings": dict, "seed": int, "data_hash": (str, type(None)), "code": str,
    "after": list, "values": (dict, type(None)), "error": (str, type(None)), "seconds": (int, float),
    "finished": str, "machine": dict, "versions": dict, "trace": (str, type(None)),
}  # fmt: skip


@dataclass(frozen=True)
class Result:
    """A computed point: what it was, its `values` or its one line of `error`, how long it took, on what and when."""

    point: str
    kind: str
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
        identity = {name: getattr(self, name) for name in ("kind", "settings", "seed", "data_hash", "code")}
        return content_hash({**identity, "after": list(self.after)}) == self.point

    @classmethod
    def of(cls, point: Point, outcome: Outcome) -> Result:
        """The result of a point that has just been computed."""
        return cls(
            point=point.id,
            **{**point.identity(), "after": tuple(other.id for other in point.after)},
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
        """Read a line. Raises `FormatError` where it is no result. Fields of later versions are left out."""
        stored = _load(line)
        if not isinstance(stored, dict):
            raise FormatError("it is no JSON object")
        if is_earlier_form(stored):
            raise FormatError(f"it was {EARLIER_FORM}", code="E080")
        for name, types in _TYPES.items():
            if name not in stored or not isinstance(stored[name], types) or isinstance(stored[name], bool):
                raise FormatError(f"its {name} is missing or of a wrong type")
        if (stored["values"] is None) == (stored["error"] is None):
            raise FormatError("it must have either values or an error")
        if not -(2**63) <= stored["seed"] < 2**63:
            raise FormatError("its seed has more than 64 bits")
        if not 0 <= stored["seconds"] <= _LONGEST:
            raise FormatError("its seconds must be a finite number of 0 or more")
        if not is_id(stored["point"]):
            raise FormatError("its point must be an id of letters and digits")
        if not all(isinstance(name, str) and is_id(name) for name in stored["after"]):
            raise FormatError("its after must be a list of points")
        if not all(isinstance(value, str) for value in stored["versions"].values()):
            raise FormatError("its versions must be texts")
        return cls(**{**{name: stored[name] for name in _TYPES}, "after": tuple(stored["after"])})

    def line(self) -> bytes:
        """The result as one line of JSON, its end included."""
        stored = {name: getattr(self, name) for name in _TYPES}
        return json.dumps(stored, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def is_id(text: str) -> bool:
    """Whether a text is what a point can be known by, and so the name of a folder and nothing else."""
    return _ID.fullmatch(text) is not None


def is_earlier_form(stored: object) -> bool:
    """Whether a line is a record that does not name a kind of point, as none did once."""
    return isinstance(stored, dict) and "kind" not in stored and not {"study", "function"}.isdisjoint(stored)


class Records:
    """The results of a file's lines: values are kept rather than an error, and the first of several values.

    `results` has them by the point's id, in the order of the lines that count.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines = 0
        self._earlier = 0
        self._damages: list[str] = []
        self.results: dict[str, Result] = {}

    def read(self, lines: Iterable[bytes]) -> None:
        """Take in more lines; those that are no result become `problems`."""
        for line in lines:
            self._lines += 1
            try:
                result = Result.parse(line)
            except FormatError as error:
                if error.code == "E080":
                    self._earlier += 1
                else:
                    self._damages.append(f"{self._path}: line {self._lines} is left out: {error}")
                continue
            known = self.results.get(result.point)
            if known is None or (result.done and not known.done):
                self.results.pop(result.point, None)
                self.results[result.point] = result

    @property
    def problems(self) -> list[str]:
        """One line for each damaged line, and one for all lines of an earlier form."""
        if not self._earlier:
            return list(self._damages)
        lines = "1 line is left out," if self._earlier == 1 else f"{self._earlier} lines are left out,"
        return [f"{self._path}: {lines} {EARLIER_FORM}", *self._damages]


def _load(line: bytes) -> Any:
    """The JSON value of a line. Raises `FormatError` for what `Result.line` could not write again."""
    lower = line.lower()
    shape = lower.translate(_DIGITS_AS_ZERO)
    try:
        # Python calls back for each number where it is told to, which takes as long as all the rest.
        may_be_infinite = b"e000" in shape or b"e+000" in shape or b"0" * 300 in shape
        stored = (_FINITE_DECODER if may_be_infinite else _DECODER).decode(line.decode())
        if _depth(stored, line) > _DEEPEST:
            raise FormatError(f"it is nested deeper than {_DEEPEST} levels")
        if b"\\ud" in lower:  # half of a pair, perhaps, which no text file can hold
            json.dumps(stored, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise FormatError("its text is damaged", code="E052") from error
    except (ValueError, RecursionError) as error:
        raise FormatError("it is no JSON", code="E052") from error
    return stored


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _parse_finite(number: str) -> float:
    """A number as it stands; one like 1e999 would become infinite, which could not be written again."""
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(f"{number} is larger than a number can be")
    return value


_DECODER = json.JSONDecoder(parse_constant=_refuse)
_FINITE_DECODER = json.JSONDecoder(parse_constant=_refuse, parse_float=_parse_finite)
_DIGITS_AS_ZERO = bytes.maketrans(b"123456789", b"000000000")


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
