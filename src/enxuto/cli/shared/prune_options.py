"""The options of `enxuto prune` alone: which network, by which criterion, and how it is trained again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from enxuto.cli.shared.common_options import Json, Threads
from enxuto.cli.shared.training_options import Settings

__all__ = ["PruneOptions"]

_CHOICE, _AGAIN = "Which filters", "Retraining"


@dataclass(frozen=True, kw_only=True)
class PruneOptions:
    """What is pruned how often, by which criterion, and how it is trained again."""

    weights: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Checkpoint of NETWORK, from `enxuto train` or a state dict."),
    ] = None
    factory: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:FACTORY",
            help="For a pruned file of your own network: what makes it. Its code is run; the file does not choose it.",
        ),
    ] = None
    rounds: Annotated[int, typer.Option(min=1, metavar="N", help="Prune in N rounds; 1 is one-shot.")] = 1
    macs: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=_CHOICE,
            metavar="SHARE",
            help="Leave at most this share of the MACs after all rounds: 65%, instead of --target and --amount.",
        ),
    ] = None
    criterion: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=_CHOICE,
            metavar="NAME",
            help="l1, l2, random, gradient-activation, taylor, deeplift, lrp or conductance; with --retrain none and "
            "distil also cost, the loss that is left after refitting, which is the default there but for "
            "very wide networks. Else l1.",
        ),
    ] = None
    scope: Annotated[
        str,
        typer.Option(
            rich_help_panel=_CHOICE,
            metavar="NAME",
            help="global ranks all filters together; local takes the same share of every layer.",
        ),
    ] = "global"
    retrain: Annotated[
        str,
        typer.Option(
            rich_help_panel=_AGAIN,
            metavar="NAME",
            help="After each round: none (least squares, without labels), distil (then learn the unpruned network's "
            "answers, without labels), fine-tune, lr-rewind, rewind or reinit.",
        ),
    ] = "none"
    retrain_epochs: Annotated[
        int | None,
        typer.Option(min=1, rich_help_panel=_AGAIN, metavar="N", help="The same as --set epochs=N."),
    ] = None
    minutes: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            rich_help_panel=_AGAIN,
            metavar="X",
            help="Distil so long after each round, instead of N epochs.",
        ),
    ] = None
    settings: Settings = None
    rewind_checkpoint: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=_AGAIN,
            metavar="FILE",
            help="The early checkpoint that --retrain rewind goes back to, epoch-NNN.pt.",
        ),
    ] = None
    threads: Threads = 1
    speed: Annotated[bool, typer.Option("--speed/--no-speed", help="Time the network before and after.")] = (
        True
    )
    json: Json = False
