"""The lottery study: criteria × ways of retraining × scopes × schedules × seeds × rounds, as points of a study.

A point is one training: of an unpruned network (`train_unpruned`, one a seed), or of what a round leaves
(`round.prune_round`), which comes after the round before it. One-shot rounds come after the unpruned network
alone, gradual ones prune within a single training. Beside each arm are its controls (`arms`), of its own sizes; and
the unpruned network trained on by the same ways, as a network that is merely trained longer may beat its former self
too.

Source: G. Magalhães et al. (chapter 4), after Frankle & Carbin and Renda et al. Not here: what the figures mean
(`prune.tickets`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import product
from typing import Any

from enxuto._version import __version__
from enxuto.errors import UsageError, did_you_mean
from enxuto.prune.criteria.scores import CRITERIA, REFERENCES
from enxuto.prune.removal.kept import Architecture
from enxuto.prune.retrain import MODES, retraining_config, slice_epochs
from enxuto.prune.rounds import shares_left
from enxuto.prune.selection import LAYERS, Selection
from enxuto.studies.images import ImageSelection
from enxuto.studies.kinds import LOTTERY_ROUND, LOTTERY_SPEED, LOTTERY_UNPRUNED, make_point
from enxuto.studies.lottery.arms import CONTROLS, Arm, with_same_plan
from enxuto.studies.network_hashes import code_hash
from enxuto.study.point import Point
from enxuto.train.config import TrainConfig

__all__ = [
    "CODE",
    "SCHEDULES",
    "LotteryStudy",
    "network_settings",
    "points",
    "reference_settings",
    "trainings_among",
]

CODE = f"enxuto {__version__}, lottery 2"
SCHEDULES = ("iterative", "one-shot", "gradual")


@dataclass(frozen=True)
class LotteryStudy:
    """What a study trains, prunes and measures. Raises `UsageError` for values that make no sense.

    Attributes:
        architecture: the network.
        images: which images train and test.
        config: of the unpruned training, but for its seed and kept epochs, which are set here. A share `validation` of
            the training images is then trained on by nothing: it only shows after which epoch its loss is lowest.
        criteria, modes, scopes, schedules: an arm for each combination; modes are the ways of retraining.
        controls: of `arms.CONTROLS`, what each arm is compared with; none for no controls.
        seeds: each once.
        rounds: how many. longer: criterion → its rounds, where it has more.
        amount: the share of what is left that a round removes, 0…1.
        target, normalise, floor, multiple, layers: as in `Selection`.
        rewind_epochs: of mode `rewind`, an arm each.
        retrain_epochs: of each retraining, None for as many as its schedule has.
        score_images: training images that criteria look at, None for all.
        reference: what DeepLIFT and conductance compare an image with, of `criteria.scores.REFERENCES`.
        timed: batch sizes at which networks of the first seed are timed, none for no timing.
        threads: of the timing.
        paths: `data`, perhaps `test`.
    """

    architecture: Architecture
    images: ImageSelection
    config: TrainConfig
    criteria: Sequence[str] = ("l1", "deeplift")
    modes: Sequence[str] = ("rewind", "lr-rewind", "fine-tune")
    controls: Sequence[str] = CONTROLS
    scopes: Sequence[str] = ("global",)
    schedules: Sequence[str] = ("iterative",)
    seeds: Sequence[int] = (0, 1, 2)
    rounds: int = 8
    longer: Mapping[str, int] = field(default_factory=dict)
    amount: float = 0.2
    target: str = "filters"
    normalise: str = "none"
    floor: int = 1
    multiple: int = 1
    rewind_epochs: Sequence[int] = (0,)
    retrain_epochs: int | None = None
    score_images: int | None = 512
    reference: str = "blur"
    layers: str = "all"
    timed: Sequence[int] = ()
    threads: int = 1
    paths: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_names("criterion", self.criteria, CRITERIA)
        _check_names("way of retraining", self.modes, MODES)
        _check_names("reference", [self.reference], REFERENCES)
        _check_names("layers", [self.layers], LAYERS)
        _check_names("scope", self.scopes, ("global", "local"))
        _check_names("schedule", self.schedules, SCHEDULES)
        if self.controls:
            _check_names("control", self.controls, CONTROLS)
        shares_left(self.amount, self.rounds)
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise UsageError("a study needs seeds, each once", code="E023")
        if self.config.early_stopping is not None:
            raise UsageError(
                "every training of the study has its full length: leave out early_stopping", code="E022"
            )
        late = [epoch for epoch in self.rewind_epochs if not 0 <= epoch < self.config.epochs]
        if late:
            raise UsageError(
                f"nothing is left to train after rewinding to epoch {late[0]} of {self.config.epochs}",
                code="E022",
            )
        if "gradual" in self.schedules:
            if self.config.epochs <= self.rounds:
                raise UsageError(
                    f"gradual pruning in {self.rounds} rounds needs more epochs than {self.config.epochs}",
                    code="E022",
                )
            slice_epochs(self.config, 1, self.config.epochs)  # refuses schedules that cannot be cut

    @property
    def selection(self) -> Selection:
        """How filters are chosen, but for the scope."""
        return Selection(
            self.target, "global", self.normalise, self.floor, self.multiple, self.layers  # type: ignore[arg-type]
        )  # fmt: skip

    def arms(self) -> list[Arm]:
        """All arms without their controls; gradual ones have no way of retraining, as they are one training."""
        found = []
        for criterion, scope, schedule in product(self.criteria, self.scopes, self.schedules):
            if schedule == "gradual":
                found.append(Arm(criterion, "none", scope, schedule))
                continue
            for mode in self.modes:
                epochs = self.rewind_epochs if mode == "rewind" else (0,)
                found += [Arm(criterion, mode, scope, schedule, epoch) for epoch in epochs]
        return found

    def rounds_of(self, arm: Arm) -> int:
        """How many rounds an arm has."""
        return (
            self.rounds if arm.schedule == "gradual" else max(self.rounds, self.longer.get(arm.criterion, 0))
        )

    def timed_arms(self) -> list[Arm]:
        """Where speeds are measured: the first arm of each criterion, scope and schedule; others differ in training."""
        if not self.timed:
            return []
        found: dict[tuple[str, str, str], Arm] = {}
        for arm in self.arms():
            found.setdefault((arm.criterion, arm.scope, arm.schedule), arm)
        return list(found.values())

    def gradual_ends(self) -> list[int]:
        """After which epoch each part of a gradual run ends: the unpruned beginning first, then round by round."""
        whole, parts = self.config.epochs, self.rounds + 1
        return [round(whole * part / parts) for part in range(1, parts + 1)]


def points(study: LotteryStudy, data_hash: str) -> list[Point]:
    """All points, arm by arm in the order of rounds, for one seed after the other."""
    found: list[Point] = []
    timed = study.timed_arms()
    for seed in study.seeds:
        first = _unpruned_point(study, seed, data_hash)
        found.append(first)
        kept_on = [mode for mode in study.modes if mode in ("lr-rewind", "fine-tune")]
        found += [_round_point(study, Arm("none", mode), 0, seed, data_hash, [first]) for mode in kept_on]
        rounds_of = {arm: list(_round_points(study, arm, seed, data_hash, first)) for arm in study.arms()}
        for arm, rounds in rounds_of.items():
            found += rounds
            wanted = {control.control for control in arm.controls(study.controls)}
            if "fresh" in wanted:
                found += _fresh_points(study, arm, rounds_of, seed, data_hash, first)
            if "random" in wanted:
                found += _random_points(study, arm, rounds, seed, data_hash, first)
            if arm in timed and seed == study.seeds[0]:
                found.append(_speed_point(study, arm, seed, rounds))
    return list(dict.fromkeys(found))


def _round_points(study: LotteryStudy, arm: Arm, seed: int, data_hash: str, first: Point) -> Iterator[Point]:
    before = [first]
    for number in range(1, study.rounds_of(arm) + 1):
        point = _round_point(study, arm, number, seed, data_hash, before)
        yield point
        if arm.schedule != "one-shot":
            before = [first, point]


def _fresh_points(
    study: LotteryStudy, arm: Arm, rounds_of: Mapping[Arm, Sequence[Point]], seed: int, data_hash: str,
    first: Point,
) -> Iterator[Point]:  # fmt: skip
    """Fresh weights at the sizes of each of the arm's rounds, which each comes after."""
    rounds = study.rounds_of(arm)
    for number in range(1, rounds + 1):
        if arm.schedule == "gradual" and number < rounds:
            continue  # in the midst of the arm's one training there is nothing to compare
        owner = with_same_plan(rounds_of, arm, number)[0]
        after = [first, rounds_of[owner][number - 1]]
        yield _round_point(study, replace(owner, control="fresh"), number, seed, data_hash, after)


