"""ResNet (He 2015) for ImageNet and CIFAR, and the pre-activation form v2 (He 2016).

Source: K. He et al., "Deep residual learning for image recognition", arXiv:1512.03385; "Identity mappings in
deep residual networks", arXiv:1603.05027. From depth 50 on the blocks are bottlenecks; their stride sits in
the 3×3 convolution, as in the authors' later code and in the ONNX package's ResNet-50 (the 2015 text has it
in the first 1×1). The CIFAR networks of depth 6n+2 have parameter-free shortcuts, the paper's option A; without
any shortcut they are its plain networks, of the same counts.
Not here: option C, ResNeXt, and scale 0 in the last batch norm of each block, which is a later recipe.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial

from torch import Tensor, nn
from torch.nn.functional import pad

from enxuto.zoo.blocks import FeatureClassifier, conv_norm_act, he_, pooled_linear

__all__ = ["BUILDERS", "OptionAShortcut", "PreActivation", "Residual"]

# Blocks in each of the four stages, and whether they are bottlenecks (1×1, 3×3, 1×1 to four times the width).
_DEPTHS = {
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
    152: ((3, 8, 36, 3), True),
}
_CIFAR_DEPTHS = (20, 32, 44, 56, 110)
_PLAIN_DEPTHS = (20, 56)  # those of the paper's figure 1


class OptionAShortcut(nn.Module):
    """Shortcut without parameters (He 2015, option A): every second row and column, and planes of zeros.

    (batch, C, H, W) → (batch, before + C + after, ⌈H/stride⌉, ⌈W/stride⌉). The paper appends its zeros, so
    `before` is 0 at first; both numbers are attributes because pruning may leave zeros on either side.
    """

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.before = before
        self.after = after
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Return the subsampled planes between the planes of zeros."""
        return pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.after))

    def extra_repr(self) -> str:
        """What `print(network)` shows."""
        return f"before={self.before}, after={self.after}, stride={self.stride}"


class Residual(nn.Module):
    """`act(body(x) + shortcut(x))`: the block of 2015, basic or bottleneck by its body (see `_body`)."""

    def __init__(self, body: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, outputs, H/stride, W/stride)."""
        y: Tensor = self.act(self.body(x) + self.shortcut(x))
        return y


class PreActivation(nn.Module):
    """`body(a) + shortcut(x)`, a = ReLU(norm(x)): the block of 2016, convolution last.

    A projecting shortcut starts from a, an identity from x, as in the authors' code.
    """

    def __init__(self, inputs: int, body: nn.Module, projection: nn.Module | None) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(inputs)
        self.act = nn.ReLU()
        self.body = body
        self.projection = projection

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, outputs, H/stride, W/stride)."""
        active = self.act(self.norm(x))
        y: Tensor = self.body(active)
        return y + (x if self.projection is None else self.projection(active))


def _body(inputs: int, width: int, stride: int, *, bottleneck: bool) -> nn.Sequential:
    """Convolutions of a 2015 block: 3×3, 3×3, or 1×1, 3×3, 1×1 to 4·width; batch norm after each, no last
    ReLU.
    """
    if bottleneck:
        layers = OrderedDict[str, nn.Module](
            conv1=conv_norm_act(inputs, width, 1),
            conv2=conv_norm_act(width, width, 3, stride=stride),
            conv3=conv_norm_act(width, 4 * width, 1, activation=None),
        )
    else:
        layers = OrderedDict[str, nn.Module](
            conv1=conv_norm_act(inputs, width, 3, stride=stride),
            conv2=conv_norm_act(width, width, 3, activation=None),
        )
    return nn.Sequential(layers)


def _residual(inputs: int, width: int, stride: int, *, bottleneck: bool) -> nn.Module:
    """A 2015 block; its shortcut is the identity or, where the shape changes, 1×1 (option B)."""
    outputs = 4 * width if bottleneck else width
    shortcut: nn.Module = nn.Identity()
    if stride != 1 or inputs != outputs:
        shortcut = conv_norm_act(inputs, outputs, 1, stride=stride, activation=None)
    return Residual(_body(inputs, width, stride, bottleneck=bottleneck), shortcut)


