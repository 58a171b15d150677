"""Model-local functions written out where they are called, so that the layers in them are layers of the graph."""

from __future__ import annotations

from onnx.inliner import inline_local_functions

from enxuto.errors import ModelError
from enxuto.onnx_model.model import Model

__all__ = ["inline_functions"]

_FEWEST = 32  # elements of a tensor that it matters to have twice
_MOST_BYTES = 1 << 30  # of a model, which is in memory three times while its functions are written out


def inline_functions(model: Model) -> tuple[Model, dict[str, list[str]]]:
    """A model without local functions, and by the name of each weight that was in one its names there.

    It is the model itself where it has none, where it is larger than 1 GB, where one of them cannot be written out (it
    is of another version of the standard than the model), and where a function that is called several times has weights
    of its own, which would then be in the file as often.
    """
    if not model.proto.functions or model.size_bound() > _MOST_BYTES:
        return model, {}
    try:
        inlined = Model.from_proto(inline_local_functions(model.to_proto()))
    except (RuntimeError, ValueError, ModelError):  # a function that is not as ONNX defines it
        return model, {}
    if inlined.proto.functions or _bytes(inlined) > _bytes(model):
        return model, {}
    return inlined, _moved(model, inlined)


def _moved(model: Model, inlined: Model) -> dict[str, list[str]]:
    """Return by the names of weights that only the second model has those of equal weights that only the first has."""
    before = [model.info(name) for name in model.weight_names if name not in inlined]
    found = {}
    for name in inlined.weight_names:
        if name not in model:
            info, array = inlined.info(name), inlined.load(name)
            found[name] = [
                one.name
                for one in before
                if (one.shape, one.dtype) == (info.shape, info.dtype)
                and model.load(one.name).tobytes() == array.tobytes()
            ]
    return found


def _bytes(model: Model) -> int:
    return sum(info.bytes for info in model.infos() if info.elements >= _FEWEST)
