"""Small results of every form that a report reads, made up; what the verbs really print is read in tests/cli."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from enxuto.weights.distribution import weight_distribution

LEDGER: dict[str, Any] = {
    "output": "net.enx",
    "parameters": 1000,
    "rows": [
        {
            "name": "float32 weights",
            "bytes": 4000.0,
            "measured": False,
            "ratio": 1.0,
            "bits_per_parameter": 32.0,
        },
        {"name": "ONNX file", "bytes": 4500, "measured": True, "ratio": 0.889, "bits_per_parameter": 36.0},
        {"name": ".enx file", "bytes": 500, "measured": True, "ratio": 8.0, "bits_per_parameter": 4.0},
    ],
}

LAYERS: dict[str, Any] = {
    "output": "net.enx",
    "layers": [
        {"name": "stem", "step": 0.01, "bits": 6.5, "bytes": 120, "share_of_file": 0.24, "share_of_loss": 0.5,
         "sensitivity": 30.0, "method": "calibrated"},
        {"name": "head", "step": 0.05, "bits": 3.25, "bytes": 380, "share_of_file": 0.76, "share_of_loss": 0.5,
         "sensitivity": 0.01, "method": "calibrated"},
    ],
}  # fmt: skip

_JUDGED = {
    "samples": 100, "top1": 80.0, "drop": 0.5, "drop_interval": [-0.5, 1.5], "agreement": 97.0,
    "agreement_interval": [95.0, 99.0], "kl": 0.02, "data_hash": "cafe",
}  # fmt: skip
SEARCH: dict[str, Any] = {
    **LEDGER,
    **LAYERS,
    "price": 1e-7,
    "fits": True,
    "broken": None,
    "calibration": {"images": 64, "data": "f00d of images.parquet", "seed": 5, "price": 1e-7},
    "reported": {**_JUDGED, "drop": 0.75, "data_hash": "beef"},
    "trials": [
        {"price": 1e-8, "bytes": 900, "fits": True, "judged": {**_JUDGED, "drop": 0.1}},
        {"price": 1e-6, "bytes": 400, "fits": False, "judged": {**_JUDGED, "drop": 3.0}},
        {"price": 1e-5, "bytes": 300, "fits": False, "judged": None},
    ],
}

SPEEDS: dict[str, Any] = {
    "threads": 1,
    "seed": 0,
    "models": [
        {"model": f"a/{name}", "latency": [
            {"batch": batch, "repeats": 9, "mean": time * batch, "std": 0.1, "median": time * batch, "p95": 2 * time}
            for batch in (1, 32)
        ]}
        for name, time in (("whole.onnx", 4.0), ("pruned.onnx", 1.0))
    ],
}  # fmt: skip

TICKETS: dict[str, Any] = {
    "schema": "enxuto-report/1",
    "kind": "tickets",
    "title": "a network",
    "unpruned": [{"seed": seed, "accuracy": accuracy} for seed, accuracy in enumerate((0.90, 0.92, 0.91))],
    "runs": [
        {
            "method": method,
            "seed": seed,
            "round": number,
            "remaining": 0.5**number,
            "accuracy": accuracy + shift,
        }
        for method, shift in (("l1", 0.0), ("random", -0.05))
        for number, accuracies in ((1, (0.93, 0.91, 0.92)), (2, (0.90, 0.85, 0.70)))
        for seed, accuracy in enumerate(accuracies)
    ],
    "provenance": {"command": "enxuto prune net", "samples": 1234, "seed": [0, 1, 2]},
}

REMOVED: dict[str, Any] = {
    "schema": "enxuto-report/1",
    "kind": "removed-filters",
    "title": "a network",
    "layers": ["conv1", "conv2"],
    "filters": [10, 20],
    "rounds": [
        {"method": "l1", "seed": 0, "round": 1, "kept": [8, 15]},
        {"method": "l1", "seed": 0, "round": 2, "kept": [7, 9]},
    ],
}

OWN: dict[str, Any] = {
    "schema": "enxuto-report/1",
    "kind": "table",
    "title": "mine",
    "charts": [
        {"title": "own chart", "x": {"label": "size", "log": 10}, "y": {"label": "accuracy"},
         "series": [{"name": "ours", "points": [[1, 2], [10, 3]]},
                    {"name": "theirs", "points": [[5, 2.5]], "published": True}]}
    ],
    "tables": [{"title": "own table", "columns": ["name", "value"], "rows": [["a", 1.5], ["b", None]]}],
}  # fmt: skip

EVALUATION: dict[str, Any] = {
    "model": "net.enx",
    "data": "images/test.parquet",
    "metrics": {
        "accuracy": 0.75, "top": {"1": 0.75}, "macro_precision": 0.7, "macro_recall": 0.75, "macro_f1": 0.72,
        "mrr": 0.8, "ndcg": 0.85, "precision": [0.5, 1.0], "recall": [1.0, 0.5], "f1": [0.6, 0.7], "support": [2, 2],
    },
    "samples": 4, "data_hash": "abcd", "seed": 3, "top1_interval": [0.3, 0.95], "agreement": 1.0, "kl": 0.001,
    "class_names": ["cat", "dog"],
}  # fmt: skip

COMPARISON: dict[str, Any] = {
    "first": "a.onnx", "second": "b.enx", "samples": 4, "seed": 3, "data_hash": "abcd", "top1": [0.75, 0.5],
    "agreement": 0.75, "kl": 0.01, "p_value": 1.0,
    "counts": {"both": 2, "only first": 1, "only second": 0, "neither": 1},
    "layers": [{"name": "conv1", "weight_snr": 30.0, "output_snr": 25.0}, {"name": "bias", "weight_snr": None}],
}  # fmt: skip


def point_values(bits: float, top1: float, size: int) -> dict[str, Any]:
    """What the point of a curve holds."""
    return {
        "weights": 1000, "quantized": 1000, "entropy_bits": bits, "file_bytes": size, "file_bits": size * 8 / 1000,
        "broken": 0, "top1": top1, "top1_interval": [top1 - 0.05, min(1.0, top1 + 0.05)], "macro_precision": top1,
        "macro_recall": top1, "macro_f1": top1, "mrr": top1, "agreement": top1, "kl": 0.1, "samples": 200,
        "classes": 4, "seed": 7,
    }  # fmt: skip


def curve() -> dict[str, Any]:
    """What `curve --json` prints."""
    rows = [
        {
            "mode": "grid",
            "method": "midtread",
            "i": i,
            "setting": f"midtread, {i}",
            **point_values(i, 1 - 1 / i, 100 * i),
        }
        for i in (2, 4, 8)
    ]
    rows.append(
        {
            "mode": "default",
            "method": "enxuto",
            "i": 4,
            "bits": 4,
            "setting": "enxuto, 4 bits",
            **point_values(4, 0.9, 400),
        }
    )
    return {
        "models": [
            {"model": "resnet-x", "data": "beef", "original": point_values(24, 0.9, 4000), "points": rows}
        ],
        "failed": [],
        "not_run": {},
    }


def weights() -> dict[str, Any]:
    """What `weights --json` prints."""
    values = np.random.default_rng(0).laplace(size=3000)
    shape, layer = weight_distribution(values, "net"), weight_distribution(values[:600], "conv1")
    assert shape is not None
    assert layer is not None
    return {
        "models": [
            {
                **shape.to_dict(),
                "layers": [{**layer.to_dict(), "role": "kernel", "shape": [6, 100]}],
                "dependence": [
                    dependent("conv1", [6, 5, 3, 3], {"outputs": (0.5, 0.02), "columns": (-0.25, 0.1)}),
                    dependent("conv2", [8, 6], {"outputs": (0.125, 0.04)}),
                ],
                "seed": 0,
            }
        ],
    }


def dependent(name: str, shape: list[int], axes: dict[str, tuple[float, float]]) -> dict[str, Any]:
    """A layer as `weights --dependence --json` prints it: correlation and information by axis."""
    return {
        "name": name, "role": "kernel", "shape": shape,
        "axes": [
            {"axis": axis, "length": shape[0], "pairs": 2000, "correlation": [correlation, 0.1],
             "information": information, "chance": 0.01, "chance_std": 0.001, "scale_share": 0.3, "significant": True}
            for axis, (correlation, information) in axes.items()
        ],
    }  # fmt: skip


def record(
    point: str, kind: str, settings: dict[str, Any], values: dict[str, Any] | None, **more: Any
) -> dict[str, Any]:
    """A line of a study's records."""
    return {
        "point": point, "kind": kind, "settings": settings, "seed": 0, "data_hash": "beef", "code": "1",
        "after": [], "values": values, "error": None if values is not None else "it broke", "seconds": 0.5,
        "finished": "2026-01-01T00:00:00+00:00", "machine": {"cpu": "abacus", "cores": 2},
        "versions": {"enxuto": "0.1.0"}, "trace": None, **more,
    }  # fmt: skip


