"""Write docs/networks/: a page and a drawing for each family of the zoo, and an index.

    python docs/make_networks.py

All numbers come from the zoo's data and from `enxuto.summary`; a test runs `pages()` and compares.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from network_blocks import DIAGRAMS
from network_drawing import svg
from network_texts import PAGES, Page

from enxuto import zoo
from enxuto.files import atomic_write
from enxuto.summary import CONVENTION, Stage, Summary, summarize_network
from enxuto.summary.text import bar
from enxuto.zoo import Entry
from enxuto.zoo.options import MEANINGS

FOLDER = Path(__file__).parent / "networks"


def pages() -> dict[str, str]:
    """File name → text of everything in docs/networks."""
    written = {"README.md": _index()}
    for family, page in PAGES.items():
        written[f"{family}.md"] = _page(family, page)
        written[f"{family}.svg"] = svg(DIAGRAMS[family])
    return written


def _index() -> str:
    lines = [
        "# The networks",
        "",
        "This folder has a page for each family of networks in the zoo: its block, its parameters, and a table of "
        "where parameters, activations and operations are. `enxuto zoo` lists all networks, `enxuto summary NAME` "
        "every layer.",
        "",
        "| family | networks | first paper |",
        "| :-- | :-- | :-- |",
    ]
    for family, page in PAGES.items():
        members = _members(family)
        names = ", ".join(f"`{item.name}`" for item in members)
        first = min(members, key=lambda item: item.year)
        lines.append(f"| [{page.title}]({family}.md) | {names} | {first.paper} |")
    return "\n".join(lines) + "\n"


def _page(family: str, page: Page) -> str:
    table = summarize_network(page.shown)
    lines = [
        f"# {page.title}",
        "",
        "This page shows the block of this family, how its parameters are counted, and where parameters, activations "
        "and operations are.",
        "",
        page.idea,
        "",
        f"![{DIAGRAMS[family].name}]({family}.svg)",
        "",
        "## Parameters",
        "",
        page.formula,
        "",
        "| network | input | classes: parameters | MACs | paper |",
        "| :-- | --: | :-- | --: | :-- |",
        *(_entry_row(item) for item in _members(family)),
        "",
        *_options(family),
        "",
        f"## `{page.shown}`, stage by stage",
        "",
        *_stage_table(table, table.stages(page.depth)),
        "",
        f"Every layer: `enxuto summary {page.shown}`. {CONVENTION}.",
        "",
    ]
    return "\n".join(lines)


def _members(family: str) -> list[Entry]:
    return [item for item in map(zoo.entry, zoo.names()) if item.family == family]


def _entry_row(item: Entry) -> str:
    counts = ", ".join(f"{classes:,}: {count:,}" for classes, count in item.counts.items())
    return f"| `{item.name}` | {_volume(item.input_shape)} | {counts} | {item.macs:,} | {item.paper} |"


def _options(family: str) -> list[str]:
    """What `--option` takes for the networks of a family, and which of them."""
    members = _members(family)
    lines = ["Options, as `--option NAME=VALUE` of `summary`, `train`, `export`, `prune` and `lottery`:", ""]
    for option in dict.fromkeys(option for item in members for option in item.options):
        takers = [item.name for item in members if option in item.options]
        whose = "" if len(takers) == len(members) else f" ({', '.join(f'`{name}`' for name in takers)})"
        lines.append(f"- `{option}`{whose}: {MEANINGS[option]}.")
    return lines


def _stage_table(table: Summary, stages: Iterable[Stage]) -> list[str]:
    """Stages with anything to count, and the totals."""
    lines = [
        "| stage | output | parameters | | activations | | MACs | |",
        "| :-- | --: | --: | :-- | --: | :-- | --: | :-- |",
    ]
    sums = (table.parameters, table.activations(), table.macs)
    for stage in stages:
        cells = [f"`{stage.name}`", _volume(stage.layers[-1].output)]
        for part, whole in zip((stage.parameters, stage.activations, stage.macs), sums, strict=True):
            cells += [f"{part:,}", " ".join(bar(part, whole).split())]
        lines.append(f"| {' | '.join(cells)} |")
    total = f"| **all** | | **{sums[0]:,}** | | **{sums[1]:,}** | | **{sums[2]:,}** | |"
    return [*lines, total]


def _volume(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))


def main() -> None:
    """Write all files; those of families that are gone are removed."""
    FOLDER.mkdir(exist_ok=True)
    texts = pages()
    for old in FOLDER.iterdir():
        if old.name not in texts:
            old.unlink()
    for name, text in texts.items():
        with atomic_write(FOLDER / name) as file:
            file.write(text.encode())


if __name__ == "__main__":
    main()
