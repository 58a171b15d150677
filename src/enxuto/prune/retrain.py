"""How a pruned network is trained again: rewound, with the learning rate rewound, fine-tuned, or re-initialised.

- `rewind`: the weights of epoch k of the first training, and its schedule from epoch k on (Frankle et al.,
  arXiv:1903.01611);
- `lr-rewind`: the weights stay, the whole schedule runs again (Renda et al., arXiv:2003.02389);
- `fine-tune`: the weights stay, and so does the last learning rate of the first training;
- `reinit`: the pruned architecture with fresh weights and the whole schedule: the control of every claim;
- `distil`: the weights stay, refitted where filters went (`refit`), and learn the unpruned network's answers, without
  labels (`train.distillation`);
- `none`: nothing is trained; `enxuto prune` refits what reads the removed filters (`refit`).

Schedules laid out over the whole run (cosine, one cycle) and those that watch the loss cannot be entered in the middle:
they run as a whole after rewinding too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from enxuto import zoo
from enxuto.errors import ModelError, UsageError
from enxuto.prune.removal.kept import Architecture, KeptChannels
from enxuto.prune.rounds import UnprunedNetwork
from enxuto.summary.target import build_module
from enxuto.train.config import TrainConfig

__all__ = [
    "DISTILLATION",
    "MODES",
    "REFITTED",
    "Mode",
    "build_unpruned",
    "reinitialise",
    "retraining_config",
    "slice_epochs",
]

Mode = Literal["rewind", "lr-rewind", "fine-tune", "distil", "reinit", "none"]
MODES: tuple[str, ...] = get_args(Mode)

REFITTED = ("none", "distil")
"""The ways of `enxuto prune` that begin with a refit of what reads removed filters."""

DISTILLATION: Mapping[str, Any] = MappingProxyType(
    {
        "optimizer": "adam",
        "lr": 2e-4,
        "batch": 128,
        "epochs": 10,
        "schedule": "cosine",
        "augment": "crop-flip",
        "precision": "auto",
    }
)
"""Fields of `TrainConfig` that `enxuto prune` distils by: gentle, as the weights are nearly right when it begins."""

_BY_EPOCH = ("constant", "milestones")  # schedules that any epoch can be entered at


def retraining_config(
    mode: Mode, config: TrainConfig, *, rewind_epoch: int, last_lr: float, epochs: int | None, seed: int
) -> TrainConfig:
    """Make the configuration of a retraining from that of the first training.

    Args:
        mode: one of `MODES` but `none`.
        config: of the first training.
        rewind_epoch: the epoch of the first training that `rewind` resumes from.
        last_lr: learning rate of the first training's last epoch, which `fine-tune` keeps.
        epochs: how many; None: as many as the first training's configuration.
        seed: of the order and the augmentation.

    Raises:
        UsageError: the mode is `none`, or no epoch is left to train.
    """
    if mode == "none":
        raise UsageError("without retraining there is nothing to configure")
    changes = {"seed": seed, "keep_epochs": (), "validation": 0.0, "early_stopping": None}
    if mode == "fine-tune":
        return TrainConfig.from_recipe(
            None,
            {**config.to_dict(), **changes, "schedule": "constant", "milestones": (), "lr": last_lr,
             "epochs": epochs or config.epochs},
        )  # fmt: skip
    whole = TrainConfig.from_recipe(None, {**config.to_dict(), **changes, "epochs": epochs or config.epochs})
    if mode != "rewind" or whole.schedule not in _BY_EPOCH:
        return whole
    return slice_epochs(whole, rewind_epoch, whole.epochs)


def slice_epochs(config: TrainConfig, start: int, stop: int) -> TrainConfig:
    """The configuration that trains epochs `start` to `stop` of a run of `config`; the momentum starts from zero.

    Raises `UsageError` for no epochs, and where the schedule cannot be entered in the middle.
    """
    if not 0 <= start < stop <= config.epochs:
        raise UsageError(f"there is nothing to train from epoch {start} to {stop} of {config.epochs}")
    if start and config.schedule not in _BY_EPOCH:
        raise UsageError(
            f"schedule={config.schedule} cannot be entered in the middle; take milestones or constant",
            code="E022",
        )
    later = [epoch - start for epoch in config.milestones if epoch > start]
    passed = len(config.milestones) - len(later)
    return TrainConfig.from_recipe(
        None,
        {**config.to_dict(), "lr": config.lr * config.lr_factor**passed, "milestones": tuple(later),
         "schedule": "constant" if config.schedule == "milestones" and not later else config.schedule,
         "epochs": stop - start},
    )  # fmt: skip


def build_unpruned(architecture: Architecture, seed: int) -> nn.Module:
    """The unpruned network with fresh weights by this seed; torch's global random state stays as it was."""
    if architecture.graph is not None:
        return _with_fresh_weights(architecture, seed)
    if ":" not in architecture.name:
        return zoo.build(
            architecture.name, classes=architecture.classes, channels=architecture.input_shape[0], seed=seed,
            **dict(architecture.options),
        )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return build_module(architecture.name)


def _with_fresh_weights(architecture: Architecture, seed: int) -> nn.Module:
    """A graph's layers with PyTorch's own fresh weights; weights that belong to no layer have no known beginning."""
    network = architecture.build()
    own = {f"{path}.{name}" for path, part in network.named_modules() if hasattr(part, "reset_parameters")
           for name, _ in part.named_parameters(recurse=False)}  # fmt: skip
    other = next((name for name, _ in network.named_parameters() if name not in own), None)
    if other is not None:
        raise ModelError(
            f"{architecture.name} cannot get fresh weights: {other!r} belongs to no layer; retrain in another way",
            code="E032",
        )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        for part in network.modules():
            reset = getattr(part, "reset_parameters", None)
            if reset is not None:
                reset()
    return network


def reinitialise(unpruned: UnprunedNetwork, kept: KeptChannels, seed: int) -> nn.Module:
    """The pruned architecture with fresh weights, as if it had been built at its own sizes.

    Fresh weights of the unpruned network are cut to the plan and scaled by √(fan-in before / after), which is what
    initialisations by fan-in (He, LeCun, torch's own) give the smaller layer; without it the control would start with
    weaker signals than a network of its size and lose by that alone.
    """
    fresh: Mapping[str, Tensor] = build_unpruned(unpruned.architecture, seed).state_dict()
    smaller = unpruned.prune(fresh, kept, verify=False)
    with torch.no_grad():
        for name, weight in smaller.named_parameters():
            if weight.dim() > 1:
                weight.mul_(math.sqrt(math.prod(fresh[name].shape[1:]) / math.prod(weight.shape[1:])))
    return smaller
