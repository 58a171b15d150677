"""Refuse graphs in which one name stands for two things.

ONNX forbids it and `onnx.checker` says so, but tools write it and ONNX Runtime runs some of it, with the last of two
initializers of one name. Nothing here could keep the two apart, or their order, so that outputs would change unsaid.
An initializer that is also an input is no such thing: it is the input's default.
"""

from __future__ import annotations

from collections.abc import Iterable

from onnx import GraphProto, ModelProto

from enxuto.errors import ModelError
from enxuto.onnx_model.scopes import Scope, scopes

__all__ = ["check_names"]


def check_names(proto: ModelProto) -> None:
    """Raise `ModelError` naming what is defined twice in a graph, a subgraph or a function, or as a function."""
    functions: set[tuple[str, str, str]] = set()
    for function in proto.functions:
        key = (function.domain, function.name, function.overload)
        if key in functions:
            raise ModelError(
                f"two functions are called {function.name!r}; give each a name of its own", code="E031"
            )
        functions.add(key)
    for scope in scopes(proto):
        _check(scope)


def _check(scope: Scope) -> None:
    body = scope.body
    where = f" in {scope.path.rstrip('/')!r}" if scope.path else ""
    made = [name for node in body.node for name in node.output]
    if not isinstance(body, GraphProto):
        _unique([("input", body.input), ("output of a node", made)], where)
        return
    given = [item.name for item in body.initializer] + [item.values.name for item in body.sparse_initializer]
    _unique([("initializer", given), ("output of a node", made)], where)
    _unique([("input", (item.name for item in body.input)), ("output of a node", made)], where)


def _unique(kinds: list[tuple[str, Iterable[str]]], where: str) -> None:
    """Raise `ModelError` for a name that occurs twice among all names of some kinds."""
    seen: dict[str, str] = {}
    for kind, names in kinds:
        for name in names:
            if name and name in seen:
                as_what = f"twice as an {kind}" if seen[name] == kind else f"as an {seen[name]} and an {kind}"
                raise ModelError(
                    f"the name {name!r} is defined {as_what}{where}; give each its own name (ONNX demands it)",
                    code="E031",
                )
            seen[name] = kind
