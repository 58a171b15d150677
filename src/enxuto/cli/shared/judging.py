"""What verbs take to judge models of any kind: named arrays, what outputs are judged as, a caller's own judge."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from enxuto.cli.shared.terminal import note
from enxuto.errors import EnxutoError, UsageError, error_reason

if TYPE_CHECKING:
    from enxuto.compression.judge import ScoreJudge
    from enxuto.data.samples import Samples
    from enxuto.onnx_model import Model

__all__ = ["load_judge", "named_arrays", "parse_outputs"]


def named_arrays(path: str | Path, model: Model) -> Samples | None:
    """Return the arrays by input name that a path holds, as the model takes them; None where it holds images."""
    from enxuto.data.feeding import holds_named_arrays, read_samples
    from enxuto.onnx_model import id_limits
    from enxuto.runtime import Runner

    names = [item.name for item in model.proto.graph.input if item.name not in model]
    if not holds_named_arrays(path, names):
        return None
    found = read_samples(path, Runner(model, threads=1).inputs, limits=id_limits(model))
    note(f"{path}: {len(found):,} samples of {', '.join(found.inputs)}")
    return found


def parse_outputs(asked: Sequence[str]) -> dict[str, tuple[str, float]] | None:
    """Return what outputs are judged as, from `NAME=KIND` and `NAME=KIND:WEIGHT`; None where nothing is asked."""
    found = {}
    for text in asked:
        name, equals, rest = text.rpartition("=")
        kind, colon, weight = rest.partition(":")
        if not name or not equals or not kind:
            raise UsageError(f"--outputs takes NAME=values, NAME=classes:2 and the like, not {text!r}")
        try:
            found[name] = (kind, float(weight) if colon else 1.0)
        except ValueError as error:
            raise UsageError(f"--outputs {text}: the weight {weight!r} is no number") from error
    return found or None


def load_judge(spec: str, model: Model, *, threads: int) -> ScoreJudge:
    """Return a judge by the function that `module:function` names; the working directory is searched first.

    What the function raises is a `UsageError` that says so, after its traceback on stderr.
    """
    from enxuto.compression.judge import ScoreJudge

    module, colon, function = spec.partition(":")
    if not colon or not module or not function:
        raise UsageError(f"--judge takes module:function, such as scores:accuracy, not {spec!r}")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        measure: Any = importlib.import_module(module)
        for part in function.split("."):
            measure = getattr(measure, part)
    except Exception as error:
        raise UsageError(f"--judge {spec} cannot be loaded: {error_reason(error)}", code="E021") from error
    if not callable(measure):
        raise UsageError(f"--judge {spec} is no function")

    def judged(one: Any, other: Any) -> float:
        try:
            return measure(one, other)  # type: ignore[no-any-return]
        except EnxutoError:
            raise
        except Exception as error:
            note(traceback.format_exc().rstrip())
            raise UsageError(f"--judge {spec} raised {error_reason(error)}; nothing was written") from error

    return ScoreJudge(judged, model, threads=threads)
