"""SqueezeNet (Iandola 2016) and SqueezeNet-DSC (Souza 2020), for ImageNet and for 32×32 images.

A Fire module squeezes to few channels with 1×1 filters and expands them with 1×1 and 3×3 filters side by
side. In FireDSC the 3×3 filters become a depthwise 3×3 and a pointwise 1×1 convolution.

Source: F. Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters", arXiv:1602.07360;
C. O. de Souza, "Usando Convolução Separável em Profundidade na Otimização da Arquitetura SqueezeNet", 2020.
Not here: the pruned and quantized files of the paper's section 4.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from enxuto.zoo import checks
from enxuto.zoo.blocks import conv_act, conv_norm_act, he_, lecun_

__all__ = ["BUILDERS", "Bypass", "Fire", "FireDSC", "fire_dsc_weights", "fire_weights"]

# (squeeze, expand per branch) of fire2 … fire9, and before which of them a pool stands.
_FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))
_POOL_BEFORE = {"1_0": (0, 3, 7), "1_1": (0, 2, 4), "cifar": (0, 4, 7)}


def fire_weights(inputs: int, squeeze: int, outputs: int, kernel: int = 3) -> int:
    """Weights of a Fire module without biases: P = M·N1 + N1·N/2 + k²·N1·N/2 (Souza 2020, eq. 3.3).

    M = `inputs`, N1 = `squeeze`, N = `outputs` of both expansions together, k = `kernel`.
    """
    return inputs * squeeze + squeeze * outputs // 2 + kernel**2 * squeeze * outputs // 2


def fire_dsc_weights(inputs: int, squeeze: int, outputs: int, kernel: int = 3) -> int:
    """Weights of a FireDSC module without biases: P = M·N1 + N1·N + N1·k² (Souza 2020, eq. 3.4)."""
    return inputs * squeeze + squeeze * outputs + squeeze * kernel**2


class Fire(nn.Module):
    """Fire module: squeeze 1×1, then expand 1×1 beside expand 3×3, each with bias and ReLU; (batch, inputs,
    H, W) → (batch, 2·expand, H, W). The CIFAR form (`norm`) has a batch norm between each convolution and its
    ReLU.
    """

    def __init__(self, inputs: int, squeeze: int, expand: int, *, norm: bool = False) -> None:
        super().__init__()
        convolution = partial(conv_norm_act, bias=True) if norm else conv_act
        self.squeeze = convolution(inputs, squeeze, 1)
        self.expand1x1 = convolution(squeeze, expand, 1)
        self.expand3x3 = convolution(squeeze, expand, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return both expansions concatenated, 1×1 first."""
        narrow = self.squeeze(x)
        return torch.cat((self.expand1x1(narrow), self.expand3x3(narrow)), dim=1)


