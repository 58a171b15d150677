"""`enxuto study`: many networks trained and measured alike, beside published numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enxuto.cli.shared import data_options as opts
from enxuto.cli.shared.outputs import own_folder
from enxuto.cli.shared.provenance import provenance, write_provenance
from enxuto.cli.shared.pruning import check_packages, opened, samples_of, there
from enxuto.cli.shared.study_epochs import epochs_told
from enxuto.cli.shared.study_options import (
    Merge,
    Scheduler,
    data_name,
    end,
    executor,
    show,
    tables_folder,
)
from enxuto.cli.shared.study_options import merge as take_in
from enxuto.cli.shared.study_progress import study_progress
from enxuto.cli.shared.terminal import note, print_json
from enxuto.errors import UsageError
from enxuto.machine.processors import processors
from enxuto.machine.signals import exit_code

if TYPE_CHECKING:
    from enxuto.studies.images import Images
    from enxuto.studies.souza.points import SouzaStudy
    from enxuto.study import Executor, Result, StudyResults

HELP = """Train and measure several networks alike, and show the results beside published ones.

NAME is `souza`: SqueezeNet-DSC, SqueezeNet, MobileNet, AlexNet and VGG19 in their CIFAR forms (Souza 2020). Scales:
smoke (512 images, 2 epochs: minutes on two cores), small (10,000 images, 20 epochs: hours) and full (the protocol).
Each finished network is recorded; the same command goes on where it was stopped, in the midst of a training too.
`--workers` trains several at a time, `--scheduler` on a Dask cluster; latencies mean most where one works by itself.
`--merge` takes in what other machines recorded. The folder gets the networks as ONNX, tables as Markdown and CSV, and
plots; where it has those of another data set already, these go into a folder of their own in it. Needs PyTorch and
matplotlib: `pip install '.[train,report]'` in a checkout.

```
enxuto study souza --data cifar10 --scale smoke
enxuto study souza --data train.parquet --test test.parquet --scale full --networks squeezenet-dsc --json
```
"""

_STUDIES = ("souza",)
_RUN = "Computing"


def run(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The study: souza.")],
    data: Annotated[
        str, typer.Option(help="Data file or folder to train on, or a set that `enxuto fetch` fetched.")
    ] = "cifar10",
    test: Annotated[
        str | None, typer.Option(help="Test images, where DATA has no part `test`; used once, at the end.")
    ] = None,
    labels: opts.Order = None,
    scale: Annotated[str, typer.Option(help="smoke, small or full.")] = "smoke",
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the study; by default studies/NAME-DATA-SCALE."),
    ] = None,
    networks: Annotated[
        list[str] | None, typer.Option(help="A network; can be repeated. Default: all five.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of weights, samples, order and augmentation.")] = 0,
    latency_threads: Annotated[
        int, typer.Option(help="CPU threads while latency is measured; 0 takes one per processor.")
    ] = 1,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of the training; can be repeated."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=0, rich_help_panel=_RUN, help="Processes; 0: this one. Default: one."),
    ] = None,
    threads: Annotated[
        int,
        typer.Option(
            min=0, rich_help_panel=_RUN, help="Threads of each process; 0: all processors shared out."
        ),
    ] = 0,
    scheduler: Scheduler = None,
    merge: Merge = None,
    json: Annotated[bool, typer.Option("--json", help="Print the records as JSON.")] = False,
) -> None:
    """Run a study; see `HELP`."""
    if name not in _STUDIES:
        raise UsageError(f"no study is called {name!r}; there is {', '.join(_STUDIES)}")
    check_packages("torch", "onnxscript", "matplotlib")
    from enxuto.data import read_labels
    from enxuto.studies.souza.points import SouzaStudy
    from enxuto.study.store import refuse_earlier_form
    from enxuto.train.config import parse_setting

    chosen = dict(parse_setting(text) for text in settings or [])
    study = SouzaStudy(
        tuple(networks) if networks else SouzaStudy().networks,
        scale,
        seed,
        latency_threads,
        chosen,
        None if labels is None else read_labels(labels),
    )
    folder = out or own_folder("study", Path("studies") / f"{name}-{data_name(data)}-{scale}")
    refuse_earlier_form(folder)
    processes = 1 if workers is None and scheduler is None else workers
    shared = threads or (1 if scheduler is not None else max(1, processors() // max(1, processes or 1)))
    where = executor(processes, shared, scheduler)
    images = opened(study.image_selection(), data, test)
    take_in(folder, merge)
    results = _computed(study, images, {"data": data, "test": test}, folder, where)
    made = provenance(samples=samples_of(images), seed=seed, data=images.hash, threads=shared)
    place = tables_folder(folder, data, {"data": images.hash}, _data_of)
    _show(results, folder, place, made, as_json=json)
    end(results)


def _computed(
    study: SouzaStudy, images: Images, places: Mapping[str, str | None], folder: Path, where: Executor
) -> StudyResults:
    """Run it, telling how it goes on stderr."""
    from enxuto.studies.souza.points import points
    from enxuto.study import Study

    found = {key: place for key, place in ((key, there(place)) for key, place in places.items()) if place}
    work = points(study, images.train.classes, images.hash, found)
    names = {point.id: str(point.settings["network"]) for point in work}
    try:
        with epochs_told(folder, work, names), study_progress("souza", _name) as report:
            return Study(work, folder).run(where, report)
    except KeyboardInterrupt as interrupt:
        note(f"interrupted; what is finished is in {folder}: the same command goes on from here")
        raise typer.Exit(exit_code(interrupt)) from None


def _data_of(result: Result) -> dict[str, Any] | None:
    from enxuto.studies.kinds import SOUZA_NETWORK

    return {"data": result.data_hash} if result.kind == SOUZA_NETWORK else None


def _name(result: Result) -> str:
    return str(result.settings["network"])


def _show(
    results: StudyResults, folder: Path, place: Path, made: Mapping[str, Any], *, as_json: bool
) -> None:
    """Write tables and plots into `place`, in the study's folder; print the tables, or the records as JSON."""
    from enxuto.report.figures.souza import draw_trainings
    from enxuto.studies.souza.files import write_tables
    from enxuto.studies.souza.published import PUBLISHED
    from enxuto.studies.souza.records import records_of
    from enxuto.studies.souza.tables import tables

    records = records_of(results)
    write_tables(records, place)
    draw_trainings(records, folder, place)
    write_provenance(place, made)
    for record in records:
        note(_line(record, folder))
    if as_json:
        published = {
            str(classes): {k: vars(row) for k, row in rows.items()} for classes, rows in PUBLISHED.items()
        }
        failed = [{"network": _name(one), "error": one.error} for one in results.failed]
        print_json(
            {
                "study": "souza",
                "folder": str(folder),
                "records": records,
                "failed": failed,
                "published": published,
                "provenance": made,
            }
        )
        return
    for table in tables(records):
        show(table)
    note(
        f"in {place}: souza.md, souza.csv, losses.png; in {folder}: records.jsonl and a folder for each network"
    )


def _line(record: Mapping[str, Any], folder: Path) -> str:
    measures, training = record["measures"], record["training"]
    return (
        f"{record['network']}: top-1 {measures['top1']:.2%} of {measures['samples']:,} test images after "
        f"{training['epochs']} epochs ({training['stopped']}), {training['seconds']:.0f} s; {folder / record['folder']}"
    )
