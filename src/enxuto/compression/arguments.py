"""What callers of `enxuto.compress` may give, turned into what the rooms take; wrong types are `UsageError`s."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from os import PathLike, fspath
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from enxuto.data import Dataset, Preprocess, dataset_of_arrays, open_dataset, preset
from enxuto.data.columns import columns_of
from enxuto.data.feeding import fit_samples, holds_named_arrays, read_samples
from enxuto.data.listed import gather, is_pair, listed_images, name_arrays
from enxuto.data.samples import Samples
from enxuto.enx.learned import parameters
from enxuto.errors import UsageError
from enxuto.onnx_model import Model, Role, check_feedback, find_states, id_limits
from enxuto.quantize.scalar import Quantizer
from enxuto.quantize.schemes import SameQuantizer, Scheme
from enxuto.runtime import Runner

__all__ = [
    "DataLike",
    "ModelLike",
    "PreprocessLike",
    "SizeAsked",
    "byte_size",
    "check_count",
    "check_metadata_type",
    "check_number",
    "named_samples",
    "to_data",
    "to_dataset",
    "to_feedback",
    "to_model",
    "to_named",
    "to_names",
    "to_outputs",
    "to_preprocess",
    "to_scheme",
    "to_size",
]

ModelLike: TypeAlias = str | PathLike[str] | Model | ModelProto | bytes
"""The path of an ONNX file, a `Model`, an `onnx.ModelProto`, or the bytes of an ONNX file."""

Array: TypeAlias = NDArray[Any]

DataLike: TypeAlias = (
    str
    | PathLike[str]
    | Dataset
    | Samples
    | Array
    | tuple[Array, Array]
    | Mapping[str, Array]
    | Iterable[Mapping[str, Array]]
)
"""A path, a `Dataset`, an array of images, (images, labels), see `enxuto.data.dataset_of_arrays`; or named arrays: a
dict of arrays by input name with the samples first, or dicts, one a sample."""

PreprocessLike: TypeAlias = str | PathLike[str] | Preprocess | Mapping[str, Any]
"""A preset's name, the path of a TOML file, a `Preprocess`, or its settings."""

_UNITS = {"": 1, "B": 1, "KB": 1000, "MB": 1000**2, "KIB": 1024, "MIB": 1024**2}
_MOST_BYTES = 2.0**62


def byte_size(size: int | str) -> int:
    """Return the bytes that `300KB`, `1.5MB`, `64KiB`, `65536` or a whole number mean."""
    if isinstance(size, (int, np.integer)) and not isinstance(size, bool):
        return int(min(_MOST_BYTES, int(size)))
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([A-Za-z]*)\s*", size) if isinstance(size, str) else None
    if match is None or match[2].upper() not in _UNITS:
        raise UsageError(f"target_size= takes bytes such as 65536, 300KB or 1.5MB, not {size!r}")
    return int(min(_MOST_BYTES, float(match[1]) * _UNITS[match[2].upper()]))


def check_number(name: str, value: object) -> float | None:
    """Return a number as a float, None as it is; `UsageError` for all else."""
    if value is None:
        return None
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Real) or math.isnan(float(value)):
        raise UsageError(f"{name}= takes a number, not {value!r}")
    return float(value)


