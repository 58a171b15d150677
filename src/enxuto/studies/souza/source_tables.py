"""The tables of the Souza study in the source's form: a network on both data sets, times on GPU and CPU, comparisons.

Tables 1 to 5 have a network each, tables 7 and 9 the times of all networks on one data set; the comparisons are the
percentages in the text of sections 5.1 to 5.6, computed from the results here and from the published ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any

from enxuto.studies.souza.published import MEGABYTE, PUBLISHED, Row
from enxuto.tables import Table

__all__ = [
    "NONE",
    "comparison_table",
    "data_set_title",
    "network_tables",
    "published_row",
    "published_size",
    "time_table",
    "timed_caption",
]

NONE = "–"
_GPU, _CPU = "PyTorch, GPU", "PyTorch, CPU"
_SMALL, _PLAIN, _LARGE = "squeezenet-dsc", "squeezenet-cifar", "vgg19-cifar"

Record = Mapping[str, Any]
Times = tuple[float, float]


@dataclass(frozen=True)
class _Facts:
    """One network's numbers, measured or published: accuracies in %, size in bytes, times in ms (mean, std)."""

    top1: float
    top5: float | None
    parameters: int
    size: float
    gpu: Times | None
    cpu: Times | None

    @classmethod
    def measured(cls, record: Record) -> _Facts:
        measures = record["measures"]
        times = {
            name: (found["mean"], found["std"]) if (found := measures["latency"].get(name)) else None
            for name in (_GPU, _CPU)
        }
        top5 = measures["top5"]
        return cls(
            100 * measures["top1"], None if top5 is None else 100 * top5, measures["parameters"],
            measures["state_bytes"], times[_GPU], times[_CPU],
        )  # fmt: skip

    @classmethod
    def published(cls, record: Record) -> _Facts | None:
        row = published_row(record)
        if row is None:
            return None
        size = published_size(record)
        assert size is not None, "there is a row"
        return cls(row.top1, row.top5, row.parameters, size, row.gpu, row.cpu)


def published_row(record: Record) -> Row | None:
    """The published results of the network on the record's data set, None where the source has none."""
    return PUBLISHED.get(record.get("data_set") or "", {}).get(record["network"])


def published_size(record: Record) -> float | None:
    """The published size in bytes: the source's MB are not the same for its two data sets."""
    row = published_row(record)
    return None if row is None else row.size * MEGABYTE[record["data_set"]]


def time_table(records: Sequence[Record]) -> Table:
    """Tables 7 and 9: the time of one image on GPU and CPU, ms; a dash where there was no GPU."""
    rows = []
    for record in records:
        ours, known = _Facts.measured(record), _Facts.published(record)
        published = (known.gpu, known.cpu) if known else (None, None)
        rows.append((str(record["network"]), *(_time(times) for times in (ours.gpu, ours.cpu, *published))))
    columns = ("network", "GPU", "CPU", "published GPU", "published CPU")
    caption = (
        f"Mean ± standard deviation of one image by PyTorch{timed_caption(records)}. Published: over all test images. "
        "A dash: not measured, no GPU here"
    )
    return Table("Times on GPU and CPU, ms", columns, tuple(rows), caption)


def timed_caption(records: Sequence[Record]) -> str:
    """Return how many runs were timed on which images; nothing where it was not recorded."""
    timed: dict[tuple[int, int | None], None] = {}
    for record in records:
        measures = record["measures"]
        for times in measures["latency"].values():
            if times and times.get("repeats"):
                timed[times["repeats"], measures.get("timed_images")] = None
    recorded = any(images is not None for _, images in timed)
    unknown = " on images that are not recorded" if recorded else ""
    found = [
        f"{repeats:,} runs{unknown if images is None else f' on {images:,} test images drawn by the seed, in turn'}"
        for repeats, images in timed
    ]
    return f"; {' / '.join(found)}" if found else ""


def network_tables(records: Sequence[Record]) -> list[Table]:
    """Tables 1 to 5: one for each network that has results on several data sets, and how much they change.

    records: of all data sets; of several results for one network and data set the last counts. The source's data sets
    come first, in its order, whichever was run first.
    """
    order = list(PUBLISHED)
    places = {
        id(record): order.index(name) for record in records if (name := record.get("data_set")) in order
    }
    by_network: dict[str, dict[str, Record]] = {}
    for record in sorted(records, key=lambda one: places.get(id(one), len(order))):
        by_network.setdefault(str(record["network"]), {})[data_set_title(record)] = record
    return [_network_table(name, found) for name, found in by_network.items() if len(found) > 1]


