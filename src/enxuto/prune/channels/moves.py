"""Operators that move elements: they act on names as on data.

What makes them delicate is the smaller network, in which the same Python code runs on fewer channels. A split axis
must keep its outer size, chunks must stay equal, zeros that are padded in stay as many as the code says. These
demands go to the `NameBook`; operators whose sizes might be written in the code are noted, to be tried.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from enxuto.prune.channels.call import Call
from enxuto.prune.channels.names import core, spread, varies

__all__ = ["MOVES"]

Rule = Callable[[Call], Any]


def move(call: Call) -> Any:
    """Permute, expand, squeeze, …: the channels keep their order along their axis."""
    return call.apply_to_names(call.first_names())


def reshape(call: Call) -> Any:
    """A reshape. Where it splits an axis of channels in (outer, inner), the outer size is taken as written in the
    code: inner position k of all outer positions goes together, as a channel shuffle in user code needs.
    """
    names = call.first_names()
    out = names.reshape(call.output.shape)
    if call.resizing is not None:
        return out
    before, after = call.book.roots(names), call.book.roots(out)
    axes = [axis for axis in range(after.dim()) if varies(after, axis)]
    if axes:
        call.book.add_site(call.module_path, call.name, names)
    if len(axes) > 1 and len(axes) > sum(varies(before, axis) for axis in range(before.dim())):
        call.book.tie(out, out.narrow(axes[0], 0, 1))
    return out


def shuffle(call: Call) -> Any:
    """A channel shuffle outside of a module for it: channel k of all groups goes together."""
    names = call.first_names()
    if call.resizing is None and varies(call.book.roots(names), 1):
        lanes = names.reshape(names.shape[0], int(call.args[1]), -1, *names.shape[2:])
        call.book.tie(lanes, lanes.narrow(1, 0, 1))
    return call.apply_to_names(names)


def split(call: Call) -> Any:
    """Parts along an axis: of equal size they stay equal, others have sizes of their own and stay as they are."""
    names = call.first_names()
    out = call.apply_to_names(names)
    axis = int(call.argument(2, "dim", 0)) % names.dim()
    if not varies(call.book.roots(names), axis):
        return out
    if len({part.shape[axis] for part in out}) > 1:
        call.fix_all("it is split in unequal parts")
    elif len(out) > 1:
        call.book.balance([_first_names_along(part, axis) for part in out], call.module_path)
        call.book.add_site(call.module_path, call.name, names)
        _tie_across(call, names, axis)
    return out


def slice_(call: Call) -> Any:
    """A slice: one of equal consecutive parts, or a part of a size of its own, which stays as it is."""
    names = call.first_names()
    out: Tensor = call.apply_to_names(names)
    axis = int(call.argument(1, "dim", 0)) % names.dim()
    size, part = names.shape[axis], out.shape[axis]
    if part == size or not varies(call.book.roots(names), axis):
        return out
    start = int(call.argument(2, "start", 0) or 0)
    start = max(0, start + size if start < 0 else start)
    if int(call.argument(4, "step", 1)) != 1 or part == 0 or size % part or start % part:
        call.fix_all("a part of the channels is cut out")
        return out
    positions = torch.split(_first_names_along(names, axis), part)
    call.book.balance(list(positions), call.module_path)
    call.book.add_site(call.module_path, call.name, names)
    _tie_across(call, names, axis)
    return out


def pick(call: Call) -> Any:
    """Picked, rolled or reversed positions: free only along an axis without channels."""
    if len(call.operand_names()) > 1:
        call.fix_all(f"{call.name} picks by a number that was computed")
        return call.fixed_output_names("picked by a computed number")
    names = call.first_names()
    out = call.apply_to_names(names)
    roots = call.book.roots(names)
    if call.resizing is None and any(varies(roots, axis) for axis in _picked_axes(call, names.dim())):
        call.fix_all(f"{call.name} picks channels by number")
    return out


def _picked_axes(call: Call, rank: int) -> list[int]:
    """The axes along which `pick` picks."""
    if call.name == "index":
        return [axis for axis, index in enumerate(call.args[1]) if index is not None]
    given = call.argument(2 if call.name in {"roll", "rot90"} else 1, "dim", call.kwargs.get("dims", 0))
    given = [given] if isinstance(given, int) else list(given)
    return [axis % rank for axis in given] if given else list(range(rank))


def join(call: Call) -> Any:
    """cat and stack; a constant among the parts has a size fixed in the code, or one that follows the others'."""
    items = list(call.args[0])
    stacking = call.name == "stack"
    rank = call.output.dim()
    axis = int(call.argument(1, "dim", 0)) % rank
    parts = [
        names
        if (names := call.names(item)) is not None
        else call.book.new_fixed_names(
            item.shape, f"a constant of its own size is joined to it in {call.module_path}"
        )
        for item in items
    ]
    for item, part in zip(items, parts, strict=True):
        if call.names(item) is not None and len(call.operand_names()) < len(items):
            call.book.add_site(call.module_path, call.name, part)
    if stacking:
        return torch.stack(parts, axis)
    shape = list(call.output.shape)
    # Names repeated along other axes stay repeated, without memory.
    shared = [a for a in range(rank) if a != axis and all(p.shape[a] == 1 or p.stride(a) == 0 for p in parts)]
    for other in shared:
        parts = [part.narrow(other, 0, 1) for part in parts]
    return torch.cat(parts, axis).expand(shape)


