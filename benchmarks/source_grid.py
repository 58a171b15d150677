"""The source documents' grid on real networks, beside enxuto's default: entropy, file and accuracy of every point.

    python benchmarks/source_grid.py [--models ../shared/models] [--data ../shared/data] [--out out/source-grid.jsonl]

`demo`, the packaged digits network, needs neither folder; `--levels 7 8` leaves the other i out.

Every weight (biases included) is quantized by one dead-zone quantizer with step 2/2^i, δ ∈ {0, 0.1, 0.25, 0.4, 0.5,
0.7}, i = 4…12, as the source does; the best point is the one of least entropy within 0.8 points of top-1. Points
already in the output file are not computed again, so that the run can be interrupted. Entropy is the order-0 bound
over all weights in one histogram (the source's measure); the file is what enxuto writes.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from enxuto.codec import entropy
from enxuto.compression.data_free import compress
from enxuto.data import Dataset, Preprocess, open_dataset, preset
from enxuto.demo import MODEL, TEST_IMAGES
from enxuto.enx.file import CompressedModel
from enxuto.enx.learned import parameters
from enxuto.evaluation import evaluate
from enxuto.onnx_model import Model, Role
from enxuto.opening import load_with_metadata, preprocess_of
from enxuto.quantize.scalar import DeadZone
from enxuto.quantize.schemes import SameQuantizer
from enxuto.runtime import Runner

NETWORKS = {
    "resnet20-cifar10": ("cifar10-test.parquet", "resnet-cifar"),
    "resnet56-cifar10": ("cifar10-test.parquet", "resnet-cifar"),
    "efficientnet-lite0": ("imagenet-sample.parquet", "efficientnet-lite"),
}
DELTAS = (0.0, 0.1, 0.25, 0.4, 0.5, 0.7)
LEVELS = (4, 12)
DEMO = "demo"
WITHIN = 0.8
EVERYTHING = (Role.KERNEL, Role.DEPTHWISE, Role.MATRIX, Role.BIAS, Role.NORM)


@dataclass(frozen=True)
class Point:
    """One setting on one network: bits per weight as bound and as file, accuracies in percent, agreement."""

    network: str
    setting: str
    entropy_bits: float | None
    file_bytes: int
    file_bits: float
    top1: float
    top5: float
    agreement: float
    kl: float
    samples: int
    data_hash: str


def global_entropy(compressed: CompressedModel) -> float | None:
    """Return the entropy, in bits per level, of all levels in one histogram; None if steps differ."""
    tensors = [
        tensor
        for part in compressed.payloads
        if part.row.coder != "planes"
        for tensor in part.levels().values()
    ]
    if len({tensor.quantizer for tensor in tensors}) != 1:
        return None
    return entropy(np.concatenate([tensor.levels.reshape(-1) for tensor in tensors]))


def measure(
    network: str, setting: str, compressed: CompressedModel, count: int, data: Dataset, preprocess: Preprocess,
    reference: Callable[[np.ndarray], np.ndarray],
) -> Point:  # fmt: skip
    """Decode and evaluate one compressed model."""
    result = evaluate(Runner(compressed.to_model()).scores, data, preprocess=preprocess, reference=reference)
    return Point(
        network=network,
        setting=setting,
        entropy_bits=global_entropy(compressed),
        file_bytes=compressed.file_bytes,
        file_bits=8 * compressed.file_bytes / count,
        top1=100 * result.top1,
        top5=100 * result.metrics["top"]["5"],
        agreement=100 * (result.agreement or 0.0),
        kl=result.kl or 0.0,
        samples=result.samples,
        data_hash=result.data_hash,
    )


class Prepared(Dataset):
    """A data set whose batches are decoded and preprocessed once and kept: 54 points meet the same ones."""

    def __init__(self, data: Dataset, preprocess: Preprocess) -> None:
        vars(self).update(vars(data))
        self._kept = list(data.batches(64, preprocess))

    def batches(self, batch_size: int, preprocess: Preprocess) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the kept batches, whatever size is asked for."""
        yield from self._kept


