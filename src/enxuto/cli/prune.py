"""`enxuto prune`: filters of a trained network really removed, at once or round by round, with training between."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enxuto.cli.shared.completion import complete_networks
from enxuto.cli.shared.data_options import DATA
from enxuto.cli.shared.model_files import check_classes, keep_labels
from enxuto.cli.shared.network_options import NetworkOptions, check_built_as
from enxuto.cli.shared.preprocess_options import PreparingOptions
from enxuto.cli.shared.provenance import provenance
from enxuto.cli.shared.prune_options import PruneOptions
from enxuto.cli.shared.pruning_options import FilterOptions
from enxuto.cli.shared.pruning_results import finish
from enxuto.cli.shared.pruning_start import build, early_state, find_labels, read_start
from enxuto.cli.shared.study_epochs import report_long_epochs
from enxuto.cli.shared.study_progress import study_progress
from enxuto.cli.shared.terminal import note, note_trace, warn
from enxuto.cli.shared.training_options import (
    TrainingDataOptions,
    absolute_path,
    check_packages,
    count_images,
    machine_notes,
    open_both_parts,
    parse_settings,
    retraining_recipe,
)
from enxuto.cli.shared.values import parse_image_size, parse_share
from enxuto.errors import UsageError, did_you_mean
from enxuto.machine.processors import processors
from enxuto.machine.signals import exit_code

if TYPE_CHECKING:
    from collections.abc import Sequence

    from enxuto.prune.selection import Selection
    from enxuto.studies.pruning import StartingNetwork, TrainedWeights
    from enxuto.study import Point, Result, StudyResults

__all__ = ["HELP", "run"]

HELP = """Remove the least important filters of a trained network, in one round or several, then refit or retrain it.

NETWORK is an ONNX or .enx file; a name that `enxuto zoo` lists or `module:factory`, with trained `--weights`; or a file
that an earlier prune wrote. Each round takes `--amount` of what is left. Filters are really removed, and the result is
compared with the network whose removed filters are zero. With `--retrain none` nothing is trained: what reads removed
filters is refitted by least squares on `--score-images`, without labels. The folder gets `model.pt`, which loads by
itself, and `model.onnx`. The same command resumes there. Needs PyTorch: `pip install '.[train]'` in a checkout.

