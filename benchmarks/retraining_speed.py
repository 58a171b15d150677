"""What a step of retraining costs beside a step of a bare training loop, and which part of it costs how much.

    python benchmarks/retraining_speed.py [--network resnet20-cifar10] [--batch 64] [--rounds 9] [--threads 1]

The bare loop runs the network forwards and backwards on the same batches and updates plain weights with Adam, in the
same precision. Then the original answers beside it (distillation), weights are rounded and steps learned, what layers
read is held, bits are priced, and bits of levels are counted for a controller, or paths on a trellis are looked for in
place of levels. By operations a bare step costs three forward runs, one with the original four. Ways take turns;
medians of the rounds, as shares of the bare loop's; no images and no `../shared` are needed for `--network demo`.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from enxuto.calibration.layers import calibrated_layers
from enxuto.compression.selection import DEFAULT_ROLES, quantizable_weights
from enxuto.importing.network import OnnxNetwork
from enxuto.metrics.losses import OutputLoss
from enxuto.onnx_model import Model
from enxuto.quantize.grid import Grid
from enxuto.quantize.scalar import short_float32
from enxuto.quantize.tensor import QuantizedTensor
from enxuto.quantize.trellis import NEWEST
from enxuto.retraining import Retraining
from enxuto.retraining.descent import Descent
from enxuto.retraining.divergence import divergence_from
from enxuto.retraining.features import features_of
from enxuto.retraining.images import TrainingImages
from enxuto.retraining.placement import finish_work, placement_of
from enxuto.retraining.schedule import Schedule
from enxuto.retraining.student import Student, teacher_of
from enxuto.rounding.viterbi import nearest_path
from enxuto.train.placement import Placement
from rate import opened

_COARSE = 1.5  # standard deviations of a weight that its step is: some one bit a weight
_FINE = 0.9  # likewise on a trellis
_PRICE = 1e-7  # nats per bit: any but 0
_IMAGES = 1024
_LONG = Schedule(1_000_000)


def levels_of(model: Model, share: float, trellis: int) -> dict[str, QuantizedTensor]:
    """Return all weights rounded at steps of a share of their deviation, on a trellis of so many states or on none."""
    found = {}
    for name in quantizable_weights(model, DEFAULT_ROLES):
        weight = model.load(name)
        grid = Grid(short_float32(share * float(weight.std())), trellis=trellis)
        numbers = (weight / grid.step).astype(np.float64).reshape(len(weight), -1)
        levels = nearest_path(numbers, trellis) if trellis else np.rint(numbers).astype(np.int32)
        assert levels is not None, "steps are a share of the weights"
        found[name] = QuantizedTensor(levels.reshape(weight.shape), grid)
    return found


def bare_step(network: OnnxNetwork, images: TrainingImages, placement: Placement) -> Callable[[int], None]:
    """Return a step of a loop that trains a network towards random classes."""
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-5)

    def step(number: int) -> None:
        batch = images.batch_at(number).images.to(placement.device)
        with placement.autocast():
            scores = network(batch).flatten(1).float()
        classes = torch.arange(len(batch), device=scores.device) % scores.shape[1]
        optimizer.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(scores, classes).backward()
        optimizer.step()

    return step


def taught_step(
    network: OnnxNetwork, teacher: OnnxNetwork, images: TrainingImages, placement: Placement, loss: OutputLoss
) -> Callable[[int], None]:
    """Return a step of a loop that trains a network towards another's answers."""
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-5)

    def step(number: int) -> None:
        batch = images.batch_at(number).images.to(placement.device)
        with placement.autocast():
            with torch.no_grad():
                reference = teacher(batch).float()
            scores = network(batch).float()
        optimizer.zero_grad(set_to_none=True)
        divergence_from([reference], [scores], [loss]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def ways(
    model: Model, shape: tuple[int, ...], batch: int
) -> tuple[Placement, dict[str, Callable[[int], None]]]:
    """Return where all run, and a step of every way, by name."""
    placement = placement_of(Retraining())
    made = np.random.default_rng(0).normal(0, 1, (_IMAGES, *shape)).astype(np.float32)
    images = TrainingImages(made, batch, 0, pictures=True)
    output = model.proto.graph.output[0].name
    loss = OutputLoss(output, "classes", output)
    teacher = teacher_of(model, shape).to(placement.device)
    plain = []
    for _ in range(2):
        network = teacher_of(model, shape).to(placement.device)
        for parameter in network.parameters():
            parameter.requires_grad_(True)
        plain.append(network)
    plainly, on_trellis = levels_of(model, _COARSE, 0), levels_of(model, _FINE, NEWEST)
    weights = {name: model.load(name) for name in plainly}
    read = features_of([layer.input for layer in calibrated_layers(model)], teacher)
    decoded = model.replace_weights({name: tensor.reconstruct() for name, tensor in plainly.items()})
    pull = Retraining().features
    rounded, held, priced, counted, searched = (
        Descent(
            Student(decoded, weights, on_trellis if number == 4 else plainly, {}, 1.0, shape=shape),
            teacher_of(model, shape), images, (loss,), 1e-4, placement, coarsens=number == 3,
            features=(read, pull if number else 0.0),
        )
        for number in range(5)
    )  # fmt: skip

    def count(_: int) -> None:
        counted.learn(_LONG, _PRICE)
        counted.student.bits_of_levels()

    return placement, {
        "bare loop": bare_step(plain[0], images, placement),
        "the original answers beside it": taught_step(plain[1], teacher, images, placement, loss),
        "weights are rounded": lambda _: ignore(rounded.learn(_LONG, 0.0)),
        "what layers read is held": lambda _: ignore(held.learn(_LONG, 0.0)),
        "bits are priced": lambda _: ignore(priced.learn(_LONG, _PRICE)),
        "bits of levels are counted": count,
        "priced, and on a trellis": lambda _: ignore(searched.learn(_LONG, _PRICE)),
    }


def ignore(_: object) -> None:
    """Return nothing of what a step says."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", default="resnet20-cifar10")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=5, help="of a way in a round")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    model, _ = opened(given.network)
    shape = tuple(item.dim_value for item in model.proto.graph.input[0].type.tensor_type.shape.dim)[1:]
    placement, steps = ways(model, shape, given.batch)
    took: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(given.rounds + 1):
        for name, step in steps.items():
            began = time.perf_counter()
            for at in range(given.steps):
                step(number * given.steps + at)
            finish_work(placement)
            if number:  # the first round warms up
                took[name].append(time.perf_counter() - began)
    bare = statistics.median(took["bare loop"])
    print(f"{given.network}, batches of {given.batch}, {given.threads} threads")
    for name, seconds in took.items():
        print(f"{name:<32} {statistics.median(seconds) / bare:.2f}")


if __name__ == "__main__":
    main()
