"""Files of one task made smaller step by step: bytes against top-1, with MACs, latency and the command of each.

    python benchmarks/stacked.py points.toml [--folder out/stacked] [--limit N] [--repeats 100] [--svg]

The TOML file names test images and the files, which are made before; paths are those of the TOML file's folder:

    data = "cifar10-test.parquet"
    task = "CIFAR-10"
    [[points]]
    name = "SqueezeNet, float32"
    file = "networks/squeezenet.onnx"     # ONNX or .enx
    command = "enxuto train squeezenet-cifar …; enxuto export …"
    preprocess = "resnet-cifar"           # only where the file does not say
    seed = 0                              # these are shown where they are given
    epochs = 25
    minutes = 190
    machine = "AMD EPYC, 2 cores"
    chosen_on = "training images held out"   # on what something of it was chosen; "nothing" where nothing was
    note = "bfloat16"
    aside = true                          # off the line that joins the others: another way to the same end

The first point is what the others are compared with. That nothing was chosen on test images is said where every point
says on what it chose and none names test images. Every byte of a file counts. Latencies are of one image on one
thread, the models in turns. A card, the file's name with .md, is linked where there is one. Writes stacked.md,
stacked.json and stacked.png.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import enxuto
from enxuto.data import Dataset, Preprocess, open_dataset, preset
from enxuto.errors import DataError, UsageError
from enxuto.escaping import markdown_text
from enxuto.files import read_toml
from enxuto.latency import latency
from enxuto.machine.facts import describe_machine, machine
from enxuto.opening import load
from enxuto.report.drawing import COLOURS, MARKERS, new_figure, save
from enxuto.runtime import Runner
from enxuto.summary import summarize

TEXTS = ("name", "file", "command", "preprocess", "note", "machine", "chosen_on")
KEYS = (*TEXTS, "seed", "epochs", "minutes", "aside")
_KINDS: Mapping[str, tuple[type, ...]] = {"seed": (int,), "aside": (bool,)}


@dataclass(frozen=True)
class Point:
    """One file, as measured. top1 and its 95 % interval in percent; milliseconds: median of one image, one thread.

    seed, epochs, minutes, machine: of what made it. chosen_on: the images that chose something of it. aside: not joined
    with the others in the picture.
    """

    name: str
    file: str
    bytes: int
    top1: float
    low: float
    high: float
    macs: int
    milliseconds: float
    command: str
    note: str
    card: str | None
    seed: int | None = None
    epochs: float | None = None
    minutes: float | None = None
    machine: str | None = None
    chosen_on: str | None = None
    aside: bool = False

    @property
    def how(self) -> str:
        """What the table says of how it was made."""
        numbers = [
            (self.seed, "seed {:d}"), (self.epochs, "{:g} epochs"), (self.minutes, "{:g} minutes"),
            (self.machine, "{}"), (self.chosen_on, "chosen on: {}"), (self.note or None, "{}"),
        ]  # fmt: skip
        return "; ".join(form.format(value) for value, form in numbers if value is not None)


def read_points(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The file's settings and its points, checked. Raises `UsageError` naming what is missing, unknown or no number."""
    held = read_toml(path, "stacked")
    points = held.get("points")
    if not isinstance(held.get("data"), str) or not isinstance(points, list) or not points:
        raise UsageError(f'{path} needs data = "…" and at least one [[points]]', code="E023")
    for place, point in enumerate(points, start=1):
        for key in ("name", "file", "command"):
            if not isinstance(point.get(key), str):
                raise UsageError(f'{path}: point {place} needs {key} = "…"', code="E023")
        unknown = sorted(point.keys() - set(KEYS))
        if unknown:
            raise UsageError(
                f"{path}: point {place} has {unknown[0]}; there are {', '.join(KEYS)}", code="E021"
            )
        for key in point:
            kinds = (str,) if key in TEXTS else _KINDS.get(key, (int, float))
            if not isinstance(point[key], kinds) or isinstance(point[key], bool) != (key == "aside"):
                raise UsageError(f"{path}: {key} of point {place} is {point[key]!r}", code="E020")
        if not (path.parent / point["file"]).is_file():
            raise UsageError(f"{path}: {point['file']} of point {place} does not exist", code="E010")
    return held, points


def open_test_images(path: Path, limit: int | None) -> Dataset:
    """The part `test`, or all of a file that has one part; `limit` of them drawn at random."""
    try:
        return open_dataset(path, split="test", limit=limit)
    except DataError:
        return open_dataset(path, limit=limit)


