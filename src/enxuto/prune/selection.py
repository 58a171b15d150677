"""How a round chooses its filters: the measure of which a share is left, and the settings of `ranking.choose_units`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from enxuto.errors import UsageError, did_you_mean
from enxuto.prune.ranking import Normalise, Scope

__all__ = ["LAYERS", "TARGETS", "Layers", "Selection", "Target"]

Target = Literal["filters", "parameters", "macs", "latency"]
TARGETS: tuple[str, ...] = get_args(Target)

Layers = Literal["all", "convolutions"]
LAYERS: tuple[str, ...] = get_args(Layers)


@dataclass(frozen=True)
class Selection:
    """How filters are chosen: the measure of which a share is left, and the settings of `ranking.choose_units`.

    layers: `convolutions` leaves linear layers as they are and counts filters of convolutions alone, as the
    source does. at_most: leave no more than the share, rather than the nearest.
    """

    target: Target = "filters"
    scope: Scope = "global"
    normalise: Normalise = "none"
    floor: int = 1
    multiple: int = 1
    layers: Layers = "all"
    at_most: bool = False

    def to_dict(self) -> dict[str, Any]:
        """JSON values; layers and `at_most` only where they are not as usual, as points were known without."""
        usual = {"layers": "all", "at_most": False}
        return {key: value for key, value in vars(self).items() if key not in usual or value != usual[key]}

    def __post_init__(self) -> None:
        if self.layers not in LAYERS:
            hint = did_you_mean(self.layers, LAYERS)
            raise UsageError(
                f"no layers {self.layers!r}{hint}: choose one of {', '.join(LAYERS)}", code="E021"
            )
        if self.target not in TARGETS:
            hint = did_you_mean(self.target, TARGETS)
            raise UsageError(
                f"no target {self.target!r}{hint}: choose one of {', '.join(TARGETS)}", code="E021"
            )
