"""Networks as ONNX files: from a torch module, checked against it, with preprocessing and labels inside."""

from enxuto.export.network import (
    LABELS_KEY,
    NETWORK_KEY,
    OPSET,
    PREPROCESS_KEY,
    TOLERANCE,
    Exported,
    export_onnx,
)

__all__ = [
    "LABELS_KEY",
    "NETWORK_KEY",
    "OPSET",
    "PREPROCESS_KEY",
    "TOLERANCE",
    "Exported",
    "export_onnx",
]
