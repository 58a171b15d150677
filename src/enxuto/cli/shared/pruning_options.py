"""The options of verbs that prune: how much, and which filters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from enxuto.errors import UsageError

__all__ = ["FilterOptions", "top1_interval"]

_PANEL = "Which filters"
_COMPARING = ("deeplift", "conductance")  # criteria that look at differences from another image


@dataclass(frozen=True, kw_only=True)
class FilterOptions:
    """How much each round takes, and which filters."""

    amount: Annotated[
        str,
        typer.Option(
            rich_help_panel=_PANEL,
            metavar="SHARE",
            help="The share of what is left that each round takes: 20% or 0.2.",
        ),
    ] = "20%"
    target: Annotated[
        str,
        typer.Option(
            rich_help_panel=_PANEL,
            metavar="NAME",
            help="What the share is of: filters, parameters, macs or latency.",
        ),
    ] = "filters"
    normalise: Annotated[
        str,
        typer.Option(
            rich_help_panel=_PANEL,
            metavar="NAME",
            help="Divide the scores of a layer by: none, l2, mean or max.",
        ),
    ] = "none"
    min_filters: Annotated[
        int,
        typer.Option(
            "--min-filters",
            "--floor",
            min=0,
            rich_help_panel=_PANEL,
            metavar="N",
            help="Keep at least N filters of each layer. With 0, which is for lottery, a layer may collapse.",
        ),
    ] = 1
    multiple: Annotated[
        int,
        typer.Option(
            min=1,
            rich_help_panel=_PANEL,
            metavar="N",
            help="Keep a multiple of N filters: 8 and 16 suit hardware.",
        ),
    ] = 1
    layers: Annotated[
        str,
        typer.Option(
            rich_help_panel=_PANEL,
            metavar="NAME",
            help="Prune all layers or convolutions alone; filters are then counted in those layers.",
        ),
    ] = "all"
    score_images: Annotated[
        str,
        typer.Option(
            "--score-images",
            "--images",
            rich_help_panel=_PANEL,
            metavar="N|all",
            help="Score filters on N training images, or on all. By default 512.",
        ),
    ] = ""
    reference: Annotated[
        str,
        typer.Option(
            rich_help_panel=_PANEL,
            metavar="NAME",
            help="What deeplift and conductance compare an image with: blur, zero or mean (of the training images).",
        ),
    ] = "blur"

    def check_reference(self, criteria: Sequence[str]) -> None:
        """Raise `UsageError` where images are given a reference that no criterion compares them with."""
        if self.reference != "blur" and not set(_COMPARING) & set(criteria):
            raise UsageError(
                f"--reference is what {' and '.join(_COMPARING)} compare an image with; "
                f"{', '.join(criteria)} compares with nothing, so leave it out",
                code="E024",
            )

    def scoring_count(self, default: int | None = 512) -> int | None:
        """How many images score filters, None for all. Raises `UsageError` for anything else than a number or all."""
        if not self.score_images:
            return default
        if self.score_images == "all":
            return None
        if not self.score_images.isdecimal() or int(self.score_images) < 1:
            raise UsageError(f"--score-images takes a number of images, or all, not {self.score_images!r}")
        return int(self.score_images)


def top1_interval(values: Mapping[str, Any]) -> str:
    """Return the 95 % interval of a point's accuracy in %, such as `61.0 – 65.2`."""
    low, high = values["top1_interval"]
    return f"{100 * low:.1f} – {100 * high:.1f}"
