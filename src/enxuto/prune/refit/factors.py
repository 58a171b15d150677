"""How much more, or less, a layer's loss costs than its moments say: measured one reader at a time.

Moments count errors at the positions of an image as if they were independent. Before a global average they are not:
errors add up there, and what a late layer loses costs several times as much. So each reader in turn loses the channels
that a plan takes from it, and is refitted, within the network that is otherwise whole; the divergence that a few images
show then is divided by the one that the moments foretell.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from enxuto.prune.channels.map import ChannelMap
from enxuto.prune.refit.moments import ReaderMoments
from enxuto.prune.refit.readers import Reader
from enxuto.prune.refit.solve import RIDGE, divergence, matrix_of, refit_matrix
from enxuto.zoo.modes import evaluation_mode

__all__ = ["measured_factors"]

_BATCH = 64
_LEAST, _MOST = 0.1, 100.0
_NOTHING = 1e-7  # nats: less than that is float32's noise


def measured_factors(
    network: nn.Module,
    channels: ChannelMap,
    readers: Sequence[Reader],
    moments: Mapping[str, ReaderMoments],
    gone: Iterable[int],
    images: Tensor,
) -> dict[str, float]:
    """Reader → divergence measured, divided by the divergence foretold, where the groups `gone` take channels from it.

    Readers that lose nothing get the geometric mean of the others. The network is left as it was. images: (N, …), as
    the network takes them.
    """
    removed = frozenset(atom for number in gone for atom in channels.groups[number].atoms)
    found = {}
    with evaluation_mode(network), torch.no_grad():
        whole = _log_odds(network, images)
        for reader in readers:
            stays = reader.kept(removed)
            if reader.layer not in moments or bool(stays.all()) or not bool(stays.any()):
                continue
            module, seen = network.get_submodule(reader.layer), moments[reader.layer]
            matrix = matrix_of(module)
            if matrix.shape[1] > len(stays):
                stays = torch.cat((stays, torch.tensor([True])))
            changed = torch.zeros_like(matrix)
            changed[:, stays] = refit_matrix(matrix, seen, stays, RIDGE)
            foretold = divergence(changed - matrix, seen)
            if foretold <= _NOTHING:
                continue
            _put(module, changed)
            now = _log_odds(network, images)
            _put(module, matrix)
            lost = float((whole.exp() * (whole - now)).sum(1).mean())
            found[reader.layer] = min(max(lost / foretold, _LEAST), _MOST)
    typical = float(np.exp(np.mean(np.log(list(found.values()))))) if found else 1.0
    return {reader.layer: found.get(reader.layer, typical) for reader in readers}


def _log_odds(network: nn.Module, images: Tensor) -> Tensor:
    """(N, classes) logarithms of probabilities."""
    return torch.cat([network(part) for part in torch.split(images, _BATCH)]).double().log_softmax(1)


def _put(module: nn.Module, matrix: Tensor) -> None:
    weight, bias = module.weight, module.bias
    assert isinstance(weight, Tensor)
    columns = weight[0].numel()
    weight.copy_(matrix[:, :columns].reshape(weight.shape))
    if isinstance(bias, Tensor):
        bias.copy_(matrix[:, columns])
