"""Training: data in memory, one visible loop, nine optimizers, six schedules, checkpoints to resume from after a kill.

    history = fit(model, TrainingData.from_dataset(images), None, TrainConfig.from_recipe("quick"), folder=Path("run"))

Names are imported when first used: the configuration is checked without torch. The rest needs the extra `[train]`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from enxuto.train.augment import AUGMENTS, Augment, augmentation
    from enxuto.train.batches import TrainingData
    from enxuto.train.checkpoint import Checkpoint, epoch_file
    from enxuto.train.config import RECIPES, TrainConfig, parse_setting
    from enxuto.train.history import EpochRecord, History
    from enxuto.train.loop import fit
    from enxuto.train.progress import TrainingProgress
    from enxuto.train.validation import Scores, score

__all__ = [
    "AUGMENTS",
    "RECIPES",
    "Augment",
    "Checkpoint",
    "EpochRecord",
    "History",
    "Scores",
    "TrainConfig",
    "TrainingData",
    "TrainingProgress",
    "augmentation",
    "epoch_file",
    "fit",
    "parse_setting",
    "score",
]

_HOMES = {
    "augment": ("AUGMENTS", "Augment", "augmentation"),
    "batches": ("TrainingData",),
    "checkpoint": ("Checkpoint", "epoch_file"),
    "config": ("RECIPES", "TrainConfig", "parse_setting"),
    "history": ("EpochRecord", "History"),
    "loop": ("fit",),
    "progress": ("TrainingProgress",),
    "validation": ("Scores", "score"),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"enxuto.train.{home}"), name)
    raise AttributeError(f"module 'enxuto.train' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
