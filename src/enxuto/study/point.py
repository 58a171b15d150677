"""A point of a study: one computation, known by the hash of all that determines it.

A point names its function, `package.module:function`, so that any process on any machine can import it. The function
takes one argument, its `Task`, and returns a mapping of values that JSON can hold. Files, such as checkpoints, it
leaves in `task.folder`. A point also names its `kind`, which stays the same when the function moves to another module.
Not here: where and when points are computed (`run`, `local`, `cluster`) and what is kept (`store`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from enxuto._version import __version__
from enxuto.errors import UsageError
from enxuto.study.identity import content_hash

__all__ = ["Point", "PointFunction", "Predecessor", "Task", "copy_as_json", "import_function", "is_kind"]

_KIND = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+")


@dataclass(frozen=True, eq=False)
class Point:
    """One computation; equal to every other point of the same `id`.

    Args:
        function: `package.module:function`. It is imported where the point is computed and is not part of the `id`.
        settings: JSON values.
        seed: an integer of 64 bits.
        data_hash: of the images, such as `Dataset.hash`.
        after: points whose results this one needs; they reach the function as `task.predecessors`.
        code: the version of what the function computes.
        paths: files and folders on this machine by name, and whatever else is not part of the `id`. What is in
            these files should be part of it, by a hash in `data_hash` or `settings`.
        kind: a name such as `curve.measure`, which is part of the `id` and of the records. Without one it is the
            function's name.

    Raises:
        UsageError: a value that JSON cannot hold, or a function or kind with an impossible name.
    """

    function: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    data_hash: str | None = None
    after: Sequence[Point] = ()
    code: str = f"enxuto {__version__}"
    paths: Mapping[str, str] = field(default_factory=dict)
    kind: str = ""
    id: str = field(init=False)

    def __post_init__(self) -> None:
        module, _, name = self.function.partition(":")
        if not module or not name.isidentifier():
            raise UsageError(f"a point's function is written package.module:function, not {self.function!r}")
        kind = self.kind or self.function
        if kind != self.function and not is_kind(kind):
            raise UsageError(
                f"a point's kind is lower-case words with dots between, such as mine.rates, not {kind!r}"
            )
        if isinstance(self.seed, bool) or not -(2**63) <= self.seed < 2**63:
            raise UsageError(f"a point's seed is an integer of 64 bits, not {self.seed}")
        object.__setattr__(self, "kind", kind)
        # A copy through JSON: what is hashed is what the function gets, and nobody changes it afterwards.
        object.__setattr__(self, "settings", copy_as_json(self.settings, f"the settings of {self.function}"))
        object.__setattr__(self, "paths", {key: str(value) for key, value in self.paths.items()})
        object.__setattr__(self, "after", tuple(self.after))
        object.__setattr__(self, "id", content_hash(self.identity()))

    def identity(self) -> dict[str, Any]:
        """All that is hashed."""
        return {
            "kind": self.kind,
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
class Predecessor:
    """What a point left that another comes after: its `values`, and the folder of its files (it may be missing)."""

    id: str
    values: Mapping[str, Any]
    folder: Path


@dataclass(frozen=True)
class Task:
    """What a point's function is given: the point, what it comes after, and where to leave files.

    Attributes:
        point: the point's id.
        function, settings, seed, data_hash, paths: the point's.
        predecessors: what the points in `after` left, in that order.
        folder_path: where `folder` is, or will be.
        threads: how many the function may use. Libraries that read the environment keep to it; set the others.
        version: of enxuto, where the study runs.
    """

    point: str
    function: str
    settings: Mapping[str, Any]
    seed: int
    data_hash: str | None
    paths: Mapping[str, str]
    predecessors: tuple[Predecessor, ...]
    folder_path: Path
    threads: int = 1
    version: str = __version__

    @property
    def folder(self) -> Path:
        """The point's own folder, made when first asked for. Files of an interrupted computation are still in it.

        Raises `UsageError` where it cannot be made.
        """
        try:
            self.folder_path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"cannot make the folder {self.folder_path}: {error.strerror or error}", code="E013"
            ) from error
        return self.folder_path


class PointFunction(Protocol):
    """What a point names: from its task to values for JSON."""

    def __call__(self, task: Task, /) -> Mapping[str, Any]:
        """Compute the point."""
        ...


def is_kind(text: str) -> bool:
    """Whether a text can be the kind of a point without being its function: words with dots between."""
    return _KIND.fullmatch(text) is not None


def import_function(name: str) -> PointFunction:
    """Import what `package.module:function` names. Raises `UsageError` where there is no such function."""
    module, _, attribute = name.partition(":")
    try:
        function = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"no function {name} can be imported here: {error}", code="E021") from error
    if not callable(function):
        raise UsageError(f"{name} is no function", code="E021")
    return function  # type: ignore[no-any-return]


def copy_as_json(values: Mapping[str, Any], label: str) -> dict[str, Any]:
    """A copy of a mapping as JSON gives it back; `label` names it in errors.

    Raises `UsageError` for keys, values or numbers that JSON cannot hold.
    """
    try:
        text = json.dumps(values, allow_nan=False, ensure_ascii=False)
        text.encode()  # a lone surrogate is no text
        copied = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"{label} cannot be written as JSON: {error}") from error
    if not isinstance(copied, dict):
        raise UsageError(f"{label} must be a mapping of names to values, not {type(values).__name__}")
    return copied
