"""Pruning one trained network in rounds: the points behind `enxuto prune`, and the network they begin with.

The network is a zoo's name or `module:factory` with a checkpoint, or a file of an already pruned network. A checkpoint
of `enxuto train` also says how it was trained, which is how it is trained again, and the mean and standard deviation
of its images. Left out: networks whose factory needs arguments.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from enxuto.archive import read_archive, read_state, same_number_kind
from enxuto.data import Preprocess
from enxuto.errors import ModelError, UsageError, error_reason
from enxuto.importing.check import check_learnable
from enxuto.importing.load import network_of
from enxuto.onnx_model import Model, append_flatten, channels_first, cut_before_softmax, output_ending
from enxuto.opening import load_with_metadata, preprocess_of
from enxuto.prune.removal.kept import Architecture, KeptChannels
from enxuto.prune.removal.rebuild import check_declared_size, load_pruned, save_pruned
from enxuto.prune.retrain import REFITTED
from enxuto.prune.rounds import UnprunedNetwork, shares_left
from enxuto.prune.selection import Selection
from enxuto.studies.images import ImageSelection
from enxuto.studies.kinds import LOTTERY_ROUND, LOTTERY_START, make_point
from enxuto.studies.lottery.arms import Arm
from enxuto.studies.lottery.points import CODE, network_settings, reference_settings
from enxuto.studies.network_hashes import state_hash
from enxuto.study.identity import content_hash
from enxuto.study.point import Point
from enxuto.train.checkpoint import Checkpoint
from enxuto.zoo.entry import OptionValue

__all__ = ["StartingNetwork", "TrainedWeights", "prune_points", "size_after"]


@dataclass(frozen=True)
class TrainedWeights:
    """The weights of a checkpoint. config, last_lr, classes, mean, std: of its training, None where it lacks them.

    network: `Checkpoint.network`. preprocess: of a file's network, where images are to be cropped, or resized in
    another way than to its input's size.
    """

    state: Mapping[str, Tensor] = field(hash=False)
    config: Mapping[str, Any] | None = None
    last_lr: float | None = None
    classes: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    network: Mapping[str, Any] | None = field(default=None, hash=False)
    preprocess: Preprocess | None = None

    @classmethod
    def read(cls, path: str | Path) -> TrainedWeights:
        """Read a checkpoint of `enxuto train`, or a state dict (`archive.read_state`).

        Nothing in the file is executed. Raises `UsageError` where there is none, `FormatError` where it is neither.
        """
        held = read_archive(path)
        if not isinstance(held, Mapping) or held.get("format") != "enxuto checkpoint":
            return cls(read_state(path))
        read = Checkpoint.read(path)
        lr = read.history[-1]["lr"] if read.history else read.config["lr"]
        return cls(
            read.model, read.config, lr, read.data["classes"], tuple(read.data["mean"]),
            tuple(read.data["std"]), read.network,
        )  # fmt: skip


@dataclass(frozen=True)
class StartingNetwork:
    """The trained network that rounds begin with.

    kept: all of its channels, or those that an earlier pruning left. source: the model of the file that it comes from.
    """

    network: nn.Module = field(hash=False)
    architecture: Architecture
    kept: KeptChannels
    source: Model | None = field(default=None, hash=False)

    @classmethod
    def of(
        cls,
        name: str,
        weights: TrainedWeights | None,
        shape: Sequence[int],
        classes: int,
        options: Mapping[str, OptionValue] | None = None,
    ) -> StartingNetwork:
        """Build `name` with `options` for images of `shape`, (channels, height, width), and put the weights in.

        Raises `ModelError` where they are of another network.
        """
        own = ":" in name
        architecture = Architecture(
            name, tuple(shape), None if own else (weights and weights.classes) or classes, dict(options or {})
        )
        if weights is not None and not own:
            check_declared_size(architecture, weights.state)  # the number of classes stands in the file
        network = architecture.build()
        if weights is not None:
            held = network.state_dict()
            for key, value in weights.state.items():
                if key in held and not same_number_kind(value, held[key]):
                    raise ModelError(
                        f"the weights are not of {name}: {key!r} holds {value.dtype}", code="E071"
                    )
            try:
                network.load_state_dict(dict(weights.state))
            except RuntimeError as error:
                raise ModelError(
                    f"the weights are not of {name}: {error_reason(error)}", code="E071"
                ) from error
        return cls(
            network.eval(), architecture, UnprunedNetwork.from_architecture(architecture).channels.keep_all()
        )

    @classmethod
    def read(cls, path: str | Path, factory: str | None = None) -> tuple[StartingNetwork, Preprocess | None]:
        """Take a network that was pruned before, and the preprocessing that it was trained with.

        factory: as in `load_pruned`.
        """
        pruned = load_pruned(path, factory)
        return cls(pruned.network, pruned.architecture, pruned.kept), preprocess_of(dict(pruned.metadata))

    @classmethod
    def of_file(
        cls,
        path: str | Path,
        size: tuple[int, int] | None = None,
        *,
        prunes: bool = True,
    ) -> tuple[StartingNetwork, Preprocess | None]:
        """Take the network of an ONNX or `.enx` file, and the preprocessing that the file names.

        A softmax at the end is left out, as training and criteria take logits.

        Args:
            path: the file.
            size: of images, (height, width), where the file leaves it open; by default its preprocessing says it.
            prunes: whether channels are followed, which not all networks that can be trained allow.

        Raises:
            ModelError: an operator has no module, or the network is no classifier of one input and output.
            UsageError: the size of images is not known.
        """
        model, metadata = load_with_metadata(path)
        stored = preprocess_of(metadata)
        return cls.of_model(
            model, metadata, Path(path).stem, size or size_after(stored), prunes=prunes
        ), stored

    @classmethod
    def of_model(
        cls,
        model: Model,
        metadata: Mapping[str, Any],
        name: str,
        size: Sequence[int] | None = None,
        *,
        prunes: bool = True,
    ) -> StartingNetwork:
        """Take the network of a model, as `of_file` does. name: what messages call it.

        It takes images as (channels, height, width), also where the model takes the channels last.
        """
        model = channels_first(model)
        input_shape = _open_shape(model, name, size)
        ending = output_ending(model)
        if ending.kind == "probabilities" and ending.before is not None:
            model = cut_before_softmax(model, ending.before)
        network = network_of(model, input_shape, metadata)
        if len(network.signature.inputs) != 1 or len(network.signature.outputs) != 1:
            raise ModelError(f"{name} has several inputs or outputs, which no classifier has", code="E035")
        check_learnable(network)
        with torch.no_grad():
            try:
                scores = network(torch.zeros(1, *network.input_shape))
            except (RuntimeError, IndexError, TypeError) as error:
                raise ModelError(
                    f"{name} takes no images, as its module does not run on zeros: {error_reason(error)}",
                    code="E035",
                ) from error
            if scores.dim() > 2 and scores.numel() == max(scores.shape[1:]):  # (1, classes, 1, 1)
                model = append_flatten(model)
                network = network_of(model, input_shape, metadata)
                scores = scores.flatten(1)
        if scores.dim() != 2:
            raise ModelError(
                f"{name} gives scores of shape {tuple(scores.shape)}; a classifier gives (batch, classes)",
                code="E035",
            )
        architecture = Architecture(
            name.replace(":", "_") or "network", network.input_shape, graph=network.graph
        )
        if not prunes:
            return cls(network, architecture, KeptChannels({}, {}), model)
        kept = UnprunedNetwork.from_architecture(architecture).channels.keep_all()
        return cls(network, architecture, kept, model)

    @property
    def hash(self) -> str:
        """Sixteen hex digits of the weights and the plan."""
        plan = {layer: list(places) for layer, places in self.kept.layers.items()}
        return content_hash({"plan": plan, "state": state_hash(self.network.state_dict())})

    def write(self, path: Path) -> None:
        """Write it where the first point finds it."""
        save_pruned(path, self.network, self.architecture, self.kept)


def size_after(preprocess: Preprocess | None) -> tuple[int, int] | None:
    """The height and width that a preprocessing leaves; None where they depend on the image."""
    if preprocess is None:
        return None
    if preprocess.crop is not None:
        return preprocess.crop if isinstance(preprocess.crop, tuple) else (preprocess.crop, preprocess.crop)
    return preprocess.resize if isinstance(preprocess.resize, tuple) else None


def _open_shape(model: Model, name: str, size: Sequence[int] | None) -> tuple[int, ...] | None:
    """The shape of an image where the model leaves height or width open; None where it says all."""
    item = next((item for item in model.proto.graph.input if item.name not in model), None)
    dims = [] if item is None else item.type.tensor_type.shape.dim[1:]
    known = [dim.dim_value if dim.HasField("dim_value") else None for dim in dims]
    if None not in known:
        return None
    if len(known) != 3 or known[0] is None or size is None:
        raise UsageError(
            f"{name} leaves the size of its images open; name a preprocessing that resizes them by preprocess=, "
            "such as resize=H,W",
            code="E023",
        )
    shape = tuple(one or other for one, other in zip(known, (known[0], *size), strict=True))
    warnings.warn(
        f"{name} takes images of any size; what is made of it takes those of {shape[1]}×{shape[2]} only",
        stacklevel=4,
    )
    return shape


def prune_points(
    start: StartingNetwork,
    images: ImageSelection,
    data_hash: str,
    arm: Arm,
    selection: Selection,
    *,
    amount: float,
    rounds: int,
    config: Mapping[str, Any],
    last_lr: float,
    score_images: int | None,
    reference: str = "blur",
    seed: int,
    paths: Mapping[str, str],
    early: Mapping[str, Tensor] | None = None,
    minutes: float | None = None,
) -> list[Point]:
    """The network as it is, then its rounds, each after the one before.

    A round leaves 1 − `amount` of what `start` has, the next one 1 − `amount` of that, and so on.

    Args:
        start: the trained network.
        images: which images train and test, and `data_hash`, theirs.
        arm: the criterion, and the way of retraining.
        selection: how filters are chosen by their scores.
        amount: the share that a round removes, 0…1.
        rounds: how many.
        config: of the training that follows each round.
        last_lr: the learning rate that the training of `start` ended with.
        score_images: training images that the criterion looks at, None for all.
        reference: what DeepLIFT and conductance compare an image with, of `criteria.scores.REFERENCES`.
        seed: of the points.
        paths: `data`, perhaps `test`, `network` (what `start.write` wrote), and perhaps `rewind`, an early checkpoint
            of the same network.
        early: the state in the checkpoint `rewind`.
        minutes: of distillation after each round, instead of the epochs of `config`.

    Raises:
        UsageError: for `rewind` without `early`, or `early` without `rewind`.
    """
    if ("rewind" in paths) != (early is not None):
        raise UsageError(
            "an early checkpoint is known by its path and its state, both or neither", code="E023"
        )
    shared = {**network_settings(start.architecture), "images": images.to_dict()}
    rewind = {} if early is None else {"rewind": state_hash(early)}
    refit: dict[str, Any] = {"refit": "in order, measured factors"} if arm.mode in REFITTED else {}
    if minutes is not None:
        refit["minutes"] = minutes
    compared = reference_settings(reference)
    settings = {**shared, "weights": start.hash, "last_lr": last_lr}
    first = make_point(LOTTERY_START, settings, seed, data_hash, code=CODE, paths=paths)
    points = [first]
    for number, left in enumerate(shares_left(amount, rounds), start=1):
        settings = {
            **shared, "arm": arm.to_dict(), "round": number, "left": left, "selection": selection.to_dict(),
            "score_images": score_images, "retrain_epochs": None, "config": dict(config), "gradual": None,
            **rewind, **refit, **compared,
        }  # fmt: skip
        after = [first] if number == 1 else [first, points[-1]]
        points.append(make_point(LOTTERY_ROUND, settings, seed, data_hash, after, code=CODE, paths=paths))
    return points
