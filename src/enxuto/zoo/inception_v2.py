"""BN-Inception, the Inception v2 of the batch-norm paper (Ioffe and Szegedy 2015).

Against GoogLeNet the 5×5 filters become two 3×3, there are more 3×3 filters and average pools, batch norm
replaces local response norm, and the planes shrink inside two modules of stride 2.

Source: S. Ioffe, C. Szegedy, "Batch normalization: accelerating deep network training by reducing internal
covariate shift", arXiv:1502.03167, figure 5; widths also in the ONNX package's light_inception_v2. Not here:
auxiliary heads, and the separable first convolution that the paper mentions.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from enxuto.zoo.blocks import FeatureClassifier, conv_norm_act, he_, pooled_linear

__all__ = ["BUILDERS", "InceptionV2"]

# Figure 5: 1×1, 3×3 reduce, 3×3, double 3×3 reduce, double 3×3, pool, projection; 0 means absent. The
# projections of 4c and 4d are the 96 that the figure's output sizes (576, 576, 1024) need; it prints 128.
_MODULES: Mapping[str, tuple[int, int, int, int, int, str, int]] = {
    "3a": (64, 64, 64, 64, 96, "average", 32),
    "3b": (64, 64, 96, 64, 96, "average", 64),
    "3c": (0, 128, 160, 64, 96, "max", 0),
    "4a": (224, 64, 96, 96, 128, "average", 128),
    "4b": (192, 96, 128, 96, 128, "average", 128),
    "4c": (160, 128, 160, 128, 160, "average", 96),
    "4d": (96, 128, 192, 160, 192, "average", 96),
    "4e": (0, 128, 192, 192, 256, "max", 0),
    "5a": (352, 192, 320, 160, 224, "average", 128),
    "5b": (352, 192, 320, 192, 224, "max", 128),
}


class InceptionV2(nn.Module):
    """One row of figure 5. Without a 1×1 branch the module halves the plane: stride 2 in each branch.

    (batch, inputs, H, W) → (batch, outputs, H, W) or, halving, (batch, outputs, H/2, W/2).
    """

    def __init__(self, inputs: int, row: tuple[int, int, int, int, int, str, int]) -> None:
        super().__init__()
        one, three_reduce, three, double_reduce, double, pool, projection = row
        stride = 1 if one else 2
        branches = OrderedDict[str, nn.Module]()
        if one:
            branches["conv1x1"] = conv_norm_act(inputs, one, 1)
        branches["conv3x3"] = nn.Sequential(
            conv_norm_act(inputs, three_reduce, 1), conv_norm_act(three_reduce, three, 3, stride=stride)
        )
        branches["double3x3"] = nn.Sequential(
            conv_norm_act(inputs, double_reduce, 1),
            conv_norm_act(double_reduce, double, 3),
            conv_norm_act(double, double, 3, stride=stride),
        )
        pooled = [_pool(pool, stride)]
        if projection:
            pooled.append(conv_norm_act(inputs, projection, 1))
        branches["pool"] = nn.Sequential(*pooled)
        self.branches = nn.ModuleDict(branches)

    def forward(self, x: Tensor) -> Tensor:
        """Return the branches concatenated."""
        return torch.cat([branch(x) for branch in self.branches.values()], dim=1)


def _outputs(inputs: int, row: tuple[int, int, int, int, int, str, int]) -> int:
    """Channels that a module returns; a pool without projection keeps all of its input's."""
    one, _, three, _, double, _, projection = row
    return one + three + double + (projection or inputs)


def _pool(kind: str, stride: int) -> nn.Module:
    """3×3 pool that keeps the plane, or halves it with Caffe's rounding up."""
    if stride == 2:
        return nn.MaxPool2d(3, 2, ceil_mode=True)
    return nn.AvgPool2d(3, 1, 1) if kind == "average" else nn.MaxPool2d(3, 1, 1)


def _inception_v2(classes: int, channels: int) -> nn.Module:
    """Images of 224×224; planes 112, 56, 28, 14, 7."""
    layers = OrderedDict[str, nn.Module](
        conv1=conv_norm_act(channels, 64, 7, stride=2),
        pool1=nn.MaxPool2d(3, 2, ceil_mode=True),
        conv2_reduce=conv_norm_act(64, 64, 1),
        conv2=conv_norm_act(64, 192, 3),
        pool2=nn.MaxPool2d(3, 2, ceil_mode=True),
    )
    inputs = 192
    for name, row in _MODULES.items():
        layers[f"inception{name}"] = InceptionV2(inputs, row)
        inputs = _outputs(inputs, row)
    network = FeatureClassifier(nn.Sequential(layers), pooled_linear(inputs, classes, pool=nn.AvgPool2d(7)))
    he_(network)
    return network


BUILDERS: Mapping[str, Callable[..., nn.Module]] = {"inception-v2": _inception_v2}
