"""Claims of tickets on hand-worked accuracies; levels collected from records; the points that a study has."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from enxuto.errors import DataError, UsageError
from enxuto.prune.removal.kept import Architecture
from enxuto.prune.tickets import SeedAccuracies, compare_with_controls
from enxuto.report.figures.lottery import draw_lottery
from enxuto.studies.images import ImageSelection
from enxuto.studies.kinds import LOTTERY_ROUND, LOTTERY_UNPRUNED
from enxuto.studies.lottery.arms import Arm
from enxuto.studies.lottery.files import write_tables
from enxuto.studies.lottery.points import LotteryStudy, points, retraining_of
from enxuto.studies.lottery.results import Lottery
from enxuto.studies.lottery.scales import SCALES
from enxuto.studies.lottery.tables import claims_table, levels_table, lottery_csv, published_table
from enxuto.study.store_result import Result
from enxuto.train.config import TrainConfig

UNPRUNED = SeedAccuracies({0: 0.80, 1: 0.82, 2: 0.81})


def test_a_ticket_by_the_median_that_one_seed_does_not_hold() -> None:
    runs = SeedAccuracies({0: 0.80, 1: 0.81, 2: 0.83})
    said = compare_with_controls(
        runs, UNPRUNED, fresh=SeedAccuracies({0: 0.79, 1: 0.805, 2: 0.78}), longer=SeedAccuracies({0: 0.84})
    )
    assert said.seeds == (0, 2)  # equal counts: at least as accurate
    assert (said.of, said.by_median, said.beyond_spread) == (3, True, False)
    assert said.over_unpruned == pytest.approx(0)
    assert said.over_fresh == pytest.approx(0.02)
    assert said.beats_fresh is False  # 0.80 against a best control of 0.805
    assert said.over_longer == pytest.approx(-0.03)
    assert said.over_random is None


def test_beyond_the_spread_even_the_worst_is_better_than_the_best() -> None:
    assert compare_with_controls(SeedAccuracies({0: 0.821, 1: 0.83}), UNPRUNED).beyond_spread
    assert not compare_with_controls(SeedAccuracies({0: 0.82, 1: 0.83}), UNPRUNED).beyond_spread
    assert (
        compare_with_controls(SeedAccuracies({1: 0.5}), UNPRUNED, fresh=SeedAccuracies({1: 0.4})).beats_fresh
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
        "l1, rewind to 0", "l1, rewind to 2", "l1, lr-rewind", "l1, fine-tune",
        "taylor, rewind to 0", "taylor, rewind to 2", "taylor, lr-rewind", "taylor, fine-tune",
    ]  # fmt: skip
    found = points(chosen, "data")
    # For each seed: unpruned, trained on twice, arms × rounds, as many random ones, and as many of fresh weights but
    # for the first rounds, which the four ways of retraining share.
    assert len(found) == 2 * (1 + 2 + 8 * 3 + 8 * 3 + (8 * 2 + 2))
    assert len({point.id for point in found}) == len(found)
    by_id = {point.id: point for point in found}
    for point in found:
        arm = point.settings.get("arm", {})
        if point.settings.get("round", 0) > 1 and "control" not in arm:
            first, before = (by_id[one.id] for one in point.after)
            assert before.settings["arm"] == arm
            assert before.settings["round"] == point.settings["round"] - 1
            assert first.seed == before.seed == point.seed
    # More rounds, seeds and arms keep the points there are.
    more = points(
        study(criteria=("l1", "taylor", "l2"), rounds=5, seeds=(0, 1, 2), rewind_epochs=(0, 2, 4)), "data"
    )
    assert {point.id for point in found} <= {point.id for point in more}
    assert {point.id for point in points(study(), "other")}.isdisjoint(by_id)
    without = points(study(criteria=("l1", "taylor"), rewind_epochs=(0, 2), controls=()), "data")
    assert {point.id for point in without} == {
        point.id for point in found if "control" not in point.settings.get("arm", {})
    }


@pytest.mark.parametrize("schedule", ["iterative", "one-shot", "gradual"])
def test_controls_come_after_the_rounds_whose_sizes_they_take(schedule: str) -> None:
    chosen = study(criteria=("l1",), modes=("lr-rewind", "fine-tune"), schedules=(schedule,), seeds=(3,))
    found = points(chosen, "data")
    by_id = {point.id: point for point in found}
    controls = [point for point in found if "control" in point.settings.get("arm", {})]
    numbers: dict[tuple[str, str], list[int]] = {}
    for point in controls:
        arm, number = point.settings["arm"], point.settings["round"]
        numbers.setdefault((arm["mode"], arm["control"]), []).append(number)
        *before, owner = (by_id[one.id] for one in point.after)
        assert before[0].kind == LOTTERY_UNPRUNED
        assert owner.settings["arm"] == {key: value for key, value in arm.items() if key != "control"}
        assert owner.settings["round"] == number
        if arm["control"] == "random" and number > 1 and schedule != "one-shot":
            assert before[1].settings["arm"] == arm
            assert before[1].settings["round"] == number - 1
        else:
            assert len(before) == 1
        config = retraining_of(point.settings, 0.001)
        if arm["control"] == "fresh":  # the whole first schedule, however the arm is retrained
            assert (config.lr, config.milestones, config.epochs) == (0.1, (4, 6), 8)
        else:
            assert config == retraining_of(owner.settings, 0.001)
    # Rounds with the same filters share one control of fresh weights; of a gradual run only the end is compared.
    every, later = [1, 2, 3], [2, 3]
    assert numbers == {
        "iterative": {
            ("lr-rewind", "fresh"): every, ("lr-rewind", "random"): every,
            ("fine-tune", "fresh"): later, ("fine-tune", "random"): every,
        },
        "one-shot": {
            ("lr-rewind", "fresh"): every, ("lr-rewind", "random"): every, ("fine-tune", "random"): every,
        },
        "gradual": {("none", "fresh"): [3], ("none", "random"): every},
    }[schedule]  # fmt: skip


@pytest.mark.parametrize(
    ("arm", "controls"),
    [
        (Arm("l1", "rewind"), ["fresh", "random"]), (Arm("random", "lr-rewind"), ["fresh"]),
        (Arm("l1", "reinit"), []), (Arm("l1", "none"), ["random"]),
        (Arm("l1", "none", schedule="gradual"), ["fresh", "random"]), (Arm("l1", "rewind", control="fresh"), []),
    ],
)  # fmt: skip
def test_each_arm_has_the_controls_that_say_something(arm: Arm, controls: list[str]) -> None:
    assert [one.control for one in arm.controls(("random", "fresh"))] == controls
    assert [one.control for one in arm.controls(("fresh",))] == [one for one in controls if one == "fresh"]


def test_the_full_scale_is_the_sources_protocol() -> None:
    full = SCALES["full"]
    chosen = study(
        criteria=("l1", "deeplift"), rounds=full.rounds, longer=full.longer, rewind_epochs=full.rewind_epochs,
        config=TrainConfig.from_recipe(full.recipe), seeds=tuple(range(full.seeds)), controls=(),
    )  # fmt: skip
    assert {arm.criterion: chosen.rounds_of(arm) for arm in chosen.arms()} == {"l1": 10, "deeplift": 20}
    assert {arm.rewind_epoch for arm in chosen.arms() if arm.mode == "rewind"} == {0, 1, 2, 3, 4}
    assert (full.score_images, full.train, full.test, full.seeds, chosen.config.epochs) == (
        None,
        None,
        None,
        5,
        160,
    )
    assert len(points(chosen, "data")) == 5 * (3 + 7 * 10 + 7 * 20)


def test_one_shot_rounds_come_after_the_unpruned_network_alone() -> None:
    for point in points(study(schedules=("one-shot",), controls=()), "data"):
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
        ({"controls": ("luck",)}, "control"), ({"reference": "noise"}, "reference"), ({"layers": "linear"}, "layers"),
        (
            {"config": TrainConfig.from_recipe("lottery", {**STEPS, "validation": 0.1, "early_stopping": 2})},
            "leave out early_stopping",
        ),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(changes: Mapping[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        study(**changes)


def result_of(kind: str, settings: Mapping[str, Any], seed: int, values: Mapping[str, Any]) -> Result:
    return Result(f"{kind}{seed}{json.dumps(settings)}", kind, settings, seed,
                  "data", "code", (), values, None, 1.0, "now")  # fmt: skip


def records(seeds: int, last_seeds: int) -> list[Result]:
    """An arm of two rounds and its controls; the last round is finished for `last_seeds` seeds only."""
    shared = {
        "network": Architecture("lenet5", (1, 32, 32), 10).to_dict(), "images": ImageSelection(100).to_dict(),
        "config": TrainConfig().to_dict(),
    }  # fmt: skip
    found = []
    for seed in range(seeds):
        base = {"top1": (80 + seed) / 100, "samples": 1000, "loss": 1.0, "epochs_to_lowest": 4 + seed}
        found.append(result_of(LOTTERY_UNPRUNED, shared, seed, base))
        for control, gain in (("", 2), ("fresh", -5), ("random", 1)):
            for number in (1, 2) if seed < last_seeds else (1,):
                left = 0.5**number
                values = {
                    **base, "top1": (80 + seed + gain - 3 * (number - 1)) / 100, "top1_interval": [0.7, 0.9],
                    "left": {"filters": left, "parameters": left**2, "macs": left}, "asked": left, "reached": left,
                    "size": {"filters": 1, "parameters": 2, "macs": 3}, "file_bytes": 10,
                    "top1_before_retraining": 0.1, "widths": {"c1": round(8 * left)},
                    "removed": {"c1": list(range(8 - round(8 * left)))},
                    "removed_now": {"c1": [0, 1, 2, 3] if number == 1 else [4, 5]},
                    "epochs_to_lowest": 3 + seed + number,
                }  # fmt: skip
                settings = {
                    **shared,
                    "arm": Arm("l1", "lr-rewind", control=control).to_dict(),
                    "round": number,
                }
                found.append(result_of(LOTTERY_ROUND, settings, seed, values))
    return found


def test_levels_are_of_all_seeds_or_none() -> None:
    assert {level.round for level in Lottery.of(records(3, 3)).levels} == {1, 2}
    assert {level.round for level in Lottery.of(records(3, 2)).levels} == {1}
    with pytest.raises(DataError, match="E080"):
        Lottery.of([])


def test_without_the_control_nothing_is_said_of_fresh_weights() -> None:
    trained = [one for one in records(3, 3) if one.settings.get("arm", {}).get("control") != "fresh"]
    table = claims_table(Lottery.of(trained))
    assert dict(zip(table.columns, table.rows[0], strict=True))["above fresh weights"] == "–"


def test_first_rounds_share_their_fresh_weights() -> None:
    found = records(2, 2)
    other = [
        replace(
            one, point=one.point + "f", settings={**one.settings, "arm": Arm("l1", "fine-tune").to_dict()}
        )
        for one in found
        if one.settings.get("arm") == Arm("l1", "lr-rewind").to_dict()
    ]
    table = claims_table(Lottery.of([*found, *other]))
    place = table.columns.index("above fresh weights")
    assert {row[0]: row[place] for row in table.rows} == {
        "l1, lr-rewind": "2 of 2",
        "l1, fine-tune": "1 of 1",
    }


@pytest.mark.parametrize(
    ("top1", "more", "void"),
    [
        (0.80, {}, False), (0.11, {}, True), (0.10, {"constant_top1": 0.1}, True), (0.80, {"constant_top1": 0.8}, True),
        (0.80, {"constant_top1": 0.5}, False),
    ],
)  # fmt: skip
def test_claims_are_void_where_the_unpruned_networks_learnt_nothing(
    top1: float, more: Mapping[str, float], void: bool, tmp_path: Path
) -> None:
    found = [
        replace(one, values={**one.values, "top1": top1, **more})
        if one.kind == LOTTERY_UNPRUNED and one.seed
        else one
        for one in records(3, 3)
    ]
    lottery = Lottery.of(found)
    assert (lottery.void is not None) == (lottery.to_dict()["void"] is not None) == void
    row, levels = claims_table(lottery).rows[0], levels_table(lottery)
    assert ("void" in row) == void
    verdicts = {line[-1] for line in levels.rows if "fresh" not in line[0] and "random" not in line[0]}
    assert verdicts == {"void"} if void else "void" not in verdicts
    write_tables(lottery, tmp_path)
    assert ("no better than chance" in (tmp_path / "lottery.md").read_text()) == void


def test_published_figures_stand_beside_those_of_the_same_network() -> None:
    assert published_table(Lottery.of(records(3, 3))) is None
    found = [
        replace(
            one, settings={**one.settings, "network": Architecture("vgg16-cifar", (3, 32, 32), 10).to_dict()}
        )
        for one in records(3, 3)
    ]
    table = published_table(Lottery.of(found))
    assert table is not None
    assert table.rows[0][1] == "66.27, 40.85, 24.90, 16.18, 12.19"
    assert table.rows[1][:2] == ("l1, lr-rewind", "25.00")


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
    assert cells["above random filters"] == "0 of 2"  # a point above in the median; the worst below the best
    assert len(table.rows) == 1  # controls claim nothing
    assert cells["last round − unpruned"] == "-1.00"
    levels = levels_table(lottery)
    assert [row[-1] for row in levels.rows] == [
        "ticket by median", "no ticket", "control", "control", "control, as good as the unpruned", "control",
    ]  # fmt: skip
    place = levels.columns.index("epochs to lowest loss")
    assert [row[place] for row in levels.rows] == ["5", "6"] * 3
    assert "of the unpruned 5." in (levels.caption or "")
    rows = list(csv.DictReader(io.StringIO(lottery_csv(lottery))))
    assert len(rows) == 18
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
