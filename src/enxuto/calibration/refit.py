"""Layers refitted to what they read once the layers before them are rounded.

Errors of earlier layers reach a layer's inputs, and with them what the layer gives, and what it is added to. Much of
that is a linear function of the inputs themselves: rounded weights change a channel by a mixture of channels that later
layers still read. So before a layer is rounded, D is added to its matrix, the ridge regression of what is missing on
what is read:

    D = argmin Σ ‖y + s − (W + D)·x̂ − ŝ‖² + λ·Σ D²·max(diag(X̂), diag(X)),   X̂ = Σ x̂ x̂ᵀ, X = Σ x xᵀ

x̂ is what the layer reads behind rounded layers, y what it gave before, and s, ŝ what its output is added to (a
shortcut), before and now. A channel that rounding has all but silenced cannot be made up for by a large D, which would
amplify what is left of it: hence X, of what was read before. Means are left to the biases, where the layer has one. λ
is the one of a few that predicts best on folds of the samples left out; where none beats D = 0, the layer stays as it
is.

Source: output reconstruction with quantized inputs, as in Nagel et al. 2020 (arXiv:2004.10568, 3.3, "asymmetric
reconstruction") and GPTAQ (Li et al. 2025, arXiv:2504.02692), here by regression in front of the rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from enxuto.calibration.layers import LinearLayer
from enxuto.calibration.moments import FOLDS, LARGEST_BLOCK
from enxuto.calibration.partial_runs import PartialRuns
from enxuto.data.samples import Group
from enxuto.onnx_model import Model, reads_of

__all__ = ["InputErrors", "OriginalValues", "refit", "shortcuts", "watch_rounded"]

_POSITIONS = 96  # of a sample
_FEWEST = 12  # samples: folds of fewer tell nothing
_RIDGES = (0.01, 0.03, 0.1, 0.3, 1.0)  # λ
_KEPT = 1 << 28  # bytes of the original's values
_PSEUDO_SAMPLES = 4  # of mean power in all channels, that silent ones are taken to have had besides
_LEAST = 1e-9  # of the mean power, so that inputs that are always 0 divide nothing by 0

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class InputErrors:
    """What a layer reads behind rounded layers, and what it gave before, at some positions of some samples.

    inputs: (g, n, C), x̂. before: (g, n, C), x. missing: (g, n, O), s − ŝ; None without a shortcut. samples: (n,),
    the number of the sample that a row is of.
    """

    inputs: Float32
    before: Float32
    missing: Float64 | None
    samples: npt.NDArray[np.int64]

    def left(self, old: Float64, new: Float64) -> Float64:
        """Return y + s − Ŵ·x̂ − ŝ (g, n, O) for a layer's old matrix and a new one Ŵ (g, O, C)."""
        found = np.matmul(self.before.astype(np.float64), old.transpose(0, 2, 1))
        found -= np.matmul(self.inputs.astype(np.float64), new.transpose(0, 2, 1))
        return np.asarray(found if self.missing is None else found + self.missing)

    def mean_left(self, old: Float64, new: Float64) -> Float64:
        """Return the mean of what is left for every sample, (N, g·O)."""
        numbers, places = np.unique(self.samples, return_inverse=True)
        shares = np.equal.outer(np.arange(len(numbers)), places).astype(np.float64)
        means = np.matmul(shares / shares.sum(axis=1, keepdims=True), self.left(old, new))
        return np.asarray(means.transpose(1, 0, 2).reshape(len(numbers), -1))


def shortcuts(model: Model, layers: Sequence[LinearLayer]) -> list[str | None]:
    """Return for each layer the value that an Add adds to its output, None where it has none or needs later layers.

    Constants that are added first, such as biases, are passed over.
    """
    nodes = model.proto.graph.node
    maker = {name: node for node in nodes for name in node.output if name}
    readers: dict[str, list[int]] = {}
    for number, node in enumerate(nodes):
        for name in reads_of(node):
            readers.setdefault(name, []).append(number)
    given = {item.name for item in model.proto.graph.output}
    later = {layer.weight for layer in layers}
    found: list[str | None] = []
    for layer in layers:
        value, other = layer.output, None
        while other is None and value not in given and len(readers.get(value, ())) == 1:
            node = nodes[readers[value][0]]
            if node.op_type != "Add" or node.domain not in ("", "ai.onnx"):
                break
            (added,) = [name for name in node.input if name != value] or [None]
            if added is None:
                break
            value, other = node.output[0], None if added in model else added
        needs = set() if other is None else _ancestors(other, maker)
        found.append(None if other is None or needs & later else other)
        later.discard(layer.weight)
    return found