def _pre_activation(inputs: int, width: int, stride: int, *, bottleneck: bool) -> nn.Module:
    """A 2016 block; the norm and ReLU before its first convolution are those of the block."""
    outputs = 4 * width if bottleneck else width
    shapes = [(inputs, width, 1, 1), (width, width, 3, stride), (width, outputs, 1, 1)]
    if not bottleneck:
        shapes = [(inputs, width, 3, stride), (width, outputs, 3, 1)]
    layers = OrderedDict[str, nn.Module]()
    for place, (before, after, kernel, step) in enumerate(shapes, start=1):
        if place > 1:
            layers[f"norm{place}"] = nn.BatchNorm2d(before)
            layers[f"act{place}"] = nn.ReLU()
        layers[f"conv{place}"] = nn.Conv2d(before, after, kernel, step, kernel // 2, bias=False)
    projection = None
    if stride != 1 or inputs != outputs:
        projection = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
    return PreActivation(inputs, nn.Sequential(layers), projection)


def _stages(depth: int, block: Callable[..., nn.Module]) -> tuple[OrderedDict[str, nn.Module], int]:
    """The four stages of widths 64, 128, 256, 512; and how many channels come out."""
    counts, bottleneck = _DEPTHS[depth]
    stages = OrderedDict[str, nn.Module]()
    inputs = 64
    for stage, count in enumerate(counts):
        width = 64 * 2**stage
        blocks = []
        for place in range(count):
            stride = 2 if stage > 0 and place == 0 else 1
            blocks.append(block(inputs, width, stride, bottleneck=bottleneck))
            inputs = 4 * width if bottleneck else width
        stages[f"stage{stage + 1}"] = nn.Sequential(*blocks)
    return stages, inputs


def _imagenet(classes: int, channels: int, *, depth: int) -> nn.Module:
    """Table 1 of the paper: 7×7 stem of stride 2, 3×3 max pool, four stages, average, linear."""
    stages, outputs = _stages(depth, _residual)
    layers = OrderedDict[str, nn.Module](
        conv1=conv_norm_act(channels, 64, 7, stride=2), pool1=nn.MaxPool2d(3, 2, 1), **stages
    )
    return _add_classifier(layers, outputs, classes)


def _imagenet_v2(classes: int, channels: int, *, depth: int) -> nn.Module:
    """The same table with pre-activation blocks, and a last norm and ReLU after the sum of the last block."""
    stages, outputs = _stages(depth, _pre_activation)
    layers = OrderedDict[str, nn.Module](
        conv1=conv_norm_act(channels, 64, 7, stride=2),
        pool1=nn.MaxPool2d(3, 2, 1),
        **stages,
        norm=nn.BatchNorm2d(outputs),
        act=nn.ReLU(),
    )
    return _add_classifier(layers, outputs, classes)


def _resnet18_cifar(classes: int, channels: int) -> nn.Module:
    """ResNet-18 for 32×32 images: 3×3 stem of stride 1 and no max pool."""
    stages, outputs = _stages(18, _residual)
    layers = OrderedDict[str, nn.Module](conv1=conv_norm_act(channels, 64, 3), **stages)
    return _add_classifier(layers, outputs, classes)


def _plain(inputs: int, width: int, stride: int) -> nn.Module:
    """Two layers of a plain network: what a basic block has, without its shortcut."""
    layers = OrderedDict[str, nn.Module](
        conv1=conv_norm_act(inputs, width, 3, stride=stride), conv2=conv_norm_act(width, width, 3)
    )
    return nn.Sequential(layers)


def _cifar(classes: int, channels: int, *, depth: int, plain: bool = False) -> nn.Module:
    """Section 4.2 of the paper: 3×3 stem, three stages of n = (depth − 2)/6 basic blocks with 16, 32, 64
    channels; `plain` without shortcuts.
    """
    layers = OrderedDict[str, nn.Module](conv1=conv_norm_act(channels, 16, 3))
    inputs = 16
    for stage, width in enumerate((16, 32, 64)):
        blocks: list[nn.Module] = []
        for place in range((depth - 2) // 6):
            stride = 2 if stage > 0 and place == 0 else 1
            same = stride == 1 and inputs == width
            if plain:
                blocks.append(_plain(inputs, width, stride))
            else:
                shortcut = nn.Identity() if same else OptionAShortcut(0, width - inputs, stride)
                blocks.append(Residual(_body(inputs, width, stride, bottleneck=False), shortcut))
            inputs = width
        layers[f"stage{stage + 1}"] = nn.Sequential(*blocks)
    return _add_classifier(layers, inputs, classes)


def _add_classifier(layers: OrderedDict[str, nn.Module], outputs: int, classes: int) -> nn.Module:
    network = FeatureClassifier(nn.Sequential(layers), pooled_linear(outputs, classes))
    he_(network)
    return network


BUILDERS: Mapping[str, Callable[..., nn.Module]] = {
    **{f"resnet{depth}": partial(_imagenet, depth=depth) for depth in _DEPTHS},
    **{f"resnet{depth}-v2": partial(_imagenet_v2, depth=depth) for depth in _DEPTHS},
    "resnet18-cifar": _resnet18_cifar,
    **{f"resnet{depth}-cifar": partial(_cifar, depth=depth) for depth in _CIFAR_DEPTHS},
    **{f"plain{depth}-cifar": partial(_cifar, depth=depth, plain=True) for depth in _PLAIN_DEPTHS},
}
