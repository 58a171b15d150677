"""File bytes against divergence, beside NNCodec's measured curves: Bjøntegaard-delta rates.

    python benchmarks/rate.py [--networks resnet20-cifar10 …] [--images 256] [--limit 2000] [--json rate.json]

Needs `../shared`: models, images, and `peers/nncodec.csv`; `--networks demo`, the packaged digits network, needs
nothing and has no rival. Every network is calibrated once, without labels, on images that are not measured on, and
compressed at several prices; all bytes of the files count. EfficientNet-Lite0 has 500 images for both: each half
calibrates once and the other measures, and a row is the mean of two files. NNCodec's curve is the lower envelope of
all its settings. The delta is the mean difference of log bytes over log divergence from 0.01 to 0.2 nats (or what both
curves reach of that), curves interpolated piecewise linearly; negative is smaller. Its figures are from other images
of the same kind (10,000 of CIFAR-10, 1,000 of ImageNet).
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from enxuto.calibration.calibrate import calibrate
from enxuto.calibration.calibration import Calibration
from enxuto.compression.at_price import compress_at
from enxuto.compression.data_free import compress
from enxuto.compression.judge import Judge
from enxuto.compression.split import load_images
from enxuto.data import PRESETS, Dataset, Preprocess, open_dataset
from enxuto.demo import MODEL, TEST_IMAGES
from enxuto.enx.learned import parameters
from enxuto.onnx_model import Model
from enxuto.opening import load_with_metadata, preprocess_of

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"
NETWORKS = {
    "resnet20-cifar10": ("resnet20", "resnet-cifar"),
    "resnet56-cifar10": ("resnet56", "resnet-cifar"),
    "efficientnet-lite0": ("lite0", "efficientnet-lite"),
}
DEMO = "demo"
BITS = (1.3, 1.6, 2.0, 2.4, 3.0, 3.6)
LOW, HIGH = 0.01, 0.2


def opened(network: str) -> tuple[Model, Preprocess]:
    """Return a network and how its images are prepared."""
    if network != DEMO:
        return Model.read(SHARED / "models" / f"{network}.onnx"), PRESETS[NETWORKS[network][1]]
    model, metadata = load_with_metadata(MODEL)
    preprocess = preprocess_of(metadata)
    assert preprocess is not None, "the packaged network says so itself"
    return model, preprocess


def envelope(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the (KL, bytes) points that no other beats in both."""
    kept: list[tuple[float, float]] = []
    for kl, size in sorted(points):
        if not kept or size < kept[-1][1]:
            kept.append((kl, size))
    return kept


