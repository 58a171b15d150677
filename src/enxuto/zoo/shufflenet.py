"""ShuffleNet v1 (Zhang 2017) for groups 1, 2, 3, 4, 8 and any width, and its form for 32×32 images.

Grouped 1×1 convolutions save most of the cost of a bottleneck; a shuffle of the channels between them lets
the groups learn from each other.

Source: X. Zhang et al., "ShuffleNet: an extremely efficient convolutional neural network for mobile devices",
arXiv:1707.01083, table 1 and figure 2. Not here: v2.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from enxuto.errors import UsageError
from enxuto.zoo import checks
from enxuto.zoo.blocks import FeatureClassifier, conv_norm_act, he_, pooled_linear

__all__ = ["BUILDERS", "ChannelShuffle", "ShuffleDown", "ShuffleUnit"]

# Table 1: output channels of stage 2 by the number of groups; stages 3 and 4 double them.
_WIDTHS = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}
_REPEATS = (4, 8, 4)
_STEM = 24


class ChannelShuffle(nn.Module):
    """Channel i·n + j goes to place j·groups + i, for n channels per group: each group gets some of every
    other.
    """

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """(batch, groups·n, H, W) → the same shape: split the channel axis in (groups, n), swap, join."""
        groups: Tensor = torch.unflatten(x, 1, (self.groups, -1))
        return groups.transpose(1, 2).flatten(1, 2)

    def extra_repr(self) -> str:
        """What `print(network)` shows."""
        return f"groups={self.groups}"


class ShuffleUnit(nn.Module):
    """Figure 2b: ReLU(x + body(x)), with the body of `_body` and stride 1."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return the shape of x."""
        y: Tensor = self.act(x + self.body(x))
        return y


class ShuffleDown(nn.Module):
    """Figure 2c: ReLU of body(x) beside the 3×3 average pool of x, both of stride 2."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.pool = nn.AvgPool2d(3, 2, 1)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(batch, C, H, W) → (batch, body's channels + C, H/2, W/2)."""
        y: Tensor = self.act(torch.cat((self.body(x), self.pool(x)), dim=1))
        return y


def _body(
    inputs: int, hidden: int, outputs: int, *, stride: int, groups: int, first_groups: int
) -> nn.Sequential:
    """Grouped 1×1 with norm and ReLU, shuffle, depthwise 3×3 with norm, grouped 1×1 with norm."""
    layers = OrderedDict[str, nn.Module](
        reduce=conv_norm_act(inputs, hidden, 1, groups=first_groups),
        shuffle=ChannelShuffle(groups),
        depthwise=conv_norm_act(hidden, hidden, 3, stride=stride, groups=hidden, activation=None),
        expand=conv_norm_act(hidden, outputs, 1, groups=groups, activation=None),
    )
    return nn.Sequential(layers)


def _stages(inputs: int, groups: int, width: float) -> tuple[OrderedDict[str, nn.Module], int]:
    """Stages 2 to 4; the bottleneck is a quarter of a unit's output. And how many channels come out."""
    stages = OrderedDict[str, nn.Module]()
    for stage, repeats in enumerate(_REPEATS, start=2):
        outputs = _divisible_channels(_WIDTHS[groups] * width, groups) * 2 ** (stage - 2)
        hidden = _divisible_channels(outputs / 4, groups)
        # Stage 2 begins with too few channels to group its first 1×1 convolution (section 3.2).
        first = 1 if stage == 2 else groups
        units: list[nn.Module] = [
            ShuffleDown(_body(inputs, hidden, outputs - inputs, stride=2, groups=groups, first_groups=first))
        ]
        for _ in range(repeats - 1):
            body = _body(outputs, hidden, outputs, stride=1, groups=groups, first_groups=groups)
            units.append(ShuffleUnit(body))
        stages[f"stage{stage}"] = nn.Sequential(*units)
        inputs = outputs
    return stages, inputs


def _divisible_channels(channels: float, groups: int) -> int:
    """The multiple of `groups` nearest to `channels`, at least one per group; table 1 needs no rounding."""
    return max(1, int(channels / groups + 0.5)) * groups


def _shufflenet(
    classes: int, channels: int, *, name: str, small: bool, groups: int = 3, width: float = 1.0
) -> nn.Module:
    """Table 1; `width` is the paper's s (0.5×, 0.25×) and scales every channel number, the stem's too.

    The form for 32×32 images (`small`) has a stem of stride 1 and no max pool: planes of 32, 16, 8, 4.
    """
    checks.one_of(name, "groups", groups, tuple(_WIDTHS))
    stem = _divisible_channels(_STEM * checks.positive(name, "width", width), groups)
    if _divisible_channels(_WIDTHS[groups] * width, groups) <= stem:
        raise UsageError(f"{name}: width {width} leaves stage 2 no channels to add; take a larger one")
    stages, outputs = _stages(stem, groups, width)
    layers = OrderedDict[str, nn.Module](conv1=conv_norm_act(channels, stem, 3, stride=1 if small else 2))
    if not small:
        layers["pool1"] = nn.MaxPool2d(3, 2, 1)
    layers.update(stages)
    network = FeatureClassifier(nn.Sequential(layers), pooled_linear(outputs, classes))
    he_(network)
    return network


BUILDERS: Mapping[str, Callable[..., nn.Module]] = {
    "shufflenet": partial(_shufflenet, name="shufflenet", small=False),
    "shufflenet-cifar": partial(_shufflenet, name="shufflenet-cifar", small=True),
}
