"""Cost of DeepLIFT for all layers, in training steps of the same batch, beside Captum; in turns in one run.

    python benchmarks/attribution.py [--network vgg16-cifar] [--batch 32] [--rounds 5] [--json attribution.json]

A training step is forward, cross-entropy, backward and one step of SGD with momentum, in training mode. Captum needs
one call of `LayerDeepLift` for each convolution; all its calls of a round are timed together (`--no-captum` leaves
them out). A round is one of each, in changing order; ratios are medians over the rounds. The convergence errors are
of the same batch: ours at the pixels, Captum's |Σ attributions − change| over |change| at the first convolution.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from enxuto import zoo
from enxuto.prune.attribution.deeplift import deeplift
from enxuto.prune.attribution.layers import filter_layers, per_filter
from enxuto.prune.attribution.references import blur

BOUND = 1.5


def step(model: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor) -> None:
    """One training step."""
    model.train()
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(images), labels).backward()
    optimizer.step()


def ours(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Norms by filter for all layers; returns the convergence error."""
    layers = filter_layers(model)
    found = deeplift(
        model, images, labels, reduce=lambda name, values: per_filter(values.abs(), layers[name]).sum(0)
    )
    return found.relative_error


def captums(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """A call for each convolution; returns the convergence error at the first."""
    from captum.attr import LayerDeepLift

    model.eval()
    start = blur(images)
    errors = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d):
                found = LayerDeepLift(model, layer).attribute(images, start, target=labels).detach()
                if not errors:
                    with torch.no_grad():
                        change = (model(images) - model(start)).gather(1, labels[:, None])[:, 0]
                    missed = (found.flatten(1).sum(1) - change).abs().sum()
                    errors.append(float(missed / change.abs().sum()))
    return errors[0]


def seconds(action: Callable[[], object], device: torch.device) -> float:
    """Time one call."""
    begin = time.perf_counter()
    action()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def main() -> None:
    """Measure and print a Markdown table; exit 1 when our ratio is above its bound."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", default="vgg16-cifar")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--no-captum", action="store_true")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    model = zoo.build(options.network, seed=0).to(device)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(options.batch, *zoo.input_shape(options.network), generator=generator).to(device)
    labels = torch.randint(0, zoo.entry(options.network).classes, (options.batch,), generator=generator).to(
        device
    )
    optimizer = torch.optim.SGD(model.parameters(), 1e-4, momentum=0.9)
    errors = {"DeepLIFT, all layers": ours(model, images, labels)}
    ways: dict[str, Callable[[], object]] = {
        "training step": lambda: step(model, optimizer, images, labels),
        "DeepLIFT, all layers": lambda: ours(model, images, labels),
    }
    if not options.no_captum:
        errors["Captum, layer by layer"] = captums(model, images, labels)
        ways["Captum, layer by layer"] = lambda: captums(model, images, labels)
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(options.rounds + 1):
        for name in ways if turn % 2 else reversed(ways):
            spent = seconds(ways[name], device)
            if turn > 0:  # the first round warms up
                taken[name].append(spent)
    print(
        f"{options.network}, batch {options.batch}, {options.rounds} rounds, {device}, {options.threads} threads\n"
    )
    print("| way | ms | training steps | convergence error |\n|---|---|---|---|")
    found = []
    for name, times in taken.items():
        ratio = statistics.median(a / b for a, b in zip(times, taken["training step"], strict=True))
        error = errors.get(name)
        found.append({"way": name, "seconds": statistics.median(times), "ratio": ratio, "error": error})
        shown = "" if error is None else f"{error:.1e}"
        print(f"| {name} | {1000 * statistics.median(times):,.0f} | {ratio:.2f} | {shown} |")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    raise SystemExit(0 if found[1]["ratio"] <= BOUND else 1)


if __name__ == "__main__":
    main()
