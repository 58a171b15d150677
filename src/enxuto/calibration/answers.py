"""What a model's scores are: decided once for the model, from its graph and from all values of a few images together.

Calibration measures divergences between distributions over classes. So scores must be logits of classes, or their
probabilities. Where a softmax ends the network, calibration uses its input, so that a network gets the same levels with
and without its last operator. Outputs that are no list of classes are refused as far as they can be recognised: single
numbers, maps of positions, sigmoids, outputs that move together. A regression with several outputs looks like logits
and is treated as such.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import NodeProto

from enxuto.errors import DataError, ModelError, UsageError
from enxuto.metrics.divergence import LEAST, log_probabilities
from enxuto.metrics.score_kinds import ScoreKind, ScoreKindDetector
from enxuto.onnx_model import (
    Ending,
    Model,
    append_logarithm,
    cut_before_softmax,
    fixed_batch,
    free_batch,
    keeps_positions,
    output_ending,
    picks_values,
    position_sources,
)
from enxuto.runtime import Runner

__all__ = [
    "Answers",
    "check_scores_vary",
    "inspect_answers",
    "kind_of_scores",
    "refusal_message",
    "require_free_batch",
    "scores_of_noise",
]

_SAME = 2e-2  # of a probability: a softmax whose output is quantized to 7 bits is off by less than 1e-2
_SEVERAL = 1.5  # what a row of one distribution adds up to at most
_TOGETHER = 1e-4  # of the scores' variance over images: what outputs that move together differ by
_IGNORED = 1e-3  # of the largest score: what a model that ignores its input may differ by on other inputs
_CONSTANT = 1e-6  # of the largest score: float32's noise
_CERTAIN = 2.0**-24  # a probability that float32 cannot take from 1
_LENGTH = 1e-3
_ROWS = 512  # of scores that are looked at together
_SPATIAL = frozenset(
    {"Conv", "ConvTranspose", "ConvInteger", "QLinearConv", "FusedConv", "MaxPool", "AveragePool", "LpPool", "Resize",
     "Upsample", "DepthToSpace", "SpaceToDepth", "Pad", "InstanceNormalization", "LRN", "GridSample", "MaxUnpool",
     "DeformConv", "Col2Im"}
)  # fmt: skip

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Answers:
    """What a model's scores are.

    kind: logits, probabilities or log-probabilities. operator: the one in the graph that says so; "" where the values
    decided. before: the name of the softmax's input, None without one. classes: the number of scores an image. reason:
    why they are no scores of classes, None where they may be.
    """

    kind: ScoreKind = "logits"
    operator: str = ""
    before: str | None = None
    classes: int = 0
    reason: str | None = None

    def describe(self) -> str:
        """Return a few words for a remark: `probabilities of 10 classes (Softmax)`."""
        found = f"{self.kind} of {self.classes:,} classes"
        return f"{found} ({self.operator})" if self.operator else found

    def logits(self, model: Model) -> Model:
        """Return the model with logits as its first output; the model itself where they are."""
        if self.before is not None:
            return cut_before_softmax(model, self.before)
        # Logarithms of probabilities are logits.
        return append_logarithm(model) if self.kind == "probabilities" else model


def inspect_answers(model: Model, images: np.ndarray, *, threads: int = 0) -> Answers:
    """Return what a model's scores are, by its graph and its scores for preprocessed images (N, …), a batch at least.

    Raises `ModelError` and `DataError` where the model cannot run on them.
    """
    nodes, values = position_sources(model)
    whole = Runner(model, threads=threads).scores(images)
    found = _values(model, values, images, threads)
    reason = _shape_reason(whole, len(images))
    if reason is not None:  # there may be no rows
        return Answers(reason=reason)
    scores = whole.reshape(len(whole), -1)
    end = output_ending(model)
    if not _one_distribution(end, scores):
        reason = _map_reason(model, nodes, found)
    if reason is not None:
        return Answers(reason=reason)
    kind, reason = _kind(model, scores)
    if reason is None and end.kind == "open" and kind == "logits":
        lengths = np.sqrt(np.square(scores.astype(np.float64)).sum(axis=1))
        if np.abs(lengths - 1).max() < _LENGTH:
            reason = "every image's outputs are a vector of length 1, as embeddings are"
    operator = "" if end.kind == "open" else end.operator
    before = end.before if reason is None else None
    if before is not None and not _agrees(cut_before_softmax(model, before), images, scores, kind, threads):
        before = None
    return Answers(kind, operator, before, scores.shape[1], reason)


def kind_of_scores(model: Model, scores: npt.ArrayLike) -> ScoreKind:
    """Return what a model's scores (N, C) are: what its graph says, else what all of them together look like."""
    return _kind(model, np.asarray(scores))[0]


