"""enxuto: makes trained convolutional networks small without losing what they learnt, and gives plain ONNX back.

    import enxuto

    small = enxuto.compress("model.onnx")      # or bits=4, or data="photos/", max_kl=0.02
    small.save("model.enx")
    model = enxuto.load("model.enx")           # an ONNX model again: model.write("model.onnx")
    session = enxuto.session("model.enx")      # or run it at once with ONNX Runtime
    model.predict("cat.jpg")                   # or ask it what is on an image

Names are imported when first used, so that `import enxuto` costs nothing. `enxuto.quantize` holds the quantizers and
schemes that `compress` takes.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from enxuto._version import __version__

if TYPE_CHECKING:
    from enxuto import quantize
    from enxuto.classifier import LoadedModel, load
    from enxuto.compression.compress import compress
    from enxuto.compression.result import CompressionResult
    from enxuto.data import Dataset, Preprocess, open_dataset
    from enxuto.differences.entry import apply, diff
    from enxuto.differences.patch import Patch
    from enxuto.enx.file import CompressedModel
    from enxuto.enx.inspect import inspect
    from enxuto.enx.verify import verify
    from enxuto.errors import BudgetError, DataError, EnxutoError, FormatError, ModelError, UsageError
    from enxuto.evaluation import Evaluation
    from enxuto.importing.entry import load_module
    from enxuto.model_evaluation import evaluate
    from enxuto.onnx_model import Model
    from enxuto.opening import session
    from enxuto.retraining.settings import Retraining
    from enxuto.runtime import Runner
    from enxuto.slimming.entry import slim
    from enxuto.slimming.result import SlimResult

__all__ = [
    "BudgetError",
    "CompressedModel",
    "CompressionResult",
    "DataError",
    "Dataset",
    "EnxutoError",
    "Evaluation",
    "FormatError",
    "LoadedModel",
    "Model",
    "ModelError",
    "Patch",
    "Preprocess",
    "Retraining",
    "Runner",
    "SlimResult",
    "UsageError",
    "__version__",
    "apply",
    "compress",
    "diff",
    "evaluate",
    "inspect",
    "load",
    "load_module",
    "open_dataset",
    "quantize",
    "session",
    "slim",
    "verify",
]

_HOMES = {
    "classifier": ("LoadedModel", "load"),
    "opening": ("session",),
    "compression.compress": ("compress",),
    "compression.result": ("CompressionResult",),
    "differences.entry": ("apply", "diff"),
    "differences.patch": ("Patch",),
    "enx.file": ("CompressedModel",),
    "enx.inspect": ("inspect",),
    "enx.verify": ("verify",),
    "data": ("Dataset", "Preprocess", "open_dataset"),
    "errors": ("BudgetError", "DataError", "EnxutoError", "FormatError", "ModelError", "UsageError"),
    "evaluation": ("Evaluation",),
    "importing.entry": ("load_module",),
    "model_evaluation": ("evaluate",),
    "onnx_model": ("Model",),
    "retraining.settings": ("Retraining",),
    "runtime": ("Runner",),
    "slimming.entry": ("slim",),
    "slimming.result": ("SlimResult",),
}


def __getattr__(name: str) -> Any:
    if name == "quantize":
        return import_module("enxuto.quantize")
    for home, names in _HOMES.items():
        if name in names:
            # Some functions share their module's name: put the function in place for good.
            value = globals()[name] = getattr(import_module(f"enxuto.{home}"), name)
            return value
    raise AttributeError(f"module 'enxuto' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
