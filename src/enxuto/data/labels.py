"""A data set's labels in the order of a model's outputs: by class names where both have them, else by number.

`enxuto.data.names` compares names. Where folders are called by numbers, or data name no classes, labels are numbers of
outputs. `LabelMatching.remarks` and `warnings` report where the order differs, or cannot be known. Not here: where a
model keeps its labels (`enxuto.opening.labels_of`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from enxuto.data.names import NUMBERED, Label, NameIndex, other_words
from enxuto.errors import DataError, UsageError, does_not_exist, error_reason

__all__ = ["Label", "LabelMatching", "match_labels", "parse_labels", "read_labels"]

_LARGEST_FILE = 64 * 2**20  # bytes; a name for each of a million classes
_MOST_CLASSES = 10_000_000
_SHOWN = 3


@dataclass(frozen=True)
class LabelMatching:
    """How a data set's labels were matched with a model's outputs.

    order: the model's output for each label of the data, −1 where none is meant; None where labels stay as they are.
    names: the classes by output, where they are known. remarks, warnings: a line each, to be said once.
    """

    output_by_label: NDArray[np.int64] | None
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
    numeric_names: bool = False,
    stored: bool = False,
) -> LabelMatching:
    """Find the model's output for each label of a data set.

    labels: int64 (N,), of all samples. classes: the data set's names by label. names: the model's, in the order of its
    outputs. outputs: their number. numeric_names: whether `classes` are the labels' own numbers. stored: whether the
    data store labels as numbers (then their order counts even where names differ). Raises `DataError` for a class that
    the model does not have, and for more labels than it has outputs.
    """
    warnings: list[str] = []
    present = np.unique(labels).tolist()
    numeric_names = numeric_names or (
        classes is not None and all(_is_number(c, i) for i, c in enumerate(classes))
    )
    if names is not None and outputs is not None and len(names) != outputs:
        warnings.append(f"there are {len(names)} labels for the model's {outputs} outputs; they are not used")
        names = None
    if names is not None and classes is not None:
        index, known_as = NameIndex(names), other_words(classes)
        found = {label: index.find(classes[label], label, known_as.get(label, ())) for label in present}
        in_place = len(classes) == len(names) and all(p in (None, label) for label, p in found.items())
        if any(place is not None for place in found.values()) and not (
            stored and in_place and None in found.values()
        ):
            return _match_by_name(found, classes, names, path)
        if known_as:
            raise DataError(
                f"{path} has the classes {_quote_some(classes)}, which the model's labels "
                f"({_quote_some(map(_shown_name, names))}) do not name, so that their order is not known; name the "
                "model's classes in its order, in the data's words, by names=",
                code="E042",
            )
        if not numeric_names:
            _refuse_unknown_names(classes, present, names, path)
            other = next(label for label, place in found.items() if place is None)
            warnings.append(
                f"{path} and the model call their {len(names)} classes by different names ({classes[other]!r} and "
                f"{_shown_name(names[other])!r}); labels are taken in order: say names= where that is wrong"
            )
    return _match_by_number(present, classes, names, outputs, path, numeric_names, warnings)


def _match_by_name(
    found: Mapping[int, int | None], classes: Sequence[str], names: Sequence[Label], path: str
) -> LabelMatching:
    strange = [classes[label] for label, place in found.items() if place is None]
    if strange:
        raise DataError(
            f"{path} has {_count_of(len(strange), 'class')} that the model's labels do not name: "
            f"{_quote_some(strange)}; leave them out, rename them, or name the model's classes by names= (the model "
            f"has {_quote_some(map(_shown_name, names))})",
            code="E042",
        )
    taken: dict[int, str] = {}
    output_by_label = np.full(max(found) + 1, -1, np.int64)
    for label, place in found.items():
        assert place is not None
        if place in taken:
            raise DataError(
                f"{path}: classes {taken[place]!r} and {classes[label]!r} are both the model's "
                f"{_shown_name(names[place])!r}; merge them",
                code="E042",
            )
        taken[place] = classes[label]
        output_by_label[label] = place
    missing = [_shown_name(name) for place, name in enumerate(names) if place not in taken]
    moved = any(label != place for label, place in found.items())
    how = "labels are matched by class name"
    warnings: tuple[str, ...] = ()
    if missing:
        warnings = (
            f"{path} has {len(taken)} of the model's {len(names)} classes, not {_quote_some(missing)}; {how}",
        )
    remarks = (f"{how}: {path} has another order than the model",) if moved and not missing else ()
    shown = tuple(_shown_name(name) for name in names)
    return LabelMatching(output_by_label if moved else None, shown, remarks, warnings)


def _refuse_unknown_names(
    classes: Sequence[str], present: Sequence[int], names: Sequence[Label], path: str
) -> None:
    """Refuse names of which none is known, unless there are as many as outputs, so that their order can be meant."""
    if len(classes) == len(names):
        return
    raise DataError(
        f"{path} names {_count_of(len(classes), 'class')} ({_quote_some(classes[label] for label in present)}), of "
        f"which the model's {len(names)} labels ({_quote_some(map(_shown_name, names))}) name none; name the model's "
        "classes in its order, in the data's words, by names=",
        code="E042",
    )


def _match_by_number(
    present: Sequence[int],
    classes: Sequence[str] | None,
    names: Sequence[Label] | None,
    outputs: int | None,
    path: str,
    numeric_names: bool,
    warnings: list[str],
) -> LabelMatching:
    """Take labels as numbers of outputs."""
    count = len(names) if outputs is None and names is not None else outputs
    shown = None if names is None else tuple(_shown_name(name) for name in names)
    if count is None:
        return LabelMatching(
            None, shown or (None if classes is None else tuple(classes)), (), tuple(warnings)
        )
    if present[-1] >= count:
        what = f"label {present[-1]}"
        if classes is not None and numeric_names:
            what = f"class {classes[present[-1]]}, a number that counts from 0"
        elif classes is not None:
            what = f"{len(classes)} classes"
        raise DataError(
            f"{path} has {what}, more than the model's {count} outputs; leave out what it does not know, or name its "
            "classes by names=",
            code="E042",
        )
    known = present[-1] + 1 if classes is None or numeric_names else len(classes)
    if known != count:
        ordered = classes is not None and not numeric_names
        told = f"{known} classes" if ordered else f"labels up to {known - 1}"
        how = "labels are taken in order" if ordered else "labels count its outputs"
        hint = "" if classes is None else ": say names= where that is wrong"
        warnings.append(f"{path} has {told} and the model {count} outputs; {how}{hint}")
    if shown is None and classes is not None:
        shown = tuple(classes)
    return LabelMatching(None, shown, (), tuple(warnings))


def _is_number(name: str, label: int) -> bool:
    return name.isascii() and name.isdecimal() and len(name) < 10 and int(name) == label


def read_labels(path: str | Path) -> tuple[Label, ...]:
    """Read a model's class names in the order of its outputs from a file with a name a line, or from JSON.

    Numbered lines ("0: tench"), from 0 to N − 1 in any order or from 1 on, are names by number. JSON is a list, or an
    object by number, of names or of lists of names that mean the same. Raises `UsageError` for any other file.
    """
    place = Path(path)
    try:
        if not place.exists():
            raise UsageError(does_not_exist(path, "file of labels"), code="E010")
        if not place.is_file():
            raise UsageError(
                f"{path} is no file of labels; name a text file with a name a line, or JSON", code="E010"
            )
        if place.stat().st_size > _LARGEST_FILE:
            raise UsageError(f"{path} is too large; a file of labels has a name a line, or JSON")
        text = place.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no text; a file of labels has a name a line, or JSON") from error
    except OSError as error:
        raise UsageError(f"cannot read the labels in {path}: {error_reason(error)}", code="E011") from error
    names: tuple[Label, ...] | None
    if text.lstrip()[:1] in ("[", "{") and (place.suffix == ".json" or _parse_json(text) is not None):
        names = parse_labels(_parse_json(text))
        if names is None:
            raise UsageError(f"{path} is no JSON list of names, nor an object of names by number 0, 1, …")
    else:
        if text.lstrip()[:1] == "{":
            raise UsageError(
                f"{path} is no JSON (its keys and names need double quotes); name a file that is"
            )
        names = _strip_numbers([line.strip() for line in text.rstrip().splitlines()])
    if not names or any(not _shown_name(name).strip() for name in names):
        raise UsageError(
            f"{path} has lines without a name; give one name for each output, in the model's order"
        )
    return names


def _strip_numbers(lines: list[str]) -> tuple[str, ...]:
    """Sort lines by their numbers and drop these, where each line has one and none is missing; else change nothing."""
    found = [NUMBERED.fullmatch(line) for line in lines]
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


def _parse_json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError, MemoryError):
        return None


def parse_labels(value: Any) -> tuple[Label, ...] | None:
    """Return names by output from a JSON value: a list, an object of names by number, or one of numbers by name.

    None for anything else, such as numbers with gaps.
    """
    if isinstance(value, Mapping):
        value = _values_by_number(value)
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


def _values_by_number(value: Mapping[Any, Any]) -> list[Any] | None:
    """The values by their keys 0 … n − 1, or the keys by such values."""
    if value and all(isinstance(entry, int) and not isinstance(entry, bool) for entry in value.values()):
        value = {entry: key for key, entry in value.items()} if len(set(value.values())) == len(value) else {}
    try:
        found = {int(key): entry for key, entry in value.items()}
    except (ValueError, TypeError):
        return None
    return [found[number] for number in range(len(found))] if set(found) == set(range(len(value))) else None


def _shown_name(name: Label) -> str:
    return name if isinstance(name, str) else name[0]


def _quote_some(names: Iterable[str]) -> str:
    shown = list(names)
    more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    return ", ".join(map(repr, shown[:_SHOWN])) + more


def _count_of(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}es"
