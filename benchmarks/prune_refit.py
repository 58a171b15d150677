"""What pruning without training loses: top-1, equal answers and divergence, plain and refitted, and the latency.

    python benchmarks/prune_refit.py ../shared/models/resnet56-cifar10.onnx --data ../shared/data/cifar10-test.parquet \
        --calibration ../shared/data/cifar10-train.parquet --preprocess resnet-cifar [--shares 0.8,0.65,0.5] \
        [--minutes 10] [--json refit.json]

Filters are chosen by each `--criterion` (cost, l1, taylor, deeplift, …; several with commas). All layers are refitted
in order on `--images` images of `--calibration`, whose labels are not looked at: criteria that need classes score at
most 256 of these images with the original's answers. With `--minutes` the refitted network then learns the original's
answers. Judged on `--test` images of --data, with intervals. Latency: for one image, in ONNX Runtime on one thread,
taking turns with the original. Nothing is chosen on the images of --data.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from enxuto.cli.shared.preprocess_options import read_preprocess
from enxuto.compression.judge import Judge, Judgement
from enxuto.compression.split import load_images
from enxuto.data import Dataset, Preprocess, open_dataset
from enxuto.onnx_model import Model
from enxuto.opening import class_count, labels_of, load_with_metadata, plain_preprocess_of, preprocess_of
from enxuto.prune.criteria.scores import scores
from enxuto.prune.refit.pruner import COST, Refitter
from enxuto.prune.removal.kept import KeptChannels
from enxuto.prune.rounds import UnprunedNetwork
from enxuto.prune.selection import Selection
from enxuto.slimming.measuring import latency_share, macs_of
from enxuto.slimming.networks import as_onnx, training_data
from enxuto.studies.pruning import StartingNetwork
from enxuto.train import TrainConfig
from enxuto.train.distillation import Teacher, distil

SCORED, BATCH = 256, 64  # images that criteria score


def answers(judged: Judgement) -> dict[str, Any]:
    """Top-1, points lost, equal answers and divergence."""
    return {
        "top1": judged.top1, "drop": judged.drop, "drop_interval": judged.drop_interval,
        "agreement": judged.agreement, "kl": judged.kl,
    }  # fmt: skip


class Bench:
    """One network and its images."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.model, metadata = load_with_metadata(args.model)
        chosen = preprocess_of(metadata) if args.preprocess is None else read_preprocess(args.preprocess)
        self.preprocess: Preprocess = chosen or plain_preprocess_of(self.model)
        self.data = open_dataset(args.data, limit=args.test, seed=args.seed)
        self.data = self.data.match_classes(labels_of(self.model, metadata), class_count(self.model))[0]
        if args.calibration is None:
            share = args.images / len(self.data)
            self.calibration, self.data = self.data.split([share, 1 - share], args.seed, stratified=False)
        else:
            self.calibration = open_dataset(
                args.calibration, limit=args.images, seed=args.seed, require_labels=False
            )
        self.start = StartingNetwork.of_model(self.model, metadata, Path(args.model).stem)
        self.unpruned = UnprunedNetwork.from_architecture(self.start.architecture)
        self.state = {name: value.clone() for name, value in self.start.network.state_dict().items()}
        self.images = torch.from_numpy(load_images(self.calibration, self.preprocess))
        self.refitter = Refitter.of(self.unpruned, self.state, [self.images], args.seed)
        self.judge = Judge(self.model, self.data, self.preprocess, threads=args.threads)
        self.scores: dict[str, dict[str, np.ndarray]] = {}

    def plan(self, criterion: str, share: float) -> KeptChannels:
        """The filters that stay."""
        measure = self.unpruned.target_measure("macs", None)
        if criterion == COST:
            return self.refitter.choose(self.start.kept, share, measure, 1, self.args.multiple).kept
        if criterion not in self.scores:
            self.scores[criterion] = scores(self.start.network, self.answered(), criterion)
        selection = Selection("macs", normalise=self.args.normalise, multiple=self.args.multiple)
        return self.unpruned.plan_round(self.start.kept, self.scores[criterion], share, selection).kept

    def answered(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Batches of images with the original's answers in place of labels."""
        for images in self.images[:SCORED].split(BATCH):
            with torch.no_grad():
                answers = self.start.network(images).argmax(1)
            yield images, answers

    def row(self, criterion: str, share: float) -> dict[str, Any]:
        """Figures at a share of the multiplications."""
        began = time.perf_counter()
        kept = self.plan(criterion, share)
        network = self.unpruned.prune(self.state, kept)
        chosen = time.perf_counter()
        plain = self.onnx(network)
        row = {
            "criterion": criterion, "macs": macs_of(plain) / macs_of(self.model),
            "plain": answers(self.judge.of_model(plain)),
            "latency": latency_share(plain, self.model, threads=1), "choosing_seconds": chosen - began,
        }  # fmt: skip
        began = time.perf_counter()
        self.refitter.apply(network, kept)
        row["refitting_seconds"] = time.perf_counter() - began
        refitted = self.onnx(network)
        row["refitted"] = answers(self.judge.of_model(refitted))
        if self.args.minutes is not None:
            self.distil(network)
            row["distilled"] = answers(self.judge.of_model(self.onnx(network)))
        return row

    def distil(self, network: torch.nn.Module) -> None:
        """Learn the original's answers on all images of --calibration."""
        from enxuto.prune.retrain import DISTILLATION

        source: Dataset = self.calibration
        if self.args.calibration is not None:
            source = open_dataset(self.args.calibration, require_labels=False)
        with torch.no_grad():
            classes = self.start.network(self.images[:1]).shape[1]
        learning = training_data(source, self.preprocess, classes, load_images)
        teacher = self.start.architecture.build()
        teacher.load_state_dict(self.state)
        config = TrainConfig.from_recipe(None, {**DISTILLATION, "threads": self.args.threads})
        with tempfile.TemporaryDirectory() as folder:
            distil(network, Teacher(teacher), learning, config, Path(folder), minutes=self.args.minutes)
        network.cpu().eval()

    def onnx(self, network: torch.nn.Module) -> Model:
        """As a model that takes the original's place."""
        return as_onnx(network, self.start, self.model)


def show(row: dict[str, Any]) -> str:
    """One line."""
    parts = [f"{row['criterion']}: MACs {row['macs']:.1%}, latency {row['latency']:.0%}"]
    for name in ("plain", "refitted", "distilled"):
        if name in row:
            found = row[name]
            low, high = found["drop_interval"]
            parts.append(
                f"{name}: top-1 {found['top1']:.2f} ({found['drop']:+.2f} lost, {low:+.2f} – {high:+.2f}), same "
                f"{found['agreement']:.2f} %, KL {found['kl']:.3f}"
            )
    return "; ".join(parts)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("--data", required=True)
    parser.add_argument("--calibration")
    parser.add_argument("--preprocess")
    parser.add_argument("--criterion", default=COST, help="several with commas")
    parser.add_argument("--normalise", default="mean")
    parser.add_argument("--multiple", type=int, default=1)
    parser.add_argument("--shares", default="0.8,0.65,0.5")
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--test", type=int, default=2000)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    bench = Bench(args)
    print(
        f"{len(bench.data):,} images judge, {len(bench.images):,} refit; criterion {args.criterion}",
        flush=True,
    )
    rows = []
    for criterion, share in product(args.criterion.split(","), map(float, args.shares.split(","))):
        rows.append(bench.row(criterion, share))
        print(show(rows[-1]), flush=True)
        if args.json is not None:
            args.json.write_text(
                json.dumps({"arguments": vars(args) | {"json": None}, "rows": rows}, indent=1)
            )


if __name__ == "__main__":
    main()
