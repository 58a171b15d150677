"""GoogLeNet, or Inception v1 (Szegedy 2014), plain and with batch norm, and its form for 32×32 images.

An Inception module looks at its input through 1×1, 3×3 and 5×5 filters and a pool at once and concatenates
what they see; 1×1 convolutions before the costly filters and after the pool keep the channels few.

Source: C. Szegedy et al., "Going deeper with convolutions", arXiv:1409.4842, table 1 and section 5.
BN-Inception (v2) is in `inception_v2`. Not here: v3, v4.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from enxuto.zoo import checks
from enxuto.zoo.alexnet import caffe_norm
from enxuto.zoo.blocks import conv_act, conv_norm_act, he_, lecun_, pooled_linear

__all__ = ["BUILDERS", "AuxiliaryHead", "GoogLeNet", "GoogLeNetOutput", "Inception", "NaiveInception"]

# Table 1: 1×1, 3×3 reduce, 3×3, 5×5 reduce, 5×5, pool projection.
_MODULES: Mapping[str, tuple[int, int, int, int, int, int]] = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
_Convolution = Callable[..., nn.Module]


class GoogLeNetOutput(NamedTuple):
    """Three tensors (batch, classes) of a network with auxiliary heads in training; the paper's loss is
    `logits + 0.3·(auxiliary1 + auxiliary2)`, each as a cross-entropy.
    """

    logits: Tensor
    auxiliary1: Tensor
    auxiliary2: Tensor


class NaiveInception(nn.Module):
    """Figure 2a: 1×1, 3×3 and 5×5 filters and a 3×3 max pool of stride 1, straight on the input.

    (batch, inputs, H, W) → (batch, one + three + five + inputs, H, W): the pool keeps all its channels, so
    depth can only grow.
    """

    def __init__(self, inputs: int, one: int, three: int, five: int) -> None:
        super().__init__()
        self.one = conv_act(inputs, one, 1)
        self.three = conv_act(inputs, three, 3)
        self.five = conv_act(inputs, five, 5)
        self.pool = nn.MaxPool2d(3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the four branches concatenated."""
        return torch.cat((self.one(x), self.three(x), self.five(x), self.pool(x)), dim=1)


