"""`export_onnx`: a network as one plain ONNX file that says how its images were prepared and what its classes are.

The file has one input `input` (batch, channels, height, width) with an open batch size, one output `logits`
(batch, classes), or what the graph called them that the network was loaded from; operators of opset 18 unless asked
otherwise; and in its metadata:

- `enxuto.network`: the name in the zoo or of the module;
- `enxuto.network_options`: a JSON object of the options that the zoo built it with, where there are any;
- `enxuto.preprocess`: JSON of `data.Preprocess.to_dict()`, where given;
- `enxuto.labels`: a JSON list of class names, where given.

Every parameter that inference needs is in the file under its own name. Left out: networks of 2 GB and more, and those
with several inputs or outputs.
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from enxuto import zoo
from enxuto.data import Preprocess
from enxuto.errors import ModelError, UsageError, error_reason, import_optional
from enxuto.export.names import give_names, names_of, state_tensors
from enxuto.export.tidy import tidy
from enxuto.onnx_model import Model
from enxuto.opening import LABELS_KEY, PREPROCESS_KEY
from enxuto.runtime import Runner
from enxuto.zoo.entry import OptionValue
from enxuto.zoo.modes import evaluation_mode

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch import nn

__all__ = ["NETWORK_KEY", "NETWORK_OPTIONS_KEY", "OPSET", "TOLERANCE", "ExportResult", "export_onnx"]

OPSET = 18
"""The first that torch's exporter writes without converting; ONNX Runtime reads it from version 1.14 on."""

TOLERANCE = 1e-4
"""Largest difference to torch's outputs, relative to the largest output or to 1, whichever is larger."""

NETWORK_KEY = "enxuto.network"
"""Metadata key for the name of the network; `enxuto.opening` has those of preprocessing and labels."""

NETWORK_OPTIONS_KEY = "enxuto.network_options"
"""Metadata key for the options that the zoo built the network with."""

_CHECKED_BATCHES = (2, 1)
_SHOWN = 3  # weights that are named in an error


@dataclass(frozen=True)
class ExportResult:
    """What was written.

    `difference` is the largest to torch's outputs, relative to the largest of them or to 1 (fresh weights can
    give outputs of millions); None where it was not checked.
    """

    path: Path
    bytes: int
    opset: int
    input_shape: tuple[int, ...]
    outputs: int
    parameters: int
    difference: float | None


def export_onnx(
    network: nn.Module | str,
    path: str | Path,
    *,
    classes: int | None = None,
    options: Mapping[str, OptionValue] | None = None,
    seed: int = 0,
    input_shape: Sequence[int] | None = None,
    weights: str | Path | None = None,
    preprocess: Preprocess | None = None,
    labels: Sequence[str] | None = None,
    opset: int = OPSET,
    check: bool = True,
) -> ExportResult:
    """Write a network to an ONNX file, whole or not at all; it is exported in evaluation mode and left as it was.

    Args:
        network: a module, or a name of the zoo.
        path: of the file.
        classes, options, seed: number of classes, options and seed of the weights, for a name of the zoo.
        input_shape: (channels, height, width); needed for a module.
        weights: a checkpoint with a state dict, alone or under `model`, `state_dict` or `weights`.
        preprocess: written into the file's metadata.
        labels: class names in the order of the outputs, written there too.
        opset: version of the operators.
        check: run the file on seeded images, batches of 2 and 1, and compare with torch before it is written.

    Raises:
        UsageError: settings do not fit together, or torch is missing.
        FormatError: the checkpoint is damaged.
        ModelError: the checkpoint is of another network, the network cannot be exported, or the file computes something
            else.
    """
    torch = _import_torch()
    name = network if isinstance(network, str) else type(network).__name__
    if isinstance(network, str):
        resolution: Any = (options or {}).get("resolution")
        input_shape = zoo.input_shape(network, resolution=resolution) if input_shape is None else input_shape
        channels = next(iter(input_shape))
        module = zoo.build(network, classes=classes, channels=channels, seed=seed, **dict(options or {}))
    elif classes is not None or options or input_shape is None:
        raise UsageError(
            f"{name}: a module needs an input shape (channels, height, width) and takes no classes and options",
            code="E022",
        )
    else:
        module = network
    shape = tuple(input_shape)
    if weights is not None:
        _load_weights(module, Path(weights))
    images = np.random.default_rng(seed).standard_normal((_CHECKED_BATCHES[0], *shape), dtype=np.float32)
    if check:
        _check_finite(module, name)
    with evaluation_mode(module):
        device = next((weight.device for weight in module.parameters()), torch.device("cpu"))
        batch = torch.from_numpy(images).to(device)
        outputs = _run_module(module, batch, name)
        _check_labels(labels, outputs.shape[1])
        proto = _to_onnx(module, batch, name, opset)
    built: Mapping[str, Any] = getattr(module, "built_as", {})
    for key, value in _metadata(name, preprocess, labels, built.get("options", {})).items():
        proto.metadata_props.add(key=key, value=value)
    model = Model.from_proto(proto)
    difference = _check_outputs(model, images, outputs, name) if check else None
    model.write(path)
    # Of a network of the zoo, auxiliary heads do not run in inference, and so are not in the file.
    written = sum(weight.numel() for name, weight in module.named_parameters() if not built or name in model)
    size = os.path.getsize(path)
    return ExportResult(Path(path), size, opset, shape, int(outputs.shape[1]), written, difference)


def _import_torch() -> Any:
    import_optional("onnxscript", "exporting", "onnxscript", "train")  # torch's exporter says so less clearly
    return import_optional("torch", "exporting", "PyTorch", "train")


