"""`enxuto lottery`: criteria × ways of retraining × seeds × rounds, and which of the pruned networks are tickets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enxuto.cli.shared import data_options as opts
from enxuto.cli.shared.outputs import own_folder
from enxuto.cli.shared.provenance import provenance, write_provenance
from enxuto.cli.shared.pruning import asked_images, check_packages, opened, samples_of, share_of, there
from enxuto.cli.shared.study_options import (
    Merge,
    Scheduler,
    Threads,
    Workers,
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
from enxuto.machine.signals import exit_code

if TYPE_CHECKING:
    from enxuto.studies.lottery.points import LotteryStudy
    from enxuto.studies.lottery.results import Lottery
    from enxuto.study import Result, StudyResults

__all__ = ["HELP", "run"]

HELP = """Search winning tickets: pruned networks as accurate as the unpruned one, on several seeds, beside controls.

NETWORK is trained once a seed; each arm (criterion × retraining × scope × schedule) then prunes and retrains it, round
by round. Controls are always among the arms: random filters with fresh weights, and the unpruned network trained on.
Scales: smoke (800 images, 2 epochs, 2 seeds, 2 rounds: minutes on two cores), small (8,000 images, 5 epochs, 3 seeds, 7
rounds) and full (all images, 160 epochs, 5 seeds, 10 rounds). Every round is recorded as it ends; the same command goes
on where it was stopped, with more rounds, seeds or arms too. The folder gets tables and charts.

