"""Points of top-1 that EfficientNet-Lite0 loses, with less chance: ten views of every image instead of one.

    python benchmarks/views.py [--bits 3 3.3] [--json views.json]

Needs `../shared`; `--network demo`, the packaged digits network with margins about its images, needs nothing. On 500
images chance moves the points lost by more than one. Here the middle and the corners of every image, and the same
mirrored, are asked for each (`benchmarks/rate.py` asks the middle alone); each half of the images calibrates once, by
the middle, and the other is measured. What is lost is the mean over views; its interval that of the mean over images
of each image's share of views, so that views of one image do not pass for independent ones.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from enxuto.calibration.calibrate import calibrate
from enxuto.compression.at_price import compress_at
from enxuto.compression.split import load_images
from enxuto.data import Dataset, Preprocess
from enxuto.enx.learned import parameters
from enxuto.metrics.divergence import divergence
from enxuto.onnx_model import Model
from enxuto.runtime import Runner
from rate import DEMO, opened, parts

NETWORK = "efficientnet-lite0"
_DIGIT, _MARGIN = 8, 2  # sides of a digit, and by how much views of it may move
_TOGETHER = 4  # images, whose views are a batch


def with_margin(preprocess: Preprocess) -> Preprocess:
    """The digits' preprocessing with images that are larger than what the network sees of them."""
    return replace(preprocess, resize=(_DIGIT + _MARGIN, _DIGIT + _MARGIN), crop=(_DIGIT, _DIGIT))


def views(dataset: Dataset, preprocess: Preprocess) -> Iterator[np.ndarray]:
    """Yield batches (4 · 10, …) of the views of each image in turn."""
    assert isinstance(preprocess.crop, tuple), "the preset crops"
    height, width = preprocess.crop
    whole = replace(preprocess, crop=None)
    shaped: list[np.ndarray] = []
    for index in range(len(dataset)):
        pixels = whole.prepare_image(dataset.image(index))
        # Corners of the square in the middle: those of a long image show little of it.
        side = min(pixels.shape[:2])
        top, left = ((size - side) // 2 for size in pixels.shape[:2])
        places = [(0, 0), (0, side - width), (side - height, 0), (side - height, side - width)]
        places.append(((side - height) // 2, (side - width) // 2))
        for down, right in places:
            y, x = top + down, left + right
            part = pixels[y : y + height, x : x + width]
            shaped += [part, part[:, ::-1]]
        if (index + 1) % _TOGETHER == 0 or index + 1 == len(dataset):
            yield preprocess.to_batch(shaped)
            shaped = []


def scores(model: Model, dataset: Dataset, preprocess: Preprocess, threads: int) -> np.ndarray:
    """Return the model's scores (N, 10, classes) for the views."""
    runner = Runner(model, threads=threads)
    found = [runner.scores(batch) for batch in views(dataset, preprocess)]
    return np.concatenate(found).reshape(len(dataset), 10, -1)


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bits", type=float, nargs="+", default=[3.0, 3.3], help="first guesses")
    parser.add_argument("--network", default=NETWORK, choices=[NETWORK, DEMO])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    model, preprocess = opened(arguments.network)
    preprocess = with_margin(preprocess) if arguments.network == DEMO else preprocess
    weights = parameters(model)
    halves = parts(arguments.network, 256, None)
    found: dict[float, list[tuple[int, np.ndarray, np.ndarray, np.ndarray, float]]] = {
        bits: [] for bits in arguments.bits
    }
    for first, rest in halves:
        labels = np.asarray(rest.labels)[:, None]
        before = scores(model, rest, preprocess, arguments.threads)
        calibration = calibrate(
            model, load_images(first, preprocess), source=first.hash, threads=arguments.threads
        )
        for bits in arguments.bits:
            made = compress_at(calibration, calibration.price_of_bits(bits)).model
            after = scores(made.to_model(), rest, preprocess, arguments.threads)
            right, was_right = after.argmax(2) == labels, before.argmax(2) == labels
            same = after.argmax(2) == before.argmax(2)
            kl = divergence(before.reshape(-1, before.shape[-1]), after.reshape(-1, after.shape[-1]))
            found[bits].append((made.file_bytes, right, was_right, same, kl))
    print("| bytes | bits/weight | KL | same answers, % | top-1 before | after | points lost |")
    print("|---|---|---|---|---|---|---|")
    rows = []
    for files in found.values():
        size = float(np.mean([one[0] for one in files]))
        right, was_right, same = (np.concatenate([one[i] for one in files]) for i in (1, 2, 3))
        lost = 100 * (was_right.astype(np.float64) - right).mean(axis=1)
        half = 1.96 * float(lost.std(ddof=1)) / math.sqrt(len(lost))
        row = {
            "bytes": size, "bits": 8 * size / weights, "kl": float(np.mean([one[4] for one in files])),
            "agreement": 100 * float(same.mean()), "top1_before": 100 * float(was_right.mean()),
            "top1": 100 * float(right.mean()), "drop": float(lost.mean()), "drop_half_interval": half,
            "images": len(lost), "views": right.shape[1],
        }  # fmt: skip
        rows.append(row)
        print(
            f"| {size:,.0f} | {row['bits']:.2f} | {row['kl']:.4f} | {row['agreement']:.2f} "
            f"| {row['top1_before']:.2f} | {row['top1']:.2f} | {row['drop']:+.2f} ± {half:.2f} |",
            flush=True,
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
