"""Where and in which numbers a network is retrained: a GPU where there is one, bfloat16 where that is fast."""

from __future__ import annotations

from dataclasses import replace

import torch

from enxuto.retraining.settings import Retraining
from enxuto.train.config import TrainConfig
from enxuto.train.placement import Placement
from enxuto.train.processes import Processes

__all__ = ["finish_work", "name_of", "placement_of", "plainer_than"]

_PRECISIONS = {"auto": "auto", "float32": "float32", "bfloat16": "mixed"}


def placement_of(settings: Retraining) -> Placement:
    """Return where settings put a training; `UsageError` where they ask for a GPU and there is none.

    float16, which GPUs without bfloat16 have in its place, is not used: small gradients would be lost.
    """
    config = TrainConfig.from_recipe(
        None, {"device": settings.device, "precision": _PRECISIONS[settings.precision]}
    )
    found = Placement.of(config, Processes())
    if found.mixed is torch.bfloat16 or (found.mixed is not None and settings.precision == "bfloat16"):
        return replace(found, mixed=torch.bfloat16)
    return replace(found, mixed=None)


def plainer_than(placement: Placement) -> list[Placement]:
    """Return what is left where a network does not run so: float32 in place of bfloat16, then a CPU."""
    found = []
    if placement.mixed is not None:
        found.append(replace(placement, mixed=None))
    if placement.device.type != "cpu":
        found.append(replace(placement, device=torch.device("cpu"), mixed=None))
    return found


def name_of(placement: Placement) -> str:
    """Return words for a placement, such as "in bfloat16 on the GPU"."""
    where = "CPU" if placement.device.type == "cpu" else "GPU"
    return f"in {'float32' if placement.mixed is None else 'bfloat16'} on the {where}"


def finish_work(placement: Placement) -> None:
    """Wait until the device has done what it was given, so that a clock can be read."""
    if placement.device.type == "cuda":
        torch.cuda.synchronize(placement.device)
