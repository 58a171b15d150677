"""Networks as ONNX files: from a torch module, checked against it, with preprocessing and labels inside."""

from enxuto.export.network import NETWORK_KEY, OPSET, TOLERANCE, ExportResult, export_onnx

__all__ = ["NETWORK_KEY", "OPSET", "TOLERANCE", "ExportResult", "export_onnx"]
