"""A point of a study: one computation, known by the hash of all that determines it.

A point names a function, `package.module:function`, so that any process on any machine can find it. The function takes
one argument, its `Work`, and returns a mapping of values that JSON can hold; files, such as checkpoints, it leaves in
`work.folder`. Not here: where and when points are computed (`run`, `local`, `cluster`) and what is kept (`store`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from enxuto._version import __version__
from enxuto.errors import UsageError
from enxuto.study.identity import content_hash

__all__ = ["Before", "Function", "Point", "Work", "find_function"]


@dataclass(frozen=True, eq=False)
class Point:
    """One computation; equal to every other point of the same `id`.

    function: `package.module:function`. settings: JSON values. seed, data_hash (`Dataset.hash`, say) and code, the
    version of what the function computes, stand in the `id` too, and so do the points it comes `after`: their results
    reach the function as `work.before`. places: names of files on this machine, which are not part of the `id`; what
    is in them should be, by a hash in `data_hash` or `settings`. Raises `UsageError` for values that JSON cannot hold.
    """

    function: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    data_hash: str | None = None
    after: Sequence[Point] = ()
    code: str = f"enxuto {__version__}"
    places: Mapping[str, str] = field(default_factory=dict)
    id: str = field(init=False)

    def __post_init__(self) -> None:
        module, _, name = self.function.partition(":")
        if not module or not name.isidentifier():
            raise UsageError(f"a point's function is written package.module:function, not {self.function!r}")
        if isinstance(self.seed, bool) or not -(2**63) <= self.seed < 2**63:
            raise UsageError(f"a point's seed is an integer of 64 bits, not {self.seed}")
        # A copy through JSON: what is hashed is what the function gets, and nobody changes it afterwards.
        object.__setattr__(self, "settings", plain(self.settings, f"the settings of {self.function}"))
        object.__setattr__(self, "places", {key: str(value) for key, value in self.places.items()})
        object.__setattr__(self, "after", tuple(self.after))
        object.__setattr__(self, "id", content_hash(self.identity()))

    def identity(self) -> dict[str, Any]:
        """All that is hashed."""
        return {
            "function": self.function,
            "settings": self.settings,
            "seed": self.seed,
            "data_hash": self.data_hash,
            "code": self.code,
            "after": [point.id for point in self.after],
        }

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Point) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)


@dataclass(frozen=True)
class Before:
    """What a point that comes before left: its `values`, and the folder of its files (it may not be there)."""

    id: str
    values: Mapping[str, Any]
    folder: Path


@dataclass(frozen=True)
class Work:
    """What a point's function is given.

    settings, seed, data_hash, places: the point's. before: what the points in `after` left, in that order. threads:
    how many the function may use; libraries that read the environment keep to it by themselves, others must be told.
    """

    point: str
    function: str
    settings: Mapping[str, Any]
    seed: int
    data_hash: str | None
    places: Mapping[str, str]
    before: tuple[Before, ...]
    place: Path
    threads: int = 1
    version: str = __version__

    @property
    def folder(self) -> Path:
        """The point's own folder, made when first asked for; what an interrupted computation left there is still there.

        Raises `UsageError` where it cannot be made.
        """
        try:
            self.place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot make the folder {self.place}: {error.strerror or error}") from error
        return self.place


class Function(Protocol):
    """What a point names: from its work to values for JSON."""

    def __call__(self, work: Work, /) -> Mapping[str, Any]:
        """Compute the point."""
        ...


def find_function(name: str) -> Function:
    """Import what `package.module:function` names. Raises `UsageError` where there is no such function."""
    module, _, attribute = name.partition(":")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"no function {name} can be imported here: {error}") from error
    if not callable(found):
        raise UsageError(f"{name} is no function")
    return found  # type: ignore[no-any-return]


def plain(values: Mapping[str, Any], what: str) -> dict[str, Any]:
    """A copy of a mapping as JSON gives it back. Raises `UsageError` for keys, values or numbers it cannot hold."""
    try:
        text = json.dumps(values, allow_nan=False, ensure_ascii=False)
        text.encode()  # a lone surrogate is no text
        copied = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"{what} cannot be written as JSON: {error}") from error
    if not isinstance(copied, dict):
        raise UsageError(f"{what} must be a mapping of names to values, not {type(values).__name__}")
    return copied
