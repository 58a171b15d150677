"""The entries of all families, in the order in which the zoo lists them; data only, no torch."""

from __future__ import annotations

from dataclasses import replace

from enxuto.zoo.entry import Entry
from enxuto.zoo.published import (
    alexnet,
    densenet,
    efficientnet_lite,
    effnet,
    googlenet,
    inception_v2,
    lenet,
    mobilenet,
    resnet,
    shufflenet,
    squeezenet,
    vgg,
    zfnet,
)

__all__ = ["ENTRIES"]

_FAMILIES: tuple[Entry, ...] = (
    *lenet.ENTRIES,
    *alexnet.ENTRIES,
    *zfnet.ENTRIES,
    *vgg.ENTRIES,
    *googlenet.ENTRIES,
    *inception_v2.ENTRIES,
    *resnet.ENTRIES,
    *squeezenet.ENTRIES,
    *densenet.ENTRIES,
    *mobilenet.ENTRIES,
    *shufflenet.ENTRIES,
    *effnet.ENTRIES,
    *efficientnet_lite.ENTRIES,
)

# Every network has activations, and all of them can be others.
ENTRIES: tuple[Entry, ...] = tuple(
    item if "activation" in item.options else replace(item, options=(*item.options, "activation"))
    for item in _FAMILIES
)
