"""Run models with ONNX Runtime on the CPU: outputs, intermediate activations, sessions.

Batches are split and padded where a model's batch size is fixed. Left out: accelerators and inputs that are no tensors.
"""

from __future__ import annotations

import re
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnxruntime
from onnx import ModelProto

from enxuto.errors import DataError, InFloat32Warning, ModelError, UsageError, did_you_mean
from enxuto.machine.processors import check_threads, processors
from enxuto.onnx_model import Model, bfloat16_as_float32, has_cells_of_halves
from enxuto.onnx_model.inputs import (
    InputInfo,
    as_input,
    check_shape,
    check_sizes,
    check_sizes_known,
    rows_for_batches,
    shape_text,
    sizes_at,
    take_rows,
)

__all__ = ["InputInfo", "Runner", "activations", "advise_on_failure", "session"]

_ONE_FILE = 2**31 - 2**20  # bytes; ONNX Runtime takes a model from memory up to here
_TYPES = {
    "float": np.dtype(np.float32),
    "double": np.dtype(np.float64),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    **{f"{sign}int{bits}": np.dtype(f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "bool": np.dtype(np.bool_),
}
_CPU = "CPUExecutionProvider"
_BFLOAT16 = "tensor(bfloat16)"
_IN_FLOAT32 = (
    "ONNX Runtime cannot run bfloat16 here, so the model runs in float32; its weights stay bfloat16 in files"
)
_CANNOT = "ONNX Runtime cannot run this model"
_MOST_TOLD = 8  # arrays that an error lists
_FATAL_ONLY = 4  # ONNX Runtime's log level; its errors are raised as ours instead


class Runner:
    """A model ready to run; `inputs` describes what it takes, `output_names` and `output_shapes` what it gives.

    A size that is not fixed is None.
    """

    def __init__(
        self,
        model: Model | str | Path | bytes,
        *,
        threads: int = 0,
        extra_outputs: Sequence[str] = (),
        spinning: bool = True,
    ) -> None:
        """`threads` 0 means one per core; `extra_outputs` are names of intermediate values to give out too; `spinning`
        as in `session`. Raises `ModelError` where ONNX Runtime cannot run the model or a name is not one of its values.
        """
        whole = _as_model(model)
        given = {item.name for item in whole.proto.graph.output}
        added = [name for name in dict.fromkeys(extra_outputs) if name not in given]
        self._apart: bool | None = None  # whether rows of several inputs are, where it was asked for
        self._session = session(_with_outputs(whole, added), threads=threads, spinning=spinning)
        self.inputs = [_input_info(item) for item in self._session.get_inputs()]
        self.output_names = [str(item.name) for item in self._session.get_outputs()]
        self.output_shapes = [_sizes_of(item) for item in self._session.get_outputs()]

    def __repr__(self) -> str:
        inputs = ", ".join(f"{info.name} {shape_text(info.shape)} {info.dtype}" for info in self.inputs)
        outputs = ", ".join(
            f"{name} {shape_text(shape)}"
            for name, shape in zip(self.output_names, self.output_shapes, strict=True)
        )
        return f"<Runner: {inputs} → {outputs}>"

    def run(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None) -> list[np.ndarray]:
        """All outputs (or those named) for one set of inputs, as they are."""
        names = self.output_names if outputs is None else list(outputs)
        try:
            with _one_line_errors(DataError, "the model cannot run on this input", "E044"):
                return list(self._session.run(names, {name: _plain(array) for name, array in feeds.items()}))
        except DataError as error:
            takes = {info.name: shape_text(info.shape) for info in self.inputs}
            told = "; ".join(
                f"{name} {array.dtype.name} {shape_text(array.shape)} for {takes.get(name, 'no input')}"
                for name, array in list(feeds.items())[:_MOST_TOLD]
            )
            raise DataError(f"{error} (fed {told or 'nothing'})", code=error.code) from error

    def scores(self, batch: np.ndarray, *, output: str | None = None) -> np.ndarray:
        """First (or named) output, N rows, for a batch (N, …), which is converted to the input's type.

        Raises `DataError` where the batch has not the shape the model takes.
        """
        return self.outputs(batch, [self.output_names[0] if output is None else output])[0]

    def outputs(self, batch: np.ndarray, names: Sequence[str]) -> list[np.ndarray]:
        """Named outputs for a batch (N, …) of the first input, N rows each."""
        info = self._first_input()
        check_shape(info, batch.shape)
        count, fixed = batch.shape[0], info.shape[0]
        batch = as_input(info, batch)
        if fixed is None or fixed == count:
            return self.run({info.name: batch}, names)
        return self._in_batches({info.name: batch}, names, count, fixed)

    def values(self, feeds: Mapping[str, np.ndarray], names: Sequence[str]) -> list[np.ndarray]:
        """Named outputs for a set of inputs; in batches as they take them, of one input or where all fix one size."""
        if len(self.inputs) == 1 and self.inputs[0].shape and set(feeds) == {self.inputs[0].name}:
            return self.outputs(feeds[self.inputs[0].name], names)
        count, fixed = rows_for_batches(self.inputs, feeds)
        if not fixed or not self._rows_are_apart(feeds, names, fixed):
            return self.run(feeds, names)
        return self._in_batches(feeds, names, count, fixed)

    def _rows_are_apart(self, feeds: Mapping[str, np.ndarray], names: Sequence[str], fixed: int) -> bool:
        """Say whether rows are samples, not steps of one: what the first holds changes nothing behind it."""
        if self._apart is None:
            taken = np.arange(fixed) % min(len(array) for array in feeds.values() if array.ndim)
            both = (np.concatenate([[first], taken[1:]]) for first in (taken[0], taken[-1]))
            one, two = (self.run(take_rows(feeds, rows), names) for rows in both)
            pairs = [(_rows(a, fixed)[1:], _rows(b, fixed)[1:]) for a, b in zip(one, two, strict=True)]
            numbers = (pair for pair in pairs if pair[0].dtype.kind in "fiub")
            self._apart = all(np.allclose(a, b, 1e-3, 1e-3, equal_nan=True) for a, b in numbers)
        return self._apart

    def _in_batches(
        self, feeds: Mapping[str, np.ndarray], names: Sequence[str], count: int, fixed: int
    ) -> list[np.ndarray]:
        """Named outputs for `count` rows of all inputs, `fixed` at a time; the last row fills up the last batch."""
        parts = []
        for start in range(0, count, fixed):
            kept = min(fixed, count - start)
            taken = np.minimum(np.arange(start, start + fixed), count - 1)
            parts.append([_rows(out, fixed)[:kept] for out in self.run(take_rows(feeds, taken), names)])
        return [np.concatenate(rows) for rows in zip(*parts, strict=True)]

    def random_feeds(
        self, batch: int, *, seed: int = 0, shape: Mapping[str, Sequence[int]] | None = None
    ) -> dict[str, np.ndarray]:
        """Standard-normal (for integers: zero) inputs for a batch size.

        `shape` gives, by input name, the whole shape of inputs that have sizes besides the batch that are not
        fixed. Raises `DataError` where one is missing, or where the model's batch size is fixed to another.
        """
        if batch < 1:
            raise DataError(f"a batch has at least 1 input, not {batch}")
        check_sizes_known([info for info in self.inputs if info.name not in (shape or {})])
        generator = np.random.default_rng(seed)
        feeds = {}
        for info in self.inputs:
            sizes = (shape or {}).get(info.name) or sizes_at(info, batch)
            check_sizes(info, sizes)
            values = generator.standard_normal(tuple(sizes), dtype=np.float32)
            is_float = info.dtype.kind in "fV" or info.dtype == ml_dtypes.bfloat16
            feeds[info.name] = values.astype(info.dtype) if is_float else np.zeros(tuple(sizes), info.dtype)
        return feeds

    def _first_input(self) -> InputInfo:
        if len(self.inputs) != 1:
            names = ", ".join(info.name for info in self.inputs) or "none"
            raise DataError(
                f"the model must have one input to run on batches; it has {len(self.inputs)} ({names})",
                code="E044",
            )
        if not self.inputs[0].shape:
            raise DataError(
                f"input {self.inputs[0].name!r} is a single number; batches need an axis to lie along",
                code="E044",
            )
        return self.inputs[0]


def activations(
    model: Model | str | Path | bytes, names: Sequence[str], batch: np.ndarray
) -> dict[str, np.ndarray]:
    """The intermediate values `names` for a batch (N, …) of the first input."""
    runner = Runner(model, extra_outputs=names)
    return dict(zip(names, runner.outputs(batch, names), strict=True))


def _plain(array: np.ndarray) -> np.ndarray:
    """Return an array as a session takes it, which has inputs of float32 in place of bfloat16."""
    return array.astype(np.float32) if array.dtype == ml_dtypes.bfloat16 else array


def _rows(out: np.ndarray, count: int) -> np.ndarray:
    if not isinstance(out, np.ndarray):
        raise DataError(f"an output that is no tensor has no row for each of the {count} inputs")
    if out.ndim == 0 or out.shape[0] != count:
        raise DataError(
            f"an output of shape {shape_text(out.shape)} has no row for each of the {count} inputs"
        )
    return out


def _as_model(model: Model | str | Path | bytes) -> Model:
    if isinstance(model, Model):
        return model
    return Model.from_bytes(model) if isinstance(model, bytes) else Model.read(model)


def _with_outputs(model: Model, names: Sequence[str]) -> Model:
    """The model with more outputs; ONNX Runtime infers their types."""
    if not names:
        return model
    made = {name for node in model.proto.graph.node for name in node.output if name}
    missing = [name for name in names if name not in made]
    if missing:
        raise ModelError(
            f"the model computes no value called {missing[0]!r}{did_you_mean(missing[0], made)}", code="E021"
        )
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    for name in names:
        proto.graph.output.add(name=name)
    return model.with_proto(proto)


def session(
    model: Model,
    *,
    threads: int = 0,
    spinning: bool = True,
    providers: str | Sequence[str | tuple[str, dict[str, Any]]] | None = None,
    options: onnxruntime.SessionOptions | None = None,
) -> onnxruntime.InferenceSession:
    """A plain ONNX Runtime session, quiet. From 2 GB on the model passes through a temporary file.

    A model in bfloat16 that cannot run so runs in float32, of which an `InFloat32Warning` tells.

    Args:
        model: the model.
        threads: threads on the CPU; 0 takes one per processor.
        spinning: whether threads without work keep their processor for a while, as ONNX Runtime has it.
        providers: what it runs on; by default the CPU.
        options: ONNX Runtime's own, taken as they are; without them `threads` and no log.

    Raises:
        ModelError: ONNX Runtime refuses the model.
        UsageError: a provider is not installed, `threads` is negative, or given beside `options`.
    """
    check_threads(threads)
    if options is not None and not isinstance(options, onnxruntime.SessionOptions):
        raise UsageError(f"options= takes onnxruntime.SessionOptions, not {type(options).__name__}")
    if options is not None and threads:
        raise UsageError(
            "threads= is a part of options=, as intra_op_num_threads; give one of them", code="E022"
        )
    chosen = [_CPU] if providers is None else providers
    chosen = [chosen] if isinstance(chosen, str) else list(chosen)
    names = [provider if isinstance(provider, str) else provider[0] for provider in chosen]
    known = onnxruntime.get_available_providers()
    for name in names:
        if name not in known:
            raise UsageError(
                f"ONNX Runtime has no provider {name!r} here{did_you_mean(name, known)}; there are {', '.join(known)}",
                code="E091",
            )
    if options is None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or processors()
        options.log_severity_level = _FATAL_ONLY
        if not spinning:
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if has_cells_of_halves(model):  # of unknown shape: a later pass of ONNX Runtime 1.31 crashes on them
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    try:
        made = _new_session(model, options, chosen)
    except ModelError:
        wide = bfloat16_as_float32(model)
        if wide is None:
            raise
        made = _new_session(wide, options, chosen)
    else:  # arrays of bfloat16 can neither be given to a session nor be had from one
        own = any(item.type == _BFLOAT16 for item in (*made.get_inputs(), *made.get_outputs()))
        wide = bfloat16_as_float32(model) if own and set(names) == {_CPU} else None
        made = made if wide is None else _new_session(wide, options, chosen)
    if wide is not None:
        warnings.warn(_IN_FLOAT32, InFloat32Warning, stacklevel=2)
    return made


def _new_session(
    model: Model, options: onnxruntime.SessionOptions, providers: Sequence[str | tuple[str, dict[str, Any]]]
) -> onnxruntime.InferenceSession:
    with _one_line_errors(ModelError, _CANNOT, "E034"):
        if model.size_bound() < _ONE_FILE:
            return onnxruntime.InferenceSession(model.to_bytes(), options, providers=providers)
        with tempfile.TemporaryDirectory(prefix="enxuto-") as folder:
            path = Path(folder) / "model.onnx"
            model.write(path)
            return onnxruntime.InferenceSession(str(path), options, providers=providers)


@contextmanager
def advise_on_failure(what_to_do: str) -> Iterator[None]:
    """Add what can be done to the error for a model that ONNX Runtime cannot run (a convolution of doubles, say)."""
    try:
        yield
    except ModelError as error:
        if _CANNOT not in str(error) or str(error).endswith(what_to_do):
            raise
        raise ModelError(f"{error}; {what_to_do}", code=error.code) from error


@contextmanager
def _one_line_errors(kind: type[ModelError | DataError], what: str, code: str) -> Iterator[None]:
    """ONNX Runtime's errors, which have no common class of their own, as ours with one line."""
    try:
        yield
    except (ModelError, DataError):
        raise
    except Exception as error:
        if type(error).__module__.split(".")[0] != "onnxruntime" and not isinstance(
            error, (RuntimeError, ValueError)
        ):
            raise
        text = re.sub(r"\s+", " ", str(error)).strip()
        raise kind(f"{what}: {text[:400]}", code=code) from error


def _input_info(item: onnxruntime.NodeArg) -> InputInfo:
    match = re.fullmatch(r"tensor\((\w+)\)", item.type)
    if match is None or match[1] not in _TYPES:
        raise ModelError(
            f"input {item.name!r} is {item.type}; only tensors of numbers can be fed", code="E032"
        )
    first = item.shape[0] if item.shape and isinstance(item.shape[0], str) else ""
    return InputInfo(item.name, _sizes_of(item), _TYPES[match[1]], first)


def _sizes_of(item: onnxruntime.NodeArg) -> tuple[int | None, ...]:
    return tuple(size if isinstance(size, int) and size >= 0 else None for size in item.shape)
