"""The tables of the Souza study, ours beside the published: for a terminal, as Markdown and as CSV."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from enxuto.escaping import csv_text
from enxuto.machine.facts import describe_machine
from enxuto.metrics import wilson_interval
from enxuto.studies.souza.published import MEGABYTE, Row
from enxuto.studies.souza.records import changes, over_seeds, scale_title
from enxuto.studies.souza.source_tables import (
    NONE,
    comparison_table,
    network_tables,
    published_row,
    published_size,
    time_table,
    timed_caption,
)
from enxuto.tables import Table

__all__ = ["as_csv", "tables"]

_RUNTIMES = (("PyTorch, GPU", "gpu"), ("PyTorch, CPU", "cpu"), ("ONNX Runtime, CPU", None))

Record = Mapping[str, Any]


def tables(records: Sequence[Record], all_data: Sequence[Record] = ()) -> list[Table]:
    """The tables of networks on one data set, as tables 6 to 9 of the source, with its text's comparisons.

    all_data: records of these and other data sets. Networks that have several in it get a table each, as tables 1 to 5.
    Of several seeds of a network the tables have the means.
    """
    records, all_data = over_seeds(records), over_seeds(all_data)
    compared = [table for table in (comparison_table(records),) if table.rows]
    return [_accuracy(records), time_table(records), _latency(records), *compared, *network_tables(all_data)]


def _accuracy(records: Sequence[Record]) -> Table:
    top5 = any(record["classes"] > 10 for record in records)
    several = any(len(record["seeds"]) > 1 for record in records)
    columns = [
        "network",
        *(["seeds"] if several else []),
        "top-1 %",
        *(["lowest – highest"] if several else []),
    ]
    columns += ["95 % interval", "published top-1 %"]
    columns += ["top-5 %", "published top-5 %"] if top5 else []
    columns += ["parameters", "published parameters"]
    columns += [f"{name}, 10⁶ bytes" for name in ("size", "published size", "ONNX")] + ["MACs"]
    columns += ["epochs", "training s"]
    rows = []
    for record in records:
        measures, known = record["measures"], published_row(record)
        row = [record["network"], *([str(len(record["seeds"]))] if several else [])]
        row += [_percent(measures["top1"]), *([_spread(record["top1s"])] if several else [])]
        row += [_interval(measures), _cell(known, "top1")]
        row += [_percent(measures["top5"]), _cell(known, "top5")] if top5 else []
        row += [f"{measures['parameters']:,}", _cell(known, "parameters")]
        size = published_size(record)
        row += [f"{measures['state_bytes'] / 1e6:.2f}", NONE if size is None else f"{size / 1e6:.2f}"]
        row += [f"{measures['onnx_bytes'] / 1e6:.2f}", f"{measures['macs']:,}"]
        row += [" / ".join(map(str, record["epochs"]))]
        row += [f"{record['training']['seconds']:,.0f}"]
        rows.append(tuple(row))
    means = "Means over the seeds; the interval is of the mean on so many test images. " if several else ""
    caption = f"{_about(records)}. {means}{_published_caption(records)}Size: the saved weights"
    return Table("Accuracy, parameters, size", tuple(columns), tuple(rows), caption)


def _latency(records: Sequence[Record]) -> Table:
    rows = []
    for record in records:
        known = published_row(record)
        for runtime, published in _RUNTIMES:
            times = record["measures"]["latency"].get(runtime)
            row = [str(record["network"]), runtime]
            row += [NONE] * 3 if times is None else [
                f"{times['mean']:.2f} ± {times['std']:.2f}", f"{times['median']:.2f}", f"{times['p95']:.2f}"
            ]  # fmt: skip
            known_times = None if known is None or published is None else getattr(known, published)
            row.append(NONE if known_times is None else "{:.2f} ± {:.2f}".format(*known_times))
            rows.append(tuple(row))
    columns = ("network", "run by", "mean ± std", "median", "p95", "published mean ± std")
    caption = (
        f"{_machines(records)}{timed_caption(records)}. Published: PyTorch on a Titan Xp and a Core i7-7700K, over all "
        "test images"
    )
    return Table("Latency of one image, ms", columns, tuple(rows), caption, texts=2)


def as_csv(records: Sequence[Record]) -> str:
    """A line a network, plain numbers with full precision: ours, then the published ones."""
    rows = []
    for record in records:
        measures, known = record["measures"], published_row(record)
        row: dict[str, Any] = {
            key: record.get(key) for key in ("network", "scale", "seed", "classes", "data_set", "point")
        }
        row |= {"changed": ", ".join(changes(record))}
        row |= {key: value for key, value in measures.items() if key != "latency"}
        row |= {f"train_{key}": record["train"][key] for key in ("hash", "samples")}
        row |= {
            f"training_{key}": record["training"][key] for key in ("epochs", "stopped", "loss", "seconds")
        }
        for runtime, _ in _RUNTIMES:
            times = measures["latency"].get(runtime) or {}
            prefix = runtime.lower().replace(", ", "_").replace(" ", "_")
            row |= {f"{prefix}_{key}_ms": times.get(key) for key in ("mean", "std", "median", "p95")}
        row |= {
            f"published_{key}": getattr(known, key, None) for key in ("top1", "top5", "parameters", "size")
        }
        row["published_size_bytes"] = published_size(record)
        for key in ("gpu", "cpu"):
            mean, std = getattr(known, key, (None, None))
            row |= {f"published_{key}_mean_ms": mean, f"published_{key}_std_ms": std}
        rows.append(row)
    return csv_text(list(rows[0]) if rows else ["network"], [list(row.values()) for row in rows])


def _about(records: Sequence[Record]) -> str:
    """Samples, seeds and scales: an accuracy without them says nothing."""
    if not records:
        return "No network yet"
    samples = _join_texts(f"{record['train']['samples']:,}" for record in records)
    tested = _join_texts(f"{record['test']['samples']:,}" for record in records)
    seeds = ", ".join(map(str, sorted({seed for record in records for seed in record["seeds"]})))
    scales = _join_texts(map(scale_title, records))
    aside = "" if all(map(_is_protocol, records)) else " (not the protocol)"
    return f"Scale {scales}{aside}: trained on {samples} images, tested on {tested}, seed {seeds}"


def _is_protocol(record: Record) -> bool:
    """Whether the record is of the source's protocol: all images, its recipe, up to 200 epochs."""
    return record["scale"] == "full" and not changes(record)


