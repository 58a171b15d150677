"""`summarize`: the layer table of whatever a user can name: a network of the zoo, a factory, an ONNX or `.enx` file."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from enxuto import zoo
from enxuto.enx.signature import is_enx
from enxuto.errors import ModelError, UsageError, error_reason, import_optional
from enxuto.onnx_model import Model
from enxuto.summary.onnx_graph import summarize_onnx
from enxuto.summary.table import Summary
from enxuto.zoo.entry import OptionValue

if TYPE_CHECKING:
    from torch import nn

__all__ = ["build_module", "summarize", "summarize_network"]


def summarize(
    target: str | Path,
    *,
    input_shape: Sequence[int] | None = None,
    classes: int | None = None,
    options: Mapping[str, OptionValue] | None = None,
) -> Summary:
    """The layer table of `target`: an ONNX or `.enx` file, a zoo name, or `module:factory`.

    `input_shape` is (channels, height, width): needed for a factory and for ONNX files that leave sizes open,
    and by default the entry's for a zoo name. `classes` and `options` are for zoo names. Raises `UsageError` where the
    target cannot be found or a setting does not fit, `ModelError` where the network cannot be read or run.
    """
    name = str(target)
    if names_file(name):
        _check_classes(name, classes)
        return summarize_onnx(_read(name), input_shape=input_shape, source=name)
    if ":" in name:
        _check_classes(name, classes)
        if input_shape is None:
            raise UsageError(f"{name} needs an input shape; give input_shape=C,H,W", code="E023")
        module = build_module(name)
        from enxuto.summary.torch_module import summarize_module

        return summarize_module(module, input_shape, source=name)
    return summarize_network(name, input_shape=input_shape, classes=classes, options=options)


def _read(name: str) -> Model:
    """Read an ONNX or `.enx` file; what decodes the latter takes time to import, so only where it is needed."""
    if not is_enx(name):
        return Model.read(name)
    from enxuto.opening import load

    return load(name)


def summarize_network(
    name: str,
    *,
    input_shape: Sequence[int] | None = None,
    classes: int | None = None,
    options: Mapping[str, OptionValue] | None = None,
) -> Summary:
    """The layer table of a network of the zoo, built with `options` and without memory for its weights.

    Raises `UsageError` as `zoo.build` does.
    """
    chosen: dict[str, Any] = dict(options or {})
    resolution = chosen.get("resolution")
    shape = tuple(zoo.input_shape(name, resolution=resolution) if input_shape is None else input_shape)
    with _import_torch(name).device("meta"):
        network = zoo.build(name, classes=classes, channels=shape[0], **chosen)
    from enxuto.summary.torch_module import summarize_module

    return summarize_module(network, shape, source=name)


def names_file(name: str) -> bool:
    """Whether a target means a model file: it exists, or is spelled like one."""
    exists = os.path.lexists(name) and not Path(name).is_dir()  # a pipe, say, is refused when it is opened
    return name.endswith((".onnx", ".onnx.gz", ".enx")) or (exists and ":" not in name)


def build_module(target: str) -> nn.Module:
    """The module that `module:factory` makes, called without arguments; the current folder is on the path.

    Raises `UsageError` where the module or the factory cannot be had, `ModelError` where it fails or makes
    something else.
    """
    torch = _import_torch(target)
    module_name, _, attribute = target.partition(":")
    factory = _factory(module_name, attribute, target)
    try:
        network = factory()
    except Exception as error:
        raise ModelError(
            f"{target} failed: {type(error).__name__}: {error_reason(error)}", code="E034"
        ) from error
    if not isinstance(network, torch.nn.Module):
        raise ModelError(f"{target} returned a {type(network).__name__}, not a torch.nn.Module")
    module: nn.Module = network
    return module


def _factory(module_name: str, attribute: str, target: str) -> Callable[[], object]:
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        factory: object = importlib.import_module(module_name)
    except Exception as error:
        reason = f"{type(error).__name__}: {error_reason(error)}"
        raise UsageError(f"cannot import {module_name!r} of {target}: {reason}", code="E021") from error
    finally:
        if folder in sys.path:
            sys.path.remove(folder)
    for step in attribute.split("."):
        factory = getattr(factory, step, None)
    if not callable(factory):
        raise UsageError(
            f"{module_name} has nothing to call by the name of {attribute!r}; write module:factory",
            code="E021",
        )
    return factory


def _import_torch(what: str) -> Any:
    return import_optional("torch", what, "PyTorch", "train")


def _check_classes(name: str, classes: int | None) -> None:
    if classes is not None:
        raise UsageError(
            f"classes= is for networks of the zoo; {name} has its own number of outputs", code="E024"
        )
