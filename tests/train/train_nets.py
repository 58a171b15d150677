"""Small networks and data that the tests of training share; also a program that trains in a process of its own.

python train_nets.py FOLDER CONFIG.json   # trains `dropped` on `stripes()`, resuming where FOLDER holds a run
"""

from __future__ import annotations

import multiprocessing
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from enxuto.train import TrainConfig, TrainingData, fit

STATISTICS = ((0.5,), (0.3,))


def stripes(count: int = 96, *, seed: int = 0, classes: int = 4) -> TrainingData:
    """Grey images 8×8 of noise in which row 2·label is bright: learnt in a few epochs."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    images = torch.randint(0, 120, (count, 1, 8, 8), generator=generator)
    images[torch.arange(count), 0, 2 * labels] += 130
    return TrainingData(images.to(torch.uint8), labels, *STATISTICS, classes, f"stripes-{count}-{seed}")


def seeded(make: type[nn.Module] | None = None, seed: int = 1) -> nn.Module:
    """`plain` with weights of this seed; the global state stays as it is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return (make or plain)()


def plain() -> nn.Module:
    """A convolution and a linear layer, without batch normalisation or dropout."""
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 4))


def dropped() -> nn.Module:
    """With batch normalisation, which keeps statistics, and dropout, which draws from the global generator."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3), nn.Linear(256, 4)
    )  # fmt: skip


def without_hash(data: TrainingData) -> TrainingData:
    """The same samples under another name."""
    return replace(data, hash="other")


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of a network's state."""
    return {name: value.clone() for name, value in model.state_dict().items()}


def same_bits(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    """Whether two states are equal to the last bit."""
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


def processes() -> Any:
    """A context whose processes start fast: each is forked from one that has imported torch."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["train_nets", "torch._dynamo"])
    here = str(Path(__file__).parent)
    if here not in os.environ.get("PYTHONPATH", "").split(os.pathsep):
        os.environ["PYTHONPATH"] = os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])
    return context


def train_dropped(folder: Path, settings: dict[str, Any]) -> None:
    """Train `dropped` on `stripes()`, going on where the folder holds a run: what a process of its own does."""
    fit(
        seeded(dropped), stripes(), stripes(40, seed=1), TrainConfig.from_recipe(None, settings), folder=folder,
        resume=True,
        progress=lambda at: time.sleep(0.03),  # so that whoever wants to kill it is in time on a busy machine
    )  # fmt: skip


def train_among(rank: int, port: int, folder: Path, settings: list[dict[str, Any]]) -> None:
    """Be process `rank` of two, as torchrun would start it, and train `plain` once for each of the settings."""
    os.environ.update(
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), WORLD_SIZE="2", RANK=str(rank), LOCAL_RANK=str(rank)
    )
    for values in settings:
        fit(
            seeded(),
            stripes(),
            stripes(41, seed=1),
            TrainConfig.from_recipe(None, values),
            folder=folder,
            resume=True,
        )
