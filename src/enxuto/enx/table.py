"""The readable table at the head of an `.enx` file: what each payload holds and how it is coded.

JSON in the file, checked frozen objects here. Anything a table cannot mean is a `FormatError`.
"""

from __future__ import annotations

import json
import math
from typing import Annotated, Any, Literal, Self, TypeAlias

import numpy as np
from pydantic import Field, ValidationError, model_validator

from enxuto.codec import TRELLIS_CODERS, Coder
from enxuto.enx.quantizer_fields import Checked, DeadZoneFields, GridFields, QuantizerFields
from enxuto.errors import FormatError, ModelError, UsageError
from enxuto.onnx_model import array_bytes, array_from_bytes, byte_count, numpy_dtype
from enxuto.onnx_model.dtypes import FLOAT_TYPES

__all__ = [
    "ExactRow",
    "Header",
    "LevelsRow",
    "Row",
    "TensorEntry",
    "check_metadata",
    "damage_of",
    "dump_header",
    "parse_header",
]

_MOST_ELEMENTS = 1 << 40
_MOST_DEPTH = 100
_Count = Annotated[int, Field(ge=0, le=_MOST_ELEMENTS)]


class TensorEntry(Checked):
    """A tensor: its name in the graph, its shape, its ONNX element type (a number of `TensorProto.DataType`)."""

    name: str
    shape: tuple[_Count, ...] = Field(max_length=64)
    data_type: int = Field(alias="type", ge=0, lt=1 << 31)

    @model_validator(mode="after")
    def _can_exist(self) -> TensorEntry:
        if numpy_dtype(self.data_type) is None:
            raise ValueError(f"element type {self.data_type} is not known here")
        # Empty tensors too: numpy refuses the shape (0, 2**40, 2**40).
        if math.prod(max(1, size) for size in self.shape) > _MOST_ELEMENTS:
            raise ValueError("a tensor is impossibly large")
        return self

    @property
    def dtype(self) -> np.dtype[Any]:
        """The numpy type of its elements."""
        dtype = numpy_dtype(self.data_type)
        assert dtype is not None, "checked when made"
        return dtype

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def item_bytes(self) -> int:
        """Bytes of one element as stored; 1 for types below eight bits, which are stored packed."""
        packed = byte_count((2,), self.data_type) < 2 * self.dtype.itemsize
        return 1 if packed else self.dtype.itemsize

    @property
    def stored_bytes(self) -> int:
        """Bytes of all elements as ONNX files hold them."""
        return byte_count(self.shape, self.data_type)

    def from_bytes(self, data: bytes) -> np.ndarray:
        """Return the array that those `stored_bytes` bytes stand for."""
        try:
            array = array_from_bytes(data, self.shape, self.data_type)
        except (ModelError, ValueError) as error:
            raise FormatError(f"the values of {self.name!r} are damaged: {error}", code="E052") from error
        # A truth value has one byte, the filling behind packed elements one value: else two files would be the same.
        packed = byte_count((2,), self.data_type) < 2 * self.dtype.itemsize
        if (packed or self.dtype == np.bool_) and bytes(array_bytes(array, self.data_type)) != bytes(data):
            raise FormatError(
                f"the values of {self.name!r} are damaged: bits are set that mean nothing", code="E052"
            )
        return array


class _RowFields(Checked):
    tensors: tuple[TensorEntry, ...] = Field(min_length=1)
    bytes: _Count
    padding: _Count = 0
    crc32: str = Field(pattern=r"^[0-9a-f]{8}$")

    @property
    def coded_bytes(self) -> int:
        """Bytes of the payload that mean something; `padding` zeros follow where memory is bounded by length."""
        return self.bytes - self.padding

    @model_validator(mode="after")
    def _padding_fits(self) -> Self:
        if self.padding > self.bytes:
            raise ValueError("the padding is longer than the payload")
        return self

    @property
    def label(self) -> str:
        """Name of the tensor, or of the first of several, for messages."""
        more = len(self.tensors) - 1
        return f"{self.tensors[0].name!r}" + (f" and {more} more" if more else "")

    @property
    def items(self) -> int:
        """Number of things the payload holds: levels, or stored elements."""
        return sum(entry.elements for entry in self.tensors)


