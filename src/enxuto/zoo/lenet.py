"""LeNet-5 (LeCun 1998), the convolutional network that read cheques.

Source: Y. LeCun et al., "Gradient-based learning applied to document recognition", Proc. IEEE 86(11), 1998.
Not here: the partial connection table of C3, the trainable subsampling and the radial-basis output of the
original; this is the form that the lectures and today's tables count (61,706 parameters).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial

from torch import nn

from enxuto.zoo import checks
from enxuto.zoo.blocks import FeatureClassifier, lecun_

__all__ = ["BUILDERS"]

_POOLS: Mapping[str, Callable[[int, int], nn.Module]] = {"average": nn.AvgPool2d, "max": nn.MaxPool2d}


def _lenet5(classes: int, channels: int, *, name: str, pool: str = "average") -> nn.Module:
    """CONV 5×5 – POOL 2/2 – CONV 5×5 – POOL 2/2 – FC – FC – FC on 32×32 images, with tanh."""
    checks.one_of(name, "pool", pool, tuple(_POOLS))
    act, subsample = nn.Tanh, _POOLS[pool]
    features = OrderedDict[str, nn.Module](
        c1=nn.Conv2d(channels, 6, 5),
        act1=act(),
        s2=subsample(2, 2),
        c3=nn.Conv2d(6, 16, 5),
        act3=act(),
        s4=subsample(2, 2),
    )
    classifier = OrderedDict[str, nn.Module](
        flatten=nn.Flatten(),
        c5=nn.Linear(16 * 5 * 5, 120),
        act5=act(),
        f6=nn.Linear(120, 84),
        act6=act(),
        output=nn.Linear(84, classes),
    )
    network = FeatureClassifier(nn.Sequential(features), nn.Sequential(classifier))
    # The paper's own ±2.4/fan_in needs its second-order step sizes; this is what its authors advise the same
    # year.
    lecun_(network)
    return network


BUILDERS: Mapping[str, Callable[..., nn.Module]] = {
    "lenet5": partial(_lenet5, name="lenet5"),
    "lenet5-cifar": partial(_lenet5, name="lenet5-cifar"),
}
