"""MobileNet v1 (Howard 2017) and v2 (Sandler 2018), with width and resolution multipliers, and their 32×32
forms.

v1 replaces each 3×3 convolution by a depthwise 3×3 and a pointwise 1×1 convolution: M·Dk² + M·N weights
instead of Dk²·M·N. v2 puts the depthwise convolution between an expansion and a linear projection, with a way
around it.

Source: A. Howard et al., arXiv:1704.04861, table 1; M. Sandler et al., arXiv:1801.04381, table 2;
C. O. de Souza 2020, section 4.3.2 (v1 for CIFAR). Not here: v3.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
from math import ceil

from torch import Tensor, nn

from enxuto.zoo import checks
from enxuto.zoo.blocks import FeatureClassifier, conv_norm_act, he_, pooled_linear, scale_channels

__all__ = ["BUILDERS", "DepthwiseSeparable", "InvertedResidual"]

# v1: (output channels, stride) of the thirteen separable blocks.
_V1 = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
# v2: (expansion t, channels c, repeats n, first stride s) of the seven stages.
_V2 = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_SIDE = 224


class DepthwiseSeparable(nn.Sequential):
    """Depthwise 3×3 and pointwise 1×1 convolution, each with batch norm and ReLU (v1, figure 3)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        depthwise = conv_norm_act(inputs, inputs, 3, stride=stride, groups=inputs)
        pointwise = conv_norm_act(inputs, outputs, 1)
        super().__init__(OrderedDict[str, nn.Module](depthwise=depthwise, pointwise=pointwise))


class InvertedResidual(nn.Module):
    """Expand 1×1, depthwise k×k, project 1×1 without activation; plus the input where the shape stays (v2,
    table 1).

    Activations are ReLU6. With `expansion` 1 there is no expanding convolution. Shared with
    EfficientNet-Lite.
    """

    def __init__(self, inputs: int, outputs: int, *, expansion: int, stride: int, kernel: int = 3) -> None:
        super().__init__()
        hidden = inputs * expansion
        layers = OrderedDict[str, nn.Module]()
        if expansion != 1:
            layers["expand"] = conv_norm_act(inputs, hidden, 1, activation=nn.ReLU6)
        layers["depthwise"] = conv_norm_act(
            hidden, hidden, kernel, stride=stride, groups=hidden, activation=nn.ReLU6
        )
        layers["project"] = conv_norm_act(hidden, outputs, 1, activation=None)
        self.body = nn.Sequential(layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, outputs, H/stride, W/stride)."""
        y: Tensor = self.body(x)
        return x + y if self.residual else y


def _v1(classes: int, channels: int, *, name: str, width: float = 1.0, resolution: float = 1.0) -> nn.Module:
    """Table 1 of Howard 2017; `width` is α (channels), `resolution` ρ (image side 224·ρ, which sizes the
    pool).
    """
    checks.positive(name, "width", width)
    features = _v1_features(channels, width, stem_stride=2)
    pool = nn.AvgPool2d(_last_plane(name, resolution))
    return _build_network(features, pooled_linear(_width_v1(1024, width), classes, pool=pool))


def _v1_cifar(classes: int, channels: int, *, name: str, width: float = 1.0) -> nn.Module:
    """32×32 images: the stem has stride 1, the last plane is 2×2."""
    checks.positive(name, "width", width)
    features = _v1_features(channels, width, stem_stride=1)
    return _build_network(features, pooled_linear(_width_v1(1024, width), classes, pool=nn.AvgPool2d(2)))


def _v1_features(channels: int, width: float, *, stem_stride: int) -> nn.Sequential:
    """Standard 3×3 convolution and the thirteen separable blocks."""
    inputs = _width_v1(32, width)
    layers = OrderedDict[str, nn.Module](conv1=conv_norm_act(channels, inputs, 3, stride=stem_stride))
    for place, (base, stride) in enumerate(_V1, start=1):
        outputs = _width_v1(base, width)
        layers[f"block{place}"] = DepthwiseSeparable(inputs, outputs, stride)
        inputs = outputs
    return nn.Sequential(layers)


def _width_v1(channels: int, width: float) -> int:
    """Channels times α, at least 8, as the authors' code has it."""
    return max(8, int(channels * width))


def _v2(
    classes: int,
    channels: int,
    *,
    name: str,
    width: float = 1.0,
    resolution: float = 1.0,
    dropout: float = 0.2,
) -> nn.Module:
    """Table 2 of Sandler 2018; `width` scales all channels but never narrows the last convolution."""
    checks.positive(name, "width", width)
    checks.fraction(name, "dropout", dropout)
    features, outputs = _v2_features(channels, width, stem_stride=2, second_stride=2)
    pool = nn.AvgPool2d(_last_plane(name, resolution))
    return _build_network(features, pooled_linear(outputs, classes, pool=pool, dropout=dropout))


def _v2_cifar(
    classes: int, channels: int, *, name: str, width: float = 1.0, dropout: float = 0.0
) -> nn.Module:
    """32×32 images: stride 1 in the stem and in the second stage, so the last plane is 4×4."""
    checks.positive(name, "width", width)
    checks.fraction(name, "dropout", dropout)
    features, outputs = _v2_features(channels, width, stem_stride=1, second_stride=1)
    return _build_network(features, pooled_linear(outputs, classes, pool=nn.AvgPool2d(4), dropout=dropout))


def _v2_features(
    channels: int, width: float, *, stem_stride: int, second_stride: int
) -> tuple[nn.Sequential, int]:
    """Stem, seven stages of inverted residuals, last 1×1 convolution; and how many channels come out."""
    inputs = scale_channels(32 * width)
    layers = OrderedDict[str, nn.Module](
        conv1=conv_norm_act(channels, inputs, 3, stride=stem_stride, activation=nn.ReLU6)
    )
    for stage, (expansion, base, repeats, first) in enumerate(_V2, start=1):
        outputs = scale_channels(base * width)
        stride = second_stride if stage == 2 else first
        for place in range(1, repeats + 1):
            layers[f"block{stage}_{place}"] = InvertedResidual(
                inputs, outputs, expansion=expansion, stride=stride if place == 1 else 1
            )
            inputs = outputs
    last = scale_channels(1280 * max(1.0, width))
    layers["conv_last"] = conv_norm_act(inputs, last, 1, activation=nn.ReLU6)
    return nn.Sequential(layers), last


def _last_plane(name: str, resolution: float) -> int:
    """Side of the plane before the average pool: five halvings, rounded up, of 224·ρ."""
    side = round(_SIDE * checks.positive(name, "resolution", resolution))
    return max(1, ceil(side / 32))


def _build_network(features: nn.Module, classifier: nn.Module) -> nn.Module:
    network = FeatureClassifier(features, classifier)
    he_(network)
    return network


BUILDERS: Mapping[str, Callable[..., nn.Module]] = {
    "mobilenet": partial(_v1, name="mobilenet"),
    "mobilenet-v2": partial(_v2, name="mobilenet-v2"),
    "mobilenet-cifar": partial(_v1_cifar, name="mobilenet-cifar"),
    "mobilenet-v2-cifar": partial(_v2_cifar, name="mobilenet-v2-cifar"),
}
