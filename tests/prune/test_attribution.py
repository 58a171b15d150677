"""DeepLIFT: worked by hand, conserved through every kind of function, equal to Captum where Captum is right."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from enxuto import zoo
from enxuto.errors import DataError, EnxutoError, ModelError
from enxuto.prune.attribution.deeplift import deeplift
from enxuto.prune.attribution.layers import output_layers
from enxuto.prune.attribution.references import constant_reference, zero_reference

SMALL = (
    "lenet5",
    "vgg16-cifar",
    "resnet20-cifar",
    "squeezenet-dsc",
    "mobilenet-v2-cifar",
    "shufflenet-cifar",
    "effnet",
)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Body(nn.Module):
    """3 channels → convolution to 8 → `middle` → convolution to 6 → average → 5 classes; both are complete cuts."""

    def __init__(self, middle: Callable[[Tensor], Tensor], width: int = 8) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(width, 6, 3)
        self.fc = nn.Linear(6, 5)
        self.middle = middle

    def forward(self, images: Tensor) -> Tensor:
        planes = torch.tanh(self.second(self.middle(self.first(images))))
        logits: Tensor = self.fc(planes.mean((2, 3)))
        return logits


def body(middle: Callable[[Tensor], Tensor], width: int = 8) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Body(middle, width).double()
        if isinstance(middle, nn.Module):
            middle.double()
    return network


def in_place(x: Tensor) -> Tensor:
    F.relu(x, inplace=True)  # the result is not used: the argument is what goes on
    return x


def overwritten(x: Tensor) -> Tensor:
    """The input of an activation, and its result, are overwritten after."""
    y = torch.relu(x)
    x += 3
    y += 0.25 * x
    return y


def twice(x: Tensor) -> Tensor:
    act = nn.SiLU()
    return act(act(x) - 0.2)


def squeeze_excite(x: Tensor) -> Tensor:
    return x * torch.sigmoid(3 * x.mean((2, 3), keepdim=True))


def gated_in_place(x: Tensor) -> Tensor:
    gate = F.hardsigmoid(x.flip(1))
    x *= gate
    return x


def shuffled(x: Tensor) -> Tensor:
    left, right = x.chunk(2, 1)
    left = F.relu6(4 * left)
    both = torch.cat((right, left), 1)
    return torch.unflatten(both, 1, (2, -1)).transpose(1, 2).flatten(1, 2)


def half_in_place(x: Tensor) -> Tensor:
    x[:, ::2].relu_()  # a view: the tensor it looks into changes
    return x


MIDDLES: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    "module": (nn.ReLU(), 8),
    "functional": (F.relu, 8),
    "in place": (in_place, 8),
    "method in place": (lambda x: x.relu_(), 8),
    "view in place": (half_in_place, 8),
    "overwritten": (overwritten, 8),
    "shared": (twice, 8),
    "relu6": (lambda x: nn.ReLU6()(4 * x), 8),
    "hardswish in place": (nn.Hardswish(inplace=True), 8),
    "gelu": (nn.GELU(), 8),
    "prelu": (nn.PReLU(8), 8),
    "clamp": (lambda x: x.clamp(-0.3, 0.4), 8),
    "power": (lambda x: (x**2 + 1) ** -0.75, 8),
    "batch norm": (nn.Sequential(nn.BatchNorm2d(8), nn.ReLU()), 8),
    "dropout": (nn.Sequential(nn.Dropout(0.5), nn.ELU()), 8),
    "max pool": (nn.MaxPool2d(2), 8),
    "overlapping max pool": (nn.Sequential(nn.ReLU(), nn.MaxPool2d(3, 2, 1, ceil_mode=True)), 8),
    "dilated max pool": (lambda x: torch.max_pool2d(x, 2, 1, 0, 2), 8),
    "adaptive max pool": (nn.AdaptiveMaxPool2d(4), 8),
    "average pool": (lambda x: F.avg_pool2d(F.silu(x), 3, 2, 1), 8),
    "response norm": (nn.LocalResponseNorm(3, alpha=0.5, k=2.0), 8),
    "even response norm": (nn.LocalResponseNorm(4, alpha=0.5), 8),
    "gate": (squeeze_excite, 8),
    "gate in place": (gated_in_place, 8),
    "square": (lambda x: x * x, 8),
    "quotient": (lambda x: x / (1 + x.abs()), 8),
    "one over": (lambda x: 1 / (1 + torch.exp(-x)), 8),
    "attention": (lambda x: x @ x.transpose(2, 3), 8),
    "chunk and shuffle": (shuffled, 8),
    "concatenation": (lambda x: torch.cat((x.relu(), -x), 1), 16),
    "residual": (lambda x: x + torch.sigmoid(F.pad(x[:, 2:], (0, 0, 0, 0, 1, 1))), 8),
}


@pytest.mark.parametrize("name", MIDDLES)
def test_every_cut_explains_the_whole_change(name: str) -> None:
    middle, width = MIDDLES[name]
    network = body(middle, width)
    images = random(3, 3, 8, 8).double()
    result = deeplift(network, images, reference=zero_reference)
    # Taken apart, local response norm rounds differently: its values are the same to a few roundings.
    expected = (
        network.eval()(images).amax(1) - network(torch.zeros_like(images))[:, result.classes].diagonal()
    )
    torch.testing.assert_close(result.change, expected.detach(), rtol=1e-9, atol=1e-12)
    for cut in (result.images, *result.layers["first"], *result.layers["second"], *result.layers["fc"]):
        part = cut if cut.dim() > 2 else cut.gather(1, result.classes[:, None])
        torch.testing.assert_close(part.flatten(1).sum(1), result.change, rtol=1e-9, atol=1e-12)
    assert result.relative_error < 1e-9


def test_two_layers_by_hand() -> None:
    """h = ReLU(W x), t = v h: with x = (1, 2), x₀ = 0, W = ((1, 1), (1, −1)), h = (3, 0) and t = 2·3 + 5·0 + 1 = 7.

    The bias 1 does not change. Multipliers of h are v = (2, 5); of W x = (3, −1) they are v·Δh/Δ(W x) = (2, 0).
    """
    network = nn.Sequential(nn.Conv2d(1, 2, (1, 2), bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(2, 1))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[1.0, 1.0], [1.0, -1.0]]).view(2, 1, 1, 2))
        network[3].weight.copy_(torch.tensor([[2.0, 5.0]]))
        network[3].bias.fill_(1.0)
    result = deeplift(network, torch.tensor([1.0, 2.0]).view(1, 1, 1, 2), reference=zero_reference)
    assert result.layers["0"][0].flatten().tolist() == [6.0, 0.0]
    assert result.images.flatten().tolist() == [2.0, 4.0]
    assert result.change.tolist() == [6.0]
    # From x₀ = (0, 3): W x₀ = (3, −3), h is (3, 0) at both ends: nothing changes, and the pixels cancel.
    same = deeplift(
        network,
        torch.tensor([1.0, 2.0]).view(1, 1, 1, 2),
        reference=constant_reference(torch.tensor([0.0, 3.0]).view(1, 1, 2)),
    )
    assert same.change.tolist() == [0.0]
    assert same.layers["0"][0].flatten().tolist() == [0.0, 0.0]
    assert same.images.flatten().tolist() == [2.0, -2.0]


def test_max_pool_by_hand() -> None:
    """Windows (4, 1 | 0, 3) of the sample and (2, 3 | 1, 5) of the reference: Δ of the maxima is 1 and −2.

    4 > 3: all to the place of 4, 1/(4 − 2) of it. 3 < 5: all to the place of 5, −2/(3 − 5) of it.
    """
    network = nn.Sequential(
        nn.Conv2d(1, 1, 1, bias=False), nn.MaxPool2d((1, 2)), nn.Flatten(), nn.Linear(2, 1)
    )
    with torch.no_grad():
        network[0].weight.fill_(1.0)
        network[3].weight.fill_(1.0)
    sample, start = torch.tensor([4.0, 1.0, 0.0, 3.0]), torch.tensor([2.0, 3.0, 1.0, 5.0])
    result = deeplift(network, sample.view(1, 1, 1, 4), reference=constant_reference(start.view(1, 1, 4)))
    assert result.layers["0"][0].flatten().tolist() == [1.0, 0.0, 0.0, -2.0]


@settings(max_examples=60, deadline=None)
@given(
    size=st.integers(4, 9),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 3),
    levels=st.integers(1, 5),
    seed=st.integers(0, 2**20),
)
def test_max_pool_gives_all_away_and_stays_bounded(
    size: int, kernel: int, stride: int, levels: int, seed: int
) -> None:
    """Few levels make many ties and equal pixels."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(-levels, levels + 1, (2, 2, size, size), generator=generator).double()
    start = torch.randint(-levels, levels + 1, (2, 2, size, size), generator=generator).double()
    network = nn.Sequential(
        nn.MaxPool2d(kernel, stride, kernel // 2), nn.Flatten(), nn.LazyLinear(3)
    ).double()
    network(images)
    result = deeplift(network, images, reference=lambda _: start)
    torch.testing.assert_close(result.images.sum((1, 2, 3)), result.change, rtol=1e-9, atol=1e-9)
    assert float(result.images[images == start].abs().sum()) == 0.0


@pytest.mark.parametrize("name", SMALL)
def test_converges_on_networks_of_the_zoo(name: str) -> None:
    network = zoo.build(name, seed=0)
    result = deeplift(network, random(2, *zoo.input_shape(name)))
    assert float((result.error.abs() / result.change.abs()).max()) < 1e-4
    assert set(result.layers) == {
        name for name, layer in network.named_modules() if isinstance(layer, (nn.Conv2d, nn.Linear))
    }


# Fresh, their scores of 0.6 change by less than 0.001 between images: float32 cannot tell that to four places.
CAFFE = ("alexnet", "caffenet", "alexnet-one-tower")


@pytest.mark.acceptance
@pytest.mark.parametrize("name", [name for name in zoo.names() if name not in (*SMALL, *CAFFE)])
def test_converges_on_every_network_of_the_zoo(name: str) -> None:
    images = random(1, *zoo.input_shape(name))
    result = deeplift(zoo.build(name, seed=0), images, reduce=lambda _, part: part.sum())
    assert result.relative_error < 1e-4


@pytest.mark.acceptance
@pytest.mark.parametrize("name", CAFFE)
def test_converges_within_the_rounding_of_scores_that_hardly_change(name: str) -> None:
    network, images = zoo.build(name, seed=0), random(1, *zoo.input_shape(name))
    result = deeplift(network, images)
    score = float(network.eval()(images).detach().abs().max())
    assert float(result.error.abs().max()) < 16 * torch.finfo(torch.float32).eps * score
    assert deeplift(network.double(), images.double()).relative_error < 1e-9


def captum_networks() -> dict[str, nn.Module]:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
            self.act1, self.act2 = nn.ReLU(), nn.Sigmoid()
            self.second = nn.Conv2d(6, 6, 3, padding=1)
            self.fc = nn.Linear(12, 4)

        def forward(self, images: Tensor) -> Tensor:
            x = self.act1(self.norm(self.first(images)))
            y = torch.cat((x, self.act2(self.second(x)) + x), 1)
            logits: Tensor = self.fc(F.avg_pool2d(y, 8).flatten(1))
            return logits

    plain = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(8, 5, 3),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(5, 4),
    )
    return {"plain": plain, "residual": Residual()}


