"""What a point of the Souza study computes: one network trained, written and measured.

Its folder gets checkpoints and the history of the training, which resumes from its last epoch where it was interrupted,
then `model.pt` and `model.onnx`.
"""

from __future__ import annotations

from typing import Any

from enxuto import zoo
from enxuto.measure import measure, write_network
from enxuto.studies.images import open_point_images
from enxuto.studies.souza.data_sets import published_name
from enxuto.study.point import Task
from enxuto.train.config import TrainConfig
from enxuto.train.loop import fit

__all__ = ["train_network"]


def train_network(task: Task) -> dict[str, Any]:
    """Train by the settings' configuration, on as many threads as the work may use; measure on the test images.

    Raises `TrainingError` where the training diverges, `DataError` where the images are others than the point's.
    """
    images, settings = open_point_images(task), task.settings
    name, classes, latency = settings["network"], settings["classes"], settings["latency"]
    shape = tuple(images.train.images.shape[1:])
    network = zoo.build(name, classes=classes, channels=shape[0], seed=task.seed)
    config = TrainConfig.from_recipe(None, {**settings["config"], "threads": task.threads})
    history = fit(network, images.train, None, config, folder=task.folder, resume=True)
    written = write_network(
        network, task.folder, shape, name=name, classes=classes, preprocess=images.train.preprocess(),
        labels=images.labels,
    )  # fmt: skip
    found = measure(
        network, images.test, written, threads=latency["threads"], repeats=latency["repeats"], seed=task.seed
    )
    return {
        "data_set": published_name(images.labels),
        "train": {"hash": images.train.hash, "samples": len(images.train)},
        "test": {"hash": images.test.hash, "samples": len(images.test)},
        "training": {
            "epochs": len(history.records),
            "stopped": history.stopped,
            "loss": history.records[-1].loss,
            "seconds": sum(record.seconds for record in history.records),
        },
        "measures": found.to_dict(),
        **({"notes": list(history.notes)} if history.notes else {}),
    }
