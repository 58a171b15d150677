"""The arms of a lottery study, and the two controls that each is compared with.

An arm is one way of pruning and retraining, over all rounds. What it claims is measured against networks of its own
sizes, round by round:

- `fresh`: its own architecture of that round, freshly initialised and trained by the whole first schedule, as the
  source's control is. A chain that prunes by the scores of fresh weights would be another, often smaller network;
- `random`: filters chosen by chance, as many in each layer as the arm has, retrained in the arm's own way in every
  round.

Source: G. Magalhães et al., chapter 4; the random control after Frankle & Carbin, section 2.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

__all__ = ["CONTROLS", "Arm", "with_same_plan"]

CONTROLS = ("fresh", "random")
_NAMES = {"fresh": "fresh weights", "random": "random filters"}


@dataclass(frozen=True, order=True)
class Arm:
    """One way of pruning and retraining, over all rounds; control: which control of it, empty for the arm itself."""

    criterion: str
    mode: str
    scope: str = "global"
    schedule: str = "iterative"
    rewind_epoch: int = 0
    control: str = ""

    @property
    def label(self) -> str:
        """What a line of a chart or table is called."""
        mode = f"rewind to {self.rewind_epoch}" if self.mode == "rewind" else self.mode
        apart = [part for part in (self.scope, self.schedule) if part not in ("global", "iterative")]
        name = ", ".join([self.criterion, mode, *apart])
        return f"{name}: {_NAMES[self.control]}" if self.control else name

    @property
    def is_compared_with(self) -> bool:
        """Whether others are compared with it, so that it claims nothing: a control, or fresh weights each round."""
        return bool(self.control) or self.mode == "reinit"

    def controls(self, wanted: Collection[str]) -> list[Arm]:
        """Its controls among `wanted`, those that would say something.

        An arm of fresh weights is a control itself. Without training, fresh weights are chance. Random filters are
        not compared with random filters.
        """
        if self.is_compared_with:
            return []
        trains = self.mode != "none" or self.schedule == "gradual"
        says = {"fresh": trains, "random": self.criterion != "random"}
        return [replace(self, control=name) for name in CONTROLS if name in wanted and says[name]]

    def to_dict(self) -> dict[str, Any]:
        """JSON values; the control only where it is one, as points were known without."""
        return {key: value for key, value in asdict(self).items() if key != "control" or value}


def with_same_plan(arms: Iterable[Arm], arm: Arm, number: int) -> list[Arm]:
    """Return those of the arms, in their order, that have the same filters as this one after round `number`.

    The first round of an arm, and every one-shot round, looks at the unpruned network alone, however it retrains
    then. So these rounds share a control of fresh weights.
    """
    if arm.schedule == "gradual" or (number > 1 and arm.schedule != "one-shot"):
        return [arm]
    alike = (arm.criterion, arm.scope, arm.schedule)
    found = (one for one in arms if not one.is_compared_with and one.mode != "none")
    return [one for one in found if (one.criterion, one.scope, one.schedule) == alike]
