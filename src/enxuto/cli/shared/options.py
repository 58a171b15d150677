"""Options of verbs from dataclass fields, so that each option is written once and has one meaning.

A verb names dataclasses among its parameters; their fields are `Annotated` with what Typer shows of an option. The
command line gets an option for every field, and the verb gets the dataclasses, built of what the user gave:

    @dataclass(frozen=True, kw_only=True)
    class Speed:
        batch: Annotated[tuple[int, ...], typer.Option(help="Batch sizes.")] = (1,)

    def run(model: Path, speed: Speed) -> None: ...      # enxuto … MODEL --batch 1,32

A field that is a tuple is a list on the command line: values are separated by commas, and the option may be repeated.
A tuple of a known length, such as `tuple[float, float]`, takes that many values, once.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from typer import Context
from typer.models import OptionInfo

from enxuto.errors import UsageError

__all__ = ["expand_options", "option_name", "split_values", "was_given"]

Guard = Callable[[Mapping[str, Any]], AbstractContextManager[None]]

_NOUNS = {int: "whole numbers", float: "numbers"}


def expand_options(verb: Callable[..., None], guard: Guard) -> Callable[..., None]:
    """Return the verb with an option for each field of the dataclasses among its parameters.

    Args:
        verb: takes arguments as they are, and dataclasses whose fields are options.
        guard: given all values by name, opens the context that the verb runs in.
    """
    hints = get_type_hints(verb, include_extras=True)
    groups = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    parameters: list[inspect.Parameter] = []
    lists: dict[str, _List] = {}
    for name, parameter in inspect.signature(verb).parameters.items():
        if name not in groups:
            parameters.append(parameter.replace(annotation=hints[name], kind=parameter.KEYWORD_ONLY))
            continue
        field_hints = get_type_hints(groups[name], include_extras=True)
        for field in fields(groups[name]):
            hint, default = field_hints[field.name], _default(field)
            if (values := _List.of(field.name, hint, default)) is not None:
                lists[field.name] = values
                hint, default = values.annotation, values.default
            parameters.append(
                inspect.Parameter(
                    field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint
                )
            )

    @functools.wraps(verb)
    def run(**given: Any) -> None:
        values = {name: lists[name].parse(value) if name in lists else value for name, value in given.items()}
        with guard(values):
            built = {name: _build(group, values) for name, group in groups.items()}
            alone = {name: values[name] for name in hints if name in values and name not in groups}
            verb(**alone, **built)

    signature = inspect.Signature(parameters)
    run.__signature__ = signature  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def was_given(context: Context, name: str) -> bool:
    """Return whether the user gave the parameter of that name, rather than its default being taken."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def option_name(name: str) -> str:
    """Return what the option of a field is called where it has no name of its own: `keep_exact` is `--keep-exact`."""
    return "--" + name.strip("_").replace("_", "-")


def split_values(text: str, *, paths: bool = False, pairs: bool = False) -> list[str]:
    """Split `a,b` into its values, without blanks around them; a path that exists as written stays whole.

    pairs: of `NAME=VALUE`, in which names may have commas: what has no `=` belongs to the name that follows.
    """
    if paths and Path(text).exists():
        return [text]
    parts: list[str] = []
    for part in text.split(","):
        if pairs and parts and parts[-1].strip() and "=" not in parts[-1] and "=" in text:
            parts[-1] += f",{part}"
        else:
            parts.append(part)
    return [part.strip() for part in parts if part.strip()]


def _default(field: Field[Any]) -> Any:
    if field.default is not MISSING:
        return field.default
    if field.default_factory is not MISSING:
        return field.default_factory()
    return inspect.Parameter.empty


def _build(group: Any, values: Mapping[str, Any]) -> Any:
    """Build a dataclass of the values given; a list that was not given is None, and has the field's default."""
    return group(**{
        field.name: values[field.name]
        for field in fields(group)
        if values[field.name] is not None or field.default is MISSING
    })  # fmt: skip


class _List:
    """An option that takes several values; Typer is given texts, which `parse` takes apart.

    Attributes: `annotation` and `default` of the parameter that Typer is given.
    """

    def __init__(self, name: str, kind: type, length: int | None, info: OptionInfo, default: Any) -> None:
        self._kind = kind
        self._length = length
        self._pairs = (info.metavar or "").endswith(",…") and "=" in (info.metavar or "")
        self._option = next((text for text in _declared(info) if text.startswith("--")), option_name(name))
        self.annotation: Any = Annotated[list[str] | None, info]
        self.default: Any = default
        if isinstance(default, tuple):
            self.default = [",".join(map(str, default))] if default else None

    @classmethod
    def of(cls, name: str, hint: Any, default: Any) -> _List | None:
        """Return what a field of this type takes, None where that is no list."""
        inner, *extras = get_args(hint) if get_origin(hint) is Annotated else (hint,)
        if get_origin(inner) in (Union, UnionType):
            inner = next(part for part in get_args(inner) if part is not NoneType)
        if get_origin(inner) is not tuple:
            return None
        kinds = get_args(inner)
        info = next((extra for extra in extras if isinstance(extra, OptionInfo)), OptionInfo())
        return cls(name, kinds[0], None if kinds[-1] is Ellipsis else len(kinds), info, default)

    def parse(self, texts: Sequence[str] | None) -> tuple[Any, ...] | None:
        """Return the values of all texts given, None where the field's default stands. Raises `UsageError`."""
        if not texts or list(texts) == self.default:
            return None
        written = ",".join(texts)
        parts = [
            part for text in texts for part in split_values(text, paths=self._kind is Path, pairs=self._pairs)
        ]
        try:
            values = tuple(self._kind(part) for part in parts)
        except ValueError as error:
            noun = _NOUNS.get(self._kind, "values")
            raise UsageError(f"{self._option} takes {noun} separated by commas, not {written!r}") from error
        if not values or (self._length is not None and len(values) != self._length):
            count = "values" if self._length is None else f"{self._length} values"
            raise UsageError(f"{self._option} takes {count} separated by commas, not {written!r}")
        return values


def _declared(info: OptionInfo) -> list[str]:
    """The names that an option was given, such as `-o` and `--output`; none where its field names it."""
    return [text for text in (info.default, *(info.param_decls or ())) if isinstance(text, str)]
