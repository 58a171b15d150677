"""The comparison of Souza 2020: SqueezeNet-DSC beside four networks, trained and measured alike.

A point is one network with its configuration, seed and data; its hash names its folder and its record. Networks with
a record are not trained again, one that was interrupted goes on from its last epoch. The test images are used once,
at the end, with the last epoch's weights: nothing is chosen by them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from enxuto import zoo
from enxuto.errors import DataError, UsageError
from enxuto.study.machine import machine, versions
from enxuto.study.records import Records, content_hash
from enxuto.study.souza_published import NETWORKS

if TYPE_CHECKING:
    from enxuto.data import Dataset
    from enxuto.train import Progress, TrainConfig, TrainingData

__all__ = ["SCALES", "Images", "Scale", "SouzaStudy", "histories", "run_souza"]

_VERSION = 1  # of what a record means; part of the hash
_SIDE = 32

Report = Callable[["Progress"], None]


@dataclass(frozen=True)
class Scale:
    """How much of the protocol is done.

    train, test: images drawn by the seed, None for all. epochs: at most. repeats: timed runs of one image.
    """

    train: int | None
    test: int | None
    epochs: int
    repeats: int


SCALES: Mapping[str, Scale] = MappingProxyType(
    {
        "smoke": Scale(512, 500, 2, 30),
        "small": Scale(10_000, None, 20, 100),
        "full": Scale(None, None, 200, 1000),
    }
)
"""smoke: whether all works, in minutes on two cores; small: tendencies; full: the protocol."""


@dataclass(frozen=True)
class SouzaStudy:
    """What to do: networks, at which scale and seed, with which training settings over the recipe `souza`.

    threads: of the CPU in latencies; 0 is one per core, and one is steady where a machine is shared.
    Raises `UsageError` for a value that makes no sense.
    """

    networks: Sequence[str] = NETWORKS
    scale: str = "smoke"
    seed: int = 0
    threads: int = 1
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise UsageError(f"no scale is called {self.scale!r}; there are {', '.join(SCALES)}")
        strange = [name for name in self.networks if name not in NETWORKS]
        if strange or not self.networks or len(set(self.networks)) < len(self.networks):
            raise UsageError(
                f"networks are {', '.join(self.networks) or 'none'}; name some of {', '.join(NETWORKS)}, each once"
            )
        if not 0 <= self.seed < 2**32 or self.threads < 0:
            raise UsageError(f"seed {self.seed} and threads {self.threads} must be 0 or more")
        self.config()

    def config(self) -> TrainConfig:
        """The training's configuration."""
        from enxuto.train.config import TrainConfig

        own = {"epochs": SCALES[self.scale].epochs, "seed": self.seed}
        return TrainConfig.of("souza", own | dict(self.settings))


@dataclass(frozen=True)
class Images:
    """Training and test images at a study's scale; classes: how many the whole training set has."""

    train: Dataset
    test: Dataset
    classes: int

    @classmethod
    def open(cls, study: SouzaStudy, data: str | Path, test: str | Path | None = None) -> Images:
        """Open the images and cut them down to the scale.

        data: a folder with the parts `train` and `test`, or a published set's name; or, with `test`, the training
        images. Raises `DataError` when the parts cannot be told from each other.
        """
        from enxuto.data import open_dataset

        if test is None and open_dataset(data).part is None:
            raise DataError(f"{data} has no parts train and test; name the test images by --test")
        parts = ("train", "test") if test is None else (_part(data, "train"), _part(test, "test"))
        scale, whole = SCALES[study.scale], open_dataset(data, split=parts[0])
        classes = len(whole.classes) if whole.classes is not None else int(whole.labels.max()) + 1
        return cls(
            open_dataset(data, split=parts[0], limit=scale.train, seed=study.seed),
            open_dataset(data if test is None else test, split=parts[1], limit=scale.test, seed=study.seed),
            classes,
        )


def _part(place: str | Path, wanted: str) -> str | None:
    """`train` or `test` where there is such a part, None where there are no parts."""
    from enxuto.data import open_dataset

    try:
        return open_dataset(place, split=wanted).part
    except DataError:
        return open_dataset(place).part  # the only one there is; or the error says which there are


