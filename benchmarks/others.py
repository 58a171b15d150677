"""Other people's models, none an image classifier of the kind enxuto was made with: every way to make them smaller.

    python benchmarks/others.py [--models pitch …] [--methods calibrated …] [--bits 4 3 2.5] [--table others.md]

Needs `../shared/models/other` and `../shared/data`; `--models demo` needs nothing. For each model: the default,
calibrated files of 4, 3 and 2.5 bits a weight (all bytes of the file count; 98 to 100 % of what is allowed), int8 by
ONNX Runtime (static for networks of convolutions, dynamic for others) and int8 under zstd -19. Judged on held-out
inputs, which calibrate nothing: the signal-to-noise ratio of the worst output of values, the share of answers that
stay, and the task's own figure. `ratio` is the bytes of a calibrated file over those of a file without data (`--bits`)
of the same loss, interpolated between logarithms on a curve of at least three sizes. `--json` keeps what earlier runs
measured of other models, so that a table can grow a model at a time. Models that are int8 already are compared with xz
and zstd -19 of the same bytes.
"""

from __future__ import annotations

import argparse
import io
import json
import lzma
import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import zstandard
from PIL import Image

from enxuto.calibration.calibrate import calibrate
from enxuto.calibration.calibration import Calibration
from enxuto.calibration.outputs import OutputChoices
from enxuto.compression.at_price import compress_at
from enxuto.compression.data_free import compress
from enxuto.compression.output_judge import OutputJudge
from enxuto.data.samples import Samples
from enxuto.demo import MODEL, TEST_IMAGES
from enxuto.enx.file import CompressedModel
from enxuto.enx.learned import parameters
from enxuto.errors import EnxutoError
from enxuto.onnx_model import Model
from enxuto.runtime import Runner

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"
OTHER = SHARED / "models" / "other"
CURVE = (3.0, 4.0, 5.5, 8.0, 11.0)
METHODS = ("default", "int8", "calibrated", "curve")
NEAR = 0.98  # of the bytes aimed at
INT8_SAMPLES = 32

Outputs = list[np.ndarray]
Task = Callable[[list[Outputs], list[Outputs]], float]


@dataclass(frozen=True)
class Case:
    """A model, what calibrates and what is held out, and the task's figure from outputs by sample."""

    path: Path
    calibration: Samples | None = None
    held_out: Samples | None = None
    task: tuple[str, Task] | None = None
    static: bool = True
    choices: OutputChoices | None = None


# Tasks: outputs of the original and of the smaller model, sample by sample.


def same_maps(before: list[Outputs], after: list[Outputs], bar: float) -> float:
    """Return the intersection over union of what lies above a bar, in percent."""
    one = np.concatenate([np.concatenate([v.reshape(-1) for v in sample]) for sample in before]) > bar
    other = np.concatenate([np.concatenate([v.reshape(-1) for v in sample]) for sample in after]) > bar
    return 100 * float((one & other).sum()) / max(1, int((one | other).sum()))


def same_share(before: list[Outputs], after: list[Outputs], bar: float) -> float:
    """Return the percent of first outputs that lie on the same side of a bar."""
    return 100 * float(np.mean([(a[0] > bar) == (b[0] > bar) for a, b in zip(before, after, strict=True)]))


def same_lines(before: list[Outputs], after: list[Outputs]) -> float:
    """Return the percent of lines read alike: the likeliest class of each step, repeats and blanks left out."""

    def read(outputs: Outputs) -> list[int]:
        steps = outputs[0][0].argmax(-1).tolist()
        return [c for i, c in enumerate(steps) if c and (i == 0 or c != steps[i - 1])]

    return 100 * float(np.mean([read(a) == read(b) for a, b in zip(before, after, strict=True)]))


def mean_change(before: list[Outputs], after: list[Outputs]) -> float:
    """Return the mean absolute change of all values."""
    return float(np.mean([np.abs(a[0] - b[0]).mean() for a, b in zip(before, after, strict=True)]))


# Inputs.


