"""Training: data in memory, one visible loop, nine optimizers, six schedules, checkpoints that go on after a kill.

    history = fit(model, TrainingData.from_dataset(images), None, TrainConfig.of("quick"), folder=Path("run"))

Names are imported when first used: the configuration is checked without torch. The rest needs the extra `[train]`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from enxuto.train.augment import AUGMENTS, Augment, augmentation
    from enxuto.train.batches import TrainingData, batches, evaluation_batches
    from enxuto.train.checkpoint import Checkpoint, epoch_file
    from enxuto.train.config import RECIPES, TrainConfig, parse_setting
    from enxuto.train.history import EpochRecord, History
    from enxuto.train.loop import Progress, fit
    from enxuto.train.validation import Scores, score

__all__ = [
    "AUGMENTS",
    "RECIPES",
    "Augment",
    "Checkpoint",
    "EpochRecord",
    "History",
    "Progress",
    "Scores",
    "TrainConfig",
    "TrainingData",
    "augmentation",
    "batches",
    "epoch_file",
    "evaluation_batches",
    "fit",
    "parse_setting",
    "score",
]

_HOMES = {
    "augment": ("AUGMENTS", "Augment", "augmentation"),
    "batches": ("TrainingData", "batches", "evaluation_batches"),
    "checkpoint": ("Checkpoint", "epoch_file"),
    "config": ("RECIPES", "TrainConfig", "parse_setting"),
    "history": ("EpochRecord", "History"),
    "loop": ("Progress", "fit"),
    "validation": ("Scores", "score"),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            # `batches` is a function and a module: put the function in place for good.
            value = globals()[name] = getattr(import_module(f"enxuto.train.{home}"), name)
            return value
    raise AttributeError(f"module 'enxuto.train' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
