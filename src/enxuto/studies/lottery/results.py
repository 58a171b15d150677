"""A lottery study's records as levels: what each arm has reached after each round, over the seeds, and what it claims.

Only rounds that every seed of the study has finished make a level, so that medians of different rounds are of the
same seeds. Of gradual arms the last round alone is a finished training; the rounds before it claim nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

from enxuto.errors import DataError
from enxuto.prune.tickets import Claim, SeedAccuracies, compare_with_controls
from enxuto.studies.kinds import LOTTERY_ROUND, LOTTERY_SPEED, LOTTERY_UNPRUNED
from enxuto.studies.lottery.arms import Arm, with_same_plan
from enxuto.studies.lottery.chance import explain_void
from enxuto.study.store_result import Result

__all__ = ["ArmSpeeds", "Level", "Lottery"]


@dataclass(frozen=True)
class Level:
    """An arm after a round. left: medians of the shares left, of filters, parameters and macs. claim: None where the
    training is not finished. values: seed → the point's values.
    """

    arm: Arm
    round: int
    left: Mapping[str, float] = field(hash=False)
    runs: SeedAccuracies
    claim: Claim | None
    values: Mapping[int, Mapping[str, Any]] = field(hash=False)

    @property
    def epochs(self) -> float | None:
        """Median of the epochs after which the loss on held-out images was lowest, None where none were held out."""
        return _median_epochs(self.values.values())


@dataclass(frozen=True)
class ArmSpeeds:
    """Speeds of an arm: rows of device, batch, round, median_ms, speedup. left: parameters left after each round."""

    arm: Arm
    rows: tuple[Mapping[str, Any], ...]
    left: Mapping[int, float] = field(hash=False)
    threads: int


@dataclass(frozen=True)
class Lottery:
    """All levels of a study of one network on one set of images.

    unpruned_epochs: median of the epochs after which the unpruned networks' loss on held-out images was lowest, None
    where none were held out. void: why no claim holds, None where nothing speaks against them.
    """

    network: str
    about: str
    unpruned: SeedAccuracies
    trained_on: Mapping[str, SeedAccuracies] = field(hash=False)
    levels: tuple[Level, ...] = ()
    speeds: tuple[ArmSpeeds, ...] = ()
    unpruned_epochs: float | None = None
    void: str | None = None

    @classmethod
    def of(cls, results: Iterable[Result]) -> Lottery:
        """Collect what is finished. Raises `DataError` where no unpruned network is."""
        done = [result for result in results if result.values is not None]
        firsts = {r.seed: r for r in done if r.kind == LOTTERY_UNPRUNED}
        if not firsts:
            raise DataError(
                "no unpruned network is trained yet: there is nothing to compare with", code="E080"
            )
        unpruned = SeedAccuracies(
            {seed: result.values["top1"] for seed, result in firsts.items() if result.values}
        )
        rounds: dict[tuple[Arm, int], dict[int, Mapping[str, Any]]] = defaultdict(dict)
        for result in done:
            if result.kind == LOTTERY_ROUND and result.values is not None:
                arm = Arm(**result.settings["arm"])
                rounds[arm, result.settings["round"]][result.seed] = result.values
        whole = _share_controls(
            {key: found for key, found in rounds.items() if found.keys() == firsts.keys()}
        )
        runs = {
            key: SeedAccuracies({seed: values["top1"] for seed, values in found.items()})
            for key, found in whole.items()
        }
        trained_on = {arm.mode: found for (arm, number), found in runs.items() if number == 0}
        last = max((number for _, number in rounds), default=0)
        levels = tuple(
            Level(arm, number, _median_shares(whole[arm, number]), runs[arm, number],
                  _claim(arm, number, runs, unpruned, trained_on, last), whole[arm, number])
            for arm, number in whole if number
        )  # fmt: skip
        first = next(iter(firsts.values()))
        return cls(
            first.settings["network"]["name"], _about(first, sorted(firsts)), unpruned, trained_on, levels,
            tuple(_arm_speeds(result, rounds) for result in done if result.kind == LOTTERY_SPEED),
            _median_epochs(result.values for result in firsts.values() if result.values),
            explain_void(list(firsts.values())),
        )  # fmt: skip

    @property
    def arms(self) -> list[Arm]:
        """Arms in the order of the records."""
        return list(dict.fromkeys(level.arm for level in self.levels))

    def of_arm(self, arm: Arm) -> list[Level]:
        """Its levels, round by round."""
        return sorted((level for level in self.levels if level.arm == arm), key=lambda level: level.round)

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "network": self.network,
            "about": self.about,
            "void": self.void,
            "unpruned": self.unpruned.to_dict(),
            "unpruned_epochs_to_lowest_validation_loss": self.unpruned_epochs,
            "unpruned_trained_on": {mode: runs.to_dict() for mode, runs in self.trained_on.items()},
            "levels": [
                {
                    **vars(level.arm),
                    "round": level.round,
                    "left": dict(level.left),
                    **level.runs.to_dict(),
                    "epochs_to_lowest_validation_loss": level.epochs,
                    "claim": None if level.claim is None else level.claim.to_dict(),
                    "removed_now": {
                        str(seed): values["removed_now"] for seed, values in level.values.items()
                    },
                }
                for level in self.levels
            ],
            "speeds": [
                {**vars(timed.arm), "threads": timed.threads, "rows": [dict(row) for row in timed.rows]}
                for timed in self.speeds
            ],
        }


def _claim(
    arm: Arm,
    number: int,
    runs: Mapping[tuple[Arm, int], SeedAccuracies],
    unpruned: SeedAccuracies,
    trained_on: Mapping[str, SeedAccuracies],
    last: int,
) -> Claim | None:
    if arm.schedule == "gradual" and number < last:
        return None

    if arm.is_compared_with:
        return compare_with_controls(runs[arm, number], unpruned)
    fresh, random = (runs.get((replace(arm, control=name), number)) for name in ("fresh", "random"))
    return compare_with_controls(
        runs[arm, number], unpruned, fresh=fresh, random=random, longer=trained_on.get(arm.mode)
    )


def _share_controls(
    rounds: Mapping[tuple[Arm, int], Mapping[int, Mapping[str, Any]]],
) -> dict[tuple[Arm, int], Mapping[int, Mapping[str, Any]]]:
    """Give a round's fresh weights to every arm that has the same filters after it."""
    found: dict[tuple[Arm, int], Mapping[int, Mapping[str, Any]]] = {}
    arms = list(dict.fromkeys(arm for arm, _ in rounds))
    for (arm, number), values in rounds.items():
        found.setdefault((arm, number), values)
        if arm.control == "fresh":
            for other in with_same_plan(arms, replace(arm, control=""), number):
                found.setdefault((replace(other, control="fresh"), number), values)
    return found