```
enxuto prune model.onnx --data cifar10 --preprocess resnet-cifar --macs 65% -o small
enxuto prune lenet5 --weights runs/lenet5/best.pt --data mnist/ --amount 20% --rounds 5 --retrain lr-rewind -o small
enxuto prune vgg16-cifar --weights best.pt --data cifar10 --criterion deeplift --target macs --amount 50% -o half
```
"""


def run(
    network: Annotated[
        str,
        typer.Argument(
            metavar="NETWORK",
            autocompletion=complete_networks,
            help="An ONNX or .enx file, a network of the zoo, module:factory, or a pruned network's file.",
        ),
    ],
    data: Annotated[
        str,
        typer.Option(
            rich_help_panel=DATA,
            metavar="DATA",
            help="Images to train on and score filters with; accuracy is measured on the part `test`.",
        ),
    ],
    folder: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder of the results.")],
    options: PruneOptions,
    filters: FilterOptions,
    network_options: NetworkOptions,
    image_options: TrainingDataOptions,
    preprocess: PreparingOptions,
) -> None:
    """Check, load, prune round by round, export, show."""
    check_packages("torch", "onnxscript")
    from enxuto.prune.selection import Selection
    from enxuto.studies.lottery.arms import Arm
    from enxuto.studies.pruning import prune_points
    from enxuto.train.config import TrainConfig

    if filters.min_filters < 1:
        raise UsageError(
            "--min-filters is 1 or more here; enxuto lottery records that a layer collapses", code="E022"
        )
    amount, target = _amount(options, filters)
    selection = Selection(
        target=target, scope=options.scope, normalise=filters.normalise,  # type: ignore[arg-type]
        floor=filters.min_filters, multiple=filters.multiple,
        layers=filters.layers,  # type: ignore[arg-type]
        at_most=options.macs is not None,
    )  # fmt: skip
    criterion = _criterion(options, selection)
    _check_names(options, criterion, selection)
    filters.check_reference((criterion,))
    given = network_options.read(network)
    weights, earlier = read_start(network, options, preprocess, parse_image_size(image_options.resize))
    built = check_built_as(network, given, None if weights is None else weights.network, options.weights)
    config, last_lr = _training(network, weights, options, image_options.seed)
    labels = find_labels(image_options.labels, options.weights)
    asked = replace(image_options, labels=labels)
    whole = None if earlier is None else earlier.architecture
    selected = asked.select(
        network if whole is None else whole.name, labels=asked.class_order(), weights=weights,
        input_shape=None if whole is None or whole.graph is None else whole.input_shape, built=built,
    )  # fmt: skip
    images = open_both_parts(selected, data, image_options.test)
    if earlier is not None:
        check_classes(network, earlier, images)
    labelled = (
        images if earlier is None else replace(images, labels=keep_labels(network, earlier, images.labels))
    )
    unpruned = earlier or build(network, weights, images, built)
    criterion = _unless_costly(criterion, options, unpruned)
    folder.mkdir(parents=True, exist_ok=True)
    unpruned.write(folder / "given.pt")
    rewind_to = options.rewind_checkpoint
    threads = options.threads or processors()
    places = {**image_options.paths(data), "network": absolute_path(folder / "given.pt")}
    if rewind_to is not None:
        places["rewind"] = absolute_path(rewind_to)
    points = prune_points(
        unpruned, selected, images.hash, Arm(criterion, options.retrain, options.scope), selection,
        amount=amount, rounds=options.rounds, config=config, last_lr=last_lr, score_images=filters.scoring_count(),
        reference=filters.reference,
        seed=image_options.seed, paths=places, early=None if rewind_to is None else early_state(rewind_to, weights),
        minutes=options.minutes,
    )  # fmt: skip
    notes = [] if options.retrain == "none" else machine_notes(TrainConfig.from_recipe(None, config))
    results = _compute(points, folder, threads, notes)
    made = provenance(
        samples=count_images(images), seed=image_options.seed, data=images.hash, threads=threads
    )
    timed = threads if options.speed else None
    finish(points, results, labelled, folder, made, timed=timed, as_json=options.json)


def _compute(points: Sequence[Point], folder: Path, threads: int, notes: Sequence[str]) -> StudyResults:
    """Compute the rounds in this process; the verb ends where one fails or the user stops it."""
    from enxuto.study import Serial, Study

    def name(result: Result) -> str:
        return f"round {result.settings.get('round', 0)}"

    try:
        with report_long_epochs(folder, points), study_progress("prune", name, notes) as report:
            results = Study(points, folder).run(Serial(threads), report)
    except KeyboardInterrupt as interrupt:
        note(f"interrupted; finished rounds are in {folder}: the same command resumes")
        raise typer.Exit(exit_code(interrupt)) from None
    if results.exit_code:
        for result in results.failed:
            note_trace(result.trace)
            warn(f"{name(result)} failed: {result.error}")
        raise typer.Exit(results.exit_code)
    return results


def _criterion(options: PruneOptions, selection: Selection) -> str:
    """The criterion asked for; by default what loses least, as far as it goes with the other options."""
    from enxuto.prune.refit.pruner import COST
    from enxuto.prune.retrain import REFITTED

    if options.criterion is not None:
        return options.criterion
    costs = options.retrain in REFITTED and selection.target != "latency" and not _of_rankings(selection)
    return COST if costs else "l1"


def _unless_costly(criterion: str, options: PruneOptions, unpruned: StartingNetwork) -> str:
    """L1 in place of costs that nobody asked for and that take long."""
    from enxuto.prune.refit.pruner import COST
    from enxuto.prune.refit.readers import is_costly

    if options.criterion is not None or criterion != COST or not is_costly(unpruned.network):
        return criterion
    note("filters go by l1: what such wide layers lose would take long to tell; --criterion cost does")
    return "l1"


def _of_rankings(selection: Selection) -> list[str]:
    """Options given that say how scores of layers are put in one order; costs are nats in all layers."""
    given = {
        "--scope local": selection.scope == "local",
        f"--normalise {selection.normalise}": selection.normalise != "none",
        "--layers convolutions": selection.layers == "convolutions",
    }
    return [option for option, is_given in given.items() if is_given]


def _check_names(options: PruneOptions, criterion: str, selection: Selection) -> None:
    from enxuto.prune.criteria.scores import CRITERIA
    from enxuto.prune.refit.pruner import COST
    from enxuto.prune.retrain import MODES, REFITTED

    if criterion not in (*CRITERIA, COST):
        raise UsageError(
            f"no criterion {criterion!r}{did_you_mean(criterion, [*CRITERIA, COST])}: "
            f"choose one of {', '.join([*CRITERIA, COST])}",
            code="E021",
        )
    if options.retrain not in MODES:
        raise UsageError(
            f"no way of retraining {options.retrain!r}{did_you_mean(options.retrain, MODES)}: "
            f"choose one of {', '.join(MODES)}",
            code="E021",
        )
    if criterion == COST and options.retrain not in REFITTED:
        raise UsageError(
            "--criterion cost is of refitting: it goes with --retrain none or distil", code="E022"
        )
    if criterion == COST and (idle := _of_rankings(selection)):
        raise UsageError(
            f"--criterion cost compares filters of all layers in nats; leave out {' and '.join(idle)}",
            code="E022",
        )
    if criterion == COST and selection.target == "latency":
        raise UsageError(
            "--criterion cost prices single filters, whose latency no clock can measure; take --target macs, or "
            "another criterion",
            code="E022",
        )
    if options.minutes is not None and (options.retrain != "distil" or options.retrain_epochs is not None):
        raise UsageError(
            "--minutes says how long --retrain distil takes, instead of --retrain-epochs", code="E022"
        )
    if (options.retrain == "rewind") != (options.rewind_checkpoint is not None):
        raise UsageError(
            "--retrain rewind needs --rewind-checkpoint with an early checkpoint, and nothing else does",
            code="E022",
        )
    if options.retrain == "none" and (options.retrain_epochs is not None or options.settings):
        raise UsageError(
            "--retrain-epochs and --set are of the training after each round; say how by --retrain",
            code="E024",
        )


def _amount(options: PruneOptions, filters: FilterOptions) -> tuple[float, str]:
    """The share that each round takes, and of what."""
    if options.macs is None:
        return parse_share(filters.amount), filters.target
    if (filters.amount, filters.target) != (FilterOptions.amount, FilterOptions.target):
        raise UsageError("--macs says how much is left; leave out --amount and --target", code="E022")
    return 1 - parse_share(options.macs, "--macs") ** (1 / options.rounds), "macs"


def _training(
    network: str, weights: TrainedWeights | None, options: PruneOptions, seed: int
) -> tuple[dict[str, Any], float]:
    """The configuration of trainings between rounds, and the last learning rate of the first."""
    from enxuto.prune.retrain import DISTILLATION
    from enxuto.train.config import TrainConfig

    settings = parse_settings(options.settings)
    if options.retrain_epochs is not None:
        settings["epochs"] = options.retrain_epochs
    own = {"validation": 0.0, "early_stopping": None, "keep_epochs": (), "seed": seed}
    if options.retrain == "distil":
        config = TrainConfig.from_recipe(None, {**DISTILLATION, **own, **settings})
    elif weights is None or weights.config is None:
        recipe, last = retraining_recipe(network, options.retrain)
        config = TrainConfig.from_recipe(recipe, {**own, **settings})
        return config.to_dict(), float(settings.get("lr", config.lr * last))
    else:
        config = TrainConfig.from_recipe(None, {**weights.config, **own, **settings})
    if weights is not None and weights.last_lr is not None:
        return config.to_dict(), float(settings.get("lr", weights.last_lr))
    return config.to_dict(), float(settings.get("lr", config.lr / 100))
