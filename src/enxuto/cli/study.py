"""`enxuto study`: many networks trained and measured alike, beside published numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enxuto.cli.terminal import note, print_json, show_table, warn
from enxuto.errors import UsageError

if TYPE_CHECKING:
    from enxuto.study.souza import Images, SouzaStudy

HELP = """Train and measure several networks alike, and show the results beside published ones.

NAME is `souza`: SqueezeNet-DSC, SqueezeNet, MobileNet, AlexNet and VGG19 in their CIFAR forms (Souza 2020). Scales:
smoke (512 images, 2 epochs: minutes on two cores), small (10,000 images, 20 epochs: hours) and full (the protocol).
Each finished network is recorded; the same command goes on where it was stopped. The folder gets the networks as
ONNX, tables as Markdown and CSV, and plots. Needs PyTorch and matplotlib: `pip install 'enxuto[train,report]'`.

```
enxuto study souza --data cifar10 --scale smoke
enxuto study souza --data train.parquet --test test.parquet --scale full --networks squeezenet-dsc --json
```
"""

_INTERRUPTED = 130
_STUDIES = ("souza",)


def run(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The study: souza.")],
    data: Annotated[
        str, typer.Option(help="Data file or folder to train on, or a set that `enxuto fetch` fetched.")
    ] = "cifar10",
    test: Annotated[
        str | None, typer.Option(help="Test images, where DATA has no part `test`; used once, at the end.")
    ] = None,
    scale: Annotated[str, typer.Option(help="smoke, small or full.")] = "smoke",
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the study; by default studies/ and the study's name and scale."),
    ] = None,
    networks: Annotated[
        list[str] | None, typer.Option(help="A network; can be repeated. Default: all five.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of weights, samples, order and augmentation.")] = 0,
    threads: Annotated[
        int, typer.Option(help="CPU threads while latency is measured; 0 takes one per processor.")
    ] = 1,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of the training; can be repeated."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the records as JSON.")] = False,
) -> None:
    """Run a study; see `HELP`."""
    if name not in _STUDIES:
        raise UsageError(f"no study is called {name!r}; there is {', '.join(_STUDIES)}")
    _check_packages()
    from enxuto.study.souza import Images, SouzaStudy
    from enxuto.train.config import parse_setting

    chosen = dict(parse_setting(text) for text in settings or [])
    study = SouzaStudy(tuple(networks) if networks else SouzaStudy().networks, scale, seed, threads, chosen)
    folder = out or Path("studies") / f"{name}-{scale}"
    records = _records(study, Images.open(study, data, test), folder)
    _show(records, folder, as_json=json)


def _check_packages() -> None:
    """Before hours of training, not after the first network."""
    from importlib.util import find_spec

    missing = [package for package in ("torch", "onnxscript", "matplotlib") if find_spec(package) is None]
    if missing:
        raise UsageError(f"a study needs {', '.join(missing)}: pip install 'enxuto[train,report]'")


def _records(study: SouzaStudy, images: Images, folder: Path) -> list[dict[str, Any]]:
    """Run it, telling how it goes on stderr."""
    from enxuto.cli.training import reporter
    from enxuto.study.souza import run_souza

    for dataset in (images.train, images.test):
        for remark in dataset.notes:
            warn(remark)
    note(f"{len(images.train):,} images to train on, {len(images.test):,} to test, {images.classes} classes")

    def begun(network: str, known: bool) -> None:
        note(f"{network}: {'on record, not trained again' if known else 'training'}")

    found = []
    try:
        with reporter() as report:
            for record in run_souza(study, images, folder, report=report, begun=begun):
                found.append(record)
                note(_line(record))
    except KeyboardInterrupt:
        note(
            f"interrupted; {len(found)} networks are on record in {folder}: the same command goes on from here"
        )
        raise typer.Exit(_INTERRUPTED) from None
    return found


def _line(record: Mapping[str, Any]) -> str:
    measures, training = record["measures"], record["training"]
    return (
        f"{record['network']}: top-1 {measures['top1']:.2%} of {measures['samples']:,} test images after "
        f"{training['epochs']} epochs ({training['stopped']}), {training['seconds']:.0f} s"
    )


def _show(records: Sequence[dict[str, Any]], folder: Path, *, as_json: bool) -> None:
    """Write the tables and the plot of all losses into the folder; print the tables, or the records as JSON."""
    from enxuto.files import atomic_write
    from enxuto.measure import plot_losses
    from enxuto.study.souza import histories
    from enxuto.study.souza_published import PUBLISHED
    from enxuto.study.souza_tables import as_csv, as_markdown, tables

    found = tables(records)
    for file, text in (("souza.md", as_markdown(found)), ("souza.csv", as_csv(records))):
        with atomic_write(folder / file) as out:
            out.write(text.encode())
    runs = histories(folder, records)
    if runs:
        plot_losses(runs, folder / "losses.png", title="Training loss")
    if as_json:
        published = {
            str(classes): {k: vars(row) for k, row in rows.items()} for classes, rows in PUBLISHED.items()
        }
        print_json(
            {"study": "souza", "folder": str(folder), "records": list(records), "published": published}
        )
        return
    for table in found:
        columns = {
            heading: "left" if place < table.texts else "right" for place, heading in enumerate(table.columns)
        }
        show_table(table.title, columns, table.rows, caption=table.caption)
    note(f"in {folder}: souza.md, souza.csv, losses.png, records.jsonl, and a folder for each network")