def _network_table(name: str, found: Mapping[str, Record]) -> Table:
    rows = []
    for title, record in found.items():
        ours, known = _Facts.measured(record), _Facts.published(record)
        rows.append((title, "measured", *_cells(ours)))
        if known is not None:
            rows.append((title, "published", *_cells(known)))
    (_, first), *others = found.items()
    for title, other in others:
        label = "change" if len(others) == 1 else f"change to {title}"
        for by, make in (("measured", _Facts.measured), ("published", _Facts.published)):
            before, after = make(first), make(other)
            if before is not None and after is not None:
                rows.append((label, by, *_changes(before, after)))
    columns = ("data set", "", "top-1 %", "top-5 %", "parameters", "size MB", "GPU ms", "CPU ms")
    caption = (
        "Change: from the first data set, accuracies in points, the others in %. Of several trainings of a network on "
        "one data set the last is shown. MB: 10⁶ bytes; "
        "published sizes are converted, as its two data sets have two different MB. Times: one image"
        f"{timed_caption(list(found.values()))}"
    )
    return Table(f"{name} on {len(found)} data sets", columns, tuple(rows), caption, texts=2)


def _cells(facts: _Facts) -> tuple[str, ...]:
    return (
        f"{facts.top1:.2f}", NONE if facts.top5 is None else f"{facts.top5:.2f}", f"{facts.parameters:,}",
        f"{facts.size / 1e6:.2f}", _time(facts.gpu), _time(facts.cpu),
    )  # fmt: skip


def _changes(before: _Facts, after: _Facts) -> tuple[str, ...]:
    return (
        f"{after.top1 - before.top1:+.2f}", NONE, _change(before.parameters, after.parameters),
        _change(before.size, after.size), _time_change(before.gpu, after.gpu), _time_change(before.cpu, after.cpu),
    )  # fmt: skip


def comparison_table(records: Sequence[Record]) -> Table:
    """The percentages of section 5.6 for networks on one data set, from ours and from the published results."""
    ours = {str(record["network"]): _Facts.measured(record) for record in records}
    published = {str(record["network"]): _Facts.published(record) for record in records}
    known = {name: facts for name, facts in published.items() if facts is not None}
    rows = [
        (label, _or_none(compute, ours), _or_none(compute, known))
        for label, compute in _comparisons(list(ours))
    ]
    columns = ("comparison", "measured", "published")
    caption = "Section 5.6 of the source. Accuracies: points; the time that a GPU saves: % of the CPU's"
    return Table("Comparisons", columns, tuple(row for row in rows if row[1] != NONE), caption)


Compute = Callable[[Mapping[str, _Facts]], str]


def _comparisons(networks: Sequence[str]) -> Iterator[tuple[str, Compute]]:
    """A label and what computes it from the facts of the networks, which raises `KeyError` where one is absent."""
    for label, quantity in (("parameters", _parameters), ("size", _size)):
        yield f"{_SMALL}: share of {_PLAIN}'s {label}, %", partial(_share, quantity)
    for other in (_PLAIN, _LARGE):
        for label, accuracy in (("top-1", _top1), ("top-5", _top5)):
            yield f"{_SMALL}: {label} against {other}, points", partial(_difference, accuracy, other)
    for name in networks:
        yield f"{name}: time saved by a GPU, %", partial(_time_saved, name)


_parameters, _size = attrgetter("parameters"), attrgetter("size")
_top1, _top5 = attrgetter("top1"), attrgetter("top5")


def _share(quantity: Callable[[_Facts], float], facts: Mapping[str, _Facts]) -> str:
    return f"{100 * quantity(facts[_SMALL]) / quantity(facts[_PLAIN]):.1f}"


def _difference(accuracy: Callable[[_Facts], float | None], other: str, facts: Mapping[str, _Facts]) -> str:
    ours, theirs = accuracy(facts[_SMALL]), accuracy(facts[other])
    return NONE if ours is None or theirs is None else f"{ours - theirs:+.2f}"


def _time_saved(name: str, facts: Mapping[str, _Facts]) -> str:
    gpu, cpu = facts[name].gpu, facts[name].cpu
    return NONE if gpu is None or cpu is None else f"{100 * (1 - gpu[0] / cpu[0]):.1f}"


def _or_none(compute: Compute, facts: Mapping[str, _Facts]) -> str:
    try:
        return compute(facts)
    except KeyError:
        return NONE


def _change(before: float, after: float) -> str:
    return f"{100 * (after / before - 1):+.1f} %"


def _time_change(before: Times | None, after: Times | None) -> str:
    return NONE if before is None or after is None else _change(before[0], after[0])


def _time(times: Times | None) -> str:
    return NONE if times is None else "{:.2f} ± {:.2f}".format(*times)


def data_set_title(record: Record) -> str:
    """The published name of a record's images, else their classes and hash."""
    return str(record.get("data_set") or f"{record['classes']} classes, {record['train']['hash'][:8]}")
