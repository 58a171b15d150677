"""Open what enxuto writes or reads, whichever of the two it is: an ONNX model or an `.enx` file."""

from __future__ import annotations

import ast
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from enxuto.data import Preprocess, plain_preprocess
from enxuto.data.labels import Label, parse_labels
from enxuto.enx.file import CompressedModel
from enxuto.enx.signature import is_enx
from enxuto.errors import EnxutoError, ModelError
from enxuto.files import to_path
from enxuto.onnx_model import Model, numpy_dtype
from enxuto.onnx_model.carried import CARRIED, LABELS_ELSEWHERE, LABELS_KEY, PREPROCESS_KEY

if TYPE_CHECKING:
    import onnxruntime

__all__ = [
    "LABELS_KEY",
    "PREPROCESS_KEY",
    "class_count",
    "labels_of",
    "load",
    "load_with_metadata",
    "onnx_metadata",
    "output_kinds_of",
    "plain_preprocess_of",
    "preprocess_of",
    "session",
]

_LONGEST_LITERAL = 2**22  # characters; Python's parser takes some hundred times as many bytes
_KINDS = ("values", "binary", "classes", "ignore")  # of outputs


def load(path: str | Path, *, threads: int = 0) -> Model:
    """Read an `.enx` file (decoded at once) or an ONNX file as a `Model`; `threads` = 0 takes one per processor.

    Raises `DataError` or `ModelError` for files that cannot be read, `FormatError` for damaged `.enx` files.
    """
    return load_with_metadata(path, threads=threads)[0]


def load_with_metadata(path: str | Path, *, threads: int = 0) -> tuple[Model, dict[str, Any]]:
    """Read a model and what is known of it: an `.enx` file's metadata, or an ONNX file's of the same meaning."""
    path = to_path(path, "the path of a model")
    if is_enx(path):
        compressed = CompressedModel.read(path)
        model = compressed.to_model(threads=threads)
        # The graph keeps what an exporter put there, which a caller of `compress` need not have repeated as metadata.
        return model, {**onnx_metadata(model), **compressed.metadata}
    model = Model.read(path)
    return model, onnx_metadata(model)


def onnx_metadata(model: Model) -> dict[str, Any]:
    """Return `preprocess`, `labels` and `outputs_are` of an ONNX model that carries them; damaged ones are left out."""
    found: dict[str, Any] = {}
    names = {key: name for name, key in CARRIED.items()}
    for prop in model.proto.metadata_props:
        key = names.get(prop.key)
        if key is not None:
            try:
                found[key] = json.loads(prop.value)
            except (ValueError, RecursionError):
                continue
    return found


def output_kinds_of(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Return what outputs are judged as, by name, as far as a file's metadata keep it; what is unknown is left out."""
    stored = metadata.get("outputs_are")
    found = stored.items() if isinstance(stored, dict) else ()
    return {str(name): kind for name, kind in found if isinstance(kind, str) and kind in _KINDS}


def preprocess_of(metadata: dict[str, Any]) -> Preprocess | None:
    """Return the preprocessing that a model's metadata holds, None where it holds none (or one unknown here)."""
    stored = metadata.get("preprocess")
    if not isinstance(stored, dict):
        return None
    try:
        return Preprocess.from_dict(stored)
    except EnxutoError:
        return None


def plain_preprocess_of(model: Model) -> Preprocess:
    """Return what images need at least to fit a model's first input, where no preprocessing is known."""
    item = next((item for item in model.proto.graph.input if item.name not in model), None)
    if item is None:
        return Preprocess()
    kind = item.type.tensor_type
    sizes = [dim.dim_value if dim.HasField("dim_value") else None for dim in kind.shape.dim]
    dtype = numpy_dtype(kind.elem_type)
    return plain_preprocess(sizes, dtype is not None and dtype.kind in "iu")


def labels_of(model: Model, metadata: dict[str, Any]) -> tuple[Label, ...] | None:
    """Return a model's class names in the order of its outputs; None where it names none (or they are damaged).

    metadata: what `load_with_metadata` gave with it. Besides `enxuto.labels`, other exporters' keys are known.
    """
    found = parse_labels(metadata.get("labels"))
    if found is not None:
        return found
    props = {prop.key: prop.value for prop in model.proto.metadata_props}
    for key in LABELS_ELSEWHERE:
        found = parse_labels(_literal(props[key])) if key in props else None
        if found is not None:
            return found
    return None


def _literal(text: str) -> Any:
    """The value of JSON or of a Python literal, which is read and not run; None for anything else."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError, MemoryError):
        pass
    if len(text) > _LONGEST_LITERAL or text.lstrip()[:1] not in ("{", "[", "("):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None


def class_count(model: Model) -> int | None:
    """Return how many scores a classifier's first output has for an image; None for other models, or if unknown.

    One score is no list of classes.
    """
    if not model.proto.graph.output:
        return None
    tensor = model.proto.graph.output[0].type.tensor_type
    sizes: list[int | None] = [
        dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim
    ]
    if len(sizes) < 2 or any(size is None for size in sizes[1:]):
        from enxuto.runtime import Runner

        try:
            sizes = list(Runner(model, threads=1).output_shapes[0])
        except ModelError:  # told where the model is run
            return None
    longer = [size for size in sizes[1:] if size != 1]
    return longer[0] if len(longer) == 1 else None


def session(
    path: str | Path,
    *,
    providers: str | Sequence[str | tuple[str, dict[str, Any]]] | None = None,
    options: onnxruntime.SessionOptions | None = None,
    threads: int = 0,
) -> onnxruntime.InferenceSession:
    """Return an ONNX Runtime session of an `.enx` or ONNX file, decoded in memory.

    Args:
        path: the file.
        providers: what ONNX Runtime runs on, such as `["CUDAExecutionProvider", "CPUExecutionProvider"]`; by default
            the CPU.
        options: ONNX Runtime's own, taken as they are; not beside `threads`.
        threads: threads on the CPU; 0 takes one per processor.

    Raises:
        DataError, ModelError: the file cannot be read, or ONNX Runtime refuses the model.
        UsageError: a provider is not installed.
    """
    from enxuto import runtime

    return runtime.session(load(path), threads=threads, providers=providers, options=options)