@pytest.mark.parametrize("name", ["plain", "residual"])
def test_equals_captum_where_captum_is_right(name: str) -> None:
    from captum.attr import LayerDeepLift

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = captum_networks()[name].eval()
    images = random(4, 3, 8, 8)
    classes = torch.tensor([0, 3, 1, 2])
    start = random(4, 3, 8, 8, seed=1) / 3
    ours = deeplift(network, images, classes, reference=lambda _: start)
    for layer_name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that it sets hooks, and deprecated calls of torch
                theirs = LayerDeepLift(network, layer).attribute(images, start, target=classes)
            torch.testing.assert_close(ours.layers[layer_name][0], theirs.detach(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_the_network_is_left_as_it_was(mode: Callable[[], AbstractContextManager[object]]) -> None:
    network = body(nn.Sequential(nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Dropout(0.5)))
    network.train()
    network.middle[0].eval()  # as someone who fine-tunes with frozen statistics does
    network.first.weight.requires_grad_(False)
    network.fc.bias.grad = torch.full((5,), 7.0, dtype=torch.float64)
    modes = [part.training for part in network.modules()]
    state = {name: value.clone() for name, value in network.state_dict().items()}
    images = random(2, 3, 8, 8).double()
    given = images.clone()
    with mode():
        result = deeplift(network, images)
    assert result.relative_error < 1e-9
    assert torch.equal(images, given)
    assert not images.requires_grad
    assert [part.training for part in network.modules()] == modes
    for name, value in network.state_dict().items():
        assert torch.equal(value, state[name])
    assert [name for name, value in network.named_parameters() if value.grad is not None] == ["fc.bias"]
    assert [name for name, value in network.named_parameters() if not value.requires_grad] == ["first.weight"]
    for part in network.modules():
        assert not part._forward_hooks
        assert not part._forward_pre_hooks
        assert not part._backward_hooks


def test_frozen_and_trainable_parameters_are_the_same() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.full((8, 1, 1), 0.3, dtype=torch.float64))

        def forward(self, x: Tensor) -> Tensor:
            return F.silu(x * self.scale) * F.softplus(self.scale)

    network, images = body(Scaled()), random(2, 3, 8, 8).double()
    trainable = deeplift(network, images)
    frozen = deeplift(network.requires_grad_(False), images)
    assert torch.equal(trainable.layers["first"][0], frozen.layers["first"][0])
    assert trainable.relative_error < 1e-9


def test_a_layer_called_twice_has_two_attributions() -> None:
    shared = nn.Conv2d(8, 8, 3, padding=1)
    network = body(nn.Sequential(shared, nn.ReLU(), shared))
    result = deeplift(network, random(2, 3, 8, 8).double())
    first, second = result.layers["middle.0"]
    for use in (first, second):
        torch.testing.assert_close(use.sum((1, 2, 3)), result.change, rtol=1e-9, atol=1e-12)
    assert not torch.equal(first, second)


def test_a_layer_that_no_score_depends_on_is_left_out() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle, self.unused = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 1)

        def forward(self, images: Tensor) -> Tensor:
            self.idle(images)
            return self.used(images).mean((2, 3))

    assert set(deeplift(Odd(), random(1, 3, 4, 4)).layers) == {"used"}