def check_count(name: str, value: object, least: int = 0) -> int:
    """Return a whole number of at least `least`; `UsageError` for all else."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)) or value < least:
        raise UsageError(f"{name}= takes a whole number from {least} up, not {value!r}")
    return int(value)


def check_metadata_type(metadata: object) -> None:
    """Raise `UsageError` where metadata are neither a mapping nor None."""
    if metadata is not None and not isinstance(metadata, Mapping):
        raise UsageError(f"metadata= takes a dict of JSON values, not {type(metadata).__name__}")


def to_model(model: ModelLike) -> Model:
    """Return the model; documentation strings are left out where it is read here."""
    if isinstance(model, Model):
        return model
    if isinstance(model, ModelProto):
        return Model.from_proto(model)
    if isinstance(model, (bytes, bytearray, memoryview)):
        return Model.from_bytes(bytes(model))
    if isinstance(model, (str, PathLike)):
        return Model.read(fspath(model))
    raise UsageError(
        f"model= takes a path, an enxuto.Model, an onnx.ModelProto or bytes, not {type(model).__name__}"
    )


def to_dataset(name: str, data: DataLike, *, labelled: bool, seed: int) -> Dataset:
    """Return the data set; labelled: whether labels are needed."""
    if isinstance(data, Dataset):
        return data
    if isinstance(data, (str, PathLike)):
        return open_dataset(fspath(data), require_labels=labelled, seed=seed)
    listed: Any = gather(data)
    if isinstance(listed, np.ndarray):
        return dataset_of_arrays(listed)
    if is_pair(listed):
        return dataset_of_arrays(listed[0], listed[1])
    if (images := listed_images(listed)) is not None:
        return dataset_of_arrays(images)
    raise UsageError(
        f"{name}= takes a path, an enxuto.Dataset, an array of images or a list of them, or (images, labels), not "
        f"{type(data).__name__}"
    )


def to_data(
    name: str,
    data: DataLike,
    model: Model,
    *,
    labelled: bool,
    seed: int,
    feedback: Mapping[str, str] | None = None,
) -> Dataset | Samples:
    """Return images as a data set, and named arrays (in files, a dict, dicts of samples) as samples of a model.

    feedback: by output the input that it is at the next step; `UsageError` where the data are no named arrays.
    """
    data = to_named(data, model, f"{name}=")
    found = named_samples(data, model, feedback, name=f"{name}=")
    if found is not None:
        return found
    if feedback:
        raise UsageError(
            f"feedback= is of named arrays, in sequences, which {name}= does not hold", code="E024"
        )
    return data if isinstance(data, Samples) else to_dataset(name, data, labelled=labelled, seed=seed)


def to_named(data: DataLike, model: Model, name: str) -> Any:
    """Return arrays that a caller lists without names of inputs as dicts, an array or a data set; all else as it is.

    name: of the argument, for messages.
    """
    data = gather(data)
    if not isinstance(data, (list, tuple, np.ndarray)):
        return data
    inputs, states = Runner(model, threads=1).inputs, find_states(model)
    return name_arrays(data, [item for item in inputs if item.name not in states] or inputs, name)


def named_samples(
    data: DataLike,
    model: Model,
    feedback: Mapping[str, str] | None = None,
    *,
    name: str = "data=",
    labels: str | None = None,
) -> Samples | None:
    """Return named arrays (in files, a dict, dicts of samples) as samples of a model; None where data hold none.

    Args:
        data: a path or arrays.
        model: whose inputs are named. States that have no array are zeros; a remark of the samples says so.
        feedback: by output's name the input that it is at the next step. Samples are then sequences.
        name: of the argument, for messages.
        labels: name of the array of classes, see `fit_samples`.

    Raises:
        DataError: arrays do not fit the model.
        UsageError: what is fed back does not fit.
    """
    path = fspath(data) if isinstance(data, (str, PathLike)) else None
    given = columns_of(data) if path is None else None
    if given is None and not (path is not None and _names_inputs(path, model)):
        return None
    inputs = Runner(model, threads=1).inputs
    fed_back = check_feedback(model, to_feedback(feedback) or {})
    how: dict[str, Any] = {
        "labels": labels,
        "limits": id_limits(model),
        "states": find_states(model) | fed_back,
        "feedback": {one: state.outputs[0] for one, state in fed_back.items()},
    }
    if given is not None:
        return fit_samples(given[0], inputs, path=name, alone=given[1], **how)
    return read_samples(str(path), inputs, **how)


def to_feedback(feedback: object) -> dict[str, str] | None:
    """Return what is fed back, by output's name the input; None where nothing is."""
    if feedback is None:
        return None
    if not isinstance(feedback, Mapping) or not all(
        isinstance(name, str) for pair in feedback.items() for name in pair
    ):
        raise UsageError(
            f"feedback= takes a dict of output names and input names, such as {{'stateN': 'state'}}, not "
            f"{feedback!r:.80}"
        )
    return dict(feedback)