def pad(call: Call) -> Any:
    """Padding: within planes it belongs to the channel; along channels it makes new ones, of a fixed number."""
    names = call.first_names()
    margins = [int(item) for item in call.args[1]]
    for position in range(len(margins) // 2):
        axis = names.dim() - 1 - position
        before, after = margins[2 * position : 2 * position + 2]
        if before == after == 0:
            continue
        shape = list(names.shape)
        shape[axis] += before + after
        if not varies(call.book.roots(names), axis) and (axis > 1 or min(before, after) < 0):
            names = core(names).narrow(axis, 0, 1).expand(shape)
        elif min(before, after) < 0:
            call.fix_all("channels are cropped")
            return call.apply_to_names(call.first_names())
        else:
            first, last = _padding_names(call, before, after)
            ends = [
                spread(part, axis, [*shape[:axis], part.shape[0], *shape[axis + 1 :]])
                for part in (first, last)
            ]
            names = torch.cat([ends[0], names, ends[1]], axis)
    return names


def _padding_names(call: Call, before: int, after: int) -> tuple[Tensor, Tensor]:
    """Names of padded channels: free where the module's padding can be changed, else fixed."""
    book = call.book
    if call.resizing is None:
        made = book.new_names(before + after)
        book.fix(made, f"a number of zero channels is written in the code of {call.module_path}")
        return made[:before], made[before:]
    if call.resizing not in book.pads:
        book.pads[call.resizing] = book.new_names(before), book.new_names(after)
    return book.pads[call.resizing]


def mirror(call: Call) -> Any:
    """Reflected or replicated edges: of each channel's own plane."""
    names = call.first_names()
    margins = list(call.args[1])
    for position in range(len(margins) // 2):
        if varies(call.book.roots(names), names.dim() - 1 - position):
            call.fix_all("channels lie along a padded axis")
    small = core(names)
    for position in range(len(margins) // 2):
        small = small.narrow(small.dim() - 1 - position, 0, 1)
    return small.expand(call.output.shape)


def _first_names_along(names: Tensor, axis: int) -> Tensor:
    """The names along one axis, at the first position of all others."""
    return names.movedim(axis, 0).reshape(names.shape[axis], -1)[:, 0]


def _tie_across(call: Call, names: Tensor, axis: int) -> None:
    """Tie the names at each position of the axis, so that the first stands for all."""
    others = [other for other in range(names.dim()) if other != axis]
    first = names
    for other in others:
        first = first.narrow(other, 0, 1)
    call.book.tie(names, first)


MOVES: Mapping[str, Rule] = {
    **dict.fromkeys(
        (
            *("permute", "transpose", "t", "expand", "squeeze", "unsqueeze", "movedim", "repeat"),
            *("pixel_shuffle", "pixel_unshuffle"),
        ),
        move,
    ),
    **dict.fromkeys(("view", "_unsafe_view", "reshape", "flatten", "unflatten", "_reshape_alias"), reshape),
    **dict.fromkeys(("split", "split_with_sizes", "chunk", "unsafe_split", "unsafe_chunk"), split),
    **dict.fromkeys(("select", "unbind", "index", "index_select", "roll", "flip"), pick),
    **dict.fromkeys(("cat", "stack", "concat"), join),
    **dict.fromkeys(
        (f"{kind}_pad{rank}d" for kind in ("reflection", "replication") for rank in (1, 2, 3)), mirror
    ),
    **dict.fromkeys(("channel_shuffle", "native_channel_shuffle"), shuffle),
    "slice": slice_,
    "constant_pad_nd": pad,
}
