"""What `enxuto prune` leaves and shows at the end: the last network and its ONNX, speeds, a table of the rounds."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from enxuto.cli.shared.provenance import write_provenance
from enxuto.cli.shared.pruning_options import top1_interval
from enxuto.cli.shared.terminal import human_bytes, note, print_json, say, show_table, warn
from enxuto.cli.shared.values import percent

if TYPE_CHECKING:
    from torch import nn

    from enxuto.studies.images import Images
    from enxuto.study import Point, StudyResults

__all__ = ["explain_missed", "explain_speed", "explain_widths", "finish"]

_HARDLY = 0.01  # of the unpruned network: what whole filters may miss
_TOP1 = {
    "none": ("pruned, top-1 %",),
    "distil": ("before refitting, top-1 %", "distilled, top-1 %"),
}  # by retraining
_FASTER = 1.1  # times; less is not worth what is lost
_VECTOR = 4  # numbers that processors take at once, at the least


def finish(
    points: Sequence[Point],
    results: StudyResults,
    images: Images,
    out: Path,
    made: Mapping[str, Any],
    *,
    timed: int | None,
    as_json: bool,
) -> None:
    """Copy and export the last network, time it (`timed`: by how many threads), show every round, or print JSON.

    made: the provenance of it all.
    """
    from enxuto.export import export_onnx
    from enxuto.files import atomic_write
    from enxuto.prune.removal.rebuild import load_pruned
    from enxuto.studies.lottery.round import NETWORK

    last = out.resolve() / "points" / points[-1].id / NETWORK
    with last.open("rb") as network_file, atomic_write(out / "model.pt") as file:
        shutil.copyfileobj(network_file, file)
    name = points[-1].settings["network"]["name"]  # what the user asked for, no file's
    factory = name if ":" in name else None
    pruned = load_pruned(last, factory)
    shape = pruned.architecture.input_shape
    preprocess = images.train.preprocess() if shape[0] in (1, 3) else None
    exported = export_onnx(
        pruned.network, out / "model.onnx", input_shape=shape, preprocess=preprocess, labels=images.labels
    )
    rows = [{**(results[point].values or {}), "round": number} for number, point in enumerate(points)]
    speeds = [] if timed is None else _speeds(out, pruned.network, factory, shape, timed)
    write_provenance(out, made)
    missed = explain_missed(points[-1].settings["selection"], rows)
    if missed is not None:
        warn(missed)
    slow = explain_widths(pruned.network) or explain_speed(
        speeds, points[-1].settings["selection"]["multiple"]
    )
    if slow is not None:
        warn(slow)
    if as_json:
        print_json({"folder": str(out), "rounds": rows, "speed": speeds, "onnx_bytes": exported.bytes,
                    "provenance": made})  # fmt: skip
        return
    _show(points, rows)
    for one in speeds:
        say(f"batch {one['batch']}: {_milliseconds(one['before_ms'])} before, {_milliseconds(one['after_ms'])} after, "
             f"{one['speedup']:.2f}× as fast (ONNX Runtime, CPU, {timed} thread{'s' if timed != 1 else ''}, medians of "
             "10 runs taking turns)")  # fmt: skip
    note(f"{out / 'model.pt'} loads by itself; {out / 'model.onnx'}, {human_bytes(exported.bytes)}, equals it to "
         f"{exported.difference:.1g}")  # fmt: skip


def explain_missed(selection: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str | None:
    """Return why the last round leaves more than was asked for; None where it does not, or hardly.

    selection: as `Selection.to_dict` gives it. rows: the values of each round, the unpruned network first.
    """
    last = rows[-1]
    ended = [row["round"] for row in rows if row.get("exhausted")]
    if not last["round"] or not (ended or last["reached"] > last["asked"] + _HARDLY):
        return None
    measure = "MACs" if selection["target"] == "macs" else selection["target"]
    if ended:
        since = "" if last["round"] == 1 else f" since round {ended[0]}"
        floor, multiple = selection["floor"], selection["multiple"]
        whole = f", multiples of {multiple}" if multiple > 1 else ""
        reason = (
            f"nothing more could go{since}, as each layer keeps --min-filters {floor}{whole}, and some filters must "
            "stay"
        )
    else:
        reason = "filters go in groups, and no other choice comes nearer"
    reached, asked = (f"{100 * last[key]:.3g} %" for key in ("reached", "asked"))
    return f"{reached} of the {measure} left, not the {asked} asked for: {reason}"


def explain_widths(network: nn.Module) -> str | None:
    """Return why a pruned network may be no faster: depthwise layers of widths that vectors do not divide.

    EfficientNet-Lite0 without 30 % of its filters takes 1.6 times the original's time at any widths, 0.74 of it in
    multiples of 4 (ONNX Runtime on a CPU with AVX-512, `tests/acceptance/test_acceptance_importing.py`).
    """
    from torch import nn

    depthwise = [
        layer for layer in network.modules()
        if isinstance(layer, nn.Conv2d) and 1 < layer.groups == layer.in_channels
    ]  # fmt: skip
    uneven = sum(layer.out_channels % _VECTOR != 0 for layer in depthwise)
    if not uneven:
        return None
    return (
        f"{uneven} of {len(depthwise)} depthwise layers have a width that {_VECTOR} does not divide; ONNX Runtime runs "
        "them slowly, perhaps more slowly than the unpruned network: --multiple 8 leaves widths that are fast"
    )


def explain_speed(speeds: Sequence[Mapping[str, Any]], multiple: int) -> str | None:
    """Return what may make a pruned network faster that is hardly faster; None where it is, or was not timed.

    ResNet-20 at 65 % of the MACs (`enxuto prune … --macs 65% --limit 2000 --multiple N`) is 1.00× as fast at any
    widths, 1.06× in multiples of 4 and 1.23× in multiples of 8 (ONNX Runtime on a CPU with AVX-512).
    """
    if multiple % 8 == 0 or not speeds or max(one["speedup"] for one in speeds) >= _FASTER:
        return None
    return (
        f"{speeds[0]['speedup']:.2f}× as fast only: ONNX Runtime computes 8 or 16 filters at once; --multiple 8 leaves "
        "widths that are fast"
    )


def _speeds(
    out: Path, network: nn.Module, factory: str | None, shape: tuple[int, ...], threads: int
) -> list[dict[str, Any]]:
    from enxuto.prune.removal.rebuild import load_pruned
    from enxuto.prune.speed import latencies

    before, after = latencies(
        [load_pruned(out / "given.pt", factory).network, network], shape, threads=threads
    )
    return [
        {
            "batch": one.batch,
            "before_ms": one.median,
            "after_ms": two.median,
            "speedup": one.median / two.median,
        }
        for one, two in zip(before, after, strict=True)
    ]


def _milliseconds(time: float) -> str:
    return f"{time:,.0f} ms" if time >= 100 else f"{time:.3g} ms"


def _show(points: Sequence[Point], rows: Sequence[dict[str, Any]]) -> None:
    settings = points[-1].settings
    target = settings["selection"]["target"]
    table: list[tuple[str, ...]] = []
    for row in rows:
        reached = ("–", "–") if not row["round"] else (percent(row["asked"], 2), percent(row["reached"], 2))
        table.append((
            str(row["round"]), *reached, *(percent(row["left"][key]) for key in ("filters", "parameters", "macs")),
            "–" if not row["round"] else percent(row["top1_before_retraining"], 2), percent(row["top1"], 2),
            top1_interval(row), f"{row['file_bytes']:,}",
        ))  # fmt: skip
    arm = settings["arm"]
    columns: tuple[str, ...] = (
        "round", f"{target} asked %", "reached %", "filters %", "parameters %", "MACs %",
        *_TOP1.get(arm["mode"], ("pruned, top-1 %", "retrained, top-1 %")), "95 % interval", "model.pt, bytes",
    )  # fmt: skip
    if arm["mode"] == "none":  # nothing was trained: one accuracy is enough
        table = [(*row[:6], *row[7:]) for row in table]
    caption = (
        f"Left of the unpruned network; {arm['criterion']}, {arm['scope']}, retraining: {arm['mode']}. Accuracy on "
        f"{rows[0]['samples']:,} test images, seed {points[0].seed}"
    )
    show_table(settings["network"]["name"], dict.fromkeys(columns, "right"), table, caption=caption)
