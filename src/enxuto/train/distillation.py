"""Distillation: a network is trained to give a teacher's answers (`teacher`), for some epochs or for some minutes."""

from __future__ import annotations

import json
import time
from pathlib import Path

import torch
from torch import nn

from enxuto.data.selection import random_sample
from enxuto.files import atomic_write
from enxuto.train.augment import configured_augmentation
from enxuto.train.batches import TrainingData, training_batches
from enxuto.train.config import TrainConfig
from enxuto.train.history import History
from enxuto.train.loop import fit
from enxuto.train.placement import Placement
from enxuto.train.processes import Processes
from enxuto.train.progress import ProgressCallback
from enxuto.train.teacher import Teacher
from enxuto.zoo.modes import evaluation_mode

__all__ = ["Teacher", "distil", "epochs_within", "share_of_time"]

_TIMED_BATCHES = 3
_LENGTH = "length.json"


def distil(
    student: nn.Module,
    teacher: Teacher,
    train: TrainingData,
    config: TrainConfig,
    folder: Path,
    *,
    validation: TrainingData | None = None,
    minutes: float | None = None,
    progress: ProgressCallback | None = None,
) -> History:
    """Train `student` in place on the teacher's answers, or resume in `folder`.

    Args:
        student, teacher: of the same images and classes.
        train: the images; their labels mean nothing.
        config: of the training.
        folder: of the checkpoints.
        validation: images with labels that are scored after each epoch.
        minutes: how long it may take on this machine, instead of the epochs of `config`. The length that fits is
            measured once and kept in the folder.
        progress: as for `fit`.

    Raises:
        TrainingError: training diverged.
    """
    if minutes is not None:
        epochs, images = _length(minutes, student, teacher, train, config, folder)
        config = config.model_copy(update={"epochs": epochs})
        if images < len(train):
            train = train.subset(random_sample(len(train), images, config.seed))
    return fit(
        student, train, validation, config, folder=folder, resume=True, progress=progress, teacher=teacher
    )


def _length(
    minutes: float,
    student: nn.Module,
    teacher: Teacher,
    train: TrainingData,
    config: TrainConfig,
    folder: Path,
) -> tuple[int, int]:
    """(epochs, images), as measured before an interruption or now."""
    place = folder / _LENGTH
    if place.is_file():
        held = json.loads(place.read_text())
        return int(held["epochs"]), int(held["images"])
    epochs, images = epochs_within(minutes, student, teacher, train, config)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(place) as file:
        file.write(json.dumps({"epochs": epochs, "images": images}).encode())
    return epochs, images


def epochs_within(
    minutes: float, student: nn.Module, teacher: Teacher, train: TrainingData, config: TrainConfig
) -> tuple[int, int]:
    """How many epochs of how many images fit into a time on this machine, (epochs, images); timed on a few batches.

    Images are left out where that uses the time better. No weight is changed.
    """
    placement = Placement.of(config, Processes())
    placement.place_model(student)
    teacher.place(placement.device)
    batches = training_batches(
        train, min(config.batch, len(train)), generator=torch.Generator().manual_seed(0),
        augment=configured_augmentation(config, train.images),
    )  # fmt: skip
    seen, began = 0, time.perf_counter()
    with placement.torch_settings(config.threads):
        for step, batch in enumerate(batches):
            if step == 1:  # the first warms up
                seen, began = 0, time.perf_counter()
            images, _ = placement.move_batch(*batch)
            with evaluation_mode(student), torch.enable_grad(), placement.autocast():
                loss = teacher.loss(student(images), images)
                learned = [one for one in student.parameters() if one.requires_grad]
                gradients = torch.autograd.grad(loss, learned)
            float(gradients[0].sum())  # a GPU is done only then
            seen += len(images)
            if step == _TIMED_BATCHES:
                break
    return share_of_time(
        60 * minutes * seen / max(1e-9, time.perf_counter() - began), len(train), config.batch
    )


def share_of_time(fit: float, count: int, batch: int) -> tuple[int, int]:
    """How many epochs of how many of `count` images use the time in which `fit` images can be learned from.

    Nearly two epochs are two of somewhat fewer images, so that no more than a fifth of the time is left. From five on,
    epochs are of all images.
    """
    epochs = max(1, int(fit / count + (0.75 if fit < 5 * count else 0)))
    return epochs, min(count, max(int(fit / epochs), batch))
