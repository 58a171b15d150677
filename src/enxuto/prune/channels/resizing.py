"""Modules without parameters whose own sizes must change when channels go: what of them removal can adapt.

The padding shortcut of ResNet (option A) holds numbers of zero channels. A channel shuffle holds its groups; once the
groups have lost different channels it becomes a `ChannelOrder`, which keeps the original order of those that are left.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from enxuto.zoo.shufflenet import ChannelShuffle

__all__ = ["SHUFFLES", "ChannelOrder", "shuffle_order"]


class ChannelOrder(nn.Module):
    """Channel `order[q]` goes to position q: (batch, C, …) → (batch, len(order), …)."""

    order: Tensor

    def __init__(self, order: Sequence[int]) -> None:
        super().__init__()
        # Not in the state dict: the plan of the removal says it.
        self.register_buffer("order", torch.tensor(order, dtype=torch.int64), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the channels in their new order."""
        return torch.index_select(x, 1, self.order)

    def extra_repr(self) -> str:
        """What `print(network)` shows."""
        return f"{self.order.numel()} channels"


SHUFFLES = (ChannelShuffle, nn.ChannelShuffle, ChannelOrder)
"""Modules that only put channels in another order."""


def shuffle_order(shuffle: nn.Module, channels: int) -> tuple[int, ...]:
    """For each position behind a shuffle of `channels` channels, the position before it."""
    device = next((buffer.device for buffer in shuffle.buffers()), torch.device("cpu"))
    positions = torch.arange(channels, dtype=torch.float64, device=device).view(1, channels, 1, 1)
    with torch.no_grad():
        moved: Tensor = shuffle(positions)
    return tuple(int(position) for position in moved.flatten().tolist())
