"""`enxuto zoo`: the networks that can be built by name, from data alone: no torch is imported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from enxuto.cli.shared.common_options import Json
from enxuto.cli.shared.completion import complete_networks
from enxuto.cli.shared.network_options import NetworkOptions, input_shape
from enxuto.cli.shared.terminal import note, print_json, show_table
from enxuto.errors import UsageError, did_you_mean
from enxuto.zoo import ACCURACIES, WINNERS, Entry, ImageNetAccuracy, entry, names
from enxuto.zoo.entry import OptionValue
from enxuto.zoo.options import MEANINGS, format_options

__all__ = ["HELP", "run"]

HELP = """List the networks that enxuto builds by name, or show one of them.

Parameters are counted at the default number of classes. MACs are multiply–accumulates of convolutions and linear
layers for one image. A word that is the name of a network shows its details, any other word lists the networks whose
name, family or title contains it. `--option` and `--activation` show a network as it is built with them, counted here;
they work so in every verb that builds one.
Accuracies on ImageNet are those of papers and of published weights, measured in different ways; none of them here.

```
enxuto zoo resnet
enxuto zoo squeezenet-dsc --json
enxuto zoo mobilenet-cifar --option width=0.5
enxuto zoo --imagenet
enxuto zoo --chart accuracies.png
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
    *,
    network_options: NetworkOptions,
    imagenet: Annotated[
        bool, typer.Option("--imagenet", help="Show published accuracies on ImageNet, and ILSVRC's winners.")
    ] = False,
    chart: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Draw published accuracy against operations and parameters, as .png or .svg."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the zoo; see `HELP`."""
    one = words[0] if words and len(words) == 1 and words[0] in names() else None
    if (network_options.option or network_options.activation) and (
        one is None or imagenet or chart is not None
    ):
        raise UsageError(
            "--option and --activation are of one network; name it alone, as in "
            "`enxuto zoo mobilenet --option width=0.5`",
            code="E024",
        )
    if imagenet or chart is not None:
        _show_imagenet(
            [item for item in map(entry, names()) if _is_asked_for(item, words)], chart, as_json=as_json
        )
        return
    if one is not None:
        options = network_options.read(one)
        _show_one(_as_built(entry(one), options) if options else entry(one), options, as_json=as_json)
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


def _as_built(item: Entry, options: Mapping[str, OptionValue]) -> Entry:
    """The entry with the size and the counts of the network that these options make."""
    from enxuto import zoo
    from enxuto.errors import import_optional
    from enxuto.summary import summarize

    torch = import_optional("torch", f"building {item.name}", "PyTorch", "train")
    chosen: dict[str, Any] = dict(options)
    counts = {}
    for classes in item.counts:
        with torch.device("meta"):  # takes no memory
            network = zoo.build(item.name, classes=classes, **chosen)
        counts[classes] = sum(one.numel() for one in network.parameters() if one.requires_grad)
    macs = summarize(item.name, options=options).macs
    return replace(item, input_shape=input_shape(item.name, options), counts=counts, macs=macs)


def _is_asked_for(item: Entry, words: list[str] | None) -> bool:
    if words and len(words) == 1 and words[0] in names():
        return item.name == words[0]
    return all(_matches(item, word) for word in words or ())


def _show_imagenet(items: list[Entry], chart: Path | None, *, as_json: bool) -> None:
    """Published accuracies of networks and the winners of ILSVRC, or a chart of the accuracies."""
    known = [(item, ACCURACIES[item.name]) for item in items if item.name in ACCURACIES]
    if not known:
        raise UsageError(
            "none of these networks has a published accuracy; `enxuto zoo --imagenet` lists those that have",
            code="E021",
        )
    drawn = 0 if chart is None else _draw(known, chart)
    if as_json:
        print_json(
            {
                "imagenet": {item.name: vars(found) for item, found in known},
                "ilsvrc": [vars(winner) for winner in WINNERS],
                "chart": None if chart is None else str(chart),
            }
        )
        return
    if chart is not None:
        note(f"{chart}: top-1 of {drawn} networks against MACs and parameters")
        return
    rows = [
        [item.name, _percent(found.top1), _percent(found.top5), f"{_parameters(item):,}", f"{item.macs:,}",
         found.measured, found.source]
        for item, found in known
    ]  # fmt: skip
    columns = {"network": "left", "top-1 %": "right", "top-5 %": "right", "parameters": "right", "MACs": "right",
               "measured with": "left", "source": "left"}  # fmt: skip
    show_table("accuracy on ImageNet's validation images, as published", columns, rows,
               give_way=("source", "measured with", "MACs"))  # fmt: skip
    rows = [[str(one.year), one.team, one.model, f"{one.top5_error:g}", one.note] for one in WINNERS]
    columns = {"year": "left", "team": "left", "model": "left", "top-5 error %": "right", "": "left"}
    show_table("winners of ILSVRC classification, test images", columns, rows)


def _draw(known: Sequence[tuple[Entry, ImageNetAccuracy]], chart: Path) -> int:
    """Draw those that have a top-1 and return how many they are. Raises `UsageError` where none has."""
    from enxuto.report.figures.accuracies import Published, draw_accuracies

    points = [
        Published(item.name, item.family, item.macs, _parameters(item), found.top1, found.source)
        for item, found in known
        if found.top1 is not None
    ]
    if not points:
        raise UsageError("none of these networks has a published top-1", code="E021")
    draw_accuracies(points, chart)
    return len(points)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:g}"


def _matches(item: Entry, word: str) -> bool:
    return any(word.lower() in text.lower() for text in (item.name, item.family, item.title))


def _parameters(item: Entry) -> int:
    return item.counts[item.classes]


def _volume(item: Entry) -> str:
    """Channels × height × width, the order of the arrays."""
    return "×".join(map(str, item.input_shape))


def _facts(item: Entry, built: Mapping[str, OptionValue] | None = None) -> dict[str, Any]:
    """What is known of a network; built: the options that its counts are with."""
    return {
        "name": item.name,
        "built_with": dict(built or {}),
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
        "imagenet": vars(ACCURACIES[item.name]) if item.name in ACCURACIES and not built else None,
        "note": item.note,
    }


def _show_one(item: Entry, built: Mapping[str, OptionValue], *, as_json: bool) -> None:
    if as_json:
        print_json(_facts(item, built))
        return
    rows = [["family", item.family], ["paper", item.paper], ["year", str(item.year)]]
    rows += [["built with", ", ".join(format_options(built))]] if built else []
    rows += [["input (C×H×W)", _volume(item)], ["classes", str(item.classes)]]
    rows += [[f"parameters, {classes} classes", f"{count:,}"] for classes, count in item.counts.items()]
    rows += [["MACs per image", f"{item.macs:,}"]]
    rows += [[f"--option {option}", MEANINGS[option]] for option in item.options]
    for variant in item.variants:
        label = ", ".join(f"{option}={_format_value(value)}" for option, value in variant.options.items())
        counts = ", ".join(f"{count:,} parameters" for count in variant.counts.values())
        rows.append([label, f"{counts}, {variant.macs:,} MACs. {variant.note}".strip()])
    if item.name in ACCURACIES and not built:
        found = ACCURACIES[item.name]
        texts = [
            f"{name} {value:g} %" for name, value in (("top-1", found.top1), ("top-5", found.top5)) if value
        ]
        rows.append(["ImageNet, published", f"{', '.join(texts)}; {found.measured}; {found.source}"])
    rows.append(["note", item.note])
    show_table(f"{item.name}: {item.title}", {"": "left", " ": "left"}, rows)


def _format_value(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
