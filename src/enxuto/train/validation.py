"""How a network scores on held-out images during training: loss, top-1, top-5; by all processes together."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from enxuto.train.batches import TrainingData, evaluation_batches
from enxuto.train.placement import Placement
from enxuto.train.processes import Processes
from enxuto.zoo.modes import evaluation_mode

__all__ = ["Scores", "score"]

_FEW = 10  # classes up to which five guesses say little


@dataclass(frozen=True)
class Scores:
    """loss: mean cross-entropy (nats). top1, top5: shares 0…1; top5 is None for ten classes and fewer."""

    loss: float
    top1: float
    top5: float | None
    samples: int


def score(
    model: nn.Module,
    data: TrainingData,
    *,
    batch: int = 256,
    placement: Placement | None = None,
    processes: Processes | None = None,
) -> Scores:
    """Score a network on all of `data`, in evaluation mode; afterwards its parts have their own modes again.

    Args:
        model: takes normalised images and returns logits (batch, classes).
        data: labelled images.
        batch: images at a time in each process.
        placement: by default the device of the network's weights, in float32.
        processes: that share the work; by default this one alone.

    Returns: the loss and the shares of hits, the same in every process.
    """
    placement = placement or _current_placement(model)
    processes = processes or Processes()
    processes.share_buffers(model)
    sums = torch.zeros(4, dtype=torch.float64, device=placement.device)
    with evaluation_mode(model), torch.inference_mode():
        for images, labels in evaluation_batches(
            data, batch, rank=processes.rank, world_size=processes.count
        ):
            sums += _batch_sums(model, *placement.move_batch(images, labels), placement)
    loss, first, fifth, samples = processes.add(sums).tolist()
    top5 = fifth / samples if data.classes > _FEW else None
    return Scores(loss / samples, first / samples, top5, round(samples))


def _batch_sums(model: nn.Module, images: Tensor, labels: Tensor, placement: Placement) -> Tensor:
    """Loss, hits, hits among the five best, and images of a batch, float64 (4,)."""
    with placement.autocast():
        logits = model(images)
    logits = logits.float()
    loss = nn.functional.cross_entropy(logits, labels, reduction="sum")
    ranked = logits.topk(min(5, logits.shape[1]), dim=1).indices == labels[:, None]
    parts = (loss.double(), ranked[:, 0].sum().double(), ranked.sum().double())
    return torch.stack((*parts, torch.tensor(len(labels), dtype=torch.float64, device=loss.device)))


def _current_placement(model: nn.Module) -> Placement:
    device = next((weight.device for weight in model.parameters()), torch.device("cpu"))
    return Placement(device, None, torch.contiguous_format)
