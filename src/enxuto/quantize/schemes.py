"""Which quantizer each tensor gets: schemes, from a few statistics of the weights and no data.

A scheme maps a tensor's statistics to a quantizer. `SameQuantizer` gives all tensors the same one (the source's grid),
`RangeSteps` divides each range into 2**i steps, `BalancedSteps` spreads a noise budget over tensors and channels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from enxuto.errors import UsageError
from enxuto.onnx_model import Model, WeightInfo, check_finite
from enxuto.quantize.scalar import DeadZone, Minifloat, MuLaw, Quantizer, short_float32

__all__ = [
    "BalancedSteps",
    "FittedMinifloat",
    "MeasuredSteps",
    "NetworkStats",
    "Per",
    "RangeSteps",
    "RmsSteps",
    "SameQuantizer",
    "Scheme",
    "TensorStats",
    "is_representable",
    "round_steps",
    "statistics",
]

Per: TypeAlias = Literal["network", "tensor", "channel"]

_BLOCK = 1 << 20
_STEP_MANTISSA = 3
_SMALLEST, _LARGEST = (
    2.0**-126,
    2.0**126,
)  # steps: weight decay drives tensors to 1e-40, where float32 has no step
_LEAST_DOUBLE = 2.0**-96  # below, steps of a fine quantizer would leave float32


@dataclass(frozen=True)
class TensorStats:
    """What a scheme may know of a weight: its place, and root mean square and largest magnitude, by channel too."""

    info: WeightInfo
    rms: float
    largest: float
    channel_rms: npt.NDArray[np.float64]
    channel_largest: npt.NDArray[np.float64]


class Scheme(Protocol):
    """A rule from statistics to quantizers."""

    def quantizer(self, tensor: TensorStats, network: NetworkStats) -> Quantizer:
        """Return the quantizer of one tensor; `network` sums up all tensors to be quantized."""
        ...

    def scale_steps(self, factor: float) -> Scheme:
        """Return the same scheme with all steps multiplied by `factor`; `UsageError` where steps are fixed."""
        ...


@dataclass(frozen=True)
class NetworkStats:
    """Root mean square, largest magnitude and size of the largest tensor, over all tensors to be quantized."""

    rms: float
    largest: float
    most_elements: int


def statistics(model: Model, names: Iterable[str]) -> tuple[dict[str, TensorStats], NetworkStats]:
    """Measure the weights `names`, one at a time; NaN and infinite values are a `ModelError` naming the tensor."""
    tensors = {}
    for name in names:
        info = model.info(name)
        array = model.load(name)
        check_finite(name, array)
        tensors[name] = _measure(info, array)
    elements = sum(one.info.elements for one in tensors.values())
    energy = sum(one.rms**2 * one.info.elements for one in tensors.values())
    return tensors, NetworkStats(
        rms=math.sqrt(energy / elements) if elements else 0.0,
        largest=max((one.largest for one in tensors.values()), default=0.0),
        most_elements=max((one.info.elements for one in tensors.values()), default=0),
    )


def is_representable(dtype: np.dtype, largest: float) -> bool:
    """Say whether weights of this type and largest magnitude can be quantized: decoders compute in float32.

    Those near the largest number of their type, which rounding up could pass, and doubles beyond what float32 has on
    either side, cannot; they stay exact.
    """
    if dtype == np.float16:
        return largest <= 2.0**14
    return largest <= _LARGEST and not (dtype == np.float64 and 0 < largest < _LEAST_DOUBLE)


def _measure(info: WeightInfo, array: np.ndarray) -> TensorStats:
    axis = info.axis if info.axis is not None and array.ndim > 1 else None
    # (channels, rest): a view where the axis is the first, a copy of one tensor otherwise
    rows = (
        array.reshape(1, -1) if axis is None else np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1)
    )
    energy = np.zeros(len(rows))
    largest = np.zeros(len(rows))
    width = max(1, _BLOCK // max(1, len(rows)))
    for start in range(0, rows.shape[1], width):
        block = rows[:, start : start + width].astype(np.float64)
        energy += np.einsum("ij,ij->i", block, block)
        largest = np.maximum(largest, np.abs(block).max(axis=1, initial=0))
    return TensorStats(
        info=info,
        rms=math.sqrt(float(energy.sum()) / max(1, array.size)),
        largest=float(largest.max(initial=0)),
        channel_rms=np.sqrt(energy / max(1, rows.shape[1])),
        channel_largest=largest,
    )


def round_steps(steps: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Round steps to three bits below the leading one: within 6 %, and a byte or less each in the file."""
    fraction, exponent = np.frexp(np.clip(steps, _SMALLEST, _LARGEST))
    rounded = np.rint(fraction * 2 ** (_STEP_MANTISSA + 1)) / 2 ** (_STEP_MANTISSA + 1)
    return np.asarray(np.ldexp(rounded, exponent), np.float64)


