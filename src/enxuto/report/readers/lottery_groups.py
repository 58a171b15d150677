"""Which points of lottery studies in one file may be compared: those of one unpruned network and one way of pruning it.

A folder can hold studies of several data sets, networks, scales and settings; medians over all would be of nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from enxuto.study import Result, content_hash

__all__ = ["group_comparable"]


def group_comparable(results: Sequence[Result], unpruned_kinds: Sequence[str]) -> list[list[Result]]:
    """Groups of the results that belong together, each with its unpruned networks first, in the order of the records.

    unpruned_kinds: of the points that give unpruned networks. Those that were only trained on (round 0) stand in all
    groups of their unpruned networks. Rounds without any form a group by themselves.
    """
    firsts: dict[str, list[Result]] = {}
    root_of: dict[str, str] = {}
    for one in results:
        if one.kind in unpruned_kinds:
            root_of[one.point] = _unpruned_hash(one)
            firsts.setdefault(root_of[one.point], []).append(one)
    rounds: dict[tuple[str, str], list[Result]] = {}
    trained_on: dict[str, list[Result]] = {}
    for one in results:
        if one.kind in unpruned_kinds:
            continue
        root = next((root_of[before] for before in one.after if before in root_of), None) or _matching_group(
            one, firsts
        )
        if one.settings.get("round"):
            rounds.setdefault((root, _pruning_hash(one.settings)), []).append(one)
        else:
            trained_on.setdefault(root, []).append(one)
    for root in dict.fromkeys([*firsts, *trained_on]):
        if not any(root == key for key, _ in rounds):
            rounds[root, ""] = []
    return [[*firsts.get(root, ()), *trained_on.get(root, ()), *group] for (root, _), group in rounds.items()]


def _unpruned_hash(first: Result) -> str:
    """The hash of the settings that the unpruned networks of all seeds share."""
    settings = {**first.settings, "config": _without_seed(first.settings.get("config"))}
    return content_hash({**settings, "data": first.data_hash, "code": first.code, "kind": first.kind})


def _pruning_hash(settings: Mapping[str, Any]) -> str:
    """The hash of the settings of pruning and retraining that all arms and rounds share."""
    number, left = settings.get("round"), settings.get("left")
    amount = None
    if isinstance(number, int) and number > 0 and isinstance(left, float) and 0 < left < 1:
        amount = round(1 - left ** (1 / number), 6)
    chosen = settings.get("selection")
    selection = chosen if isinstance(chosen, Mapping) else {}
    return content_hash({
        **{key: settings.get(key) for key in ("score_images", "retrain_epochs", "rewind")},
        "selection": {key: value for key, value in selection.items() if key != "scope"},
        "config": _without_seed(settings.get("config")),
        "amount": amount,
    })  # fmt: skip


def _without_seed(config: Any) -> dict[str, Any]:
    """A training's configuration without what differs from seed to seed."""
    values = config if isinstance(config, Mapping) else {}
    return {key: value for key, value in values.items() if key not in ("seed", "keep_epochs", "threads")}


def _matching_group(result: Result, firsts: Mapping[str, Sequence[Result]]) -> str:
    """The group of the first unpruned network of the same name and images, for records without one of their own."""
    for key, group in firsts.items():
        same = group[0].settings.get("network") == result.settings.get("network")
        if same and group[0].data_hash == result.data_hash:
            return key
    return content_hash({"network": result.settings.get("network"), "data": result.data_hash})
