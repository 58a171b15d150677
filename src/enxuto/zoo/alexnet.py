"""AlexNet (Krizhevsky 2012), its one-tower form (Krizhevsky 2014), CaffeNet, and the form for 32×32 images.

Source: A. Krizhevsky, I. Sutskever, G. Hinton, "ImageNet classification with deep convolutional neural
networks", NIPS 2012; A. Krizhevsky, "One weird trick for parallelizing convolutional neural networks",
arXiv:1404.5997; Caffe's bvlc_reference_caffenet; C. O. de Souza 2020, section 4.3.3 (the CIFAR form). The two
GPUs of 2012 are `groups=2` in the convolutions 2, 4 and 5. The paper normalises before it pools, CaffeNet
(and the lecture's drawing of AlexNet) pools first; shapes and counts are the same.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial

from torch import nn

from enxuto.zoo import checks
from enxuto.zoo.blocks import FeatureClassifier, LocalResponseNorm, conv_act, fully_connected, gaussian_, he_

__all__ = ["BUILDERS"]


def paper_norm() -> nn.Module:
    """Local response norm of the 2012 paper: n = 5, k = 2, α = 1e-4, β = 0.75.

    torch divides α by n and the paper does not, so α is given n-fold here.
    """
    return LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)


def caffe_norm() -> nn.Module:
    """Local response norm with Caffe's numbers: n = 5, k = 1, α = 1e-4 divided by n, β = 0.75."""
    return LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)


def _two_tower(
    classes: int,
    channels: int,
    *,
    name: str,
    norm: Callable[[], nn.Module],
    pool_first: bool,
    dropout: float = 0.5,
) -> nn.Module:
    """Five convolutions and three fully connected layers, for 227×227 images; groups in 2, 4, 5."""
    checks.fraction(name, "dropout", dropout)
    layers = OrderedDict[str, nn.Module]()

    def reduce(place: int) -> None:
        """Norm and pool after convolution 1 and 2, in the order of the network."""
        pair = [(f"norm{place}", norm()), (f"pool{place}", nn.MaxPool2d(3, 2))]
        layers.update(reversed(pair) if pool_first else pair)

    layers["conv1"] = conv_act(channels, 96, 11, stride=4, padding=0)
    reduce(1)
    layers["conv2"] = conv_act(96, 256, 5, groups=2)
    reduce(2)
    layers["conv3"] = conv_act(256, 384, 3)
    layers["conv4"] = conv_act(384, 384, 3, groups=2)
    layers["conv5"] = conv_act(384, 256, 3, groups=2)
    layers["pool5"] = nn.MaxPool2d(3, 2)
    head = fully_connected(256 * 6 * 6, (4096, 4096), classes, dropout)
    network = FeatureClassifier(nn.Sequential(layers), head)
    # Caffe narrows the first two fully connected layers; the paper has 0.01 everywhere.
    gaussian_(network, std=0.01, linear_std=0.005 if pool_first else None)
    if pool_first:
        nn.init.normal_(head.get_parameter("fc8.weight"), std=0.01)
    _bias_one(network)
    return network


def _one_tower(classes: int, channels: int, *, name: str, dropout: float = 0.5) -> nn.Module:
    """The single tower of 2014 for 224×224 images: no groups, no local response norm, fewer filters."""
    checks.fraction(name, "dropout", dropout)
    layers = OrderedDict[str, nn.Module](
        conv1=conv_act(channels, 64, 11, stride=4, padding=2),
        pool1=nn.MaxPool2d(3, 2),
        conv2=conv_act(64, 192, 5),
        pool2=nn.MaxPool2d(3, 2),
        conv3=conv_act(192, 384, 3),
        conv4=conv_act(384, 256, 3),
        conv5=conv_act(256, 256, 3),
        pool5=nn.MaxPool2d(3, 2),
    )
    head = fully_connected(256 * 6 * 6, (4096, 4096), classes, dropout)
    network = FeatureClassifier(nn.Sequential(layers), head)
    gaussian_(network, std=0.01)
    _bias_one(network)
    return network


def _cifar(classes: int, channels: int) -> nn.Module:
    """Souza 2020: 3×3 kernels of stride 1, pools that round up, batch norm for dropout in the head."""
    layers = OrderedDict[str, nn.Module](
        conv1=conv_act(channels, 64, 3),
        pool1=nn.MaxPool2d(3, 2, ceil_mode=True),
        conv2=conv_act(64, 192, 3),
        pool2=nn.MaxPool2d(3, 2, ceil_mode=True),
        conv3=conv_act(192, 384, 3),
        conv4=conv_act(384, 256, 3),
        conv5=conv_act(256, 256, 3),
        pool5=nn.MaxPool2d(3, 2, ceil_mode=True),
    )
    head = OrderedDict[str, nn.Module](
        flatten=nn.Flatten(),
        fc6=nn.Linear(256 * 4 * 4, 4096),
        norm6=nn.BatchNorm1d(4096),
        act6=nn.ReLU(),
        fc7=nn.Linear(4096, 4096),
        norm7=nn.BatchNorm1d(4096),
        act7=nn.ReLU(),
        fc8=nn.Linear(4096, classes),
    )
    network = FeatureClassifier(nn.Sequential(layers), nn.Sequential(head))
    he_(network)
    return network


def _bias_one(network: nn.Module) -> None:
    """Krizhevsky 2012: biases 1 in convolutions 2, 4, 5 and the hidden fully connected layers, so ReLUs start
    open.
    """
    for place in (
        "features.conv2.conv",
        "features.conv4.conv",
        "features.conv5.conv",
        "classifier.fc6",
        "classifier.fc7",
    ):
        nn.init.ones_(network.get_parameter(f"{place}.bias"))


BUILDERS: Mapping[str, Callable[..., nn.Module]] = {
    "alexnet": partial(_two_tower, name="alexnet", norm=paper_norm, pool_first=False),
    "alexnet-one-tower": partial(_one_tower, name="alexnet-one-tower"),
    "caffenet": partial(_two_tower, name="caffenet", norm=caffe_norm, pool_first=True),
    "alexnet-cifar": _cifar,
}