def refused() -> dict[str, tuple[Callable[[Tensor], Tensor], str]]:
    return {
        "softmax": (lambda x: F.softmax(x, 1), "softmax"),
        "layer norm": (lambda x: F.layer_norm(x, x.shape[1:]), "layer_norm"),
        "maximum": (lambda x: torch.maximum(x, -x), "maximum"),
        "amax": (lambda x: x.amax(1, keepdim=True).expand_as(x), "amax"),
        "dropout left on": (lambda x: F.dropout(x), "dropout"),
        "batch statistics": (nn.BatchNorm2d(8, track_running_stats=False), "batch_norm"),
        "pool with indices": (lambda x: F.max_pool2d(x, 1, return_indices=True)[0], "max_pool2d"),
        "limits": (lambda x: x.clamp(max=x.mean()), "clamp"),
    }


@pytest.mark.parametrize("name", refused())
def test_functions_without_a_rule_are_refused_by_name(name: str) -> None:
    middle, function = refused()[name]
    network = body(middle).train()
    with pytest.raises(ModelError, match=function) as raised:
        deeplift(network, random(2, 3, 8, 8).double())
    assert "\n" not in str(raised.value)
    assert network.training


def test_a_way_that_depends_on_values_is_refused() -> None:
    network = body(lambda x: x.relu() if float(x.sum().detach()) > 0 else x.tanh())
    images = random(1, 3, 8, 8).double()
    with pytest.raises(ModelError, match="E032"):
        deeplift(network, images, reference=lambda given: -given * 10)


