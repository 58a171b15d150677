"""What the outputs of models are: scores of classes, which have answers, or other values."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from typing import TYPE_CHECKING

from enxuto.cli.shared.terminal import warn
from enxuto.errors import ModelError

if TYPE_CHECKING:
    import numpy as np

    from enxuto.data import Dataset, Preprocess
    from enxuto.metrics import ScoreKind
    from enxuto.onnx_model import Model

__all__ = ["check_class_scores", "kind_of_scores", "sample_batch", "warn_of_other_outputs"]

_SAMPLE = 8  # images that tell what scores are


def sample_batch(dataset: Dataset, preprocess: Preprocess) -> np.ndarray:
    """Return some images (N, …) as models take them."""
    with closing(dataset.batches(_SAMPLE, preprocess)) as batches:
        return next(images for images, _ in batches)


def check_class_scores(model: Model, name: str) -> None:
    """Raise `ModelError` where a model's first output can be no list of classes by its shape, where that is known."""
    from enxuto.opening import class_count
    from enxuto.runtime import Runner

    shape = Runner(model, threads=1).output_shapes[0]
    if class_count(model) is None and shape and None not in shape[1:]:
        sizes = ", ".join("any" if size is None else str(size) for size in shape)
        raise ModelError(
            f"{name}: the first output has the shape ({sizes}), and a list of classes one size above 1",
            code="E035",
        )


def kind_of_scores(model: Model, sample: np.ndarray, threads: int) -> tuple[ScoreKind, str | None]:
    """Return what a model's scores are, and why they are not scores of classes, or None if they are.

    Args:
        model: is run on the sample.
        sample: some images (N, …) as the model takes them.
        threads: 0 takes one per processor.
    """
    from enxuto.calibration.answers import inspect_answers

    answers = inspect_answers(model, sample, threads=threads)
    # The graph knows; where it does not, all images know better than some.
    return (answers.kind if answers.operator else "auto"), answers.reason


def warn_of_other_outputs(reasons: Mapping[str, str | None], *, compared: bool = True) -> list[str]:
    """Warn of models whose outputs are not scores of classes, and return the warnings.

    Args:
        reasons: by the model's name why its outputs are not scores, or None if they are.
        compared: whether answers of two models are compared.
    """
    meant = "top-1 goes by the largest output"
    if compared:
        meant = "top-1 and equal answers go by the largest output, and no divergence is shown"
    warnings = [
        f"{name}: the outputs are no scores of classes, for {reason}; {meant}"
        for name, reason in reasons.items()
        if reason is not None
    ]
    for warning in warnings:
        warn(warning)
    return warnings
