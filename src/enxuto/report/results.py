"""Read files of results: what each shows, and one line for each that cannot be shown.

A file is what a verb prints with `--json`, a study's `records.jsonl` or its folder, or JSON of the schema
`enxuto-report/1` (`docs/report.md`). A file may hold several kinds at once. What is missing or damaged is named in
`problems` and left out; the rest goes on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from enxuto.errors import EnxutoError, UsageError
from enxuto.report.documents import Document, documents
from enxuto.report.exhibit import KINDS, Exhibit
from enxuto.report.readers import (
    comparisons,
    evaluations,
    layers,
    ledgers,
    lottery,
    networks,
    own_charts,
    rates,
    removed,
    searches,
    slimming,
    speeds,
    tickets,
    tonin,
    trainings,
    weights,
)

__all__ = ["READERS", "SCHEMA", "Reader", "Results", "read_results"]

SCHEMA = "enxuto-report/1"
_VERBS = re.compile(r"enxuto\.[a-z]+/1")  # what verbs print: their keys say which reader knows them


@dataclass(frozen=True)
class Reader:
    """One form of results: `matches` tells by its keys whether a file holds it, `read` makes exhibits of it.

    `read` may raise an `EnxutoError`, pydantic's `ValidationError`, or what arithmetic raises on strange numbers.
    """

    kind: str
    matches: Callable[[Mapping[str, Any]], bool]
    read: Callable[[Document], list[Exhibit]]


READERS = (
    Reader("ledger", ledgers.matches, ledgers.read),
    Reader("rate-curve", rates.matches, rates.read),
    Reader("search", searches.matches, searches.read),
    Reader("layers", layers.matches, layers.read),
    Reader("histograms", weights.matches, weights.read),
    Reader("tickets", tickets.matches, tickets.read),
    Reader("removed-filters", removed.matches, removed.read),
    Reader("speed-up", speeds.matches, speeds.read),
    Reader("lottery", lottery.matches, lottery.read),
    Reader("training", trainings.matches, trainings.read),
    Reader("networks", networks.matches, networks.read),
    Reader("quantizers", tonin.matches, tonin.read),
    Reader("slim", slimming.matches, slimming.read),
    Reader("evaluation", evaluations.matches, evaluations.read),
    Reader("comparison", comparisons.matches, comparisons.read),
    Reader("table", own_charts.matches, own_charts.read),
)


@dataclass(frozen=True)
class Results:
    """Exhibits in the order of `KINDS`, a line for each file or part that is left out, and the paths that were read."""

    exhibits: tuple[Exhibit, ...]
    problems: tuple[str, ...]
    sources: tuple[str, ...]


def read_results(paths: Iterable[str | Path]) -> Results:
    """Read files and folders, each once. Raises `UsageError` where none of them holds anything that can be shown."""
    exhibits: list[Exhibit] = []
    problems: list[str] = []
    sources = list(dict.fromkeys(str(path) for path in paths))
    for source in sources:
        found, wrong = documents(Path(source))
        problems += wrong
        for document in found:
            shown, wrong = _exhibits(document)
            exhibits += shown
            problems += wrong
    if not exhibits:
        raise UsageError(f"no result to show: {'; '.join(problems[:3]) or 'no file was named'}")
    order = list(KINDS)
    exhibits.sort(key=lambda one: order.index(one.kind))
    return Results(tuple(exhibits), tuple(dict.fromkeys(problems)), tuple(sources))


def _exhibits(document: Document) -> tuple[list[Exhibit], list[str]]:
    """What all readers that know a document make of it."""
    values = document.values
    readers = [reader for reader in READERS if reader.matches(values)]
    where = document.source or document.name
    schema = values.get("schema", "")
    if "schema" in values and not _VERBS.fullmatch(str(schema)):
        if schema != SCHEMA:
            return [], [
                f"{where}: its schema is {str(schema)[:60]!r}; a report reads {SCHEMA} and what verbs of this "
                "version print; left out"
            ]
        readers = [reader for reader in READERS if reader.kind == values.get("kind")]
    if not readers:
        return [], [f"{where}: no result that a report knows; left out (docs/report.md lists the kinds)"]
    exhibits: list[Exhibit] = []
    problems: list[str] = []
    for reader in readers:
        try:
            exhibits += reader.read(document)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, first["loc"])) or "the whole"
            problems.append(f"{where}: {place}: {first['msg'].lower()}; its {reader.kind} is left out")
        except EnxutoError as error:
            problems.append(f"{where}: {error}; its {reader.kind} is left out")
        except (ArithmeticError, LookupError) as error:
            problems.append(f"{where}: {type(error).__name__} ({error}); its {reader.kind} is left out")
    return exhibits, problems
