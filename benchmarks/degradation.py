"""Plain networks of 20 and 56 layers beside residual ones: the degradation of He et al. 2015, figures 1 and 6.

    python benchmarks/degradation.py [--data cifar10] [--test DATA] [--epochs 20] [--folder out/degradation]

All networks learn alike: momentum 0.9, 0.1 ÷ 10 after half and three quarters of the epochs, weight decay 1e-4, batch
128, crops and flips, as in the paper's section 4.2, whose 164 epochs are cut short (a short training decides these
figures). A tenth of the training images is held out and drawn over the epochs; test images are scored once, after the
last epoch, and nothing is chosen by them. Trainings are kept in the folder and resume there. Writes degradation.md,
degradation.json and degradation.png.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from enxuto import zoo
from enxuto.data import Dataset, open_dataset
from enxuto.errors import DataError
from enxuto.machine.facts import describe_machine, machine
from enxuto.report.drawing import COLOURS, DASHES, new_figure, save, whole_numbers
from enxuto.train import TrainConfig, TrainingData, fit, score

NETWORKS = ("plain20-cifar", "plain56-cifar", "resnet20-cifar", "resnet56-cifar")


def configuration(epochs: int, seed: int, threads: int | None, batch: int) -> TrainConfig:
    """The training of He et al. 2015, section 4.2, in fewer epochs."""
    falls = sorted({max(1, epochs // 2), max(1, 3 * epochs // 4)})
    settings = {
        "epochs": epochs, "seed": seed, "threads": threads, "milestones": tuple(falls), "validation": 0.1,
        "batch": batch, "precision": "auto",
    }  # fmt: skip
    return TrainConfig.from_recipe("lottery", settings)


def open_part(path: str, part: str, limit: int | None) -> Dataset:
    """The part `train` or `test` of a data set, or all of a file that has one part."""
    try:
        return open_dataset(path, split=part, limit=limit)
    except DataError:
        return open_dataset(path, limit=limit)


def train(
    name: str, images: TrainingData, test: TrainingData, config: TrainConfig, folder: Path
) -> dict[str, Any]:
    """One network's curves, its error on the images that it was trained on, and on the test images."""
    held_in, held_out = images.split(config.validation, config.seed)
    network = zoo.build(name, classes=images.classes, channels=images.images.shape[1], seed=config.seed)
    history = fit(network, held_in, held_out, config, folder=folder / name, resume=True)
    scored = {"train": score(network, held_in), "test": score(network, test.like(held_in))}
    return {
        "network": name,
        "seed": config.seed,
        "machine": describe_machine(machine(), config.threads or torch.get_num_threads()),
        "epochs": len(history.records),
        "minutes": sum(record.seconds for record in history.records) / 60,
        "loss": [record.loss for record in history.records],
        "held_out_error": [100 * (1 - (record.validation_top1 or 0)) for record in history.records],
        "error": {part: 100 * (1 - found.top1) for part, found in scored.items()},
        "samples": {"train": len(held_in), "held out": len(held_out), "test": len(test)},
    }


def table(runs: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: errors after the last epoch."""
    samples = runs[0]["samples"]
    machines = " / ".join(dict.fromkeys(run["machine"] for run in runs))
    lines = [
        f"Trained on {samples['train']:,} images, seed {runs[0]['seed']}, scored on {samples['test']:,} test images "
        f"after the last epoch, on {machines}. A short training decides these figures.",
        "",
        "| network | epochs | minutes | training error, % | test error, % |",
        "| :-- | --: | --: | --: | --: |",
    ]
    for run in runs:
        errors = " | ".join(f"{run['error'][part]:.2f}" for part in ("train", "test"))
        lines.append(f"| {run['network']} | {run['epochs']} | {run['minutes']:.1f} | {errors} |")
    return "\n".join(lines) + "\n"


def draw(runs: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Training loss and held-out error over the epochs, a panel each."""
    figure, axes = new_figure(9, 3.8, columns=2)
    panels = (("loss", "training loss, nats"), ("held_out_error", "error on held-out images, %"))
    for axis, (key, label) in zip(axes, panels, strict=True):
        for place, run in enumerate(runs):
            epochs = range(1, run["epochs"] + 1)
            axis.plot(
                epochs, run[key], label=run["network"], color=COLOURS[place % 7], linestyle=DASHES[place % 7]
            )
        axis.set_xlabel("epoch")
        axis.set_ylabel(label)
        axis.xaxis.set_major_locator(whole_numbers())
    axes[0].legend(frameon=False, fontsize=8)
    save(figure, path)


def main() -> None:
    """Train what is not trained yet, then write the table and the picture."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", default="cifar10", help="data set or file with training images")
    parser.add_argument("--test", help="file of the test images, where --data has no part `test`")
    parser.add_argument("--networks", nargs="+", default=NETWORKS, metavar="NAME")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--limit", type=int, help="use so many training images")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--folder", type=Path, default=Path("out/degradation"))
    options = parser.parse_args()
    config = configuration(options.epochs, options.seed, options.threads, options.batch)
    size = zoo.input_shape(options.networks[0])[1:]
    train_set = open_part(options.data, "train", options.limit)
    test_set, _ = open_part(options.test or options.data, "test", None).match_classes(train_set.classes, None)
    images, test = (TrainingData.from_dataset(one, size) for one in (train_set, test_set))
    options.folder.mkdir(parents=True, exist_ok=True)
    runs = []
    for name in options.networks:
        runs.append(train(name, images, test, config, options.folder))
        print(f"{name}: {runs[-1]['error']['test']:.2f} % of the test images wrong", flush=True)
    (options.folder / "degradation.json").write_text(json.dumps(runs, indent=1) + "\n")
    (options.folder / "degradation.md").write_text(table(runs))
    draw(runs, options.folder / "degradation.png")
    print(table(runs))


if __name__ == "__main__":
    main()