def to_outputs(outputs: Mapping[str, Any] | None) -> dict[str, tuple[str, float]] | None:
    """Return what outputs are judged as: by name a kind, or a kind and a weight."""
    if outputs is None:
        return None
    if not isinstance(outputs, Mapping):
        raise UsageError(
            f"outputs= takes a dict of output names and kinds, such as {{'y': 'values'}}, not {outputs!r:.80}"
        )
    found = {}
    for name, asked in outputs.items():
        kind, weight = asked if isinstance(asked, (tuple, list)) and len(asked) == 2 else (asked, 1.0)
        if not isinstance(kind, str) or isinstance(weight, bool) or not isinstance(weight, Real):
            raise UsageError(f"outputs= judges {name!r} as a kind, or (kind, weight), not {asked!r:.80}")
        found[str(name)] = (kind, float(weight))
    return found


def _names_inputs(path: str, model: Model) -> bool:
    names = [item.name for item in model.proto.graph.input if item.name not in model]
    return holds_named_arrays(path, names)


def to_preprocess(preprocess: PreprocessLike | None) -> Preprocess | None:
    """Return the preprocessing, None where none is given."""
    if preprocess is None or isinstance(preprocess, Preprocess):
        return preprocess
    if isinstance(preprocess, Mapping):
        return Preprocess.from_dict(preprocess)
    if isinstance(preprocess, (str, PathLike)):
        text = fspath(preprocess)
        return Preprocess.from_toml(text) if Path(text).suffix == ".toml" else preset(text)
    raise UsageError(
        f"preprocess= takes a preset's name, an enxuto.Preprocess or a dict, not {type(preprocess).__name__}"
    )


def to_scheme(scheme: Scheme | Quantizer | None) -> Scheme | None:
    """Return the scheme; a quantizer is that of all tensors."""
    if scheme is None or (hasattr(scheme, "quantizer") and hasattr(scheme, "scale_steps")):
        return scheme  # type: ignore[return-value]
    if hasattr(scheme, "quantize") and not isinstance(scheme, type):
        return SameQuantizer(scheme)
    raise UsageError(
        f"scheme= takes a scheme or quantizer of enxuto.quantize, such as BalancedSteps(0.05), not {scheme!r:.80}"
    )


def to_names(name: str, values: Collection[str | Role] | str) -> Sequence[str]:
    """Return names as a sequence; a single string is one name."""
    if isinstance(values, str):
        return (values,)
    if isinstance(values, Collection) and all(isinstance(value, str) for value in values):
        return tuple(values)
    raise UsageError(f"{name}= takes names, not {values!r:.80}")


@dataclass(frozen=True)
class SizeAsked:
    """The size asked for: bits per learned value, and bytes."""

    bits: float
    bytes: int


def to_size(bits: float | None, target_size: int | str | None, model: Model) -> SizeAsked | None:
    """Return the size that a file shall have; None where none is given."""
    if bits is not None and target_size is not None:
        raise UsageError("bits= and target_size= both fix the size; give one of them", code="E022")
    if target_size is not None:
        size = byte_size(target_size)
        if size < 1:
            raise UsageError(f"target_size= is at least 1 byte, not {target_size!r}")
        return SizeAsked(8 * size / max(1, parameters(model)), size)
    wanted = check_number("bits", bits)
    if wanted is None:
        return None
    if not 0 < wanted < float("inf"):
        raise UsageError(f"bits per weight are a positive number, not {wanted}")
    return SizeAsked(wanted, max(1, int(min(2.0**62, wanted * parameters(model) / 8))))
