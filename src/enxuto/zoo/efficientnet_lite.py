"""EfficientNet-Lite 0 to 4: EfficientNet (Tan and Le 2019) without squeeze-and-excitation, with ReLU6.

Width and depth grow with the number, stem (32) and head (1280) stay, and so do the depths of the first and
last stage.

Source: M. Tan, Q. Le, arXiv:1905.11946, table 1; the authors' tpu/models/official/efficientnet/lite (2020).
Padding is symmetric; TensorFlow's "same" shifts the planes by up to one pixel, which changes no shape or
count.
Not here: stochastic depth in training.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
from math import ceil, sqrt

from torch import nn

from enxuto.zoo import checks
from enxuto.zoo.blocks import FeatureClassifier, conv_norm_act, pooled_linear, scale_channels
from enxuto.zoo.mobilenet import InvertedResidual

__all__ = ["BUILDERS"]

# Expansion, kernel, first stride, channels, repeats of the seven stages (EfficientNet-B0).
_STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
# Width, depth, dropout of Lite 0 … 4.
_SCALES = ((1.0, 1.0, 0.2), (1.0, 1.1, 0.2), (1.1, 1.2, 0.3), (1.2, 1.4, 0.3), (1.4, 1.8, 0.3))


def _lite(classes: int, channels: int, *, name: str, number: int, dropout: float | None = None) -> nn.Module:
    """Stem, seven stages of inverted residuals, 1×1 head, average, dropout (the paper's unless given),
    linear.
    """
    width, depth, default = _SCALES[number]
    inputs = 32
    layers = OrderedDict[str, nn.Module](
        conv1=conv_norm_act(channels, inputs, 3, stride=2, activation=nn.ReLU6)
    )
    for stage, (expansion, kernel, first, base, repeats) in enumerate(_STAGES, start=1):
        outputs = scale_channels(base * width)
        count = repeats if stage in {1, len(_STAGES)} else ceil(repeats * depth)
        for place in range(1, count + 1):
            layers[f"block{stage}_{place}"] = InvertedResidual(
                inputs, outputs, expansion=expansion, stride=first if place == 1 else 1, kernel=kernel
            )
            inputs = outputs
    layers["conv_last"] = conv_norm_act(inputs, 1280, 1, activation=nn.ReLU6)
    rate = default if dropout is None else checks.fraction(name, "dropout", dropout)
    network = FeatureClassifier(nn.Sequential(layers), pooled_linear(1280, classes, dropout=rate))
    _initialise(network)
    return network


def _initialise(network: nn.Module) -> None:
    """The authors' code: convolutions N(0, 2/fan_out), linear uniform in ±1/sqrt(outputs), biases 0."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            fan_out = layer.kernel_size[0] * layer.kernel_size[1] * layer.out_channels // layer.groups
            nn.init.normal_(layer.weight, std=sqrt(2 / fan_out))
        elif isinstance(layer, nn.Linear):
            bound = 1 / sqrt(layer.out_features)
            nn.init.uniform_(layer.weight, -bound, bound)
            nn.init.zeros_(layer.bias)


BUILDERS: Mapping[str, Callable[..., nn.Module]] = {
    f"efficientnet-lite{number}": partial(_lite, name=f"efficientnet-lite{number}", number=number)
    for number in range(len(_SCALES))
}