class FireDSC(nn.Module):
    """Fire module of Souza 2020: the 3×3 expansion is depthwise 3×3 → ReLU → pointwise 1×1 → batch norm →
    ReLU, both without bias; squeeze and 1×1 expansion are those of the CIFAR form. Shapes as in `Fire`.
    """

    def __init__(self, inputs: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = conv_norm_act(inputs, squeeze, 1, bias=True)
        self.expand1x1 = conv_norm_act(squeeze, expand, 1, bias=True)
        separable = OrderedDict[str, nn.Module](
            depthwise=nn.Conv2d(squeeze, squeeze, 3, padding=1, groups=squeeze, bias=False),
            act1=nn.ReLU(),
            pointwise=nn.Conv2d(squeeze, expand, 1, bias=False),
            norm=nn.BatchNorm2d(expand),
            act2=nn.ReLU(),
        )
        self.expand3x3 = nn.Sequential(separable)

    def forward(self, x: Tensor) -> Tensor:
        """Return both expansions concatenated, 1×1 first."""
        narrow = self.squeeze(x)
        return torch.cat((self.expand1x1(narrow), self.expand3x3(narrow)), dim=1)


class Bypass(nn.Module):
    """A Fire module with a way around it: `fire(x) + x`, or `fire(x) + shortcut(x)` where the channels
    change.
    """

    def __init__(self, fire: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.fire = fire
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum; both ways give the same shape."""
        total: Tensor = self.fire(x) + self.shortcut(x)
        return total


class SqueezeNet(nn.Module):
    """Stem and Fire modules (`features`), then a convolution that gives one plane per class, averaged
    (`classifier`).

    There is no fully connected layer, so images of any size above the pools' work.
    """

    def __init__(self, features: nn.Module, classifier: nn.Module) -> None:
        super().__init__()
        self.features = features
        self.classifier = classifier

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (batch, classes) for images (batch, channels, height, width)."""
        planes = self.classifier(self.features(images))
        return torch.flatten(planes, 1)


def _features(
    stem: nn.Sequential,
    width: int,
    fires: tuple[tuple[int, int], ...],
    pools: tuple[int, ...],
    make_fire: Callable[[int, int, int], nn.Module],
    make_pool: Callable[[], nn.Module],
) -> nn.Sequential:
    """The stem of `width` channels and the Fire modules, with a pool before each place named in `pools`."""
    layers: list[tuple[str, nn.Module]] = [("conv1", stem)]
    for place, (squeeze, expand) in enumerate(fires):
        if place in pools:
            layers.append((f"pool{place + 1}", make_pool()))
        layers.append((f"fire{place + 2}", make_fire(width, squeeze, expand)))
        width = 2 * expand
    return nn.Sequential(OrderedDict(layers))


def _imagenet(
    classes: int, channels: int, *, name: str, version: str, bypass: str | None = None, dropout: float = 0.5
) -> nn.Module:
    """SqueezeNet 1.0 or 1.1; `bypass` is None, "simple" or "complex" (1×1 convolutions where channels
    change).
    """
    checks.one_of(name, "bypass", bypass, (None, "simple", "complex"))
    checks.fraction(name, "dropout", dropout)
    width, kernel = (96, 7) if version == "1_0" else (64, 3)

    def fire(inputs: int, squeeze: int, expand: int) -> nn.Module:
        module = Fire(inputs, squeeze, expand)
        if bypass is not None and inputs == 2 * expand:
            return Bypass(module, nn.Identity())
        return Bypass(module, nn.Conv2d(inputs, 2 * expand, 1)) if bypass == "complex" else module

    stem = conv_act(channels, width, kernel, stride=2, padding=0)
    pool = partial(nn.MaxPool2d, 3, 2, ceil_mode=True)
    features = _features(stem, width, _FIRES, _POOL_BEFORE[version], fire, pool)
    head = OrderedDict[str, nn.Module](
        drop=nn.Dropout(dropout),
        conv10=nn.Conv2d(512, classes, 1),
        act=nn.ReLU(),
        pool=nn.AdaptiveAvgPool2d(1),
    )
    network = SqueezeNet(features, nn.Sequential(head))
    # The authors' Caffe definition: Xavier everywhere, a narrow Gaussian for the last convolution.
    lecun_(network)
    nn.init.normal_(head["conv10"].get_parameter("weight"), std=0.01)
    return network


def _cifar(classes: int, channels: int, *, make_fire: Callable[[int, int, int], nn.Module]) -> nn.Module:
    """The 32×32 form: 3×3 stem of stride 1, 2×2 pools, batch norm, first squeeze 32 (the paper's is 16)."""
    fires = ((32, 64), *_FIRES[1:])
    pool = partial(nn.MaxPool2d, 2, 2, ceil_mode=True)
    features = _features(conv_act(channels, 96, 3), 96, fires, _POOL_BEFORE["cifar"], make_fire, pool)
    head = OrderedDict[str, nn.Module](
        conv10=conv_norm_act(512, classes, 1, bias=True), pool=nn.AdaptiveAvgPool2d(1)
    )
    network = SqueezeNet(features, nn.Sequential(head))
    he_(network)
    return network


def _fire_norm(inputs: int, squeeze: int, expand: int) -> nn.Module:
    return Fire(inputs, squeeze, expand, norm=True)


BUILDERS: Mapping[str, Callable[..., nn.Module]] = {
    "squeezenet1_0": partial(_imagenet, name="squeezenet1_0", version="1_0"),
    "squeezenet1_1": partial(_imagenet, name="squeezenet1_1", version="1_1"),
    "squeezenet-cifar": partial(_cifar, make_fire=_fire_norm),
    "squeezenet-dsc": partial(_cifar, make_fire=FireDSC),
}
