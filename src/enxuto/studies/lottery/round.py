"""What the points of a lottery study compute: an unpruned training, a network to start with, a round of pruning.

Each leaves its network as `network.pt` (`prune.load_pruned` reads it) in its folder; a training that was interrupted
resumes from its last epoch. Accuracies are of the last epoch's weights on held-out test images.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from enxuto.errors import DataError
from enxuto.metrics import wilson_interval
from enxuto.prune.criteria.scores import REFERENCES, Criterion, scores, with_reference
from enxuto.prune.criteria.weights import Random
from enxuto.prune.refit.pruner import COST, Refitter
from enxuto.prune.removal.kept import Architecture, KeptChannels
from enxuto.prune.removal.rebuild import load_pruned, read_graph, save_pruned
from enxuto.prune.removal.remove import slice_state
from enxuto.prune.retrain import build_unpruned, reinitialise
from enxuto.prune.rounds import LayerCollapseError, PruningStep, UnprunedNetwork
from enxuto.prune.selection import Selection
from enxuto.prune.speed import relative_latency
from enxuto.studies.images import Images, open_point_images, scoring_batches
from enxuto.studies.lottery.arms import Arm
from enxuto.studies.lottery.collapse import earlier_collapse, measure_collapsed
from enxuto.studies.lottery.points import network_settings, retraining_of
from enxuto.studies.network_hashes import state_hash
from enxuto.studies.pruning import StartingNetwork
from enxuto.study.point import Predecessor, Task
from enxuto.train.batches import TrainingData
from enxuto.train.checkpoint import Checkpoint, epoch_file
from enxuto.train.config import TrainConfig
from enxuto.train.distillation import Teacher, distil
from enxuto.train.history import History
from enxuto.train.loop import fit
from enxuto.train.validation import score

__all__ = [
    "NETWORK",
    "TRAINING",
    "architecture_of",
    "load_start",
    "network_file",
    "prune_round",
    "train_unpruned",
]

NETWORK, TRAINING = "network.pt", "training"


def train_unpruned(task: Task) -> dict[str, Any]:
    """Train the unpruned network; its checkpoints stay, as rounds rewind to them."""
    (images, held), unpruned = _open_images(task), _load_unpruned(task)
    config = TrainConfig.from_recipe(
        None, {**task.settings["config"], "validation": 0.0, "threads": task.threads}
    )
    network = build_unpruned(unpruned.architecture, task.seed)
    history = fit(network, images.train, held, config, folder=task.folder / TRAINING, resume=True)
    kept = unpruned.channels.keep_all()
    return {
        **_measure_network(task, unpruned, network.cpu(), kept, images, history),
        "last_lr": history.records[-1].lr,
        # What a network that always names one class would reach: below it, no pruned one says anything.
        "constant_top1": float(images.test.labels.bincount().max()) / len(images.test),
    }


def load_start(task: Task) -> dict[str, Any]:
    """Load a trained network as it is, from a file that `save_pruned` wrote; `task.paths["network"]` says where."""
    start = load_pruned(task.paths["network"], _load_unpruned(task).architecture.factory)
    if StartingNetwork(start.network, start.architecture, start.kept).hash != task.settings["weights"]:
        raise DataError(
            f"{task.paths['network']} holds other weights than this study began with", code="E080"
        )
    values = _measure_network(
        task, _load_unpruned(task), start.network, start.kept, open_point_images(task), None
    )
    return {**values, "last_lr": task.settings["last_lr"]}


def prune_round(task: Task) -> dict[str, Any]:
    """Score, choose, remove, train again, measure: the values of one round."""
    (images, held), unpruned, settings = _open_images(task), _load_unpruned(task), task.settings
    first, arm = task.predecessors[0], Arm(**settings["arm"])
    ended = earlier_collapse(task)
    if ended is not None:
        return {**ended, "removed_now": {}}
    state, kept = _starting_state(task, arm, unpruned)
    # Round 0 prunes nothing: the control of training on.
    whole = unpruned.expand_state(state, kept)
    refitter = (
        _refitter(task, unpruned, whole, images) if settings["round"] and settings.get("refit") else None
    )
    step = PruningStep(kept, 1.0, 1.0)
    if arm.control:
        step = _take_sizes(task, arm, unpruned, kept)
    elif settings["round"]:
        try:
            step = _choose_filters(task, unpruned, state, kept, images, refitter)
        except LayerCollapseError as collapse:
            return measure_collapsed(unpruned, whole, kept, collapse, images)
    smaller = unpruned.prune(whole, step.kept)
    at_once = None if arm.control == "fresh" else score(smaller, images.test).top1
    if refitter is not None:
        refitter.apply(smaller, step.kept)
    network = _restore_weights(task, arm, unpruned, smaller, step.kept)
    history = None
    if arm.mode != "none" or settings["gradual"] is not None:
        config = retraining_of(settings, first.values["last_lr"]).model_copy(update={"threads": task.threads})
        folder = task.folder / TRAINING
        if arm.mode == "distil":
            teacher = Teacher(load_pruned(network_file(first), unpruned.architecture.factory).network)
            minutes = settings.get("minutes")
            history = distil(network, teacher, images.train, config, folder, validation=held, minutes=minutes)
        else:
            history = fit(network, images.train, held, config, folder=folder, resume=True)
        network.cpu()
    values = _measure_network(task, unpruned, network, step.kept, images, history)
    shutil.rmtree(
        task.folder / TRAINING, ignore_errors=True
    )  # the network is kept; its optimizer is not needed again
    return {
        **values,
        "asked": step.requested,
        "reached": step.achieved,
        **({"exhausted": True} if step.exhausted else {}),
        "top1_before_retraining": at_once,
        "removed_now": (
            task.predecessors[-1].values["removed_now"]
            if arm.control == "fresh"
            else _removed_filters(kept, step.kept)
        ),
    }


def _open_images(task: Task) -> tuple[Images, TrainingData | None]:
    """The point's images, and those of the training part that nothing is trained on, where a share is held out.

    The seed of the images draws them, so that they are the same in all points of a study.
    """
    images, share = open_point_images(task), task.settings["config"]["validation"]
    if not share:
        return images, None
    train, held = images.train.split(share, task.settings["images"]["seed"])
    return replace(images, train=train), held


def _starting_state(
    task: Task, arm: Arm, unpruned: UnprunedNetwork
) -> tuple[Mapping[str, Tensor], KeptChannels]:
    """The state and the plan that a round starts from; of fresh weights, the plan of the arm's round."""
    gradual = task.settings["gradual"] if arm.control != "fresh" else None
    if gradual is not None and task.settings["round"] == 1:
        beginning = task.predecessors[0].folder / TRAINING / epoch_file(gradual[0])
        return Checkpoint.read(beginning).model, unpruned.channels.keep_all()
    before = task.predecessors[-2 if arm.control == "random" else -1]
    held = load_pruned(network_file(before), unpruned.architecture.factory)
    return held.network.state_dict(), held.kept


