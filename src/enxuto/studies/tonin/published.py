"""What Tonin 2021 published, as data: tables 3.1 and 3.7 to 3.10, the misprints among them, and its related work.

Tables 3.8 and 3.10 are `enxuto.weights.tonin_published.BEST`; here are what belongs to the faces' networks, the files'
sizes, what is wrong in print, and the literature that its section 2.9 compares with. Its numbers stand beside ours and
do not check them: the ONNX files and images are others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from enxuto.weights.tonin_published import BEST, PublishedQuantization

__all__ = [
    "CORRECTIONS",
    "FACES",
    "FILES",
    "LITERATURE",
    "MEANS",
    "MEGABYTE",
    "Correction",
    "Literature",
    "PublishedFaces",
    "PublishedFile",
    "corrected",
    "original_shares",
]

MEGABYTE = 1 << 20
"""Bytes of the source's MB: SqueezeNet's 4.73 are 4.96 million bytes."""


@dataclass(frozen=True)
class PublishedFile:
    """A row of table 3.1: the file in MB, the share of weights and biases in it in %, and its use."""

    network: str
    key: str
    size: float
    share: float
    use: str


_IMAGES, _AGE, _GENDER = "image classification", "age classification", "gender classification"

FILES: tuple[PublishedFile, ...] = (
    PublishedFile("VGG-19", "vgg", 548.15, 99.997, _IMAGES),
    PublishedFile("CaffeNet", "caffenet", 232.57, 99.999, _IMAGES),
    PublishedFile("AlexNet", "alexnet", 232.57, 99.999, _IMAGES),
    PublishedFile("R-CNN", "rcnn", 220.06, 99.999, _IMAGES),
    PublishedFile("ResNet-101", "resnet", 170.40, 99.930, _IMAGES),
    PublishedFile("EfficientNet-Lite4", "efficientnet", 49.54, 99.841, _IMAGES),
    PublishedFile("DenseNet", "densenet", 31.2, 99.587, _IMAGES),
    PublishedFile("GoogLeNet", "googlenet", 26.72, 99.907, _IMAGES),
    PublishedFile("Age-GoogLeNet", "agegooglenet", 22.85, 99.862, _AGE),
    PublishedFile("Gender-GoogLeNet", "gendergooglenet", 22.83, 99.861, _GENDER),
    PublishedFile("MobileNet-v2", "mobilenet", 13.59, 99.366, _IMAGES),
    PublishedFile("ShuffleNet", "shufflenet", 5.46, 99.246, _IMAGES),
    PublishedFile("SqueezeNet", "squeezenet", 4.73, 99.713, _IMAGES),
)


@dataclass(frozen=True)
class PublishedFaces:
    """Recall, precision and F1 (shares) of the gender classifier before and after: tables 3.7 and 3.9."""

    recall: float
    precision: float
    f1: float
    recall_after: float
    precision_after: float
    f1_after: float


FACES: Mapping[str, PublishedFaces] = MappingProxyType(
    {"gendergooglenet": PublishedFaces(0.921, 0.786, 0.848, 0.908, 0.8, 0.847)}
)
"""By key of the network in `BEST`."""


@dataclass(frozen=True)
class Correction:
    """A number that the source misprints: where, for which network, what is printed, what is right, and why."""

    table: str
    key: str
    what: str
    printed: str
    right: str
    why: str


CORRECTIONS: tuple[Correction, ...] = (
    Correction(
        "3.1", "googlenet", "name", "Lenet", "GoogLeNet", "its reference is GoogLeNet's; LeNet is another"
    ),
    Correction("3.1", "agegooglenet", "name", "Age - Lenet", "Age-GoogLeNet", "as in tables 3.7 and 3.9"),
    Correction(
        "3.1", "gendergooglenet", "name", "Gender - Lenet", "Gender-GoogLeNet", "as in tables 3.7 and 3.9"
    ),
    Correction("3.8", "vgg", "top-1 and top-5", "91.816, 73.646", "73.646, 91.816", "exchanged"),
    Correction(
        "3.9", "gendergooglenet", "F1", "0.735", "0.847", "0.848 less the loss printed beside it, 0.001"
    ),
    Correction(
        "3.9",
        "gendergooglenet",
        "precision lost",
        "-0.017",
        "-0.014",
        "0.786 less 0.8, its tables 3.7 and 3.9",
    ),
    Correction(
        "3.9",
        "gendergooglenet",
        "entropy saved",
        "22.439",
        "21.088",
        "22.439 is the original's entropy itself",
    ),
    Correction(
        "3.10", "shufflenet", "top-5", "61.512", "67.508", "68.134 less the loss printed beside it, 0.626"
    ),
    Correction("3.10", "efficientnet", "top-5 lost", "0.74", "0.31", "93.684 less 93.374"),
    Correction("3.10", "caffenet", "top-1 lost", "0.79", "0.764", "56.264 less 55.5"),
    Correction("3.10", "mobilenet", "top-5 lost", "0.018", "0.008", "88.934 less 88.926"),
    Correction("3.10", "squeezenet", "entropy saved", "15.542", "15.551", "20.221 less 4.67"),
)
"""Every misprint of these tables that changes more than the last digit."""


def corrected(table: str, key: str, what: str) -> str:
    """Return `*` where the number of that name is corrected in the table of the source, else an empty text."""
    marks = (one for one in CORRECTIONS if (one.table, one.key) == (table, key))
    return "*" if any(what in one.what for one in marks) else ""


def original_shares(row: PublishedQuantization) -> tuple[float, float | None]:
    """Top-1 and top-5 in % before quantization, tables 3.7 and 3.8: what is left and what was lost."""
    top1 = _BEFORE.get(row.key, row.top1 + row.top1_lost)
    top5 = None if row.top5 is None or row.top5_lost is None else row.top5 + row.top5_lost
    return top1, top5


_BEFORE = {"gendergooglenet": 82.379}  # its printed loss is off by the last digit


_CLASSIFIERS = [row for row in BEST if row.top5 is not None]
MEANS: Mapping[str, float] = MappingProxyType(
    {
        "original entropy, all": sum(row.original_entropy for row in BEST) / len(BEST),
        "entropy, all": sum(row.entropy for row in BEST) / len(BEST),
        "entropy, images": sum(row.entropy for row in _CLASSIFIERS) / len(_CLASSIFIERS),
        "ratio, images": sum(row.ratio for row in _CLASSIFIERS) / len(_CLASSIFIERS),
        "ratio, all": sum(row.ratio for row in BEST) / len(BEST),
    }
)
"""Means over the networks, computed from the rows; the source's section 4 says 22.896, 4.73, 5.62 and about 8 (it has
none of all ratios)."""


@dataclass(frozen=True)
class Literature:
    """A result that section 2.9 of the source compares with, as it reports it.

    retrained: whether weights are trained again. ratio: how many times smaller, None where it is not said so; kept:
    share of parameters that stay, in %, where that is what is said. lost: what becomes of accuracy, in words. note:
    what is doubtful about the row.
    """

    work: str
    source: str
    retrained: bool
    networks: str
    ratio: float | None
    kept: float | None
    lost: str
    note: str = ""


LITERATURE: tuple[Literature, ...] = (
    Literature("Han 2015, Deep Compression", "arXiv:1510.00149", True, "AlexNet", 35, None, "little"),
    Literature("Han 2015, Deep Compression", "arXiv:1510.00149", True, "VGG-16", 49, None, "little"),
    Literature("Dong 2017, layer-wise brain surgeon", "arXiv:1705.07565", True, "AlexNet", None, 11, "none"),
    Literature(
        "Dong 2017, layer-wise brain surgeon",
        "arXiv:1705.07565",
        True,
        "VGG",
        None,
        7.5,
        "0.5 points",
        "the source calls VGG's 7.5 % a rate of reduction; AlexNet's 11 % before it are what is kept",
    ),
    Literature(
        "Li 2019, Hessian by Adam",
        "DCC 2019, p. 590",
        True,
        "AlexNet",
        None,
        87.5,
        "less than 1 point",
        "the source speaks of a cut of 12.5 %; it may mean that 12.5 % are kept, as Dong's figures do",
    ),
    Literature("Zhao 2019, fuzzy pruning", "FUZZ-IEEE 2019, p. 1", True, "VGG-16", None, 27, "similar"),
    Literature("Zhao 2019, fuzzy pruning", "FUZZ-IEEE 2019, p. 1", True, "VGG-19", None, 23, "similar"),
    Literature(
        "Serra 2020, lossless expressiveness optimization",
        "arXiv:2001.00218",
        True,
        "not said",
        None,
        None,
        "none, by its title",
        "the source names no network and no figure; units go after reparametrisation, and it is listed with retraining",
    ),
    Literature(
        "Zhu 2018, widths for each layer",
        "ICME 2018, p. 1",
        True,
        "AlexNet",
        10.2,
        None,
        "more than 10 points",
    ),
    Literature(
        "Kim 2016, shared weights", "ICCE-Asia 2016, p. 1", True, "LeNet", None, 0.0074, "0.01 points"
    ),
    Literature(
        "Faraone 2018, SYQ", "CVPR 2018, p. 4300", True, "AlexNet, VGG, ResNet", None, None, "about 1 point"
    ),
    Literature(
        "Seo & Kim 2018, uniform and k-means",
        "BigComp 2018, p. 638",
        False,
        "AlexNet",
        6.4,
        None,
        "0.5 points",
    ),
    Literature(
        "Dupuis 2020, weight sharing",
        "DDECS 2020, p. 1",
        False,
        "ResNet, SqueezeNet",
        5,
        None,
        "less than 1 point",
    ),
    Literature(
        "Haase 2020, dependent quantization and DeepCABAC",
        "ICIP 2020, p. 36",
        False,
        "VGG, ResNet, MobileNet, DCASE, UCI2B",
        1 / 0.118,
        None,
        "0.37 points in the mean",
    ),
    Literature(
        "MPEG-NNR call 2019, what is asked for", "ISO/IEC N17924", False, "any", 1 / 0.7, None, "none"
    ),
)
"""Seo & Kim have 32 levels, which are 5 bits: 6.4 times. Kim leaves 32 values of 430,500 parameters. Haase's 0.118
is the share of bits that stay; the call asks for 30 % less."""
