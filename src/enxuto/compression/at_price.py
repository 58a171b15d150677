"""`compress_at`: a calibration and a price for bits → `CompressedModel`, and what every tensor got.

Layers that were calibrated take the levels of calibrated rounding, their biases are corrected, where that helps, and
coded together with one step. Kernels and matrices of no layer, and parts of features such as positions, take steps by
the same price (`calibration.other_weights`); other tensors that `compress` would quantize take its default steps; the
rest stays exact.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from enxuto.calibration.calibration import Calibration
from enxuto.compression.data_free import DEFAULT_SCHEME, measure_tensors
from enxuto.compression.selection import DEFAULT_ROLES, matching_names, quantizable_weights
from enxuto.enx.assemble import Assembly
from enxuto.enx.file import CompressedModel
from enxuto.enx.folding import folding_facts
from enxuto.enx.learned import learned_facts
from enxuto.enx.table import check_metadata
from enxuto.onnx_model import Role, check_finite
from enxuto.progress import Progress
from enxuto.quantize.grid import MOST_EXPONENT, Grid
from enxuto.quantize.scalar import Quantizer, short_float32
from enxuto.quantize.tensor import QuantizedTensor
from enxuto.rounding.data_free import round_weight

__all__ = ["LayerReport", "PricedModel", "bias_step_at", "code_levels", "compress_at"]


_BIAS_SHARE = (
    0.5  # of the step that the law of high rates gives biases: their errors meet every position alike
)
_MOST_LEVEL = 2.0**30  # of a bias


@dataclass(frozen=True)
class LayerReport:
    """How one tensor was coded.

    loss: the divergence expected of its errors, in nats, None where unknown. method: calibrated, nearest, measured
    (steps by the price, without feedback) or default; of the biases corrected, or kept where correcting them did no
    good.
    """

    name: str
    elements: int
    step: float
    bytes: int
    loss: float | None
    sensitivity: float | None
    method: str

    @property
    def bits(self) -> float:
        """Bits per weight."""
        return 8 * self.bytes / self.elements


@dataclass(frozen=True)
class PricedModel:
    """A compressed model, the price in nats per bit it was made at, and what each tensor got."""

    model: CompressedModel
    price: float
    layers: tuple[LayerReport, ...]

    def to_list(self) -> list[dict[str, Any]]:
        """Return the tensors as JSON-safe rows, with their shares of the file and of the expected loss."""
        total = self.model.file_bytes
        total_loss = sum(layer.loss or 0.0 for layer in self.layers)
        return [
            {
                "name": layer.name,
                "elements": layer.elements,
                "step": layer.step,
                "bits": round(layer.bits, 4),
                "bytes": layer.bytes,
                "share_of_file": round(layer.bytes / total, 5),
                "loss": layer.loss,
                "share_of_loss": None
                if layer.loss is None or total_loss <= 0
                else round(layer.loss / total_loss, 5),
                "sensitivity": layer.sensitivity,
                "method": layer.method,
            }
            for layer in self.layers
        ]


def compress_at(
    calibration: Calibration,
    price: float,
    *,
    metadata: Mapping[str, Any] | None = None,
    roles: Collection[Role | str] = DEFAULT_ROLES,
    keep_exact: Sequence[str] = (),
    progress: Progress | None = None,
) -> PricedModel:
    """Compress the calibrated model at one price. The same calibration and price give the same bytes.

    Args:
        calibration: of the model that is compressed.
        price: in nats per bit; the lower, the larger the file and the nearer its answers.
        metadata: stored in the file as JSON.
        roles: which weights are quantized.
        keep_exact: names (with * and ?) of tensors that are not; biases are quantized unless named here.
        progress: called with stage, amount done, total.

    Raises:
        UsageError: options do not fit.
        ModelError: weights are not finite.
    """
    check_metadata(_facts(calibration, price, metadata))
    model = calibration.model
    keep_exact = calibration.patterns_of(keep_exact)
    names = quantizable_weights(model, roles, keep_exact, parts=True)
    matching_names(model, keep_exact)
    for info in model.infos():
        if info.role is not Role.OTHER:
            check_finite(info.name, model.load(info.name), mask=info.operand)
    tensors = calibration.round_at(price, names, progress)
    biases = calibration.correct_biases(tensors, progress)
    return code_levels(
        calibration, price, tensors, biases, metadata=metadata, roles=roles, keep_exact=keep_exact, progress=progress
    )  # fmt: skip


def code_levels(
    calibration: Calibration,
    price: float,
    tensors: Mapping[str, QuantizedTensor],
    biases: Mapping[str, np.ndarray],
    *,
    bias_step: float | None = None,
    metadata: Mapping[str, Any] | None = None,
    roles: Collection[Role | str] = DEFAULT_ROLES,
    keep_exact: Sequence[str] = (),
    progress: Progress | None = None,
) -> PricedModel:
    """Make a file of levels that are there already, coded as they are; all other tensors are rounded at the price.

    Args:
        calibration: of the model.
        price: in nats per bit.
        tensors: levels and quantizers of weights of layers, by name.
        biases: values of biases, by name.
        bias_step: of which all biases become multiples; by default each layer's has its own, by the price.
        metadata, roles, keep_exact: as for `compress_at`.
        progress: called with ("coding", tensors done, tensors in all).
    """
    facts = _facts(calibration, price, metadata)
    model = calibration.model
    names = quantizable_weights(model, roles, keep_exact, parts=True)
    exact = matching_names(model, keep_exact)
    assembly = Assembly(model, facts, calibration.threads, biases)
    losses = calibration.losses(tensors, price)
    sizes = assembly.add_each(
        list(tensors),
        lambda name: (tensors[name].quantizer, tensors[name].levels),
        None if progress is None else lambda done, of: progress("coding", done, of),
    )
    reports = [
        _report(calibration, name, tensors[name], losses[name], size, price)
        for name, size in sizes.items()
        if size
    ]
    coded = {name: bias for name, bias in biases.items() if name not in exact}
    grid = Grid(bias_step or 1.0)
    while coded:
        grid = _bias_grid(calibration, price, list(coded)) if bias_step is None else grid
        fitting = _with_levels(coded, grid)
        if len(fitting) == len(coded):
            reports += _add_biases(assembly, calibration, grid, coded)
            break
        coded = fitting
    reports += _add_others(assembly, calibration, price, [name for name in names if name not in tensors])
    return PricedModel(assembly.finish(), price, tuple(reports))


def bias_step_at(calibration: Calibration, price: float) -> float:
    """Return the step that all biases would share at a price."""
    return short_float32(_BIAS_SHARE * calibration.bias_step(price))


def _facts(calibration: Calibration, price: float, metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    given = calibration.given
    folded = folding_facts(
        constants=bool(calibration.computed),
        functions=given is not None and bool(given.proto.functions) and not calibration.model.proto.functions,
    )
    counted = {} if calibration.given is None else learned_facts(calibration.given)
    return {**counted, **(metadata or {}), **folded, "calibrated": calibration.provenance(price)}


def _report(
    calibration: Calibration, name: str, tensor: QuantizedTensor, loss: float, size: int, price: float
) -> LayerReport:
    curvature = calibration.curvatures[name]
    return LayerReport(
        name=name,
        elements=tensor.levels.size,
        step=calibration.step(name, tensor),
        bytes=size,
        loss=loss,
        sensitivity=curvature.sensitivity_at(price),
        method="calibrated" if curvature.calibrated else "nearest",
    )


def _with_levels(biases: Mapping[str, np.ndarray], grid: Grid) -> dict[str, np.ndarray]:
    """Return the biases that have levels on a grid; others are so large beside their steps that they stay exact."""
    steps = [(grid.of_row(row) if grid.rows else grid).step for row in range(len(biases))]
    return {
        name: bias
        for (name, bias), step in zip(biases.items(), steps, strict=True)
        if float(np.abs(bias).max(initial=0)) < _MOST_LEVEL * step
    }


def _add_biases(
    assembly: Assembly, calibration: Calibration, quantizer: Grid, biases: dict[str, np.ndarray]
) -> list[LayerReport]:
    """Code biases together."""
    values = [np.asarray(bias, np.float32).reshape(-1) for bias in biases.values()]
    levels = [
        (quantizer.of_row(row) if quantizer.rows else quantizer).quantize(one)
        for row, one in enumerate(values)
    ]
    size = assembly.add(list(biases), quantizer, np.concatenate(levels))
    if not size:
        return []
    count, step = sum(one.size for one in values), quantizer.step
    moved = any(not np.array_equal(bias, calibration.model.load(name)) for name, bias in biases.items())
    method = "corrected" if moved else "kept"
    return [LayerReport(f"{len(biases)} biases", count, step, size, None, None, method)]


def _bias_grid(calibration: Calibration, price: float, names: Sequence[str]) -> Grid:
    """Return a grid with a row for each bias, whose steps are `_BIAS_SHARE` of the price's, to half octaves."""
    steps = calibration.bias_steps(price)
    logs = np.log2(_BIAS_SHARE * np.asarray([steps[name] for name in names]))
    base = short_float32(float(np.exp2(np.median(logs))))
    exponents = 2 * np.rint(2 * (logs - np.log2(base))).astype(np.int64)
    rows = np.clip(exponents, -MOST_EXPONENT, MOST_EXPONENT).tolist()
    return Grid(base, tuple(rows) if len(rows) > 1 and any(rows) else ())


def _add_others(
    assembly: Assembly, calibration: Calibration, price: float, names: list[str]
) -> list[LayerReport]:
    """Code tensors that no layer holds: by the price's steps where these are measured, else by the default's."""
    tensors, network = measure_tensors(calibration.model, names)
    priced = calibration.other_quantizers(price)

    def quantize(name: str) -> tuple[Quantizer, np.ndarray]:
        weight = np.asarray(calibration.model.load(name), np.float32)
        if name in priced:
            return round_weight(weight, priced[name], "trellis")
        quantizer = DEFAULT_SCHEME.quantizer(tensors[name], network)
        return quantizer, quantizer.quantize(weight)

    return [
        LayerReport(
            name, tensors[name].info.elements, tensors[name].rms, size, None, None,
            "measured" if calibration.others.get(name) else "default",
        )
        for name, size in assembly.add_each(list(tensors), quantize).items()
        if size
    ]  # fmt: skip
