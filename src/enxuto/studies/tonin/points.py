"""Tonin's experiment as points of a study: a network rounded in every way of a grid, and enxuto's own files of it.

Settings are chosen on some of the images and reported on the others (`ChoosingSplit`): a point is one setting on one of
the two parts. So a study has two stages, `choosing_points` and, when those are done, `reporting_points`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from enxuto._version import __version__
from enxuto.data import Dataset, Preprocess, open_dataset, read_labels
from enxuto.data.labels import Label, LabelMatching
from enxuto.enx.file import CompressedModel
from enxuto.enx.learned import parameters
from enxuto.enx.signature import is_enx
from enxuto.errors import DataError
from enxuto.evaluation import Evaluation
from enxuto.metrics.chance import compare_confusion_with_chance
from enxuto.onnx_model import Model, files
from enxuto.opening import (
    class_count,
    labels_of,
    load,
    load_with_metadata,
    plain_preprocess_of,
    preprocess_of,
)
from enxuto.studies.curve.calibration import CalibrationSplit, load_calibration
from enxuto.studies.curve.modes import ModeInput, calibrated_settings, compress_by_mode, default_settings
from enxuto.studies.curve.points import (
    Subject,
    entropy_bits,
    exact_tensors,
    judge,
    measure_rate,
    original_entropy,
    points,
    resolve,
)
from enxuto.studies.curve.prepared import ChoosingSplit, Prepared, hash_model, prepare_task
from enxuto.studies.kinds import TONIN_MEASURE
from enxuto.studies.tonin.config import NetworkEntry, ToninConfig, Use
from enxuto.studies.tonin.rounded import round_network
from enxuto.study.point import Point, Task

__all__ = [
    "RETRAINED",
    "ToninNetwork",
    "choosing_points",
    "measure_network",
    "open_networks",
    "own_settings",
    "reporting_points",
]

RETRAINED = "enxuto retrained"
"""The method of files made by retraining."""
_CODE = f"enxuto {__version__}, tonin 1"
_CLASSES = 10  # classes at most of which precision, recall and F1 are recorded one by one


@dataclass(frozen=True)
class ToninNetwork:
    """One row of the tables: a model, its images and its preprocessing.

    Attributes:
        name: in tables. published: key of the source's network, `none`, or nothing for the one that the name says.
        use: what it classifies.
        model, data, calibration: paths; calibration is None where images of `data` calibrate.
        opening: what `open_dataset` is given. preprocess: of the images.
        model_hash: of the file. hashes: of the images by part, `choosing`, `reporting` or `all`.
        split: which images calibrate, None for none. calibration_hash: of these.
        labels: the classes' names, None where they are unknown.
        settings: of the source's quantizers. sizes: of calibrated files, bits per weight.
        retrained: files made of this model, with their hashes.
        notes, warnings: how labels were matched.
    """

    name: str
    published: str
    use: Use
    model: Path
    data: str
    opening: Mapping[str, Any]
    preprocess: Preprocess
    model_hash: str
    hashes: Mapping[str, str]
    split: CalibrationSplit | None
    calibration: str | None
    calibration_hash: str | None
    labels: tuple[str, ...] | None
    settings: tuple[Mapping[str, Any], ...] = ()
    sizes: tuple[float, ...] = ()
    retrained: tuple[tuple[Path, str], ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def open_networks(config: ToninConfig) -> list[ToninNetwork]:
    """Open every combination of model, data and preprocessing, and hash what it is known by.

    Raises `DataError`, `ModelError` and `UsageError` for what cannot be read or does not fit.
    """
    found: list[ToninNetwork] = []
    apart: list[tuple[str, str]] = []
    for entry in config.networks:
        for model, data, how in itertools.product(
            _listed(entry.model), _listed(entry.data), _listed(entry.preprocess) or [None]
        ):
            found.append(_open_network(config, entry, config.folder / model, data, how))
            apart.append((data if data in config.data else Path(data).stem, how or ""))
    return _name_apart(found, apart)


def _listed(value: str | Sequence[str] | None) -> list[Any]:
    return [] if value is None else [value] if isinstance(value, str) else list(value)


def _open_network(
    config: ToninConfig, entry: NetworkEntry, path: Path, data_name: str, how: str | None
) -> ToninNetwork:
    model, metadata = load_with_metadata(path)
    data = config.data_set(data_name)
    dataset = open_dataset(data.path, **data.opening())
    names = labels_of(model, metadata) if entry.labels is None else read_labels(config.folder / entry.labels)
    dataset, matching = dataset.match_classes(names, class_count(model))
    opening = _opening(data.opening(), names, matching)
    preprocess, warnings = _preprocess(config, how, preprocess_of(metadata), model)
    split, calibration, calibration_hash, judged = _split_images(config, entry, dataset)
    hashes = {"all": judged.hash}
    if config.choosing:
        for part in ("choosing", "reporting"):
            hashes[part] = ChoosingSplit(part, float(config.choosing), config.seed).select(judged).hash
    labels = None if dataset.classes is None else tuple(map(str, dataset.classes))
    use: Use = entry.use or ("gender" if class_count(model) == 2 else "image")
    retrained = [config.folder / one for one in _listed(entry.retrained)]
    return ToninNetwork(
        name=entry.name or path.stem, published="" if entry.published is None else entry.published, use=use,
        model=path.resolve(), data=resolve(data.path), opening=opening, preprocess=preprocess,
        model_hash=hash_model(path), hashes=hashes, split=split, calibration=calibration,
        calibration_hash=calibration_hash, labels=labels, settings=tuple(config.settings(entry)),
        sizes=tuple(config.sizes(entry)),
        retrained=tuple((one.resolve(), hash_model(one)) for one in retrained),
        notes=(*dataset.notes, *matching.remarks), warnings=(*matching.warnings, *warnings),
    )  # fmt: skip


def _opening(
    opening: Mapping[str, Any], names: Sequence[Label] | None, matching: LabelMatching
) -> dict[str, Any]:
    """What the images are opened with; names only where they move labels, as points are known by this."""
    return {**opening, **({} if matching.output_by_label is None else {"names": list(names or ())})}


def _preprocess(
    config: ToninConfig, how: str | None, stored: Preprocess | None, model: Model
) -> tuple[Preprocess, list[str]]:
    """The preprocessing asked for, or the model's own, and warnings: where none is known, or where they differ."""
    if how is not None:
        chosen = config.preprocessing(how)
        differences = [] if stored is None else chosen.differences(stored)
        return chosen, [
            f"the preprocessing differs from the model's own: {'; '.join(differences)}"
        ] if differences else []
    if stored is not None:
        return stored, []
    return plain_preprocess_of(model), ["no preprocessing is known for this model: pixels are only scaled"]


