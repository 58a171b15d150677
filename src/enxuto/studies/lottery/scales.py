"""How much of the lottery's protocol is done: a smoke test, tendencies, or all of it.

Source of `full`: G. Magalhães et al., chapter 4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

__all__ = ["SCALES", "Scale"]


@dataclass(frozen=True)
class Scale:
    """How much of the protocol is done.

    train, test, score_images: images, None for all. recipe, settings: of the training. rewind_epochs: of the mode
    `rewind`. longer: criterion → its rounds, where it has more than `rounds`.
    """

    train: int | None
    test: int | None
    seeds: int
    rounds: int
    recipe: str
    settings: Mapping[str, Any]
    score_images: int | None = 512
    rewind_epochs: Sequence[int] = (0,)
    longer: Mapping[str, int] = field(default_factory=dict)


SCALES: Mapping[str, Scale] = MappingProxyType(
    {
        "smoke": Scale(
            800, 500, 2, 2, "quick",
            {"epochs": 2, "augment": "none", "schedule": "milestones", "milestones": (1,)},
        ),
        "small": Scale(
            8_000, None, 3, 7, "lottery",
            {"epochs": 5, "lr": 0.05, "milestones": (3, 4), "augment": "none"},
        ),
        "full": Scale(
            None, None, 5, 10, "lottery", {}, score_images=None, rewind_epochs=(0, 1, 2, 3, 4),
            longer={"deeplift": 20},
        ),
    }
)  # fmt: skip
"""smoke: whether all works, in minutes; small: tendencies, a training in seconds; full: the source's protocol."""
