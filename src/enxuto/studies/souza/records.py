"""Results of the Souza study as records, a flat mapping a network, which tables and reports are made of."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from enxuto.errors import UsageError
from enxuto.studies.kinds import SOUZA_NETWORK
from enxuto.studies.souza.published import NETWORKS
from enxuto.studies.souza.scales import SCALES, SIDE
from enxuto.study.store import FOLDERS
from enxuto.study.store_result import Result

__all__ = [
    "changed_images",
    "changed_settings",
    "changes",
    "histories",
    "is_set_by",
    "make_records",
    "over_seeds",
    "same_training",
    "scale_title",
]

Record = Mapping[str, Any]


def make_records(results: Iterable[Result]) -> list[dict[str, Any]]:
    """A record for each network that is finished.

    `folder` is where its files are, from the study's own; `changed` says what its scale has otherwise.
    """
    return [{**record, "changed": changes(record)} for record in map(_record, results) if record is not None]


def _record(one: Result) -> dict[str, Any] | None:
    if one.kind != SOUZA_NETWORK or one.values is None:
        return None
    return {
        "point": one.point,
        "network": one.settings["network"],
        "scale": one.settings["scale"],
        "images": one.settings.get("images", {}),
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


def same_training(records: Iterable[Record], like: Iterable[Record]) -> list[Record]:
    """The records whose scale and changes of it are those of a record in `like`, whatever their images and seeds."""
    wanted = set(map(scale_title, like))
    return [record for record in records if scale_title(record) in wanted]


def over_seeds(records: Iterable[Record]) -> list[Record]:
    """A record for each network and data, of several seeds trained alike: the first of them with the mean accuracies.

    Their seeds are in `seeds`, their top-1 in `top1s`, a share each; of several records of one seed the last counts.
    """
    groups: dict[tuple[str, ...], dict[int, Record]] = {}
    for record in records:
        images = (str(record["classes"]), record["train"]["hash"], record["test"]["hash"])
        known_by = (str(record["network"]), *images, scale_title(record))
        groups.setdefault(known_by, {})[record["seed"]] = record
    return [_merge([found[seed] for seed in sorted(found)]) for found in groups.values()]


def _merge(records: Sequence[Record]) -> Record:
    first = records[0]
    measures, training = dict(first["measures"]), dict(first["training"])
    for name in ("top1", "top5", "loss"):
        if measures.get(name) is not None:
            measures[name] = fmean(record["measures"][name] for record in records)
    training["seconds"] = fmean(record["training"]["seconds"] for record in records)
    epochs = sorted({record["training"]["epochs"] for record in records})
    return {
        **first, "measures": measures, "training": training, "epochs": epochs,  # which a rule may differ in
        "seeds": [record["seed"] for record in records],
        "top1s": [record["measures"]["top1"] for record in records],
    }  # fmt: skip


def changed_settings(record: Record) -> list[str]:
    """Settings of a record's training, as --set takes them, that its scale does not have.

    What decides no more than time and last bits is left out, and the seed.
    """
    from enxuto.train.config import TrainConfig  # which brings no torch, but takes time

    config, scale = record.get("config"), SCALES.get(str(record["scale"]))
    if not isinstance(config, Mapping) or scale is None or record["network"] not in NETWORKS:
        return []
    own = TrainConfig.from_recipe("souza", scale.settings_of(str(record["network"]))).to_dict()
    return [
        f"{name}={value if isinstance(value, str) else json.dumps(value)}"
        for name, value in config.items()
        if name not in ("threads", "channels_last", "seed") and (name not in own or own[name] != value)
    ]


def is_set_by(record: Record, texts: Sequence[str]) -> bool:
    """Whether a record's training is its scale's with these settings, `key=value` each."""
    from enxuto.train.config import parse_setting

    try:
        settings = dict(map(parse_setting, texts))
    except UsageError:
        return False
    config = record.get("config")
    config = config if isinstance(config, Mapping) else {}
    changed = {text.partition("=")[0] for text in changed_settings(record)}
    return changed <= set(settings) and all(
        config.get(name, value) == value for name, value in settings.items()
    )


def changed_images(record: Record) -> dict[str, str]:
    """Options of the images that a record's scale does not have, with their values: `limit`, `test-limit`, `resize`."""
    images, scale = record.get("images"), SCALES.get(str(record["scale"]))
    if not isinstance(images, Mapping) or scale is None:
        return {}
    own = {"limit": scale.train, "test-limit": scale.test, "resize": [SIDE, SIDE]}
    found = {"limit": images.get("train"), "test-limit": images.get("test"), "resize": images.get("size")}
    return {
        name: ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
        for name, value in found.items()
        if value is not None and value != own[name]
    }


def changes(record: Record) -> list[str]:
    """All that is changed, a text each: `limit=500`, `epochs=4`."""
    images = [f"{name}={value}" for name, value in changed_images(record).items()]
    return [*images, *changed_settings(record)]


def scale_title(record: Record) -> str:
    """The record's scale, and what is changed; that a changed protocol is the full one is not said."""
    changed = ", ".join(changes(record))
    if not changed:
        return str(record["scale"])
    return f"changed by {changed}" if record["scale"] == "full" else f"{record['scale']} changed by {changed}"


def histories(folder: str | Path, records: Sequence[Record]) -> dict[str, list[dict[str, Any]]]:
    """Epochs by point, from the folders of the records; those whose folder is gone or damaged are left out."""
    found = {}
    for record in records:
        path = Path(folder) / str(record["folder"]) / "history.jsonl"
        if path.is_file():
            try:
                lines = path.read_text(encoding="utf-8").splitlines()
                found[str(record["point"])] = [json.loads(line) for line in lines]
            except (OSError, ValueError, RecursionError):  # a folder from elsewhere, perhaps
                continue
    return found
