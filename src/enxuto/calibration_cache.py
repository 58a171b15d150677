"""Calibrations kept on disk, so that another bound or an interrupted search does not measure the model again.

A calibration is known by a hash of the model's bytes, the images' bytes, the seed and this module's version. Kept are
second moments, gradients and sensitivities as float32; factors are worked out anew. Files hold plain arrays, nothing
that runs; one that is damaged or does not fit is made anew. Large models are not kept.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from enxuto._version import __version__
from enxuto.calibration import Calibration
from enxuto.data.published import cache_folder
from enxuto.errors import UsageError
from enxuto.files import atomic_write
from enxuto.onnx_model import Model, fold_batch_norm
from enxuto.quantize.curvature import Curvature
from enxuto.quantize.layers import linear_layers

__all__ = ["calibration_folder", "calibration_key", "kept_calibration"]

_LAYOUT = 7  # of the files and of how they are measured; another number makes older ones unknown
_MOST = 1 << 30  # bytes


def calibration_folder() -> Path:
    """Return where calibrations are kept: `calibrations` in the cache folder (`$ENXUTO_CACHE`, else the user's)."""
    return cache_folder() / "calibrations"


def calibration_key(model: Model, images: npt.NDArray[np.float32], seed: int) -> str:
    """Return 32 hex digits that change with whatever a calibration depends on."""
    found = hashlib.sha256(json.dumps([_LAYOUT, __version__, seed, list(images.shape)]).encode())
    for name in model.weight_names:
        found.update(name.encode())
        found.update(np.ascontiguousarray(model.load(name)).tobytes())
    found.update(model.proto.SerializeToString(deterministic=True))
    found.update(np.ascontiguousarray(images).tobytes())
    return found.hexdigest()[:32]


def kept_calibration(
    model: Model,
    images: npt.NDArray[np.float32],
    make: Callable[[], Calibration],
    *,
    source: str,
    seed: int,
    threads: int,
    folder: Path | None = None,
) -> Calibration:
    """Return the calibration kept for this model and these images, or make it and keep it.

    folder: by default `calibration_folder()`. Where nothing can be written it is made and not kept.
    """
    place = (folder or calibration_folder()) / f"{calibration_key(model, images, seed)}.npz"
    found = _load(place, model, images, source, seed, threads)
    if found is not None:
        return found
    made = make()
    _save(place, made)
    return made


def _save(place: Path, calibration: Calibration) -> None:
    arrays: dict[str, Any] = {"scores": calibration.scores}
    facts: dict[str, Any] = {"reason": calibration.reason, "folded": calibration.folded, "layers": {}}
    for number, layer in enumerate(calibration.layers):
        curvature = calibration.curvatures[layer.weight]
        arrays |= {f"{number} in {i}": block for i, block in enumerate(curvature.inputs)}
        arrays |= {f"{number} out {i}": block for i, block in enumerate(curvature.outputs)}
        arrays[f"{number} means"] = calibration.means[layer.weight]
        facts["layers"][layer.weight] = {
            "blocks": [len(curvature.inputs), len(curvature.outputs)],
            "calibrated": curvature.calibrated,
            "sensitivity": curvature.sensitivity,
        }
    if sum(array.nbytes for array in arrays.values()) > _MOST:
        return
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
    place: Path, model: Model, images: npt.NDArray[np.float32], source: str, seed: int, threads: int
) -> Calibration | None:
    if not place.is_file():
        return None
    folded, _ = fold_batch_norm(model)
    layers = linear_layers(folded)
    try:
        with np.load(io.BytesIO(place.read_bytes()), allow_pickle=False) as held:
            facts = json.loads(held["facts"].tobytes())
            layers = [layer for layer in layers if layer.weight in facts["layers"]]
            curvatures, means = {}, {}
            for number, layer in enumerate(layers):
                own = facts["layers"][layer.weight]
                many, others = own["blocks"]
                curvatures[layer.weight] = Curvature.of(
                    layer,
                    [held[f"{number} in {i}"] for i in range(many)],
                    [held[f"{number} out {i}"] for i in range(others)],
                    bool(own["calibrated"]),
                ).with_sensitivity(float(own["sensitivity"]))
                means[layer.weight] = held[f"{number} means"]
            scores = held["scores"]
    except (KeyError, ValueError, TypeError, OSError, EOFError, zipfile.BadZipFile, np.linalg.LinAlgError):
        return None  # damaged: it will be made and written anew
    return Calibration(
        model=folded, layers=layers, curvatures=curvatures, images=images, scores=scores, means=means,
        reason=facts["reason"], folded=list(facts["folded"]), threads=threads, source=source, seed=seed,
    )  # fmt: skip