def _load_weights(module: nn.Module, path: Path) -> None:
    """Put a checkpoint's weights into the module; nothing in the file is executed."""
    from enxuto.archive import read_state, same_number_kind

    state = read_state(path)
    own = module.state_dict()
    for key in own.keys() ^ state.keys():
        where = "the checkpoint lacks" if key in own else "the network does not have"
        raise ModelError(f"{path} does not fit the network: {where} {key!r}", code="E071")
    for key, tensor in state.items():
        if tensor.shape != own[key].shape:
            shapes = f"{tuple(tensor.shape)} in the checkpoint, {tuple(own[key].shape)} in the network"
            raise ModelError(f"{path} does not fit the network: {key!r} is {shapes}", code="E071")
        if not same_number_kind(tensor, own[key]):
            raise ModelError(f"{path} does not fit the network: {key!r} holds {tensor.dtype}", code="E071")
    module.load_state_dict(state)


def _check_finite(module: nn.Module, name: str) -> None:
    """Refuse weights that are NaN or infinite; a buffer may hold infinities, as masks do."""
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    whole = {key for key, _ in module.named_parameters()}
    whole |= {key for key in tensors if key.endswith(("running_mean", "running_var"))}
    bad = [
        key
        for key, value in tensors.items()
        if not bool((value.isfinite() if key in whole else ~value.isnan()).all())
    ]
    if bad:
        shown = ", ".join(repr(key) for key in bad[:_SHOWN])
        more = f" and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
        raise ModelError(
            f"{name} has weights that are not finite: {shown}{more}; nothing was written (check=False exports them "
            "all the same)",
            code="E033",
        )


def _run_module(module: nn.Module, batch: Any, name: str) -> np.ndarray:
    import torch

    try:
        with torch.no_grad():
            outputs = module(batch)
    except (RuntimeError, ValueError, TypeError) as error:
        shape = "×".join(map(str, batch.shape[1:]))
        raise ModelError(
            f"{name} does not run on images of {shape}: {error_reason(error)}", code="E034"
        ) from error
    if not isinstance(outputs, torch.Tensor) or outputs.dim() < 2 or outputs[0].numel() != outputs.shape[1]:
        raise ModelError(f"{name} must return one tensor (batch, classes) to be exported", code="E035")
    return np.asarray(outputs.cpu().numpy())


def _to_onnx(module: nn.Module, batch: Any, name: str, opset: int) -> ModelProto:
    """The module as a graph with all its weights, tidied."""
    import torch
    from onnxscript import optimizer

    if not OPSET <= opset <= 23:
        raise UsageError(f"opset must lie between {OPSET} and 23, not {opset}")
    try:
        with _silence_exporter(), torch.no_grad():
            program = torch.onnx.export(
                module,
                (batch,),
                input_names=["input"],
                output_names=["logits"],
                opset_version=opset,
                dynamic_shapes=({0: "batch"},),
                dynamo=True,
                external_data=False,
                optimize=False,
                verbose=False,
            )
            assert program is not None
            state = {
                *dict(module.named_parameters(remove_duplicate=False)),
                *dict(module.named_buffers(remove_duplicate=False)),
            }
            tensors = state_tensors(program.model.graph, state)
            optimizer.fold_constants(program.model)
            optimizer.remove_unused_nodes(program.model)
            proto: ModelProto = program.model_proto
    except (torch.onnx.OnnxExporterError, RuntimeError, ValueError, TypeError) as error:
        raise ModelError(f"torch cannot export {name}: {error_reason(error)}", code="E032") from error
    tidy(proto, state)
    give_names(proto, names_of(module), tensors)
    return proto


@contextmanager
def _silence_exporter() -> Iterator[None]:
    """No remarks of the exporter about itself: its loggers below errors, and warnings raised inside torch."""
    loggers = [
        logging.getLogger(name) for name in ("torch.onnx", "torch.onnx._internal", "torch.export", "onnx_ir")
    ]
    loggers += [
        logging.getLogger("torch.onnx._internal.exporter._registration"),
        logging.getLogger("onnxscript"),
    ]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            for category in (UserWarning, FutureWarning, DeprecationWarning):
                warnings.simplefilter("ignore", category)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _metadata(
    name: str, preprocess: Preprocess | None, labels: Sequence[str] | None, options: Mapping[str, Any]
) -> dict[str, str]:
    found = {NETWORK_KEY: name}
    if options:
        found[NETWORK_OPTIONS_KEY] = json.dumps(dict(options))
    if preprocess is not None:
        found[PREPROCESS_KEY] = json.dumps(preprocess.to_dict())
    if labels is not None:
        found[LABELS_KEY] = json.dumps(list(labels), ensure_ascii=False)
    return found


def _check_labels(labels: Sequence[str] | None, outputs: int) -> None:
    if labels is not None and len(labels) != outputs:
        raise UsageError(f"there are {len(labels)} labels for {outputs} outputs; give one each", code="E042")


def _check_outputs(model: Model, images: np.ndarray, outputs: np.ndarray, name: str) -> float:
    """The largest difference between ONNX Runtime's and torch's outputs, relative as in `TOLERANCE`.

    `ModelError` where it is larger than that, or no number.
    """
    runner = Runner(model, threads=1)
    gaps = [np.abs(runner.scores(images[:count]) - outputs[:count]) for count in _CHECKED_BATCHES]
    scale = max(1.0, float(np.abs(outputs).max(initial=0.0)))
    largest = max(float(gap.max(initial=0.0)) for gap in gaps) / scale
    if not largest <= TOLERANCE:
        raise ModelError(
            f"the exported {name} differs from torch's by {largest:.3g} of the largest output; "
            "nothing was written (check=False writes it all the same)",
            code="E037",
        )
    return largest