class Remembered:
    """Scores of the original model by batch, computed once: every point meets the same batches in the same order."""

    def __init__(self, model: Model) -> None:
        self._runner = Runner(model)
        self._known: dict[bytes, np.ndarray] = {}

    def scores(self, batch: np.ndarray) -> np.ndarray:
        """Return the original's scores of a batch."""
        key = batch[:, ..., :1].tobytes()
        if key not in self._known:
            self._known[key] = self._runner.scores(batch)
        return self._known[key]


def opened(network: str, options: argparse.Namespace) -> tuple[Model, Dataset, Preprocess]:
    """A network, its images and how they are prepared."""
    if network == DEMO:
        model, metadata = load_with_metadata(MODEL)
        own = preprocess_of(metadata)
        assert own is not None, "the packaged network says so itself"
        return model, open_dataset(TEST_IMAGES, limit=options.limit), own
    file, preset_name = NETWORKS[network]
    images = open_dataset(options.data / file, limit=options.limit)
    return Model.read(options.models / f"{network}.onnx"), images, preset(preset_name)


def run(network: str, options: argparse.Namespace, done: dict[tuple[str, str], Point]) -> list[Point]:
    """Compute all points of one network that are not done; append each to the output file."""
    model, images, preprocess = opened(network, options)
    data = Prepared(images, preprocess)
    count = parameters(model)
    original = Remembered(model)
    points = []
    schemes = {"original": None, "enxuto default": None} | {
        f"δ {delta:g}, i {i}": SameQuantizer(DeadZone(2 / 2**i, delta))
        for i in range(options.levels[0], options.levels[1] + 1)
        for delta in DELTAS
    }
    for setting, scheme in schemes.items():
        point = done.get((network, setting))
        if point is None:
            if setting == "original":
                compressed = compress(model, roles=())
            elif scheme is None:
                compressed = compress(model)
            else:
                compressed = compress(model, scheme, roles=EVERYTHING)
            point = measure(network, setting, compressed, count, data, preprocess, original.scores)
            with options.out.open("a") as out:
                out.write(json.dumps(asdict(point), ensure_ascii=False) + "\n")
        points.append(point)
        print(
            f"{network}: {setting}: {point.file_bits:.3f} bits, top-1 {point.top1:.2f}",
            file=sys.stderr,
            flush=True,
        )
    return points


def table(points: list[Point]) -> str:
    """Return the points of one network as Markdown, the source's best and enxuto's default marked."""
    base = points[0].top1
    grid = [point for point in points if point.entropy_bits is not None]
    within = [point for point in grid if base - point.top1 <= WITHIN]
    best = min(within, key=lambda point: point.entropy_bits or 0.0, default=None)
    lines = [
        "| setting | entropy, bits/weight | file, bytes | file, bits/weight | top-1 | lost | top-5 | agreement | KL |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for point in points:
        bound = "" if point.entropy_bits is None else f"{point.entropy_bits:.3f}"
        mark = "**best of the grid** " if point is best else ""
        lines.append(
            f"| {mark}{point.setting} | {bound} | {point.file_bytes:,} | {point.file_bits:.3f} | {point.top1:.2f} "
            f"| {base - point.top1:+.2f} | {point.top5:.2f} | {point.agreement:.2f} | {point.kl:.5f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run the grid on all networks that are there and print a table for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    shared = Path(__file__).resolve().parent.parent.parent / "shared"
    parser.add_argument("--models", type=Path, default=shared / "models")
    parser.add_argument("--data", type=Path, default=shared / "data")
    parser.add_argument("--out", type=Path, default=Path("out/source-grid.jsonl"))
    parser.add_argument("--limit", type=int, help="images, drawn with seed 0; use another --out with it")
    parser.add_argument(
        "--levels", type=int, nargs=2, default=LEVELS, metavar="I", help="the least i and the greatest"
    )
    parser.add_argument(
        "networks", nargs="*", default=list(NETWORKS), help=f"of {', '.join(NETWORKS)}, {DEMO}"
    )
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    done = {}
    if options.out.exists():
        known = [Point(**json.loads(line)) for line in options.out.read_text().splitlines()]
        done = {(point.network, point.setting): point for point in known}
    for network in options.networks:
        points = run(network, options, done)
        print(
            f"\n### {network}\n\n{points[0].samples:,} images, data {points[0].data_hash}\n\n{table(points)}"
        )


if __name__ == "__main__":
    main()
