"""Derivatives of ONNX graphs as ONNX graphs."""