def _published_caption(records: Sequence[Record]) -> str:
    """What the published numbers are, and the size of their MB; nothing where none stands in the table."""
    names = dict.fromkeys(record["data_set"] for record in records if published_row(record) is not None)
    if not names:
        return ""
    sizes = ", ".join(f"{MEGABYTE[name]:,} bytes for {name}" for name in names)
    return (
        f"Published: Souza 2020, all of CIFAR, up to 200 epochs; sizes converted, its MB is {sizes}; data are known by "
        "their classes' names. "
    )


def _machines(records: Sequence[Record]) -> str:
    if not records:
        return "Nothing measured yet"
    names = _join_texts(describe_machine(record["machine"]) for record in records)
    threads = _join_texts(str(record["measures"]["threads"] or "all") for record in records)
    first = ", the network of the first seed" if any(len(record["seeds"]) > 1 for record in records) else ""
    return f"Measured on {names}{first}; CPU threads: {threads}"


def _join_texts(texts: Iterable[str]) -> str:
    return " / ".join(dict.fromkeys(texts))


def _percent(share: float | None) -> str:
    return NONE if share is None else f"{100 * share:.2f}"


def _spread(shares: Sequence[float]) -> str:
    """The lowest and the highest of several seeds, in %."""
    return NONE if len(shares) < 2 else f"{_percent(min(shares))} – {_percent(max(shares))}"


def _interval(measures: Mapping[str, Any]) -> str:
    """Wilson's 95 % interval of top-1, in %."""
    samples = measures["samples"]
    low, high = wilson_interval(round(measures["top1"] * samples), samples)
    return f"{100 * low:.1f} – {100 * high:.1f}"


def _cell(row: Row | None, field: str) -> str:
    """A published number, or a dash where the source has none."""
    value = None if row is None else getattr(row, field)
    if value is None:
        return NONE
    return f"{value:,}" if isinstance(value, int) else f"{value:.2f}"
