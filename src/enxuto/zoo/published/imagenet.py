"""Published accuracies on ImageNet, and the winners of ILSVRC: figures of others, none of them measured here.

A figure is the paper's, where it has one for the very network; else that of weights which others published for it.
They measure differently (one crop or ten, other sizes of images), so each figure says how; differences of a point
between sources mean little. Percent of the 50,000 validation images for networks, of the test images for winners.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["ACCURACIES", "WINNERS", "ImageNetAccuracy", "Winner"]


@dataclass(frozen=True)
class ImageNetAccuracy:
    """Accuracy of a network in percent; None where the source gives none. measured: in which way; source: where."""

    top1: float | None
    top5: float | None
    measured: str
    source: str


@dataclass(frozen=True)
class Winner:
    """The lowest error in classification of a year's ILSVRC. top5_error: in percent; network: of the zoo, if any."""

    year: int
    team: str
    model: str
    top5_error: float
    network: str | None = None
    note: str = ""


_SIMONYAN = "Simonyan & Zisserman 2014, arXiv:1409.1556, table 3"
_HE = "He et al. 2015, arXiv:1512.03385"
_ZEILER = "Zeiler & Fergus 2013, arXiv:1311.2901, table 2"
_TORCHVISION = "torchvision, weights IMAGENET1K_V1"
_ONNX = "ONNX model zoo, ResNet v2 of MXNet"
_LITE = "TensorFlow TPU repository, EfficientNet-Lite, float32"

ACCURACIES: Mapping[str, ImageNetAccuracy] = MappingProxyType(
    {
        "alexnet": ImageNetAccuracy(59.3, 81.8, "1 network, 10 crops", "Krizhevsky et al. 2012, table 2"),
        "caffenet": ImageNetAccuracy(57.4, 80.4, "1 crop", "BVLC Caffe, bvlc_reference_caffenet"),
        "alexnet-one-tower": ImageNetAccuracy(56.522, 79.066, "1 crop", _TORCHVISION),
        "zfnet": ImageNetAccuracy(61.6, 83.5, "1 network, 10 crops", _ZEILER),
        "zfnet512": ImageNetAccuracy(62.5, 84.0, "1 network, 10 crops", _ZEILER),
        "vgg11": ImageNetAccuracy(70.4, 89.6, "dense, one scale of 256", _SIMONYAN),
        "vgg13": ImageNetAccuracy(71.3, 90.1, "dense, one scale of 256", _SIMONYAN),
        "vgg16": ImageNetAccuracy(74.4, 91.9, "dense, one scale of 384", _SIMONYAN),
        "vgg19": ImageNetAccuracy(74.5, 92.0, "dense, one scale of 384", _SIMONYAN),
        "vgg11-bn": ImageNetAccuracy(70.37, 89.81, "1 crop", _TORCHVISION),
        "vgg13-bn": ImageNetAccuracy(71.586, 90.374, "1 crop", _TORCHVISION),
        "vgg16-bn": ImageNetAccuracy(73.36, 91.516, "1 crop", _TORCHVISION),
        "vgg19-bn": ImageNetAccuracy(74.218, 91.842, "1 crop", _TORCHVISION),
        "googlenet": ImageNetAccuracy(
            68.7,
            88.9,
            "1 crop",
            "BVLC Caffe, bvlc_googlenet; the paper (arXiv:1409.4842, table 3) has top-5 alone, 89.93 with 1 crop",
        ),
        "googlenet-bn": ImageNetAccuracy(
            69.778, 89.53, "1 crop", f"{_TORCHVISION}, whose 5×5 convolutions are 3×3"
        ),
        "inception-v2": ImageNetAccuracy(
            74.8, 92.2, "1 crop", "Szegedy et al. 2015, arXiv:1512.00567, table 3 (BN-Inception)"
        ),
        "resnet18": ImageNetAccuracy(72.12, None, "10 crops", f"{_HE}, table 2"),
        "resnet34": ImageNetAccuracy(75.48, 92.54, "10 crops", f"{_HE}, table 3 (B)"),
        "resnet50": ImageNetAccuracy(77.15, 93.29, "10 crops", f"{_HE}, table 3"),
        "resnet101": ImageNetAccuracy(78.25, 93.95, "10 crops", f"{_HE}, table 3"),
        "resnet152": ImageNetAccuracy(78.57, 94.29, "10 crops", f"{_HE}, table 3"),
        "resnet18-v2": ImageNetAccuracy(69.70, 89.49, "1 crop", _ONNX),
        "resnet34-v2": ImageNetAccuracy(73.36, 91.43, "1 crop", _ONNX),
        "resnet50-v2": ImageNetAccuracy(75.81, 92.82, "1 crop", _ONNX),
        "resnet101-v2": ImageNetAccuracy(77.42, 93.61, "1 crop", _ONNX),
        "resnet152-v2": ImageNetAccuracy(
            78.9, 94.5, "1 crop of 320", "He et al. 2016, arXiv:1603.05027, table 5"
        ),
        "squeezenet1_0": ImageNetAccuracy(
            57.5, 80.3, "1 crop", "Iandola et al. 2016, arXiv:1602.07360, table 2"
        ),
        "squeezenet1_1": ImageNetAccuracy(58.178, 80.624, "1 crop", _TORCHVISION),
        "densenet121": ImageNetAccuracy(
            74.98, 92.29, "1 crop", "Huang et al. 2016, arXiv:1608.06993, table 3"
        ),
        "mobilenet": ImageNetAccuracy(70.6, None, "1 crop", "Howard et al. 2017, arXiv:1704.04861, table 8"),
        "mobilenet-v2": ImageNetAccuracy(
            72.0, None, "1 crop", "Sandler et al. 2018, arXiv:1801.04381, table 4"
        ),
        "shufflenet": ImageNetAccuracy(67.4, None, "1 crop", "Zhang et al. 2017, arXiv:1707.01083, table 2"),
        "efficientnet-lite0": ImageNetAccuracy(75.1, None, "1 crop", _LITE),
        "efficientnet-lite1": ImageNetAccuracy(76.7, None, "1 crop", _LITE),
        "efficientnet-lite2": ImageNetAccuracy(77.6, None, "1 crop", _LITE),
        "efficientnet-lite3": ImageNetAccuracy(79.8, None, "1 crop", _LITE),
        "efficientnet-lite4": ImageNetAccuracy(81.5, None, "1 crop", _LITE),
    }
)
"""Network of the zoo → its published accuracy; networks without a figure of their own are not there."""

WINNERS: tuple[Winner, ...] = (
    Winner(2010, "NEC-UIUC", "SIFT and LBP features, SVM", 28.2),
    Winner(2011, "XRCE", "Fisher vectors, SVM", 25.8),
    Winner(
        2012, "SuperVision", "AlexNet, 5 networks", 16.4, "alexnet", "15.3 with 7 networks and more images."
    ),
    Winner(2013, "Clarifai", "ZFNet's kind, several networks", 11.7, "zfnet", "11.2 with more images."),
    Winner(2014, "GoogLeNet", "GoogLeNet, 7 networks", 6.7, "googlenet", "VGG was second with 7.3."),
    Winner(2015, "MSRA", "ResNet, 6 networks", 3.57, "resnet152"),
    Winner(2016, "Trimps-Soushen", "Inception, ResNet and others together", 2.99),
    Winner(2017, "WMW", "SENet and others together", 2.25),
)
"""Winners of classification with the provided images; O. Russakovsky et al. 2015, arXiv:1409.0575, table 5, to 2014,
then image-net.org's pages of results. Souza 2020 calls VGG-19 the winner of 2014, where it was second."""
