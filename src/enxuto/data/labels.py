"""A data set's labels in the order of a model's outputs: by class names where both have them, else by number.

Names are compared as they are, then without regard to case, spaces, `_` and `-`, then by synonym ("tench, Tinca
tinca"; a WordNet number in front, or another as in "10_ship"). Folders called by numbers, and data that name no
classes, count outputs themselves. What is not the same order on both sides, or cannot be told, is said in
`Matching.remarks` and `warnings`. Not here: where a model keeps its labels (`enxuto.opening.labels_of`).
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from enxuto.data.damage import first_line
from enxuto.errors import DataError, UsageError

__all__ = ["Label", "Matching", "as_labels", "match_labels", "read_labels"]

Label = str | Sequence[str]
"""A class's name, or several that mean the same, the first of which is shown."""

_LARGEST_FILE = 64 * 2**20  # bytes; a name for each of a million classes
_MOST_CLASSES = 10_000_000
_WORDNET = re.compile(r"(n\d{8})\b[\s:,]*(.*)", re.DOTALL)
_NUMBERED = re.compile(r"(\d{1,8})(?:\s*[:;,.)\t]\s*|[\s_\-]+)(\S.*)", re.DOTALL | re.ASCII)
_SEPARATORS = re.compile(r"[\s_\-]+")
_SHOWN = 3


@dataclass(frozen=True)
class Matching:
    """What became of the labels.

    order: the model's output for each label of the data, −1 where none is meant; None where labels stay as they are.
    names: the classes by output, where they are known. remarks, warnings: a line each, to be said once.
    """

    order: NDArray[np.int64] | None
    names: tuple[str, ...] | None
    remarks: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def match_labels(
    labels: NDArray[np.int64],
    classes: Sequence[str] | None,
    names: Sequence[Label] | None,
    outputs: int | None,
    *,
    path: str,
    numbered: bool = False,
    stored: bool = False,
) -> Matching:
    """Find the model's output for each label of a data set.

    labels: int64 (N,) of all its samples. classes: its names by label. numbered: they are the labels' own numbers.
    stored: labels are numbers in the data, so that their order means something even where names differ. names: the
    model's, in the order of its outputs. outputs: how many it has, where that is known. Raises `DataError` for classes
    that the model does not have, and for more labels than it has outputs.
    """
    warnings: list[str] = []
    present = np.unique(labels).tolist()
    numbered = numbered or (classes is not None and all(_is_number(c, i) for i, c in enumerate(classes)))
    if names is not None and outputs is not None and len(names) != outputs:
        warnings.append(f"there are {len(names)} labels for the model's {outputs} outputs; they are not used")
        names = None
    if names is not None and classes is not None:
        index = _Index(names)
        found = {label: index.find(classes[label], label) for label in present}
        in_place = len(classes) == len(names) and all(p in (None, label) for label, p in found.items())
        if any(place is not None for place in found.values()) and not (
            stored and in_place and None in found.values()
        ):
            return _by_name(found, classes, names, path)
        if not numbered:
            _refuse_strangers(classes, present, names, path)
            other = next(label for label, place in found.items() if place is None)
            warnings.append(
                f"{path} and the model call their {len(names)} classes by different names ({classes[other]!r} and "
                f"{_first(names[other])!r}); labels are taken in order: say names= where that is wrong"
            )
    return _by_number(present, classes, names, outputs, path, numbered, warnings)


def _by_name(
    found: Mapping[int, int | None], classes: Sequence[str], names: Sequence[Label], path: str
) -> Matching:
    strange = [classes[label] for label, place in found.items() if place is None]
    if strange:
        raise DataError(
            f"{path} has {_count(len(strange), 'class')} that the model's labels do not name: {_some(strange)}; "
            f"leave them out, rename them, or name the model's classes by names= (the model has "
            f"{_some(map(_first, names))})"
        )
    taken: dict[int, str] = {}
    order = np.full(max(found) + 1, -1, np.int64)
    for label, place in found.items():
        assert place is not None
        if place in taken:
            raise DataError(
                f"{path}: classes {taken[place]!r} and {classes[label]!r} are both the model's "
                f"{_first(names[place])!r}; make one of them"
            )
        taken[place] = classes[label]
        order[label] = place
    missing = [_first(name) for place, name in enumerate(names) if place not in taken]
    moved = any(label != place for label, place in found.items())
    how = "labels are matched by class name"
    warnings: tuple[str, ...] = ()
    if missing:
        warnings = (
            f"{path} has {len(taken)} of the model's {len(names)} classes, not {_some(missing)}; {how}",
        )
    remarks = (f"{how}: {path} has another order than the model",) if moved and not missing else ()
    shown = tuple(_first(name) for name in names)
    return Matching(order if moved else None, shown, remarks, warnings)


