"""Names that are misspelt: the line of the refusal has the name that was meant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

Invoke = Callable[..., Result]

TYPOS = {
    "verb": (("comprss",), "compress"),
    "option": (("compress", "NET", "--bit", 3), "--bits"),
    "network": (("summary", "resnet5O"), "resnet50"),
    "network to list": (("zoo", "squeznet-dsc"), "squeezenet-dsc"),
    "preset": (("evaluate", "NET", "--data", "DATA", "--preprocess", "imagnet"), "imagenet"),
    "channels": (("evaluate", "NET", "--data", "DATA", "--channels", "RBG"), "RGB"),
    "format": (("evaluate", "NET", "--data", "DATA", "--format", "parqet"), "parquet"),
    "data set to fetch": (("fetch", "cifar1O"), "cifar10"),
    "data set": (("study", "souza", "--data", "cifar1O"), "cifar10"),
    "quantizer": (("compress", "NET", "--quantizer", "mid-tread"), "midtread"),
    "rounding": (("compress", "NET", "--rounding", "trelis"), "trellis"),
    "what shares a step": (("compress", "NET", "--per", "chanel"), "channel"),
    "role": (("compress", "NET", "--quantize-roles", "biass"), "bias"),
    "method": (("curve", "NET", "--data", "DATA", "--methods", "midtred"), "midtread"),
    "criterion": (("prune", "lenet5", "--data", "DATA", "-o", "p", "--criterion", "deeplft"), "deeplift"),
    "retraining": (("prune", "lenet5", "--data", "DATA", "-o", "p", "--retrain", "lr-rewnd"), "lr-rewind"),
    "target": (("prune", "lenet5", "--data", "DATA", "-o", "p", "--target", "parameter"), "parameters"),
    "criteria": (("lottery", "lenet5", "--data", "DATA", "--criteria", "l1,deeplft"), "deeplift"),
    "schedule": (("lottery", "lenet5", "--data", "DATA", "--schedules", "iterativ"), "iterative"),
    "scale": (("lottery", "lenet5", "--data", "DATA", "--scale", "smok"), "smoke"),
    "study": (("study", "sousa"), "souza"),
    "scale of a study": (("study", "souza", "--scale", "smal"), "small"),
    "network of a study": (("study", "souza", "--networks", "squeezenet-dcs"), "squeezenet-dsc"),
    "recipe": (("train", "lenet5", "--data", "DATA", "--recipe", "lotery"), "lottery"),
    "setting": (("train", "lenet5", "--data", "DATA", "--set", "epoch=3"), "epochs"),
    "augmentation": (("train", "lenet5", "--data", "DATA", "--set", "augment=flp"), "flip"),
    "counting": (("summary", "lenet5", "--count", "lectures"), "lecture"),
}


@pytest.mark.parametrize("kind", TYPOS)
def test_a_misspelt_name_is_answered_with_the_one_meant(
    kind: str, invoke: Invoke, digits: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(digits.parent)
    words, meant = TYPOS[kind]
    known = {"NET": digits, "DATA": images}
    result = invoke(*(known.get(word, word) if isinstance(word, str) else word for word in words))
    assert result.exit_code == 2, result.output
    said = result.stderr
    assert f"did you mean {meant!r}" in said, said
    assert "[E021]" in said or kind in ("data set", "augmentation"), said