def _random_points(
    study: LotteryStudy, arm: Arm, rounds: Sequence[Point], seed: int, data_hash: str, first: Point
) -> Iterator[Point]:
    """A chain of random filters, each round after its own last one and after the arm's, whose numbers it leaves."""
    before = [first]
    for number, owner in enumerate(rounds, start=1):
        point = _round_point(study, replace(arm, control="random"), number, seed, data_hash, [*before, owner])
        yield point
        if arm.schedule != "one-shot":
            before = [first, point]


def _unpruned_point(study: LotteryStudy, seed: int, data_hash: str) -> Point:
    # The source rewinds to epochs 0 to 4: kept always, so that asking for another one trains nothing anew.
    wanted = set(range(min(5, study.config.epochs))) | set(study.rewind_epochs)
    if "gradual" in study.schedules:
        wanted.add(study.gradual_ends()[0])
    config = TrainConfig.from_recipe(
        None, {**study.config.to_dict(), "seed": seed, "keep_epochs": tuple(sorted(wanted))}
    )
    settings = {**_shared_settings(study), "config": config.to_dict()}
    return make_point(LOTTERY_UNPRUNED, settings, seed, data_hash, code=CODE, paths=study.paths)


def _round_point(
    study: LotteryStudy, arm: Arm, number: int, seed: int, data_hash: str, after: Sequence[Point]
) -> Point:
    gradual = arm.schedule == "gradual"
    settings = {
        **_shared_settings(study),
        "arm": arm.to_dict(),
        "round": number,
        "left": 1.0 if number == 0 else shares_left(study.amount, number)[-1],
        "selection": replace(study.selection, scope=arm.scope).to_dict(),  # type: ignore[arg-type]
        "score_images": study.score_images,
        **reference_settings(study.reference),
        "retrain_epochs": study.retrain_epochs,
        "config": TrainConfig.from_recipe(
            None, {**study.config.to_dict(), "seed": _training_seed(seed, number)}
        ).to_dict(),
        "gradual": study.gradual_ends()[number - 1 : number + 1] if gradual else None,
    }
    return make_point(LOTTERY_ROUND, settings, seed, data_hash, after, code=CODE, paths=study.paths)


