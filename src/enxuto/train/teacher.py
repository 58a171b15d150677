"""`Teacher`: a network whose answers another one learns; labels are not looked at.

The loss of an image is T² times the divergence of the softmax of the student's scores / T from that of the teacher's,
on the same augmented image. At a high T this is half the squared distance of the scores about their mean.

Source: G. Hinton, O. Vinyals, J. Dean, Distilling the knowledge in a neural network, arXiv:1503.02531, section 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["TEMPERATURE", "Teacher"]

TEMPERATURE = 4.0


@dataclass(frozen=True)
class Teacher:
    """The network whose answers are learned. temperature: what scores are divided by."""

    network: nn.Module
    temperature: float = TEMPERATURE

    def place(self, device: torch.device) -> None:
        """Move the network to a device, in evaluation mode."""
        self.network.to(device).eval()

    def loss(self, logits: Tensor | tuple[Tensor, ...], images: Tensor) -> Tensor:
        """The loss summed over a batch; of several heads the first alone learns."""
        student = logits[0] if isinstance(logits, tuple) else logits
        with torch.no_grad():
            wanted = self.network(images)
        divergence = F.kl_div(
            F.log_softmax(student.float() / self.temperature, 1),
            F.log_softmax(wanted.float() / self.temperature, 1),
            reduction="sum",
            log_target=True,
        )
        return divergence * self.temperature**2
