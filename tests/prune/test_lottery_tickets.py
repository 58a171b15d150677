"""Claims of tickets on hand-worked accuracies; levels collected from records; the points that a study has."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from enxuto.errors import DataError, UsageError
from enxuto.prune.removal.kept import Architecture
from enxuto.prune.tickets import SeedAccuracies, compare_with_controls
from enxuto.report.figures.lottery import draw_lottery
from enxuto.studies.images import ImageSelection
from enxuto.studies.kinds import LOTTERY_ROUND, LOTTERY_UNPRUNED
from enxuto.studies.lottery.files import write_tables
from enxuto.studies.lottery.points import Arm, LotteryStudy, points, retraining_of
from enxuto.studies.lottery.results import Lottery
from enxuto.studies.lottery.tables import claims_table, levels_table, lottery_csv
from enxuto.study.store_result import Result
from enxuto.train.config import TrainConfig

UNPRUNED = SeedAccuracies({0: 0.80, 1: 0.82, 2: 0.81})


def test_a_ticket_by_the_median_that_one_seed_does_not_hold() -> None:
    runs = SeedAccuracies({0: 0.80, 1: 0.81, 2: 0.83})
    said = compare_with_controls(
        runs, UNPRUNED, reinit=SeedAccuracies({0: 0.79, 1: 0.805, 2: 0.78}), longer=SeedAccuracies({0: 0.84})
    )
    assert said.seeds == (0, 2)  # equal counts: at least as accurate
    assert (said.of, said.by_median, said.beyond_spread) == (3, True, False)
    assert said.over_unpruned == pytest.approx(0)
    assert said.over_reinit == pytest.approx(0.02)
    assert said.beats_reinit is False  # 0.80 against a best control of 0.805
    assert said.over_longer == pytest.approx(-0.03)
    assert said.over_random is None


def test_beyond_the_spread_even_the_worst_is_better_than_the_best() -> None:
    assert compare_with_controls(SeedAccuracies({0: 0.821, 1: 0.83}), UNPRUNED).beyond_spread
    assert not compare_with_controls(SeedAccuracies({0: 0.82, 1: 0.83}), UNPRUNED).beyond_spread
    assert (
        compare_with_controls(
            SeedAccuracies({1: 0.5}), UNPRUNED, reinit=SeedAccuracies({1: 0.4})
        ).beats_reinit
        is True
    )


def test_medians_and_what_is_missing() -> None:
    assert SeedAccuracies({0: 0.1, 1: 0.4, 2: 0.2, 3: 0.3}).median == pytest.approx(0.25)
    with pytest.raises(DataError, match="seed 7 has no unpruned run"):
        compare_with_controls(SeedAccuracies({7: 0.9}), UNPRUNED)
    with pytest.raises(DataError, match="E043"):
        SeedAccuracies({})


STEPS = {"epochs": 8, "milestones": (4, 6)}


def study(**changes: Any) -> LotteryStudy:
    values: dict[str, Any] = {
        "architecture": Architecture("lenet5", (1, 32, 32), 4), "images": ImageSelection(), "rounds": 3,
        "seeds": (0, 1), "config": TrainConfig.from_recipe("lottery", STEPS), **changes,
    }  # fmt: skip
    return LotteryStudy(**values)


def test_the_points_of_a_study() -> None:
    chosen = study(criteria=("l1", "taylor"), rewind_epochs=(0, 2))
    assert [arm.label for arm in chosen.arms()] == [
        "l1, rewind to 0", "l1, rewind to 2", "l1, lr-rewind", "l1, fine-tune", "l1, reinit",
        "taylor, rewind to 0", "taylor, rewind to 2", "taylor, lr-rewind", "taylor, fine-tune", "taylor, reinit",
        "random, reinit",
    ]  # fmt: skip
    found = points(chosen, "data")
    assert len(found) == 2 * (1 + 2 + 11 * 3)  # for each seed: unpruned, trained on twice, arms × rounds
    assert len({point.id for point in found}) == len(found)
    by_id = {point.id: point for point in found}
    for point in found:
        if point.settings.get("round", 0) > 1:
            first, before = (by_id[one.id] for one in point.after)
            assert before.settings["arm"] == point.settings["arm"]
            assert before.settings["round"] == point.settings["round"] - 1
            assert first.seed == before.seed == point.seed
    # More rounds, seeds and arms keep the points there are.
    more = points(
        study(criteria=("l1", "taylor", "l2"), rounds=5, seeds=(0, 1, 2), rewind_epochs=(0, 2, 4)), "data"
    )
    assert {point.id for point in found} <= {point.id for point in more}
    assert {point.id for point in points(study(), "other")}.isdisjoint(by_id)


def test_one_shot_rounds_come_after_the_unpruned_network_alone() -> None:
    for point in points(study(schedules=("one-shot",)), "data"):
        assert len(point.after) <= 1
        if point.settings.get("round"):
            assert point.settings["left"] == pytest.approx(0.8 ** point.settings["round"])


def test_gradual_arms_prune_within_one_training() -> None:
    chosen = study(schedules=("gradual",), criteria=("l1",))
    assert [arm.label for arm in chosen.arms()] == ["l1, none, gradual"]
    assert chosen.gradual_ends() == [2, 4, 6, 8]
    rounds = [point for point in points(chosen, "data") if point.settings.get("gradual")]
    assert [point.settings["gradual"] for point in rounds[:3]] == [[2, 4], [4, 6], [6, 8]]
    configs = [retraining_of(point.settings, 1.0) for point in rounds[:3]]
    assert [round(config.lr, 6) for config in configs] == [0.1, 0.01, 0.001]  # milestones at 4 and 6
    assert sum(config.epochs for config in configs) + 2 == 8
    first = points(chosen, "data")[0]
    assert 2 in first.settings["config"]["keep_epochs"]
    with pytest.raises(UsageError, match="more epochs"):
        study(schedules=("gradual",), rounds=8)
    with pytest.raises(UsageError, match="E022"):
        study(schedules=("gradual",), config=TrainConfig.from_recipe("quick"))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"criteria": ()}, "criterion"), ({"criteria": ("l1", "l1")}, "each once"),
        ({"modes": ("again",)}, "retraining"),
        ({"scopes": ("here",)}, "scope"), ({"seeds": ()}, "seeds"), ({"amount": 1.0}, "100 %"),
        ({"rewind_epochs": (8,)}, "nothing is left to train"),
        ({"config": TrainConfig.from_recipe("lottery", {**STEPS, "validation": 0.1})}, "leave out validation"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(changes: Mapping[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        study(**changes)


def result_of(kind: str, settings: Mapping[str, Any], seed: int, values: Mapping[str, Any]) -> Result:
    return Result(f"{kind}{seed}{json.dumps(settings)}", kind, settings, seed,
                  "data", "code", (), values, None, 1.0, "now")  # fmt: skip


def records(seeds: int, last_seeds: int) -> list[Result]:
    """An arm of two rounds and its control; the last round is finished for `last_seeds` seeds only."""
    shared = {
        "network": Architecture("lenet5", (1, 32, 32), 10).to_dict(), "images": ImageSelection(100).to_dict(),
        "config": TrainConfig().to_dict(),
    }  # fmt: skip
    found = []
    for seed in range(seeds):
        base = {"top1": (80 + seed) / 100, "samples": 1000, "loss": 1.0}
        found.append(result_of(LOTTERY_UNPRUNED, shared, seed, base))
        for mode, gain in (("lr-rewind", 2), ("reinit", -5)):
            for number in (1, 2) if seed < last_seeds else (1,):
                left = 0.5**number
                values = {
                    **base, "top1": (80 + seed + gain - 3 * (number - 1)) / 100, "top1_interval": [0.7, 0.9],
                    "left": {"filters": left, "parameters": left**2, "macs": left}, "asked": left, "reached": left,
                    "size": {"filters": 1, "parameters": 2, "macs": 3}, "file_bytes": 10,
                    "top1_before_retraining": 0.1, "widths": {"c1": round(8 * left)},
                    "removed": {"c1": list(range(8 - round(8 * left)))},
                    "removed_now": {"c1": [0, 1, 2, 3] if number == 1 else [4, 5]},
                }  # fmt: skip
                settings = {**shared, "arm": vars(Arm("l1", mode)), "round": number}
                found.append(result_of(LOTTERY_ROUND, settings, seed, values))
    return found


def test_levels_are_of_all_seeds_or_none() -> None:
    assert {level.round for level in Lottery.of(records(3, 3)).levels} == {1, 2}
    assert {level.round for level in Lottery.of(records(3, 2)).levels} == {1}
    with pytest.raises(DataError, match="E080"):
        Lottery.of([])


def test_without_the_control_nothing_is_said_of_fresh_weights() -> None:
    trained = [one for one in records(3, 3) if one.settings.get("arm", {}).get("mode") != "reinit"]
    table = claims_table(Lottery.of(trained))
    assert dict(zip(table.columns, table.rows[0], strict=True))["above fresh weights"] == "–"


def test_claims_are_told_as_they_are(tmp_path: Path) -> None:
    lottery = Lottery.of(records(3, 3))
    table = claims_table(lottery)
    cells = dict(zip(table.columns, table.rows[0], strict=True))
    assert cells["arm"] == "l1, lr-rewind"
    # Round 1 is 2 points up (0.82, 0.83, 0.84 beside 0.80, 0.81, 0.82), round 2 a point down.
    assert cells["tickets by median"] == "1 of 2"
    assert cells["smallest, parameters %"] == "25.00"
    assert cells["smallest beyond spread, %"] == "–"  # the worst equals the best unpruned one
    assert cells["tickets by seed"] == "3 of 6"
    assert cells["above fresh weights"] == "2 of 2"
    assert cells["last round − unpruned"] == "-1.00"
    verdicts = [row[-1] for row in levels_table(lottery).rows]
    assert verdicts == ["ticket by median", "no ticket", "no ticket", "no ticket"]
    rows = list(csv.DictReader(io.StringIO(lottery_csv(lottery))))
    assert len(rows) == 12
    assert float(rows[0]["unpruned_top1"]) == 0.8

    files = write_tables(lottery, tmp_path) + draw_lottery(lottery, tmp_path, ".svg")
    written = {path.name for path in files}
    assert written == {
        "lottery.md", "lottery.csv", "lottery.json", "tickets-global-iterative.svg", "filters-l1-global-iterative.svg",
    }  # fmt: skip
    text = (tmp_path / "tickets-global-iterative.svg").read_text()
    for words in (
        "% of parameters remaining",
        "unpruned, median",
        "learning rate rewound",
        "ring: ticket by the median",
    ):
        assert words in text
    said = json.loads((tmp_path / "lottery.json").read_text())
    assert said["unpruned"] == {
        "median": 0.81, "min": 0.8, "max": 0.82, "seeds": {"0": 0.8, "1": 0.81, "2": 0.82},
    }  # fmt: skip
    assert said["levels"][0]["removed_now"]["2"] == {"c1": [0, 1, 2, 3]}