def rivals(network: str) -> list[tuple[float, float]]:
    """Return NNCodec's envelope, nothing where it was not measured."""
    if network == DEMO:
        return []
    with (SHARED / "peers" / "nncodec.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["model"] == NETWORKS[network][0]]
    return envelope([(float(row["kl"]), float(row["bytes"])) for row in rows if float(row["kl"]) > 0])


def delta(ours: list[tuple[float, float]], theirs: list[tuple[float, float]]) -> float:
    """Return the Bjøntegaard-delta rate in percent."""
    curves = [(np.log([p[0] for p in sorted(c)]), np.log([p[1] for p in sorted(c)])) for c in (ours, theirs)]
    low = max(math.log(LOW), *(x.min() for x, _ in curves))
    high = min(math.log(HIGH), *(x.max() for x, _ in curves))
    at = np.linspace(low, high, 400)
    (x, y), (other_x, other_y) = curves
    return 100 * (math.exp(float(np.mean(np.interp(at, x, y) - np.interp(at, other_x, other_y)))) - 1)


def parts(network: str, images: int, limit: int | None) -> list[tuple[Dataset, Dataset]]:
    """Return what calibrates and what is measured on, in one way or two."""
    if network in (DEMO, "efficientnet-lite0"):
        whole = open_dataset(TEST_IMAGES if network == DEMO else SHARED / "data" / "imagenet-sample.parquet")
        first, second = whole.split([0.5, 0.5], 0, stratified=False)
        return [
            (one.subset(range(min(images, len(one)))), other)
            for one, other in ((first, second), (second, first))
        ]
    return [
        (
            open_dataset(SHARED / "data" / "cifar10-train.parquet", limit=images),
            open_dataset(SHARED / "data" / "cifar10-test.parquet", limit=limit),
        )
    ]


@dataclass
class Bench:
    """A network, what judges it, and one calibration or none."""

    model: Model
    judge: Judge
    calibration: Calibration | None
    threads: int

    def row(self, bits: float) -> dict[str, Any]:
        """Measure the file of a first guess of bits, or without data of as many."""
        started = time.perf_counter()
        if self.calibration is None:
            file = compress(self.model, bits=bits, fold_bn=True, threads=self.threads)
        else:
            file = compress_at(self.calibration, self.calibration.price_of_bits(bits)).model
        seconds = time.perf_counter() - started
        return {"bytes": file.file_bytes, "seconds": seconds, **self.judge(file).to_dict()}


def mean(method: str, rows: list[dict[str, Any]], weights: int) -> dict[str, Any]:
    """Return, and print, the mean of rows of equally many images."""
    numbers = ("bytes", "kl", "agreement", "top1", "drop")
    row = {"method": method, **{name: sum(one[name] for one in rows) / len(rows) for name in numbers}}
    halves = [(one["drop_interval"][1] - one["drop_interval"][0]) / 2 for one in rows]
    row |= {
        "bits": 8 * row["bytes"] / weights,
        "drop_half_interval": math.hypot(*halves) / len(rows),
        "rows": rows,
    }
    print(
        f"| {method} | {row['bytes']:,.0f} | {row['bits']:.3f} | {row['kl']:.4f} | {row['agreement']:.2f} "
        f"| {row['top1']:.2f} | {row['drop']:+.2f} ± {row['drop_half_interval']:.2f} |",
        flush=True,
    )  # fmt: skip
    return row


def run(network: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure one network."""
    model, preprocess = opened(network)
    weights = parameters(model)
    benches = []
    started = time.perf_counter()
    for first, rest in parts(network, arguments.images, arguments.limit):
        print(f"\n## {network}: {len(first)} images calibrate, {len(rest)} measure", flush=True)
        judge = Judge(model, rest, preprocess, threads=arguments.threads)
        images = load_images(first, preprocess)
        calibration = calibrate(model, images, source=first.hash, threads=arguments.threads)
        benches.append(Bench(model, judge, calibration, arguments.threads))
    calibrating = (time.perf_counter() - started) / len(benches)
    print("\n| method | bytes | bits/weight | KL | same answers, % | top-1 | points lost |")
    print("|---|---|---|---|---|---|---|")
    rows = [mean("calibrated", [one.row(bits) for one in benches], weights) for bits in arguments.bits]
    for bits in () if arguments.only_calibrated else (3, 4, 5):
        mean("without data", [replace(one, calibration=None).row(bits) for one in benches], weights)
    theirs = rivals(network)
    found = delta(envelope([(row["kl"], row["bytes"]) for row in rows]), theirs) if theirs else None
    beside = "not measured" if found is None else f"**{found:+.1f} %**"
    print(f"\nBjøntegaard-delta rate against NNCodec: {beside}; judge and calibration in {calibrating:.0f} s")
    return {"network": network, "rows": rows, "rivals": theirs, "delta": found, "calibrating_s": calibrating}


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=[*NETWORKS, DEMO])
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--limit", type=int, default=None, help="CIFAR images measured on")
    parser.add_argument(
        "--bits", type=float, nargs="+", default=list(BITS), help="first guesses of bits per weight"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only-calibrated", action="store_true")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found = [run(network, arguments) for network in arguments.networks]
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
