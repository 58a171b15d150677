"""`compress` without data: a model becomes a `CompressedModel`.

A tensor's role decides whether it is quantized, a scheme (`quantize.schemes`) which quantizer it gets. All else is kept
exactly. Not here: how levels are chosen (`rounding`), calibrated rounding, search within a stated loss.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from enxuto.codec import entropy
from enxuto.compression.judge import Judgement
from enxuto.compression.promise import Promise, StepsReport, keep_promise
from enxuto.compression.response import NoiseMeter, Response, find_response, measure_steps, spread_steps
from enxuto.compression.selection import DEFAULT_ROLES, quantizable_weights, with_biases
from enxuto.compression.size_search import SizeSearch
from enxuto.enx.assemble import Assembly
from enxuto.enx.file import CompressedModel
from enxuto.enx.folding import folding_facts
from enxuto.enx.learned import learned_facts, parameters
from enxuto.enx.table import check_metadata
from enxuto.errors import BudgetError, UsageError, did_you_mean
from enxuto.machine.processors import processors
from enxuto.onnx_model import Model, Role, check_finite, fold_batch_norm, fold_constants
from enxuto.progress import Progress
from enxuto.quantize.scalar import Quantizer
from enxuto.quantize.schemes import (
    BalancedSteps,
    MeasuredSteps,
    NetworkStats,
    Scheme,
    TensorStats,
    is_representable,
    statistics,
)
from enxuto.rounding.data_free import Rounding, check_quantizer, check_rounding, round_weight

__all__ = ["DEFAULT_SCHEME", "STEPS", "Steps", "check_steps", "compress", "measure_tensors"]

Steps: TypeAlias = Literal["checked", "balanced", "measured"]
STEPS: tuple[Steps, ...] = get_args(Steps)

DEFAULT_SCHEME = BalancedSteps(scale=0.045)
"""Balanced steps: answers change on less than 1 % of the images on three networks of `docs/results.md`."""

_TRIALS = 12  # files made in a search for bits; three or four suffice as a rule
_PATIENCE = 4  # tries before the coarsest steps of all decide whether the bits can be reached
_REACH = 30.0  # log2 of the factors on steps that a search tries


def compress(
    model: Model | str | Path,
    scheme: Scheme | None = None,
    *,
    bits: float | None = None,
    rounding: Rounding | None = None,
    roles: Collection[Role | str] = DEFAULT_ROLES,
    keep_exact: Sequence[str] = (),
    fold_bn: bool | None = None,
    metadata: dict[str, Any] | None = None,
    threads: int = 0,
    progress: Progress | None = None,
    steps: Steps = "balanced",
    tell: Callable[[StepsReport], None] | None = None,
) -> CompressedModel:
    """Quantize the weights of an ONNX model without any data, and entropy-code them.

    Args:
        model: a `Model`, or the path of an ONNX file (documentation strings are then left out).
        scheme: which quantizer each tensor gets; by default steps chosen for unchanged answers (`DEFAULT_SCHEME`).
        bits: search the scheme's steps so that the whole file has at most that many bits per parameter. Where weights
            as they are take no more, they stay as they are.
        rounding: `trellis` (dependent quantization, smallest at equal error, default without a scheme), `nearest`
            (default with one, decoded a bit faster) or `rate` (weighs errors against the coder's bits).
        roles: which weights are quantized.
        keep_exact: names (with * and ?) of tensors that are not quantized, whatever their role.
        fold_bn: fold batch normalisation into the convolutions before it; False also leaves weights that the graph
            computes of others where they are, as keep_exact and a scheme do. By default where steps are measured, or
            checked for a size.
        metadata: stored in the file as JSON.
        threads: 0 takes one per processor; the result does not depend on it.
        progress: called with stage, amount done, total.
        steps: without a scheme, `balanced` by statistics of the weights alone; `checked`, with one factor where the
            model's outputs on synthetic inputs keep less than the default promises, or far more (`promise`), and to a
            size (`bits`) with a factor for each tensor; or `measured`, with factors by which they just keep it
            (`response`). Where the model cannot be run, its steps are balanced.
        tell: called with how steps were chosen, where that was checked or tried to be.

    Raises:
        ModelError: the model cannot be read, or weights are not finite.
        UsageError: options do not fit.
        BudgetError: `bits` cannot be reached.
    """
    check_metadata(dict(metadata or {}))
    chosen = check_rounding(("nearest" if scheme else "trellis") if rounding is None else rounding)
    read = model if isinstance(model, Model) else Model.read(model)
    facts, counted, response = dict(metadata or {}), 0, None
    parts = (
        bits is not None and scheme is None
    )  # where every byte counts, parts of features are quantized too
    if scheme is None and not keep_exact and fold_bn is not False:
        folded_model, computed = fold_constants(read)
        if computed:
            facts |= learned_facts(read) | folding_facts(norms=False, constants=True)  # of what is given
            read, counted = folded_model, facts["parameters"]
    names = quantizable_weights(read, roles, keep_exact, parts=parts)
    apart = check_steps(steps) == "measured" or bits is not None  # a factor for each tensor, not one for all
    if scheme is None and steps != "balanced" and names:
        if progress is not None:
            progress("measuring the response", 0, 1)
        response, reason = find_response(
            read, facts, threads=threads if steps == "measured" else 1, many=not apart
        )
        if steps == "measured":
            facts["steps"] = {"balanced": reason} if response is None else {"inputs": response.inputs}
        if response is None and tell is not None:
            tell(StepsReport(reason=reason))
    if response is not None and apart:
        names = quantizable_weights(read, roles := with_biases(roles), keep_exact, parts=parts)
    # What is to stay exact, or to be quantized by itself, is folded into nothing unless that is asked for.
    free = response is not None and apart and not keep_exact and Role.NORM not in roles
    if fold_bn or (fold_bn is None and free):
        facts |= {} if counted else learned_facts(read)
        counted = facts["parameters"]
        read, folded = fold_batch_norm(read)
        names = quantizable_weights(read, roles, keep_exact, parts=parts)
        if folded or fold_bn:
            facts["folded"] = True  # so that `verify` folds the original too
    if chosen == "rate":
        facts["rounding"] = chosen  # `verify` then allows a whole step
    work = _DataFreeCompression(
        read, names, scheme or DEFAULT_SCHEME, facts, threads or processors(), progress, chosen, counted
    )
    if response is None or not work.names:
        return work.run() if bits is None else work.search(bits)
    made, judged, report = work.run_by_response(response, bits, steps)
    if tell is not None:
        tell(report)
    if (doubt := response.doubt(judged, report.kept)) is not None:
        warnings.warn(doubt, stacklevel=2)
    return made


def check_steps(steps: str) -> Steps:
    """Return one of `STEPS`; any other word is a `UsageError`."""
    for known in STEPS:
        if steps == known:
            return known
    raise UsageError(
        f"steps are {' or '.join(STEPS)}, not {steps!r}{did_you_mean(str(steps), STEPS)}", code="E021"
    )


def measure_tensors(model: Model, names: Iterable[str]) -> tuple[dict[str, TensorStats], NetworkStats]:
    """Return `statistics` of those weights among `names` that can be quantized (`is_representable`)."""
    tensors, network = statistics(model, names)
    usable = [name for name, tensor in tensors.items() if is_representable(tensor.info.dtype, tensor.largest)]
    return (tensors, network) if len(usable) == len(tensors) else statistics(model, usable)


@dataclass
class _DataFreeCompression:
    """One compression: what stays the same while a search tries several schemes."""

    model: Model
    names: list[str]
    scheme: Scheme
    metadata: dict[str, Any]
    threads: int
    progress: Progress | None
    rounding: Rounding = "nearest"
    parameters: int = 0  # by which bits are counted; 0: the model's
    tensors: dict[str, TensorStats] = field(init=False)
    network: NetworkStats = field(init=False)

    def __post_init__(self) -> None:
        for info in self.model.infos():
            if info.role is not Role.OTHER and info.name not in self.names:
                check_finite(info.name, self.model.load(info.name), mask=info.operand)
        self.tensors, self.network = measure_tensors(self.model, self.names)
        self.names = list(self.tensors)
        self.parameters = self.parameters or parameters(self.model)
        for name in self.names[
            :1
        ]:  # before a search mistakes a rounding that does not fit for a step too fine
            check_quantizer(self.scheme.quantizer(self.tensors[name], self.network), self.rounding)

    def run_by_response(
        self, response: Response, bits: float | None, steps: Steps
    ) -> tuple[CompressedModel, Judgement, StepsReport]:
        """Choose the scheme by the model's response, quantize and code; return how it was chosen too."""
        base = self.scheme
        assert isinstance(base, BalancedSteps), "other schemes are the caller's choice"
        meter = NoiseMeter(self.model, response, self.tensors, self.network)

        def tell(done: int, of: int) -> None:
            self._report("measuring the response", done, of)

        if steps == "checked" and bits is None:
            return keep_promise(meter, base, self._run_scaled, tell)
        if steps == "measured":
            scheme = measure_steps(meter, base, tell)
            self.metadata["steps"]["octaves_finer"] = round(math.log2(base.scale / scheme.base.scale), 2)
        else:
            scheme = spread_steps(meter, base, tell)
        self.scheme = scheme
        made = self.run() if bits is None else self.search(bits)
        judged = response.judge(made.to_model())
        return made, judged, Promise(response).report(judged)

    def _run_scaled(self, power: int) -> CompressedModel:
        """Return the file whose steps are 2^(power/4) times the usual ones."""
        assert isinstance(DEFAULT_SCHEME, BalancedSteps), "which can be scaled"
        self.scheme = DEFAULT_SCHEME.scale_steps(2.0 ** (power / 4))
        self.metadata.pop("steps", None)
        if power:
            self.metadata["steps"] = {"octaves_finer": -power / 4}
        return self.run()

    def run(self) -> CompressedModel:
        """Quantize and code everything."""
        assembly = Assembly(self.model, self.metadata, self.threads)
        assembly.add_each(
            self.names, self._quantized_tensor, lambda done, of: self._report("coding", done, of)
        )
        return assembly.finish(spare=isinstance(self.scheme, (BalancedSteps, MeasuredSteps)))

    def search(self, bits: float) -> CompressedModel:
        """Return the compression with the finest steps found whose file has at most `bits` bits per parameter.

        Steps are scaled by 2**power. The first power comes from the levels' entropy, further ones from the sizes
        of the files tried: between one too large and one that fits, else by what a halved step costs a weight.
        """
        if not 0 < bits < math.inf:
            raise UsageError(f"bits per weight are a positive number, not {bits}")
        if not self.parameters:
            raise UsageError("the model has no weights to spend bits on", code="E036")
        start, budget = self.scheme, bits * self.parameters
        if budget >= 4 * sum(info.bytes for info in self.model.infos()):  # half of what it takes now
            exact = Assembly(self.model, self.metadata, self.threads).finish()
            if 8 * exact.file_bytes <= budget:
                return exact  # nothing is finer
        search = SizeSearch(budget, self._next_outside, margin=0.1, closest=1e-4)
        best: CompressedModel | None = None
        too_fine: UsageError | None = None
        power: float | None = self._first_power(start, budget)
        while power is not None and search.tries < _TRIALS:
            self.scheme = start.scale_steps(2.0**power)
            try:
                found = self.run()
                measured, too_fine = 8.0 * found.file_bytes, None
            except UsageError as error:  # a step too fine for 31-bit levels
                too_fine, measured = error, 2 * budget
            if measured <= budget:
                best = found if best is None or found.file_bytes > best.file_bytes else best
            power = search.next_power(power, measured)
        if best is None:
            raise too_fine or self._unreachable(bits, int(budget / 8))
        return best

    def _unreachable(self, bits: float, size: int) -> BudgetError:
        """Return the error that says why a size is beyond reach, and what would help."""
        reason = f"{bits:g} bits per weight cannot be reached ({size:,} bytes): "
        whole = sum(info.bytes for info in self.model.infos() if info.dtype.kind in "iu")
        if whole > sum(info.bytes for info in self.model.infos()) / 2:
            return BudgetError(
                f"{reason}most of this model ({whole:,} bytes) is whole numbers, which are coded without loss; where "
                "it is a quantized model, start from the model in float32, or leave out the size"
            )
        if set(quantizable_weights(self.model, list(Role), [], parts=True)) <= set(self.names):
            return BudgetError(
                f"{reason}tensors that are too small to be quantized, the graph and the table of tensors take more; "
                "ask for a larger size"
            )
        return BudgetError(
            f"{reason}what is not quantized takes more; more roles= (bias, norm, other) or fewer keep_exact= would help"
        )

    def _next_outside(self, power: float, excess: float, number: int) -> float | None:
        """Return the power after one with which the file exceeds the size aimed at by so many bits.

        A halved step costs a weight a bit, or less; each try goes twice as far as the one before.
        """
        if excess > 0 and power == _REACH:
            return None  # there are no coarser steps
        if number == _PATIENCE and excess > 0:
            return _REACH
        step = excess / max(1, self._quantized)
        return float(min(_REACH, max(-_REACH, power + step * 1.25 * 2 ** (number - 1))))

    @property
    def _quantized(self) -> int:
        return sum(one.info.elements for one in self.tensors.values())

    def _first_power(self, scheme: Scheme, budget: float) -> float:
        """Return log2 of the factor on the steps with which the levels' entropy just fits `budget` bits."""
        low, high = -_REACH, _REACH
        for number in range(14):
            middle = (low + high) / 2
            self._report("searching steps", number, 14)
            if self._entropy_bits(scheme.scale_steps(2.0**middle)) > budget:
                low = middle
            else:
                high = middle
        return high

    def _entropy_bits(self, scheme: Scheme) -> float:
        total = 0.0
        for name in self.names:
            info = self.tensors[name].info
            try:
                levels = scheme.quantizer(self.tensors[name], self.network).quantize(self._weight(name))
            except UsageError:  # a step too fine for 31-bit levels
                return float("inf")
            total += entropy(levels) * info.elements
        return total

    def _quantized_tensor(self, name: str) -> tuple[Quantizer, np.ndarray]:
        quantizer = self.scheme.quantizer(self.tensors[name], self.network)
        return round_weight(self._weight(name), quantizer, self.rounding)

    def _weight(self, name: str) -> np.ndarray:
        return np.asarray(self.model.load(name), np.float32)

    def _report(self, what: str, done: int, total: int) -> None:
        if self.progress is not None:
            self.progress(what, done, total)
