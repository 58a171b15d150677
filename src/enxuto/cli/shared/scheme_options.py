"""The options of `compress` that choose a quantizer; contradictions are refused."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from enxuto.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from enxuto.compression.data_free import Steps
    from enxuto.quantize.schemes import Scheme
    from enxuto.rounding.data_free import Rounding

__all__ = ["QUANTIZERS", "SchemeOptions"]

QUANTIZERS = ("dead-zone", "midrise", "midtread", "mu-law", "minifloat", "half")
_SHARED = ("network", "tensor", "channel")
_PANEL = "Quantizer"


@dataclass(frozen=True, kw_only=True)
class SchemeOptions:
    """The quantizer that the user chose; None where nothing was said."""

    quantizer: Annotated[
        str,
        typer.Option(
            rich_help_panel=_PANEL,
            metavar="NAME",
            help="dead-zone, midrise, midtread, mu-law, minifloat or half.",
        ),
    ] = "dead-zone"
    delta: Annotated[
        float | None,
        typer.Option(
            rich_help_panel=_PANEL, metavar="X", help="Half the width of the zero bin of dead-zone, in steps."
        ),
    ] = None
    step: Annotated[
        float | None,
        typer.Option(
            rich_help_panel=_PANEL,
            metavar="X",
            help="The step. With --per tensor or channel it is in units of the weights' root mean square.",
        ),
    ] = None
    levels: Annotated[
        int | None, typer.Option(rich_help_panel=_PANEL, metavar="I", help="Use 2^I levels over the range.")
    ] = None
    range: Annotated[
        tuple[float, float] | None,
        typer.Option(
            rich_help_panel=_PANEL,
            metavar="LOW,HIGH",
            help="Range of --levels; by default -1,1, or with --per that of the weights.",
        ),
    ] = None
    clip: Annotated[
        bool, typer.Option("--clip", rich_help_panel=_PANEL, help="Clip weights to the range first.")
    ] = False
    per: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=_PANEL, metavar="NAME", help="What shares one step: network, tensor or channel."
        ),
    ] = None
    mu: Annotated[
        float | None, typer.Option(rich_help_panel=_PANEL, metavar="X", help="μ of mu-law; by default 2^I.")
    ] = None
    minifloat: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=_PANEL,
            metavar="P,Q",
            help="Exponent bits and mantissa bits of --quantizer minifloat, such as 4,3.",
        ),
    ] = None
    steps: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=_PANEL,
            metavar="NAME",
            help="checked (default): made finer or coarser by a few runs on synthetic inputs; balanced: by the weights "
            "alone, without a run; measured: by some thirty runs, a factor for each tensor.",
        ),
    ] = None
    rounding: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=_PANEL,
            metavar="NAME",
            help="trellis (default) makes the smallest file; nearest takes the nearest level (default as soon as any "
            "quantizer option except --per is given); rate weighs errors against bits.",
        ),
    ] = None

    def chosen_steps(self) -> Steps:
        """Return how steps are chosen; `balanced` where the quantizer is the user's choice."""
        from enxuto.compression.data_free import check_steps

        plain = replace(self, rounding=None, steps=None) == SchemeOptions()
        if self.steps is None:
            return "checked" if plain else "balanced"
        chosen = check_steps(self.steps)
        if chosen != "balanced" and not plain:
            raise UsageError(
                f"--steps {chosen} chooses the steps of a dead-zone quantizer itself; leave out --quantizer and the "
                "like",
                code="E022",
            )
        return chosen

    def scheme(self) -> Scheme | None:
        """Return the scheme, None where steps are checked or measured; `UsageError` for options that contradict."""
        if self.quantizer not in QUANTIZERS:
            raise UsageError(
                f"no quantizer is called {self.quantizer!r}{did_you_mean(self.quantizer, QUANTIZERS)}; "
                f"there are {', '.join(QUANTIZERS)}",
                code="E021",
            )
        if self.per is not None and self.per not in _SHARED:
            raise UsageError(
                f"--per is network, tensor or channel, not {self.per!r}{did_you_mean(self.per, _SHARED)}",
                code="E021",
            )
        self._refuse_strays()
        if self.chosen_steps() != "balanced":
            return None
        from enxuto.cli.shared.scheme import build_scheme

        return build_scheme(self)

    def choose_rounding(self) -> Rounding:
        """Return how levels are chosen: as --rounding says, else to nearest where the user chose the quantizer."""
        if self.rounding is not None:
            from enxuto.rounding.data_free import check_rounding

            return check_rounding(self.rounding)
        return "trellis" if replace(self, per=None, steps=None) == SchemeOptions() else "nearest"

    def _refuse_strays(self) -> None:
        """Refuse options that the chosen quantizer has no use for."""
        uniform = self.quantizer in ("dead-zone", "midrise", "midtread")
        strays = {
            "--delta": self.delta is not None and self.quantizer != "dead-zone",
            "--step": self.step is not None and not uniform,
            "--levels": self.levels is not None and not (uniform or self.quantizer == "mu-law"),
            "--range": self.range is not None and self.levels is None,
            "--clip": self.clip and self.levels is None,
            "--mu": self.mu is not None and self.quantizer != "mu-law",
            "--minifloat": self.minifloat is not None and self.quantizer != "minifloat",
            "--per": self.per is not None and self.quantizer == "half",
        }
        for option, stray in strays.items():
            if stray:
                needs = (
                    "needs --levels"
                    if option in ("--range", "--clip")
                    else f"has no meaning for {self.quantizer}"
                )
                raise UsageError(f"{option} {needs}; leave it out or choose another --quantizer", code="E024")
        if self.step is not None and self.levels is not None:
            raise UsageError("--step and --levels both fix the step; give one of them", code="E022")
        if self.range is not None and not self.range[0] < self.range[1]:
            raise UsageError(
                f"--range {self.range[0]:g},{self.range[1]:g} is empty; give the lower end first"
            )
        if self.range is not None and self.per not in (None, "network"):
            raise UsageError(
                f"--range is one for the whole network; leave it out with --per {self.per}", code="E022"
            )
        if self.levels is not None and not 1 <= self.levels <= 24:
            raise UsageError(f"--levels is I of 2^I, from 1 to 24, not {self.levels}")