def _take_sizes(task: Task, arm: Arm, unpruned: UnprunedNetwork, kept: KeptChannels) -> PruningStep:
    """A control's plan: the arm's own, which `fresh` starts from, or as many filters of each layer by chance."""
    owner = task.predecessors[-1]
    if arm.control == "random":
        like = load_pruned(network_file(owner), unpruned.architecture.factory).kept
        kept = unpruned.plan_alike(kept, like, task.settings["config"]["seed"])
    return PruningStep(
        kept, owner.values["asked"], owner.values["reached"], owner.values.get("exhausted", False)
    )


def _choose_filters(
    task: Task, unpruned: UnprunedNetwork, state: Mapping[str, Tensor], kept: KeptChannels, images: Images,
    refitter: Refitter | None,
) -> PruningStep:  # fmt: skip
    """Score the network as it is and choose what goes."""
    settings = task.settings
    selection = Selection(**settings["selection"])
    if refitter is not None and settings["arm"]["criterion"] == COST:
        measure = unpruned.target_measure(selection.target, None)
        return refitter.choose(kept, settings["left"], measure, selection.floor, selection.multiple)
    network = unpruned.prune(unpruned.expand_state(state, kept), kept, verify=False)
    batches = scoring_batches(images, settings["score_images"], task.seed)
    found = scores(network, batches, _criterion(settings, images))
    threads = task.threads

    def timer(plan: KeptChannels) -> float:
        whole = build_unpruned(unpruned.architecture, 0)
        smaller = unpruned.prune(whole.state_dict(), plan, verify=False)
        return relative_latency(smaller, whole, unpruned.architecture.input_shape, threads=threads)

    return unpruned.plan_round(kept, found, settings["left"], selection, timer=timer)


def _refitter(task: Task, unpruned: UnprunedNetwork, whole: Mapping[str, Tensor], images: Images) -> Refitter:
    """Moments of the scoring images; nothing looks at their labels."""
    batches = scoring_batches(images, task.settings["score_images"], task.seed)
    return Refitter.of(unpruned, whole, (pixels for pixels, _ in batches), task.seed)


def _criterion(settings: Mapping[str, Any], images: Images) -> str | Criterion:
    """A round's criterion: chance by the round's seed; attribution by the reference that was asked for."""
    name, reference = settings["arm"]["criterion"], settings.get("reference")
    if name == "random":
        return Random(settings["config"]["seed"])
    if reference is None:
        return str(name)
    return with_reference(name, REFERENCES[reference](scoring_batches(images, None, 0)))