class LevelsRow(_RowFields):
    """Quantized tensors: a quantizer, and a payload of integer levels (of all tensors, one after the other)."""

    coder: Coder = "order0"
    quantizer: QuantizerFields = Field(discriminator="kind")
    steps_bytes: _Count = 0

    @model_validator(mode="after")
    def _steps_fit(self) -> LevelsRow:
        quantizer = self.quantizer
        for entry in self.tensors:
            if entry.data_type not in FLOAT_TYPES:
                raise ValueError(f"element type {entry.data_type} cannot be quantized")
        if (TRELLIS_CODERS.get(self.coder) or self.trellis) and not (
            len(self.tensors) == 1 and len(self.tensors[0].shape) > 0
        ):
            raise ValueError("a trellis takes one tensor with axes")
        axes = self._step_axes
        if isinstance(quantizer, DeadZoneFields):
            if bool(axes) == (quantizer.step is not None):
                raise ValueError(
                    "a dead-zone quantizer has either one step or an axis and steps in the payload"
                )
        elif isinstance(quantizer, GridFields):
            if axes not in ((), (0,), (1,), (0, 1)):
                raise ValueError("a grid's axes are 0, 1 or both, in that order")
        elif self.steps_bytes:
            raise ValueError("only dead-zone and grid quantizers have steps in the payload")
        if bool(axes) != (self.steps_bytes > 0):
            raise ValueError("steps in the payload need the axis they belong to")
        if self.steps_bytes > self.coded_bytes:
            raise ValueError("the steps are longer than the payload")
        if axes and not (self.items and self._axes_fit(axes)):
            raise ValueError("the steps' axis does not fit the tensor")
        return self

    def _axes_fit(self, axes: tuple[int, ...]) -> bool:
        if self.steps_are_for_tensors:
            return axes == (0,) and self.steps_are_exponents
        return max(axes) < len(self.tensors[0].shape)

    @property
    def steps_are_for_tensors(self) -> bool:
        """Whether each of several tensors has a step of its own, where there are any."""
        return len(self.tensors) > 1

    @property
    def trellis(self) -> int:
        """The number of states that what levels stand for depends on, 0 without a trellis."""
        states = self.quantizer.trellis if isinstance(self.quantizer, GridFields) else 0
        return 8 if states is True else int(states)

    @property
    def _step_axes(self) -> tuple[int, ...]:
        if isinstance(self.quantizer, DeadZoneFields):
            return () if self.quantizer.axis is None else (self.quantizer.axis,)
        return self.quantizer.axes if isinstance(self.quantizer, GridFields) else ()

    @property
    def step_count(self) -> int:
        """Number of steps or exponents in the payload.

        The sum of the tensor's lengths along the quantizer's axes, or with axes the number of several tensors.
        """
        shape = (len(self.tensors),) if self.steps_are_for_tensors else self.tensors[0].shape
        return sum(shape[axis] for axis in self._step_axes)

    @property
    def steps_are_exponents(self) -> bool:
        """Whether what stands in the payload before the levels are a grid's exponents, not float32 steps."""
        return isinstance(self.quantizer, GridFields)


class ExactRow(_RowFields):
    """Tensors kept exactly, of one element size: a payload of byte planes of all of them, one after the other."""

    coder: Literal["planes"] = "planes"

    @model_validator(mode="after")
    def _one_size(self) -> ExactRow:
        if len({entry.item_bytes for entry in self.tensors}) > 1:
            raise ValueError("tensors with elements of different sizes share a payload")
        return self

    @property
    def item_bytes(self) -> int:
        """Bytes of one stored element."""
        return self.tensors[0].item_bytes

    @property
    def items(self) -> int:
        """Number of stored elements."""
        return sum(entry.stored_bytes for entry in self.tensors) // self.item_bytes


Row: TypeAlias = LevelsRow | ExactRow


class Header(Checked):
    """The whole table: facts about the model, then a row per payload, in the order of the payloads."""

    metadata: dict[str, Any]
    parts: tuple[Annotated[Row, Field(discriminator="coder")], ...]


def check_metadata(metadata: dict[str, Any]) -> None:
    """Raise `UsageError` for metadata that JSON cannot hold, or that a reader would refuse."""
    try:
        text = json.dumps({"metadata": metadata, "parts": []}, ensure_ascii=False, allow_nan=False).encode()
        again = parse_header(text).metadata
    except (TypeError, ValueError, RecursionError, FormatError) as error:
        raise UsageError(f"the metadata cannot be written as JSON: {error}") from error
    if again.keys() != metadata.keys():
        raise UsageError("the metadata cannot be written as JSON: its keys must be text")


def dump_header(header: Header) -> bytes:
    """Return the table as JSON in UTF-8, without spaces; its metadata have passed `check_metadata`."""
    fields = header.model_dump(by_alias=True, exclude_none=True)
    for row in fields["parts"]:
        for absent_is_zero in ("steps_bytes", "padding"):
            if row.get(absent_is_zero) == 0:
                del row[absent_is_zero]
        if row.get("quantizer", {}).get("trellis") in (False, 0):
            del row["quantizer"]["trellis"]
    return json.dumps(fields, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def damage_of(error: ValidationError) -> FormatError:
    """Return the error that names the first thing that is wrong with a table."""
    first = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(str(step) for step in first["loc"])
    return FormatError(f"the table is damaged at {place or 'its start'}: {first['msg']}", code="E052")


def parse_header(text: bytes) -> Header:
    """Return the checked table; `FormatError` names the first thing that is wrong with it."""
    try:
        header = Header.model_validate_json(text)
        _check_depth(header.metadata)
        json.dumps(header.metadata, allow_nan=False)
    except ValidationError as error:
        raise damage_of(error) from error
    except ValueError as error:  # NaN and Infinity, which JSON does not have, and 1e999
        raise FormatError("the table is damaged at metadata: a number out of range", code="E052") from error
    return header


def _check_depth(metadata: dict[str, Any]) -> None:
    """Raise `FormatError` where objects and lists lie in each other more than `_MOST_DEPTH` deep, the table's too."""
    layer: list[Any] = [metadata]
    for _ in range(_MOST_DEPTH):
        layer = [
            inner
            for value in layer
            for inner in (value.values() if isinstance(value, dict) else value)
            if isinstance(inner, (dict, list))
        ]
        if not layer:
            return
    raise FormatError("the table is damaged at metadata: they are nested too deeply", code="E052")