def lottery_records() -> list[dict[str, Any]]:
    """The records of a lottery study of one seed and two rounds."""
    shared = {"network": {"name": "vgg-x", "input_shape": [3, 8, 8], "classes": 2, "options": {}}}
    arm = {"criterion": "l1", "mode": "rewind", "scope": "global", "schedule": "iterative", "rewind_epoch": 0}

    def values(top1: float, left: float, widths: list[int]) -> dict[str, Any]:
        return {
            "top1": top1, "samples": 500, "left": {"parameters": left, "filters": left, "macs": left},
            "widths": dict(zip(("conv1", "conv2"), widths, strict=True)),
        }  # fmt: skip

    found = [record("p0", "lottery.unpruned", shared, values(0.8, 1.0, [10, 20]))]
    for number, (top1, widths) in enumerate(((0.82, [8, 15]), (0.6, [7, 9])), start=1):
        settings = {**shared, "arm": arm, "round": number}
        found.append(
            record(
                f"p{number}",
                "lottery.round",
                settings,
                values(top1, 0.5**number, widths),
            )
        )
    rows = [
        {"device": "cpu", "round": number, "batch": 1, "mean_ms": 4.0, "median_ms": 4.0 / 2**number, "p95_ms": 5.0,
         "speedup": 2.0**number}
        for number in range(3)
    ]  # fmt: skip
    timed = {"threads": 1, "repeats": 10, "rows": rows}
    found.append(record("p9", "lottery.speed", {**shared, "arm": arm, "batches": [1]}, timed))
    return found


