"""How far the network in training is from the original, as a loss with gradients: `metrics.losses`, for PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from enxuto.metrics.losses import OutputLoss

__all__ = ["cross_entropy_of", "divergence_from", "with_labels"]


def divergence_from(
    reference: Sequence[Tensor], found: Sequence[Tensor], losses: Sequence[OutputLoss]
) -> Tensor:
    """Return the mean loss over a batch, in nats (values: in units of the output's variance), weighted over outputs.

    Args:
        reference: the original's measured outputs (N, …).
        found: those of the network in training.
        losses: how each is measured.
    """
    total = torch.zeros(())
    for loss, one, other in zip(losses, reference, found, strict=True):
        total = total + loss.weight * _one_loss(loss, one, other)
    return total / sum(loss.weight for loss in losses)


def cross_entropy_of(targets: Tensor, found: Sequence[Tensor], losses: Sequence[OutputLoss]) -> Tensor:
    """Return the mean cross-entropy of the first output of classes, in nats, from shares of classes (N, C)."""
    place = _place_of_classes(losses)
    rows = replace(losses[place], axis=None)  # one list a sample, whatever axes it has
    return -torch.mean(torch.sum(targets * _log_probabilities(rows, found[place]), 1))


def with_labels(
    loss: Tensor,
    targets: Tensor,
    reference: Sequence[Tensor],
    found: Sequence[Tensor],
    losses: Sequence[OutputLoss],
    share: float,
) -> Tensor:
    """Return a loss of all outputs in which labels take so large a share of what the output of classes counts."""
    place = _place_of_classes(losses)
    own = divergence_from(reference[place : place + 1], found[place : place + 1], losses[place : place + 1])
    weight = losses[place].weight / sum(one.weight for one in losses)
    return loss + share * weight * (cross_entropy_of(targets, found, losses) - own)


def _place_of_classes(losses: Sequence[OutputLoss]) -> int:
    return next(number for number, one in enumerate(losses) if one.kind == "classes")


def _log_probabilities(loss: OutputLoss, scores: Tensor) -> Tensor:
    """Return the logarithms of the probabilities that scores of classes give."""
    scores = scores.flatten(1) if loss.axis is None else scores
    if loss.scores_are == "probabilities":
        scores = torch.log(scores.clamp_min(1e-12))
    return F.log_softmax(-scores if loss.least else scores, 1 if loss.axis is None else loss.axis)


def _one_loss(loss: OutputLoss, reference: Tensor, found: Tensor) -> Tensor:
    if loss.kind == "values":
        return F.mse_loss(found, reference) / loss.scale
    if loss.kind == "binary":
        if loss.scores_are == "probabilities":
            reference, found = (torch.logit(value, eps=1e-6) for value in (reference, found))
        p = torch.sigmoid(reference)
        return F.binary_cross_entropy_with_logits(found, p) - F.binary_cross_entropy_with_logits(reference, p)
    log_p, log_q = _log_probabilities(loss, reference), _log_probabilities(loss, found)
    axis = 1 if loss.axis is None else loss.axis
    return torch.mean(torch.sum(log_p.exp() * (log_p - log_q), axis))