@dataclass(frozen=True)
class SameQuantizer:
    """The same quantizer for every tensor: one step for the whole network, as in the source documents."""

    same: Quantizer

    def quantizer(self, tensor: TensorStats, network: NetworkStats) -> Quantizer:
        """Return that quantizer."""
        return self.same

    def scale_steps(self, factor: float) -> Scheme:
        """Scale a dead-zone step; others are a `UsageError`."""
        if isinstance(self.same, DeadZone) and isinstance(self.same.step, float):
            return SameQuantizer(replace(self.same, step=short_float32(self.same.step * factor)))
        raise UsageError(
            f"the {self.same.kind} quantizer has no step to search; bits need a dead-zone quantizer",
            code="E022",
        )


@dataclass(frozen=True)
class RangeSteps:
    """2**levels steps over the range of the tensor or channel, [−largest, largest].

    `kind` dead-zone: Δ = 2·largest/2**levels. `kind` mu-law: x_max = largest (per tensor). `clip` has no effect
    here: nothing lies outside.
    """

    levels: int
    per: Per
    kind: Literal["dead-zone", "mu-law"] = "dead-zone"
    delta: float = 0.5
    mu: float | None = None

    def quantizer(self, tensor: TensorStats, network: NetworkStats) -> Quantizer:
        """Return the quantizer of one tensor."""
        whole = network.largest if self.per == "network" else tensor.largest
        top = whole or 1.0
        if self.kind == "mu-law":
            if self.per == "channel":
                raise UsageError(
                    "μ-law quantizers are per network or per tensor; channels need a dead-zone one",
                    code="E022",
                )
            return MuLaw(2**self.levels, self.mu or float(2**self.levels), short_float32(top))
        if self.per == "channel" and tensor.info.axis is not None:
            tops = np.where(tensor.channel_largest > 0, tensor.channel_largest, top)
            return _per_channel(2 * tops / 2**self.levels, self.delta, tensor)
        return DeadZone(_clip_step(2 * top / 2**self.levels), self.delta)

    def scale_steps(self, factor: float) -> Scheme:
        """Refuse: the steps follow from the number of levels."""
        raise UsageError("levels and bits both fix the step; give one of them", code="E022")


@dataclass(frozen=True)
class RmsSteps:
    """Δ = step · root mean square of the network, tensor or channel."""

    step: float
    per: Per
    delta: float = 0.5

    def quantizer(self, tensor: TensorStats, network: NetworkStats) -> Quantizer:
        """Return the quantizer of one tensor."""
        rms = (network.rms if self.per == "network" else tensor.rms) or 1.0
        if self.per == "channel" and tensor.info.axis is not None:
            return _per_channel(
                self.step * np.where(tensor.channel_rms > 0, tensor.channel_rms, rms), self.delta, tensor
            )
        return DeadZone(_clip_step(self.step * rms), self.delta)

    def scale_steps(self, factor: float) -> Scheme:
        """Scale the step."""
        return replace(self, step=self.step * factor)


