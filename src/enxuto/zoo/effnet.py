"""EffNet (Freeman 2018): depthwise convolutions split in 1×3 and 3×1, with half of the pooling in between.

Pooling one axis between the two spares half the work of the second; the other axis shrinks in the 2×1
convolution that takes the place of the pointwise one. The first layer is such a block too.

Source: I. Freeman, L. Roese-Koerner, A. Kummert, "EffNet: an efficient structure for convolutional neural
networks", arXiv:1801.06434, figure 1 and the table of models. Not to be confused with EfficientNet.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial

from torch import nn

from enxuto.zoo import checks
from enxuto.zoo.blocks import FeatureClassifier, conv_norm_act, he_

__all__ = ["BUILDERS", "EffNetBlock"]

_WIDTHS = ((32, 64), (64, 128), (128, 256))


class EffNetBlock(nn.Sequential):
    """1×1 to `hidden`; depthwise 1×3; pool the columns by 2; depthwise 3×1; 2×1 of stride 2 over the rows.

    (batch, inputs, H, W) → (batch, outputs, H/2, W/2). Batch norm and activation after each convolution.
    """

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        last = OrderedDict[str, nn.Module](
            conv=nn.Conv2d(hidden, outputs, (2, 1), (2, 1), bias=False),
            norm=nn.BatchNorm2d(outputs),
            act=nn.ReLU(),
        )
        layers = OrderedDict[str, nn.Module](
            reduce=conv_norm_act(inputs, hidden, 1),
            columns=conv_norm_act(hidden, hidden, (1, 3), groups=hidden),
            pool=nn.MaxPool2d((1, 2), (1, 2)),
            rows=conv_norm_act(hidden, hidden, (3, 1), groups=hidden),
            expand=nn.Sequential(last),
        )
        super().__init__(layers)


def _effnet(classes: int, channels: int, *, name: str, width: float = 1.0) -> nn.Module:
    """Three blocks for 32×32 images, one linear layer on the 4×4 plane; `width` multiplies channels."""
    checks.positive(name, "width", width)
    layers = OrderedDict[str, nn.Module]()
    inputs = channels
    for place, (hidden, outputs) in enumerate(_WIDTHS, start=1):
        wide = max(1, round(outputs * width))
        layers[f"block{place}"] = EffNetBlock(inputs, max(1, round(hidden * width)), wide)
        inputs = wide
    head = OrderedDict[str, nn.Module](flatten=nn.Flatten(), fc=nn.Linear(inputs * 4 * 4, classes))
    network = FeatureClassifier(nn.Sequential(layers), nn.Sequential(head))
    he_(network)
    return network


BUILDERS: Mapping[str, Callable[..., nn.Module]] = {"effnet": partial(_effnet, name="effnet")}
