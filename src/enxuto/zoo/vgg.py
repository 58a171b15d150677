"""VGG 11, 13, 16 and 19 (Simonyan and Zisserman 2014), plain and with batch norm, and the forms for 32×32
images.

Source: K. Simonyan, A. Zisserman, "Very deep convolutional networks for large-scale image recognition",
arXiv:1409.1556, table 1, columns A, B, D, E. The CIFAR forms keep the convolutions, add batch norm and have a
single linear layer (Souza 2020, section 4.3.4; the lottery-ticket VGG-16). The slim form of width 1/8 is ours: VGG-16's
shape at the cost of a small network, for studies on a CPU.
Not here: A-LRN and column C with its 1×1 convolutions.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from torch import nn

from enxuto.zoo import checks
from enxuto.zoo.blocks import FeatureClassifier, conv_act, conv_norm_act, fully_connected, glorot_, he_

__all__ = ["BUILDERS"]

# 3×3 convolutions in each of the five stages, by depth; the stages' widths are the same for all.
_STAGES = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
_WIDTHS = (64, 128, 256, 512, 512)
_SLIM = 1 / 8


def _features(
    channels: int,
    depth: int,
    convolution: Callable[[int, int, int], nn.Module],
    widths: Sequence[int] = _WIDTHS,
) -> nn.Sequential:
    """Five stages conv1_1 … conv5_4, each closed by a 2×2 max pool of stride 2."""
    layers = OrderedDict[str, nn.Module]()
    for stage, (count, width) in enumerate(zip(_STAGES[depth], widths, strict=True), start=1):
        for place in range(1, count + 1):
            layers[f"conv{stage}_{place}"] = convolution(channels, width, 3)
            channels = width
        layers[f"pool{stage}"] = nn.MaxPool2d(2, 2)
    return nn.Sequential(layers)


def _imagenet(
    classes: int, channels: int, *, name: str, depth: int, norm: bool, dropout: float = 0.5
) -> nn.Module:
    """Three fully connected layers on a 7×7 plane: images of 224×224."""
    checks.fraction(name, "dropout", dropout)
    convolution = partial(conv_norm_act, bias=True) if norm else conv_act
    head = fully_connected(512 * 7 * 7, (4096, 4096), classes, dropout)
    network = FeatureClassifier(_features(channels, depth, convolution), head)
    if norm:
        he_(network)
    else:
        # The paper trained column A first; its note to section 3.1 says Glorot's way makes that unnecessary.
        glorot_(network)
    return network


def _cifar(
    classes: int, channels: int, *, name: str, depth: int, width: float = 1.0, conv_bias: bool = True
) -> nn.Module:
    """Images of 32×32 leave a 1×1 plane of 512 channels for one linear layer. `width` multiplies the channels of
    all convolutions; `conv_bias` False drops the biases that batch norm makes idle.
    """
    checks.positive(name, "width", width)
    checks.flag(name, "conv_bias", conv_bias)
    widths = [max(1, round(base * width)) for base in _WIDTHS]
    features = _features(channels, depth, partial(conv_norm_act, bias=conv_bias), widths)
    head = OrderedDict[str, nn.Module](flatten=nn.Flatten(), fc=nn.Linear(widths[-1], classes))
    network = FeatureClassifier(features, nn.Sequential(head))
    he_(network)
    return network


def _builders() -> dict[str, Callable[..., nn.Module]]:
    """All names: vgg11 … vgg19, each with -bn, and the CIFAR forms."""
    found: dict[str, Callable[..., nn.Module]] = {}
    for depth in _STAGES:
        for suffix, norm in (("", False), ("-bn", True)):
            name = f"vgg{depth}{suffix}"
            found[name] = partial(_imagenet, name=name, depth=depth, norm=norm)
    for depth in (16, 19):
        found[f"vgg{depth}-cifar"] = partial(_cifar, name=f"vgg{depth}-cifar", depth=depth)
    found["vgg16-slim-cifar"] = partial(_cifar, name="vgg16-slim-cifar", depth=16, width=_SLIM)
    return found


BUILDERS: Mapping[str, Callable[..., nn.Module]] = _builders()