def souza_records() -> list[dict[str, Any]]:
    """The records of two networks of the study of five."""
    times = {"mean": 2.0, "std": 0.5, "median": 1.9, "p95": 3.0}
    return [
        record(
            name, "souza.network",
            {"network": name, "scale": "smoke", "classes": 10, "config": {"epochs": 2}},
            {
                "data_set": "CIFAR-10", "train": {"hash": "aa", "samples": 512}, "test": {"hash": "bb", "samples": 500},
                "training": {"epochs": 2, "stopped": "all epochs done", "loss": 1.0, "seconds": 3.0},
                "measures": {
                    "top1": 0.5, "top5": None, "loss": 1.0, "samples": 500, "data_hash": "bb", "parameters": parameters,
                    "macs": 10**6, "onnx_bytes": 10**6, "state_bytes": 1_500_000, "threads": 1,
                    "latency": {"PyTorch, CPU": times, "ONNX Runtime, CPU": times},
                },
            },
            machine={"cpu": "abacus", "cores": 2, "gpu": None},
        )
        for name, parameters in (("squeezenet-dsc", 248_670), ("vgg19-cifar", 20_040_522))
    ]  # fmt: skip


def write(place: Path, values: Any) -> Path:
    """A file with these values as JSON."""
    place.write_text(json.dumps(values, ensure_ascii=False), encoding="utf-8")
    return place


def write_lines(place: Path, values: list[dict[str, Any]]) -> Path:
    """A file of records."""
    place.write_text("".join(json.dumps(one) + "\n" for one in values), encoding="utf-8")
    return place


def all_of_them(folder: Path) -> list[Path]:
    """A file of every form."""
    plain = {
        "ledger": LEDGER, "layers": LAYERS, "speeds": SPEEDS, "tickets": TICKETS, "removed": REMOVED, "own": OWN,
        "evaluation": EVALUATION, "comparison": COMPARISON, "curve": curve(), "weights": weights(),
    }  # fmt: skip
    found = [write(folder / f"{name}.json", values) for name, values in plain.items()]
    found.append(write_lines(folder / "lottery.jsonl", lottery_records()))
    return [*found, write_lines(folder / "souza.jsonl", souza_records())]