@dataclass(frozen=True)
class _Values:
    """What a layer reads (g, n, C), and what is added to its output (g, n, O), at some positions of some samples (n,).

    added: None where nothing is, or what is broadcast.
    """

    inputs: Float32
    added: Float32 | None
    samples: npt.NDArray[np.int64]


_NOTHING = _Values(np.zeros((0, 0, 0), np.float32), None, np.zeros(0, np.int64))


class OriginalValues:
    """What the layers of an original read: the same for every price, and kept while it is small."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str | None], _Values] = {}
        self._left = _KEPT

    def find(self, layers: Sequence[LinearLayer], added: Sequence[str | None]) -> list[_Values] | None:
        """Return the values of these layers with these shortcuts; None where any is not there."""
        keys = [(layer.weight, other) for layer, other in zip(layers, added, strict=True)]
        return [self._kept[key] for key in keys] if all(key in self._kept for key in keys) else None

    def keep(self, layer: LinearLayer, added: str | None, values: _Values) -> None:
        """Keep a layer's values; nothing at all once they take too much memory."""
        if (layer.weight, added) in self._kept:  # seen before, beside other layers
            return
        self._left -= values.inputs.nbytes + (0 if values.added is None else values.added.nbytes)
        if self._left >= 0:
            self._kept[layer.weight, added] = values
        else:
            self._kept.clear()


def watch_rounded(
    model: Model,
    layers: Sequence[LinearLayer],
    groups: Sequence[Group],
    weights: Mapping[str, np.ndarray],
    *,
    originals: OriginalValues | None = None,
    seed: int = 0,
    threads: int = 0,
) -> Iterator[InputErrors | None]:
    """Yield for each layer, in the order of execution, what it reads now and read before.

    Args:
        model: the original.
        layers: of the model; None is yielded for those that cannot be refitted.
        groups: of samples.
        weights: by name, what replaces the model's own; the caller adds a layer's before it asks for the next.
        originals: where what layers read before is kept for further calls with the same model, groups and seed.
        seed: of the positions.
        threads: of ONNX Runtime; 0 is its own default.
    """
    added = shortcuts(model, layers)
    stops = []
    for layer, other in zip(layers, added, strict=True):
        stops += [layer.before] if other is None else [layer.before, other]
    runs = PartialRuns(model, stops)
    kept = OriginalValues() if originals is None else originals
    known = kept.find(layers, added)
    before = None if known is not None else runs.run_groups(groups, {}, threads=threads)
    now = runs.run_groups(groups, weights, threads=threads)
    for number, (layer, other) in enumerate(zip(layers, added, strict=True)):
        refitted = _can_be_refitted(model, layer)
        if known is not None:
            old = known[number]
        else:
            assert before is not None, "what is not known is run"
            read = next(before), None if other is None else next(before)
            old = _values(model, layer, groups, read, seed) if refitted else _NOTHING
            kept.keep(layer, other, old)
        read = next(now), None if other is None else next(now)
        if not refitted:
            yield None
            continue
        new = _values(model, layer, groups, read, seed)
        missing = None if old.added is None or new.added is None else old.added.astype(np.float64) - new.added
        yield InputErrors(new.inputs, old.inputs, missing, new.samples)


def refit(matrix: np.ndarray, seen: InputErrors, *, centred: bool) -> Float64:
    """Return a layer's matrix (g, O, C), refitted to what it reads.

    centred: whether means are left to a bias.
    """
    old = matrix.astype(np.float64)
    inputs, missing = seen.inputs.astype(np.float64), seen.left(old, old)
    if len(np.unique(seen.samples)) < _FEWEST or not (
        np.isfinite(inputs).all() and np.isfinite(missing).all()
    ):
        return old
    if centred:
        inputs, missing = (part - part.mean(axis=1, keepdims=True) for part in (inputs, missing))
    folds = [seen.samples % FOLDS == fold for fold in range(FOLDS)]
    powers = np.stack([_products(inputs[:, rows], inputs[:, rows]) for rows in folds])
    shared = np.stack([_products(inputs[:, rows], missing[:, rows]) for rows in folds])
    usual = _usual_powers(seen, folds, centred=centred)
    ridge = _best_ridge(powers, shared, usual)
    if ridge is None:
        return old
    change = _solve(powers.sum(0), shared.sum(0), usual.sum(0), ridge)
    return np.asarray(old + change.transpose(0, 2, 1), np.float64)


