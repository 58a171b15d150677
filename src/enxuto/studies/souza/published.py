"""The numbers of Souza 2020, tables 1 to 9, as data: five networks on CIFAR-10 and CIFAR-100.

C. O. de Souza, "Usando Convolução Separável em Profundidade na Otimização da Arquitetura SqueezeNet", 2020. Trained
on a Titan Xp; latency of one image, mean ± standard deviation of all test images, on it and on a Core i7-7700K, in
PyTorch. Sizes are those of the saved file. The text does not say what its MB is: four of the five networks, saved here,
have the published size to 0.1 % in units of 1,024,000 bytes for CIFAR-10 and of 2^20 bytes for CIFAR-100
(SqueezeNet-DSC 3 % less). Where table 9 contradicts tables 1 to 5 (SqueezeNet on GPU) the latter stand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["MEGABYTE", "NETWORKS", "PUBLISHED", "Row"]

NETWORKS = ("squeezenet-dsc", "squeezenet-cifar", "mobilenet-cifar", "alexnet-cifar", "vgg19-cifar")
"""Names in the zoo, in the order of the source's tables."""


@dataclass(frozen=True)
class Row:
    """A network's results: top1, top5 in % (top5 None on CIFAR-10), size in MB, gpu and cpu (mean, std) in ms."""

    title: str
    top1: float
    top5: float | None
    parameters: int
    size: float
    gpu: tuple[float, float]
    cpu: tuple[float, float]


_CIFAR10 = (
    Row("SqueezeNet-DSC", 88.32, None, 248_670, 1.08, (5.25, 0.10), (6.06, 0.36)),
    Row("SqueezeNet", 89.39, None, 746_638, 2.99, (2.64, 0.10), (5.35, 0.31)),
    Row("MobileNet", 90.42, None, 3_217_226, 12.69, (36.47, 0.95), (26.53, 1.06)),
    Row("AlexNet", 89.17, None, 35_871_562, 140.21, (0.76, 0.08), (15.39, 0.33)),
    Row("VGG19", 91.13, None, 20_040_522, 78.36, (1.66, 0.09), (16.54, 0.56)),
)
_CIFAR100 = (
    Row("SqueezeNet-DSC", 64.87, 88.85, 295_020, 1.21, (5.32, 0.10), (6.07, 0.16)),
    Row("SqueezeNet", 70.58, 91.91, 792_988, 3.10, (2.69, 0.09), (5.51, 0.20)),
    Row("MobileNet", 69.94, 89.85, 3_309_476, 12.75, (36.88, 0.75), (26.32, 0.60)),
    Row("AlexNet", 72.97, 92.16, 36_240_292, 138.33, (0.81, 0.09), (15.56, 0.15)),
    Row("VGG19", 73.74, 91.09, 20_086_692, 76.71, (1.66, 0.08), (16.50, 0.21)),
)
PUBLISHED: Mapping[str, Mapping[str, Row]] = MappingProxyType(
    {
        "CIFAR-10": MappingProxyType(dict(zip(NETWORKS, _CIFAR10, strict=True))),
        "CIFAR-100": MappingProxyType(dict(zip(NETWORKS, _CIFAR100, strict=True))),
    }
)
"""Data set → network → results."""

MEGABYTE: Mapping[str, int] = MappingProxyType({"CIFAR-10": 1_024_000, "CIFAR-100": 2**20})
"""Data set → bytes of what the source calls a megabyte there."""