def _refuse_strangers(
    classes: Sequence[str], present: Sequence[int], names: Sequence[Label], path: str
) -> None:
    """No name is known: their order can still be meant where there are as many; else labels would be chance."""
    if len(classes) == len(names):
        return
    raise DataError(
        f"{path} names {_count(len(classes), 'class')} ({_some(classes[label] for label in present)}), of which the "
        f"model's {len(names)} labels ({_some(map(_first, names))}) name none; name the model's classes in its "
        "order, in the data's words, by names="
    )


def _by_number(
    present: Sequence[int],
    classes: Sequence[str] | None,
    names: Sequence[Label] | None,
    outputs: int | None,
    path: str,
    numbered: bool,
    warnings: list[str],
) -> Matching:
    """Labels count outputs themselves."""
    count = len(names) if outputs is None and names is not None else outputs
    shown = None if names is None else tuple(_first(name) for name in names)
    if count is None:
        return Matching(None, shown or (None if classes is None else tuple(classes)), (), tuple(warnings))
    if present[-1] >= count:
        what = f"label {present[-1]}"
        if classes is not None and numbered:
            what = f"class {classes[present[-1]]}, a number that counts from 0"
        elif classes is not None:
            what = f"{len(classes)} classes"
        raise DataError(
            f"{path} has {what}, more than the model's {count} outputs; leave out what it does not know, or name its "
            "classes by names="
        )
    known = present[-1] + 1 if classes is None or numbered else len(classes)
    if known != count:
        ordered = classes is not None and not numbered
        told = f"{known} classes" if ordered else f"labels up to {known - 1}"
        how = "labels are taken in order" if ordered else "labels count its outputs"
        hint = "" if classes is None else ": say names= where that is wrong"
        warnings.append(f"{path} has {told} and the model {count} outputs; {how}{hint}")
    if shown is None and classes is not None:
        shown = tuple(classes)
    return Matching(None, shown, (), tuple(warnings))


class _Index:
    """A model's names by spelling; those that mean several outputs are told apart by the label alone."""

    def __init__(self, names: Sequence[Label]) -> None:
        wholes = [[name] if isinstance(name, str) else list(name) for name in names]
        self._tables = [
            _table(wholes, lambda name: [name]),
            _table(wholes, lambda name: [_plain(name)]),
            _table(wholes, lambda name: [_plain(part) for part in _synonyms(name)]),
        ]

    def find(self, name: str, label: int) -> int | None:
        """The one output of this name; of several equally good ones, the label's own, else None."""
        exact, whole, synonyms = self._tables
        tries: list[tuple[Mapping[str, set[int]], str]] = [
            (exact, name),
            (whole, _plain(name)),
            (synonyms, _plain(name)),
        ]
        # Several words on this side too may each be a whole name on the other.
        tries += [(whole, _plain(part)) for part in _synonyms(name)]
        for table, key in tries:
            places = table.get(key, set())
            if len(places) == 1:
                return next(iter(places))
            if label in places:
                return label
        return None


def _table(names: Sequence[Sequence[str]], spellings: Callable[[str], Iterable[str]]) -> dict[str, set[int]]:
    table: dict[str, set[int]] = {}
    for place, group in enumerate(names):
        for name in group:
            for key in spellings(name):
                table.setdefault(key, set()).add(place)
    return table


def _plain(name: str) -> str:
    return _SEPARATORS.sub("", unicodedata.normalize("NFKC", name).casefold())


def _synonyms(name: str) -> list[str]:
    """The words of "tench, Tinca tinca" or of "n01440764 tench"; parts without a letter are no words."""
    match = _WORDNET.fullmatch(name.strip())
    numbers, rest = ([match[1]], match[2]) if match else ([], name)
    parts = [part.strip() for part in rest.split(",")] if ", " in rest else [rest.strip()]
    counted = _NUMBERED.fullmatch(rest.strip())
    if counted is not None and not match:  # "10_ship"
        parts.append(counted[2])
    return numbers + [part for part in parts if any(letter.isalpha() for letter in part)]


