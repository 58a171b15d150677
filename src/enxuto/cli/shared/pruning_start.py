"""What `enxuto prune` starts from: a model file, a network with trained weights, or a network pruned before."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from enxuto.cli.shared.model_files import is_model_file, normalisation_of, open_network_file
from enxuto.cli.shared.preprocess_options import PreparingOptions
from enxuto.cli.shared.prune_options import PruneOptions
from enxuto.errors import UsageError
from enxuto.escaping import shell_words

if TYPE_CHECKING:
    from torch import Tensor

    from enxuto.data import Preprocess
    from enxuto.studies.images import Images
    from enxuto.studies.pruning import StartingNetwork, TrainedWeights
    from enxuto.zoo.entry import OptionValue

__all__ = ["build", "early_state", "find_labels", "read_start"]


def read_start(
    network: str, options: PruneOptions, preprocess: PreparingOptions, resize: tuple[int, int] | None
) -> tuple[TrainedWeights | None, StartingNetwork | None]:
    """The weights of a network to be built, and the network itself where a file holds it."""
    if is_model_file(network):
        if options.weights is not None or options.factory is not None:
            raise UsageError(
                f"{network} has its own weights and layers; leave out --weights and --factory", code="E024"
            )
        held = open_network_file(network, preprocess, resize=resize)
        return held.normalisation, held.start
    if preprocess.is_given and not _is_file(network):
        raise UsageError(
            "how images are prepared is said of files; other networks come with their training's", code="E024"
        )
    weights = _read_weights(network, options.weights)
    pruned = _read_pruned(network, options.factory)
    if pruned is None:
        return weights, None
    start, stored = pruned
    return normalisation_of(network, start, preprocess.build(stored), resize=resize), start


def _read_weights(network: str, path: Path | None) -> TrainedWeights | None:
    from enxuto import zoo
    from enxuto.studies.pruning import TrainedWeights

    if _is_file(network):
        if path is not None:
            raise UsageError(f"{network} has its own weights; leave out --weights", code="E022")
        return None
    if ":" not in network:
        zoo.entry(network)  # an unknown name is reported first
    if path is None and ":" not in network:
        raise UsageError(
            f"{network} must be trained first: `enxuto train {shell_words([network])} …`, then --weights best.pt",
            code="E023",
        )
    return None if path is None else TrainedWeights.read(path)


def early_state(path: Path, weights: TrainedWeights | None) -> Mapping[str, Tensor]:
    """The state of the checkpoint to rewind to. Raises `UsageError` where it has other tensors than the network's."""
    from enxuto.train.checkpoint import Checkpoint

    state = Checkpoint.read(path).model
    if weights is not None and {k: v.shape for k, v in state.items()} != {
        k: v.shape for k, v in weights.state.items()
    }:
        raise UsageError(
            f"{path} is a checkpoint of another network; --rewind-checkpoint takes an early one of the same",
            code="E071",
        )
    return state


def find_labels(labels: Path | None, weights: Path | None) -> Path | None:
    """The file of class names: `labels`, else the one that `enxuto train` wrote beside the checkpoint."""
    beside = None if weights is None else weights.with_name("labels.txt")
    return labels if labels is not None or beside is None or not beside.is_file() else beside


def _is_file(network: str) -> bool:
    return network.endswith(".pt")


def _read_pruned(network: str, factory: str | None) -> tuple[StartingNetwork, Preprocess | None] | None:
    """The network of a file that an earlier prune wrote, and its preprocessing; None where NETWORK names no file."""
    from enxuto.studies.pruning import StartingNetwork

    if _is_file(network):
        return StartingNetwork.read(network, factory)
    if factory is not None:
        raise UsageError(
            f"--factory is for files of pruned networks; leave it out for {network}", code="E024"
        )
    return None


def build(
    network: str, weights: TrainedWeights | None, images: Images, built: Mapping[str, OptionValue]
) -> StartingNetwork:
    """Make a network with its trained weights, for images and classes as these."""
    from enxuto.studies.pruning import StartingNetwork

    shape = tuple(images.train.images.shape[1:])
    return StartingNetwork.of(network, weights, shape, images.train.classes, built)
