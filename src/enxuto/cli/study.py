"""`enxuto study`: many networks trained and measured alike, beside published numbers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enxuto.cli.shared.common_options import COMPUTING, Json, WorkerThreads
from enxuto.cli.shared.data_options import DATA
from enxuto.cli.shared.options import option_name, was_given
from enxuto.cli.shared.outputs import check_folder
from enxuto.cli.shared.provenance import provenance, write_provenance
from enxuto.cli.shared.study_epochs import report_epochs
from enxuto.cli.shared.study_options import (
    Merge,
    Scheduler,
    choose_executor,
    data_name,
    existing_tables_folder,
    exit_on_failures,
    merge_records,
    scale_name,
    share_threads,
    show_study_table,
    tables_folder,
)
from enxuto.cli.shared.study_progress import study_progress
from enxuto.cli.shared.terminal import note, print_json
from enxuto.cli.shared.training_options import (
    Settings,
    TrainingDataOptions,
    check_packages,
    count_images,
    machine_notes,
    open_both_parts,
    parse_settings,
)
from enxuto.cli.shared.values import parse_image_size
from enxuto.errors import UsageError, did_you_mean
from enxuto.machine.signals import exit_code
from enxuto.tables import as_percent

if TYPE_CHECKING:
    from enxuto.studies.images import Images
    from enxuto.studies.souza.points import SouzaStudy
    from enxuto.study import Executor, Point, Result, StudyResults

HELP = """Measure several networks alike, and show the results beside published ones.

NAME `souza` trains SqueezeNet-DSC, SqueezeNet, MobileNet, AlexNet and VGG19 in their CIFAR forms (Souza 2020). Scales
are smoke (512 images, 2 epochs: minutes on two cores), small (10,000 images, 20 epochs: hours), short (all images, 6 to
30 epochs of one cycle: hours) and full (the protocol). Each finished network is recorded; the same command resumes, in
the midst of a training too. `--workers` trains several at a time and `--scheduler` on a Dask cluster; latencies mean
most where one network is measured at a time. `--merge` takes in what other machines recorded. Tables are of all that
the folder has of the same images and training, means where there are several seeds.

The folder gets the networks as ONNX, tables as Markdown and CSV, and plots. Results of another data set go into a
folder of their own in it. Needs PyTorch and matplotlib: `pip install '.[train,report]'` in a checkout.

NAME `tonin` rounds trained networks by the quantizers of Tonin 2021, and makes its tables 3.1 and 3.7 to 3.10 with
enxuto's own files beside. FILE is TOML that names networks, data and preprocessing (docs/how-to/repeat-tonin.md); of
the options, those of the folder, of computing and `--json` go with it.

