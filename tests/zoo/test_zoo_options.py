"""Options written as text, activations put in place of others, and networks without shortcuts."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from zoo_walk import meta

from enxuto import zoo
from enxuto.errors import UsageError
from enxuto.zoo.activations import MODULES, DisplacedReLU
from enxuto.zoo.blocks import conv_norm_act
from enxuto.zoo.options import ACTIVATIONS, MEANINGS, format_options, parse_options
from enxuto.zoo.resnet import OptionAShortcut, Residual

# A value that differs from the default, for every option of the zoo.
OTHER = {
    "activation": "leaky_relu",
    "auxiliary": True,
    "bypass": "simple",
    "conv_bias": False,
    "dropout": 0.25,
    "groups": 2,
    "pool": "max",
    "resolution": 0.5,
    "width": 2.0,
}


def test_every_option_has_a_meaning_and_a_case() -> None:
    assert (
        {option for name in zoo.names() for option in zoo.entry(name).options} == set(MEANINGS) == set(OTHER)
    )
    assert list(MODULES) == list(ACTIVATIONS)


# Of each set of options in each family the first network.
FORMS = {(zoo.entry(name).family, zoo.entry(name).options): name for name in reversed(zoo.names())}


@pytest.mark.parametrize("name", sorted(FORMS.values()))
def test_all_options_of_a_network_build_another_form(name: str) -> None:
    options = {option: OTHER[option] for option in zoo.entry(name).options}
    texts = format_options(options)
    assert parse_options(name, texts) == options
    network = meta(name, **options)
    assert network.built_as == {
        "name": name,
        "classes": zoo.entry(name).classes,
        "channels": zoo.entry(name).input_shape[0],
        "options": options,
    }
    kinds = {type(part) for part in network.modules()}
    assert nn.LeakyReLU in kinds
    assert not kinds & {nn.ReLU, nn.ReLU6, nn.Tanh}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("dropout=0.5", 0.5),
        ("dropout = 0", 0),
        ("dropout=none", None),
        ("dropout=True", True),
        ("dropout='a'", "a"),
        ("dropout=a b", "a b"),
        ("dropout=[1]", "[1]"),
        ("dropout=2020-01-01", "2020-01-01"),
        ("dropout=1=2", "1=2"),
        ('dropout="', '"'),
    ],
)
def test_values_are_read_as_what_they_look_like(text: str, value: object) -> None:
    found = parse_options("vgg16", [text])["dropout"]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["width"], "an option of a network is NAME=VALUE, such as width=0.5, not 'width'"),
        (["=1"], "not '=1'"),
        (["width="], "not 'width='"),
        (["dropout=0", "dropout=0"], "the option dropout of vgg16 is given twice"),
        (["widht=1"], "vgg16 has no option 'widht'; its options: dropout, activation"),
    ],
)
def test_bad_options_are_named(texts: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_options("vgg16", texts)
    assert message in str(caught.value)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_compute_what_they_are_called(activation: str) -> None:
    x = torch.tensor([-100.0, -1.0, -0.05, -0.01, 0.0, 0.5, 7.0])
    expected = {
        "relu": [0, 0, 0, 0, 0, 0.5, 7],
        "relu6": [0, 0, 0, 0, 0, 0.5, 6],
        "leaky_relu": [-1, -0.01, -0.0005, -0.0001, 0, 0.5, 7],
        "prelu": [-25, -0.25, -0.0125, -0.0025, 0, 0.5, 7],
        "displaced_relu": [-0.05, -0.05, -0.05, -0.01, 0, 0.5, 7],
        "elu": [-1, -0.632121, -0.048771, -0.009950, 0, 0.5, 7],
        "tanh": [-1, -0.761594, -0.049958, -0.01, 0, 0.462117, 0.999998],
        "sigmoid": [0, 0.268941, 0.487503, 0.4975, 0.5, 0.622459, 0.999089],
    }
    with torch.no_grad():
        found = MODULES[activation]()(x)
    torch.testing.assert_close(found, torch.tensor(expected[activation]), atol=1e-5, rtol=1e-5)


def test_another_activation_changes_no_other_weight() -> None:
    usual = zoo.build("resnet20-cifar", seed=3)
    other = zoo.build("resnet20-cifar", seed=3, activation="prelu")
    own, state = usual.state_dict(), other.state_dict()
    slopes = {name: value for name, value in state.items() if name not in own}
    assert len(slopes) == 19  # a slope for each activation
    assert all(value.tolist() == [0.25] for value in slopes.values())
    assert all(torch.equal(value, state[name]) for name, value in own.items())
    assert "shift=0.05" in str(zoo.build("lenet5", activation="displaced_relu"))
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(
        zoo.build("resnet20-cifar", seed=3, activation="relu").eval()(x), usual.eval()(x), atol=0, rtol=0
    )


@pytest.mark.parametrize("depth", [20, 56])
def test_plain_networks_are_residual_ones_without_shortcuts(depth: int) -> None:
    plain, residual = zoo.build(f"plain{depth}-cifar", seed=0), zoo.build(f"resnet{depth}-cifar", seed=0)
    assert not any(isinstance(part, (Residual, OptionAShortcut)) for part in plain.modules())
    shapes = [weight.shape for weight in plain.parameters()]
    assert shapes == [weight.shape for weight in residual.parameters()]
    convolutions = [part for part in plain.modules() if isinstance(part, nn.Conv2d)]
    assert len(convolutions) == depth - 1
    # One layer after the other and nothing else: a chain of its convolutions, norms and ReLUs computes the same.
    chain = nn.Sequential(
        *(part for part in plain.modules() if not list(part.children()))  # in the order of their definition
    ).eval()
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(chain(x), plain.eval()(x), atol=0, rtol=0)


def test_displaced_relu_has_a_gradient_down_to_its_shift() -> None:
    x = torch.tensor([-0.06, -0.04], requires_grad=True)
    DisplacedReLU()(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0, 1]
    assert isinstance(conv_norm_act(1, 1, 1, activation=DisplacedReLU)[-1], DisplacedReLU)
