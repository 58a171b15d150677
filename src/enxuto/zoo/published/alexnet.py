"""Published counts of AlexNet, CaffeNet and the CIFAR form; conventions in `enxuto.zoo.entry`."""

from __future__ import annotations

from enxuto.zoo.entry import Entry

__all__ = ["ENTRIES"]

_PAPER = "Krizhevsky, Sutskever, Hinton 2012, ImageNet classification with deep convolutional neural networks"

ENTRIES: tuple[Entry, ...] = (
    Entry(
        name="alexnet",
        family="alexnet",
        title="AlexNet",
        paper=_PAPER,
        year=2012,
        input_shape=(3, 227, 227),
        classes=1000,
        counts={1000: 60_965_224},
        macs=724_406_816,
        options=("dropout",),
        note="Published count. Two towers as groups in convolutions 2, 4, 5; norm before pool.",
    ),
    Entry(
        name="caffenet",
        family="alexnet",
        title="CaffeNet",
        paper="Jia et al. 2014, Caffe: convolutional architecture for fast feature embedding",
        year=2014,
        input_shape=(3, 227, 227),
        classes=1000,
        counts={1000: 60_965_224},
        macs=724_406_816,
        options=("dropout",),
        note="Published count. AlexNet with pool before norm and Caffe's constants in the norm.",
    ),
    Entry(
        name="alexnet-one-tower",
        family="alexnet",
        title="AlexNet, one tower",
        paper="Krizhevsky 2014, One weird trick for parallelizing convolutional neural networks",
        year=2014,
        input_shape=(3, 224, 224),
        classes=1000,
        counts={1000: 61_100_840},
        macs=714_188_480,
        options=("dropout",),
        note="Published count. No groups, no local response norm.",
    ),
    Entry(
        name="alexnet-cifar",
        family="alexnet",
        title="AlexNet for 32×32 images",
        paper="Souza 2020, Convolução separável em profundidade na arquitetura SqueezeNet, 4.3.3",
        year=2020,
        input_shape=(3, 32, 32),
        classes=10,
        counts={10: 35_871_562, 100: 36_240_292},
        macs=200_515_584,
        note="Published counts.",
    ),
)
