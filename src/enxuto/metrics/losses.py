"""What is lost of a model's output, for outputs of any kind, and in which directions the loss curves.

Three kinds: `classes`, the divergence of distributions over classes (`metrics.divergence`), averaged over places where
an output has one distribution a place; `binary`, the divergence of a yes from a no for each value, averaged over
values; `values`, the squared error averaged over values, in units of the output's own variance, so that 0.001 is 30 dB.
A model's loss is the weighted mean over its outputs.

`direction` gives random cotangents whose covariance is the loss's second derivative (for the divergences, the Fisher
information), so that one backward run tells the curvature at every layer (Hutchinson 1990).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from enxuto.metrics.divergence import divergences, log_probabilities
from enxuto.metrics.score_kinds import ScoreKind

__all__ = [
    "LOSS_KINDS",
    "LossKind",
    "OutputLoss",
    "decibels",
    "fisher_direction",
    "output_variance",
    "variance_within_columns",
]

LossKind = Literal["classes", "binary", "values"]
LOSS_KINDS: tuple[LossKind, ...] = ("classes", "binary", "values")

_LIKELIEST = 16  # answers of an image
_SURE = 2.0**-24  # what a probability is off 0 and 1 at least: float32's rounding

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class OutputLoss:
    """How the loss of one output is measured.

    name: the output's. kind: `classes`, `binary` or `values`. value: the name of the value that is measured, which may
    lie in front of a softmax. scores_are: of classes and of binary outputs, what the measured value holds. axis: the
    axis of classes; None where all values of a sample are one distribution. weight: in the mean over outputs. operator:
    what says so in the graph; "" where shapes and values do. scale: of values, the output's variance.
    least: of classes, whether the least score wins, as of distances.
    """

    name: str
    kind: LossKind
    value: str
    scores_are: ScoreKind = "logits"
    axis: int | None = None
    weight: float = 1.0
    operator: str = ""
    scale: float = 1.0
    least: bool = False

    def describe(self) -> str:
        """Return a few words for a remark: `'y': classes (Softmax)`."""
        return f"{self.name!r}: {self.kind}" + (f" ({self.operator})" if self.operator else "")

    def each(self, reference: NDArray[Any], found: NDArray[Any], count: int) -> Float64:
        """Return the loss (count,) of every sample; NaN where shapes differ or values are no numbers."""
        if reference.shape != found.shape:
            return np.full(count, math.nan)
        if not reference.size:  # what has no values has lost none
            return np.zeros(count)
        if self.kind == "classes":
            both = (
                log_probabilities(self._by_class(value, count), self.scores_are)
                for value in (reference, found)
            )
            return np.asarray(divergences(*both).reshape(count, -1).mean(axis=1), np.float64)
        one, other = (_rows(value, count) for value in (reference, found))
        if self.kind == "values":
            with np.errstate(over="ignore", invalid="ignore"):
                return np.asarray(np.square(one - other).mean(axis=1) / self.scale, np.float64)
        p, q = (self._chances(value) for value in (one, other))
        lost = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
        return np.asarray(lost.mean(axis=1), np.float64)

    def same(self, reference: NDArray[Any], found: NDArray[Any], count: int) -> Float64 | None:
        """Return the share (count,) of each sample's answers that are the same; None for values, which are none."""
        if self.kind == "values":
            return None
        if reference.shape != found.shape:
            return np.zeros(count)
        if not reference.size:
            return np.ones(count)
        if self.kind == "classes":
            one, other = (self._by_class(value, count) for value in (reference, found))
            equal = (one.argmax(axis=1) == other.argmax(axis=1)) & ~np.isnan(other).any(axis=1)
        else:
            bar = 0.5 if self.scores_are == "probabilities" else 0.0
            one, other = (_rows(value, count) for value in (reference, found))
            equal = ((one > bar) == (other > bar)) & ~np.isnan(other)
        return np.asarray(equal.reshape(count, -1).mean(axis=1), np.float64)

    def yes(self, reference: NDArray[Any], found: NDArray[Any]) -> tuple[int, int]:
        """Return how many places are yes in both, and how many in either; none of outputs that are not binary."""
        if self.kind != "binary" or reference.shape != found.shape:
            return 0, 0
        bar = 0.5 if self.scores_are == "probabilities" else 0.0
        one, other = reference > bar, found > bar
        return int(np.count_nonzero(one & other)), int(np.count_nonzero(one | other))

    def uncertainty(self, value: NDArray[Any], count: int) -> Float64:
        """Return how unsure each sample's answers are: 1 − Σp², 0 for a sure answer; zeros for values, which have none.

        Noise of variance s² in the logits costs a divergence of about s²/2 times that.
        """
        if self.kind == "values" or not value.size:
            return np.zeros(count)
        if self.kind == "classes":
            chances = np.exp(log_probabilities(self._by_class(value, count), self.scores_are))
            unsure = 1 - np.square(chances).sum(axis=1)
        else:
            p = self._chances(_rows(value, count))
            unsure = 2 * p * (1 - p)
        return np.asarray(unsure.reshape(count, -1).mean(axis=1), np.float64)

    def direction(
        self, value: NDArray[Any], count: int, generator: np.random.Generator
    ) -> NDArray[np.float32]:
        """Return a random cotangent of a value (float32, its shape), with the loss's curvature as its covariance."""
        if not value.size:
            return np.zeros(value.shape, np.float32)
        if self.kind == "classes":
            if self.axis is None:
                return fisher_direction(value, generator)
            return self._direction_of_classes(value, count, generator)
        signs = generator.choice([-1.0, 1.0], value.shape)
        many = max(1, value.size // count)
        if self.kind == "values":
            return np.asarray(signs * math.sqrt(2 / (self.scale * many)), np.float32)
        p = self._chances(np.asarray(value, np.float64))
        root = np.sqrt(p * (1 - p))
        # A sigmoid's slope is p(1 − p), so that behind it the root is that of the inverse.
        size = 1 / root if self.scores_are == "probabilities" else root
        return np.asarray(signs * size / math.sqrt(many), np.float32)

    def _direction_of_classes(
        self, value: NDArray[Any], count: int, generator: np.random.Generator
    ) -> NDArray[np.float32]:
        assert self.axis is not None, "one distribution a sample has no axis"
        flat = self._by_class(value, count)
        logs = log_probabilities(flat, self.scores_are)
        found = fisher_direction(logs, generator).astype(np.float64) / math.sqrt(max(1, len(flat) // count))
        if self.scores_are == "probabilities":
            # diag(p) − ppᵀ, a softmax's slope, makes d of d/p, as what d adds up to is 0.
            found /= np.exp(logs)
        moved = np.moveaxis(value, self.axis, -1)
        return np.ascontiguousarray(np.moveaxis(found.reshape(moved.shape), -1, self.axis), np.float32)

    def _by_class(self, value: NDArray[Any], count: int) -> NDArray[Any]:
        """Return scores as (samples × places, classes); rows of a sample that is a batch of several are places."""
        if self.axis is None:
            several = value.ndim > 1 and len(value) > count and len(value) % count == 0
            return value.reshape(len(value) if several else count, -1)
        moved = np.moveaxis(value, self.axis, -1)
        flat = moved.reshape(-1, moved.shape[-1])
        return -flat if self.least else flat

    def _chances(self, value: Float64) -> Float64:
        """Return probabilities of a yes, off 0 and 1 by float32's rounding at least."""
        if self.scores_are != "probabilities":
            value = 0.5 * (1 + np.tanh(0.5 * value))
        return np.asarray(np.clip(value, _SURE, 1 - _SURE), np.float64)


def output_variance(pieces: Sequence[tuple[NDArray[Any], int]]) -> float:
    """Return the variance of an output's values, each sample counting the same.

    pieces: arrays, and how many samples each is of.
    """
    pieces = [(value, count) for value, count in pieces if value.size]
    if not pieces:
        return 0.0
    total = sum(count for _, count in pieces)
    rows = [(_rows(value, count), count) for value, count in pieces]
    mean = sum(float(row.mean()) * count for row, count in rows) / total
    return sum(float(np.square(row - mean).mean()) * count for row, count in rows) / total


def variance_within_columns(pieces: Sequence[tuple[NDArray[Any], int]]) -> float | None:
    """Return the mean variance of each column of rows (N, C) over samples; None for outputs of any other shape.

    pieces: arrays, and how many samples each is of.
    """
    if any(value.ndim != 2 or len(value) != count or not value.size for value, count in pieces):
        return None
    rows = np.concatenate([_rows(value, count) for value, count in pieces])
    return float(rows.var(axis=0).mean()) if len(rows) > 1 else None


def decibels(loss: float) -> float:
    """Return the signal-to-noise ratio of a loss of values, in dB: infinite for 0."""
    return math.inf if loss == 0 else -10 * math.log10(loss) if loss > 0 else math.nan


def fisher_direction(scores: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return random directions (N, C) with covariance diag(p) − ppᵀ, p = softmax(scores): the Fisher information.

    Random signs are drawn, not normal numbers. The 16 likeliest classes, with all others lumped into one, get signs
    along the eigenvectors of their covariance. The others get √q∘ε − q(√q·ε) among themselves, with q their shares of
    the lump. Where two classes share nearly all of the probability, the direction then nearly always has the right
    length, and one backward run a batch is nearly as good as two. (The usual way, sampling labels from p, gives zeros
    for nearly all images that a model is sure of.)
    """
    flat = scores.reshape(len(scores), -1).astype(np.float64)
    p = np.exp(flat - flat.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    top = np.argsort(-p, axis=1, kind="stable")[:, :_LIKELIEST]
    rest = p.copy()
    np.put_along_axis(rest, top, 0.0, axis=1)
    left = rest.sum(axis=1, keepdims=True)
    shares = rest / np.maximum(left, 1e-300)
    lumped = np.concatenate([np.take_along_axis(p, top, axis=1), left], axis=1)
    covariance = np.eye(lumped.shape[1]) * lumped[:, None, :] - lumped[:, :, None] * lumped[:, None, :]
    values, vectors = np.linalg.eigh(covariance)
    signs = generator.choice([-1.0, 1.0], values.shape)
    among = np.einsum("nij,nj->ni", vectors, signs * np.sqrt(np.maximum(values, 0.0)))
    root = np.sqrt(shares) * generator.choice([-1.0, 1.0], p.shape)
    found = shares * among[:, -1:] + np.sqrt(left) * (root - shares * root.sum(axis=1, keepdims=True))
    np.put_along_axis(found, top, among[:, :-1], axis=1)
    return np.asarray(found, np.float32).reshape(scores.shape)


def _rows(value: NDArray[Any], count: int) -> Float64:
    return np.asarray(value, np.float64).reshape(count, -1)
