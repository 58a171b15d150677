"""Pruned networks of one trained network, by the share of multiplications that is left, and each as an ONNX model."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

import numpy as np
import torch
from onnx import ModelProto, TensorProto, ValueInfoProto, helper
from torch import Tensor, nn

from enxuto.data import Dataset, Preprocess
from enxuto.errors import UsageError
from enxuto.export import export_onnx
from enxuto.onnx_model import Model, channels_last, output_ending, takes_channels_last
from enxuto.progress import Progress
from enxuto.prune.refit.pruner import Refitter
from enxuto.prune.removal.kept import KeptChannels
from enxuto.prune.removal.rebuild import PrunedNetwork, load_pruned, save_pruned
from enxuto.prune.retrain import DISTILLATION
from enxuto.prune.rounds import UnprunedNetwork
from enxuto.runtime import Runner
from enxuto.studies.pruning import StartingNetwork
from enxuto.study.identity import content_hash
from enxuto.train.batches import TrainingData
from enxuto.train.config import TrainConfig
from enxuto.train.distillation import Teacher, distil
from enxuto.train.progress import TrainingProgress

__all__ = ["PruningWork", "as_onnx", "training_data"]

_FORMAT = 4  # of what is kept in the folder: another number makes it anew


@dataclass
class PruningWork:
    """Makes pruned networks, and keeps them in a folder, from which an interrupted run takes them again.

    model: the original. images: (N, channels, height, width), as the network takes them; without labels. learning: the
    images that distillation learns from, None where there is none. minutes: of each distillation. multiple: of
    the filters that layers keep. notes: what trainings remarked, a line each.
    """

    start: StartingNetwork
    model: Model
    images: Tensor
    images_hash: str
    folder: Path
    learning: TrainingData | None = None
    minutes: float | None = None
    seed: int = 0
    threads: int = 1
    multiple: int = 1
    progress: Progress | None = None
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.unpruned = UnprunedNetwork.from_architecture(self.start.architecture)
        self._state = {name: value.clone() for name, value in self.start.network.state_dict().items()}
        self._measure = self.unpruned.target_measure("macs", None)
        self._refitter: Refitter | None = None

    def plan(self, share: float) -> tuple[KeptChannels, float]:
        """Which filters are left at a share of the multiplications, and the share that they have."""
        step = self._known().choose(self.start.kept, share, self._measure, multiple=self.multiple)
        return step.kept, step.achieved

    def untrained(self, kept: KeptChannels) -> Model:
        """The network of a plan as it is right after removal: good for timing."""
        return as_onnx(self.unpruned.prune(self._state, kept, verify=False), self.start, self.model)

    @property
    def distils(self) -> bool:
        """Whether pruned networks can learn the original's answers."""
        return self.minutes is not None and self.learning is not None

    def make(self, share: float, *, distilled: bool) -> tuple[Model, float]:
        """The pruned network at a share, refitted and perhaps distilled, and the share that it has."""
        held = self._distilled(share) if distilled else self._refitted(share)
        achieved = self._measure(self.unpruned.removed_groups(held.kept)) / self._measure(frozenset())
        return as_onnx(held.network, self.start, self.model), achieved

    def _refitted(self, share: float) -> PrunedNetwork:
        place = self._place(share, None)
        if not place.is_file():
            kept, _ = self.plan(share)
            self._report("removing", 0, 1)
            network = self.unpruned.prune(self._state, kept)
            self._known().apply(network, kept)
            self._keep(place, network, kept)
        return load_pruned(place)

    def _distilled(self, share: float) -> PrunedNetwork:
        assert self.learning is not None, "the caller knows"
        place = self._place(share, self.minutes)
        if not place.is_file():
            held = self._refitted(share)
            self._distil(held.network, self.learning, place.with_name(f"{place.stem}-training"))
            self._keep(place, held.network, held.kept)
        return load_pruned(place)

    def _place(self, share: float, minutes: float | None) -> Path:
        """Where a network is kept, by all that it depends on."""
        learning = None if self.learning is None or minutes is None else self.learning.hash
        identity = content_hash({
            "format": _FORMAT, "start": self.start.hash, "images": self.images_hash, "share": share,
            "multiple": self.multiple, "minutes": minutes, "seed": self.seed, "learning": learning,
        })  # fmt: skip
        return self.folder / "networks" / f"{identity}.pt"

    def _keep(self, place: Path, network: nn.Module, kept: KeptChannels) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        save_pruned(place, network.eval(), self.start.architecture, kept)

    def _known(self) -> Refitter:
        if self._refitter is None:
            self._refitter = Refitter.of(self.unpruned, self._state, [self.images], self.seed, self.progress)
        return self._refitter

    def _distil(self, network: nn.Module, learning: TrainingData, folder: Path) -> None:
        config = TrainConfig.from_recipe(
            None,
            {**DISTILLATION, "seed": self.seed, "threads": self.threads, "batch": min(128, len(learning))},
        )

        def report(done: TrainingProgress) -> None:
            self._report("distilling", (done.epoch - 1) * done.total + done.done, done.epochs * done.total)

        teacher = Teacher(self.start.architecture.build())
        teacher.network.load_state_dict(self._state)
        done = distil(network, teacher, learning, config, folder, minutes=self.minutes, progress=report)
        self.notes += [remark for remark in done.notes if remark not in self.notes]
        network.cpu()

    def _report(self, stage: str, done: int, total: int) -> None:
        if self.progress is not None:
            self.progress(stage, done, total)