def _kind(model: Model, scores: np.ndarray) -> tuple[ScoreKind, str | None]:
    """Return what scores (N, C) are, and why they are none of classes (or None)."""
    end = output_ending(model)
    if end.kind in ("probabilities", "log-probabilities"):
        sums = (np.exp(scores.astype(np.float64)) if end.kind == "log-probabilities" else scores).sum(axis=1)
        several = sums.max() > _SEVERAL
        reason = f"a {end.operator} gives several distributions an image" if several else None
        return ("log-probabilities" if end.kind == "log-probabilities" else "probabilities"), reason
    if end.kind == "squashed":
        return "logits", f"a {end.operator} makes each output by itself"
    if end.kind == "chosen":
        return "logits", f"a {end.operator} makes its outputs, which are no scores"
    seen = ScoreKindDetector()
    seen.add(scores)
    kind = seen.kind()
    if end.kind == "mixed" and kind != "probabilities":
        return "logits", f"its outputs are {end.operator}: no distribution over classes"
    return kind, None


def _one_distribution(end: Ending, scores: np.ndarray) -> bool:
    """Say whether one softmax goes over all outputs of an image, so that positions are classes (moves on a board)."""
    if end.kind not in ("probabilities", "log-probabilities") or end.before is None:
        return False
    shares = scores.astype(np.float64)
    sums = (np.exp(shares) if end.kind == "log-probabilities" else shares).sum(axis=1)
    return bool(np.abs(sums - 1).max() <= _SAME)


def check_scores_vary(
    scores: npt.ArrayLike, elsewhere: Callable[[], npt.NDArray[np.floating[Any]]] | None = None
) -> None:
    """Raise `UsageError` where logits (N, C) of N images do not tell classes apart: constant, or moving together.

    A softmax depends on nothing but differences between the scores of an image. Where these hardly vary over images,
    compared with the scores, any weights keep its answers. elsewhere: gives scores of inputs quite unlike the images. A
    model with the same scores there too (a norm before a mean over the same values, say) ignores its input and passes.
    """
    whole = np.asarray(scores, np.float64)
    # Classes may be masked, by −∞ or by numbers such as −1e9: what no image gives a probability counts for nothing.
    finite = np.isfinite(whole)
    usable = np.asarray(finite.any(axis=0) & (finite | np.isneginf(whole)).all(axis=0))
    if usable.sum() < 2:
        raise UsageError(refusal_message("fewer than two of its outputs are finite numbers"), code="E035")
    likely = np.zeros(int(usable.sum()), np.bool_)
    for rows in _slices(len(whole)):
        likely |= (log_probabilities(whole[rows][:, usable]) > LEAST).any(axis=0)
    if likely.sum() < 2:
        raise UsageError(
            refusal_message("all images are of the same class, and the others' probability is 0"), code="E035"
        )
    known = _varying(whole, finite, usable)[:, likely]
    best, others = _best_and_others(whole, usable, likely)
    if len(np.unique(best)) == 1 and float(others.max()) < _CERTAIN:
        raise UsageError(
            refusal_message(
                "all images are of the same class, with certainty (the others' probability is 0)"
            ),
            code="E035",
        )
    size = float(np.abs(known).max())
    known -= known.mean(axis=0)
    total = float(np.mean(known**2))
    if total <= (_CONSTANT * size) ** 2:
        if elsewhere is not None:
            other = np.abs(elsewhere()[:, np.isfinite(whole[0])] - whole[:1, np.isfinite(whole[0])])
            if float(other.max()) <= _IGNORED * size:
                return
        raise UsageError(
            refusal_message("its outputs are the same for all images (or the images are all the same)"),
            code="E035",
        )
    known -= known.mean(axis=1, keepdims=True)
    if float(np.mean(known**2)) <= _TOGETHER * total:
        raise UsageError(
            refusal_message("its outputs move together, so that no image tells them apart"), code="E035"
        )


def _varying(whole: Float64, finite: npt.NDArray[np.bool_], usable: npt.NDArray[np.bool_]) -> Float64:
    """Return the usable columns of scores, the mean of its class for what is masked: that does not vary there."""
    if finite.all():
        return whole[:, usable]
    means = np.where(finite, whole, 0.0).sum(axis=0) / np.maximum(1, finite.sum(axis=0))
    return np.asarray(np.where(finite, whole, means)[:, usable], np.float64)


def _best_and_others(
    whole: Float64, usable: npt.NDArray[np.bool_], likely: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.intp], Float64]:
    """Return the likeliest class of every row, and the probability of all others."""
    best, others = [], []
    for rows in _slices(len(whole)):
        chances = np.exp(log_probabilities(whole[rows][:, usable][:, likely]))
        best.append(chances.argmax(axis=1))
        others.append(chances.sum(axis=1) - chances[np.arange(len(chances)), best[-1]])
    return np.concatenate(best), np.concatenate(others)


def _slices(count: int) -> list[slice]:
    """Return slices of so many rows, few at a time: a text's tokens have a row of a vocabulary each."""
    return [slice(start, start + _ROWS) for start in range(0, count, _ROWS)]


