"""Names, entries, options and messages; and that listing the zoo needs no torch."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest
import torch

from enxuto import zoo
from enxuto.errors import UsageError


def test_public_names() -> None:
    assert zoo.__all__ == [
        "ACCURACIES", "WINNERS", "Entry", "ImageNetAccuracy", "Variant", "Winner", "build", "entry", "input_shape",
        "names",
    ]  # fmt: skip


def test_listing_does_not_import_torch() -> None:
    program = (
        "import sys, enxuto.zoo as zoo; "
        "assert [zoo.entry(name).macs for name in zoo.names()]; "
        "assert zoo.input_shape('mobilenet', resolution=6/7) == (3, 192, 192); "
        "print('torch' in sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_entries_and_builders_name_the_same_networks() -> None:
    for family in {zoo.entry(name).family for name in zoo.names()}:
        listed = {name for name in zoo.names() if zoo.entry(name).family == family}
        assert set(importlib.import_module(f"enxuto.zoo.{family}").BUILDERS) == listed


@pytest.mark.parametrize("name", zoo.names())
def test_entries_are_complete(name: str) -> None:
    item = zoo.entry(name)
    assert item.name == name == name.lower()
    assert item.title
    assert str(item.year)[:2] in {"19", "20"}
    assert item.note.endswith(".")
    assert item.classes in item.counts
    assert all(option in item.options for variant in item.variants for option in variant.options)
    assert isinstance(hash(item), int)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("squeezenet_dsc", "there is no network called 'squeezenet_dsc'; did you mean 'squeezenet-dsc'"),
        ("resnet-20-cifar", "did you mean 'resnet20-cifar'"),
        ("MobileNet", "did you mean 'mobilenet'"),
        ("vgg", "did you mean 'vgg11', 'vgg13', 'vgg16', 'vgg19'"),
        ("transformer", "there is no network called 'transformer'; enxuto.zoo.names() lists all"),
    ],
)
def test_unknown_names_get_the_closest(name: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        zoo.build(name)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("lenet5", {"classes": 0}, "lenet5: classes must be a whole number from 1 on, not 0"),
        ("lenet5", {"classes": True}, "lenet5: classes must be a whole number from 1 on, not True"),
        ("lenet5", {"channels": 1.5}, "lenet5: channels must be a whole number from 1 on, not 1.5"),
        ("lenet5", {"seed": "7"}, "lenet5: seed must be a whole number from 0 and below 2**63, not '7'"),
        ("lenet5", {"seed": 2**63}, "lenet5: seed must be a whole number from 0 and below 2**63, not 92"),
        ("shufflenet", {"width": 0.01}, "shufflenet: width 0.01 leaves stage 2 no channels to add"),
        (
            "lenet5",
            {"activation": "gelu"},
            "lenet5: activation must be one of 'relu', 'relu6', 'leaky_relu', 'prelu', 'disp",
        ),
        ("lenet5", {"width": 2}, "lenet5 has no option 'width'; its options: activation, pool"),
        ("resnet50", {"width": 2}, "resnet50 has no option 'width'; its options: activation"),
        ("mobilenet", {"width": 0}, "mobilenet: width must be a number above 0, not 0"),
        ("mobilenet", {"resolution": "big"}, "mobilenet: resolution must be a number above 0, not 'big'"),
        ("mobilenet", {"width": float("nan")}, "mobilenet: width must be a number above 0, not nan"),
        ("vgg16", {"dropout": 1.0}, "vgg16: dropout must be at least 0 and below 1, not 1.0"),
        ("vgg16-cifar", {"conv_bias": 0}, "vgg16-cifar: conv_bias must be True or False, not 0"),
        ("vgg16-slim-cifar", {"width": 0}, "vgg16-slim-cifar: width must be a number above 0, not 0"),
        ("googlenet", {"auxiliary": "yes"}, "googlenet: auxiliary must be True or False, not 'yes'"),
        ("shufflenet", {"groups": 5}, "shufflenet: groups must be one of 1, 2, 3, 4, 8, not 5"),
        ("shufflenet", {"groups": True}, "shufflenet: groups must be one of 1, 2, 3, 4, 8, not True"),
        (
            "squeezenet1_0",
            {"bypass": "double"},
            "bypass must be one of None, 'simple', 'complex', not 'double'",
        ),
    ],
)
def test_wrong_values_are_named(name: str, options: dict[str, object], message: str) -> None:
    with torch.device("meta"), pytest.raises(UsageError) as caught:
        zoo.build(name, **options)
    assert message in str(caught.value)


def test_input_shapes() -> None:
    assert zoo.input_shape("lenet5") == (1, 32, 32)
    assert zoo.input_shape("lenet5", channels=3) == (3, 32, 32)
    assert [zoo.input_shape("mobilenet", resolution=k / 7)[1] for k in (7, 6, 5, 4)] == [224, 192, 160, 128]
    with pytest.raises(UsageError, match="resnet18 has no option 'resolution'"):
        zoo.input_shape("resnet18", resolution=0.5)
    with pytest.raises(UsageError, match="mobilenet: resolution must be a number above 0, not -1"):
        zoo.input_shape("mobilenet", resolution=-1)
