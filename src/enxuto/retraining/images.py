"""Training images in memory: batches in random order, moved and mirrored at random, and mixed.

The original answers every image as it is changed here. Mixed images (a weighted mean of two) make a sure network say
more than one class, and so more about itself (Beyer et al. 2022, "Knowledge distillation: a good teacher is patient and
consistent", arXiv:2106.05237). Labels that are learned from are mixed likewise (Zhang et al. 2018, "mixup: Beyond
empirical risk minimization", arXiv:1710.09412).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from enxuto.retraining.labels import Labels

__all__ = ["Batch", "TrainingImages"]


@dataclass(frozen=True)
class Batch:
    """images (B, …), and the shares (B, C) of classes that their labels are of; None where none are learned from."""

    images: Tensor
    targets: Tensor | None = None


@dataclass
class TrainingImages:
    """images: (N, …) as the model takes them. pictures: whether axes 2 and 3 are height and width.

    mix: the share of batches whose images are mixed. labels: of the images, where they are learned from.
    """

    images: np.ndarray
    batch: int
    seed: int
    pictures: bool
    mix: float = 0.0
    labels: Labels | None = None

    @property
    def steps_per_epoch(self) -> float:
        """Batches in which every image comes once on average."""
        return len(self.images) / self.batch

    def batch_at(self, step: int) -> Batch:
        """Return the batch of a step: the same for the same step and seed, whatever came before."""
        count = len(self.images)
        generator = np.random.default_rng((self.seed, step))
        first = step * self.batch
        chosen = [self._order((first + i) // count)[(first + i) % count] for i in range(self.batch)]
        images = torch.from_numpy(self.images[chosen])
        targets = None
        if self.labels is not None:
            targets = F.one_hot(torch.from_numpy(self.labels.numbers[chosen]), self.labels.classes).float()
        if self.pictures:
            images = _move(images, generator)
        if generator.random() < self.mix:
            share = torch.from_numpy(generator.random(self.batch).astype(np.float32))
            images = _mixed(images, share)
            targets = None if targets is None else _mixed(targets, share)
        # A processor's convolutions are a fifth faster on channels that lie side by side, and pass them on like that.
        images = images.contiguous(memory_format=torch.channels_last) if self.pictures else images
        return Batch(images, targets)

    def _order(self, epoch: int) -> np.ndarray:
        if getattr(self, "_epoch", None) != epoch:
            self._epoch = epoch
            self._shuffled = np.random.default_rng((self.seed, 1, epoch)).permutation(len(self.images))
        return self._shuffled


def _mixed(values: Tensor, share: Tensor) -> Tensor:
    """Return values (B, …), of each so large a share and the rest of its neighbour."""
    share = share.reshape(-1, *[1] * (values.dim() - 1))
    return share * values + (1 - share) * values.roll(1, 0)


def _move(images: Tensor, generator: np.random.Generator) -> Tensor:
    """Return images moved by up to an eighth of their size, edges repeated, and half of them mirrored."""
    height, width = images.shape[2:]
    up, left = height // 8, width // 8
    padded = F.pad(images, (left, left, up, up), mode="replicate")
    found = torch.empty_like(images)
    for i in range(len(images)):
        y, x = int(generator.integers(2 * up + 1)), int(generator.integers(2 * left + 1))
        one = padded[i, :, y : y + height, x : x + width]
        found[i] = one.flip(-1) if generator.random() < 0.5 else one
    return found
