"""ZFNet (Zeiler and Fergus 2013): AlexNet with a finer first layer, and the wider ZFNet-512.

Source: M. Zeiler, R. Fergus, "Visualizing and understanding convolutional networks", arXiv:1311.2901. Its own
third to fifth convolutions have 384, 384, 256 filters; the 512, 1024, 512 that lectures give belong to
`zfnet512`.
Not here: the renormalisation of filters whose RMS passes 0.1 during training.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial

from torch import nn

from enxuto.zoo import checks
from enxuto.zoo.alexnet import paper_norm
from enxuto.zoo.blocks import FeatureClassifier, conv_act, fully_connected, gaussian_

__all__ = ["BUILDERS"]


def _zfnet(
    classes: int, channels: int, *, name: str, widths: tuple[int, int, int], dropout: float = 0.5
) -> nn.Module:
    """Figure 3 of the paper for 224×224 images: planes of 110, 55, 26, 13 and 6; `widths` of convolutions 3
    to 5.
    """
    checks.fraction(name, "dropout", dropout)
    third, fourth, fifth = widths
    layers = OrderedDict[str, nn.Module](
        conv1=conv_act(channels, 96, 7, stride=2, padding=1),
        pool1=nn.MaxPool2d(3, 2, ceil_mode=True),
        norm1=paper_norm(),
        conv2=conv_act(96, 256, 5, stride=2, padding=0),
        pool2=nn.MaxPool2d(3, 2, ceil_mode=True),
        norm2=paper_norm(),
        conv3=conv_act(256, third, 3),
        conv4=conv_act(third, fourth, 3),
        conv5=conv_act(fourth, fifth, 3),
        pool5=nn.MaxPool2d(3, 2),
    )
    head = fully_connected(fifth * 6 * 6, (4096, 4096), classes, dropout)
    network = FeatureClassifier(nn.Sequential(layers), head)
    gaussian_(network, std=0.01)  # section 3.1: weights 1e-2, biases 0
    return network


BUILDERS: Mapping[str, Callable[..., nn.Module]] = {
    "zfnet": partial(_zfnet, name="zfnet", widths=(384, 384, 256)),
    "zfnet512": partial(_zfnet, name="zfnet512", widths=(512, 1024, 512)),
}
