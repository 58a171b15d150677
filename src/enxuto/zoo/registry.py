"""Look up architectures by name and check what a caller asks of them, without importing torch."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from enxuto.errors import UsageError, did_you_mean
from enxuto.zoo.entry import Entry
from enxuto.zoo.published import ENTRIES

__all__ = ["check_count", "check_options", "entry", "names"]

_BY_NAME: Mapping[str, Entry] = {item.name: item for item in ENTRIES}


def names() -> list[str]:
    """Names of all architectures, in the order of the published tables: family by family."""
    return list(_BY_NAME)


def entry(name: str) -> Entry:
    """Return what is known about the architecture `name`; `UsageError` with the closest names if there is
    none.
    """
    found = _BY_NAME.get(name)
    if found is None:
        raise UsageError(f"there is no network called {name!r}; {_suggestion(name)}", code="E021")
    return found


def check_options(item: Entry, options: Mapping[str, object]) -> None:
    """Raise `UsageError` when `options` holds a keyword that the architecture does not have."""
    for option in options:
        if option in item.options:
            continue
        known = ", ".join(item.options) if item.options else "none besides classes, channels and seed"
        hint = did_you_mean(option, item.options)
        raise UsageError(f"{item.name} has no option {option!r}{hint}; its options: {known}", code="E021")


def check_count(name: str, what: str, value: object) -> int:
    """Return `value` when it is a whole number from 1 on; `UsageError` naming the network and `what`
    otherwise.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UsageError(f"{name}: {what} must be a whole number from 1 on, not {value!r}")
    return value


def _suggestion(name: str) -> str:
    """The closest names, or the way to list all of them."""
    wanted = str(name).lower().replace("_", "-")
    folded = {known.replace("_", "-"): known for known in _BY_NAME}
    close = [folded[match] for match in difflib.get_close_matches(wanted, folded, n=4, cutoff=0.6)]
    begins = [known for folded_name, known in folded.items() if folded_name.startswith(wanted)]
    found = list(dict.fromkeys(begins + close))[:4]
    return f"did you mean {', '.join(map(repr, found))}?" if found else "enxuto.zoo.names() lists all"