class Inception(nn.Module):
    """Figure 2b: the same with 1×1 reductions before 3×3 and 5×5 and a 1×1 projection after the pool.

    `widths` is a row of table 1: 1×1, 3×3 reduce, 3×3, 5×5 reduce, 5×5, pool projection. `convolution` makes
    a convolution with its activation, with or without batch norm.
    """

    def __init__(
        self, inputs: int, widths: tuple[int, int, int, int, int, int], convolution: _Convolution = conv_act
    ) -> None:
        super().__init__()
        one, three_reduce, three, five_reduce, five, projection = widths
        self.one = convolution(inputs, one, 1)
        self.three = nn.Sequential(
            OrderedDict(reduce=convolution(inputs, three_reduce, 1), conv=convolution(three_reduce, three, 3))
        )
        self.five = nn.Sequential(
            OrderedDict(reduce=convolution(inputs, five_reduce, 1), conv=convolution(five_reduce, five, 5))
        )
        self.pool = nn.Sequential(
            OrderedDict(pool=nn.MaxPool2d(3, 1, 1), project=convolution(inputs, projection, 1))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the four branches concatenated: one + three + five + projection channels."""
        return torch.cat((self.one(x), self.three(x), self.five(x), self.pool(x)), dim=1)


class AuxiliaryHead(nn.Sequential):
    """Section 5: 5×5 average pool of stride 3 (14×14 → 4×4), 1×1 to 128, 1024 units, dropout 0.7."""

    def __init__(self, inputs: int, classes: int, convolution: _Convolution) -> None:
        layers = OrderedDict[str, nn.Module](
            pool=nn.AvgPool2d(5, 3),
            conv=convolution(inputs, 128, 1),
            flatten=nn.Flatten(),
            fc1=nn.Linear(128 * 4 * 4, 1024),
            act=nn.ReLU(),
            drop=nn.Dropout(0.7),
            fc2=nn.Linear(1024, classes),
        )
        super().__init__(layers)


class GoogLeNet(nn.Module):
    """`low` up to module 4a, `middle` 4b–4d, `high` from 4e, then the `classifier`; the auxiliary heads,
    where there are any, look at what leaves `low` and `middle`.
    """

    def __init__(
        self,
        parts: tuple[nn.Sequential, nn.Sequential, nn.Sequential],
        classifier: nn.Module,
        heads: tuple[nn.Module, nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.low, self.middle, self.high = parts
        self.classifier = classifier
        self.auxiliary = heads is not None
        if heads is not None:
            self.auxiliary1, self.auxiliary2 = heads

    def forward(self, images: Tensor) -> Tensor | GoogLeNetOutput:
        """Return logits (batch, classes); in training and with auxiliary heads, a `GoogLeNetOutput`."""
        after_4a = self.low(images)
        after_4d = self.middle(after_4a)
        logits: Tensor = self.classifier(self.high(after_4d))
        if self.training and self.auxiliary:
            return GoogLeNetOutput(logits, self.auxiliary1(after_4a), self.auxiliary2(after_4d))
        return logits


def _parts(
    stem: OrderedDict[str, nn.Module], convolution: _Convolution, pool: Callable[[], nn.Module]
) -> tuple[nn.Sequential, nn.Sequential, nn.Sequential]:
    """The nine modules on a stem of 192 channels, pools after 3b and 4e, cut where the heads look."""
    layers = OrderedDict[str, nn.Module](stem)
    inputs = 192
    for name, widths in _MODULES.items():
        layers[f"inception{name}"] = Inception(inputs, widths, convolution)
        inputs = widths[0] + widths[2] + widths[4] + widths[5]
        if name in {"3b", "4e"}:
            layers[f"pool{name[0]}"] = pool()
    items = list(layers.items())
    names = list(layers)
    first, second = names.index("inception4a") + 1, names.index("inception4d") + 1
    low, middle, high = items[:first], items[first:second], items[second:]
    return (
        nn.Sequential(OrderedDict(low)),
        nn.Sequential(OrderedDict(middle)),
        nn.Sequential(OrderedDict(high)),
    )


def _imagenet(
    classes: int, channels: int, *, name: str, norm: bool, auxiliary: bool = False, dropout: float = 0.4
) -> nn.Module:
    """Table 1 for 224×224 images; pools round up, as the planes 56, 28, 14, 7 of the table need."""
    checks.flag(name, "auxiliary", auxiliary)
    checks.fraction(name, "dropout", dropout)
    convolution = conv_norm_act if norm else conv_act
    pool = partial(nn.MaxPool2d, 3, 2, ceil_mode=True)
    stem = OrderedDict[str, nn.Module](conv1=convolution(channels, 64, 7, stride=2), pool1=pool())
    if not norm:
        stem["norm1"] = caffe_norm()
    stem["conv2_reduce"] = convolution(64, 64, 1)
    stem["conv2"] = convolution(64, 192, 3)
    if not norm:
        stem["norm2"] = caffe_norm()
    stem["pool2"] = pool()
    heads = None
    if auxiliary:
        heads = (AuxiliaryHead(512, classes, convolution), AuxiliaryHead(528, classes, convolution))
    classifier = pooled_linear(1024, classes, pool=nn.AvgPool2d(7), dropout=dropout)
    network = GoogLeNet(_parts(stem, convolution, pool), classifier, heads)
    if norm:
        he_(network)
    else:
        # The paper gives no initialisation; Caffe's definition has Xavier weights and biases 0.2.
        lecun_(network, bias=0.2)
    return network


def _cifar(classes: int, channels: int) -> nn.Module:
    """32×32 images: a 3×3 stem to 192 channels instead of stem and first two pools; batch norm; last plane
    8×8.
    """
    stem = OrderedDict[str, nn.Module](conv1=conv_norm_act(channels, 192, 3))
    parts = _parts(stem, conv_norm_act, partial(nn.MaxPool2d, 3, 2, 1))
    network = GoogLeNet(parts, pooled_linear(1024, classes, pool=nn.AvgPool2d(8)))
    he_(network)
    return network


BUILDERS: Mapping[str, Callable[..., nn.Module]] = {
    "googlenet": partial(_imagenet, name="googlenet", norm=False),
    "googlenet-bn": partial(_imagenet, name="googlenet-bn", norm=True),
    "googlenet-cifar": _cifar,
}
