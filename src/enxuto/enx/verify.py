"""Does a compressed file hold what it should? Checksums, decoding, and comparison with the original model."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from os import PathLike
from typing import Any

import numpy as np
from onnx import ModelProto

from enxuto.enx.file import CompressedModel
from enxuto.enx.fingerprint import FINGERPRINT_KEY, changed_weights, hashed_names
from enxuto.enx.folding import fold_alike
from enxuto.enx.payload import Payload
from enxuto.enx.table import LevelsRow
from enxuto.errors import FormatError
from enxuto.files import to_path
from enxuto.metrics import SignalMetrics
from enxuto.onnx_model import Model, Role, skeleton
from enxuto.onnx_model.carried import remove_carried
from enxuto.onnx_model.strip import strip_docs, strip_value_info
from enxuto.quantize.grid import Grid
from enxuto.quantize.scalar import DeadZone, Quantizer

__all__ = ["TensorCheck", "Verification", "verify"]

_BLOCK = 1 << 20  # elements compared at once
_ROUNDING = 1.0 + 1e-5  # of the error's bound, for values rounded to float32
_PRECISION = {"float16": (2.0**-10, 2.0**-24), "bfloat16": (2.0**-7, 2.0**-133)}
"""Rounding to narrower types: relative, and among the smallest values. Wider ones are rounded to float32 too."""


@dataclass(frozen=True)
class TensorCheck:
    """One tensor against the original: largest error, the bound on it (None: no bound), SQNR in dB (None: exact).

    same: whether the original's are the weights that the file was made from, by their hash; None: not known.
    """

    name: str
    exact: bool
    largest_error: float
    bound: float | None
    sqnr: float | None
    ok: bool
    same: bool | None = None


@dataclass(frozen=True, repr=False)
class Verification:
    """The outcome: how many payloads decoded, and, with an original, one check per tensor and what is wrong."""

    payloads: int
    tensors: int
    compared: bool
    checks: tuple[TensorCheck, ...]
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-safe values."""
        return {"ok": self.ok, **asdict(self)}

    def __repr__(self) -> str:
        compared = "compared with the original" if self.compared else "not compared"
        text = f"<Verification: {self.payloads} payloads, {self.tensors} tensors, {compared}"
        return f"{text}, ok>" if self.ok else f"{text}, {len(self.problems)} problems: {self.problems[0]}>"


def verify(
    compressed: CompressedModel | str | PathLike[str],
    original: Model | str | PathLike[str] | None = None,
    *,
    progress: Callable[[str, int, int], None] | None = None,
) -> Verification:
    """Check every payload's checksum, decode it, and compare with `original` where it is given. Both may be paths.

    Exact tensors must be equal bit for bit; others must come from the original's, by the hash in the metadata.
    Files made by calibrated rounding without one cannot be compared, which is a problem. Besides, dead-zone levels
    must give values within their bin, which is at most Δ/2, or δΔ in the zero bin, from the original (values that
    were clipped are reported as problems); rounded by rate within Δ, on a trellis within 2Δ. Damaged payloads
    become problems too, so that one of them does not hide the others.
    """
    if not isinstance(compressed, CompressedModel):
        try:
            compressed = CompressedModel.read(
                to_path(compressed, "a CompressedModel or the path of an .enx file")
            )
        except FormatError as error:
            return Verification(0, 0, False, (), (str(error),))
    if original is not None and not isinstance(original, Model):
        original = Model.read(to_path(original, "a Model or the path of an ONNX file"))
    problems: list[str] = []
    checks: list[TensorCheck] = []
    if original is not None:
        original = fold_alike(original, compressed.metadata)
    changed: set[str] | None = None
    if original is not None:
        problems += _graph_problems(compressed, original)
        changed, found = _find_changed_weights(compressed, original)
        problems += found
    for number, payload in enumerate(compressed.payloads):
        if progress is not None:
            progress("verifying", number, len(compressed.payloads))
        try:
            arrays = payload.arrays()
        except FormatError as error:
            problems.append(str(error))
            continue
        if original is not None:
            checks += [
                _add_verdict(_check(name, array, original, payload, compressed.metadata), changed)
                for name, array in arrays.items()
                if name in original
            ]
    problems += [_problem(check) for check in checks if not check.ok]
    tensors = sum(len(payload.row.tensors) for payload in compressed.payloads)
    return Verification(
        len(compressed.payloads), tensors, original is not None, tuple(checks), tuple(problems)
    )


def _find_changed_weights(compressed: CompressedModel, original: Model) -> tuple[set[str] | None, list[str]]:
    """Return which weights of the original are not those compressed (None: unknown), and what is wrong besides."""
    text = compressed.metadata.get(FINGERPRINT_KEY)
    names = hashed_names([payload.row for payload in compressed.payloads], compressed.metadata)
    if not names or any(name not in original for name in names):
        return None, []
    if text is None:
        if "calibrated" not in compressed.metadata:
            return None, []  # each tensor has a bound
        return None, [
            "it cannot be compared with an original: the file was made before hashes of the original weights were kept"
        ]
    try:
        found = changed_weights(text, original, names)
    except FormatError as error:
        return None, [str(error)]
    if found is None:
        return None, ["the weights are not those that were compressed: their hash is another"]
    return found, []


def _add_verdict(check: TensorCheck, changed: set[str] | None) -> TensorCheck:
    """Add what the hash says of a tensor that is not stored exactly."""
    if changed is None or check.exact:
        return check
    same = check.name not in changed
    return replace(check, same=same, ok=check.ok and same)


