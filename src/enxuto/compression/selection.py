"""Which weights of a model are quantized: by their roles, and by names that the user wants exact."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Iterable

import numpy as np

from enxuto.enx.learned import is_float_weight
from enxuto.errors import UsageError, did_you_mean
from enxuto.onnx_model import Model, Role, parts_of_features

__all__ = ["DEFAULT_ROLES", "check_roles", "matching_names", "quantizable_weights", "with_biases"]

DEFAULT_ROLES: tuple[Role, ...] = (Role.KERNEL, Role.DEPTHWISE, Role.MATRIX)
"""What is quantized unless told otherwise: biases, normalisation and what has no known use stay exact."""

_FEWEST = 32  # elements; a smaller tensor costs more as a row of the table than it can save


def with_biases(roles: Collection[Role | str]) -> Collection[Role | str]:
    """Return roles with that of biases, where they are at least the usual ones; a choice of fewer stays as it is."""
    return (*roles, Role.BIAS) if set(DEFAULT_ROLES) <= set(roles) else roles


def quantizable_weights(
    model: Model, roles: Collection[Role | str], keep_exact: Iterable[str] = (), *, parts: bool = False
) -> list[str]:
    """Return the names of float weights with one of `roles` that no pattern of `keep_exact` matches.

    parts: whether parts of features are too, whatever their roles, where `roles` are at least the usual ones: positions
    and class tokens, vectors of layer norms, biases behind a MatMul. A pattern that matches no weight at all is a
    `UsageError`, and so is a role that does not exist.
    """
    chosen = check_roles(roles)
    kept = matching_names(model, keep_exact)
    more = set(parts_of_features(model)) if parts and chosen.issuperset(DEFAULT_ROLES) else set()
    return [
        info.name
        for info in model.infos()
        if (info.role in chosen or info.name in more)
        and is_float_weight(info)
        and info.elements >= _FEWEST
        and info.name not in kept
        and not (info.operand and np.isinf(model.load(info.name)).any())  # a mask
    ]


def matching_names(model: Model, patterns: Iterable[str]) -> set[str]:
    """Return the weights whose names match one of `patterns`; one that matches none is a `UsageError`."""
    kept: set[str] = set()
    for pattern in patterns:
        # A name stands for itself, whatever brackets it has.
        matched = [n for n in model.weight_names if n == pattern or fnmatch.fnmatchcase(n, pattern)]
        if not matched:
            raise UsageError(
                f"no weight is named {pattern!r}{did_you_mean(pattern, model.weight_names)}; "
                "`enxuto inspect` lists the names",
                code="E021",
            )
        kept.update(matched)
    return kept


def check_roles(roles: Collection[Role | str]) -> set[Role]:
    """Return the roles meant; `UsageError` for one that does not exist."""
    known = set(Role)
    for role in roles:
        if role not in known:
            hint = did_you_mean(str(role), [str(name) for name in Role])
            raise UsageError(
                f"no role is called {str(role)!r}{hint}; roles are {', '.join(Role)}",
                code="E021",
            )
    return {Role(role) for role in roles}
