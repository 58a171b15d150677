"""The study of five networks (`enxuto study souza`): accuracy against parameters, measured and published."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Any

from pydantic import Field

from enxuto.errors import DataError
from enxuto.report.documents import Document, kinds_of, provenance_of
from enxuto.report.exhibit import Cell, Chart, Exhibit, Frame, Measure, Series, origin
from enxuto.report.values import Checked, Count, Number, Share, shell_command
from enxuto.studies.kinds import SOUZA_NETWORK
from enxuto.studies.souza.published import MEGABYTE
from enxuto.studies.souza.records import (
    changed_images,
    changed_settings,
    is_set_by,
    make_records,
    same_training,
    scale_title,
)
from enxuto.studies.souza.source_tables import published_row
from enxuto.studies.souza.tables import tables

__all__ = ["matches", "read"]


class _Times(Checked):
    mean: Number
    std: Number
    median: Number
    p95: Number
    repeats: Count | None = None


class _Measures(Checked):
    top1: Share
    top5: Share | None
    samples: Count
    parameters: Annotated[int, Field(gt=0)]
    state_bytes: Count
    onnx_bytes: Count
    macs: Count
    threads: Count
    timed_images: Count | None = None
    latency: dict[str, _Times | None]


class _Training(Checked):
    epochs: Count
    seconds: Number


class _Images(Checked):
    hash: str
    samples: Count


class _Machine(Checked):
    cpu: str
    cores: Count
    gpu: str | None = None


class _Record(Checked):
    network: str
    scale: str
    seed: int
    classes: Count
    train: _Images
    test: _Images
    training: _Training
    measures: _Measures
    machine: _Machine
    versions: dict[str, str] = Field(default_factory=dict)
    finished: str | None = None
    data: str | None = None
    data_set: str | None = None
    config: dict[str, Any] = Field(default_factory=dict)
    images: dict[str, Any] = Field(default_factory=dict)

    @property
    def alike(self) -> str:
        """What networks must have in common to stand in one table: images, scale and what is changed of it."""
        return json.dumps([self.train.hash, self.test.hash, self.classes, scale_title(self.model_dump())])


class _Study(Checked):
    records: list[_Record]


def matches(values: Mapping[str, Any]) -> bool:
    """Whether these are points of that study, or what the verb prints of them."""
    return SOUZA_NETWORK in kinds_of(values) or (values.get("study") == "souza" and "records" in values)


def read(document: Document) -> list[Exhibit]:
    """An exhibit for the networks of the same images, scale and training, of all seeds.

    Raises `DataError` where no network is finished.
    """
    values = {"records": make_records(document.results)} if document.results else document.values
    groups: dict[str, list[_Record]] = {}
    every = _Study.model_validate(values).records
    for one in every:
        groups.setdefault(one.alike, []).append(one)
    if not groups:
        raise DataError("no network is finished yet", code="E080")
    count, all_data = len(groups), [one.model_dump() for one in every]
    return [
        _exhibit(
            records,
            document,
            "" if count == 1 else f" ({number} of {count}, data {records[0].train.hash})",
            all_data if number == count else (),
        )
        for number, records in enumerate(groups.values(), start=1)
    ]


def _exhibit(
    records: list[_Record], document: Document, title_end: str, all_data: Sequence[Mapping[str, Any]]
) -> Exhibit:
    """The exhibit of some networks.

    title_end: ends the title, so that titles of one document differ. all_data: records of all data sets.
    """
    first, shown = records[0], [record.model_dump() for record in records]
    told = dict(provenance_of(document, first.data))
    if not _tells_of(told.get("command"), records):
        told.pop("command", None)
    data = first.data_set or f"{first.classes} classes"
    return Exhibit(
        "networks",
        f"Networks trained alike, {data}, scale {scale_title(shown[0])}{title_end}",
        (_chart(records),),
        tuple(tables(shown, same_training(all_data, shown))),
        origin(
            document.name,
            told,
            command=_rebuilt_command(records),
            unsaid="--test",
            samples=[f"{one.train.samples:,} to train, {one.test.samples:,} to test" for one in records],
            seed=[one.seed for one in records],
            data=[f"{one.train.hash} / {one.test.hash}" for one in records],
            versions=[one.versions for one in records if one.versions],
            machine=[one.machine.model_dump() for one in records],
            finished=max((one.finished for one in records if one.finished), default=None),
        ),
    )


def _rebuilt_command(records: Sequence[_Record]) -> str:
    """The command of these networks as far as records tell it; they do not hold where the images are."""
    first = records[0]
    shown = first.model_dump()
    names = ("format", "image_column", "label_column", "split")
    reading = {name.replace("_", "-"): first.images.get(name) for name in names}
    given = {**changed_images(shown), **{name: value for name, value in reading.items() if value is not None}}
    threads = first.measures.threads
    return shell_command(
        "enxuto study souza --data DATA --networks",
        ",".join(dict.fromkeys(one.network for one in records)),
        "--scale",
        first.scale,
        *(word for name, value in given.items() for word in (f"--{name}", value)),
        *(word for setting in changed_settings(shown) for word in ("--set", setting)),
        *(() if threads == 1 else ("--latency-threads", threads)),
        *_seed_words(records),
    )


def _tells_of(command: object, records: Sequence[_Record]) -> bool:
    """Whether a command can have made these networks: a folder may hold those of several, of which the last is kept."""
    try:
        words = [part for word in shlex.split(str(command)) for part in _split_option(word)]
        pairs = list(pairwise(words))
    except ValueError:
        return False
    first = records[0]
    shown = first.model_dump()
    scale = next((value for word, value in pairs if word == "--scale"), "smoke")
    named = {name for word, value in pairs if word == "--networks" for name in value.split(",")}
    images = {word[2:] for word in words if word in ("--limit", "--test-limit", "--resize")}
    return (
        scale == first.scale
        and images == set(changed_images(shown))
        and is_set_by(shown, [value for word, value in pairs if word == "--set"])
        and (not named or {one.network for one in records} <= named)
    )


def _split_option(word: str) -> list[str]:
    """An option and its value where they are one word, `--scale=full`."""
    option, equals, value = word.partition("=")
    return [option, value] if equals and option.startswith("--") else [word]


def _seed_words(records: Sequence[_Record]) -> list[object]:
    """The options that name the seeds of records, from the lowest to the highest."""
    seeds = [one.seed for one in records]
    count = max(seeds) - min(seeds) + 1
    return ["--seed", min(seeds), *(["--seeds", count] if count > 1 else [])]


def _chart(records: list[_Record]) -> Chart:
    measured: list[tuple[Cell, ...]] = [
        (
            one.measures.parameters, one.measures.state_bytes / 1e6, one.measures.macs, 100 * one.measures.top1,
            f"{one.network}, {one.measures.samples:,} images, seed {one.seed}",
        )
        for one in records
    ]  # fmt: skip
    published: list[tuple[Cell, ...]] = []
    for one in {one.network: one for one in records}.values():
        known = published_row(one.model_dump())
        if known is not None and one.data_set is not None:
            size = known.size * MEGABYTE[one.data_set] / 1e6
            published.append((known.parameters, size, None, known.top1, known.title))
    series = [
        Series("measured", tuple(measured), "points", 0),
        Series("published", tuple(published), "points", 1),
    ]
    return Chart(
        title="Accuracy against size, measured and published",
        columns=("parameters", "size", "macs", "top1", "network"),
        x=(
            Measure("parameters", "parameters", log=10),
            Measure("size", "saved weights, MB", log=10),
            Measure("macs", "multiply–accumulates", log=10),
        ),
        y=(Measure("top1", "top-1 %", start=0),),
        frames=(Frame("networks", tuple(one for one in series if one.rows)),),
        hover=(("network", "network"),),
        note="Published: Souza 2020, all of CIFAR, up to 200 epochs.",
    )