def _split_images(
    config: ToninConfig, entry: NetworkEntry, dataset: Dataset
) -> tuple[CalibrationSplit | None, str | None, str | None, Dataset]:
    """Which images calibrate, their own data set and hash, and the images that judge."""
    if not config.images or not config.sizes(entry):
        return None, None, None, dataset
    own = None if entry.calibration is None else config.data_set(entry.calibration)
    split = CalibrationSplit(config.images, config.seed, own=own is not None)
    parts = split.split(dataset, None if own is None else open_dataset(own.path, require_labels=False))
    if parts.calibration is None or parts.held_out is None:
        raise DataError(f"{dataset.path}: no images to calibrate by and to judge by", code="E043")
    return split, None if own is None else resolve(own.path), parts.calibration.hash, parts.held_out


def _name_apart(found: Sequence[ToninNetwork], apart: Sequence[tuple[str, str]]) -> list[ToninNetwork]:
    """Networks with names that differ: by the model's file, by data, by preprocessing too, or by number.

    apart: names of the data and of the preprocessing.
    """
    files: dict[str, set[Path]] = {}
    for one in found:
        files.setdefault(one.name, set()).add(one.model)
    own = [f"{one.name}, {Path(one.model).name}" if len(files[one.name]) > 1 else one.name for one in found]
    forms: list[list[str]] = [
        [name, f"{name}, {data}", f"{name}, {data}, {how}", f"{name}, {number}"]
        for number, (name, (data, how)) in enumerate(zip(own, apart, strict=True), start=1)
    ]
    names = own
    for form in range(1, 4):
        names = [forms[place][form] if names.count(name) > 1 else name for place, name in enumerate(names)]
    return [replace(one, name=name) for one, name in zip(found, names, strict=True)]


def own_settings(network: ToninNetwork) -> list[dict[str, Any]]:
    """Settings of enxuto's own files: the default, calibrated at each size, and files retrained elsewhere."""
    settings = default_settings([])
    if network.split is not None:
        settings += calibrated_settings(network.sizes, network.split.to_dict())
    settings += [
        {"mode": "file", "method": RETRAINED, "i": number, "file": digest}
        for number, (_, digest) in enumerate(network.retrained, start=1)
    ]
    return settings


def choosing_points(config: ToninConfig, network: ToninNetwork) -> list[Point]:
    """Points of the original, of the whole grid and of enxuto's own files, on the images that choose."""
    part = "choosing" if config.choosing else "all"
    return _points(config, network, part, [*network.settings, *own_settings(network)])


