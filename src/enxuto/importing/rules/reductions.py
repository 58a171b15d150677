"""Reductions over axes, which are an attribute in older opsets and an input in newer ones."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from enxuto.importing.modules import Apply
from enxuto.importing.node import Built, Node, Rule

__all__ = ["REDUCTION_RULES"]

_Function = Callable[[Tensor, tuple[int, ...], bool], Tensor]


def _reduction(function: _Function) -> Rule:
    def rule(node: Node) -> Built:
        rank = node.example().dim()
        given = node.setting("axes", 1)
        if (given is None or given.size == 0) and node.int("noop_with_empty_axes"):
            return Built(nn.Identity())
        axes = range(rank) if given is None or given.size == 0 else given.reshape(-1).tolist()
        settings = {"axes": tuple(axis % rank for axis in axes), "keep": bool(node.int("keepdims", 1))}
        return Built(Apply(_reduce, {"function": function, **settings}))

    return rule


def _reduce(x: Tensor, function: _Function, axes: tuple[int, ...], keep: bool) -> Tensor:
    return function(x, axes, keep)


def _product(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    for axis in sorted(axes, reverse=True):
        x = x.prod(axis, keepdim=keep)
    return x


def _running_sums(node: Node) -> Built:
    """CumSum; over the images it would mix them."""
    given = node.setting("axis", 1)
    if given is None:
        raise node.refusal("its axis is computed")
    axis = int(given.reshape(-1)[0]) % node.example().dim()
    if axis == 0:
        raise node.refusal("it adds up over the images of a batch")
    settings = {"exclusive": bool(node.int("exclusive")), "reverse": bool(node.int("reverse"))}
    return Built(Apply(_cumulate, {"axis": axis, **settings}))


def _cumulate(x: Tensor, axis: int, exclusive: bool, reverse: bool) -> Tensor:
    turned = x.flip(axis) if reverse else x
    sums = turned.cumsum(axis)
    if exclusive:
        sums = sums.roll(1, axis)
        sums.select(axis, 0).zero_()
    return sums.flip(axis) if reverse else sums


def _position(name: str) -> Rule:
    """ArgMax and ArgMin; of equals the first, or the last where `select_last_index` says so."""

    def rule(node: Node) -> Built:
        if node.int("select_last_index"):
            raise node.refusal("select_last_index has no counterpart in PyTorch")
        axis = node.int("axis", 0) % node.example().dim()
        return Built(Apply(getattr(torch, name), {"dim": axis, "keepdim": bool(node.int("keepdims", 1))}))

    return rule


REDUCTION_RULES: dict[str, Rule] = {
    "ArgMax": _position("argmax"),
    "ArgMin": _position("argmin"),
    "CumSum": _running_sums,
    "ReduceL1": _reduction(lambda x, axes, keep: x.abs().sum(axes, keepdim=keep)),
    "ReduceL2": _reduction(lambda x, axes, keep: x.square().sum(axes, keepdim=keep).sqrt()),
    "ReduceLogSum": _reduction(lambda x, axes, keep: x.sum(axes, keepdim=keep).log()),
    "ReduceLogSumExp": _reduction(lambda x, axes, keep: torch.logsumexp(x, axes, keepdim=keep)),
    "ReduceMax": _reduction(lambda x, axes, keep: torch.amax(x, axes, keepdim=keep)),
    "ReduceMean": _reduction(lambda x, axes, keep: x.mean(axes, keepdim=keep)),
    "ReduceMin": _reduction(lambda x, axes, keep: torch.amin(x, axes, keepdim=keep)),
    "ReduceProd": _reduction(_product),
    "ReduceSum": _reduction(lambda x, axes, keep: x.sum(axes, keepdim=keep)),
    "ReduceSumSquare": _reduction(lambda x, axes, keep: x.square().sum(axes, keepdim=keep)),
}
