"""Labels of the images that train: whether they are those of the model, so that it may learn from them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from enxuto.compression.retrainer import RetrainingTask
from enxuto.importing.network import OnnxNetwork
from enxuto.metrics.chance import compare_with_chance

__all__ = ["Labels", "labels_of"]

_ASKED, _BATCH = 2_048, 64  # images that the original answers


@dataclass(frozen=True)
class Labels:
    """numbers: (N,) of `classes`. share: of the loss that is of them; the rest is of the original's answers."""

    numbers: npt.NDArray[np.int64]
    classes: int
    share: float


def labels_of(task: RetrainingTask, teacher: OnnxNetwork, share: float) -> Labels | None:
    """Return the labels of a task's images for so large a share of the loss; None where they are not learned from.

    A warning says why not: there are none, or the original's answers have nothing to do with them, as they are of other
    classes or in another order.
    """
    losses = task.calibration.judged_outputs.losses
    place = next((number for number, loss in enumerate(losses) if loss.kind == "classes"), None)
    if not share:
        return None
    if task.labels is None or place is None:
        lack = (
            "the images that train have none that fit"
            if place is not None
            else "no output is a list of classes"
        )
        warnings.warn(f"labels are not learned from: {lack}", stacklevel=3)
        return None
    some = np.sort(np.random.default_rng(0).permutation(len(task.images))[:_ASKED])
    with torch.no_grad():
        found = [
            _output(teacher(torch.from_numpy(task.images[some[first : first + _BATCH]])), place)
            for first in range(0, len(some), _BATCH)
        ]
    whole = torch.cat(found)
    scores = whole.flatten(1) * (-1 if losses[place].least else 1)
    classes, labels = scores.shape[1], task.labels
    if classes != max(whole.shape[1:], default=0):
        reason = "the model gives several lists of classes"
    elif labels.min() < 0 or labels.max() >= classes:
        outside = labels.min() if labels.min() < 0 else labels.max()
        reason = f"one is {outside}, and the model has {classes} outputs"
    else:
        chance = compare_with_chance(scores.argmax(1).numpy(), labels[some], classes)
        reason = chance.order_doubt or (
            ""
            if chance.better
            else f"{chance.right} of {chance.samples} are what the original answers: chance"
        )
    if not reason:
        return Labels(labels, classes, share)
    warnings.warn(f"the labels of the images that train are not learned from: {reason}", stacklevel=3)
    return None


def _output(found: torch.Tensor | tuple[torch.Tensor, ...], place: int) -> torch.Tensor:
    return found[place] if isinstance(found, tuple) else found