@pytest.mark.parametrize(
    ("classes", "match"),
    [
        (torch.tensor([0]), "one for each image"),
        (torch.tensor([0.0, 1.0]), "integers"),
        (torch.tensor([0, 5]), "0…4"),
        (torch.tensor([-1, 2]), "0…4"),
    ],
)
def test_wrong_classes_are_refused(classes: Tensor, match: str) -> None:
    with pytest.raises(DataError, match=match):
        deeplift(body(nn.ReLU()), random(2, 3, 8, 8).double(), classes)


def test_a_reference_of_another_shape_is_refused() -> None:
    with pytest.raises(DataError, match="reference"):
        deeplift(body(nn.ReLU()), random(2, 3, 8, 8).double(), reference=lambda images: images[:1])


def test_a_network_without_scores_is_refused() -> None:
    with pytest.raises(EnxutoError, match="scores"):
        deeplift(nn.Conv2d(3, 2, 1), random(1, 3, 4, 4))


def test_output_layers() -> None:
    assert output_layers(body(nn.ReLU(inplace=True)), random(1, 3, 8, 8).double()) == {"fc"}
    squeezed = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(True), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert output_layers(squeezed, random(1, 3, 4, 4)) == {"0"}
    depthwise = nn.Sequential(
        nn.Conv2d(3, 3, 1), nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3, groups=4), nn.AvgPool2d(2), nn.Flatten()
    )
    assert output_layers(depthwise, random(1, 3, 4, 4)) == {"1", "2"}

    class TwoHeads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.left, self.right = nn.Linear(3, 4), nn.Linear(4, 2), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            h = self.stem(x).relu_()
            return torch.cat((self.left(h), self.right(h)), 1)

    assert output_layers(TwoHeads(), random(1, 3)) == {"left", "right"}
