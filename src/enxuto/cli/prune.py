"""`enxuto prune`: filters of a trained network really removed, at once or round by round, with training between."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enxuto.cli.shared import data_options as opts
from enxuto.cli.shared.provenance import provenance
from enxuto.cli.shared.pruning import asked_images, check_packages, opened, samples_of, share_of, there
from enxuto.cli.shared.pruning_results import finish
from enxuto.cli.shared.study_progress import study_progress
from enxuto.cli.shared.terminal import note, warn
from enxuto.errors import UsageError
from enxuto.machine.signals import exit_code

if TYPE_CHECKING:
    from torch import Tensor

    from enxuto.studies.images import Images
    from enxuto.studies.pruning import StartingNetwork, TrainedWeights

__all__ = ["HELP", "run"]

HELP = """Prune a trained network: remove its least important filters, in one round or several, and train it again.

NETWORK is a name that `enxuto zoo` lists or `module:factory`, trained as `--weights` says; or a file that an earlier
prune wrote. Each round takes `--amount` of what is left; filters are really removed and the result is compared with
the network whose removed filters are zero. The folder gets `model.pt` (loads by itself) and `model.onnx`; the same
command goes on where it was stopped. Needs PyTorch: `pip install '.[train]'` in a checkout.

```
enxuto prune lenet5 --weights runs/lenet5/best.pt --data mnist/ --amount 20% --rounds 5 --retrain lr-rewind -o small
enxuto prune vgg16-cifar --weights best.pt --data cifar10 --criterion deeplift --target macs --amount 50% -o half
```
"""

_DATA, _CHOICE, _AGAIN = "Data", "Which filters", "Training again"


def run(
    network: Annotated[
        str, typer.Argument(help="A network of the zoo, module:factory, or a pruned network's file.")
    ],
    data: Annotated[
        str,
        typer.Option(
            rich_help_panel=_DATA,
            help="Images to train on and score filters with; accuracy is measured on the part `test`.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the results.")],
    weights: Annotated[
        Path | None, typer.Option(help="Checkpoint of NETWORK, from `enxuto train` or a state dict.")
    ] = None,
    factory: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:FACTORY",
            help="For a pruned file of your own network: what makes it. Its code is run; the file does not choose it.",
        ),
    ] = None,
    test: Annotated[
        str | None, typer.Option(rich_help_panel=_DATA, help="Test images, where DATA has no such part.")
    ] = None,
    amount: Annotated[str, typer.Option(help="What each round takes of what is left: 20% or 0.2.")] = "20%",
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; 1 is one-shot.")] = 1,
    target: Annotated[
        str,
        typer.Option(
            rich_help_panel=_CHOICE, help="What the amount is of: filters, parameters, macs or latency."
        ),
    ] = "filters",
    criterion: Annotated[
        str,
        typer.Option(
            rich_help_panel=_CHOICE,
            help="l1, l2, random, gradient-activation, taylor, deeplift, lrp or conductance.",
        ),
    ] = "l1",
    scope: Annotated[
        str,
        typer.Option(
            rich_help_panel=_CHOICE, help="global: one ranking; local: the same share of every layer."
        ),
    ] = "global",
    normalise: Annotated[
        str,
        typer.Option(
            rich_help_panel=_CHOICE, help="Scores of a layer are divided by: none, l2, mean or max."
        ),
    ] = "none",
    floor: Annotated[
        int, typer.Option(rich_help_panel=_CHOICE, help="Filters that every layer keeps at least.")
    ] = 1,
    multiple: Annotated[
        int,
        typer.Option(
            rich_help_panel=_CHOICE, help="Leave multiples of so many filters: 8 and 16 suit hardware."
        ),
    ] = 1,
    images: Annotated[
        int, typer.Option(min=1, rich_help_panel=_CHOICE, help="Training images that criteria look at.")
    ] = 512,
    retrain: Annotated[
        str,
        typer.Option(
            rich_help_panel=_AGAIN, help="After each round: none, fine-tune, lr-rewind, rewind or reinit."
        ),
    ] = "none",
    epochs: Annotated[
        int | None, typer.Option(min=1, rich_help_panel=_AGAIN, help="Short for --set epochs=N.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            rich_help_panel=_AGAIN,
            help="A setting over those of the checkpoint (else of recipe quick); can be repeated.",
        ),
    ] = None,
    rewind_to: Annotated[
        Path | None,
        typer.Option(rich_help_panel=_AGAIN, help="For rewind: the early checkpoint, epoch-NNN.pt."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(rich_help_panel=_DATA, help="That many training images.")
    ] = None,
    test_limit: Annotated[
        int | None, typer.Option(rich_help_panel=_DATA, help="That many test images.")
    ] = None,
    size: Annotated[
        str | None, typer.Option(metavar="H,W", rich_help_panel=_DATA, help="Resize images.")
    ] = None,
    format_: opts.Format = None,
    image_column: opts.ImageColumn = None,
    label_column: opts.LabelColumn = None,
    labels: opts.Order = None,
    seed: Annotated[int, typer.Option(min=0, help="Of samples, orders and chance.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
    speed: Annotated[
        bool, typer.Option("--speed/--no-speed", help="Time the network before and after.")
    ] = True,
    json: Annotated[bool, typer.Option("--json", help="Print every round as JSON.")] = False,
) -> None:
    """Check, load, prune round by round, export, show."""
    check_packages("torch", "onnxscript")
    from enxuto.prune.rounds import Selection
    from enxuto.studies.lottery.points import Arm
    from enxuto.studies.pruning import prune_points
    from enxuto.study import Serial, Study

    share = share_of(amount)
    chosen = Selection(target, scope, normalise, floor, multiple)  # type: ignore[arg-type]
    _check_ways(criterion, retrain, rewind_to, epochs, settings)
    known = _weights(network, weights)
    earlier = _pruned_before(network, factory)
    config, last_lr = _training(known, epochs, settings or [], seed)
    asked = asked_images(
        network if earlier is None else earlier.architecture.name,
        limit=limit, test_limit=test_limit, seed=seed, size=size, format_=format_, image_column=image_column,
        label_column=label_column, labels=_labels(labels, weights), weights=known,
    )  # fmt: skip
    found = opened(asked, data, test)
    given = earlier or _given(network, known, found)
    out.mkdir(parents=True, exist_ok=True)
    given.write(out / "given.pt")
    places = {"data": there(data), "test": there(test), "network": there(str(out / "given.pt")),
              "rewind": None if rewind_to is None else there(str(rewind_to))}  # fmt: skip
    points = prune_points(
        given, asked, found.hash, Arm(criterion, retrain, scope), chosen, amount=share, rounds=rounds, config=config,
        last_lr=last_lr, score_images=images, seed=seed,
        paths={key: value for key, value in places.items() if value is not None},
        early=None if rewind_to is None else _early(rewind_to, known),
    )  # fmt: skip
    try:
        with study_progress("prune", lambda result: f"round {result.settings.get('round', 0)}") as report:
            results = Study(points, out).run(Serial(threads), report)
    except KeyboardInterrupt as interrupt:
        note(f"interrupted; finished rounds are in {out}: the same command goes on from here")
        raise typer.Exit(exit_code(interrupt)) from None
    if results.exit_code:
        for result in results.failed:
            warn(f"round {result.settings.get('round', 0)} failed: {result.error}")
        raise typer.Exit(results.exit_code)
    made = provenance(samples=samples_of(found), seed=seed, data=found.hash, threads=threads)
    finish(points, results, found, out, made, timed=threads if speed else None, as_json=json)


def _check_ways(
    criterion: str, retrain: str, rewind_to: Path | None, epochs: int | None, settings: list[str] | None
) -> None:
    from enxuto.prune.criteria.scores import CRITERIA
    from enxuto.prune.retrain import MODES

    if criterion not in CRITERIA:
        raise UsageError(f"no criterion {criterion!r}: choose one of {', '.join(CRITERIA)}")
    if retrain not in MODES:
        raise UsageError(f"no way of retraining {retrain!r}: choose one of {', '.join(MODES)}")
    if (retrain == "rewind") != (rewind_to is not None):
        raise UsageError("--retrain rewind needs --rewind-to with an early checkpoint, and nothing else does")
    if retrain == "none" and (epochs is not None or settings):
        raise UsageError("--epochs and --set are of the training after each round; say how by --retrain")


def _weights(network: str, path: Path | None) -> TrainedWeights | None:
    from enxuto import zoo
    from enxuto.studies.pruning import TrainedWeights

    if _is_file(network):
        if path is not None:
            raise UsageError(f"{network} has its own weights; leave out --weights")
        return None
    if ":" not in network:
        zoo.entry(network)  # an unknown name is the first thing to be told
    if path is None and ":" not in network:
        raise UsageError(
            f"{network} must be trained first: `enxuto train {network} …`, then --weights best.pt"
        )
    return None if path is None else TrainedWeights.read(path)


def _early(path: Path, known: TrainedWeights | None) -> Mapping[str, Tensor]:
    """The state of the checkpoint to rewind to. Raises `UsageError` where it has other tensors than the network's."""
    from enxuto.train.checkpoint import Checkpoint

    state = Checkpoint.read(path).model
    if known is not None and {k: v.shape for k, v in state.items()} != {
        k: v.shape for k, v in known.state.items()
    }:
        raise UsageError(
            f"{path} is a checkpoint of another network; --rewind-to takes an early one of the same"
        )
    return state


