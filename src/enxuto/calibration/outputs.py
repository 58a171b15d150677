"""What is lost of each of a model's outputs (`metrics.losses`): found from its graph, shapes and values, or asked for.

A model with one input and one output of classes is as `calibration.answers` says. Of all others every output that holds
real numbers counts: `classes` behind a softmax (also one for each step or place), its logarithm or an ArgMax, and where
there is one row of scores a sample; `binary` behind a Sigmoid; `values` else. Left out, with a remark: whole numbers,
constants, and outputs whose shape follows values, such as boxes behind a NonMaxSuppression. Where nothing else is left,
the values that those are picked from count instead, or the real numbers that whole ones are made of (`whole_numbers`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from enxuto.calibration.answers import Answers, inspect_answers
from enxuto.calibration.measured_model import measured_model
from enxuto.calibration.output_kinds import (
    before_picking,
    holds_chances,
    looks_like_values,
    says_values,
    taken_remark,
)
from enxuto.calibration.output_losses import (
    COLUMNS_APART,
    computed_outputs,
    guess_remark,
    listed_outputs,
    output_loss,
    unpeeled,
)
from enxuto.calibration.row_features import is_features
from enxuto.calibration.sensitivity import run_groups
from enxuto.data.samples import Group, Samples
from enxuto.errors import DataError, UsageError, did_you_mean
from enxuto.metrics.losses import LOSS_KINDS, OutputLoss
from enxuto.onnx_model import Model, fixed_batch
from enxuto.onnx_model.carried import names_classes
from enxuto.runtime import Runner

__all__ = ["JudgedOutputs", "OutputChoices", "find_losses", "run_together"]

OutputChoices = Mapping[str, tuple[str, float]]
"""By output what is asked for, a kind of loss or `ignore`, and its weight."""

_HEAVIEST = 1e6  # weight of an output beside others
_SAMPLES = 16  # that tell what outputs are


@dataclass(frozen=True)
class JudgedOutputs:
    """How a model is judged: what is lost of each output, what was left out and why, and its answers if it has any.

    answers: of a model with one output of classes, which is measured as `calibration.answers` does; else None.
    """

    losses: tuple[OutputLoss, ...]
    remarks: tuple[str, ...] = ()
    answers: Answers | None = None

    def describe(self) -> str:
        """Return what the outputs were taken for, for a remark."""
        if self.answers is not None:
            return self.answers.describe()
        return "; ".join(loss.describe() for loss in self.losses)

    @property
    def doubts(self) -> tuple[str, ...]:
        """The remarks that say that figures mean less than they seem to."""
        return tuple(remark for remark in self.remarks if COLUMNS_APART in remark)

    def measured(self, model: Model) -> Model:
        """Return a model whose outputs are those that are measured."""
        if self.answers is not None:
            return self.answers.logits(computed_outputs(model))
        return measured_model(model, [loss.value for loss in self.losses])


def find_losses(
    model: Model,
    samples: Samples,
    choices: OutputChoices | None = None,
    *,
    threads: int = 0,
    peel: bool = True,
    labelled: bool = False,
    known: Mapping[str, str] | None = None,
    rows: str = "",
    whole: bool = True,
) -> JudgedOutputs:
    """Return how a model's outputs are judged.

    Args:
        model: the original.
        samples: some of them tell what outputs hold.
        choices: by output's name what to take it for.
        threads: of ONNX Runtime.
        peel: whether values in front of a softmax may be measured in place of an output.
        labelled: whether labels of the data count the model's outputs, so that a row of numbers is scores of classes.
        known: by output the kind that other samples of the same model told, which these need not tell again.
        rows: what a row of numbers a sample is taken for, `classes` or `values`, where neither graph nor name tells.
        whole: whether real numbers behind outputs of whole numbers are judged where no other output can be.

    Raises:
        UsageError: a name asked for is no output's, or no output is left.
        DataError: an output holds NaN or infinity.
    """
    given, listed = model, listed_outputs(model)
    model = computed_outputs(model)
    names = [item.name for item in model.proto.graph.output]
    choices = _check_choices(choices or {}, given, names, listed)
    told = _told_of_lists(listed, choices)
    known = known or {}
    one_list = len(names) == 1 and len(samples.columns) == 1 and samples.stacked
    if peel and not choices and one_list and known.get(names[0], "classes") == "classes":
        answers, taken = _class_answers(
            model, samples, threads, labelled=labelled or names[0] in known, rows=rows
        )
        if answers is not None:
            (value,) = (item.name for item in answers.logits(model).proto.graph.output)
            return JudgedOutputs((OutputLoss(names[0], "classes", value),), (*told, *taken), answers)
    groups, found = _run_few(model, samples, threads)
    judging = _Judging(model, choices, known, groups, found, threads, peel, labelled, rows)
    losses, remarks = judging.each_output()
    if not losses and not choices and (picked := _before_picking(model, samples, [*told, *remarks], threads)):
        return picked
    if not losses and whole:
        losses, remarks = judging.each_output(whole=True)
    remarks = [*told, *remarks]
    if not losses:
        why = "; ".join(remarks) or "all are ignored"
        raise UsageError(
            f"no output of the model can be judged: {why}; without data it can be compressed", code="E035"
        )
    return JudgedOutputs(tuple(losses), tuple(remarks))


@dataclass(frozen=True)
class _Judging:
    """What tells how each output of a model is judged; the fields are those of `find_losses`."""

    model: Model
    choices: OutputChoices
    known: Mapping[str, str]
    groups: Sequence[Group]
    found: Sequence[Sequence[np.ndarray]]
    threads: int
    peel: bool
    labelled: bool
    rows: str

    def each_output(self, *, whole: bool = False) -> tuple[list[OutputLoss], list[str]]:
        """Return the losses of outputs that can be judged, and remarks; whole: also by what is behind whole numbers."""
        losses, remarks = [], []
        names = [item.name for item in self.model.proto.graph.output]
        for number, name in enumerate(names):
            kind, weight = self.choices.get(name, ("", 1.0))
            if kind == "ignore":
                continue
            pieces = [outputs[number] for outputs in self.found]
            if not (kind or name in self.known) and _shape_varies(self.groups, pieces):
                remarks.append(f"output {name!r} is left out: its shape follows values")
                continue
            made, remark = output_loss(
                self.model, name, kind or self.known.get(name, ""), self.groups, pieces, self.threads,
                self.labelled, self.rows, whole=whole,
            )  # fmt: skip
            remarks += [remark] if remark else []
            if isinstance(made, OutputLoss) and not self.peel and made.value != name:
                made = unpeeled(self.model, name, made, whole=pieces[0].dtype.kind not in "fV")
            if isinstance(made, str):
                if kind:
                    raise UsageError(f"output {name!r} cannot be judged as {kind}: {made}", code="E035")
                remarks.append(f"output {name!r} is left out: {made}")
            else:
                losses.append(replace(made, weight=weight))
                if len(names) > 1 and not (kind or remark or name in self.known or self.labelled):
                    remarks += guess_remark(made)
        return losses, remarks


def _run_few(model: Model, samples: Samples, threads: int) -> tuple[list[Group], list[list[np.ndarray]]]:
    """Return some of the samples in groups, and all outputs for them."""
    few = run_together(model, samples.head(_SAMPLES), threads=threads)
    try:
        return few.groups(), run_groups(model, few.groups(), batch=_SAMPLES, threads=threads)
    except DataError:  # two samples had a row each in every output, and others have none
        groups = replace(few, stacked=False).groups()
        return groups, run_groups(model, groups, threads=threads)


def _told_of_lists(listed: Mapping[str, Sequence[str]], choices: OutputChoices) -> list[str]:
    """Return remarks on outputs that are no tensors, and not to be ignored."""
    told = []
    for name, values in listed.items():
        judged = [repr(value) for value in values if choices.get(value, ("", 1.0))[0] != "ignore"]
        if judged:
            told.append(
                f"output {name!r} is no tensor; what it is made of is judged in its place: {', '.join(judged)}"
            )
        elif not values:
            told.append(f"output {name!r} is left out: it is no tensor")
    return told


def _before_picking(
    model: Model, samples: Samples, remarks: Sequence[str], threads: int
) -> JudgedOutputs | None:
    """Return how the values are judged that a detector picks its outputs from; None where there are none."""
    names = before_picking(model)
    if not names:
        return None
    try:
        found = find_losses(measured_model(model, names), samples, threads=threads, peel=False, whole=False)
    except UsageError:
        return None
    shown = ", ".join(repr(loss.name) for loss in found.losses)
    return replace(
        found, remarks=(*remarks, f"the values before them that they are picked from are judged: {shown}")
    )


def _shape_varies(groups: Sequence[Group], pieces: Sequence[np.ndarray]) -> bool:
    """Say whether an output has several shapes for samples whose inputs have one."""
    shapes: dict[Any, tuple[int, ...]] = {}
    for group, piece in zip(groups, pieces, strict=True):
        key = tuple(array.shape for array in group.feeds.values())
        if shapes.setdefault(key, piece.shape) != piece.shape:
            return True
    return False


def run_together(model: Model, samples: Samples, *, threads: int = 0) -> Samples:
    """Return samples that are run one by one where a model gives them other outputs together.

    Raises `DataError` where the model does not run on a sample, naming its arrays.
    """
    if samples.feedback:
        _run_named(model, replace(samples.head(1).groups()[0]), samples, threads)
        return samples
    model = computed_outputs(model)
    two = next((group for group in samples.head(64).groups() if group.count > 1), None)
    if two is None:
        _run_named(model, samples.head(1).groups()[0], samples, threads)
        return samples
    two = next(two.parts(2))
    try:
        together = _run_named(model, two, samples, threads)
    except DataError:
        for part in two.parts(1):
            _run_named(model, part, samples, threads)
        return replace(samples, stacked=False)
    apart = [_run_named(model, part, samples, threads) for part in two.parts(1)]
    for number, whole in enumerate(together):
        if not hasattr(whole, "shape"):  # a list, which `find_losses` refuses
            continue
        rows = [outputs[number] for outputs in apart]
        if any(row.shape[:1] != (1,) for row in rows) or whole.shape != np.concatenate(rows).shape:
            return replace(samples, stacked=False)
    return samples


def _run_named(model: Model, group: Group, samples: Samples, threads: int) -> list[np.ndarray]:
    try:
        return run_groups(model, [group], batch=2, threads=threads)[0]
    except DataError as error:
        raise DataError(f"{samples.path}: {error}", code=error.code) from error


def _class_answers(
    model: Model, samples: Samples, threads: int, *, labelled: bool, rows: str
) -> tuple[Answers | None, tuple[str, ...]]:
    """Return what answers a classifier of images gives, None for other models, and a remark on what is doubtful."""
    groups = samples.groups()
    if len(groups) != 1 or groups[0].count < 2:
        return None, ()
    (images,) = groups[0].feeds.values()
    if images.dtype.kind not in "f" and not (images.dtype == np.uint8 and images.ndim == 4):
        return None, ()  # what tells answers from noise needs images
    few = images[: max(32, 2 * fixed_batch(model))]
    found = inspect_answers(model, few, threads=threads)
    if found.reason is not None:
        return None, ()
    if found.kind == "logits" and not found.operator and not labelled and not names_classes(model.proto):
        name, scores = model.proto.graph.output[0].name, Runner(model, threads=threads).scores(few)
        if holds_chances(model, name, [scores]):
            return None, ()
        said = says_values(name)
        # Classes come in rows; what has further axes, though of length 1, is what a layer of features gives.
        values = looks_like_values(name, scores.reshape(len(few), -1)) or (
            said is None and (scores.ndim > 2 or is_features(model, name))
        )
        if rows and said is None and values != (rows == "values"):
            return (None, ()) if rows == "values" else (found, (taken_remark(name, rows),))
        if values:
            return None, ()
    return found, ()


def _check_choices(
    choices: OutputChoices, model: Model, names: Sequence[str], listed: Mapping[str, Sequence[str]]
) -> OutputChoices:
    """Return what is asked of the outputs `names` that are measured; of a sequence it is asked of its tensors.

    Raises `UsageError` for names, kinds and weights that do not exist, and where no output is a tensor.
    """
    known = list(dict.fromkeys([*(item.name for item in model.proto.graph.output), *names]))
    for name, (kind, weight) in choices.items():
        if name not in known:
            raise UsageError(
                f"the model has no output {name!r}{did_you_mean(name, known)}; it has {', '.join(known)}",
                code="E021",
            )
        if kind not in (*LOSS_KINDS, "ignore", ""):
            raise UsageError(
                f"output {name!r} is judged as values, binary, classes or ignore, not {kind!r}", code="E021"
            )
        if not 1 / _HEAVIEST <= weight <= _HEAVIEST:
            raise UsageError(
                f"the weight of output {name!r} is a positive number from {1 / _HEAVIEST:g} to {_HEAVIEST:g}, "
                f"not {weight:g}"
            )
    if not set(names).isdisjoint(listed):
        why = "; ".join(_told_of_lists(listed, {}))
        raise UsageError(
            f"no output of the model can be judged: {why}; without data it can be compressed", code="E035"
        )
    return {
        value: choice
        for name, choice in choices.items()
        for value in listed.get(name) or (name,)
        if value == name or value not in choices
    }