```
enxuto study souza --data cifar10 --scale smoke
enxuto study tonin studies.toml --workers 2
enxuto study souza --data train.parquet --test test.parquet --scale full --networks squeezenet-dsc --json
```
"""

_STUDIES = ("souza", "tonin")
_OF_BOTH = ("name", "config", "folder", "workers", "threads", "scheduler", "merge", "json")


@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """What is trained and measured."""

    folder: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="DIR",
            help="Folder of the study; by default studies/NAME-DATA-SCALE (`changed` for full with other "
            "settings or images) or "
            "studies/tonin-FILE.",
        ),
    ] = None
    scale: Annotated[str, typer.Option(metavar="NAME", help="smoke, small, short or full.")] = "smoke"
    seeds: Annotated[
        int, typer.Option(min=1, metavar="N", help="Number of seeds, counted up from --seed.")
    ] = 1
    networks: Annotated[
        tuple[str, ...] | None,
        typer.Option(metavar="NAME,…", help="Some of the five networks; by default all."),
    ] = None
    latency_threads: Annotated[
        int,
        typer.Option(metavar="N", help="CPU threads while latency is measured; 0 takes one per processor."),
    ] = 1
    settings: Settings = None
    workers: Annotated[
        int | None,
        typer.Option(
            min=0,
            rich_help_panel=COMPUTING,
            metavar="N",
            help="Number of processes; 0 computes in this one. By default one.",
        ),
    ] = None
    threads: WorkerThreads = 0
    scheduler: Scheduler = None
    merge: Merge = ()
    json: Json = False


def run(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The study: souza or tonin.")],
    config: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="Of tonin: a TOML file of networks and data.")
    ] = None,
    *,
    options: StudyOptions,
    data: Annotated[
        str,
        typer.Option(
            rich_help_panel=DATA,
            metavar="DATA",
            help="Data file or folder to train on, or a data set that `enxuto fetch` fetched.",
        ),
    ] = "cifar10",
    image_options: TrainingDataOptions,
) -> None:
    """Run a study; see `HELP`."""
    if name not in _STUDIES:
        raise UsageError(
            f"no study is called {name!r}{did_you_mean(name, _STUDIES)}; there is {', '.join(_STUDIES)}",
            code="E021",
        )
    if name == "tonin":
        _run_tonin(context, config, options)
        return
    if config is not None:
        raise UsageError(f"the study {name} takes no file, such as {config}; leave it out", code="E024")
    check_packages("torch", "onnxscript", "matplotlib")
    from enxuto.studies.souza.points import SouzaStudy
    from enxuto.study.store import refuse_earlier_form

    study = SouzaStudy(
        options.networks or SouzaStudy().networks,
        options.scale,
        image_options.seed,
        options.latency_threads,
        parse_settings(options.settings),
        image_options.class_order(),
        _image_fields(image_options),
        options.seeds,
    )
    folder = options.folder or check_folder(
        "study", Path("studies") / f"{name}-{data_name(data)}-{_scale_name(options, image_options)}"
    )
    refuse_earlier_form(folder)
    workers = 1 if options.workers is None and options.scheduler is None else options.workers
    threads = share_threads(options.threads, workers or 0, options.scheduler)
    executor = choose_executor(workers, threads, options.scheduler)
    images = open_both_parts(study.image_selection(), data, image_options.test)
    merge_records(folder, options.merge)
    paths = image_options.paths(data)
    results = _compute(study, images, paths, folder, executor, options.scheduler)
    seeds = list(range(study.seed, study.seed + study.seeds))
    made = provenance(
        samples=count_images(images),
        seed=seeds if study.seeds > 1 else study.seed,
        data=images.hash,
        threads=threads,
    )
    place = tables_folder(folder, data, {"data": images.hash}, _data_of)
    _show(results, folder, place, made, as_json=options.json)
    exit_on_failures(results)


def _scale_name(options: StudyOptions, image_options: TrainingDataOptions) -> str:
    """What the folder says of the scale: a protocol whose settings or images were changed is not the full one."""
    return scale_name(
        options.scale,
        options.settings,
        image_options.limit,
        image_options.test_limit,
        image_options.resize,
    )


def _run_tonin(context: typer.Context, config: Path | None, options: StudyOptions) -> None:
    """Run the study of Tonin 2021. Raises `UsageError` without a file, and for options of the other study."""
    from enxuto.cli.shared.tonin_study import run_tonin

    if config is None:
        raise UsageError(
            "study tonin takes a TOML file that names networks and data: name it after tonin", code="E023"
        )
    for name in context.params:
        if name not in _OF_BOTH and was_given(context, name):
            raise UsageError(
                f"{option_name(name)} is of the study souza; tonin's file says what is measured", code="E024"
            )
    check_packages("matplotlib")
    run_tonin(config, options)


def _image_fields(image_options: TrainingDataOptions) -> dict[str, Any]:
    """The fields of a selection of images that the user gave; the scale and the networks set the others."""
    fields = {
        **image_options.opening(),
        "train": image_options.limit,
        "test": image_options.test_limit,
        "size": parse_image_size(image_options.resize),
    }
    return {name: value for name, value in fields.items() if value is not None}


def _compute(
    study: SouzaStudy,
    images: Images,
    paths: Mapping[str, str],
    folder: Path,
    executor: Executor,
    scheduler: str | None,
) -> StudyResults:
    """Run the study, and report on stderr how far it is."""
    from enxuto.studies.souza.points import points
    from enxuto.study import Study

    study_points = points(study, images.train.classes, images.hash, paths)
    trainings = {point.id: (_label(point), int(point.settings["config"]["epochs"])) for point in study_points}
    notes = machine_notes(study.config(study.networks[0], study.seed), scheduler)
    try:
        with report_epochs(folder, trainings), study_progress("souza", _label, notes) as report:
            return Study(study_points, folder).run(executor, report)
    except KeyboardInterrupt as interrupt:
        note(f"interrupted; what is finished is in {folder}: the same command resumes")
        raise typer.Exit(exit_code(interrupt)) from None


def _data_of(result: Result) -> dict[str, Any] | None:
    from enxuto.studies.kinds import SOUZA_NETWORK

    return {"data": result.data_hash} if result.kind == SOUZA_NETWORK else None


def _label(one: Point | Result) -> str:
    """A network and its seed, as lines call them."""
    return f"{one.settings['network']}, seed {one.seed}"


def _show(
    results: StudyResults, folder: Path, target: Path, made: Mapping[str, Any], *, as_json: bool
) -> None:
    """Write tables and plots into `target`, in the study's folder; print the tables, or the records as JSON."""
    from enxuto.report.figures.souza import draw_trainings
    from enxuto.studies.souza.files import write_tables
    from enxuto.studies.souza.published import PUBLISHED
    from enxuto.studies.souza.records import make_records, same_training
    from enxuto.studies.souza.tables import tables
    from enxuto.study import Store

    records = make_records(results)
    all_data = same_training(make_records(Store(folder).results()), records)
    images = {record["data"] for record in records}
    asked = {record["point"] for record in records}
    alike = [one for one in all_data if one["data"] in images and one["point"] not in asked] + records
    written = [*write_tables(alike, target, all_data), *draw_trainings(alike, folder, target, all_data)]
    write_provenance(target, made)
    _refresh_others(all_data, folder, images)
    for record in records:
        note(_line(record, folder))
    if as_json:
        published = {name: {k: vars(row) for k, row in rows.items()} for name, rows in PUBLISHED.items()}
        failed = [
            {"network": one.settings["network"], "seed": one.seed, "error": one.error}
            for one in results.failed
        ]
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
    for table in tables(alike, all_data):
        show_study_table(table)
    names = ", ".join(path.name for path in written if path.parent == target)
    note(f"in {target}: {names}; in {folder}: records.jsonl and a folder for each network trained here")


def _refresh_others(all_data: Sequence[Mapping[str, Any]], folder: Path, done: Collection[str]) -> None:
    """Write the tables of the folder's other data sets anew: those of a network on several data sets are in all."""
    from enxuto.report.figures.souza import draw_trainings
    from enxuto.studies.souza.files import write_tables

    for data in dict.fromkeys(str(one["data"]) for one in all_data if one["data"] not in done):
        place = existing_tables_folder(folder, {"data": data}, _data_of)
        if place is not None and (place / "souza.md").is_file():
            records = [one for one in all_data if one["data"] == data]
            write_tables(records, place, all_data)
            draw_trainings(records, folder, place, all_data)


def _line(record: Mapping[str, Any], folder: Path) -> str:
    measures, training = record["measures"], record["training"]
    return (
        f"{record['network']}, seed {record['seed']}: top-1 {as_percent(measures['top1'])} of {measures['samples']:,} "
        f"test images after {training['epochs']} epochs ({training['stopped']}), {training['seconds']:.0f} s; "
        f"{folder / record['folder']}"
    )
