"""ONNX graphs as PyTorch modules: `load_module`, and `OnnxNetwork`, which it returns (`network`).

Only `load_module` itself can be imported without torch.
"""

from enxuto.importing.entry import load_module

__all__ = ["load_module"]
