"""How much more, or less, a layer's loss costs than its moments say: measured one reader at a time.

Moments count errors at the positions of an image as if they were independent. Before a global average they are not:
errors add up there, and what a late layer loses costs several times as much. So each reader in turn loses the channels
that a plan takes from it, and is refitted, within the network that is otherwise whole; the divergence that a few images
show then is divided by the one that the moments foretell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from enxuto.prune.channels.map import ChannelMap
from enxuto.prune.refit.moments import FOLDS, ReaderMoments
from enxuto.prune.refit.readers import Reader
from enxuto.prune.refit.solve import divergence, matrix_of, refit_matrix
from enxuto.zoo.modes import evaluation_mode

__all__ = ["measured_factors"]

_BATCH = 64
_IMAGES = 128
_LEAST, _MOST = 0.1, 100.0
_NOTHING = 1e-7  # nats: less than that is float32's noise
_RUINED = 0.5  # nats
_LEFT_OUT = FOLDS - 1


def measured_factors(
    network: nn.Module,
    channels: ChannelMap,
    readers: Sequence[Reader],
    moments: Mapping[str, ReaderMoments],
    plans: Iterable[frozenset[int]],
    images: Tensor,
    on_readers: Callable[[int], None] | None = None,
) -> dict[str, float]:
    """Reader → divergence measured, divided by the divergence foretold, where groups take channels from it.

    A reader whose loss alone ruins the answers says nothing of small losses: divergence is no longer quadratic there.
    So it is measured again at the next plan, if it loses something there. Readers that lose nothing get the geometric
    mean of the others. The network is left as it was.

    Args:
        plans: numbers of groups that go; the first takes most.
        images: (N, …), as the network takes them, all those of the moments; the loss is measured on the first of one
            fold, with weights fitted to the others. Fewer than there are folds tell nothing: all factors are 1.
        on_readers: called with how many more are done.
    """
    if len(images) < FOLDS:
        return {reader.layer: 1.0 for reader in readers}
    images = images[_LEFT_OUT::FOLDS][:_IMAGES]
    found: dict[str, float] = {}
    ruined = list(readers)
    with evaluation_mode(network), torch.no_grad():
        whole = _log_odds(network, images)
        for gone in plans:
            removed = frozenset(atom for number in gone for atom in channels.groups[number].atoms)
            still = []
            for reader in ruined:
                measured = _loss_alone(network, reader, removed, moments, whole, images)
                if measured is not None:
                    lost, foretold = measured
                    found[reader.layer] = min(max(lost / foretold, _LEAST), _MOST)
                    if lost > _RUINED:
                        still.append(reader)
                        continue
                if on_readers is not None:
                    on_readers(1)
            ruined = still
            if not ruined:
                break
        if on_readers is not None:
            on_readers(len(ruined))
    typical = float(np.exp(np.mean(np.log(list(found.values()))))) if found else 1.0
    return {reader.layer: found.get(reader.layer, typical) for reader in readers}


def _loss_alone(
    network: nn.Module,
    reader: Reader,
    removed: frozenset[int],
    moments: Mapping[str, ReaderMoments],
    whole: Tensor,
    images: Tensor,
) -> tuple[float, float] | None:
    """Divergence where only this reader loses channels and is refitted: measured, foretold. None: it loses none."""
    stays = reader.kept(removed)
    if reader.layer not in moments or bool(stays.all()) or not bool(stays.any()):
        return None
    module, seen = network.get_submodule(reader.layer), moments[reader.layer]
    matrix = matrix_of(module)
    if matrix.shape[1] > len(stays):
        stays = torch.cat((stays, torch.tensor([True])))
    changed = torch.zeros_like(matrix)
    changed[:, stays] = refit_matrix(matrix, seen, stays, seen.ridge)
    foretold = divergence(changed - matrix, seen)
    if foretold <= _NOTHING:
        return None
    changed[:, stays] = refit_matrix(matrix, seen.without_fold(_LEFT_OUT), stays, seen.ridge)
    _put(module, changed)
    now = _log_odds(network, images)
    _put(module, matrix)
    return float((whole.exp() * (whole - now)).sum(1).mean()), foretold


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