def _speed_point(study: LotteryStudy, arm: Arm, seed: int, rounds: Sequence[Point]) -> Point:
    settings = {
        **network_settings(study.architecture), "arm": arm.to_dict(), "batches": list(study.timed),
        "threads": study.threads,
    }  # fmt: skip
    return make_point(LOTTERY_SPEED, settings, seed, None, rounds, code=CODE)


def _training_seed(seed: int, number: int) -> int:
    """The order of images in a round's training, and fresh weights: others than in any training before it."""
    return (seed + 1000 * number) % 2**32


def _shared_settings(study: LotteryStudy) -> dict[str, Any]:
    return {**network_settings(study.architecture), "images": study.images.to_dict()}


def reference_settings(name: str) -> dict[str, Any]:
    """A point's setting of the reference, none for blurred images, as points were known without."""
    return {} if name == "blur" else {"reference": name}


def network_settings(architecture: Architecture) -> dict[str, Any]:
    """A point's settings of its network: how to build it, and the hash of the code where that is a user's own."""
    own = {"factory_code": _code_of(architecture.name)} if ":" in architecture.name else {}
    return {"network": architecture.to_dict(), **own}


@lru_cache
def _code_of(name: str) -> str:
    return code_hash(Architecture(name, ()).build(), name.partition(":")[0])


def _check_names(label: str, chosen: Sequence[str], valid: Sequence[str] | Mapping[str, Any]) -> None:
    strange = [name for name in chosen if name not in valid]
    if strange or not chosen or len(set(chosen)) < len(chosen):
        hint = did_you_mean(strange[0], valid) if strange else ""
        raise UsageError(
            f"{label}: {', '.join(chosen) or 'nothing'} is given{hint}; name some of {', '.join(valid)}, each once",
            code="E021" if strange else "E020",
        )


def retraining_of(settings: Mapping[str, Any], last_lr: float) -> TrainConfig:
    """The configuration of a round's training, from the settings of its point; last_lr: of the first training."""
    config = TrainConfig.from_recipe(None, settings["config"])
    arm = Arm(**settings["arm"])
    fresh = arm.control == "fresh"
    if settings["gradual"] is not None and not fresh:
        return slice_epochs(config, *settings["gradual"])
    return retraining_config(
        "reinit" if fresh else arm.mode, config, rewind_epoch=arm.rewind_epoch, last_lr=last_lr,  # type: ignore[arg-type]
        epochs=settings["retrain_epochs"], seed=config.seed,
    )  # fmt: skip


def trainings_among(points: Sequence[Point]) -> dict[str, tuple[str, int | None]]:
    """What each point that trains is called and its number of epochs, None where time ends it, by the point's id."""
    return {point.id: found for point in points if (found := _training_of(point)) is not None}


def _training_of(point: Point) -> tuple[str, int | None] | None:
    settings = point.settings
    if point.kind == LOTTERY_UNPRUNED:
        return f"unpruned, seed {point.seed}", int(settings["config"]["epochs"])
    if point.kind != LOTTERY_ROUND or (settings["arm"]["mode"] == "none" and settings["gradual"] is None):
        return None
    name = f"{Arm(**settings['arm']).label}, round {settings['round']}, seed {point.seed}"
    timed = settings["arm"]["mode"] == "distil" and settings.get("minutes") is not None
    return name, None if timed else retraining_of(settings, last_lr=settings["config"]["lr"]).epochs
