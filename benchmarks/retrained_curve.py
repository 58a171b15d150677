"""Draw bytes of retrained and calibrated files, and NNCodec's, against divergence, equal answers and top-1.

    python benchmarks/retrained_curve.py docs/results/retraining.csv -o curve.png [--network resnet20-cifar10]

Rows are those that `retrained.py --csv` adds: each of all test images. NNCodec's lower envelope is of
`../shared/peers`, where that is there and has the network: of 10,000 other images of the same kind.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from rate import NETWORKS, SHARED

_MEASURES = {"kl": "divergence, nats", "same": "same answers, %", "top1": "top-1, %"}
_STYLES = {
    "calibrated": ("#00629b", "o", "-"),
    "retrained": ("#b85c00", "s", "-"),
    "NNCodec": ("#53606f", "^", "--"),
    "control": ("#a3457f", "", ":"),
}

Point = dict[str, float]


def rows_of(path: Path, network: str) -> dict[str, list[Point]]:
    """Return the points of each method."""
    found: dict[str, list[Point]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["network"] == network:
                point = {name: float(row[name]) for name in ("bytes", *_MEASURES)}
                found.setdefault(row["method"], []).append(point)
    return found


def rival(network: str) -> list[Point]:
    """Return NNCodec's points that no other beats in bytes and divergence; none where it was not measured."""
    path = SHARED / "peers" / "nncodec.csv"
    if network not in NETWORKS or not path.is_file():
        return []
    with path.open(newline="") as file:
        points = [
            {
                "bytes": float(row["bytes"]),
                "kl": float(row["kl"]),
                "same": float(row["agree"]),
                "top1": float(row["top1"]),
            }
            for row in csv.DictReader(file)
            if row["model"] == NETWORKS[network][0]
        ]
    return [
        one
        for one in points
        if one["kl"] > 0
        and not any(other["bytes"] <= one["bytes"] and other["kl"] < one["kl"] for other in points)
    ]


def draw(axes: Axes, measure: str, methods: dict[str, list[Point]]) -> None:
    """Draw one measure of all methods; the original is a line, and so is the control, which has no size."""
    for name, points in methods.items():
        if name == "original":
            if measure == "top1":
                axes.axhline(points[0]["top1"], color="black", linewidth=0.8, label=name)
            continue
        colour, marker, line = _STYLES[name]
        if name == "control":
            axes.axhline(
                points[0][measure], color=colour, linestyle=line, label="control: trained, not rounded"
            )
            continue
        ordered = sorted(points, key=lambda point: point["bytes"])
        axes.plot(
            [point["bytes"] / 1000 for point in ordered], [point[measure] for point in ordered], line,
            color=colour, marker=marker, label=name,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xticks([15, 20, 30, 50, 80, 130], ["15", "20", "30", "50", "80", "130"])
    axes.minorticks_off()
    axes.set_xlabel("bytes of the file, thousands")
    axes.set_title(_MEASURES[measure])
    axes.grid(visible=True, alpha=0.3)
    if measure == "kl":
        axes.set_ylim(0, 0.7)
    else:
        axes.set_ylim(60, 100 if measure == "same" else 84)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--network", default="resnet20-cifar10")
    given = parser.parse_args()
    methods = rows_of(given.rows, given.network)
    if not methods:
        raise SystemExit(f"{given.rows} has no rows of {given.network}")
    if points := rival(given.network):
        methods["NNCodec"] = points
    figure, panels = plt.subplots(1, len(_MEASURES), figsize=(12, 4), layout="constrained")
    for axes, measure in zip(panels, _MEASURES, strict=True):
        draw(axes, measure, methods)
    panels[-1].legend(loc="lower right", fontsize="small")
    figure.savefig(given.output, dpi=110)
    print(f"{given.output}: {', '.join(f'{name} {len(points)}' for name, points in methods.items())}")


if __name__ == "__main__":
    main()
