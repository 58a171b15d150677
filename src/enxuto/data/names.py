"""Names of classes compared: how a data set and a model may write the same class.

Names are compared as they are, then without regard to case, spaces, `_` and `-`, then by synonym ("tench, Tinca
tinca"; a WordNet number in front, or another as in "10_ship"). Genders and ranges of ages are known by the words that
networks have for them (`other_words`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = ["NUMBERED", "Label", "NameIndex", "other_words"]

Label = str | Sequence[str]
"""A class's name, or several that mean the same, the first of which is shown."""

NUMBERED = re.compile(r"(\d{1,8})(?:\s*[:;,.)\t]\s*|[\s_\-]+)(\S.*)", re.DOTALL | re.ASCII)
"""A number and a name, as in "10_ship"."""

_WORDNET = re.compile(r"(n\d{8})\b[\s:,]*(.*)", re.DOTALL)
_SEPARATORS = re.compile(r"[\s_\-]+")
_AGES = re.compile(r"\((\d+), (\d+)\)")

# In English and Portuguese. "m" is a man beside "f" or "w", and a woman (mulher) beside "h" (homem): it stands last, as
# a word counts only where none before it is there.
_MALE = ("male", "man", "men", "boy", "boys", "masculine", "homem", "homens", "masculino", "masc", "h", "m")
_FEMALE = (
    "female", "woman", "women", "girl", "girls", "feminine", "mulher", "mulheres", "feminino", "fem", "f", "w", "m",
)  # fmt: skip
_AGE_SPELLINGS = {(8, 12): (8, 13), (38, 43): (38, 42)}  # both stand in Adience's folds


class NameIndex:
    """A model's names by spelling; where a name means several outputs, the label decides."""

    def __init__(self, names: Sequence[Label]) -> None:
        wholes = [[name] if isinstance(name, str) else list(name) for name in names]
        self._tables = [
            _spelling_table(wholes, lambda name: [name]),
            _spelling_table(wholes, lambda name: [_normalise_name(name)]),
            _spelling_table(wholes, lambda name: [_normalise_name(part) for part in _synonyms(name)]),
        ]

    def find(self, name: str, label: int, others: Sequence[str] = ()) -> int | None:
        """The one output of this name; of several equally good ones, the label's own, else None.

        others: other words for it, of which the first that is there counts before the name itself.
        """
        exact, whole, synonyms = self._tables
        tries: list[tuple[Mapping[str, set[int]], str]] = [
            (exact, name),
            (whole, _normalise_name(name)),
            (synonyms, _normalise_name(name)),
        ]
        # Several words on this side too may each be a whole name on the other.
        tries += [(whole, _normalise_name(part)) for part in _synonyms(name)]
        tries = [(table, _normalise_name(word)) for word in others for table in (whole, synonyms)] + tries
        for table, key in tries:
            places = table.get(key, set())
            if len(places) == 1:
                return next(iter(places))
            if label in places:
                return label
        return None


def _spelling_table(
    names: Sequence[Sequence[str]], spellings: Callable[[str], Iterable[str]]
) -> dict[str, set[int]]:
    table: dict[str, set[int]] = {}
    for place, group in enumerate(names):
        for name in group:
            for key in spellings(name):
                table.setdefault(key, set()).add(place)
    return table


def _normalise_name(name: str) -> str:
    return _SEPARATORS.sub("", unicodedata.normalize("NFKC", name).casefold())


def _synonyms(name: str) -> list[str]:
    """The words of "tench, Tinca tinca" or of "n01440764 tench"; parts without a letter are left out."""
    match = _WORDNET.fullmatch(name.strip())
    numbers, rest = ([match[1]], match[2]) if match else ([], name)
    parts = [part.strip() for part in rest.split(",")] if ", " in rest else [rest.strip()]
    counted = NUMBERED.fullmatch(rest.strip())
    if counted is not None and not match:  # "10_ship"
        parts.append(counted[2])
    return numbers + [part for part in parts if any(letter.isalpha() for letter in part)]


def other_words(classes: Sequence[str]) -> dict[int, tuple[str, ...]]:
    """Return other words for classes, by label, where these are two genders or ranges of ages such as "(8, 12)"."""
    ages = [_AGES.fullmatch(name.strip()) for name in classes]
    if classes and all(ages):
        return {
            label: _age_words(int(age[1]), int(age[2])) for label, age in enumerate(ages) if age is not None
        }
    if len(classes) != 2:
        return {}
    keys = [_normalise_name(name) for name in classes]
    places = [next((keys.index(word) for word in words if word in keys), None) for words in (_MALE, _FEMALE)]
    if set(places) != {0, 1}:
        return {}
    return {place: words for place, words in zip(places, (_MALE, _FEMALE), strict=True) if place is not None}


def _age_words(low: int, high: int) -> tuple[str, ...]:
    """How networks write a range: "8-12", "(8-12)", "8 to 12", "60+"."""
    ranges = [(low, high), *([_AGE_SPELLINGS[low, high]] if (low, high) in _AGE_SPELLINGS else [])]
    joined = [f"{one}{mark}{other}" for one, other in ranges for mark in ("-", "–", ",", ", ", " to ", " a ")]
    return (*joined, *(f"({words})" for words in joined), *([f"{low}+"] if high >= 100 else []))
