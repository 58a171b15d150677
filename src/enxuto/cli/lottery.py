"""`enxuto lottery`: criteria × ways of retraining × seeds × rounds, and which of the pruned networks are tickets."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from enxuto.cli.shared.common_options import All, Json
from enxuto.cli.shared.data_options import DATA
from enxuto.cli.shared.lottery_results import about, point_name, show
from enxuto.cli.shared.model_files import NetworkFile, check_classes, is_model_file, open_network_file
from enxuto.cli.shared.network_options import NetworkOptions
from enxuto.cli.shared.outputs import check_folder
from enxuto.cli.shared.preprocess_options import PreparingOptions
from enxuto.cli.shared.provenance import provenance
from enxuto.cli.shared.pruning_options import FilterOptions
from enxuto.cli.shared.study_epochs import report_long_epochs
from enxuto.cli.shared.study_options import (
    ComputingOptions,
    Svg,
    data_name,
    merge_records,
    scale_name,
    tables_folder,
)
from enxuto.cli.shared.study_progress import study_progress
from enxuto.cli.shared.terminal import note
from enxuto.cli.shared.training_options import (
    Network,
    Settings,
    TrainingDataOptions,
    check_packages,
    count_images,
    machine_notes,
    open_both_parts,
    parse_settings,
)
from enxuto.cli.shared.values import parse_image_size, parse_share
from enxuto.errors import UsageError, did_you_mean
from enxuto.machine.signals import exit_code

if TYPE_CHECKING:
    from collections.abc import Mapping

    from enxuto.prune.removal.kept import Architecture
    from enxuto.studies.images import ImageSelection
    from enxuto.studies.lottery.points import LotteryStudy
    from enxuto.zoo.entry import OptionValue

__all__ = ["HELP", "run"]

_GRAPH = "given.pt"

HELP = """Search winning tickets: pruned networks as accurate as the unpruned one, on several seeds, beside controls.

NETWORK is trained once for each seed, from fresh weights: of an ONNX or .enx file only the layers are taken. Each arm
(criterion × retraining × scope × schedule) then prunes and retrains it round by round. Controls of each arm have the
sizes of its very rounds: fresh weights in its architecture, and random filters retrained in its way. The unpruned
network trained on is a third. Scales are smoke (800 images, 2 epochs, 2 seeds, 2 rounds: minutes on two cores), small
(8,000 images, 5 epochs, 3 seeds, 7 rounds) and full, the source's protocol (all images, 160 epochs, 5 seeds, 10 rounds,
20 of DeepLIFT, rewinding to epochs 0 to 4, filters scored on all training images). Every round is recorded when it
ends. The same command resumes, with more rounds, seeds or arms too. The folder gets tables and charts.

