"""A cache of calibrations on disk, so that another bound or a resumed search does not measure the model again.

The key is a hash of the model's bytes, the images' bytes, the seed and this module's version. Files hold second moments
and sensitivities as float32; factors are computed anew. They are plain arrays, with a hash over all of them, and
nothing in them is executed. A file that is damaged or does not fit is measured and written anew. Reading one never
takes more memory than the file has bytes. Calibrations of large models are not written.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from enxuto._version import __version__
from enxuto.calibration.answers import Answers
from enxuto.calibration.calibration import Calibration
from enxuto.calibration.curvature import Curvature
from enxuto.calibration.layers import linear_layers
from enxuto.calibration.other_weights import other_weights
from enxuto.calibration.outputs import JudgedOutputs, OutputChoices
from enxuto.calibration.running import samples_of
from enxuto.calibration.sensitivity_curve import SensitivityCurve
from enxuto.calibration.straight_model import straighten
from enxuto.data.published import cache_folder
from enxuto.data.samples import Samples
from enxuto.errors import UsageError
from enxuto.files import atomic_write
from enxuto.metrics.losses import LOSS_KINDS, OutputLoss
from enxuto.metrics.score_kinds import KINDS
from enxuto.onnx_model import Model, fold_batch_norm, settle

__all__ = ["cached_calibration", "calibration_folder", "calibration_key"]

_LAYOUT = 18  # of the files and of how they are measured; another number makes older ones unknown
_MOST = 1 << 30  # bytes


def calibration_folder() -> Path:
    """Return the folder of the cache: `calibrations` in the cache folder (`$ENXUTO_CACHE`, else the user's)."""
    return cache_folder() / "calibrations"


def calibration_key(
    model: Model,
    data: Samples | npt.NDArray[np.float32],
    seed: int,
    choices: OutputChoices | None = None,
    *,
    labelled: bool = False,
    rows: str = "",
) -> str:
    """Return 32 hex digits that change with whatever a calibration depends on."""
    samples = samples_of(model, data)
    facts = [
        _LAYOUT,
        __version__,
        seed,
        len(samples),
        samples.stacked,
        sorted((choices or {}).items()),
        labelled,
        rows,
    ]
    found = hashlib.sha256(json.dumps(facts).encode())
    for name in model.weight_names:
        found.update(name.encode())
        found.update(np.ascontiguousarray(model.load(name)).tobytes())
    found.update(model.proto.SerializeToString(deterministic=True))
    for group in samples.groups():
        for name, array in group.feeds.items():
            found.update(repr((name, array.dtype.str, array.shape)).encode())
            found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()[:32]


def cached_calibration(
    model: Model,
    data: Samples | npt.NDArray[np.float32],
    make: Callable[[], Calibration],
    *,
    source: str,
    seed: int,
    threads: int,
    choices: OutputChoices | None = None,
    labelled: bool = False,
    rows: str = "",
    folder: Path | None = None,
) -> Calibration:
    """Return the cached calibration of this model and these images, or make it and write it to the cache.

    Args:
        model: to be calibrated.
        data: what the model is fed, or images (N, …), float32, preprocessed.
        make: measures the model.
        source: what the images are, for the record.
        seed: of the calibration.
        threads: of a calibration read from the cache.
        choices: by output what it is judged as.
        labelled: whether labels of the data count the model's outputs.
        rows: what rows of numbers are taken for where neither graph nor name tells.
        folder: of the cache, by default `calibration_folder()`. Where it cannot be written, nothing is cached.
    """
    place = (
        folder or calibration_folder()
    ) / f"{calibration_key(model, data, seed, choices, labelled=labelled, rows=rows)}.npz"
    found = _load(place, model, samples_of(model, data), source, seed, threads)
    if found is not None:
        return found
    made = make()
    _save(place, made)
    return made


def _save(place: Path, calibration: Calibration) -> None:
    arrays: dict[str, Any] = {
        f"outputs {i} {j}": value
        for i, outputs in enumerate(calibration.references)
        for j, value in enumerate(outputs)
    }
    facts: dict[str, Any] = {
        "reason": calibration.reason,
        "folded": calibration.folded,
        "answers": None
        if calibration.judged_outputs.answers is None
        else asdict(calibration.judged_outputs.answers),
        "losses": [asdict(loss) for loss in calibration.judged_outputs.losses],
        "remarks": list(calibration.judged_outputs.remarks),
        "stacked": calibration.samples.stacked,
        "groups": len(calibration.references),
        "layers": {},
        "others": calibration.others,
    }
    for number, layer in enumerate(calibration.layers):
        curvature = calibration.curvatures[layer.weight]
        arrays |= {f"{number} in {i}": block for i, block in enumerate(curvature.inputs)}
        arrays |= {f"{number} out {i}": block for i, block in enumerate(curvature.outputs)}
        if layer.weight in calibration.means:
            arrays[f"{number} means"] = calibration.means[layer.weight]
        facts["layers"][layer.weight] = {
            "blocks": [len(curvature.inputs), len(curvature.outputs)],
            "calibrated": curvature.calibrated,
            "sensitivities": None if curvature.curve is None else asdict(curvature.curve),
        }
    if sum(array.nbytes for array in arrays.values()) > _MOST:
        return
    facts["digest"] = _digest(arrays, facts)
    arrays["facts"] = np.frombuffer(json.dumps(facts).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(place) as file:
            file.write(buffer.getbuffer())
    except (OSError, UsageError):  # a full disk or a read-only home: the result is there all the same
        return


def _load(
    place: Path, model: Model, samples: Samples, source: str, seed: int, threads: int
) -> Calibration | None:
    if not place.is_file() or place.stat().st_size > _MOST + (1 << 20):
        return None
    settled, computed = settle(model)
    folded, _ = fold_batch_norm(settled)
    try:
        held = _arrays(place.read_bytes())
        facts = json.loads(held.pop("facts").tobytes())
        _require(_digest(held, facts) == facts["digest"])
        straight = straighten(folded, samples.groups(), threads=threads)
        layers = [layer for layer in linear_layers(straight) if layer.weight in facts["layers"]]
        _require(len(layers) == len(facts["layers"]))
        curvatures, means = {}, {}
        for number, layer in enumerate(layers):
            facts_of_layer = facts["layers"][layer.weight]
            matrix = layer.matrix(folded.load(layer.weight))
            inputs = _blocks(
                held, f"{number} in", facts_of_layer["blocks"][0], matrix.shape[0], matrix.shape[2]
            )
            outputs = _blocks(
                held, f"{number} out", facts_of_layer["blocks"][1], matrix.shape[0], matrix.shape[1]
            )
            curvature = Curvature.of(layer, inputs, outputs, facts_of_layer["calibrated"] is True)
            curvatures[layer.weight] = curvature.with_curve(_read_curve(facts_of_layer["sensitivities"]))
            if not layer.corrected:
                continue
            means[layer.weight] = _float_array(held, f"{number} means", np.float64, 2)
            _require(means[layer.weight].shape[1] == matrix.shape[0] * matrix.shape[1])
            _require(0 < len(means[layer.weight]) <= len(samples))
        others = {name: float(lost) for name, lost in facts["others"].items()}
        _require(list(others) == other_weights(folded, facts["layers"]) and len(layers) + len(others) > 0)
        _require(all(math.isfinite(lost) and lost >= 0 for lost in others.values()))
        samples = replace(samples, stacked=facts["stacked"] is True)
        judged_outputs = _read_judged_outputs(facts, folded)
        references = _references(held, facts["groups"], samples, judged_outputs)
        reason, names = facts["reason"], facts["folded"]
        _require(reason is None or isinstance(reason, str))
        _require(isinstance(names, list) and all(isinstance(name, str) for name in names))
    except Exception:  # noqa: BLE001 - whatever is wrong with the file, it is made and written anew
        return None
    return Calibration(
        model=folded, layers=layers, curvatures=curvatures, samples=samples, references=references, means=means,
        reason=reason, folded=names, threads=threads, source=source, seed=seed,
        judged_outputs=judged_outputs, others=others, straight=straight, computed=computed,
        given=model if computed or model.proto.functions else None,
    )  # fmt: skip


def _require(condition: bool) -> None:
    if not condition:
        raise ValueError("a kept calibration is damaged")


def _digest(arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> str:
    """Return a hash of everything in a file but that hash."""
    found = hashlib.sha256(json.dumps({k: v for k, v in facts.items() if k != "digest"}).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        found.update(json.dumps([name, array.dtype.str, list(array.shape)]).encode())
        found.update(array.view(np.uint8).data if array.size else b"")
    return found.hexdigest()


def _arrays(data: bytes) -> dict[str, np.ndarray]:
    """Return the arrays of an uncompressed `.npz` file: together no larger than `data`, whatever they claim."""
    found = {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for member in archive.infolist():
            _require(member.compress_type == zipfile.ZIP_STORED and member.filename.endswith(".npy"))
            _require(member.file_size == member.compress_size <= len(data))
            content = io.BytesIO(archive.read(member))
            _require(np.lib.format.read_magic(content) == (1, 0))
            shape, by_columns, dtype = np.lib.format.read_array_header_1_0(content)
            count = math.prod(shape)
            _require(not dtype.hasobject and count * dtype.itemsize == member.file_size - content.tell())
            values = np.frombuffer(content.getbuffer()[content.tell() :], dtype, count)
            found[member.filename.removesuffix(".npy")] = values.reshape(
                shape, order="F" if by_columns else "C"
            )
        _require(len(found) == len(archive.infolist()))
    return found


def _float_array(
    held: Mapping[str, np.ndarray], name: str, dtype: type[np.floating[Any]], axes: int | None = None
) -> np.ndarray:
    """Return one of the arrays, of that type and number of axes, with finite values only."""
    array = held[name]
    _require(array.dtype == dtype and (axes is None or array.ndim == axes) and bool(np.isfinite(array).all()))
    return array


def _blocks(
    held: Mapping[str, np.ndarray], name: str, count: int, groups: int, size: int
) -> list[npt.NDArray[np.float32]]:
    """Return `count` arrays (groups, c, c), whose c add up to `size`."""
    _require(0 < count <= size)
    blocks = [_float_array(held, f"{name} {i}", np.float32, 3) for i in range(count)]
    for block in blocks:
        _require(block.shape == (groups, block.shape[1], block.shape[1]))
    _require(sum(block.shape[1] for block in blocks) == size)
    return blocks


def _read_curve(held: Mapping[str, Sequence[float]]) -> SensitivityCurve:
    """Return the curve; `ValueError` where the numbers are none."""
    return SensitivityCurve(tuple(map(float, held["prices"])), tuple(map(float, held["values"])))


def _references(
    held: Mapping[str, np.ndarray], count: int, samples: Samples, judged_outputs: JudgedOutputs
) -> list[list[np.ndarray]]:
    """Return the outputs of every group of samples; `ValueError` where they are not those of as many."""
    groups = samples.groups()
    _require(len(groups) == count)
    found = [
        [_float_array(held, f"outputs {i} {j}", np.float32) for j in range(len(judged_outputs.losses))]
        for i in range(count)
    ]
    for group, outputs in zip(groups, found, strict=True):
        _require(group.count == 1 or all(len(value) == group.count for value in outputs))
    return found


def _read_judged_outputs(held: Mapping[str, Any], model: Model) -> JudgedOutputs:
    """Return how outputs are judged; `ValueError` for what is not so of this model."""
    made = {name for node in model.proto.graph.node for name in node.output}
    made |= {item.name for item in model.proto.graph.output}
    losses = tuple(OutputLoss(**loss) for loss in held["losses"])
    answers = None if held["answers"] is None else Answers(**held["answers"])
    _require(bool(losses) and all(isinstance(remark, str) for remark in held["remarks"]))
    for loss in losses:
        _require(loss.kind in LOSS_KINDS and loss.scores_are in KINDS and loss.scores_are != "auto")
        _require(answers is not None or loss.value in made)
        _require(
            math.isfinite(loss.scale) and loss.scale > 0 and math.isfinite(loss.weight) and loss.weight > 0
        )
        _require(loss.axis is None or type(loss.axis) is int)
    if answers is not None:
        _require(answers.kind in KINDS and answers.kind != "auto" and answers.before in (None, *made))
    return JudgedOutputs(losses, tuple(held["remarks"]), answers)