def pictures(name: str, limit: int) -> list[np.ndarray]:
    """Return RGB images (H, W, 3) of a parquet file of the shared data."""
    import pyarrow.parquet as parquet

    rows = parquet.read_table(SHARED / "data" / f"{name}.parquet").slice(0, limit).to_pylist()
    column = "image" if "image" in rows[0] else "img"
    return [np.asarray(Image.open(io.BytesIO(row[column]["bytes"])).convert("RGB")) for row in rows]


def resized(images: Sequence[np.ndarray], size: int) -> np.ndarray:
    """Return images (N, size, size, 3), float32."""
    scaled = [Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR) for image in images]
    return np.stack([np.asarray(image, np.float32) for image in scaled])


def halves(name: str, values: np.ndarray, count: int) -> tuple[Samples, Samples]:
    """Return the first `count` arrays as what calibrates, and the rest as held out."""
    return Samples({name: values[:count]}), Samples({name: values[count:]})


def arrays(folder: Path) -> tuple[Samples, Samples]:
    """Return `calibration.npz` and `held-out.npz` of a folder."""
    parts = [dict(np.load(folder / f"{part}.npz")) for part in ("calibration", "held-out")]
    return Samples(parts[0]), Samples(parts[1])


def pages(folder: Path, name: str) -> tuple[Samples, Samples]:
    """Return PNG files as a text network takes them: RGB, −1 to 1, NCHW, each of its own size."""

    def part(which: str) -> Samples:
        images = [np.asarray(Image.open(f).convert("RGB")) for f in sorted((folder / which).glob("*.png"))]
        prepared = [((i / np.float32(255) - 0.5) / 0.5).transpose(2, 0, 1)[None] for i in images]
        return Samples({name: [np.ascontiguousarray(p, np.float32) for p in prepared]})

    return part("calibration"), part("held-out")


