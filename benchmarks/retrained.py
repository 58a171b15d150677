"""Retraining beside calibrating: bytes of the whole file, top-1, equal answers and divergence on held-out images.

    python benchmarks/retrained.py [--network resnet20-cifar10] [--bits 1.5 1.0 0.65] [--minutes 30 | --epochs 5]

Needs PyTorch and `../shared`; `--network demo`, the packaged digits network, which half of its images train, needs
only PyTorch. The 50,000 training images of CIFAR-10, without labels, train. Half of the 5,000 test images choose among
the files made on the way, and the other half reports. For every size there is a line for the calibrated file and one
for the retrained; the last line is the control, trained as long without rounding, on the images that choose. Images
seen stand beside minutes, which depend on the machine and on what else it does.
"""

from __future__ import annotations

import argparse

import enxuto
from enxuto.compression.judge import Judgement
from enxuto.data import Dataset, open_dataset
from enxuto.demo import TEST_IMAGES
from rate import DEMO, NETWORKS, SHARED, opened, parts


def line(name: str, size: int, weights: int, judgement: Judgement) -> str:
    """Return one line of the table."""
    return (
        f"{name:<11} {size:>8,} B {8 * size / weights:>5.2f} bits  top-1 {judgement.top1:.2f} of "
        f"{judgement.original_top1:.2f}  same {judgement.agreement:.2f}  KL {judgement.kl:.4f}"
    )


def images_of(network: str) -> tuple[Dataset, Dataset]:
    """Images that train, and those that choose and report."""
    if network == DEMO:
        return parts(network, len(open_dataset(TEST_IMAGES)), None)[0]
    training = open_dataset(SHARED / "data" / "cifar10-train.parquet")
    return training, open_dataset(SHARED / "data" / "cifar10-test.parquet", require_labels=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--network",
        default="resnet20-cifar10",
        choices=[*(name for name in NETWORKS if "cifar" in name), DEMO],
    )
    parser.add_argument("--bits", type=float, nargs="+", default=[1.5, 1.0, 0.65])
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, default=None)
    length.add_argument("--epochs", type=float, default=None)
    parser.add_argument("--threads", type=int, default=0)
    given = parser.parse_args()
    model, preprocess = opened(given.network)
    training, test = images_of(given.network)
    for number, bits in enumerate(given.bits):
        last = number == len(given.bits) - 1
        result = enxuto.compress(
            model, data=test, calibration=training, preprocess=preprocess, bits=bits, threads=given.threads,
            retrain=enxuto.Retraining(minutes=given.minutes, epochs=given.epochs, control=last),
        )  # fmt: skip
        assert result.calibrated is not None
        found, before = result.calibrated.retrained, result.calibrated.before_retraining
        after = result.calibrated.held_out
        assert found is not None
        assert before is not None
        assert after is not None
        print(
            f"{found.images:,} images ({found.epochs:.3g} epochs), {found.seconds / 60:.1f} min", flush=True
        )
        print(line("calibrated", found.start.bytes, result.parameters, before), flush=True)
        print(line("retrained", result.file_bytes, result.parameters, after), flush=True)
        if found.control is not None:
            control = found.control
            print(f"control: top-1 {control.top1:.2f}  same {control.agreement:.2f}  KL {control.kl:.4f}")


if __name__ == "__main__":
    main()