def _median_epochs(values: Iterable[Mapping[str, Any]]) -> float | None:
    found = [one["epochs_to_lowest"] for one in values if "epochs_to_lowest" in one]
    return float(median(found)) if found else None


def _median_shares(values: Mapping[int, Mapping[str, Any]]) -> dict[str, float]:
    keys = ("filters", "parameters", "macs")
    return {key: float(median(one["left"][key] for one in values.values())) for key in keys}


def _arm_speeds(
    result: Result, rounds: Mapping[tuple[Arm, int], Mapping[int, Mapping[str, Any]]]
) -> ArmSpeeds:
    assert result.values is not None
    arm = Arm(**result.settings["arm"])
    left = {
        number: float(found[result.seed]["left"]["parameters"])
        for (one, number), found in rounds.items()
        if one == arm and result.seed in found
    }
    return ArmSpeeds(arm, tuple(result.values["rows"]), {0: 1.0, **left}, int(result.values["threads"]))


def _about(first: Result, seeds: list[int]) -> str:
    """Samples, epochs, seeds and data: an accuracy without them says nothing."""
    assert first.values is not None
    config, images = first.settings["config"], first.settings["images"]
    trained = "all training images" if images["train"] is None else f"{images['train']:,} training images"
    return (
        f"{trained}, {config['epochs']} epochs, {first.values['samples']:,} test images, seeds "
        f"{', '.join(map(str, seeds))}, data {first.data_hash}"
    )
