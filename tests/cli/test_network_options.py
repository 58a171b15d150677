"""`--option` and `--activation`: one way in every verb that builds a network, kept by checkpoints and exports."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from typer.testing import Result

from enxuto import zoo
from enxuto.archive import digest
from enxuto.prune import load_pruned
from enxuto.train import Checkpoint
from enxuto.zoo.options import format_options

pytestmark = pytest.mark.usefixtures("remembered_exports")

Invoke = Callable[..., Result]
FAST = ("--epochs", 1, "--set", "batch=16", "--set", "threads=1", "--set", "device=cpu")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """32 grey images of 8×8 pixels in four classes."""
    random = np.random.default_rng(0)
    path = tmp_path / "images.npz"
    labels = np.arange(32) % 4
    np.savez(path, images=random.integers(0, 256, (32, 8, 8), dtype=np.uint8), labels=labels)
    return path


def told(result: Result) -> dict[str, object]:
    assert result.exit_code == 0, result.stderr
    found: dict[str, object] = json.loads(result.stdout)
    return found


def refused(result: Result) -> str:
    assert result.exit_code == 2, result.output
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    return line


def test_a_checkpoint_knows_its_options_and_export_and_prune_follow_them(
    invoke: Invoke, images: Path, tmp_path: Path
) -> None:
    run, options = tmp_path / "run", {"pool": "max", "activation": "prelu"}
    trained = told(
        invoke("train", "lenet5", "--option", "pool=max", "--activation", "prelu", "--data", images, *FAST, "-o", run,
               "--json")
    )  # fmt: skip
    assert trained["options"] == options
    assert Checkpoint.read(run / "best.pt").network == {
        "name": "lenet5", "classes": 4, "channels": 1, "options": options,
    }  # fmt: skip
    words = shlex.split(str(trained["export"]))[1:]
    assert "pool=max" in words
    # The checkpoint says them too.
    told(
        invoke(
            *(word for word in words if word not in ("--option", "pool=max", "activation=prelu")), "--json"
        )
    )
    metadata = {prop.key: prop.value for prop in onnx.load(run / "model.onnx").metadata_props}
    assert json.loads(metadata["enxuto.network_options"]) == options
    weights = ("--weights", run / "best.pt")
    assert "was trained with pool=max, not pool=average" in refused(
        invoke("export", "lenet5", "-o", tmp_path / "x.onnx", *weights, "--option", "pool=average")
    )
    assert "holds weights of 'lenet5', not of lenet5-cifar" in refused(
        invoke("export", "lenet5-cifar", "-o", tmp_path / "x.onnx", *weights)
    )
    pruned = invoke("prune", "lenet5", *weights, "--data", images, "--test", images, "--amount", "30%",
                    "-o", tmp_path / "small", "--no-speed", "--json")  # fmt: skip
    told(pruned)
    held = load_pruned(tmp_path / "small" / "model.pt")
    assert dict(held.architecture.options) == options
    assert "PReLU" in str(held.network)
    resumed = invoke(
        "train", "lenet5", "--data", images, *FAST, "-o", run, "--resume", "--option", "pool=max"
    )
    assert "start in another folder" in refused(resumed)


def test_options_in_a_forged_checkpoint_are_checked(invoke: Invoke, tmp_path: Path) -> None:
    network = zoo.build("mobilenet-cifar", width=0.1, seed=0)
    assert isinstance(network.built_as, dict)
    contents = {
        "epoch": 0, "model": network.state_dict(), "optimizer": {}, "schedule": {}, "scaler": {},
        "order": torch.zeros(1), "generators": [], "history": [], "stopped": "", "config": {"lr": 0.1},
        "data": {"classes": 10, "mean": [0.5], "std": [0.5]}, "preprocess": None, "versions": {},
    }  # fmt: skip
    cases = {
        "far larger": {**network.built_as, "options": {"width": 40.0}},
        "out of range": {**network.built_as, "options": {"width": 1e9}},
        "has no option 'depth'": {**network.built_as, "options": {"depth": 1}},
        "its network is something else": {**network.built_as, "options": {"width": [1]}},
        "holds weights of 'vgg16'": {**network.built_as, "name": "vgg16"},
    }
    for message, built in cases.items():
        held = {**contents, "network": built}
        path = tmp_path / "forged.pt"
        torch.save({"format": "enxuto checkpoint", "version": 1, "digest": digest(held), **held}, path)
        words = ("export", "mobilenet-cifar", "-o", tmp_path / "x.onnx", "--weights", path)
        assert message in refused(invoke(*words)), message
        assert not (tmp_path / "x.onnx").exists()
    # As checkpoints were before they said what they are of.
    torch.save({"format": "enxuto checkpoint", "version": 1, "digest": digest(contents), **contents}, path)
    assert Checkpoint.read(path).network is None
    assert "does not fit the network" in refused(invoke(*words))


def test_summary_builds_the_form_asked_for(invoke: Invoke) -> None:
    half = invoke("summary", "mobilenet", "--option", "width=0.5", "--option", "resolution=0.714", "--json")
    totals, variants = told(half)["totals"], zoo.entry("mobilenet").variants
    (narrow,) = [item for item in variants if item.options == {"width": 0.5}]
    assert isinstance(totals, dict)
    assert totals["parameters"] == narrow.counts[1000]
    assert half.stdout.count("160") > 1  # 0.714 of 224
    heads = invoke("summary", "googlenet", "--option", "auxiliary=true", "--depth", 1)
    assert f"{13_378_280 - 6_998_552:,} trainable parameters are in modules that do not run" in heads.stderr


VERBS = {
    "summary": (),
    "train": ("--data", "x.npz"),
    "export": ("-o", "x.onnx"),
    "prune": ("--data", "x.npz", "-o", "x"),
    "lottery": ("--data", "x.npz", "-o", "x"),
}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_names_the_options_that_a_network_has(verb: str, invoke: Invoke) -> None:
    def say(*words: str, network: str = "shufflenet") -> str:
        return refused(invoke(verb, network, *VERBS[verb], *words))

    assert "shufflenet has no option 'teeth'; its options: groups, width, activation" in say(
        "--option", "teeth=1"
    )
    assert "an option of a network is NAME=VALUE" in say("--option", "groups")
    assert "the option activation of shufflenet is given twice" in say(
        "--activation", "elu", "--option", "activation=elu"
    )
    assert "are for networks of the zoo; nets:make is built as it is" in say(
        "--activation", "elu", network="nets:make"
    )


def test_wrong_values_are_named_before_data_are_loaded(invoke: Invoke) -> None:
    result = invoke("train", "lenet5", "--data", "nowhere.npz", "--activation", "swish")
    assert "lenet5: activation must be one of 'relu'" in refused(result)


VARIANTS = [
    (name, variant)
    for name in ("mobilenet", "mobilenet-cifar", "googlenet", "squeezenet-cifar", "vgg16-cifar", "lenet5")
    for variant in zoo.entry(name).variants
]  # fmt: skip


@pytest.mark.parametrize(("name", "variant"), VARIANTS, ids=lambda one: str(getattr(one, "options", one)))
def test_zoo_shows_the_counts_of_the_form_asked_for(name: str, variant: zoo.Variant, invoke: Invoke) -> None:
    options = [word for text in format_options(variant.options) for word in ("--option", text)]
    shown = told(invoke("zoo", name, *options, "--json"))
    assert shown["built_with"] == dict(variant.options)
    assert shown["macs"] == variant.macs
    counts = shown["parameters_by_classes"]
    assert isinstance(counts, dict)
    assert {str(classes): count for classes, count in variant.counts.items()}.items() <= counts.items()
    assert shown["imagenet"] is None


def test_zoo_with_options_is_as_the_summary_of_the_same(invoke: Invoke) -> None:
    words = ("mobilenet", "--option", "width=0.5", "--option", "resolution=0.5", "--activation", "elu")
    shown, summary = told(invoke("zoo", *words, "--json")), told(invoke("summary", *words, "--json"))
    totals = summary["totals"]
    assert isinstance(totals, dict)
    assert (shown["parameters"], shown["macs"]) == (totals["parameters"], totals["macs"])
    assert shown["input_shape"] == [3, 112, 112]
    text = " ".join(invoke("zoo", *words).stdout.split())
    assert "built with width=0.5, resolution=0.5, activation=elu" in text
    assert f"{shown['parameters']:,}" in text
    assert "mobilenet has no option 'teeth'" in refused(invoke("zoo", "mobilenet", "--option", "teeth=1"))


@pytest.mark.parametrize(
    "words", [(), ("mobile",), ("mobilenet", "vgg16"), ("mobilenet", "--imagenet"), ("mobilenet", "--chart", "x.png")]
)  # fmt: skip
def test_zoo_takes_options_of_one_network_only(words: tuple[str, ...], invoke: Invoke) -> None:
    said = refused(invoke("zoo", *words, "--option", "width=0.5"))
    assert "name it alone, as in `enxuto zoo mobilenet --option width=0.5`" in said


@pytest.mark.parametrize("verb", ["zoo", "summary", "export", "train"])
def test_an_option_of_networks_that_is_given_as_one_of_the_verb_is_shown_how(
    verb: str, invoke: Invoke
) -> None:
    said = refused(invoke(verb, "googlenet", "--auxiliary"))
    assert "there is no option --auxiliary; options of a network are given as --option auxiliary=…" in said
    assert "[E021]" in said


def test_zoo_says_what_each_option_is(invoke: Invoke) -> None:
    shown = " ".join(invoke("zoo", "googlenet").stdout.split())
    assert "--option auxiliary true: two more heads" in shown
    assert "--option activation in place of each activation: relu, relu6" in shown
