"""The comparison of Souza 2020, as points of a study: SqueezeNet-DSC beside four networks, trained and measured alike.

A point is one network with its configuration, seed and images (`network.train_network`). The test images are used
once, at the end, with the last epoch's weights: nothing is chosen by them. Not here: what the points' results look like
(`records`, `tables`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from enxuto._version import __version__
from enxuto.errors import UsageError, did_you_mean
from enxuto.studies.kinds import SOUZA_NETWORK, make_point
from enxuto.studies.souza.published import NETWORKS
from enxuto.studies.souza.scales import SCALES, SIDE
from enxuto.study.point import Point

if TYPE_CHECKING:
    from enxuto.data.labels import Label
    from enxuto.studies.images import ImageSelection
    from enxuto.train import TrainConfig

__all__ = ["SouzaStudy", "points"]

_CODE = f"enxuto {__version__}, souza 2"


@dataclass(frozen=True)
class SouzaStudy:
    """What to do: networks, at which scale, with which training settings over those of the scale.

    seed, seeds: the first of so many, counted up; it also draws the images, the same for all seeds. latency_threads: of
    the CPU in latencies; 0 is one per core, and one is steady where a machine is shared. labels: the classes in the
    order of the outputs, None for the training images' own order. images: fields of `ImageSelection` that override what
    the scale says.
    Raises `UsageError` for a value that makes no sense.
    """

    networks: Sequence[str] = NETWORKS
    scale: str = "smoke"
    seed: int = 0
    latency_threads: int = 1
    settings: Mapping[str, Any] = field(default_factory=dict)
    labels: tuple[Label, ...] | None = None
    images: Mapping[str, Any] = field(default_factory=dict)
    seeds: int = 1

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            hint = did_you_mean(self.scale, SCALES)
            raise UsageError(
                f"no scale is called {self.scale!r}{hint}; there are {', '.join(SCALES)}", code="E021"
            )
        strange = [name for name in self.networks if name not in NETWORKS]
        if strange or not self.networks or len(set(self.networks)) < len(self.networks):
            hint = did_you_mean(strange[0], NETWORKS) if strange else ""
            raise UsageError(
                f"networks are {', '.join(self.networks) or 'none'}{hint}; "
                f"name some of {', '.join(NETWORKS)}, each once",
                code="E021" if strange else "E020",
            )
        if self.seed < 0 or self.latency_threads < 0 or self.seeds < 1:
            raise UsageError(
                f"seed {self.seed} and threads {self.latency_threads} must be 0 or more, seeds {self.seeds} 1 or more"
            )
        for name in ("threads", "seed"):
            if self.settings.get(name) is not None:
                raise UsageError(f"{name}= sets the {name} of a training; leave the setting out", code="E022")
        configs = [self.config(name, self.seed + self.seeds - 1) for name in self.networks]
        config = configs[0]
        if config.validation > 0 or config.early_stopping is not None:
            raise UsageError(
                "the protocol trains on all images and stops by its schedule: leave out validation and early_stopping",
                code="E022",
            )

    def config(self, network: str, seed: int) -> TrainConfig:
        """The configuration of a network's training."""
        from enxuto.train.config import TrainConfig

        own = {**SCALES[self.scale].settings_of(network), "seed": seed}
        return TrainConfig.from_recipe("souza", own | dict(self.settings))

    def image_selection(self) -> ImageSelection:
        """Which images: as many as the scale says, RGB of 32×32."""
        from enxuto.studies.images import ImageSelection

        scale = SCALES[self.scale]
        own = ImageSelection(scale.train, scale.test, self.seed, (SIDE, SIDE), "RGB", labels=self.labels)
        chosen = replace(own, **self.images)
        # All images are the same for every seed, and points are known by the seed that drew them.
        return replace(chosen, seed=0) if chosen.train is None and chosen.test is None else chosen


def points(study: SouzaStudy, classes: int, data_hash: str, paths: Mapping[str, str]) -> list[Point]:
    """A point for each seed of each network; all networks of a seed before the next.

    classes, data_hash: of the images that `study.image_selection()` opens at the paths `data` and, where that has no
    part `test`, `test`.
    """
    shared = {
        "scale": study.scale,
        "classes": classes,
        "images": study.image_selection().to_dict(),
        "latency": {"repeats": SCALES[study.scale].repeats, "threads": study.latency_threads},
    }
    return [
        make_point(
            SOUZA_NETWORK, {"network": name, **shared, "config": study.config(name, seed).to_dict()}, seed, data_hash,
            code=_CODE, paths=paths,
        )
        for seed in range(study.seed, study.seed + study.seeds)
        for name in study.networks
    ]  # fmt: skip