def reporting_points(
    config: ToninConfig, network: ToninNetwork, settings: Iterable[Mapping[str, Any]]
) -> list[Point]:
    """Points of the original and of some settings on the images that report, for the loss that chose them."""
    return _points(config, network, "reporting" if config.choosing else "all", settings, config.max_drop)


def _points(
    config: ToninConfig,
    network: ToninNetwork,
    part: str,
    settings: Iterable[Mapping[str, Any]],
    max_drop: float | None = None,
) -> list[Point]:
    subject = Subject(
        network.name, network.model, network.data, network.opening, network.preprocess, network.model_hash,
        network.hashes[part], network.split, network.calibration, network.calibration_hash, network.labels,
    )  # fmt: skip
    further: dict[str, Any] = {"use": network.use}
    if part != "all":
        further["part"] = ChoosingSplit(part, float(config.choosing), config.seed).to_dict()  # type: ignore[arg-type]
    if max_drop is not None:
        further["max_drop"] = max_drop
    paths = {f"file {digest}": str(place) for place, digest in network.retrained}
    paths["published"] = network.published
    return points(subject, settings, kind=TONIN_MEASURE, code=_CODE, further=further, paths=paths)


def measure_network(task: Task) -> dict[str, Any]:
    """Round or compress, decode, evaluate: the values of one point, shares 0…1."""
    prepared = prepare_task(task)
    settings = task.settings["compress"]
    if settings["mode"] == "grid":
        rounded = round_network(prepared.model, settings, task.threads)
        return _with_metrics(task, prepared, rounded.values, rounded.model)
    if settings["mode"] == "file":
        return _measure_file(task, prepared)
    source = ModeInput(prepared.model, task.threads, lambda: load_calibration(task))
    compressed = compress_by_mode(settings, source)
    rates = measure_rate(prepared.model, compressed)
    if settings["mode"] == "original":
        rates |= _file_facts(Path(task.paths["model"]), prepared.model)
    if "calibrated" in compressed.metadata:
        rates["calibrated"] = compressed.metadata["calibrated"]
    decoded = compressed.to_model(threads=task.threads)
    if settings["mode"] != "original":
        rates |= _not_rounded(decoded, compressed)
    return _with_metrics(task, prepared, rates, decoded)


def _not_rounded(decoded: Model, compressed: CompressedModel) -> dict[str, Any]:
    """What `round_network` says too, of one of enxuto's own files: tensors without levels are as they were."""
    return {"exact": {"weights": 0, "names": []}, "left": exact_tensors(decoded, compressed)}


def _measure_file(task: Task, prepared: Prepared) -> dict[str, Any]:
    """The values of a file that was made elsewhere: its own bytes, and the entropy of its levels where it has some."""
    digest = task.settings["compress"]["file"]
    path = Path(task.paths[f"file {digest}"])
    if hash_model(path) != digest:
        raise DataError(
            f"{path} is not the file that this study began with; use another folder for it", code="E080"
        )
    decoded = load(path, threads=task.threads)
    compressed = CompressedModel.read(path) if is_enx(path) else None
    bound, quantized = (0.0, 0) if compressed is None else entropy_bits(compressed)
    size = sum(place.stat().st_size for place in ([path] if is_enx(path) else files(path)))
    weights = parameters(prepared.model)
    rates = {
        "weights": weights,
        "quantized": quantized,
        "entropy_bits": bound if quantized else original_entropy(decoded),
        "file_bytes": size,
        "file_bits": 8 * size / max(1, weights),
        **({} if compressed is None else _not_rounded(decoded, compressed)),
    }
    return _with_metrics(task, prepared, rates, decoded)


def _with_metrics(task: Task, prepared: Prepared, rates: Mapping[str, Any], decoded: Model) -> dict[str, Any]:
    measures, evaluation = judge(prepared, decoded, task.threads)
    chance = compare_confusion_with_chance(evaluation.metrics["confusion"])
    return {
        "model": task.paths["name"],
        "published": task.paths["published"],
        "labels": None if evaluation.class_names is None else list(evaluation.class_names[:_CLASSES]),
        **rates,
        **measures,
        "better_than_chance": chance.better,
        **_by_class(evaluation),
    }


def _by_class(evaluation: Evaluation) -> dict[str, Any]:
    """Precision, recall and F1 of each class where there are few."""
    if evaluation.classes > _CLASSES:
        return {}
    found = evaluation.metrics
    return {"by_class": {name: list(found[name]) for name in ("precision", "recall", "f1")}}


def _file_facts(path: Path, model: Model) -> dict[str, Any]:
    """Bytes of the model's file, and of the learned values in it: table 3.1."""
    size = sum(place.stat().st_size for place in ([path] if is_enx(path) else files(path)))
    learned = sum(info.bytes for info in model.infos() if info.role.value != "other")
    return {"model_bytes": size, "weight_bytes": learned}
