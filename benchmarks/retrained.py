"""Retraining beside calibrating: bytes of the whole file, top-1, equal answers and divergence on all test images.

    python benchmarks/retrained.py [--network resnet20-cifar10] [--bits 1.5 1.0 0.65] [--minutes 30 | --epochs 5]

Needs PyTorch and `../shared`; `--network demo`, the packaged digits network, which half of its images train, needs
only PyTorch; `--network FILE.onnx` (or `.enx`, of which the decoded network is then the original) another one for
CIFAR-10 that holds its preprocessing; `--network squeezenet1.1` and `efficientnet-lite0` have 250 images of ImageNet
that train, 125 that choose and 125 that report. Of the 50,000 training images of CIFAR-10, 45,000 train, without
labels, and 2,500 choose among the files made on the way; all 5,000 test images report. For every size, or bound on the
divergence (`--max-kl 0.05`), there is a line for the calibrated file and one for the retrained; with `--control` the
last one also has the same training without rounding, on the images that choose. Images seen stand beside minutes, which
depend on the machine and on what else it does.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import Any

import numpy as np

import enxuto
from enxuto.data import Dataset, Preprocess, open_dataset
from enxuto.demo import TEST_IMAGES
from enxuto.onnx_model import Model
from enxuto.opening import load_with_metadata, preprocess_of
from rate import DEMO, NETWORKS, SHARED, opened, parts

FEW = "squeezenet1.1"
_FEW_PREPARED = Preprocess(resize=(227, 227), divide_by=1.0, mean=(103.939, 116.779, 123.68), channels="BGR")
_OF_IMAGENET = (FEW, "efficientnet-lite0")
_CHOOSING = 5_000  # training images that do not train: half of them choose


def line(name: str, size: int, weights: int, found: enxuto.Evaluation, original: enxuto.Evaluation) -> str:
    """Return one line of the table."""
    return (
        f"{name:<11} {size:>8,} B {8 * size / weights:>5.2f} bits  top-1 {100 * found.top1:.2f} of "
        f"{100 * original.top1:.2f}  same {100 * (found.agreement or 0):.2f}  KL {found.kl:.4f}"
    )


def network_of(name: str) -> tuple[Model, Preprocess]:
    """Return a network of `../shared`, the packaged one, or one of a file, and how its images are prepared."""
    if name == FEW:
        return Model.read(SHARED / "models" / "other" / name / "model.onnx"), _FEW_PREPARED
    if name == DEMO or name in NETWORKS:
        return opened(name)
    if not Path(name).is_file():
        raise SystemExit(f"{name} is no file, and none of the networks in ../shared")
    model, metadata = load_with_metadata(name)
    preprocess = preprocess_of(metadata)
    if preprocess is None:
        raise SystemExit(f"{name} does not say how its images are prepared")
    return model, preprocess


def images_of(network: str) -> tuple[Dataset, Dataset, Dataset]:
    """Images that train, that choose, and that report."""
    if network == DEMO:
        training, rest = parts(network, len(open_dataset(TEST_IMAGES)), None)[0]
        choosing, test = rest.split([0.5, 0.5], 0)
        return training, choosing, test
    if network in _OF_IMAGENET:
        images = open_dataset(SHARED / "data" / "imagenet-sample.parquet", require_labels=True)
        places = np.split(np.random.default_rng(0).permutation(len(images)), [250, 375])
        first, second, third = (images.subset(np.sort(part)) for part in places)
        return first, second, third
    whole = open_dataset(SHARED / "data" / "cifar10-train.parquet", require_labels=True)
    order = np.random.default_rng(0).permutation(len(whole))
    choosing, training = (whole.subset(np.sort(part)) for part in (order[:_CHOOSING], order[_CHOOSING:]))
    return training, choosing, open_dataset(SHARED / "data" / "cifar10-test.parquet", require_labels=True)


def add_row(path: Path | None, network: str, method: str, size: int, found: enxuto.Evaluation) -> None:
    """Add a row to a table, which begins with a head."""
    if path is None:
        return
    begins = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if begins:
            writer.writerow(["network", "method", "bytes", "top1", "same", "kl", "images"])
        writer.writerow([
            network, method, size, f"{100 * found.top1:.2f}", f"{100 * (found.agreement or 0):.2f}",
            f"{found.kl:.4f}", found.samples,
        ])  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", default="resnet20-cifar10")
    bound = parser.add_mutually_exclusive_group()
    bound.add_argument("--bits", type=float, nargs="+", default=[1.5, 1.0, 0.65])
    bound.add_argument("--max-kl", type=float, nargs="+", help="in nats, by the images that choose")
    bound.add_argument("--max-drop", type=float, nargs="+", help="points of top-1, by the images that choose")
    parser.add_argument(
        "--label-weight", type=float, default=0.0, help="share of the loss that is of the images' labels"
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, default=None)
    length.add_argument("--epochs", type=float, default=None)
    parser.add_argument("--rate", type=float, default=enxuto.Retraining().rate)
    parser.add_argument("--mix", type=float, default=enxuto.Retraining().mix)
    parser.add_argument("--features", type=float, default=enxuto.Retraining().features)
    parser.add_argument("--control", action="store_true")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the retrained files")
    parser.add_argument("--csv", type=Path, help="table that rows are added to")
    parser.add_argument("--only-calibrated", action="store_true")
    given = parser.parse_args()
    model, preprocess = network_of(given.network)
    if given.keep is not None:
        given.keep.mkdir(parents=True, exist_ok=True)
    training, choosing, test = images_of(given.network)
    original = enxuto.evaluate(model, test, preprocess=preprocess)
    shared: dict[str, Any] = {
        "data": choosing, "calibration": training, "preprocess": preprocess, "threads": given.threads,
    }  # fmt: skip
    name = Path(given.network).stem
    asked, sizes = next(
        (name, sizes)
        for name, sizes in (("max_drop", given.max_drop), ("max_kl", given.max_kl), ("bits", given.bits))
        if sizes is not None
    )
    for number, size in enumerate(sizes):
        limit = {asked: size}
        results = {"calibrated": enxuto.compress(model, **limit, **shared)}
        if not given.only_calibrated:
            settings = enxuto.Retraining(
                minutes=given.minutes, epochs=given.epochs, rate=given.rate, mix=given.mix,
                features=given.features, label_weight=given.label_weight,
                control=given.control and number == len(sizes) - 1,
            )  # fmt: skip
            results["retrained"] = enxuto.compress(model, **limit, retrain=settings, **shared)
        for method, result in results.items():
            scored = enxuto.evaluate(result.model, test, preprocess=preprocess, reference=model)
            print(line(method, result.file_bytes, result.parameters, scored, original), flush=True)
            add_row(given.csv, name, method, result.file_bytes, scored)
        if given.only_calibrated:
            continue
        assert results["retrained"].calibrated is not None
        found = results["retrained"].calibrated.retrained
        assert found is not None
        print(
            f"{found.images:,} images ({found.epochs:.3g} epochs), {found.seconds / 60:.1f} min", flush=True
        )
        if given.keep is not None:
            results["retrained"].save(given.keep / f"{name}-{size:g}.enx")
        if found.control is not None:
            control = found.control
            print(f"control: top-1 {control.top1:.2f}  same {control.agreement:.2f}  KL {control.kl:.4f}")


if __name__ == "__main__":
    main()