def _graph_problems(compressed: CompressedModel, original: Model) -> list[str]:
    """Compare the graphs without their weights."""
    if compressed.metadata.get("pruned"):
        return [
            "filters left this network while it was retrained: its weights are not those of the original any more"
        ]
    names = [entry.name for entry, _ in compressed.entries()]
    missing = [name for name in names if name not in original]
    if missing:
        return [f"the original has no weight {missing[0]!r}: it is another model"]
    if not _same_graph(skeleton(original, names), compressed.skeleton):
        return ["the graph, or a value kept in it, differs from the original's"]
    return []


def _same_graph(one: bytes, other: bytes) -> bool:
    """Compare graphs, but for the documentation and value types that reading leaves out unless told otherwise, and
    for preprocessing, labels and kinds of outputs, which may be said anew when compressing.
    """
    if one == other:
        return True
    bare = []
    for data in (one, other):
        proto = ModelProto.FromString(data)
        strip_docs(proto)
        strip_value_info(proto)
        remove_carried(proto)
        bare.append(proto)
    return bool(bare[0] == bare[1])


def _check(
    name: str, array: np.ndarray, original: Model, payload: Payload, facts: Mapping[str, Any]
) -> TensorCheck:
    wanted = original.load(name)
    if array.shape != wanted.shape or array.dtype != wanted.dtype:
        return TensorCheck(name, exact=False, largest_error=math.inf, bound=0.0, sqnr=None, ok=False)
    same = array.tobytes() == wanted.tobytes()
    moved = "calibrated" in facts and (FINGERPRINT_KEY in facts or original.info(name).role is Role.BIAS)
    if ("calibrated" in facts and isinstance(payload.row, LevelsRow)) or (moved and not same):
        return _check_unbounded(name, array, wanted)
    if not isinstance(payload.row, LevelsRow) or not array.size:
        return TensorCheck(
            name, exact=True, largest_error=0.0 if same else math.inf, bound=0.0, sqnr=None, ok=same
        )
    quantizer = payload.quantizer()
    precision, smallest = _PRECISION.get(array.dtype.name, (1e-6, 0.0))
    signal = SignalMetrics()
    largest = bound = 0.0
    ok = True
    ours, theirs = np.atleast_1d(array), np.atleast_1d(wanted)
    rows = max(1, _BLOCK // max(1, math.prod(ours.shape[1:])))
    for start in range(0, len(ours), rows):
        values = theirs[start : start + rows].astype(np.float64)
        decoded = ours[start : start + rows]
        error = np.abs(decoded.astype(np.float64) - values)
        allowed = _bound(quantizer, values, start, by_rate=facts.get("rounding") == "rate")
        ok &= bool((error <= allowed * _ROUNDING + np.abs(values) * precision + smallest).all())
        largest = max(largest, float(error.max(initial=0)))
        bound = max(bound, float(allowed.max(initial=0)))
        signal.update(values, decoded)
    quality = signal.result().sqnr_db
    return TensorCheck(
        name, exact=False, largest_error=largest, bound=bound,
        sqnr=quality if math.isfinite(quality) else None, ok=ok,
    )  # fmt: skip


def _check_unbounded(name: str, array: np.ndarray, wanted: np.ndarray) -> TensorCheck:
    """Check a tensor whose values were moved to make up for errors elsewhere: no bound, but nothing wild either."""
    signal = SignalMetrics()
    signal.update(wanted.astype(np.float64), array)
    error = np.abs(array.astype(np.float64) - wanted.astype(np.float64))
    quality = signal.result().sqnr_db
    return TensorCheck(
        name, exact=False, largest_error=float(error.max(initial=0)), bound=None,
        sqnr=quality if math.isfinite(quality) else None, ok=bool(np.isfinite(error).all()),
    )  # fmt: skip


def _bound(quantizer: Quantizer, values: np.ndarray, start: int, *, by_rate: bool) -> np.ndarray:
    """Largest distance of weights from their values, for those from index `start` of the first axis on.

    That is the bin's, or, without a uniform step, the distance of the nearest value.
    """
    if isinstance(quantizer, Grid) and quantizer.trellis:
        piece = replace(quantizer, rows=quantizer.rows[start : start + len(values)])
        rows, columns = piece.steps(values.shape)
        return np.asarray(2 * rows.astype(np.float64) * columns)
    if not isinstance(quantizer, DeadZone):
        narrow = values.astype(np.float32)
        nearest = quantizer.reconstruct(quantizer.quantize(narrow))
        return np.abs(nearest.astype(np.float64) - narrow.astype(np.float64))
    steps = np.asarray(quantizer.step, np.float64)
    if quantizer.axis == 0:
        steps = steps[start : start + len(values)]
    if quantizer.axis is not None:
        steps = steps.reshape([-1 if axis == quantizer.axis else 1 for axis in range(values.ndim)])
    return np.asarray(steps * max(1.0 if by_rate else 0.5, quantizer.delta))


def _problem(check: TensorCheck) -> str:
    if check.exact:
        return f"{check.name!r} should be exact and is not"
    if check.same is False and (check.bound is None or check.largest_error <= check.bound):
        return f"{check.name!r} was not made from these weights: the original's hash is another"
    if check.bound is None:
        return f"{check.name!r} has values that are not finite, where calibrated rounding leaves none"
    return f"{check.name!r} is off by up to {check.largest_error:.3g}, more than its step allows ({check.bound:.3g})"
