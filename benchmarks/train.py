"""Images per second of enxuto's training loop beside a bare hand-written PyTorch loop, in turns in one run.

    python benchmarks/train.py [--network lenet5-cifar] [--images 2048] [--rounds 7] [--json train.json]

Same network, same images in memory (random bytes) and in the plain layout, same optimizer, same batches. The bare loop
shuffles, gathers, normalises, steps, and nothing else: no schedule, no record, no checkpoint. It has no augmentation
either, so the third column is what augmentation costs. A round is one epoch of each, in changing order; the ratio is
the median over the rounds of their ratios. Checkpoints and validation are not timed here.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from enxuto import zoo
from enxuto.train import TrainConfig, TrainingData, fit

BATCH = 128


def random_data(count: int, shape: tuple[int, int, int], classes: int) -> TrainingData:
    """Images of random bytes with random labels."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, *shape), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, classes, (count,), generator=generator)
    return TrainingData(images, labels, (0.5,) * shape[0], (0.25,) * shape[0], classes, "random")


def bare_epoch(model: nn.Module, data: TrainingData, device: torch.device) -> float:
    """Seconds of an epoch of the loop that everybody writes."""
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    images, labels = data.images.to(device), data.labels.to(device)
    model.train()
    begin = time.perf_counter()
    order = torch.randperm(len(data), device=device)
    for chosen in order.split(BATCH):
        batch = (images[chosen].float() / 255 - 0.5) / 0.25
        loss = nn.functional.cross_entropy(model(batch), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    loss.item()
    return time.perf_counter() - begin


def our_epoch(model: nn.Module, data: TrainingData, augment: str, device: torch.device) -> float:
    """Seconds of an epoch of `fit`, as its history says (validation and checkpoints come after)."""
    config = TrainConfig.from_recipe(
        None,
        {"optimizer": "momentum", "lr": 0.01, "batch": BATCH, "epochs": 1, "augment": augment, "device": device.type,
         "channels_last": False},
    )  # fmt: skip
    return len(data) / fit(model, data, None, config).records[0].images_per_s


def measure(network: str, images: int, rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds an epoch, for each way and round; the first round of each warms up and is left out."""
    entry = zoo.entry(network)
    data = random_data(images, entry.input_shape, entry.classes)
    model = zoo.build(network, seed=0).to(device)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    ways: dict[str, Callable[[], float]] = {
        "bare": lambda: bare_epoch(model, data, device),
        "none": lambda: our_epoch(model, data, "none", device),
        "flip": lambda: our_epoch(model, data, "flip", device),
        "crop-flip": lambda: our_epoch(model, data, "crop-flip", device),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    order = list(ways)
    for turn in range(rounds + 1):
        for name in order if turn % 2 else reversed(order):
            model.load_state_dict(start)
            taken = ways[name]()
            if turn > 0:
                seconds[name].append(taken)
    return seconds


def main() -> None:
    """Measure and print a Markdown table; exit 1 when a ratio is below its bound."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--network", action="append", help="can be repeated; default lenet5-cifar, squeezenet-dsc"
    )
    parser.add_argument("--images", type=int, default=2048, help="images an epoch")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    settings = f"batch {BATCH}, {options.rounds} rounds, {device}, {options.threads} threads"
    print(f"{options.images:,} images an epoch, {settings}\n")
    print("| network | way | images/s | of the bare loop | bound |\n|---|---|---|---|---|")
    found, met = [], True
    for network in options.network or ["lenet5-cifar", "squeezenet-dsc"]:
        seconds = measure(network, options.images, options.rounds, device)
        for way, bound in (("bare", 1.0), ("none", 0.95), ("flip", 0.9), ("crop-flip", 0.9)):
            pairs = zip(seconds["bare"], seconds[way], strict=True)
            ratio = statistics.median(bare / ours for bare, ours in pairs)
            speed = options.images / statistics.median(seconds[way])
            met &= ratio >= bound
            found.append(
                {"network": network, "way": way, "images_per_s": speed, "ratio": ratio, "bound": bound}
            )
            print(f"| {network} | {way} | {speed:,.0f} | {ratio:.3f} | {bound} |", flush=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    raise SystemExit(0 if met else 1)


if __name__ == "__main__":
    main()