def windows(folder: Path) -> tuple[Samples, Samples]:
    """Return windows of speech, each preceded by 64 samples, with the state that the original has there."""
    runner = Runner(Model.read(folder / "model.onnx"), threads=1)

    def part(which: str, every: int) -> Samples:
        rows: dict[str, list[np.ndarray]] = {"input": [], "state": [], "sr": []}
        for audio in np.load(folder / f"{which}.npz")["audio"].astype(np.float32):
            padded, state = (
                np.concatenate([np.zeros(64, np.float32), audio]),
                np.zeros((2, 1, 128), np.float32),
            )
            for number in range(len(audio) // 512):
                feeds = {
                    "input": padded[512 * number : 512 * number + 576][None],
                    "state": state,
                    "sr": np.asarray(16000, np.int64),
                }
                if number % every == 0:
                    for name, value in feeds.items():
                        rows[name].append(value)
                state = runner.run(feeds, ["stateN"])[0]
        return Samples(rows, stacked=False)  # the state's samples lie along its second axis

    return part("calibration", 3), part("held-out", 1)


def case_of(name: str) -> Case:
    """Return what one of the models is fed and judged by."""
    folder = OTHER / name
    path = folder / "model.onnx"
    if name == "demo":
        images = np.load(TEST_IMAGES)["images"].astype(np.float32)[:, None, :, :] / 16
        return Case(MODEL, *halves("image", images, 120))
    if name == "squeezenet1.1":
        images = resized(pictures("imagenet-sample", 500), 227)[..., ::-1]
        values = (images - np.array([103.939, 116.779, 123.68], np.float32)).transpose(0, 3, 1, 2)
        return Case(path, *halves("input", np.ascontiguousarray(values), 160))
    if name == "resnet8-cifar10":
        parts = [np.stack(pictures(f"cifar10-{which}", n)) for which, n in (("train", 256), ("test", 1000))]
        prepared = [((p.astype(np.float32) - 128) / 128).transpose(0, 3, 1, 2) for p in parts]
        return Case(path, *(Samples({"input": np.ascontiguousarray(p)}) for p in prepared))
    if name == "face-detector":
        return Case(path, *halves("input:0", resized(pictures("imagenet-sample", 192), 256) / 127.5 - 1, 96))
    if name == "text-detector":
        return Case(path, *pages(folder, "x"), ("IoU at 0.3, %", lambda a, b: same_maps(a, b, 0.3)))
    if name == "text-recogniser":
        return Case(path, *pages(folder, "x"), ("lines read alike, %", same_lines))
    if name == "voice-activity":
        alike = ("windows alike, %", lambda a, b: same_share(a, b, 0.5))
        return Case(path, *windows(folder), alike, static=False)
    if name == "pitch":
        return Case(path, *arrays(folder), ("IoU of notes, %", lambda a, b: same_maps(a, b, 0.5)))
    if name == "speech-quality":
        scores = {"Identity:0": ("values", 1.0)}  # three scores of 1 to 5 look like logits
        return Case(path, *arrays(folder), ("change of score", mean_change), choices=scores)
    if name == "file-types":
        return Case(path, *arrays(folder), static=False)
    if (folder / "calibration.npz").exists():
        return Case(path, *arrays(folder))
    return Case(path)


# Making files.


@dataclass
class Bench:
    """A case that is measured: its judge, and the original's outputs for the task."""

    case: Case
    threads: int

    def __post_init__(self) -> None:
        self.model = Model.read(self.case.path)
        assert self.case.held_out is not None, "models without inputs are compared by size alone"
        self.judge = OutputJudge(self.model, self.case.held_out, self.case.choices, threads=self.threads)
        self.before = [] if self.case.task is None else self.outputs(self.model)

    def outputs(self, model: Model) -> list[Outputs]:
        """Return a model's outputs for every held-out sample."""
        runner = Runner(model, threads=self.threads)
        names = [item.name for item in model.proto.graph.output]
        assert self.case.held_out is not None, "see above"
        held_out = self.case.held_out
        return [runner.run(held_out.sample(number), names) for number in range(len(held_out))]

    def row(
        self, method: str, size: int, model: Model, seconds: float, peeled: bool = True
    ) -> dict[str, Any]:
        """Judge a model and return its row."""
        judge = self.judge
        if not peeled:  # values in front of a softmax have other names in a quantized model
            assert self.case.held_out is not None, "as above"
            judge = OutputJudge(
                self.model, self.case.held_out, self.case.choices, threads=self.threads, peel=False
            )
        found = judge.compare(judge.judged_outputs.measured(model))
        ratios = [one.snr_db for one in found.outputs if one.snr_db is not None]
        task = None if self.case.task is None else self.case.task[1](self.before, self.outputs(model))
        return {
            "method": method, "bytes": size, "loss": found.kl if found.values_loss is None else found.values_loss,
            "agreement": found.agreement, "snr_db": min(ratios) if ratios else None, "task": task,
            "outputs": found.to_dict()["outputs"], "seconds": round(seconds, 1),
        }  # fmt: skip


def calibrated_rows(bench: Bench, sizes: Sequence[float]) -> list[dict[str, Any]]:
    """Return a row for each size in bits a weight, from one calibration, whose seconds count in each."""
    started = time.perf_counter()
    assert bench.case.calibration is not None, "a case with held-out inputs has others that calibrate"
    calibration = calibrate(
        bench.model, bench.case.calibration, choices=bench.case.choices, threads=bench.threads
    )
    measuring = time.perf_counter() - started
    if calibration.reason is not None:
        print(f"no gradients: {calibration.reason}", flush=True)
    weights = parameters(bench.model)
    rows = []
    for bits in sizes:
        started = time.perf_counter()
        file = of_size(calibration, bits, bits * weights / 8)
        seconds = measuring + time.perf_counter() - started
        over = " (larger)" if file.file_bytes > bits * weights / 8 else ""
        rows.append(bench.row(f"calibrated, {bits:g} bits{over}", file.file_bytes, file.to_model(), seconds))
        say(bench, rows[-1])
    return rows


def of_size(calibration: Calibration, bits: float, aim: float) -> CompressedModel:
    """Return a file of 98 to 100 % of so many bytes, by a few prices: the best found where none is."""
    weights = 8 * aim / bits
    power, best, known = math.log2(calibration.price_of_bits(bits)), None, []
    for _ in range(6):
        file = compress_at(calibration, 2.0**power).model
        known.append((file.file_bytes, power))
        if best is None or abs(file.file_bytes - aim) < abs(best.file_bytes - aim) or best.file_bytes > aim:
            best = (
                file if best is None or file.file_bytes <= aim or file.file_bytes < best.file_bytes else best
            )
        if NEAR * aim <= file.file_bytes <= aim:
            break
        small = max((one for one in known if one[0] <= aim), default=None)
        large = min((one for one in known if one[0] > aim), default=None)
        middle = 0.99 * aim
        if small and large:
            power = small[1] + (middle - small[0]) / (large[0] - small[0]) * (large[1] - small[1])
        else:  # a halved step costs a bit, and four times less
            power += 2.2 * 8 * (file.file_bytes - middle) / weights
        power = min(-4.0, max(-46.0, power))
    assert best is not None, "six tries"
    return best


def plain_row(bench: Bench, bits: float | None) -> dict[str, Any]:
    """Return the row of a file without data: the default, or of so many bits a weight."""
    started = time.perf_counter()
    file = compress(bench.model, bits=bits, threads=bench.threads)
    method = "default" if bits is None else f"without data, {bits:g} bits"
    return bench.row(method, file.file_bytes, file.to_model(), time.perf_counter() - started)


def int8_row(bench: Bench, folder: Path) -> dict[str, Any]:
    """Return the row of ONNX Runtime's int8, with its size under zstd -19."""
    from onnxruntime.quantization import QuantType, quantize_dynamic, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    started = time.perf_counter()
    ready, made = folder / "ready.onnx", folder / "int8.onnx"
    opset = max(item.version for item in bench.model.proto.opset_import if item.domain in ("", "ai.onnx"))
    how = {"per_channel": opset >= 13, "weight_type": QuantType.QInt8}  # older ones know no channels
    try:
        quant_pre_process(bench.case.path, ready, skip_symbolic_shape=True)
        Runner(Model.read(ready), threads=1)
    except Exception:  # noqa: BLE001 - what its optimizer makes of some models, it cannot read
        ready = bench.case.path
    if bench.case.static:
        assert bench.case.calibration is not None, "as above"
        some = bench.case.calibration.head(INT8_SAMPLES)
        reader = iter([some.sample(number) for number in range(len(some))])
        feed = type("Feed", (), {"get_next": lambda self: next(reader, None)})()
        quantize_static(ready, made, feed, activation_type=QuantType.QInt8, **how)
    else:
        quantize_dynamic(ready, made, **how)
    data = made.read_bytes()
    method = f"int8 ({'static' if bench.case.static else 'dynamic'})"
    row = bench.row(method, len(data), Model.read(made), time.perf_counter() - started, peeled=False)
    return {**row, "zstd_bytes": len(zstandard.ZstdCompressor(level=19).compress(data))}


def ratio(point: dict[str, Any], curve: Sequence[dict[str, Any]]) -> float | None:
    """Return a file's bytes over those of a curve at the same loss; None outside of the curve."""
    known = sorted((row["loss"], row["bytes"]) for row in curve if 0 < (row["loss"] or 0) < math.inf)
    if len(known) < 2 or not known[0][0] <= point["loss"] <= known[-1][0]:
        return None
    logs = np.log(np.array(known))
    return point["bytes"] / math.exp(float(np.interp(math.log(point["loss"]), logs[:, 0], logs[:, 1])))


def say(bench: Bench, row: dict[str, Any]) -> None:
    """Print a row of the Markdown table."""
    signal = "–" if row["snr_db"] is None else f"{row['snr_db']:.1f}"
    agreement = "–" if row["agreement"] is None else f"{row['agreement']:.2f}"
    task = "–" if row["task"] is None else f"{row['task']:.4g}"
    size = f"{row['bytes']:,}" + (f" ({row['zstd_bytes']:,})" if "zstd_bytes" in row else "")
    less = "–" if row.get("ratio") is None else f"{row['ratio']:.2f}"
    name = bench.case.path.parent.name
    row["line"] = (
        f"| {name} | {row['method']} | {size} | {signal} | {agreement} | {task} | {less} | {row['seconds']:.0f} |"
    )
    print(row["line"], flush=True)


HEAD = (
    "| model | file | bytes (under zstd -19) | SNR, dB | same answers, % | task | ratio | seconds |\n"
    "|---|---|---|---|---|---|---|---|"
)


def run(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure one model."""
    case = case_of(name)
    data = case.path.read_bytes()
    packed = {"zstd": len(zstandard.ZstdCompressor(level=19).compress(data)), "xz": len(lzma.compress(data))}
    sizes = {"name": name, "bytes": len(data), "packed": packed, "weights": parameters(Model.read(case.path))}
    print(
        f"\n{name}: {len(data):,} B, zstd -19 {packed['zstd']:,} B, xz {packed['xz']:,} B\n\n{HEAD}",
        flush=True,
    )
    if case.held_out is None:
        started = time.perf_counter()
        size = compress(case.path, threads=arguments.threads).file_bytes
        line = f"| {name} | default | {size:,} | – | – | – | – | {time.perf_counter() - started:.0f} |"
        print(line, flush=True)
        return {**sizes, "rows": [{"method": "default", "bytes": size, "line": line}]}
    bench = Bench(case, arguments.threads)
    sizes["task"] = None if case.task is None else case.task[0]
    rows = []
    if "default" in arguments.methods:
        rows.append(plain_row(bench, None))
        say(bench, rows[-1])
    if "int8" in arguments.methods:
        with TemporaryDirectory() as folder:
            try:
                rows.append(int8_row(bench, Path(folder)))
                say(bench, rows[-1])
            except Exception as error:  # noqa: BLE001 - what ONNX Runtime cannot quantize is told, not hidden
                print(f"int8: {type(error).__name__}: {str(error).splitlines()[0]:.200}", flush=True)
    try:
        calibrated = calibrated_rows(bench, arguments.bits) if "calibrated" in arguments.methods else []
    except EnxutoError as error:
        print(f"calibrated: {error}", flush=True)
        return {**sizes, "rows": rows, "refused": str(error)}
    curve: list[dict[str, Any]] = []
    for bits in CURVE if "curve" in arguments.methods else ():
        curve.append(plain_row(bench, bits))
        say(bench, curve[-1])
        if len(curve) > 2 and curve[-1]["loss"] <= min((row["loss"] for row in calibrated), default=0.0):
            break
    for row in calibrated if curve else ():
        row["ratio"] = ratio(row, curve)
        say(bench, row)
    return {**sizes, "rows": [*rows, *calibrated], "curve": curve}


def main() -> None:
    """Run what was asked for, smallest models first."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", help="by default all in ../shared/models/other")
    parser.add_argument("--bits", type=float, nargs="+", default=[4.0, 3.0, 2.5], help="of calibrated files")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--table", type=Path, help="Markdown")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    found = sorted(OTHER.glob("*/model.onnx"), key=lambda path: path.stat().st_size)
    kept = arguments.json is not None and arguments.json.exists()
    results: list[dict[str, Any]] = json.loads(arguments.json.read_text()) if kept else []
    for name in arguments.models or [path.parent.name for path in found]:
        result = run(name, arguments)
        results = [*(one for one in results if one["name"] != name), result]
        if arguments.json:
            arguments.json.write_text(json.dumps(results, indent=1) + "\n")
        if arguments.table:
            lines = [row["line"] for one in results for row in [*one["rows"], *one.get("curve", [])]]
            arguments.table.write_text("\n".join([HEAD, *lines]) + "\n")
    known = [row["ratio"] for result in results for row in result["rows"] if row.get("ratio")]
    if known:
        print(f"\ngeometric mean of {len(known)} ratios: {math.exp(float(np.mean(np.log(known)))):.3f}")


if __name__ == "__main__":
    main()
