"""The numbers of Tonin 2021 as data: tables 3.2 and 3.3, and 3.7 to 3.10, whose misprints are corrected.

What was corrected, and why, is in `enxuto.studies.tonin.published`.

`find_published` finds the source's network for a model by the family in its name. The source's ONNX files are not the
ones compared here: its numbers stand beside ours and do not check them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeVar

__all__ = ["BEST", "SIMILAR", "PublishedQuantization", "PublishedSimilarity", "find_published"]


@dataclass(frozen=True)
class PublishedSimilarity:
    """A network of tables 3.2 and 3.3: the three most similar distributions by SSE and by D(P‖Q)."""

    network: str
    key: str
    sse: tuple[str, str, str]
    kl: tuple[str, str, str]


@dataclass(frozen=True)
class PublishedQuantization:
    """A network of tables 3.7 to 3.10: accuracies in %, before and lost; entropies in bits per weight.

    top5 and top5_lost are None for the classifiers of faces. levels: the i of 2**i.
    """

    network: str
    key: str
    method: str
    levels: int
    top1: float
    top1_lost: float
    top5: float | None
    top5_lost: float | None
    original_entropy: float
    entropy: float
    ratio: float


_Row = TypeVar("_Row", PublishedSimilarity, PublishedQuantization)
_LAP, _LOG, _GAU, _CAU, _ALP = "Laplace", "logistic", "Gaussian", "Cauchy", "alpha"

SIMILAR: tuple[PublishedSimilarity, ...] = (
    PublishedSimilarity("CaffeNet", "caffenet", (_LAP, _LOG, _GAU), (_GAU, _LAP, _CAU)),
    PublishedSimilarity("AlexNet", "alexnet", (_ALP, _LAP, _LOG), (_CAU, _ALP, _LAP)),
    PublishedSimilarity("DenseNet", "densenet", (_LAP, _ALP, _GAU), (_CAU, _LAP, _ALP)),
    PublishedSimilarity("EfficientNet-Lite4", "efficientnet", (_LAP, _LOG, _GAU), (_LAP, _LOG, _GAU)),
    PublishedSimilarity("Age-GoogLeNet", "agegooglenet", (_LOG, _LAP, _CAU), (_CAU, _LAP, _LOG)),
    PublishedSimilarity("Gender-GoogLeNet", "gendergooglenet", (_LAP, _LOG, _CAU), (_LAP, _CAU, _LOG)),
    PublishedSimilarity("GoogLeNet", "googlenet", (_LAP, _LOG, _GAU), (_LAP, _LOG, _GAU)),
    PublishedSimilarity("MobileNet-v2", "mobilenet", (_LAP, _GAU, _LOG), (_LAP, _LOG, _ALP)),
    PublishedSimilarity("R-CNN", "rcnn", (_GAU, _LAP, _ALP), (_GAU, _LAP, _ALP)),
    PublishedSimilarity("ZFNet", "zfnet", (_LAP, _LOG, _GAU), (_ALP, _LAP, _LOG)),
    PublishedSimilarity("ResNet-101", "resnet", (_LAP, _LOG, _GAU), (_LAP, _LOG, _GAU)),
    PublishedSimilarity("ShuffleNet", "shufflenet", (_CAU, _LAP, _LOG), (_CAU, _LAP, _LOG)),
    PublishedSimilarity("SqueezeNet", "squeezenet", (_LOG, _LAP, _GAU), (_LAP, _LOG, _GAU)),
    PublishedSimilarity("VGG-19", "vgg", (_ALP, _LAP, _LOG), (_ALP, _LAP, _LOG)),
)

BEST: tuple[PublishedQuantization, ...] = (
    PublishedQuantization(
        "SqueezeNet", "squeezenet", "midtread", 8, 53.2, 0.57, 76.578, 0.56, 20.221, 4.67, 6.85
    ),
    PublishedQuantization(
        "ShuffleNet", "shufflenet", "midrise", 9, 41.77, 0.652, 67.508, 0.626, 20.391, 6.078, 5.26
    ),
    PublishedQuantization(
        "Gender-GoogLeNet", "gendergooglenet", "midtread", 7, 82.918, -0.538, None, None, 22.439, 1.351, 23.7
    ),
    PublishedQuantization(
        "Age-GoogLeNet", "agegooglenet", "dead-zone 0.4", 6, 55.802, -0.613, None, None, 22.459, 0.96, 33.33
    ),
    PublishedQuantization(
        "GoogLeNet", "googlenet", "dead-zone 0.4", 8, 67.03, 0.744, 87.938, 0.402, 22.653, 3.06, 10.45
    ),
    PublishedQuantization(
        "EfficientNet-Lite4",
        "efficientnet",
        "dead-zone 0.7",
        9,
        77.194,
        0.54,
        93.374,
        0.31,
        23.513,
        6.528,
        4.9,
    ),
    PublishedQuantization(
        "CaffeNet", "caffenet", "midrise", 8, 55.5, 0.764, 78.958, 0.564, 25.213, 1.828, 17.5
    ),
    PublishedQuantization(
        "MobileNet-v2", "mobilenet", "μ-law", 13, 69.03, 0.27, 88.926, 0.008, 21.673, 12.414, 2.58
    ),
    PublishedQuantization(
        "ResNet-101", "resnet", "dead-zone 0.7", 13, 76.632, 0.582, 93.322, 0.292, 24.734, 7.736, 4.13
    ),
    PublishedQuantization(
        "VGG-19", "vgg", "dead-zone 0.7", 9, 73.576, 0.07, 91.698, 0.118, 25.661, 2.653, 12.06
    ),
)


def find_published(rows: tuple[_Row, ...], model: str) -> _Row | None:
    """The source's network whose family begins a word of the model's name; None where there is none.

    `image_googlenet` is GoogLeNet, not Age-GoogLeNet.
    """
    starts = [match.start() for match in re.finditer(r"(?<![A-Za-z])[A-Za-z]|(?<=[a-z])[A-Z]", model)]
    rests = [re.sub(r"[^a-z]", "", model[start:].lower()) for start in starts]
    return next((row for row in rows if any(rest.startswith(row.key) for rest in rests)), None)