def as_onnx(network: nn.Module, start: StartingNetwork, original: Model) -> Model:
    """The network as an ONNX model that takes the place of the original: the same input, output and ending."""
    with tempfile.TemporaryDirectory(prefix="enxuto-") as folder:
        path = Path(folder) / "network.onnx"
        export_onnx(network, path, input_shape=start.architecture.input_shape)
        model = Model.read(path)
    if takes_channels_last(original):
        model = channels_last(model)
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    graph = proto.graph
    shape = Runner(original, threads=1).output_shapes[0]
    if len(shape) > 2:  # (batch, classes, 1, 1)
        sizes = [0, *(1 if size == 1 else -1 for size in shape[1:])]
        graph.node.append(helper.make_node("Constant", [], ["enxuto.shape"], value_ints=sizes))
        graph.node.append(
            helper.make_node("Reshape", [graph.output[0].name, "enxuto.shape"], ["enxuto.shaped"])
        )
        graph.output[0].CopyFrom(ValueInfoProto(name="enxuto.shaped"))
        graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT
    ending = output_ending(original)
    if ending.kind == "probabilities" and ending.before is not None:
        graph.node.append(helper.make_node("Softmax", [graph.output[0].name], ["enxuto.scores"], axis=1))
        graph.output[0].name = "enxuto.scores"
    given = next(item.name for item in original.proto.graph.input if item.name not in original)
    _rename(proto, {graph.input[0].name: given, graph.output[0].name: original.proto.graph.output[0].name})
    for prop in original.proto.metadata_props:
        proto.metadata_props.add(key=prop.key, value=prop.value)
    return model.with_proto(proto)


def _rename(proto: ModelProto, names: dict[str, str]) -> None:
    """Rename values; one that has a new name already makes way, unless it is a weight."""
    weights = {item.name for item in proto.graph.initializer}
    taken = {name for node in proto.graph.node for name in (*node.input, *node.output)} | weights
    for old, new in list(names.items()):
        if new not in taken or new == old or new in names:
            continue
        if new in weights:
            raise UsageError(f"the exported network has a weight {new!r} already", code="E031")
        names[new] = next(
            name
            for number in count(1)
            if (name := f"{new}, inner {number}") not in taken and name not in names.values()
        )
    for node in proto.graph.node:
        for values in (node.input, node.output):
            for place, name in enumerate(values):
                values[place] = names.get(name, name)
    for item in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        item.name = names.get(item.name, item.name)


def training_data(
    dataset: Dataset, preprocess: Preprocess, classes: int, load: Callable[[Dataset, Preprocess], np.ndarray]
) -> TrainingData:
    """Images as distillation takes them: bytes of the size that the model takes, with its mean and std; no labels."""
    channels = len(preprocess.mean) if len(preprocess.mean) > 1 else None
    raw = replace(preprocess, divide_by=1.0, mean=(0.0,), std=(1.0,), layout="NCHW")
    pixels = torch.from_numpy(np.clip(np.rint(load(dataset, raw)), 0, 255).astype(np.uint8))
    factor = preprocess.divide_by / 255
    width = channels or pixels.shape[1]
    mean, std = (
        tuple(value * factor for value in (values * width if len(values) == 1 else values))
        for values in (preprocess.mean, preprocess.std)
    )
    labels = torch.zeros(len(pixels), dtype=torch.int64)
    return TrainingData(pixels, labels, mean, std, classes, f"{dataset.hash} without labels")
