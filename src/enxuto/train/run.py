"""`TrainingRun`: all that changes while a network is trained, and its way into a checkpoint and back."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from enxuto._version import __version__
from enxuto.archive import same_number_kind
from enxuto.errors import EnxutoError, FormatError, ModelError, UsageError
from enxuto.train.augment import Augment, configured_augmentation
from enxuto.train.batches import TrainingData
from enxuto.train.checkpoint import BEST, LAST, Checkpoint, epoch_file
from enxuto.train.config import TrainConfig
from enxuto.train.generators import generator_states, set_generator_states
from enxuto.train.history import EpochRecord, History, best_epoch, write_history
from enxuto.train.optimizers import make_optimizer
from enxuto.train.placement import Placement
from enxuto.train.processes import Processes
from enxuto.train.schedules import Schedule, make_schedule
from enxuto.train.teacher import Teacher

__all__ = ["TrainingRun"]

_LAID_OUT = ("cosine", "onecycle")  # schedules whose rate depends on how many epochs there will be
_RUNNING = "running"


@dataclass
class TrainingRun:
    """A run in progress. `model` is the network itself, `network` what a training step calls (see `Placement`)."""

    config: TrainConfig
    model: nn.Module
    network: nn.Module
    train: TrainingData
    validation: TrainingData | None
    placement: Placement
    processes: Processes
    folder: Path | None
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    scaler: torch.amp.GradScaler
    order: torch.Generator
    records: list[EpochRecord] = field(default_factory=list)
    stopped: str = _RUNNING
    notes: list[str] = field(default_factory=list)
    teacher: Teacher | None = None
    began: Mapping[str, Any] | None = None

    @cached_property
    def augment(self) -> Augment:
        """The random changes of training images, with what they need to know of all of them."""
        return configured_augmentation(self.config, self.train.images)

    @classmethod
    def start(
        cls,
        model: nn.Module,
        train: TrainingData,
        validation: TrainingData | None,
        config: TrainConfig,
        placement: Placement,
        processes: Processes,
        folder: Path | None,
        began: Mapping[str, Any] | None = None,
    ) -> TrainingRun:
        """A run at its start; `placement.place_model(model)` was called before."""
        network = placement.network(model, config, processes)
        return cls(
            config,
            model,
            network,
            placement.place_data(train),
            None if validation is None else placement.place_data(validation),
            placement,
            processes,
            folder,
            make_optimizer(config, model.parameters()),
            make_schedule(config),
            placement.scaler(),
            torch.Generator().manual_seed(config.seed),
            notes=placement.notes(),
            began=began,
        )

    @property
    def epoch(self) -> int:
        """How many epochs are done."""
        return len(self.records)

    def save(self) -> None:
        """Write what the folder keeps of this moment, `last.pt` after all else: a kill leaves a state that fits.

        All processes call this; the first writes.
        """
        if self.folder is None:
            return
        checkpoint = self.checkpoint()
        if not self.processes.is_writer:
            return
        if self.epoch in self.config.keep_epochs:
            checkpoint.write(self.folder / epoch_file(self.epoch))
        if self.epoch > 0 and best_epoch(self.records) == self.epoch:
            checkpoint.write(self.folder / BEST)
        checkpoint.write(self.folder / LAST)
        write_history(self.records, self.folder)

    def checkpoint(self) -> Checkpoint:
        """The state as it is, collected from all processes."""
        return Checkpoint(
            epoch=self.epoch,
            model=dict(self.model.state_dict()),
            optimizer=self.optimizer.state_dict(),
            schedule=self.schedule.state_dict(),
            scaler=self.scaler.state_dict(),
            order=self.order.get_state(),
            generators=self.processes.collect(generator_states(self.placement.device)),
            history=[asdict(record) for record in self.records],
            stopped=self.stopped,
            config=self.config.to_dict(),
            data=_data_summary(self.train, self.validation),
            preprocess=self.train.preprocess().to_dict() if self.train.images.shape[1] in (1, 3) else None,
            versions=_versions(self.placement.device),
            network=getattr(self.model, "built_as", None),
            began=None if self.began is None else dict(self.began),
        )

    def resume_from(self, checkpoint: Checkpoint, path: Path) -> None:
        """Resume from a checkpoint, in place.

        Raises `UsageError` where it is of another configuration, other data or another number of processes,
        `ModelError` where it is of another network, `FormatError` where its parts make no sense.
        """
        self._check_same_run(checkpoint, path)
        _load_model(self.model, checkpoint.model, path)
        try:
            self.optimizer.load_state_dict(checkpoint.optimizer)
            self.schedule.load_state_dict(checkpoint.schedule)
            if checkpoint.scaler:  # of a run in float16; another device may go on in bfloat16, or the reverse
                self.scaler.load_state_dict(checkpoint.scaler)
            self.order.set_state(checkpoint.order)
            self.records = [EpochRecord.from_dict(record) for record in checkpoint.history]
            set_generator_states(checkpoint.generators[self.processes.rank], self.placement.device)
        except EnxutoError:
            raise
        except Exception as error:
            raise FormatError(
                f"{path} cannot be resumed: {type(error).__name__}: {error}", code="E071"
            ) from error
        self.stopped = checkpoint.stopped
        if self.stopped == "epochs" and self.epoch < self.config.epochs:
            self.stopped = _RUNNING
        now = _versions(self.placement.device)
        self.notes += [
            f"the run started with {name} {before} and resumes with {now.get(name)}: last bits may differ"
            for name, before in checkpoint.versions.items()
            if now.get(name) != before
        ]
        if self.processes.is_writer and self.folder is not None:
            write_history(self.records, self.folder)

    def _check_same_run(self, checkpoint: Checkpoint, path: Path) -> None:
        before = TrainConfig.from_recipe(None, checkpoint.config).model_dump(mode="json")
        now = self.config.model_dump(mode="json")
        for name in before:
            old, new = before[name], now[name]
            if name in (
                "threads",
                "channels_last",
            ):  # they decide the last bits, as the machine does: noted, not refused
                continue
            if old == new or (name == "epochs" and new > old and self.config.schedule not in _LAID_OUT):
                continue
            why = ""
            if name == "epochs":
                why = " (more epochs are possible, except with a schedule that spans all: cosine, onecycle)"
            raise UsageError(
                f"{path} was trained with {name}={old}, not {new}{why}; set it back or start in another folder",
                code="E071",
            )
        _check_beginning(checkpoint.began or {}, self.began or {}, path)
        old_data, new_data = checkpoint.data, _data_summary(self.train, self.validation)
        for name in new_data:
            if old_data.get(name) != new_data[name]:
                raise UsageError(
                    f"{path} was trained on other data: {name} was {old_data.get(name)}, is {new_data[name]}",
                    code="E071",
                )
        built = getattr(self.model, "built_as", None)
        if None not in (checkpoint.network, built) and checkpoint.network != built:
            raise UsageError(
                f"{path} is of {checkpoint.network}, not of {built}; start in another folder", code="E071"
            )
        if len(checkpoint.generators) != self.processes.count:
            raise UsageError(
                f"{path} was trained by {len(checkpoint.generators)} processes, not {self.processes.count}",
                code="E071",
            )

    def history(self) -> History:
        """What was measured, for the caller."""
        held_out = 0 if self.validation is None else len(self.validation)
        best = best_epoch(self.records)
        return History(
            tuple(self.records), self.stopped, best, len(self.train), held_out, self.config.seed,
            tuple(self.notes),
        )  # fmt: skip


def _check_beginning(before: Mapping[str, Any], now: Mapping[str, Any], path: Path) -> None:
    """Refuse to go on in another way than a run began: what is trained would change in silence.

    Where either does not say something, as in checkpoints of older versions, nothing is known of it.
    """
    for name in before.keys() & now.keys():
        if before[name] != now[name]:
            old, new = (
                f"without {name}=" if value is None else f"with {name}={value}"
                for value in (before[name], now[name])
            )
            raise UsageError(
                f"{path} was begun {old} and would go on {new}; say what it began with, or start in another folder",
                code="E071",
            )


def _load_model(model: nn.Module, state: dict[str, Any], path: Path) -> None:
    own = model.state_dict()
    problem = _first_mismatch(own, state)
    if problem:
        raise ModelError(f"{path} is of another network: {problem}", code="E071")
    model.load_state_dict(state)


def _first_mismatch(own: dict[str, Any], state: dict[str, Any]) -> str | None:
    for key in _merge_keys(own, state):
        if key not in state:
            return f"it lacks {key!r}"
        if key not in own:
            return f"it has {key!r}"
        if own[key].shape != state[key].shape:
            return f"{key!r} is {tuple(state[key].shape)} in it and {tuple(own[key].shape)} in the network"
        if not same_number_kind(own[key], state[key]):
            return f"{key!r} is {state[key].dtype} in it and {own[key].dtype} in the network"
    return None


def _merge_keys(*several: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(key for keys in several for key in keys))


def _data_summary(train: TrainingData, validation: TrainingData | None) -> dict[str, Any]:
    return {
        "hash": train.hash,
        "samples": len(train),
        "classes": train.classes,
        "mean": list(train.mean),
        "std": list(train.std),
        "validation_hash": None if validation is None else validation.hash,
    }


def _versions(device: torch.device) -> dict[str, Any]:
    """What the last bits of a run depend on besides its configuration."""
    return {
        "enxuto": __version__,
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
        "threads": torch.get_num_threads(),
    }
