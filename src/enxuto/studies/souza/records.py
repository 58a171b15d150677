"""Results of the Souza study as records, a flat mapping a network, which tables and reports are made of."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from enxuto.studies.kinds import SOUZA_NETWORK
from enxuto.study.store import FOLDERS
from enxuto.study.store_result import Result

__all__ = ["histories", "make_records", "same_training"]


def make_records(results: Iterable[Result]) -> list[dict[str, Any]]:
    """A record for each network that is finished; `folder` is where its files are, from the study's own."""
    return [
        {
            "point": one.point,
            "network": one.settings["network"],
            "scale": one.settings["scale"],
            "seed": one.seed,
            "classes": one.settings["classes"],
            "config": one.settings["config"],
            "data": one.data_hash,
            "data_set": None,  # of records made before it was noted
            "folder": f"{FOLDERS}/{one.point}",
            **one.values,
            "versions": one.versions,
            "machine": one.machine,
            "finished": one.finished,
        }
        for one in results
        if one.kind == SOUZA_NETWORK and one.values is not None
    ]


def same_training(
    records: Iterable[Mapping[str, Any]], like: Iterable[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """The records whose scale, seed and training are those of a record in `like`, whatever their images are."""

    def training(record: Mapping[str, Any]) -> str:
        config = {key: value for key, value in record["config"].items() if key != "threads"}
        return json.dumps([record["scale"], record["seed"], config], sort_keys=True)

    wanted = set(map(training, like))
    return [record for record in records if training(record) in wanted]


def histories(folder: str | Path, records: Sequence[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Epochs by network, from the folders of the records; networks whose folder is gone or damaged are left out."""
    found = {}
    for record in records:
        path = Path(folder) / str(record["folder"]) / "history.jsonl"
        if path.is_file():
            try:
                lines = path.read_text(encoding="utf-8").splitlines()
                found[str(record["network"])] = [json.loads(line) for line in lines]
            except (OSError, ValueError, RecursionError):  # a folder from elsewhere, perhaps
                continue
    return found