```
enxuto lottery lenet5 --data fashion-mnist --scale smoke
enxuto lottery vgg16-cifar --data cifar10 --scale full --layers convolutions --speed
```
"""

_ARMS, _TRAIN = "Arms", "Training"


@dataclass(frozen=True, kw_only=True)
class LotteryOptions:
    """Which arms there are, how long they are trained, and what is shown."""

    folder: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="DIR",
            help="Folder of the study; by default studies/lottery-NETWORK-DATA-SCALE (`changed` for full with another "
            "training or other images).",
        ),
    ] = None  # fmt: skip
    scale: Annotated[
        str, typer.Option(metavar="NAME", help="smoke, small or full; other options override what it says.")
    ] = "smoke"
    criteria: Annotated[
        tuple[str, ...],
        typer.Option(
            rich_help_panel=_ARMS,
            metavar="NAME,…",
            help="l1, l2, random, gradient-activation, taylor, deeplift, lrp, conductance.",
        ),
    ] = ("l1", "deeplift")
    retrain: Annotated[
        tuple[str, ...],
        typer.Option(
            rich_help_panel=_ARMS, metavar="NAME,…", help="rewind, lr-rewind, fine-tune, reinit, none."
        ),
    ] = ("rewind", "lr-rewind", "fine-tune")
    controls: Annotated[
        tuple[str, ...],
        typer.Option(
            rich_help_panel=_ARMS,
            metavar="NAME,…",
            help="What each arm is compared with, at its own sizes: fresh (weights), random (filters), or none.",
        ),
    ] = ("fresh", "random")
    rewind_epochs: Annotated[
        tuple[int, ...],
        typer.Option(
            rich_help_panel=_ARMS,
            metavar="N,…",
            help="Epochs that rewind goes back to, an arm for each; by default the scale's: 0, or 0 to 4 of full.",
        ),
    ] = ()
    scopes: Annotated[
        tuple[str, ...], typer.Option(rich_help_panel=_ARMS, metavar="NAME,…", help="global, local.")
    ] = ("global",)
    schedules: Annotated[
        tuple[str, ...],
        typer.Option(
            rich_help_panel=_ARMS,
            metavar="NAME,…",
            help="iterative, one-shot, gradual (within one training).",
        ),
    ] = ("iterative",)
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1, rich_help_panel=_ARMS, metavar="N", help="Number of seeds, counted up from --seed."
        ),
    ] = None
    rounds: Annotated[
        int | None, typer.Option(min=1, rich_help_panel=_ARMS, metavar="N", help="Number of rounds.")
    ] = None
    recipe: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=_TRAIN, metavar="NAME", help="Recipe of the training; by default the scale's."
        ),
    ] = None
    settings: Settings = None
    retrain_epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            rich_help_panel=_TRAIN,
            metavar="N",
            help="Epochs after a round; by default as many as at first.",
        ),
    ] = None
    speed: Annotated[
        bool,
        typer.Option("--speed/--no-speed", help="Time the first seed's networks at batch 1 and 128 too."),
    ] = False
    svg: Svg = False
    all: All = False
    json: Json = False


def run(
    network: Network,
    data: Annotated[
        str, typer.Option(rich_help_panel=DATA, metavar="DATA", help="Images, with the parts train and test.")
    ],
    options: LotteryOptions,
    filters: FilterOptions,
    network_options: NetworkOptions,
    image_options: TrainingDataOptions,
    preprocess: PreparingOptions,
    computing: ComputingOptions,
) -> None:
    """Check, make the points, compute them, show what came out."""
    check_packages("torch", "onnxscript", "matplotlib")
    from enxuto.studies.lottery.points import points
    from enxuto.studies.lottery.results import Lottery
    from enxuto.studies.lottery.scales import SCALES
    from enxuto.study import Study

    scale = options.scale
    if scale not in SCALES:
        raise UsageError(
            f"no scale is called {scale!r}{did_you_mean(scale, SCALES)}; there are {', '.join(SCALES)}",
            code="E021",
        )
    called = scale_name(
        scale, options.settings, options.recipe, options.retrain_epochs, image_options.limit, image_options.test_limit
    )  # fmt: skip
    folder = options.folder or check_folder(
        "lottery", Path("studies") / f"lottery-{_stem(network)}-{data_name(data)}-{called}"
    )
    built = network_options.read(network)
    held = None
    if is_model_file(network):
        size = parse_image_size(image_options.resize)
        held = open_network_file(network, preprocess, resize=size, fresh=True)
    if held is None and preprocess.is_given:
        raise UsageError("how images are prepared is said of ONNX and .enx files", code="E024")
    selected = image_options.select(
        network, limit=SCALES[scale].train, test_limit=SCALES[scale].test, labels=image_options.class_order(),
        weights=None if held is None else held.normalisation,
        input_shape=None if held is None else held.start.architecture.input_shape, built=built,
    )  # fmt: skip
    make = partial(
        _study, network if held is None else held.start.architecture, built, options, filters, selected, computing,
        _paths(image_options, data, folder, held), image_options.seed,
    )  # fmt: skip
    make((1, 1, 1), 2)  # what cannot be is refused before anything is opened
    images = open_both_parts(selected, data, image_options.test)
    if held is not None:
        check_classes(network, held.start, images)
        note(f"the weights in {network} are not used: its layers are trained from fresh ones, seed by seed")
    study = make(tuple(images.train.images.shape[1:]), images.train.classes)
    work = points(study, images.hash)
    note(f"{len(work)} points: {len(study.seeds)} seeds, {len(study.arms())} arms, their controls, and the "
         "unpruned networks")  # fmt: skip
    merge_records(folder, computing.merge)
    if held is not None:
        folder.mkdir(parents=True, exist_ok=True)
        held.start.write(folder / _GRAPH)
    try:
        notes = machine_notes(study.config, computing.scheduler)
        with report_long_epochs(folder, work), study_progress("lottery", point_name, notes) as report:
            results = Study(work, folder).run(computing.executor(), report)
    except KeyboardInterrupt as interrupt:
        note(f"interrupted; what is finished is in {folder}: the same command resumes")
        raise typer.Exit(exit_code(interrupt)) from None
    made = provenance(
        samples=count_images(images), seed=list(study.seeds), data=images.hash, threads=computing.thread_count
    )
    made_of = {"network": study.architecture.to_dict(), "data": images.hash}
    place = tables_folder(folder, f"{_stem(network)}-{data_name(data)}", made_of, about)
    found = Lottery.of(results)
    show(found, results, folder, place, made, svg=options.svg, full=options.all, as_json=options.json)


def _study(
    network: str | Architecture,
    built: Mapping[str, OptionValue],
    options: LotteryOptions,
    filters: FilterOptions,
    selected: ImageSelection,
    computing: ComputingOptions,
    paths: Mapping[str, str],
    seed: int,
    shape: tuple[int, ...],
    classes: int,
) -> LotteryStudy:
    """The study that the options ask for, of images of this shape (C, H, W) and so many classes."""
    from enxuto.prune.removal.kept import Architecture
    from enxuto.studies.lottery.points import LotteryStudy
    from enxuto.studies.lottery.scales import SCALES
    from enxuto.train.config import TrainConfig

    filters.check_reference(options.criteria)
    scale = SCALES[options.scale]
    recipe = {} if options.recipe is not None else scale.settings
    config = TrainConfig.from_recipe(
        options.recipe or scale.recipe, {**recipe, **parse_settings(options.settings)}
    )
    if isinstance(network, str):
        network = Architecture(network, shape, None if ":" in network else classes, dict(built))
    return LotteryStudy(
        network,
        images=selected,
        config=config,
        criteria=options.criteria,
        modes=options.retrain,
        scopes=options.scopes,
        schedules=options.schedules,
        seeds=tuple(range(seed, seed + (options.seeds or scale.seeds))),
        rounds=options.rounds or scale.rounds,
        longer={} if options.rounds else scale.longer,
        amount=parse_share(filters.amount),
        target=filters.target,
        normalise=filters.normalise,
        floor=filters.min_filters,
        multiple=filters.multiple,
        rewind_epochs=options.rewind_epochs or scale.rewind_epochs,
        retrain_epochs=options.retrain_epochs,
        score_images=filters.scoring_count(scale.score_images),
        reference=filters.reference,
        layers=filters.layers,
        controls=() if options.controls == ("none",) else options.controls,
        timed=(1, 128) if options.speed else (),
        threads=computing.thread_count,
        paths=paths,
    )


def _stem(network: str) -> str:
    return Path(network).stem if is_model_file(network) else network.replace(":", ".")


def _paths(
    image_options: TrainingDataOptions, data: str, folder: Path, held: NetworkFile | None
) -> dict[str, str]:
    """Where points find the images and, of a network from a file, its graph."""
    own = {} if held is None else {"network": str((folder / _GRAPH).resolve())}
    return {**image_options.paths(data), **own}