def scores_of_noise(model: Model, images: npt.NDArray[Any], threads: int) -> npt.NDArray[Any]:
    """Return scores (4, C) of noise about the mean of the images (N, …), three times as wide as they are."""
    noise = np.random.default_rng(0).standard_normal((4, *images.shape[1:]), np.float32)
    wide = noise * np.float32(3 * (images.std() or 1.0)) + np.float32(images.mean())
    if images.dtype.kind in "iu":
        known = np.iinfo(images.dtype.name)
        wide = np.clip(np.rint(wide), known.min, known.max)
    return Runner(model, threads=threads).scores(wide)


def require_free_batch(model: Model, images: np.ndarray, *, threads: int = 0) -> Model:
    """Return the model with a free batch size; `UsageError` where it then gives images other scores than one by one."""
    runs = free_batch(model)
    if runs is not model:
        expected = Runner(model, threads=threads).scores(images)
        try:
            found = Runner(runs, threads=threads).scores(images)
            same = found.shape == expected.shape and np.allclose(found, expected, rtol=1e-3, atol=1e-3)
        except (DataError, ModelError):
            same = False
        if not same:
            raise UsageError(
                f"the model takes exactly {fixed_batch(model)} images at a time, and not only its input says so; "
                "export it with a free batch size to calibrate it, or compress it without images",
                code="E032",
            )
    return runs


def refusal_message(reason: str) -> str:
    """Return the message that says why a model cannot be calibrated, and what to do instead."""
    return (
        f"calibration goes by how a classifier's answers change, and this model gives none: {reason}; compress it "
        "without images (no data=, calibration=, synthetic=)"
    )


def _shape_reason(whole: np.ndarray, count: int) -> str | None:
    """Return why an output is no list of scores for each image, None where it is one."""
    if whole.dtype.kind not in "fV":
        return f"its first output holds {whole.dtype}, not scores"
    if whole.ndim < 2 or whole.shape[0] != count:
        return f"its first output has the shape {whole.shape} for {count} images, no row of scores for each"
    if not whole.size:
        return f"its first output has the shape {whole.shape}, without a value"
    longer = [length for length in whole.shape[1:] if length != 1]
    if not longer:
        return "its first output is one number an image"
    if len(longer) > 1:
        return f"its first output has the shape {whole.shape} for {count} images, no list of classes"
    values = whole.astype(np.float64)
    if np.isnan(values).any() or np.isposinf(values).any():
        return "its first output holds NaN or infinity"
    return None


def _values(model: Model, names: Sequence[str], images: np.ndarray, threads: int) -> dict[str, np.ndarray]:
    """Return values of a model, by name, for two images or one batch; empty where ONNX Runtime cannot give them."""
    count = fixed_batch(model) or 2
    few = np.concatenate([images[:count], np.repeat(images[-1:], max(0, count - len(images)), axis=0)])
    try:
        runner = Runner(model, threads=threads, extra_outputs=names)
        feeds = {runner.inputs[0].name: np.ascontiguousarray(few, dtype=runner.inputs[0].dtype)}
        return dict(zip(names, runner.run(feeds, names), strict=True))
    except (ModelError, DataError):  # a value that can be no output, such as a sequence
        return {}


def _map_reason(model: Model, nodes: Sequence[NodeProto], found: dict[str, np.ndarray]) -> str | None:
    """Return why the output is a flattened map of positions, by the operators behind it; None where it is none."""
    maker = {node.output[0]: node for node in nodes}
    pending = [model.proto.graph.output[0].name]
    while pending:
        node = maker.pop(pending.pop(), None)  # each once
        if node is None:
            continue
        shape = found[node.output[0]].shape if node.output[0] in found else ()
        inner = [name for name in node.input if name in found]
        picks = picks_values(node) and not all(found[name].ndim <= 2 for name in inner[:1])
        if keeps_positions(node) and not picks and inner:
            pending += inner
        elif node.op_type in _SPATIAL and math.prod(shape[2:]) > 1:
            sizes = "×".join(map(str, shape[2:]))
            return f"its outputs are a map of {sizes} places ({node.op_type}), no list of classes"
        elif node.op_type not in _SPATIAL and sum(size > 1 for size in shape[1:]) > 1:
            sizes = "×".join(map(str, shape[1:]))
            return f"its outputs are {sizes} values ({node.op_type}) written out in a row, no list of classes"
    return None


def _agrees(cut: Model, images: np.ndarray, scores: np.ndarray, kind: ScoreKind, threads: int) -> bool:
    """Say whether the softmax of the cut model's logits is what the whole model gives."""
    try:
        logits = Runner(cut, threads=threads).scores(images)
    except (ModelError, DataError):
        return False
    if logits.dtype.kind not in "fV" or logits.size != scores.size or len(logits) != len(scores):
        return False
    logits = logits.reshape(len(scores), -1)
    found, expected = log_probabilities(logits), log_probabilities(scores, kind)
    return bool(np.abs(np.exp(found) - np.exp(expected)).max() <= _SAME)
