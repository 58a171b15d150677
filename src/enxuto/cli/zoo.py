"""`enxuto zoo`: the networks that can be built by name, from data alone: no torch is imported."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from enxuto.cli.shared.common_options import Json
from enxuto.cli.shared.completion import complete_networks
from enxuto.cli.shared.terminal import print_json, show_table
from enxuto.errors import UsageError, did_you_mean
from enxuto.zoo import Entry, entry, names
from enxuto.zoo.options import MEANINGS

__all__ = ["HELP", "run"]

HELP = """List the networks that enxuto builds by name, or show one of them.

Parameters are counted at the default number of classes. MACs are multiply–accumulates of convolutions and linear
layers for one image. A word that is the name of a network shows its details, any other word lists the networks whose
name, family or title contains it.

```
enxuto zoo resnet
enxuto zoo squeezenet-dsc --json
```
"""

_COLUMNS = {
    "network": "left",
    "parameters": "right",
    "MACs": "right",
    "input": "right",
    "classes": "right",
    "year": "right",
    "paper": "left",
}


def run(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME|WORD]...",
            autocompletion=complete_networks,
            help="A network, or words to look for.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the zoo; see `HELP`."""
    if words and len(words) == 1 and words[0] in names():
        _show_one(entry(words[0]), as_json=as_json)
        return
    networks = [item for item in map(entry, names()) if all(_matches(item, word) for word in words or ())]
    if not networks:
        text = " ".join(words or ())
        raise UsageError(
            f"no network matches {text!r}{did_you_mean(text, names())}; `enxuto zoo` lists all {len(names())}",
            code="E021",
        )
    if as_json:
        print_json({"networks": [_facts(item) for item in networks]})
        return
    rows = [
        [
            item.name,
            f"{_parameters(item):,}",
            f"{item.macs:,}",
            _volume(item),
            str(item.classes),
            str(item.year),
            item.paper,
        ]
        for item in networks
    ]
    show_table(None, _COLUMNS, rows, caption=f"{len(networks)} networks; MACs: multiply–accumulates per image",
               give_way=("paper", "year", "classes", "input"))  # fmt: skip


def _matches(item: Entry, word: str) -> bool:
    return any(word.lower() in text.lower() for text in (item.name, item.family, item.title))


def _parameters(item: Entry) -> int:
    return item.counts[item.classes]


def _volume(item: Entry) -> str:
    """Channels × height × width, the order of the arrays."""
    return "×".join(map(str, item.input_shape))


def _facts(item: Entry) -> dict[str, Any]:
    return {
        "name": item.name,
        "family": item.family,
        "title": item.title,
        "paper": item.paper,
        "year": item.year,
        "input_shape": list(item.input_shape),
        "classes": item.classes,
        "parameters": _parameters(item),
        "parameters_by_classes": {str(classes): count for classes, count in item.counts.items()},
        "macs": item.macs,
        "options": list(item.options),
        "variants": [
            {
                "options": dict(variant.options),
                "parameters_by_classes": {str(classes): count for classes, count in variant.counts.items()},
                "macs": variant.macs,
                "note": variant.note,
            }
            for variant in item.variants
        ],
        "note": item.note,
    }


def _show_one(item: Entry, *, as_json: bool) -> None:
    if as_json:
        print_json(_facts(item))
        return
    rows = [["family", item.family], ["paper", item.paper], ["year", str(item.year)]]
    rows += [["input (C×H×W)", _volume(item)], ["classes", str(item.classes)]]
    rows += [[f"parameters, {classes} classes", f"{count:,}"] for classes, count in item.counts.items()]
    rows += [["MACs per image", f"{item.macs:,}"]]
    rows += [[f"--option {option}", MEANINGS[option]] for option in item.options]
    for variant in item.variants:
        label = ", ".join(f"{option}={_format_value(value)}" for option, value in variant.options.items())
        counts = ", ".join(f"{count:,} parameters" for count in variant.counts.values())
        rows.append([label, f"{counts}, {variant.macs:,} MACs. {variant.note}".strip()])
    rows.append(["note", item.note])
    show_table(f"{item.name}: {item.title}", {"": "left", " ": "left"}, rows)


def _format_value(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