```
enxuto lottery lenet5 --data fashion-mnist --scale smoke
enxuto lottery vgg16-cifar --data cifar10 --scale full --criteria l1,deeplift --modes lr-rewind,reinit --speed
```
"""

_DATA, _ARMS, _CHOICE, _TRAIN = "Data", "Arms", "Which filters", "Training"


def run(
    network: Annotated[str, typer.Argument(help="A network of the zoo, or module:factory.")],
    data: Annotated[str, typer.Option(rich_help_panel=_DATA, help="Images, with the parts train and test.")],
    test: Annotated[
        str | None, typer.Option(rich_help_panel=_DATA, help="Test images, where DATA has no such part.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Folder of the study; by default studies/lottery-NETWORK-DATA-SCALE."
        ),
    ] = None,
    scale: Annotated[
        str, typer.Option(help="smoke, small or full; what is said below goes over it.")
    ] = "smoke",
    criteria: Annotated[
        str,
        typer.Option(
            rich_help_panel=_ARMS,
            help="l1, l2, random, gradient-activation, taylor, deeplift, lrp, conductance.",
        ),
    ] = "l1,deeplift",
    modes: Annotated[
        str, typer.Option(rich_help_panel=_ARMS, help="rewind, lr-rewind, fine-tune, reinit, none.")
    ] = "rewind,lr-rewind,fine-tune,reinit",
    rewind_to: Annotated[
        str, typer.Option(rich_help_panel=_ARMS, help="Epochs that rewind goes back to, an arm each: 0,2.")
    ] = "0",
    scopes: Annotated[str, typer.Option(rich_help_panel=_ARMS, help="global, local.")] = "global",
    schedules: Annotated[
        str, typer.Option(rich_help_panel=_ARMS, help="iterative, one-shot, gradual (within one training).")
    ] = "iterative",
    seeds: Annotated[
        int | None, typer.Option(min=1, rich_help_panel=_ARMS, help="How many, from 0 on.")
    ] = None,
    rounds: Annotated[int | None, typer.Option(min=1, rich_help_panel=_ARMS, help="How many.")] = None,
    amount: Annotated[
        str, typer.Option(rich_help_panel=_CHOICE, help="What each round takes of what is left: 20% or 0.2.")
    ] = "20%",
    target: Annotated[
        str,
        typer.Option(
            rich_help_panel=_CHOICE, help="What the amount is of: filters, parameters, macs or latency."
        ),
    ] = "filters",
    normalise: Annotated[
        str,
        typer.Option(
            rich_help_panel=_CHOICE, help="Scores of a layer are divided by: none, l2, mean or max."
        ),
    ] = "none",
    floor: Annotated[
        int, typer.Option(min=1, rich_help_panel=_CHOICE, help="Filters that every layer keeps at least.")
    ] = 1,
    multiple: Annotated[
        int, typer.Option(min=1, rich_help_panel=_CHOICE, help="Leave multiples of so many filters.")
    ] = 1,
    images: Annotated[
        int, typer.Option(min=1, rich_help_panel=_CHOICE, help="Training images that criteria look at.")
    ] = 512,
    recipe: Annotated[
        str | None, typer.Option(rich_help_panel=_TRAIN, help="Of the training; by default the scale's.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", rich_help_panel=_TRAIN, help="A setting; can be repeated."
        ),
    ] = None,
    retrain_epochs: Annotated[
        int | None,
        typer.Option(min=1, rich_help_panel=_TRAIN, help="After a round; by default as the first time."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, rich_help_panel=_DATA, help="That many training images.")
    ] = None,
    test_limit: Annotated[
        int | None, typer.Option(min=1, rich_help_panel=_DATA, help="That many test images.")
    ] = None,
    size: Annotated[
        str | None, typer.Option(metavar="H,W", rich_help_panel=_DATA, help="Resize images.")
    ] = None,
    format_: opts.Format = None,
    image_column: opts.ImageColumn = None,
    label_column: opts.LabelColumn = None,
    labels: opts.Order = None,
    speed: Annotated[
        bool, typer.Option("--speed", help="Time the first seed's networks at batch 1 and 128 too.")
    ] = False,
    workers: Workers = None,
    threads: Threads = 1,
    scheduler: Scheduler = None,
    merge: Merge = None,
    svg: Annotated[bool, typer.Option("--svg", help="Charts as SVG instead of PNG.")] = False,
    every: Annotated[
        bool, typer.Option("--rounds-table", help="Show every round, not the claims alone.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print levels and claims as JSON.")] = False,
) -> None:
    """Check, make the points, compute them, show what came out."""
    check_packages("torch", "onnxscript", "matplotlib")
    from enxuto.prune.removal.kept import Architecture
    from enxuto.studies.lottery.points import SCALES, LotteryStudy, points
    from enxuto.studies.lottery.results import Lottery
    from enxuto.study import Study
    from enxuto.train.config import TrainConfig, parse_setting

    if scale not in SCALES:
        raise UsageError(f"no scale is called {scale!r}; there are {', '.join(SCALES)}")
    folder = out or own_folder(
        "lottery", Path("studies") / f"lottery-{network.replace(':', '.')}-{data_name(data)}-{scale}"
    )
    much = SCALES[scale]
    said = dict(parse_setting(text) for text in settings or [])
    config = TrainConfig.of(recipe or much.recipe, {**(much.settings if recipe is None else {}), **said})
    asked = asked_images(
        network, limit=limit or much.train, test_limit=test_limit or much.test, seed=0, size=size, format_=format_,
        image_column=image_column, label_column=label_column, labels=labels,
    )  # fmt: skip

    def study(shape: tuple[int, ...], classes: int) -> LotteryStudy:
        return LotteryStudy(
            Architecture(network, shape, None if ":" in network else classes), asked, config, _names(criteria),
            _names(modes), _names(scopes), _names(schedules), tuple(range(seeds or much.seeds)),
            rounds or much.rounds, share_of(amount), target, normalise, floor, multiple, _numbers(rewind_to),
            retrain_epochs, images, (1, 128) if speed else (), threads,
            {key: place for key, place in (("data", there(data)), ("test", there(test))) if place is not None},
        )  # fmt: skip

    study((1, 1, 1), 2)  # what cannot be is refused before anything is opened
    found = opened(asked, data, test)
    chosen = study(tuple(found.train.images.shape[1:]), found.train.classes)
    work = points(chosen, found.hash)
    note(f"{len(work)} points: {len(chosen.seeds)} seeds × {len(chosen.arms())} arms × {chosen.rounds} rounds, and the "
         "unpruned networks")  # fmt: skip
    take_in(folder, merge)
    try:
        with study_progress("lottery", _name) as report:
            results = Study(work, folder).run(executor(workers, threads, scheduler), report)
    except KeyboardInterrupt as interrupt:
        note(f"interrupted; what is finished is in {folder}: the same command goes on from here")
        raise typer.Exit(exit_code(interrupt)) from None
    made = provenance(
        samples=samples_of(found), seed=list(chosen.seeds), data=found.hash, threads=threads,
    )  # fmt: skip
    about = {"network": chosen.architecture.to_dict(), "data": found.hash}
    place = tables_folder(folder, f"{network}-{data_name(data)}", about, _about)
    ending = ".svg" if svg else ".png"
    _show(Lottery.of(results), results, folder, place, made, ending, every=every, as_json=json)


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in _names(text))
    except ValueError as error:
        raise UsageError(f"--rewind-to takes epochs such as 0 or 0,2, not {text!r}") from error


def _about(result: Result) -> dict[str, Any] | None:
    """What tables of a result would be of; a timing says nothing of its images."""
    if result.data_hash is None:
        return None
    return {"network": result.settings.get("network"), "data": result.data_hash}


def _name(result: Result) -> str:
    from enxuto.studies.lottery.points import Arm

    arm = result.settings.get("arm")
    what = "unpruned" if arm is None else Arm(**arm).label
    return f"{what}, round {result.settings.get('round', 0)}, seed {result.seed}"


def _show(
    lottery: Lottery,
    results: StudyResults,
    folder: Path,
    place: Path,
    made: dict[str, Any],
    ending: str,
    *,
    every: bool,
    as_json: bool,
) -> None:
    """Write tables and charts into `place`, in the study's folder, and print the claims, or all as JSON."""
    from enxuto.report.figures.lottery import draw_lottery
    from enxuto.studies.lottery.files import write_tables
    from enxuto.studies.lottery.tables import claims_table, levels_table, speeds_table

    written = write_tables(lottery, place, provenance=made) + draw_lottery(lottery, place, ending)
    write_provenance(place, made)
    if as_json:
        failed = [_name(one) for one in results.failed]
        print_json({"folder": str(folder), **lottery.to_dict(), "failed": failed, "provenance": made})
    else:
        tables: list[Any] = [
            claims_table(lottery),
            levels_table(lottery) if every else None,
            speeds_table(lottery),
        ]
        for table in tables:
            if table is not None:
                show(table)
        note(f"in {place}: {', '.join(path.name for path in written)}; in {folder}: records.jsonl")
    end(results)
