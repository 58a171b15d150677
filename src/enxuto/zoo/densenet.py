"""DenseNet-121 (Huang 2016), and its forms for 32×32 images with growth 32 and 12.

Each layer takes all earlier maps of its block and adds `growth` new ones; between blocks a 1×1 convolution
halves the channels and an average pool the plane.

Source: G. Huang et al., "Densely connected convolutional networks", arXiv:1608.06993, table 1 (DenseNet-BC,
compression 0.5). The CIFAR forms keep the four blocks of DenseNet-121; the paper's own CIFAR networks have
three blocks.
Not here: the memory-saving recomputation.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from enxuto.zoo.blocks import FeatureClassifier, he_, pooled_linear

__all__ = ["BUILDERS", "DenseLayer"]

_LAYERS = (6, 12, 24, 16)


class DenseLayer(nn.Module):
    """norm–ReLU–1×1 to 4·growth, norm–ReLU–3×3 to growth, appended: (batch, C, H, W) → (batch, C + growth, H,
    W).
    """

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        body = OrderedDict[str, nn.Module](
            norm1=nn.BatchNorm2d(inputs),
            act1=nn.ReLU(),
            conv1=nn.Conv2d(inputs, 4 * growth, 1, bias=False),
            norm2=nn.BatchNorm2d(4 * growth),
            act2=nn.ReLU(),
            conv2=nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False),
        )
        self.body = nn.Sequential(body)

    def forward(self, x: Tensor) -> Tensor:
        """Return the input followed by the new maps."""
        return torch.cat((x, self.body(x)), dim=1)


def _transition(inputs: int, outputs: int) -> nn.Sequential:
    """norm–ReLU–1×1, then a 2×2 average pool."""
    layers = OrderedDict[str, nn.Module](
        norm=nn.BatchNorm2d(inputs),
        act=nn.ReLU(),
        conv=nn.Conv2d(inputs, outputs, 1, bias=False),
        pool=nn.AvgPool2d(2, 2),
    )
    return nn.Sequential(layers)


def _blocks(growth: int) -> tuple[OrderedDict[str, nn.Module], int]:
    """Four dense blocks with transitions between, then norm and ReLU, on 2·growth channels; and what comes
    out.
    """
    layers = OrderedDict[str, nn.Module]()
    width = 2 * growth
    for block, count in enumerate(_LAYERS, start=1):
        layers[f"block{block}"] = nn.Sequential(
            *(DenseLayer(width + n * growth, growth) for n in range(count))
        )
        width += count * growth
        if block < len(_LAYERS):
            layers[f"transition{block}"] = _transition(width, width // 2)
            width //= 2
    layers["norm"] = nn.BatchNorm2d(width)
    layers["act"] = nn.ReLU()
    return layers, width


def _imagenet(classes: int, channels: int) -> nn.Module:
    """Images of 224×224: 7×7 stem of stride 2 with norm and ReLU, max pool, growth 32."""
    blocks, outputs = _blocks(32)
    stem = OrderedDict[str, nn.Module](
        conv0=nn.Conv2d(channels, 64, 7, 2, 3, bias=False),
        norm0=nn.BatchNorm2d(64),
        act0=nn.ReLU(),
        pool0=nn.MaxPool2d(3, 2, 1),
    )
    return _add_classifier(stem | blocks, outputs, classes)


def _cifar(classes: int, channels: int, *, growth: int) -> nn.Module:
    """Images of 32×32: a bare 3×3 convolution to 2·growth channels as stem; planes of 32, 16, 8, 4."""
    blocks, outputs = _blocks(growth)
    stem = OrderedDict[str, nn.Module](conv0=nn.Conv2d(channels, 2 * growth, 3, padding=1, bias=False))
    return _add_classifier(stem | blocks, outputs, classes)


def _add_classifier(layers: OrderedDict[str, nn.Module], outputs: int, classes: int) -> nn.Module:
    network = FeatureClassifier(nn.Sequential(layers), pooled_linear(outputs, classes))
    he_(network)
    return network


BUILDERS: Mapping[str, Callable[..., nn.Module]] = {
    "densenet121": _imagenet,
    "densenet121-cifar": partial(_cifar, growth=32),
    "densenet121-k12-cifar": partial(_cifar, growth=12),
}