def _is_number(name: str, label: int) -> bool:
    return name.isascii() and name.isdecimal() and len(name) < 10 and int(name) == label


def read_labels(path: str | Path) -> tuple[Label, ...]:
    """A model's class names in the order of its outputs: a name a line, or JSON, a list or an object by number.

    Lines that are numbered, 0 to N − 1 in any order or from 1 on ("0: tench"), are names by number. JSON's values are
    names or lists of names that mean the same. Raises `UsageError` for any other file.
    """
    place = Path(path)
    try:
        if not place.is_file():
            raise UsageError(f"{path} is no file of labels; name a text file with a name a line, or JSON")
        if place.stat().st_size > _LARGEST_FILE:
            raise UsageError(
                f"{path} is too large for a file of labels; name one with a name a line, or JSON"
            )
        text = place.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no text; a file of labels has a name a line, or JSON") from error
    except OSError as error:
        raise UsageError(f"cannot read the labels in {path}: {first_line(error)}") from error
    names: tuple[Label, ...] | None
    if text.lstrip()[:1] in ("[", "{") and (place.suffix == ".json" or _parsed(text) is not None):
        names = as_labels(_parsed(text))
        if names is None:
            raise UsageError(f"{path} is no JSON list of names, nor an object of names by number 0, 1, …")
    else:
        if text.lstrip()[:1] == "{":
            raise UsageError(
                f"{path} is no JSON (its keys and names need double quotes); name a file that is"
            )
        names = _unnumbered([line.strip() for line in text.rstrip().splitlines()])
    if not names or any(not _first(name).strip() for name in names):
        raise UsageError(
            f"{path} has lines without a name; give one name for each output, in the model's order"
        )
    return names


def _unnumbered(lines: list[str]) -> tuple[str, ...]:
    """Lines without their numbers, in the order of those, where all have one and none is missing; else as they are."""
    found = [_NUMBERED.fullmatch(line) for line in lines]
    numbers = [int(match[1]) for match in found if match is not None]
    count = len(lines)
    names = [match[2] for match in found if match is not None]
    if (
        len(numbers) < count or count < 2 or len(set(names)) < count
    ):  # "1 cent", "2 cents", "5 cents" count something
        return tuple(lines)
    if numbers == list(range(1, count + 1)):
        return tuple(names)
    if sorted(numbers) != list(range(count)):
        return tuple(lines)
    return tuple(names[place] for place in np.argsort(numbers).tolist())


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError, MemoryError):
        return None


def as_labels(value: Any) -> tuple[Label, ...] | None:
    """Names by output from a JSON value: a list, or an object by number or (turned round) of numbers by name.

    None for anything else, such as numbers with gaps.
    """
    if isinstance(value, Mapping):
        value = _by_index(value)
    if not isinstance(value, (list, tuple)) or not value or len(value) > _MOST_CLASSES:
        return None
    names: list[Label] = []
    for entry in value:
        if isinstance(entry, str):
            names.append(entry)
        elif isinstance(entry, (list, tuple)) and entry and all(isinstance(one, str) for one in entry):
            names.append(tuple(entry))
        elif isinstance(entry, int) and not isinstance(entry, bool):
            names.append(str(entry))
        else:
            return None
    return tuple(names)


def _by_index(value: Mapping[Any, Any]) -> list[Any] | None:
    """The values by their keys 0 … n − 1, or the keys by such values."""
    if value and all(isinstance(entry, int) and not isinstance(entry, bool) for entry in value.values()):
        value = {entry: key for key, entry in value.items()} if len(set(value.values())) == len(value) else {}
    try:
        found = {int(key): entry for key, entry in value.items()}
    except (ValueError, TypeError):
        return None
    return [found[number] for number in range(len(found))] if set(found) == set(range(len(value))) else None


def _first(name: Label) -> str:
    return name if isinstance(name, str) else name[0]


def _some(names: Iterable[str]) -> str:
    shown = list(names)
    more = len(shown) - _SHOWN
    return ", ".join(map(repr, shown[:_SHOWN])) + (f" and {more} more" if more > 0 else "")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}es"