def _labels(said: Path | None, weights: Path | None) -> Path | None:
    """The file of class names: the one said, else the one that `enxuto train` left beside the checkpoint."""
    beside = None if weights is None else weights.with_name("labels.txt")
    return said if said is not None or beside is None or not beside.is_file() else beside


def _is_file(network: str) -> bool:
    return network.endswith(".pt")


def _pruned_before(network: str, factory: str | None) -> StartingNetwork | None:
    """The network of a file that an earlier prune wrote; None where NETWORK names no file."""
    from enxuto.studies.pruning import StartingNetwork

    if _is_file(network):
        return StartingNetwork.read(network, factory)
    if factory is not None:
        raise UsageError(f"--factory is for files of pruned networks; {network} says itself what it is")
    return None


def _training(
    known: TrainedWeights | None, epochs: int | None, settings: list[str], seed: int
) -> tuple[dict[str, Any], float]:
    """The configuration of trainings between rounds, and the last learning rate of the first."""
    from enxuto.train.config import TrainConfig, parse_setting

    said = dict(parse_setting(text) for text in settings)
    if epochs is not None:
        said["epochs"] = epochs
    own = {"validation": 0.0, "early_stopping": None, "keep_epochs": (), "seed": seed}
    if known is None or known.config is None:
        config = TrainConfig.of("quick", {**own, **said})
    else:
        config = TrainConfig.of(None, {**known.config, **own, **said})
    if known is not None and known.last_lr is not None:
        return config.to_dict(), float(said.get("lr", known.last_lr))
    return config.to_dict(), float(said.get("lr", config.lr / 100))


def _given(network: str, known: TrainedWeights | None, images: Images) -> StartingNetwork:
    from enxuto.studies.pruning import StartingNetwork

    return StartingNetwork.of(network, known, tuple(images.train.images.shape[1:]), images.train.classes)