def measure(folder: Path, points: Sequence[Mapping[str, Any]], images: Dataset, repeats: int) -> list[Point]:
    """Measure all files, the latencies in turns."""
    files = [folder / point["file"] for point in points]
    times = latency([Runner(load(file), threads=1) for file in files], repeats=repeats)
    found = []
    for point, file, (time,) in zip(points, files, times, strict=True):
        named = point.get("preprocess")
        preprocess = None
        if named is not None:
            own = folder / named
            preprocess = Preprocess.from_toml(own) if named.endswith(".toml") else preset(named)
        scored = enxuto.evaluate(file, images, preprocess=preprocess)
        top1 = scored.top1
        low, high = scored.top1_interval
        card = Path(point["file"]).with_suffix(".md")
        found.append(
            Point(
                point["name"], point["file"], file.stat().st_size, 100 * top1, 100 * low, 100 * high,
                summarize(file).macs, time.median, point["command"], point.get("note", ""),
                str(card) if (folder / card).is_file() else None,
                *(point.get(key) for key in ("seed", "epochs", "minutes", "machine", "chosen_on")),
                aside=point.get("aside", False),
            )
        )  # fmt: skip
        print(f"{found[-1].name}: {found[-1].bytes:,} bytes, top-1 {found[-1].top1:.2f} %", flush=True)
    return found


def table(points: Sequence[Point], task: str, samples: int, data_hash: str) -> str:
    """Markdown: the table, then the command of each point."""
    first = points[0]
    unseen = all(one.chosen_on is not None and "test" not in one.chosen_on.lower() for one in points)
    lines = [
        f"{task}: {samples:,} test images (hash `{data_hash}`)"
        f"{', on which nothing was chosen' if unseen else ''}. Latency: median of one image on one thread, the models "
        f"in turns; {describe_machine(machine())}.",
        "",
        "| step | bytes | smaller | top-1, % (95 %) | points | MACs | ms | how |",
        "| :-- | --: | --: | :-- | --: | --: | --: | :-- |",
    ]
    for point in points:
        name = markdown_text(point.name)
        shown = name if point.card is None else f"[{name}]({point.card})"
        lines.append(
            f"| {shown} | {point.bytes:,} | {first.bytes / point.bytes:.1f}× | {point.top1:.2f} "
            f"({point.low:.2f} – {point.high:.2f}) | {point.top1 - first.top1:+.2f} | {point.macs / 1e6:.1f} M | "
            f"{point.milliseconds:.2f} | {markdown_text(point.how)} |"
        )
    lines += ["", "Each file is made by", "", "```"]
    for point in points:
        lines += [f"# {point.name}: {point.file}", point.command]
    return "\n".join([*lines, "```", ""])


def draw(points: Sequence[Point], task: str, path: Path) -> None:
    """Bytes on a logarithmic axis, falling to the right, against top-1 with its interval."""
    figure, (axis,) = new_figure(8, 4.6)
    joined = [one for one in points if not one.aside]
    axis.plot(
        [one.bytes for one in joined], [one.top1 for one in joined], color="#999999", linewidth=0.8, zorder=1
    )
    for place, one in enumerate(points):
        spread = [[one.top1 - one.low], [one.high - one.top1]]
        axis.errorbar(
            one.bytes, one.top1, yerr=spread, color=COLOURS[place % 7], marker=MARKERS[place % 7], capsize=2,
            linestyle="none", label=f"{one.name}: {one.bytes:,} B",
            markerfacecolor="white" if place >= 7 else None,  # colours and markers come again
        )  # fmt: skip
    axis.set_xscale("log")
    axis.invert_xaxis()
    low, high = min(one.bytes for one in points), max(one.bytes for one in points)
    ticks = [
        step * 10**power
        for power in range(2, 10)
        for step in (1, 2, 5)
        if 0.7 * low <= step * 10**power <= 1.5 * high
    ]
    axis.set_xticks(ticks, [_size(tick) for tick in ticks])
    axis.set_xticks([], minor=True)
    axis.set_xlabel("bytes of the file")
    axis.set_ylabel(f"top-1 on the test images of {task}, %")
    figure.legend(
        *axis.get_legend_handles_labels(), frameon=False, fontsize=7, loc="outside lower center", ncols=2
    )
    save(figure, path)


def _size(count: int) -> str:
    if count >= 1_000_000:
        return f"{count / 1e6:g} MB"
    return f"{count / 1000:g} kB" if count >= 1000 else f"{count} B"


def main() -> None:
    """Measure the files and write the table and the picture."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("points", type=Path, help="TOML file of the points")
    parser.add_argument("--folder", type=Path, default=Path("out/stacked"))
    parser.add_argument("--limit", type=int, help="use so many test images")
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--svg", action="store_true", help="draw an SVG instead of a PNG")
    options = parser.parse_args()
    try:
        settings, wanted = read_points(options.points)
        images = open_test_images(options.points.parent / settings["data"], options.limit)
        found = measure(options.points.parent, wanted, images, options.repeats)
    except enxuto.EnxutoError as error:
        raise SystemExit(f"error: {error}") from None
    task = str(settings.get("task", "these images"))
    options.folder.mkdir(parents=True, exist_ok=True)
    text = table(found, task, len(images), images.hash)
    (options.folder / "stacked.md").write_text(f"# {task}, step by step\n\n{text}")
    (options.folder / "stacked.json").write_text(json.dumps([asdict(one) for one in found], indent=1) + "\n")
    draw(found, task, options.folder / f"stacked.{'svg' if options.svg else 'png'}")
    print(text)


if __name__ == "__main__":
    main()
