"""Name every operator that no module can be made of, before anything is built."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from onnx import NodeProto
from torch import nn

from enxuto.errors import ModelError
from enxuto.importing.constants import follow_sizes, is_constant, tensors_of_sizes
from enxuto.importing.rules import RULES
from enxuto.importing.sizes import SIZE_RULES
from enxuto.onnx_model import Model

__all__ = ["check_learnable", "check_operators", "opset_of"]


def opset_of(model: Model) -> int:
    """The version of ONNX's own operators."""
    return next((item.version for item in model.proto.opset_import if item.domain in ("", "ai.onnx")), 1)


def check_operators(nodes: Iterable[NodeProto], constants: set[str]) -> None:
    """Raise `ModelError` with the names of all operators that have no rule; `constants` names the weights."""
    nodes = list(nodes)
    known, sizes = follow_sizes(nodes, constants)
    sizes -= tensors_of_sizes(nodes, constants)
    unknown: dict[str, None] = {}
    for node in nodes:
        own = node.domain in ("", "ai.onnx")
        if is_constant(node, known):
            continue
        if sizes.intersection(node.output):
            if node.op_type not in SIZE_RULES:
                unknown[f"{node.op_type} of sizes"] = None
        elif not own or node.op_type not in RULES:
            unknown[node.op_type if own else f"{node.domain}:{node.op_type}"] = None
    if unknown:
        kinds = "operators" if len(unknown) > 1 else "operator"
        raise ModelError(
            f"no PyTorch module can be made of the {kinds} {', '.join(sorted(unknown))}; what can be is listed in "
            "docs/reference/importing.md",
            code="E032",
        )


def check_learnable(network: nn.Module) -> None:
    """Raise `ModelError` for a network that cannot be trained or scored: of other types than float32, or not finite."""
    for name, value in network.named_parameters():
        if value.is_floating_point() and value.dtype != torch.float32:
            kind = str(value.dtype).removeprefix("torch.")
            raise ModelError(
                f"{name!r} is {kind}, and training takes float32; convert the model to float32 first",
                code="E032",
            )
        if not bool(torch.isfinite(value).all()):
            raise ModelError(
                f"{name!r} holds NaN or infinity; such a network cannot be trained or pruned", code="E033"
            )