def run_souza(
    study: SouzaStudy,
    images: Images,
    folder: str | Path,
    *,
    report: Report | None = None,
    begun: Callable[[str, bool], None] | None = None,
) -> Iterator[dict[str, Any]]:
    """Train and measure network by network; yields each one's record as it is finished, or found finished.

    folder: gets `records.jsonl` and a folder a network with checkpoints, history, plots and the network's files.
    report: called while a network trains. begun: called before that with the name and whether a record is there.
    Raises `UsageError` when the folder cannot be written; errors of training pass through.
    """
    place = Path(folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {place}: {error.strerror or error}") from error
    records = Records(place / "records.jsonl")
    train = replace(_loaded(images.train), classes=images.classes)
    test = _loaded(images.test).like(train)
    for name in study.networks:
        point = _point(study, name, train, test)
        record = records.find(content_hash(point))
        if begun is not None:
            begun(name, record is not None)
        if record is None:
            record = _finished(study, point, train, test, place, images.train.classes, report)
            records.add(record)
        yield record


def _point(study: SouzaStudy, name: str, train: TrainingData, test: TrainingData) -> dict[str, Any]:
    """All that decides a network's weights and scores, but for the machine."""
    return {
        "study": "souza",
        "version": _VERSION,
        "network": name,
        "seed": study.seed,
        "classes": train.classes,
        "config": study.config().to_dict(),
        "train": {"hash": train.hash, "samples": len(train)},
        "test": {"hash": test.hash, "samples": len(test)},
        "latency": {"repeats": SCALES[study.scale].repeats, "threads": study.threads},
    }


def _finished(
    study: SouzaStudy,
    point: Mapping[str, Any],
    train: TrainingData,
    test: TrainingData,
    folder: Path,
    labels: Sequence[str] | None,
    report: Report | None,
) -> dict[str, Any]:
    """Train, write, measure, draw; the record."""
    from enxuto.measure import measure, plot_training, write_network
    from enxuto.train import fit

    name, identity = str(point["network"]), content_hash(point)
    place = folder / f"{name}-{identity}"
    model = zoo.build(name, classes=train.classes, channels=train.images.shape[1], seed=study.seed)
    began = time.perf_counter()
    history = fit(model, train, None, study.config(), folder=place, resume=True, progress=report)
    here = time.perf_counter() - began
    written = write_network(
        model, place, (3, _SIDE, _SIDE), name=name, classes=train.classes, preprocess=train.preprocess(),
        labels=labels,
    )  # fmt: skip
    latency = point["latency"]
    found = measure(
        model, test, written, threads=latency["threads"], repeats=latency["repeats"], seed=study.seed
    )
    epochs = [asdict(record) for record in history.records]
    for ending in ("png", "svg"):
        plot_training(epochs, place / f"training.{ending}", title=f"{name}, seed {study.seed}")
    return {
        "point": identity,
        **point,
        "scale": study.scale,
        "folder": place.name,
        "training": {
            "epochs": len(epochs),
            "stopped": history.stopped,
            "loss": epochs[-1]["loss"],
            "seconds": sum(record["seconds"] for record in epochs),
            "seconds_in_last_session": here,
        },
        "measures": found.to_dict(),
        "versions": versions(),
        "machine": machine(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def histories(folder: str | Path, records: Sequence[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Epochs by network, from the folders of the records; networks whose folder is gone are left out."""
    found = {}
    for record in records:
        path = Path(folder) / str(record["folder"]) / "history.jsonl"
        if path.is_file():
            lines = path.read_text(encoding="utf-8").splitlines()
            found[str(record["network"])] = [json.loads(line) for line in lines]
    return found


def _loaded(dataset: Dataset) -> TrainingData:
    """In memory as RGB of 32×32; resized and recoloured only where need be, as that is a part of the hash."""
    from enxuto.train import TrainingData

    if dataset.image_shape == (_SIDE, _SIDE, 3):
        return TrainingData.from_dataset(dataset)
    return TrainingData.from_dataset(dataset, (_SIDE, _SIDE), channels="RGB")
