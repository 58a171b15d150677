"""Sequences: a model is run step by step, and some outputs are inputs of the next step.

Judges run the compressed model with states of its own, so that errors grow as they do in use. Calibration looks at
single steps, each with the state that the original had there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from enxuto.data.samples import Feeds, Group, Samples
from enxuto.errors import DataError
from enxuto.onnx_model import Model
from enxuto.runtime import Runner

__all__ = ["run_sequence", "sequence_runner", "single_steps"]


def sequence_runner(model: Model, group: Group, *, threads: int = 0) -> Runner:
    """Return a runner that gives the model's outputs, and those that are fed back."""
    return Runner(model, threads=threads, extra_outputs=list(group.feedback.values()))


def run_sequence(runner: Runner, group: Group, names: Sequence[str]) -> list[np.ndarray]:
    """Return named outputs of all steps of a sequence, one after the other along the first axis."""
    found = [outputs for _, outputs in _steps(runner, group, names)]
    return [_join(name, pieces) for name, pieces in zip(names, zip(*found, strict=True), strict=True)]


def single_steps(model: Model, samples: Samples, count: int, *, seed: int = 0, threads: int = 0) -> Samples:
    """Return at most `count` steps of sequences, drawn at random, as samples; other samples as they are.

    Each has the state that the model has there, so that it can be run by itself.
    """
    if not samples.feedback:
        return samples
    groups = samples.groups()
    total = sum(group.rows for group in groups)
    chosen = np.zeros(total, bool)
    chosen[np.random.default_rng(seed).permutation(total)[:count]] = True
    runner = sequence_runner(model, groups[0], threads=threads)
    steps: list[Feeds] = []
    number = 0
    for group in groups:
        for feeds, _ in _steps(runner, group, []):
            if chosen[number]:
                steps.append(feeds)
            number += 1
    columns = {name: [feeds[name] for feeds in steps] for name in samples.columns}
    return replace(
        samples, columns=columns, stacked=False, feedback={}, constant=frozenset(), labels=None, _digests={}
    )


def _steps(runner: Runner, group: Group, names: Sequence[str]) -> Iterator[tuple[Feeds, list[np.ndarray]]]:
    """Yield what every step is fed, and what it gives."""
    states = {name: group.feeds[name] for name in group.feedback}
    fed_back = list(group.feedback.values())
    for number in range(group.rows):
        feeds = {name: np.asarray(array[number]) for name, array in group.stepwise.items()}
        feeds |= {name: group.feeds[name] for name in group.constant} | states
        found = runner.run(feeds, [*names, *fed_back])
        yield feeds, found[: len(names)]
        after = dict(zip(fed_back, found[len(names) :], strict=True))
        for name, output in group.feedback.items():
            before = states[name]
            states[name] = after[output].astype(before.dtype, copy=False)
            if states[name].ndim != before.ndim:
                raise DataError(
                    f"output {output!r} has the shape {after[output].shape}, and input {name!r}, which it is fed back "
                    f"to, {before.shape}",
                    code="E044",
                )


def _join(name: str, pieces: Sequence[np.ndarray]) -> np.ndarray:
    """Return arrays of all steps as one, with an axis of steps where none has the samples first."""
    if len({piece.shape for piece in pieces}) > 1:
        raise DataError(
            f"output {name!r} changes its shape from step to step; leave it out by outputs={{{name!r}: 'ignore'}}",
            code="E044",
        )
    one_sample = all(piece.shape[:1] == (1,) for piece in pieces)
    return np.concatenate(pieces) if one_sample else np.stack(pieces)
