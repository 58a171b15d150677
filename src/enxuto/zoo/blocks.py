"""Building blocks shared by the families: convolution with norm and activation, heads, initialisations.

Two rules hold everywhere in the zoo. Every use of an activation is a module of its own and nothing works in
place, because attribution hangs a hook on each activation and needs the tensor before and after it. And no
`forward` knows a channel number: it reads shapes from its tensors, because pruning changes them.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import local_response_norm

__all__ = [
    "FeatureClassifier",
    "LocalResponseNorm",
    "conv_act",
    "conv_norm_act",
    "fully_connected",
    "gaussian_",
    "glorot_",
    "he_",
    "lecun_",
    "pooled_linear",
    "scale_channels",
]

Kernel = int | tuple[int, int]
Activation = Callable[[], nn.Module]


def conv_norm_act(
    inputs: int,
    outputs: int,
    kernel: Kernel,
    *,
    stride: Kernel = 1,
    groups: int = 1,
    bias: bool = False,
    activation: Activation | None = nn.ReLU,
) -> nn.Sequential:
    """Convolution, batch norm, activation (none: a linear output), padded to keep height and width at stride
    1.
    """
    layers: list[tuple[str, nn.Module]] = [
        ("conv", nn.Conv2d(inputs, outputs, kernel, stride, same_padding(kernel), groups=groups, bias=bias)),
        ("norm", nn.BatchNorm2d(outputs)),
    ]
    if activation is not None:
        layers.append(("act", activation()))
    return nn.Sequential(OrderedDict(layers))


def conv_act(
    inputs: int,
    outputs: int,
    kernel: Kernel,
    *,
    stride: Kernel = 1,
    padding: int | None = None,
    groups: int = 1,
) -> nn.Sequential:
    """Convolution with bias, then ReLU, as the networks before batch norm have it; padding None keeps the
    size.
    """
    pad = same_padding(kernel) if padding is None else padding
    conv = nn.Conv2d(inputs, outputs, kernel, stride, pad, groups=groups)
    return nn.Sequential(OrderedDict[str, nn.Module](conv=conv, act=nn.ReLU()))


def same_padding(kernel: Kernel) -> Kernel:
    """Half the kernel, on each side: W2 = (W1 − F + 2P)/S + 1 then gives W2 = W1 for odd F and S = 1."""
    return kernel // 2 if isinstance(kernel, int) else (kernel[0] // 2, kernel[1] // 2)


def fully_connected(inputs: int, hidden: tuple[int, ...], classes: int, dropout: float) -> nn.Sequential:
    """The head of AlexNet, ZFNet and VGG: flatten, then linear, ReLU, dropout for each hidden width, then
    linear.
    """
    layers: list[tuple[str, nn.Module]] = [("flatten", nn.Flatten())]
    for place, width in enumerate(
        hidden, start=6
    ):  # fc6, fc7, fc8: the papers count the five convolutions first
        layers.append((f"fc{place}", nn.Linear(inputs, width)))
        layers.append((f"act{place}", nn.ReLU()))
        layers.append((f"drop{place}", nn.Dropout(dropout)))
        inputs = width
    layers.append((f"fc{6 + len(hidden)}", nn.Linear(inputs, classes)))
    return nn.Sequential(OrderedDict(layers))


def pooled_linear(
    inputs: int, classes: int, *, pool: nn.Module | None = None, dropout: float = 0.0
) -> nn.Sequential:
    """The head of the later networks: average over the plane (or `pool`), flatten, dropout if any, linear."""
    layers: list[tuple[str, nn.Module]] = [
        ("pool", nn.AdaptiveAvgPool2d(1) if pool is None else pool),
        ("flatten", nn.Flatten()),
    ]
    if dropout:
        layers.append(("drop", nn.Dropout(dropout)))
    layers.append(("fc", nn.Linear(inputs, classes)))
    return nn.Sequential(OrderedDict(layers))


class FeatureClassifier(nn.Module):
    """Convolutional `features` (batch, C, H, W), then a `classifier` that flattens and returns (batch,
    classes).
    """

    def __init__(self, features: nn.Module, classifier: nn.Module) -> None:
        super().__init__()
        self.features = features
        self.classifier = classifier

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (batch, classes) for images (batch, channels, height, width)."""
        logits: Tensor = self.classifier(self.features(images))
        return logits


class LocalResponseNorm(nn.Module):
    """x / (k + α/n · Σ x²)^β over `size` = n neighbouring channels, the norm of AlexNet and GoogLeNet.

    Exports to the ONNX operator LRN, which has the same formula; torch's own function would become seven.
    """

    def __init__(self, size: int, *, alpha: float, beta: float, k: float) -> None:
        super().__init__()
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def forward(self, x: Tensor) -> Tensor:
        """Return the shape of x, (batch, C, H, W)."""
        if torch.onnx.is_in_onnx_export():
            return torch.onnx.ops.symbolic(
                "LRN",
                (x,),
                {"size": self.size, "alpha": self.alpha, "beta": self.beta, "bias": self.k},
                dtype=x.dtype,
                shape=x.shape,
            )
        return local_response_norm(x, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        """What `print(network)` shows."""
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


def scale_channels(channels: float, divisor: int = 8) -> int:
    """Round `channels` to a multiple of `divisor`, never more than 10 % down (Sandler 2018, code)."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


@torch.no_grad()
def he_(network: nn.Module, *, linear_std: float = 0.01) -> None:
    """He 2015: convolutions N(0, 2/fan_in), linear layers N(0, linear_std²), biases 0, batch norm 1 and 0."""
    for layer in _weight_layers(network):
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
        else:
            nn.init.normal_(layer.weight, std=linear_std)
        _fill_bias(layer, 0.0)


@torch.no_grad()
def gaussian_(network: nn.Module, *, std: float = 0.01, linear_std: float | None = None) -> None:
    """Krizhevsky 2012: weights N(0, std²), linear layers N(0, linear_std²) where that differs, biases 0."""
    for layer in _weight_layers(network):
        wide = linear_std is not None and isinstance(layer, nn.Linear)
        nn.init.normal_(layer.weight, std=linear_std if wide and linear_std is not None else std)
        _fill_bias(layer, 0.0)


@torch.no_grad()
def glorot_(network: nn.Module) -> None:
    """Glorot and Bengio 2010: weights uniform in ±sqrt(6/(fan_in + fan_out)), biases 0."""
    for layer in _weight_layers(network):
        nn.init.xavier_uniform_(layer.weight)
        _fill_bias(layer, 0.0)


@torch.no_grad()
def lecun_(network: nn.Module, *, bias: float = 0.0) -> None:
    """LeCun 1998, Efficient BackProp: weights uniform in ±sqrt(3/fan_in), variance 1/fan_in; biases `bias`.

    It is also what Caffe, and so SqueezeNet and the readers of GoogLeNet, mean by "xavier".
    """
    for layer in _weight_layers(network):
        bound = math.sqrt(3 / math.prod(layer.weight.shape[1:]))
        nn.init.uniform_(layer.weight, -bound, bound)
        _fill_bias(layer, bias)


def _weight_layers(network: nn.Module) -> Iterator[nn.Conv2d | nn.Linear]:
    """Convolutions and linear layers as defined; batch norm already has scale 1 and shift 0."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            yield layer


def _fill_bias(layer: nn.Conv2d | nn.Linear, value: float) -> None:
    if layer.bias is not None:
        nn.init.constant_(layer.bias, value)