def _restore_weights(
    task: Task, arm: Arm, unpruned: UnprunedNetwork, smaller: nn.Module, kept: KeptChannels
) -> nn.Module:
    """Return the pruned network with the weights that its retraining starts from."""
    if arm.mode == "reinit" or arm.control == "fresh":
        return reinitialise(unpruned, kept, task.settings["config"]["seed"])
    if arm.mode == "rewind":
        early = task.paths.get("rewind")
        path = Path(early) if early else task.predecessors[0].folder / TRAINING / epoch_file(arm.rewind_epoch)
        state = Checkpoint.read(path).model
        if early and state_hash(state) != task.settings["rewind"]:
            raise DataError(
                f"{path} holds other weights than this study began with; run it again", code="E080"
            )
        smaller.load_state_dict(slice_state(state, unpruned.channels, kept))
    return smaller


def _measure_network(
    task: Task,
    unpruned: UnprunedNetwork,
    network: nn.Module,
    kept: KeptChannels,
    images: Images,
    history: History | None,
) -> dict[str, Any]:
    """Write the network, and measure what every point measures."""
    network.eval()
    found = score(network, images.test)
    size = unpruned.size_of(network, kept)
    right = round(found.top1 * found.samples)
    values = {
        "top1": found.top1,
        "top1_interval": list(wilson_interval(right, found.samples)),
        "loss": found.loss,
        "samples": found.samples,
        "size": vars(size),
        "left": size.shares_of(unpruned.size),
        "widths": {layer: len(kept.layers[layer]) for layer in unpruned.hidden_layers},
        "removed": {layer: list(places) for layer, places in kept.removed().items()},
        "losses": [record.loss for record in history.records] if history else [],
        "training_seconds": sum(record.seconds for record in history.records) if history else 0.0,
        **_learning_speed(history),
        **({"notes": list(history.notes)} if history and history.notes else {}),
    }
    path = task.folder / NETWORK
    metadata: dict[str, Any] = {
        "top1": found.top1,
        "samples": found.samples,
        "seed": task.seed,
        "data": task.data_hash,
    }
    if images.train.images.shape[1] in (1, 3):
        metadata["preprocess"] = images.train.preprocess().to_dict()
    if images.labels is not None:
        metadata["labels"] = list(images.labels)
    save_pruned(path, network, unpruned.architecture, kept, metadata=metadata)
    return {**values, "file_bytes": path.stat().st_size}


def _learning_speed(history: History | None) -> dict[str, Any]:
    """After how many epochs the loss on held-out images was lowest, where there are any."""
    losses = [record.validation_loss for record in history.records] if history else []
    known = [loss for loss in losses if loss is not None]
    return {"validation_losses": known, "epochs_to_lowest": 1 + known.index(min(known))} if known else {}


def _removed_filters(earlier: KeptChannels, later: KeptChannels) -> dict[str, list[int]]:
    """Layer → original places of the filters that this round removed."""
    gone = {
        layer: sorted(set(filters) - set(later.layers[layer])) for layer, filters in earlier.layers.items()
    }
    return {layer: filters for layer, filters in gone.items() if filters}


def network_file(predecessor: Predecessor) -> Path:
    """The file of the network that a point left. Raises `DataError` where it is gone."""
    path = predecessor.folder / NETWORK
    if not path.is_file():
        raise DataError(f"{path} is gone; remove the study's folder and run it again", code="E080")
    return path


def _load_unpruned(task: Task) -> UnprunedNetwork:
    torch.set_num_threads(task.threads)
    architecture = architecture_of(task)
    if task.settings.get("factory_code") != network_settings(architecture).get("factory_code"):
        raise DataError(
            f"the code of {architecture.name} is not that which this study began with; run the study again",
            code="E080",
        )
    return _build_unpruned(json.dumps(task.settings["network"], sort_keys=True), architecture.graph)


@lru_cache(maxsize=2)
def _build_unpruned(architecture: str, graph: bytes | None) -> UnprunedNetwork:
    return UnprunedNetwork.from_architecture(_architecture_of(json.loads(architecture), graph))


def architecture_of(task: Task) -> Architecture:
    """The network of a point's settings; its graph, where it has one, is in the file at the path `network`."""
    values = task.settings["network"]
    return _architecture_of(values, read_graph(task.paths["network"]) if "graph" in values else None)


def _architecture_of(values: Mapping[str, Any], graph: bytes | None) -> Architecture:
    """What the user asked for, a factory too; no file is asked which."""
    return Architecture.from_dict(values, values["name"] if ":" in values["name"] else None, graph)
