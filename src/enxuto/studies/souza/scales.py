"""How much of Souza's protocol a study does: images, epochs and, where hours are few, a shorter recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

__all__ = ["SCALES", "SIDE", "Scale"]

SIDE = 32
"""Height and width of the images of all scales."""


@dataclass(frozen=True)
class Scale:
    """How much of the protocol is done.

    train, test: images drawn by the seed, None for all. epochs: at most, of each network or by network. repeats: timed
    runs of one image. settings: what is trained otherwise than by the recipe `souza`.
    """

    train: int | None
    test: int | None
    epochs: int | Mapping[str, int]
    repeats: int
    settings: Mapping[str, Any] = field(default_factory=dict)

    def settings_of(self, network: str) -> dict[str, Any]:
        """What the scale sets over the recipe `souza` for a network, its epochs among it."""
        epochs = self.epochs if isinstance(self.epochs, int) else self.epochs[network]
        return {**self.settings, "epochs": epochs}


_ONE_CYCLE = {
    "optimizer": "nesterov", "schedule": "onecycle", "lr": 0.05, "weight_decay": 5e-4, "augment": "crop-flip",
    "precision": "auto",
}  # fmt: skip
_ONE_CYCLE_EPOCHS = {
    "squeezenet-dsc": 30, "squeezenet-cifar": 25, "mobilenet-cifar": 15, "alexnet-cifar": 6, "vgg19-cifar": 6,
}  # fmt: skip

SCALES: Mapping[str, Scale] = MappingProxyType(
    {
        "smoke": Scale(512, 500, 2, 30),
        "small": Scale(10_000, None, 20, 100),
        "short": Scale(None, None, MappingProxyType(_ONE_CYCLE_EPOCHS), 1000, MappingProxyType(_ONE_CYCLE)),
        "full": Scale(None, None, 200, 1000),
    }
)
"""smoke: whether all works, in minutes on two cores; small: tendencies; short: all images and one cycle of the learning
rate, as many epochs as some hours of two cores allow; full: the protocol."""