def _usual_powers(seen: InputErrors, folds: Sequence[npt.NDArray[np.bool_]], *, centred: bool) -> Float64:
    """Return each fold's Σ x² (g, C) of what a layer read before, and more for channels that were silent by chance."""
    squares = seen.before.astype(np.float64)
    if centred:
        squares -= squares.mean(axis=1, keepdims=True)
    np.square(squares, out=squares)
    powers = np.stack([squares[:, rows].sum(axis=1) for rows in folds])
    silent = _PSEUDO_SAMPLES / (_PSEUDO_SAMPLES + len(np.unique(seen.samples)))
    return np.asarray(powers + silent * powers.mean(axis=2, keepdims=True))


def _best_ridge(powers: Float64, shared: Float64, usual: Float64) -> float | None:
    """Return the λ that predicts best on folds left out; None where predicting nothing is better.

    powers: (F, g, C, C), of inputs. shared: (F, g, C, O), of inputs and what is missing. usual: (F, g, C), powers that
    inputs had before.
    """
    best, found = 0.0, None
    for ridge in _RIDGES:
        change = 0.0  # of the squared error on folds left out
        for own_powers, own_shared, own_usual in zip(powers, shared, usual, strict=True):
            fitted = _solve(
                powers.sum(0) - own_powers, shared.sum(0) - own_shared, usual.sum(0) - own_usual, ridge
            )
            change += float(np.sum(fitted * (np.matmul(own_powers, fitted) - 2 * own_shared)))
        if change < best:
            best, found = change, ridge
    return found


def _solve(powers: Float64, shared: Float64, usual: Float64, ridge: float) -> Float64:
    """Return D (g, C, O)."""
    left = powers.copy()
    diagonal = np.einsum("gcc->gc", left)
    diagonal += ridge * np.maximum(diagonal, usual) + _LEAST * diagonal.mean() + np.finfo(np.float64).tiny
    try:
        return np.asarray(np.linalg.solve(left, shared), np.float64)
    except np.linalg.LinAlgError:  # powers beyond float64
        return np.zeros_like(shared)


def _products(one: Float64, other: Float64) -> Float64:
    return np.asarray(np.matmul(one.transpose(0, 2, 1), other), np.float64)


def _can_be_refitted(model: Model, layer: LinearLayer) -> bool:
    return layer.corrected and layer.matrix(model.load(layer.weight)).shape[2] <= LARGEST_BLOCK


def _values(
    model: Model,
    layer: LinearLayer,
    groups: Sequence[Group],
    read: tuple[list[np.ndarray], list[np.ndarray] | None],
    seed: int,
) -> _Values:
    """Return what is looked at in values of every group: what a layer reads, and what is added to its output."""
    inputs, added, samples = [], [], []
    outputs = layer.matrix(model.load(layer.weight)).shape[1]
    start = 0
    given, other = read
    for number, group in enumerate(groups):
        rows = layer.vectors(given[number], _POSITIONS, np.random.default_rng((seed, number)))
        count = rows.shape[1]
        some = _spread(count, _POSITIONS * group.count)
        inputs.append(rows[:, some])
        if other is not None:
            random = np.random.default_rng((seed, number))
            part = layer.output_columns(other[number], _POSITIONS, random, scaled=False)
            if part.shape != (layer.groups, count, outputs):
                other = None  # it is broadcast
            else:
                added.append(part[:, some])
        samples.append(start + some * group.count // max(1, count))
        start += group.count
    return _Values(
        np.concatenate(inputs, axis=1),
        None if other is None else np.concatenate(added, axis=1),
        np.concatenate(samples),
    )


def _spread(count: int, most: int) -> npt.NDArray[np.int64]:
    """Return at most so many of `count` rows, evenly spread."""
    return np.linspace(0, count - 1, min(count, most)).astype(np.int64)


def _ancestors(name: str, maker: Mapping[str, object]) -> set[str]:
    """Return the values that a value is made of, itself among them."""
    found, pending = set[str](), [name]
    while pending:
        value = pending.pop()
        if value not in found:
            found.add(value)
            if value in maker:
                pending += reads_of(maker[value])  # type: ignore[arg-type]
    return found
