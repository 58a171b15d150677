"""`enxuto fetch`: a published data set, checked, into the cache. The only verb that uses the network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from enxuto.cli.shared.common_options import Json
from enxuto.cli.shared.terminal import print_json, progress_bar, say

HELP = """Fetch a published data set: cifar10, cifar100, mnist or fashion-mnist.

The files are checked against their SHA-256 and put into the cache folder ($ENXUTO_CACHE, else the platform's), whole or
not at all. Verbs that take data then take the data set's name. What is there already is not fetched again.

    enxuto fetch fashion-mnist
    enxuto fetch cifar10 -o data --json
"""


def _complete(incomplete: str) -> list[str]:
    from enxuto.data.published import PUBLISHED

    return [name for name in PUBLISHED if name.startswith(incomplete)]


def run(
    name: Annotated[
        str, typer.Argument(metavar="NAME", autocompletion=_complete, help="The data set to fetch.")
    ],
    folder: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="DIR", help="Write a folder of its own into DIR instead of the cache."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Download; see `HELP`."""
    from enxuto.data import download

    with progress_bar(f"fetching {name}") as progress:
        place = download(name, folder, progress=progress)
    if json:
        print_json({"name": name, "path": str(place)})
        return
    say(str(place))
