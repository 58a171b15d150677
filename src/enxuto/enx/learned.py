"""Which values of a model are learned, and how many: the parameters that bits per weight are counted by."""

from __future__ import annotations

from onnx import TensorProto

from enxuto.onnx_model import Model, Role, WeightInfo

__all__ = ["is_float_weight", "learned_facts", "parameters", "weight_bytes"]

_NARROW = frozenset({
    TensorProto.INT8, TensorProto.UINT8, TensorProto.INT4, TensorProto.UINT4, TensorProto.FLOAT8E4M3FN,
    TensorProto.FLOAT8E4M3FNUZ, TensorProto.FLOAT8E5M2, TensorProto.FLOAT8E5M2FNUZ,
})  # fmt: skip


def parameters(model: Model) -> int:
    """Return the number of learned values: float weights, without scalars that no operator learns, and integer ones."""
    return sum(info.elements for info in model.infos() if _is_learned(info))


def weight_bytes(model: Model) -> int | None:
    """Return the bytes of the learned values as they are stored, None where all are float32: four for each."""
    learned = [info for info in model.infos() if _is_learned(info)]
    if all(info.data_type == TensorProto.FLOAT for info in learned):
        return None
    return sum(info.bytes for info in learned)


def learned_facts(model: Model) -> dict[str, int]:
    """Return metadata on the learned values of the model that a file is made from, before anything is folded."""
    stored = weight_bytes(model)
    return {"parameters": parameters(model), **({} if stored is None else {"weight_bytes": stored})}


def _is_learned(info: WeightInfo) -> bool:
    return info.role is not Role.OTHER or _is_learned_other(info) or _is_learned_integer(info)


def _is_learned_integer(info: WeightInfo) -> bool:
    """Say whether integers are those of a quantized layer or table: of eight bits or fewer, in several axes."""
    return info.data_type in _NARROW and sum(size > 1 for size in info.shape) > 1


def is_float_weight(info: WeightInfo) -> bool:
    """Say whether a weight holds floats."""
    return info.role is not Role.OTHER or info.data_type in (1, 10, 11, 16)


def _is_learned_other(info: WeightInfo) -> bool:
    return is_float_weight(info) and info.elements > 1