@dataclass(frozen=True)
class BalancedSteps:
    """Steps that spread the loss: finer for small tensors, and between one step per tensor and one per channel.

    A tensor's noise, relative to its power, disturbs the output by about the same amount whatever the tensor; a
    tensor of n weights pays for each halving of its step with n bits. Minimising the bits for a fixed sum of
    relative noise (Lagrange) gives Δ ∝ rms·√n. Channels of small weights are given the geometric mean of the
    tensor's step and their own, since normalisation often amplifies them again. Δ = scale·√(rms·channel rms)·
    (n/n_max)**exponent.
    """

    scale: float
    per: Per = "channel"
    delta: float = 0.5
    exponent: float = 0.5

    def quantizer(self, tensor: TensorStats, network: NetworkStats) -> Quantizer:
        """Return the quantizer of one tensor."""
        if self.per == "network":
            return DeadZone(_clip_step(self.scale * (network.rms or 1.0)), self.delta)
        rms = tensor.rms or 1.0
        share = self.scale * (tensor.info.elements / network.most_elements) ** self.exponent
        if self.per == "tensor" or tensor.info.axis is None or len(tensor.channel_rms) < 2:
            return DeadZone(_clip_step(float(round_steps(np.array(share * rms)))), self.delta)
        channels = np.where(tensor.channel_rms > 0, tensor.channel_rms, rms)
        return _per_channel(share * np.sqrt(channels * rms), self.delta, tensor)

    def scale_steps(self, factor: float) -> BalancedSteps:
        """Scale all steps."""
        return replace(self, scale=self.scale * factor)


@dataclass(frozen=True)
class MeasuredSteps:
    """Balanced steps, each tensor's times 2^(e/4), as a network's response says (`compression.response`).

    exponents: e by tensor name; 0 where a name is missing.
    """

    base: BalancedSteps
    exponents: Mapping[str, int] = field(default_factory=dict)

    def quantizer(self, tensor: TensorStats, network: NetworkStats) -> Quantizer:
        """Return the quantizer of one tensor."""
        factor = 2.0 ** (self.exponents.get(tensor.info.name, 0) / 4)
        return self.base.scale_steps(factor).quantizer(tensor, network)

    def scale_steps(self, factor: float) -> MeasuredSteps:
        """Scale all steps."""
        return replace(self, base=self.base.scale_steps(factor))


@dataclass(frozen=True)
class FittedMinifloat:
    """A minifloat (p, q) scaled by the power of two with which its largest value just reaches the weights'."""

    p: int
    q: int
    per: Per = "tensor"

    def quantizer(self, tensor: TensorStats, network: NetworkStats) -> Quantizer:
        """Return the quantizer of one tensor."""
        if self.per == "channel":
            raise UsageError(
                "minifloats are per network or per tensor; channels need a dead-zone quantizer", code="E022"
            )
        return self.fit(network.largest if self.per == "network" else tensor.largest)

    def fit(self, largest: float) -> Minifloat:
        """Return the format whose largest value just reaches `largest`; 0 counts as 1."""
        reach = float(Minifloat(self.p, self.q).values[-1])
        power = math.ceil(math.log2(largest or 1.0) - math.log2(reach))
        return Minifloat(self.p, self.q, 2.0 ** max(-60, power))

    def scale_steps(self, factor: float) -> Scheme:
        """Refuse: a format has no step."""
        raise UsageError("a minifloat has no step to search; bits need a dead-zone quantizer", code="E022")


def _clip_step(step: float) -> float:
    return short_float32(min(max(step, _SMALLEST), _LARGEST))


def _per_channel(steps: npt.NDArray[np.float64], delta: float, tensor: TensorStats) -> DeadZone:
    return DeadZone(tuple(float(step) for step in round_steps(steps)), delta, tensor.info.axis)
